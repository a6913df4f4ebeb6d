//! Compose files: services that are waited for and addressed exist, and can be reached.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::Node;
use crate::lint::facts::container::Container;
use crate::lint::graph::Graph;

pub const RULES: &[Rule] = &[
    Rule {
        id: "compose/service-unknown",
        severity: Severity::High,
        says: "A service that is waited for is in the file.",
        why: "Compose refuses the file.",
        instead: "the service's name",
        check: service_unknown,
    },
    Rule {
        id: "compose/health-without-check",
        severity: Severity::High,
        says: "A service that is waited for until it is healthy has a health check.",
        why: "Without one it never becomes healthy: compose ends with `has no healthcheck configured`.",
        instead: "a `healthcheck` for that service",
        check: health_without_check,
    },
    Rule {
        id: "compose/host-unknown",
        severity: Severity::High,
        says: "An address of another container names a service of the file.",
        why: "Compose makes names of services only: any other name does not resolve, and `localhost` is the container itself.",
        instead: "the service's name and the port inside its container",
        check: host_unknown,
    },
    Rule {
        id: "compose/port-unserved",
        severity: Severity::High,
        says: "A published port leads to the port the program listens on.",
        why: "Connections are accepted, and reset: nothing listens behind.",
        instead: "HOST:PORT with the port the program listens on",
        check: port_unserved,
    },
    Rule {
        id: "compose/credentials-mismatch",
        severity: Severity::Critical,
        says: "An address of a database has the user, password and name the database is made with.",
        why: "The database refuses the login, or has no such database: nothing that needs it starts.",
        instead: "the same values, best from one variable",
        check: credentials_mismatch,
    },
];

/// The services of the same file.
fn siblings<'g>(graph: &'g Graph, service: &Container) -> Vec<&'g Container> {
    let file = service.compose.as_ref().map(|compose| compose.file);
    graph.compose.iter().filter(|other| other.compose.as_ref().map(|compose| compose.file) == file).collect()
}

fn nearest<'g>(all: &[&'g Container], name: &str) -> Option<&'g Container> {
    all.iter().min_by_key(|service| strsim::levenshtein(&service.name, name)).copied()
}

/// Whether a file builds on another one: then names may be in that.
fn is_partial(graph: &Graph, service: &Container) -> bool {
    let Some(compose) = &service.compose else { return true };
    let name = crate::tree::file_name(&graph.sources.files[compose.file].path);
    let includes = graph
        .sources
        .yaml
        .iter()
        .find(|(file, _)| *file == compose.file)
        .is_some_and(|(_, root)| root.get("include").is_some());
    let overrides = name.split('.').count() > 2;
    includes || overrides
}

fn service_unknown(out: &mut Out<'_>) {
    let graph = out.graph;
    for service in &graph.compose {
        let Some(compose) = &service.compose else { continue };
        if is_partial(graph, service) {
            continue;
        }
        let all = siblings(graph, service);
        for (name, at, _) in &compose.depends_on {
            if !all.iter().any(|other| other.name == *name) {
                let near = nearest(&all, name);
                let told = out.say(
                    *at,
                    format!("`{}` waits for `{name}`, which is no service of this file", service.name),
                );
                if let Some(near) = near {
                    told.against(near.at, format!("the nearest is `{}`", near.name))
                        .instead(format!("`{}`", near.name));
                }
            }
        }
    }
}

fn health_without_check(out: &mut Out<'_>) {
    let graph = out.graph;
    for service in &graph.compose {
        let Some(compose) = &service.compose else { continue };
        let all = siblings(graph, service);
        for (name, at, healthy) in &compose.depends_on {
            let Some(other) = all.iter().find(|other| healthy & (other.name == *name)) else { continue };
            if other.node.get("healthcheck").is_some() {
                continue;
            }
            let in_image = match graph.built(other) {
                Some(built) => {
                    let docker = &graph.sources.dockerfiles[built.docker];
                    docker
                        .lineage(built.stage)
                        .iter()
                        .any(|stage| docker.stages[*stage].last("HEALTHCHECK").is_some())
                }
                // An image that is not built here may bring its own check; those of the library do not.
                None => other.image.as_ref().is_none_or(|(image, _)| image.to_string().contains('/')),
            };
            if !in_image {
                out.say(
                    *at,
                    format!("`{}` waits until `{name}` is healthy, but nothing checks that", service.name),
                )
                .against(other.at, "it has no health check");
            }
        }
    }
}

