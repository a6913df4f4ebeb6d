//! Reads what an environment is made of: `[environment.NAME.aws]`, `.network`, `.database`, `.cache`, `.edge`, `.dns`, `.backup`, `.logs`, `.alerts`.

use super::{count, port, standby, text, texts, word, words};
use crate::infra::{Aws, Backup, Cache, Database, Dns, Edge, Lock, Logs, Network, Place};
use crate::read::Fields;
use crate::sections::Absent::{Is, Means};
use crate::sections::{Section, Shape, key, text as kinds};
use rollout::names::Millis;

/// What stands in for a default that the class decides.
const BY_CLASS: crate::sections::Absent = Means("by class");
const DAYS: Shape = Shape::Integer { min: 1, max: 3653 };

pub(crate) static AWS: Section = Section {
    name: "environment.NAME.aws",
    doc: "The account.",
    keys: &[
        key(
            "account",
            Shape::Text(&words::ACCOUNT),
            Means("the environment cannot be rendered"),
            "Its number.",
        ),
        key("state", Shape::Table(&STATE), Means("its defaults"), "Where Terraform keeps its state."),
        key(
            "traffic",
            Shape::Choice(&["native", "weights"]),
            Means("by the steps"),
            "Who moves traffic: ECS itself, or weights of one listener rule.",
        ),
        key("exec", Shape::Flag, Is("false"), "Whether `aws ecs execute-command` is possible."),
    ],
};

pub(crate) static STATE: Section = Section {
    name: "environment.NAME.aws.state",
    doc: "Terraform's state; one bucket an account, one key an environment.",
    keys: &[
        key(
            "bucket",
            Shape::Text(&words::TEMPLATE),
            Means("`{project}-terraform-state-{account}`"),
            "The bucket.",
        ),
        key(
            "key",
            Shape::Text(&words::TEMPLATE),
            Means("`{env}/terraform.tfstate`"),
            "The object; must name the environment.",
        ),
    ],
};

pub(crate) static NETWORK: Section = Section {
    name: "environment.NAME.network",
    doc: "The network.",
    keys: &[
        key("cidr", Shape::Text(&words::CIDR), BY_CLASS, "Its addresses; no two environments may overlap."),
        key("zones", Shape::Integer { min: 2, max: 3 }, BY_CLASS, "Availability zones."),
        key("nat", Shape::Choice(&["per-zone", "single", "none"]), BY_CLASS, "NAT gateways."),
        key(
            "endpoints",
            Shape::Texts { of: &words::WORD, min: 0, max: 32 },
            BY_CLASS,
            "Services of AWS reached without the internet.",
        ),
        key("vpn", Shape::Flag, Is("false"), "Whether a VPN gateway leads to the standby."),
    ],
};

pub(crate) static DATABASE: Section = Section {
    name: "environment.NAME.database",
    doc: "PostgreSQL.",
    keys: &[
        key(
            "version",
            Shape::Text(&words::WORD),
            Means("`17`"),
            "Its major version; minor ones follow by themselves.",
        ),
        key("class", Shape::Text(&words::WORD), BY_CLASS, "Instance class."),
        key("storage", Shape::Size { min: 20 << 30, max: 64 << 40 }, BY_CLASS, "Storage at first."),
        key(
            "storage_max",
            Shape::Size { min: 20 << 30, max: 64 << 40 },
            BY_CLASS,
            "How far storage grows by itself.",
        ),
        key("name", Shape::Text(&words::WORD), Means("the project's name"), "The database."),
        key("multi_az", Shape::Flag, BY_CLASS, "Whether a second zone stands by."),
        key(
            "port",
            Shape::Integer { min: 1150, max: 65535 },
            Means("5433"),
            "Its port; not 5432, which scanners ask first.",
        ),
        key("backup", Shape::Table(&KEPT), Means("its defaults"), "Automatic backups."),
        key(
            "maintenance",
            Shape::Text(&words::WEEKLY),
            Means("`Sun:04:00-Sun:05:00`"),
            "When it may be changed, in UTC.",
        ),
        key("protect", Shape::Flag, BY_CLASS, "Whether it refuses to be deleted."),
    ],
};

pub(crate) static KEPT: Section = Section {
    name: "environment.NAME.database.backup",
    doc: "Automatic backups of the database.",
    keys: &[
        key(
            "days",
            Shape::Integer { min: 1, max: 35 },
            BY_CLASS,
            "How long they are kept; 35 days is RDS's limit.",
        ),
        key("window", Shape::Text(&words::WINDOW), Means("`03:00-04:00`"), "When they are made, in UTC."),
    ],
};

