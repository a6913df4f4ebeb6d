//! Reads `[environment.NAME.azure]`, the standby site, and `[service.NAME.container]`, what the image of a service holds.

use super::{count, port, text, texts, word, words};
use crate::infra::{Azure, Balancer, Container, Liveness};
use crate::read::Fields;
use crate::sections::Absent::{Is, Means, Refused};
use crate::sections::{Section, Shape, key, text as kinds};
use rollout::names::Millis;

pub(crate) static AZURE: Section = Section {
    name: "environment.NAME.azure",
    doc: "The standby site; wanted where `standby = \"azure\"`.",
    keys: &[
        key("subscription", Shape::Text(&words::UUID), Refused, "The subscription."),
        key("tenant", Shape::Text(&words::UUID), Refused, "The tenant."),
        key("region", Shape::Text(&words::REGION), Means("`francecentral`"), "Where it stands."),
        key("cidr", Shape::Text(&words::CIDR), Means("`10.8.0.0/16`"), "Its addresses."),
        key(
            "replicas",
            Shape::Table(&REPLICAS),
            Means("2 to 6"),
            "Replicas; at least 2, or a failover begins from nothing.",
        ),
        key("database", Shape::Table(&DATABASE), Means("its defaults"), "The replica of PostgreSQL."),
        key("cache", Shape::Table(&CACHE), Means("its defaults"), "Managed Redis."),
        key(
            "link",
            Shape::Choice(&["tls-allowlist", "vpn"]),
            Means("`tls-allowlist`"),
            "How rows reach it; `vpn` needs `network.vpn`.",
        ),
    ],
};

pub(crate) static REPLICAS: Section = Section {
    name: "environment.NAME.azure.replicas",
    doc: "Replicas of the standby.",
    keys: &[
        key("min", Shape::Integer { min: 2, max: 300 }, Means("2"), "Always running."),
        key("max", Shape::Integer { min: 2, max: 300 }, Means("6"), "At most."),
    ],
};

pub(crate) static DATABASE: Section = Section {
    name: "environment.NAME.azure.database",
    doc: "A flexible server.",
    keys: &[
        key("sku", Shape::Text(&words::WORD), Means("`GP_Standard_D2ds_v5`"), "Its size."),
        key("storage", Shape::Size { min: 32 << 30, max: 32 << 40 }, Means("`128GiB`"), "Its storage."),
    ],
};

pub(crate) static CACHE: Section = Section {
    name: "environment.NAME.azure.cache",
    doc: "Managed Redis.",
    keys: &[key("sku", Shape::Text(&words::WORD), Means("`Balanced_B1`"), "Its size.")],
};

pub(crate) static CONTAINER: Section = Section {
    name: "service.NAME.container",
    doc: "The image of the service, and how a platform asks whether it is well; only `medeclipse infra` and `medeclipse lint` read it.",
    keys: &[
        key("port", Shape::Integer { min: 1, max: 65535 }, Means("3000"), "Where it listens inside."),
        key(
            "toolchain",
            Shape::Choice(&["rust", "node", "none"]),
            Means("`rust`"),
            "What builds it; `none` copies the artefact.",
        ),
        key("build", Shape::Command { empty: true }, Means("by toolchain"), "The build."),
        key(
            "builder",
            Shape::Text(&words::IMAGE),
            Means("by toolchain"),
            "The image that builds; with its digest where a registry is reachable.",
        ),
        key("base", Shape::Text(&words::IMAGE), Means("by toolchain"), "The image it runs in."),
        key("user", Shape::Table(&USER), Means("1001 and 1001"), "Whom it runs as; never root."),
        key(
            "probe",
            Shape::Command { empty: true },
            Means("no health check of the container"),
            "A program inside the image that exits 0 when the service is well.",
        ),
        key(
            "liveness",
            Shape::Table(&LIVENESS),
            Means("its defaults"),
            "How often the probe runs; ECS allows 5 s to 300 s.",
        ),
        key(
            "balancer",
            Shape::Table(&BALANCER),
            Means("its defaults"),
            "How the balancer asks; 5 s to 300 s.",
        ),
        key(
            "deep",
            Shape::Text(&kinds::PATH),
            Means("the balancer's path"),
            "What decides a failover: does the work of a request.",
        ),
        key(
            "pool",
            Shape::Integer { min: 1, max: 1000 },
            Means("10"),
            "Database connections of one replica.",
        ),
        key(
            "uploads",
            Shape::Texts { of: &kinds::PREFIX, min: 0, max: 16 },
            Is("[]"),
            "Paths whose bodies may be larger than 8 KiB.",
        ),
        key("target", Shape::Table(&TARGET), Means("its defaults"), "What scaling aims at."),
    ],
};