/// Host and port of an address.
fn address(text: &str) -> Option<(String, Option<u32>)> {
    let rest = text.split_once("://")?.1;
    let rest = rest.split(['/', '?', ',']).next()?;
    let host = rest.rsplit('@').next()?;
    let (host, port) = host.split_once(':').map_or((host, None), |(host, port)| (host, port.parse().ok()));
    Some((host.to_owned(), port))
}

fn host_unknown(out: &mut Out<'_>) {
    let graph = out.graph;
    for service in &graph.compose {
        if is_partial(graph, service)
            || service.node.get("network_mode").is_some()
            || service.node.get("extra_hosts").is_some()
        {
            continue;
        }
        let all = siblings(graph, service);
        for setting in &service.env {
            let text = setting.value.to_string();
            let named = setting.name.ends_with("_HOST") || setting.name == "PGHOST";
            let found = address(&text).or_else(|| named.then(|| (text.clone(), None)));
            let Some((host, port)) = found else { continue };
            if host.is_empty()
                || host.contains(['$', '.'])
                || host == "0.0.0.0"
                || text.starts_with("http") && host == "localhost"
            {
                continue;
            }
            let known = all.iter().find(|other| other.name == host || alias(other, &host));
            match known {
                None => {
                    let others: Vec<&Container> =
                        all.iter().copied().filter(|other| other.name != service.name).collect();
                    let near = nearest(&others, &host);
                    let told = out.say(
                        setting.at,
                        format!("`{}` addresses `{host}`, which is no service of this file", service.name),
                    );
                    if let Some(near) = near {
                        told.against(near.at, format!("the nearest is `{}`", near.name))
                            .instead(format!("`{}`", near.name));
                    }
                }
                Some(other) => wrong_port(out, service, setting, other, port),
            }
        }
    }
}

fn alias(service: &Container, host: &str) -> bool {
    let text = |key: &str| service.node.get(key).and_then(Node::scalar);
    if text("container_name").as_deref() == Some(host) || text("hostname").as_deref() == Some(host) {
        return true;
    }
    let mut found = false;
    if let Some(networks) = service.node.get("networks") {
        networks.walk(&mut |node| found |= node.text() == Some(host));
    }
    found
}

/// Ports that images of the library listen on.
pub(super) const PORTS: &[(&str, u32)] = &[
    ("postgres", 5432),
    ("redis", 6379),
    ("valkey", 6379),
    ("mysql", 3306),
    ("mariadb", 3306),
    ("mongo", 27017),
    ("rabbitmq", 5672),
    ("memcached", 11211),
];

/// `postgres:5433` where 5433 is the port outside.
fn wrong_port(
    out: &mut Out<'_>,
    service: &Container,
    setting: &crate::lint::facts::container::Setting,
    other: &Container,
    port: Option<u32>,
) {
    let Some(port) = port else { return };
    let Some((image, _)) = &other.image else { return };
    let image = crate::lint::facts::image::Image::of(image);
    let Some((_, usual)) = PORTS.iter().find(|(name, _)| *name == image.short()) else { return };
    let moved = other.node.get("command").is_some();
    if port != *usual && !moved && !other.env.iter().any(|setting| setting.name.contains("PORT")) {
        let at = other.ports.first().map_or(other.at, |port| port.1);
        out.say(
            setting.at,
            format!(
                "`{}` addresses `{}` at port {port}, but it listens on {usual}",
                service.name, other.name
            ),
        )
        .against(at, format!("inside its container it is {usual}"))
        .instead(format!("port {usual}"));
    }
}

