//! Health checks: the program is in the image, the port is listened on, the path is answered, the times make sense.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::{At, Node};
use crate::lint::facts::container::{Container, duration};
use crate::lint::facts::programs::Presence;
use crate::lint::graph::Graph;
use crate::lint::read::shell::Command;

pub const RULES: &[Rule] = &[
    Rule {
        id: "probe/program-missing",
        severity: Severity::Critical,
        says: "A health check calls a program the image has.",
        why: "A check whose program is missing fails for ever: the platform kills every task, and no deployment becomes stable. ECS ignores the HEALTHCHECK of the image. https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html",
        instead: "a program the image has: `node -e \"fetch(…)\"`, BusyBox's `wget -q --spider`, or the application itself; or install it in the final stage",
        check: program_missing,
    },
    Rule {
        id: "probe/port-mismatch",
        severity: Severity::Critical,
        says: "A health check asks the port the program listens on.",
        why: "Connection refused is unhealthy: the platform kills every task.",
        instead: "the port the program listens on",
        check: port_mismatch,
    },
    Rule {
        id: "probe/path-missing",
        severity: Severity::Critical,
        says: "A health check asks a path the program answers.",
        why: "404 is unhealthy: the platform kills every task, or the balancer sends it nothing.",
        instead: "a path the program answers",
        check: path_missing,
    },
    Rule {
        id: "probe/timing",
        severity: Severity::High,
        says: "A check may take less time than lies between two of them.",
        why: "With a timeout of the interval or more, a hanging check is found late or never; ECS and balancers refuse some such values.",
        instead: "a timeout well below the interval",
        check: timing,
    },
];

/// A check: what runs it, its commands, and where it stands.
struct Check<'g> {
    container: Option<&'g Container>,
    /// Dockerfile and stage of an image's own check.
    image: Option<(usize, usize)>,
    commands: Vec<Command>,
}

fn checks(graph: &Graph) -> Vec<Check<'_>> {
    let mut found = Vec::new();
    for container in graph.containers() {
        if let Some(probe) = &container.probe {
            found.push(Check { container: Some(container), image: None, commands: probe.commands.clone() });
        }
    }
    for (docker, file) in graph.sources.dockerfiles.iter().enumerate() {
        for (stage, inner) in file.stages.iter().enumerate() {
            if let Some(check) = inner.last("HEALTHCHECK") {
                found.push(Check {
                    container: None,
                    image: Some((docker, stage)),
                    commands: check.commands(),
                });
            }
        }
    }
    found
}

fn presence(graph: &Graph, check: &Check<'_>, program: &str) -> (Presence, Option<At>) {
    match (check.container, check.image) {
        (Some(container), _) => graph.presence(container, program),
        (None, Some((docker, stage))) => {
            let file = &graph.sources.dockerfiles[docker];
            (
                crate::lint::facts::programs::in_stage(file, stage, program),
                Some(crate::lint::facts::programs::base_at(file, stage)),
            )
        }
        (None, None) => (Presence::Unknown(String::new()), None),
    }
}

/// Words of the shell itself.
const BUILTINS: &[&str] = &[
    "exit", "test", "[", "[[", "echo", "true", "false", "kill", "cd", "set", "export", "if", "for", "while",
    "case", "printf", ":",
];

fn program_missing(out: &mut Out<'_>) {
    let graph = out.graph;
    for check in checks(graph) {
        let mut told = Vec::new();
        for command in &check.commands {
            let Some(word) = command.program() else { continue };
            if BUILTINS.contains(&word.text.as_str()) || word.text.contains('$') || told.contains(&word.text)
            {
                continue;
            }
            told.push(word.text.clone());
            match presence(graph, &check, &word.text) {
                (Presence::Present, _) => {}
                (Presence::Missing(why), base) => {
                    let message = format!(
                        "the health check calls `{}`, which the image does not have: {why}",
                        word.text
                    );
                    let told = out.say(word.at, message);
                    if let Some(base) = base {
                        told.against(base, "the image it runs in");
                    }
                }
                (Presence::Unknown(why), _) => out.unknown(word.at, why),
            }
        }
    }
}