pub(crate) static USER: Section = Section {
    name: "service.NAME.container.user",
    doc: "User and group inside the image.",
    keys: &[
        key("uid", Shape::Integer { min: 1, max: 65533 }, Means("1001"), "User."),
        key("gid", Shape::Integer { min: 1, max: 65533 }, Means("1001"), "Group."),
    ],
};

pub(crate) static LIVENESS: Section = Section {
    name: "service.NAME.container.liveness",
    doc: "The container's own health check.",
    keys: &[
        key(
            "interval",
            Shape::Duration { min: Millis(100), max: Millis::seconds(300) },
            Means("`30s`"),
            "Between two.",
        ),
        key(
            "timeout",
            Shape::Duration { min: Millis(10), max: Millis::seconds(120) },
            Means("`10s`"),
            "For one.",
        ),
        key("retries", Shape::Integer { min: 1, max: 10 }, Means("3"), "Failures until it is unhealthy."),
        key(
            "start",
            Shape::Duration { min: Millis(0), max: Millis::seconds(300) },
            Means("`60s`"),
            "Failures this early do not count.",
        ),
    ],
};

pub(crate) static BALANCER: Section = Section {
    name: "service.NAME.container.balancer",
    doc: "The balancer's health check.",
    keys: &[
        key("path", Shape::Text(&kinds::PATH), Means("`health.ready`"), "What it asks for."),
        key(
            "interval",
            Shape::Duration { min: Millis(100), max: Millis::seconds(300) },
            Means("`10s`"),
            "Between two.",
        ),
        key(
            "timeout",
            Shape::Duration { min: Millis(10), max: Millis::seconds(120) },
            Means("`5s`"),
            "For one.",
        ),
        key("healthy", Shape::Integer { min: 2, max: 10 }, Means("2"), "Good ones in a row."),
        key("unhealthy", Shape::Integer { min: 2, max: 10 }, Means("3"), "Bad ones in a row."),
    ],
};

pub(crate) static TARGET: Section = Section {
    name: "service.NAME.container.target",
    doc: "What scaling aims at.",
    keys: &[key(
        "cpu",
        Shape::Percent { min: 0.1, max: 0.95 },
        Means("`60%`"),
        "Mean use of the processors.",
    )],
};

pub(crate) fn read(fields: &Fields<'_>) -> Azure {
    let replicas = fields.table("replicas");
    let database = fields.table("database");
    Azure {
        subscription: text(fields, "subscription").unwrap_or_default(),
        tenant: text(fields, "tenant").unwrap_or_default(),
        region: text(fields, "region"),
        cidr: text(fields, "cidr"),
        replicas: replicas
            .map(|bounds| (count(&bounds, "min").unwrap_or(2), count(&bounds, "max").unwrap_or(6))),
        database_sku: database.as_ref().and_then(|database| text(database, "sku")),
        database_storage: database.as_ref().and_then(|database| database.size("storage")).map(|at| at.value),
        cache_sku: fields.table("cache").and_then(|cache| text(&cache, "sku")),
        link: word(fields, "link"),
    }
}

/// Reads the container of a service; `secrets` stands in the service itself.
pub(crate) fn read_container(service: &Fields<'_>) -> Container {
    let secrets = texts(service, "secrets").unwrap_or_default();
    let Some(fields) = service.table("container") else {
        return Container { secrets, ..Container::default() };
    };
    let user = fields
        .table("user")
        .map(|user| (count(&user, "uid").unwrap_or(1001), count(&user, "gid").unwrap_or(1001)));
    let command = |name| fields.command(name).map(|at| at.value).unwrap_or_default();
    Container {
        port: port(&fields, "port"),
        toolchain: word(&fields, "toolchain"),
        build: command("build"),
        builder: text(&fields, "builder"),
        base: text(&fields, "base"),
        user,
        probe: command("probe"),
        liveness: fields.table("liveness").map(|liveness| read_liveness(&liveness)).unwrap_or_default(),
        balancer: fields.table("balancer").map(|balancer| read_balancer(&balancer)).unwrap_or_default(),
        deep: text(&fields, "deep"),
        pool: count(&fields, "pool"),
        uploads: texts(&fields, "uploads").unwrap_or_default(),
        target_cpu: fields
            .table("target")
            .and_then(|target| target.percent("cpu"))
            .map(|at| (at.value * 100.0).round() as u32),
        secrets,
    }
}

fn read_liveness(fields: &Fields<'_>) -> Liveness {
    let time = |name| fields.duration(name).map(|at| at.value);
    Liveness {
        interval: time("interval"),
        timeout: time("timeout"),
        retries: count(fields, "retries"),
        start: time("start"),
    }
}

fn read_balancer(fields: &Fields<'_>) -> Balancer {
    let time = |name| fields.duration(name).map(|at| at.value);
    Balancer {
        path: text(fields, "path"),
        interval: time("interval"),
        timeout: time("timeout"),
        healthy: count(fields, "healthy"),
        unhealthy: count(fields, "unhealthy"),
    }
}