pub(crate) static CACHE: Section = Section {
    name: "environment.NAME.cache",
    doc: "Redis.",
    keys: &[
        key("node", Shape::Text(&words::WORD), BY_CLASS, "Node type."),
        key(
            "nodes",
            Shape::Integer { min: 1, max: 6 },
            BY_CLASS,
            "How many; two and more fail over by themselves.",
        ),
        key("version", Shape::Text(&words::WORD), Means("`7.1`"), "Engine version."),
        key("snapshots", Shape::Integer { min: 0, max: 35 }, BY_CLASS, "Days its snapshots are kept."),
    ],
};

pub(crate) static EDGE: Section = Section {
    name: "environment.NAME.edge",
    doc: "What stands before the balancer.",
    keys: &[
        key("cdn", Shape::Choice(&["cloudfront", "cloudflare", "none"]), BY_CLASS, "One CDN on a host name."),
        key(
            "certificate",
            Shape::Text(&words::ARN),
            Means("one is made"),
            "A certificate that exists; for CloudFront in us-east-1.",
        ),
        key(
            "bots",
            Shape::Choice(&["count", "block", "off"]),
            Means("`count`"),
            "What happens to clients that are no browsers.",
        ),
        key(
            "allow_ips",
            Shape::Lists { of: &words::CIDR, name: &kinds::NAME },
            Is("{}"),
            "Addresses with a rate limit of their own, by name, as a hospital behind one address.",
        ),
    ],
};

pub(crate) static DNS: Section = Section {
    name: "environment.NAME.dns",
    doc: "Names, and when they point to the standby.",
    keys: &[
        key("check", Shape::Table(&CHECK), Means("its defaults"), "How Route 53 asks."),
        key(
            "ttl",
            Shape::Duration { min: Millis::seconds(10), max: Millis::seconds(3600) },
            Means("`60s`"),
            "How long resolvers may keep an answer.",
        ),
    ],
};

pub(crate) static CHECK: Section = Section {
    name: "environment.NAME.dns.check",
    doc: "Route 53's health check of the primary site.",
    keys: &[
        key(
            "interval",
            Shape::Duration { min: Millis::seconds(10), max: Millis::seconds(30) },
            Means("`10s`"),
            "10 s or 30 s; AWS knows no other.",
        ),
        key(
            "failures",
            Shape::Integer { min: 1, max: 10 },
            Means("3"),
            "How many in a row make it unhealthy.",
        ),
        key(
            "expect",
            Shape::Text(&words::SAYS),
            Means("`\"writer\":\"aws\"`"),
            "What the answer must contain, in its first 5120 bytes.",
        ),
    ],
};

pub(crate) static BACKUP: Section = Section {
    name: "environment.NAME.backup",
    doc: "Copies elsewhere.",
    keys: &[
        key(
            "account",
            Shape::Text(&words::ACCOUNT),
            Means("no copy leaves the account, which is a finding"),
            "The account that keeps the copies.",
        ),
        key(
            "region",
            Shape::Text(&words::REGION),
            Means("`eu-central-1`"),
            "Where copies lie; another region of the European Economic Area.",
        ),
        key("lock", Shape::Table(&LOCK), Means("its defaults"), "How long nobody can delete them."),
        key(
            "restore_test",
            Shape::Choice(&["weekly", "monthly", "off"]),
            BY_CLASS,
            "How often a restore is tried.",
        ),
    ],
};

pub(crate) static LOCK: Section = Section {
    name: "environment.NAME.backup.lock",
    doc: "The vault's lock.",
    keys: &[
        key("min_days", DAYS, Means("35"), "Kept at least so long."),
        key("max_days", DAYS, Means("365"), "Kept at most so long."),
        key(
            "grace_days",
            Shape::Integer { min: 3, max: 365 },
            Means("3"),
            "Until the lock itself cannot be taken back.",
        ),
    ],
};

pub(crate) static LOGS: Section = Section {
    name: "environment.NAME.logs",
    doc: "How long logs are kept.",
    keys: &[
        key(
            "security_days",
            Shape::Integer { min: 180, max: 365 },
            Means("365"),
            "Who accessed what; six months to a year (CNIL 2021-122).",
        ),
        key("debug_days", Shape::Integer { min: 1, max: 365 }, Means("30"), "The rest."),
    ],
};