/// `http://localhost:3000/health` taken apart: port and path.
fn local_urls(commands: &[Command]) -> Vec<(u32, String, At)> {
    let mut found = Vec::new();
    for word in commands.iter().flat_map(|command| &command.words) {
        for host in ["localhost", "127.0.0.1", "0.0.0.0", "[::1]"] {
            let Some(at) =
                word.text.find(&format!("{host}:")).or_else(|| word.text.find(&format!("{host}/")))
            else {
                continue;
            };
            let rest = &word.text[at + host.len()..];
            let (port, rest) = match rest.strip_prefix(':') {
                Some(rest) => {
                    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                    (rest[..end].parse().ok(), &rest[end..])
                }
                None => (Some(if word.text.contains("https://") { 443 } else { 80 }), rest),
            };
            let end = rest.find(['\'', '"', ' ', ')', ',', '`', ';']).unwrap_or(rest.len());
            let path = if rest.starts_with('/') { rest[..end].to_owned() } else { String::new() };
            if let Some(port) = port.filter(|_| !rest.starts_with('$')) {
                found.push((port, path, word.at));
            }
            break;
        }
    }
    found
}

fn port_mismatch(out: &mut Out<'_>) {
    let graph = out.graph;
    for check in checks(graph) {
        let listens = match (check.container, check.image) {
            (Some(container), _) => listened(graph, container),
            (None, Some((docker, stage))) => image_port(graph, docker, stage),
            (None, None) => None,
        };
        let Some((port, at)) = listens else { continue };
        let several = check.container.is_some_and(|container| container.ports.len() > 1);
        for (asked, _, word) in local_urls(&check.commands) {
            let exposed =
                check.container.is_some_and(|container| container.ports.iter().any(|(own, _)| *own == asked));
            if asked != port && !(several && exposed) {
                out.say(
                    word,
                    format!("the health check asks port {asked}, but the program listens on {port}"),
                )
                .against(at, format!("port {port}"))
                .instead(format!("port {port}"));
            }
        }
    }
    for (_, container) in graph.task_containers() {
        let Some((port, at)) = graph.listens(container) else { continue };
        if let [(mapped, mapped_at)] = container.ports.as_slice()
            && *mapped != port
        {
            out.say(
                *mapped_at,
                format!("the container maps port {mapped}, but the program listens on {port}"),
            )
            .against(at, format!("port {port}"))
            .instead(format!("port {port}"));
        }
    }
    balancer_ports(out);
}

/// What a container listens on: what its program says, else the only port it maps.
fn listened(graph: &Graph, container: &Container) -> Option<(u32, At)> {
    graph.listens(container).or(match container.ports.as_slice() {
        [only] if container.compose.is_none() => Some(*only),
        _ => None,
    })
}

/// The port of an image by itself.
fn image_port(graph: &Graph, docker: usize, stage: usize) -> Option<(u32, At)> {
    let built = crate::lint::graph::Built { docker, stage };
    let file = &graph.sources.dockerfiles[docker];
    for stage in file.lineage(stage) {
        for env in file.stages[stage].all("ENV") {
            if let Some((_, value, at)) = env.pairs().iter().find(|pair| pair.0 == "PORT") {
                return Some((value.parse().ok()?, *at));
            }
        }
    }
    graph.exposed(built)
}

/// Target groups with a health check on a port of its own.
fn balancer_ports(out: &mut Out<'_>) {
    let graph = out.graph;
    for service in graph.resources("aws_ecs_service") {
        let scope = graph.scope(service.module);
        for balancer in service.block.blocks("load_balancer") {
            let Some(group) = balancer.get("target_group_arn").and_then(|node| scope.resource(node)) else {
                continue;
            };
            let Some(port) = balancer
                .get("container_port")
                .and_then(|node| Some((scope.value(node).known()?.parse::<u32>().ok()?, node.at)))
            else {
                continue;
            };
            let check = group.0.block.block("health_check").and_then(|block| block.get("port"));
            let scope = graph.scope(group.0.module);
            if let Some(node) = check
                && let Some(asked) = scope.value(node).known().and_then(|text| text.parse::<u32>().ok())
                && asked != port.0
            {
                out.say(
                    node.at,
                    format!(
                        "the balancer's health check asks port {asked}, but the container listens on {}",
                        port.0
                    ),
                )
                .against(port.1, format!("port {}", port.0))
                .instead("`\"traffic-port\"`");
            }
        }
    }
}

