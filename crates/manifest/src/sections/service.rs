//! Reads `[service.NAME]`: what runs, under which addresses, with how many replicas.

use super::Absent::{Is, Means, Refused};
use super::{
    Section, Shape, guard, guard_keys, headers, health, infra, judge, key, later, mirror, rollout, text,
};
use crate::error::{Kind, Mistake, Span};
use crate::infra::Container;
use crate::read::{At, Fields};
use crate::service::{PageFiles, ServiceConfig};
use ::rollout::pages::Pages;
use ::rollout::plan::{ReplicaBounds, RolloutSettings, TargetSettings};
use ::rollout::release::{Health, Resources};

const REPLICAS_MAX: u64 = 64;

pub(crate) static SERVICE: Section = Section {
    name: "service.NAME",
    doc: "One service: what runs, where it is reached, how many replicas it has.",
    keys: &[
        key(
            "artifact",
            Shape::Text(&text::FILE),
            Means("the command needs none"),
            "A file or folder, relative to the manifest; stored by the hash of its content.",
        ),
        key(
            "command",
            Shape::Command { empty: false },
            Refused,
            "Program and arguments, run in the stored artefact; `${PORT}` and `${HOST}` are replaced, no shell is used.",
        ),
        key(
            "hosts",
            Shape::Texts { of: &text::HOST, min: 0, max: 64 },
            Means("every host no other service claims"),
            "Host names it answers for; `*.` may stand in front.",
        ),
        key(
            "paths",
            Shape::Texts { of: &text::PREFIX, min: 0, max: 64 },
            Means("every path no other service claims"),
            "Path prefixes it answers for; the longest wins.",
        ),
        key(
            "strip_path",
            Shape::Flag,
            Is("false"),
            "Whether the matched prefix is removed before the request goes on.",
        ),
        key(
            "protocol",
            Shape::Choice(&["http1", "h2c", "grpc"]),
            Is("\"http1\""),
            "What the program speaks: HTTP/1.1, HTTP/2 without TLS, or gRPC over that; clients may speak either.",
        ),
        key(
            "health",
            Shape::Table(&health::HEALTH),
            Means("its defaults"),
            "How a replica is asked whether it is well.",
        ),
        key(
            "replicas",
            Shape::OneOf(&[Shape::Integer { min: 1, max: REPLICAS_MAX }, Shape::Table(&REPLICAS)]),
            Is("1"),
            "How many copies run: a number, or bounds.",
        ),
        key("resources", Shape::Table(&RESOURCES), Means("no limits"), "Limits of one replica."),
        key(
            "env",
            Shape::Variables { name: &text::VARIABLE },
            Is("{}"),
            "Variables of the program; `PORT`, `HOST` and `MEDECLIPSE_…` are set besides.",
        ),
        key(
            "expand",
            Shape::Command { empty: true },
            Is("[]"),
            "Run once before any traffic, for migrations; exit code 0 goes on.",
        ),
        key(
            "rollout",
            Shape::Table(&rollout::ROLLOUT),
            Means("its defaults"),
            "How a release reaches its users.",
        ),
        key("judge", Shape::Table(&judge::JUDGE), Means("its defaults"), "When a release is taken back."),
        key(
            "route",
            Shape::Tables { of: &ROUTE, max: 256 },
            Means("requests are counted together"),
            "Route templates, for counting; the first match wins.",
        ),
        key(
            "guard",
            Shape::Table(&guard_keys::GUARD),
            Means("nothing is refused"),
            "What is refused before a replica sees it.",
        ),
        key(
            "headers",
            Shape::Table(&headers::HEADERS),
            Means("answers go on as they are"),
            "Security headers of its answers.",
        ),
        key(
            "pages",
            Shape::Table(&PAGES),
            Means("a short text"),
            "What people see where there is no answer.",
        ),
        key(
            "in_flight",
            Shape::Integer { min: 1, max: 1 << 20 },
            Is("4096"),
            "Requests one replica carries at a time, 503 beyond; those to the ready path pass.",
        ),
        key("access_log", Shape::Flag, Is("true"), "Whether its requests are in the access log."),
        key(
            "container",
            Shape::Table(&infra::standby::CONTAINER),
            Means("its defaults"),
            "Its image, for clouds.",
        ),
        key(
            "secrets",
            Shape::Texts { of: &text::VARIABLE, min: 0, max: 32 },
            Is("[]"),
            "Variables a cloud fills from its store of secrets. Processes of this machine get none yet: refused there.",
        ),
        later("image", "use `artifact` and the platform \"process\" meanwhile"),
        later("contract", "run the last step of a migration by hand once nothing can roll back any more"),
    ],
};

pub(crate) static REPLICAS: Section = Section {
    name: "service.NAME.replicas",
    doc: "How many copies run.",
    keys: &[
        key("min", Shape::Integer { min: 1, max: REPLICAS_MAX }, Is("1"), "How many run."),
        key(
            "max",
            Shape::Integer { min: 1, max: REPLICAS_MAX },
            Means("as `min`"),
            "How many `medeclipse scale` may ask for.",
        ),
    ],
};