pub(crate) static ALERTS: Section = Section {
    name: "environment.NAME.alerts",
    doc: "Whom alarms reach.",
    keys: &[key(
        "email",
        Shape::Texts { of: &words::EMAIL, min: 0, max: 16 },
        Is("[]"),
        "Each confirms once.",
    )],
};

pub(crate) fn read(fields: &Fields<'_>) -> Place {
    let table = |name| fields.table(name);
    Place {
        platform: fields.raw_text("platform").map(|at| at.value).filter(|platform| platform != "process"),
        class: word(fields, "class"),
        region: text(fields, "region"),
        standby: word(fields, "standby").filter(|standby| standby != "none"),
        aws: table("aws").and_then(|aws| read_aws(&aws)),
        network: table("network").map(|network| read_network(&network)).unwrap_or_default(),
        database: table("database").map(|database| read_database(&database)),
        cache: table("cache").map(|cache| Cache {
            node: text(&cache, "node"),
            nodes: count(&cache, "nodes"),
            version: text(&cache, "version"),
            snapshots: count(&cache, "snapshots"),
        }),
        edge: table("edge").map(|edge| read_edge(&edge)).unwrap_or_default(),
        dns: table("dns").map(|dns| read_dns(&dns)).unwrap_or_default(),
        backup: table("backup").map(|backup| read_backup(&backup)).unwrap_or_default(),
        logs: table("logs")
            .map(|logs| Logs {
                security_days: count(&logs, "security_days"),
                debug_days: count(&logs, "debug_days"),
            })
            .unwrap_or_default(),
        alerts: table("alerts").and_then(|alerts| texts(&alerts, "email")).unwrap_or_default(),
        azure: table("azure").map(|azure| standby::read(&azure)),
    }
}

fn read_aws(fields: &Fields<'_>) -> Option<Aws> {
    let state = fields.table("state");
    Some(Aws {
        state_bucket: state.as_ref().and_then(|state| text(state, "bucket")),
        state_key: state.as_ref().and_then(|state| text(state, "key")),
        traffic: word(fields, "traffic"),
        exec: fields.flag("exec").is_some_and(|at| at.value),
        account: text(fields, "account")?,
    })
}

fn read_network(fields: &Fields<'_>) -> Network {
    Network {
        cidr: text(fields, "cidr"),
        zones: count(fields, "zones"),
        nat: word(fields, "nat"),
        endpoints: texts(fields, "endpoints"),
        vpn: fields.flag("vpn").is_some_and(|at| at.value),
    }
}

fn read_database(fields: &Fields<'_>) -> Database {
    let kept = fields.table("backup");
    Database {
        version: text(fields, "version"),
        class: text(fields, "class"),
        storage: fields.size("storage").map(|at| at.value),
        storage_max: fields.size("storage_max").map(|at| at.value),
        name: text(fields, "name"),
        multi_az: fields.flag("multi_az").map(|at| at.value),
        port: port(fields, "port"),
        backup_days: kept.as_ref().and_then(|kept| count(kept, "days")),
        backup_window: kept.as_ref().and_then(|kept| text(kept, "window")),
        maintenance: text(fields, "maintenance"),
        protect: fields.flag("protect").map(|at| at.value),
    }
}

fn read_edge(fields: &Fields<'_>) -> Edge {
    Edge {
        cdn: word(fields, "cdn"),
        certificate: text(fields, "certificate"),
        bots: word(fields, "bots"),
        allow_ips: fields.lists("allow_ips"),
    }
}

fn read_dns(fields: &Fields<'_>) -> Dns {
    let check = fields.table("check");
    Dns {
        interval: check.as_ref().and_then(|check| check.duration("interval")).map(|at| at.value),
        failures: check.as_ref().and_then(|check| count(check, "failures")),
        expect: check.as_ref().and_then(|check| text(check, "expect")),
        ttl: fields.duration("ttl").map(|at| at.value),
    }
}

fn read_backup(fields: &Fields<'_>) -> Backup {
    let lock = fields.table("lock").map(|lock| Lock {
        min_days: count(&lock, "min_days"),
        max_days: count(&lock, "max_days"),
        grace_days: count(&lock, "grace_days"),
    });
    Backup {
        account: text(fields, "account"),
        region: text(fields, "region"),
        lock,
        restore_test: word(fields, "restore_test"),
    }
}