fn port_unserved(out: &mut Out<'_>) {
    let graph = out.graph;
    for service in &graph.compose {
        let [(inside, at)] = service.ports.as_slice() else { continue };
        let listens = graph.listens(service).or_else(|| {
            let image = crate::lint::facts::image::Image::of(&service.image.as_ref()?.0);
            let usual = PORTS.iter().find(|(name, _)| *name == image.short())?;
            (service.node.get("command").is_none() && service.compose.as_ref()?.build.is_none())
                .then_some((usual.1, service.image.as_ref()?.1))
        });
        // A command of its own may listen elsewhere.
        if service.node.get("command").is_some() {
            continue;
        }
        if let Some((port, place)) = listens.filter(|listens| listens.0 != *inside) {
            out.say(*at, format!("`{}` publishes its port {inside}, but listens on {port}", service.name))
                .against(place, format!("port {port}"))
                .instead(format!("port {port}"));
        }
    }
}

/// What images of databases are told at their first start: user, password, database, and the user when none is named.
const LOGINS: &[(&str, [&str; 3], Option<&str>)] = &[
    ("postgres", ["POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB"], Some("postgres")),
    ("mysql", ["MYSQL_USER", "MYSQL_PASSWORD", "MYSQL_DATABASE"], None),
    ("mariadb", ["MARIADB_USER", "MARIADB_PASSWORD", "MARIADB_DATABASE"], None),
];

/// User, password and database of an address.
fn login(text: &str) -> Option<[Option<String>; 3]> {
    let rest = text.split_once("://")?.1;
    let (who, rest) = rest.split_once('@')?;
    let (user, password) =
        who.split_once(':').map_or((who, None), |(user, password)| (user, Some(password.to_owned())));
    let name = rest.split_once('/').map(|(_, name)| name.split('?').next().unwrap_or_default().to_owned());
    Some([Some(user.to_owned()), password, name.filter(|name| !name.is_empty())])
}

fn credentials_mismatch(out: &mut Out<'_>) {
    let graph = out.graph;
    for service in graph.compose.iter().filter(|service| !is_partial(graph, service)) {
        let all = siblings(graph, service);
        for setting in &service.env {
            let text = setting.value.to_string();
            let (Some((host, _)), Some(login)) = (address(&text), login(&text)) else { continue };
            let Some(other) = all.iter().find(|other| other.name == host || alias(other, &host)) else {
                continue;
            };
            let Some((image, _)) = &other.image else { continue };
            let image = crate::lint::facts::image::Image::of(image);
            let Some((_, names, usual)) = LOGINS.iter().find(|(name, ..)| *name == image.short()) else {
                continue;
            };
            if !other.env_complete || !text.contains("://") {
                continue;
            }
            let given = |name: &str| other.env.iter().find(|setting| setting.name == name);
            for (index, name) in names.iter().enumerate() {
                let Some(asked) = login[index].as_ref().filter(|asked| !asked.contains('$')) else {
                    continue;
                };
                let own = given(name);
                // Without a name of its own the database is called like its user.
                let made = match (own, index) {
                    (Some(setting), _) => setting.value.known().map(str::to_owned),
                    (None, 0) => usual.map(str::to_owned),
                    (None, 2) => given(names[0])
                        .map_or(usual.map(str::to_owned), |user| user.value.known().map(str::to_owned)),
                    (None, _) => None,
                };
                let root = index < 2 && login[0].as_deref() == Some("root");
                if let Some(made) = made.filter(|made| made != asked && !made.contains('$') && !root) {
                    let what = ["user", "password", "database"][index];
                    let shown = if index == 1 {
                        String::new()
                    } else {
                        format!(" `{asked}`, but it is made with `{made}`")
                    };
                    out.say(
                        setting.at,
                        format!("`{}` addresses `{}` with another {what}{shown}", service.name, other.name),
                    )
                    .against(
                        own.map_or(other.at, |setting| setting.at),
                        format!("the {what} it is made with"),
                    );
                    break;
                }
            }
        }
    }
}