pub(crate) static PAGES: Section = Section {
    name: "service.NAME.pages",
    doc: "HTML files of at most 32 KiB, relative to the manifest, sent by the edge to whoever accepts HTML. `{status}` and `{request_id}` in them are replaced. Applied at once by a deploy; `X-MedEclipse-Error` says the reason as ever.",
    keys: &[
        key(
            "maintenance",
            Shape::Text(&text::FILE),
            Means("a short text"),
            "While `medeclipse maintenance on` is, and requests wait no longer (503).",
        ),
        key(
            "error",
            Shape::Text(&text::FILE),
            Means("a short text"),
            "When no replica gave an answer (502, 503, 504). What the service itself answers goes on as it is.",
        ),
    ],
};

pub(crate) static RESOURCES: Section = Section {
    name: "service.NAME.resources",
    doc: "Limits of one replica, kept by the system when MedEclipse runs as root.",
    keys: &[
        key(
            "cpu",
            Shape::Integer { min: 1, max: 1 << 18 },
            Means("no limit"),
            "In the units of ECS: 1024 is one core.",
        ),
        key(
            "memory",
            Shape::Size { min: 1 << 20, max: 1 << 42 },
            Means("no limit"),
            "Memory, as `512MiB` or `2GiB`.",
        ),
    ],
};

pub(crate) static ROUTE: Section = Section {
    name: "service.NAME.route",
    doc: "One route template: `[[service.NAME.route]]`.",
    keys: &[
        key("path", Shape::Text(&text::TEMPLATE), Refused, "The template; `{id}` stands for one segment."),
        key(
            "connections",
            Shape::Table(&rollout::ROUTE_CONNECTIONS),
            Means("as `rollout.connections` says"),
            "What happens to its long connections when the revision drains.",
        ),
        key(
            "mirror",
            mirror::OF_ROUTE,
            Is("\"status\""),
            "What `rollout.mirror` compares of its answers: the status, the body too, or nothing: it is never copied.",
        ),
    ],
};

/// A service, and where the manifest says what other services may contradict.
pub(crate) struct Read {
    pub config: ServiceConfig,
    pub container: Container,
    pub claims: Vec<Claim>,
}

/// A host and path prefix a service answers for.
pub(crate) struct Claim {
    /// Empty: every host.
    pub host: String,
    pub path: String,
    pub span: Span,
}

pub(crate) fn read(name: &At<String>, fields: &Fields<'_>) -> Read {
    let hosts = fields.texts("hosts");
    let paths = fields.texts("paths");
    let judge_fields = fields.table("judge");
    let judge = judge_fields.as_ref().map(judge::read).unwrap_or_default();
    let replicas = read_replicas(fields);
    let mut rollout = match fields.table("rollout") {
        Some(fields) => {
            let settings = rollout::read(&fields, judge);
            require_candidate_fits(&fields, settings.candidate_replicas, replicas);
            settings
        }
        None => {
            let mut settings = RolloutSettings { judge, ..Default::default() };
            settings.deadline = rollout::deadline_enough(&settings);
            settings
        }
    };
    if let Some(judge) = &judge_fields {
        judge::require_look_below_steps(judge, &rollout);
    }
    let unsure = fields.refused("hosts", &hosts) || fields.refused("paths", &paths);
    let claims = if unsure { Vec::new() } else { claims(&hosts, &paths, &name.span) };
    let values = |texts: Option<At<Vec<At<String>>>>| -> Vec<String> {
        texts.into_iter().flat_map(|at| at.value).map(|at| at.value).collect()
    };
    let (hosts, paths) = (values(hosts), values(paths));
    if let Some(mirror) = &mut rollout.mirror {
        mirror::read_routes(fields, &mut mirror.copies);
    }
    rollout.connections.routes = rollout::read_route_connections(fields, &rollout.connections);
    let config = ServiceConfig {
        name: name.value.clone(),
        artifact: fields.text("artifact").map(|at| at.value.into()),
        command: fields.command("command").map(|at| at.value).unwrap_or_default(),
        env: fields.variables("env"),
        resources: fields.table("resources").and_then(|resources| read_resources(&resources)),
        health: read_health(fields),
        expand: fields.command("expand").map(|at| at.value).unwrap_or_default(),
        target: TargetSettings {
            strip_path: read_strip_path(fields, &paths),
            hosts,
            paths,
            templates: read_templates(fields),
            replicas,
            guard: fields.table("guard").map(|fields| guard::read(&fields)),
            headers: fields.table("headers").map(|fields| headers::read(&fields)),
            // The files are the caller's to read.
            pages: Pages::default(),
            in_flight: fields.count("in_flight").map_or(TargetSettings::default().in_flight, |at| at.value),
            access_log: fields.flag("access_log").is_none_or(|at| at.value),
        },
        rollout,
        pages: fields.table("pages").map(|pages| read_pages(&pages)).unwrap_or_default(),
    };
    Read { config, container: read_container(fields), claims }
}