fn path_missing(out: &mut Out<'_>) {
    let graph = out.graph;
    for check in checks(graph) {
        let app = match check.container {
            Some(container) => graph.app_of(container),
            None => check.image.and_then(|(docker, _)| image_app(graph, docker)),
        };
        let Some(app) = app.filter(|app| !app.routes.is_empty()) else { continue };
        for (_, path, at) in local_urls(&check.commands) {
            if !path.is_empty() && !path.contains('$') && !app.answers(&path) {
                say_path(out, &app, &path, at);
            }
        }
    }
    let app = graph.app();
    if app.routes.is_empty() || graph.sources.dockerfiles.len() > 1 {
        return;
    }
    for (node, at) in balancer_paths(graph) {
        if !app.answers(&node) {
            say_path(out, app, &node, at);
        }
    }
}

/// The program an image is made of, when there is one Dockerfile only.
fn image_app(graph: &Graph, docker: usize) -> Option<std::sync::Arc<crate::lint::facts::app::App>> {
    let path = &graph.sources.files[graph.sources.dockerfiles[docker].file].path;
    let folder = crate::tree::folder(path);
    if graph.sources.dockerfiles.len() > 1 && folder.is_empty() {
        return None;
    }
    Some(graph.app_below(if graph.sources.dockerfiles.len() == 1 { "" } else { folder }))
}

fn say_path(out: &mut Out<'_>, app: &crate::lint::facts::app::App, path: &str, at: At) {
    let near = app
        .routes
        .iter()
        .min_by_key(|(route, _)| strsim::levenshtein(route, path))
        .map(|(route, at)| (route.clone(), *at));
    let told = out.say(at, format!("the health check asks `{path}`, which the program does not answer"));
    if let Some((route, place)) = near {
        told.against(place, format!("the nearest path it answers is `{route}`"))
            .instead(format!("`{route}`"));
    }
}

/// The paths balancers and DNS ask.
fn balancer_paths(graph: &Graph) -> Vec<(String, At)> {
    let mut found = Vec::new();
    for group in graph.resources("aws_lb_target_group").chain(graph.resources("aws_alb_target_group")) {
        let node = group.block.block("health_check").and_then(|block| block.get("path"));
        if let Some((path, at)) =
            node.and_then(|node| Some((graph.scope(group.module).value(node).known()?.to_owned(), node.at)))
        {
            found.push((path, at));
        }
    }
    for check in graph.resources("aws_route53_health_check") {
        if let Some((path, at)) = check
            .block
            .get("resource_path")
            .and_then(|node| Some((graph.scope(check.module).value(node).known()?.to_owned(), node.at)))
        {
            found.push((path, at));
        }
    }
    found.retain(|(path, _)| path.len() > 1);
    found
}

fn timing(out: &mut Out<'_>) {
    let mut pairs: Vec<((f64, At), (f64, At))> = Vec::new();
    for container in out.graph.containers() {
        if let Some(probe) = &container.probe
            && let (Some(interval), Some(timeout)) = (probe.interval, probe.timeout)
        {
            pairs.push((interval, timeout));
        }
    }
    for docker in &out.graph.sources.dockerfiles {
        for check in docker.stages.iter().flat_map(|stage| stage.all("HEALTHCHECK")) {
            let flag = |name: &str| {
                check
                    .flags
                    .iter()
                    .find(|flag| flag.0 == name)
                    .and_then(|flag| Some((duration(&flag.1)?, flag.2)))
            };
            if let (Some(interval), Some(timeout)) = (flag("interval"), flag("timeout")) {
                pairs.push((interval, timeout));
            }
        }
    }
    for group in out.graph.resources("aws_lb_target_group") {
        let Some(block) = group.block.block("health_check") else { continue };
        let number = |key: &str| block.get(key).and_then(|node: &Node| Some((node.number()?, node.at)));
        if let (Some(interval), Some(timeout)) = (number("interval"), number("timeout")) {
            pairs.push((interval, timeout));
        }
    }
    for ((interval, interval_at), (timeout, timeout_at)) in pairs {
        if timeout >= interval {
            out.say(
                timeout_at,
                format!(
                    "the check may take {timeout} s, which is not less than the {interval} s between checks"
                ),
            )
            .against(interval_at, format!("every {interval} s"));
        }
    }
}
