//! Reverse proxies: what nginx passes requests to exists, and listens there.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::At;
use crate::lint::facts::container::Container;

pub const RULES: &[Rule] = &[
    Rule {
        id: "proxy/host-unknown",
        severity: Severity::Critical,
        says: "A proxy passes requests to a service of the compose file it runs in.",
        why: "nginx does not start with a host it cannot resolve: `host not found in upstream`.",
        instead: "the service's name",
        check: host_unknown,
    },
    Rule {
        id: "proxy/port-mismatch",
        severity: Severity::Critical,
        says: "A proxy passes requests to the port the service listens on.",
        why: "Connection refused: every request through it is answered with 502.",
        instead: "the port the service listens on inside its container",
        check: port_mismatch,
    },
];

/// `proxy_pass http://HOST:PORT`, and `server HOST:PORT` of an upstream, with its place.
struct Passed {
    host: String,
    port: Option<u32>,
    at: At,
}

/// Reads the directives of an nginx configuration that name a host.
fn passed(file: usize, text: &str) -> Vec<Passed> {
    let mut found = Vec::new();
    let mut upstreams = Vec::new();
    let mut start = 0;
    let mut in_upstream = false;
    for line in text.split_inclusive('\n') {
        let code = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> =
            code.split([' ', '\t', ';', '\n', '{']).filter(|word| !word.is_empty()).collect();
        let target = match words.as_slice() {
            ["upstream", name, ..] => {
                upstreams.push((*name).to_owned());
                in_upstream = true;
                None
            }
            ["server", target, ..] if in_upstream => Some(*target),
            ["proxy_pass" | "uwsgi_pass" | "grpc_pass" | "fastcgi_pass", target, ..] => Some(*target),
            _ => None,
        };
        in_upstream &= !code.contains('}');
        if let Some(target) = target
            && let Some(offset) = line.find(target)
        {
            let address = target.split_once("://").map_or(target, |(_, rest)| rest);
            let address = address.split('/').next().unwrap_or_default();
            let (host, port) =
                address.split_once(':').map_or((address, None), |(host, port)| (host, port.parse().ok()));
            let at = At::new(file, start + offset, start + offset + target.len());
            found.push(Passed { host: host.to_owned(), port, at });
        }
        start += line.len();
    }
    let resolved_elsewhere = |passed: &Passed| {
        upstreams.contains(&passed.host)
            || passed.host.contains(['$', '.'])
            || passed.host == "localhost"
            || passed.host == "unix"
    };
    found.retain(|passed| !passed.host.is_empty() && !resolved_elsewhere(passed));
    found
}

/// The proxies of the tree, with the services of the compose file that mounts or builds them.
fn proxies<'g>(out: &Out<'g>) -> Vec<(Passed, Vec<&'g Container>)> {
    let graph = out.graph;
    let mut found = Vec::new();
    let files: std::collections::BTreeSet<usize> =
        graph.compose.iter().filter_map(|service| Some(service.compose.as_ref()?.file)).collect();
    // With several compose files nobody can say which one a proxy belongs to.
    let [only] = files.into_iter().collect::<Vec<_>>()[..] else { return found };
    let services: Vec<&Container> = graph.compose.iter().collect();
    for (file, known) in graph.sources.files.iter().enumerate() {
        let nginx = known.path.ends_with(".conf") || known.path.ends_with(".conf.template");
        if nginx && (known.text.contains("proxy_pass") || known.text.contains("upstream")) {
            found.extend(passed(file, &known.text).into_iter().map(|passed| (passed, services.clone())));
        }
    }
    let _ = only;
    found
}

fn named<'g>(services: &[&'g Container], host: &str) -> Option<&'g Container> {
    let text =
        |service: &Container, key: &str| service.node.get(key).and_then(crate::lint::doc::Node::scalar);
    services.iter().copied().find(|service| {
        let alias = service.node.get("networks").is_some_and(|networks| {
            let mut found = false;
            networks.walk(&mut |node| found |= node.text() == Some(host));
            found
        });
        service.name == host
            || alias
            || ["container_name", "hostname"].iter().any(|key| text(service, key).as_deref() == Some(host))
    })
}

fn host_unknown(out: &mut Out<'_>) {
    for (passed, services) in proxies(out) {
        if named(&services, &passed.host).is_some() {
            continue;
        }
        let near = services.iter().min_by_key(|service| strsim::levenshtein(&service.name, &passed.host));
        let told = out.say(
            passed.at,
            format!("requests are passed to `{}`, which is no service of the compose file", passed.host),
        );
        if let Some(near) = near {
            told.against(near.at, format!("the nearest is `{}`", near.name))
                .instead(format!("`{}`", near.name));
        }
    }
}

fn port_mismatch(out: &mut Out<'_>) {
    let graph = out.graph;
    for (passed, services) in proxies(out) {
        let Some(service) =
            named(&services, &passed.host).filter(|service| service.node.get("command").is_none())
        else {
            continue;
        };
        let asked = passed.port.unwrap_or(80);
        if let Some((port, place)) = graph.listens(service).filter(|listens| listens.0 != asked) {
            out.say(
                passed.at,
                format!("requests are passed to port {asked} of `{}`, which listens on {port}", service.name),
            )
            .against(place, format!("port {port}"))
            .instead(format!("port {port}"));
        }
    }
}