/// Reads what only clouds use. Where the service runs as a process, its secrets would be missing without a word.
fn read_container(fields: &Fields<'_>) -> Container {
    let container = infra::standby::read_container(fields);
    if !container.secrets.is_empty() {
        let what = format!("`{}` is not yet supported", fields.path_of("secrets"));
        let mistake = Mistake::at(Kind::NotYetSupported, fields.key_span("secrets"), what);
        let mistake = mistake.why("this version would ignore it");
        fields.note(mistake.help("let the program read its secrets from a file meanwhile"));
    }
    container
}

fn claims(
    hosts: &Option<At<Vec<At<String>>>>,
    paths: &Option<At<Vec<At<String>>>>,
    otherwise: &Span,
) -> Vec<Claim> {
    let listed = |texts: &Option<At<Vec<At<String>>>>, any: &str| match texts {
        Some(texts) if !texts.value.is_empty() => texts.value.clone(),
        _ => vec![At { value: any.to_owned(), span: otherwise.clone() }],
    };
    let mut claims = Vec::new();
    for host in listed(hosts, "") {
        for path in listed(paths, "/") {
            let span = if host.value.is_empty() { path.span } else { host.span.clone() };
            claims.push(Claim { host: host.value.clone(), path: path.value, span });
        }
    }
    claims
}

/// With gRPC, a replica is asked by the protocol every gRPC library has: grpc.health.v1.
fn read_health(fields: &Fields<'_>) -> Health {
    let mut health = fields.table("health").map(|health| health::read(&health)).unwrap_or_default();
    health.protocol = fields.choice("protocol").map(|at| at.value).unwrap_or_default();
    health
}

fn read_strip_path(fields: &Fields<'_>, paths: &[String]) -> bool {
    let Some(strip) = fields.flag("strip_path") else { return false };
    if strip.value && paths.is_empty() && !fields.has("paths") {
        let what = format!("`{}` has nothing to strip", fields.path_of("strip_path"));
        let mistake = Mistake::at(Kind::Rule, strip.span, what).why("the service has no `paths`");
        fields.note(mistake.help("write `paths = [\"/api\"]`, or remove it"));
    }
    strip.value
}

fn read_replicas(fields: &Fields<'_>) -> ReplicaBounds {
    let otherwise = TargetSettings::default().replicas;
    if !fields.is_table("replicas") {
        return fields
            .count("replicas")
            .map_or(otherwise, |at| ReplicaBounds { min: at.value, max: at.value });
    }
    let Some(bounds) = fields.table("replicas") else { return otherwise };
    let min = bounds.count("min").unwrap_or(At { value: 1, span: bounds.span.clone() });
    let Some(max) = bounds.count("max") else { return ReplicaBounds { min: min.value, max: min.value } };
    if max.value < min.value {
        let what = format!("`{}` is below `min`", bounds.path_of("max"));
        let mistake = Mistake::at(Kind::Rule, max.span.clone(), what).why(format!("at most {}", max.value));
        let mistake = mistake.also(min.span.clone(), format!("at least {}", min.value));
        fields.note(mistake.help(format!("write `max = {}` or more, or a smaller `min`", min.value)));
        return ReplicaBounds { min: min.value, max: min.value };
    }
    ReplicaBounds { min: min.value, max: max.value }
}

/// A candidate with more replicas than the service may ever have would have to shrink at its last step.
fn require_candidate_fits(rollout: &Fields<'_>, candidate: Option<u32>, replicas: ReplicaBounds) {
    if candidate.is_none_or(|candidate| candidate <= replicas.max) {
        return;
    }
    let what = format!("`{}` is above the service's `replicas`", rollout.path_of("candidate_replicas"));
    let why = format!("the service has at most {}", replicas.max);
    let mistake = Mistake::at(Kind::Rule, rollout.value_span("candidate_replicas"), what).why(why);
    rollout.note(mistake.help(format!("write {} or less, or raise `replicas`", replicas.max)));
}

fn read_pages(fields: &Fields<'_>) -> PageFiles {
    let file = |name| fields.text(name).map(|at| at.value.into());
    PageFiles { maintenance: file("maintenance"), error: file("error") }
}

fn read_resources(fields: &Fields<'_>) -> Option<Resources> {
    let cpu = fields.integer("cpu").map(|at| at.value);
    let memory_bytes = fields.size("memory").map(|at| at.value);
    (cpu.is_some() || memory_bytes.is_some()).then_some(Resources { cpu, memory_bytes })
}

fn read_templates(fields: &Fields<'_>) -> Vec<String> {
    let mut templates: Vec<At<String>> = Vec::new();
    for template in fields.tables("route").iter().filter_map(|route| route.text("path")) {
        match templates.iter().find(|other| other.value == template.value) {
            Some(first) => {
                let what = format!("the route `{}` is there twice", template.value);
                let mistake = Mistake::at(Kind::Rule, template.span, what).why("again here");
                fields.note(mistake.also(first.span.clone(), "first here").help("remove one of them"));
            }
            None => templates.push(template),
        }
    }
    templates.into_iter().map(|at| at.value).collect()
}
