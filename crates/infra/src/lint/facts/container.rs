//! Makes containers of ECS task definitions (JSON, and inside Terraform) and of compose services.

use super::text;
use crate::lint::doc::{At, Kind, Node};
use crate::lint::eval::Scope;
use crate::lint::read::shell::{self, Command};
use crate::lint::sources::Sources;
use crate::lint::value::Value;

/// A task definition.
#[derive(Debug)]
pub struct Task {
    pub at: At,
    pub family: Option<(Value, At)>,
    /// The document of a JSON one.
    pub document: Option<Node>,
    /// Folder and name of a Terraform one.
    pub resource: Option<(String, String)>,
    pub containers: Vec<Container>,
    /// Why containers could not be read.
    pub unread: Option<String>,
}

/// A container that is to run.
#[derive(Debug)]
pub struct Container {
    pub at: At,
    pub name: String,
    pub image: Option<(Value, At)>,
    pub node: Node,
    /// The Terraform folder its names are resolved in.
    pub folder: Option<String>,
    pub env: Vec<Setting>,
    pub secrets: Vec<Setting>,
    pub ports: Vec<(u32, At)>,
    pub probe: Option<Probe>,
    pub log: Option<Log>,
    pub compose: Option<Compose>,
    /// Whether all of its environment could be read.
    pub env_complete: bool,
}

/// What only compose says.
#[derive(Debug)]
pub struct Compose {
    pub file: usize,
    /// Dockerfile and target of `build`.
    pub build: Option<(String, Option<String>)>,
    pub depends_on: Vec<(String, At, bool)>,
    pub profiles: bool,
}

/// A name that is set.
#[derive(Debug)]
pub struct Setting {
    pub name: String,
    pub at: At,
    pub value: Value,
    pub node: Node,
}

/// A health check.
#[derive(Debug)]
pub struct Probe {
    pub at: At,
    pub commands: Vec<Command>,
    /// interval, timeout, retries, start: seconds.
    pub interval: Option<(f64, At)>,
    pub timeout: Option<(f64, At)>,
}

/// Where logs go.
#[derive(Debug)]
pub struct Log {
    pub group: Value,
    pub node: Node,
    pub at: At,
    pub region: Option<(Value, At)>,
    pub creates: bool,
}

/// The task definitions of a tree.
pub fn tasks(sources: &Sources) -> Vec<Task> {
    let mut found: Vec<Task> = Vec::new();
    for (file, root) in &sources.json {
        // What `describe-task-definition` prints has it one level down.
        let root = root.get("taskDefinition").unwrap_or(root);
        let Some(list) = root.get("containerDefinitions") else { continue };
        let family = root.entry("family").map(|entry| (plain(&entry.value), entry.value.at));
        let at = root.entry("containerDefinitions").map_or(At::new(*file, 0, 1), |entry| entry.key_at);
        let containers = list.items().iter().map(|node| container(node, &plain, None)).collect();
        let document = Some(root.clone());
        found.push(Task { at, family, document, resource: None, containers, unread: None });
    }
    for module in sources.modules.values() {
        let scope = Scope::new(sources, module);
        for resource in module.of_kind("aws_ecs_task_definition") {
            let family = resource.block.get("family").map(|node| (scope.value(node), node.at));
            let definitions = resource.block.get("container_definitions");
            let read = definitions.and_then(|node| scope.structure(node));
            let containers = read.as_ref().map_or(Vec::new(), |(list, inner)| {
                list.items()
                    .iter()
                    .filter_map(|node| inner.structure(node))
                    .map(|(node, at)| in_terraform(&node, at))
                    .collect()
            });
            let unread = read.is_none().then(|| {
                "its container definitions are made by an expression that is not evaluated".to_owned()
            });
            let resource_name = Some((module.folder.clone(), resource.name().to_owned()));
            found.push(Task {
                at: resource.head(),
                family,
                document: None,
                resource: resource_name,
                containers,
                unread,
            });
        }
    }
    found
}

fn plain(node: &Node) -> Value {
    node.scalar().map_or_else(|| Value::Unknown("no text".to_owned()), |text| text::value(&text))
}

fn in_terraform(node: &Node, scope: Scope<'_>) -> Container {
    let node = with_structures(node, scope);
    container(&node, &|node| scope.value(node), Some(scope))
}

/// Puts the lists a container names in their place.
fn with_structures(node: &Node, scope: Scope<'_>) -> Node {
    let mut node = node.clone();
    if let Kind::Map(entries) = &mut node.kind {
        for entry in entries {
            if matches!(entry.value.kind, Kind::Ref(_) | Kind::Call(..) | Kind::For(_))
                && let Some((inner, _)) = scope.structure(&entry.value)
            {
                entry.value = inner;
            }
        }
    }
    node
}

fn container(node: &Node, value: &dyn Fn(&Node) -> Value, scope: Option<Scope<'_>>) -> Container {
    let (env, env_complete) = pairs(node.get("environment"), "value", value);
    let (secrets, _) = pairs(node.get("secrets"), "valueFrom", value);
    let port = |map: &Node| {
        let port = map.get("containerPort")?;
        Some((value(port).known()?.parse().ok()?, port.at))
    };
    let probe = node.entry("healthCheck").filter(|entry| entry.value.is_map()).map(|entry| Probe {
        at: entry.key_at,
        commands: entry
            .value
            .get("command")
            .map_or(Vec::new(), |command| shell::from_list(&spoken(command, value))),
        interval: seconds(entry.value.get("interval")),
        timeout: seconds(entry.value.get("timeout")),
    });
    Container {
        at: node.entry("name").map_or(node.at, |entry| entry.value.at),
        name: node.get("name").map_or(String::new(), |name| value(name).to_string()),
        image: node.get("image").map(|image| (value(image), image.at)),
        folder: scope.map(|scope| scope.module.folder.clone()),
        env,
        secrets,
        ports: node
            .get("portMappings")
            .map_or(Vec::new(), |list| list.items().iter().filter_map(port).collect()),
        probe,
        log: node.get("logConfiguration").and_then(|log| log_of(log, value)),
        node: node.clone(),
        compose: None,
        env_complete,
    }
}

/// The words of a command, names put in as far as they are known.
fn spoken(command: &Node, value: &dyn Fn(&Node) -> Value) -> Vec<Node> {
    let word = |node: &Node| Node { at: node.at, kind: Kind::Text(value(node).to_string()) };
    let known = |node: &Node| if node.text().is_some() { node.clone() } else { word(node) };
    command.items().iter().map(known).collect()
}

fn seconds(node: Option<&Node>) -> Option<(f64, At)> {
    let node = node?;
    let text = node.scalar()?;
    Some((duration(&text)?, node.at))
}

/// `30`, `30s`, `1m30s`, `500ms` in seconds.
pub fn duration(text: &str) -> Option<f64> {
    let mut total = 0.0;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().ok()?;
        let unit_end = rest[end..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| end + at);
        total += number
            * match &rest[end..unit_end] {
                "" | "s" => 1.0,
                "ms" => 0.001,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    Some(total)
}

fn pairs(list: Option<&Node>, key: &str, value: &dyn Fn(&Node) -> Value) -> (Vec<Setting>, bool) {
    let Some(list) = list else { return (Vec::new(), true) };
    let one = |item: &Node| {
        let name = item.get("name")?;
        let node = item.get(key)?;
        Some(Setting {
            name: value(name).known()?.to_owned(),
            at: name.at,
            value: value(node),
            node: node.clone(),
        })
    };
    let found: Vec<Setting> = list.items().iter().filter_map(one).collect();
    let complete = matches!(list.kind, Kind::List(_)) && found.len() == list.items().len();
    (found, complete)
}

fn log_of(log: &Node, value: &dyn Fn(&Node) -> Value) -> Option<Log> {
    let options = log.get("options")?;
    let group = options.get("awslogs-group")?;
    Some(Log {
        group: value(group),
        node: group.clone(),
        at: group.at,
        region: options.get("awslogs-region").map(|region| (value(region), region.at)),
        creates: options.get("awslogs-create-group").and_then(Node::truth).unwrap_or(false),
    })
}

/// The services of compose files.
pub fn compose(sources: &Sources) -> Vec<Container> {
    let mut found = Vec::new();
    for (file, root) in &sources.yaml {
        let path = &sources.files[*file].path;
        let name = crate::tree::file_name(path);
        if !(name.starts_with("compose") || name.starts_with("docker-compose")) {
            continue;
        }
        for entry in root.get("services").map_or(&[][..], Node::entries) {
            found.push(service(*file, path, &entry.key, entry.key_at, &entry.value));
        }
    }
    found
}

fn service(file: usize, path: &str, name: &str, at: At, node: &Node) -> Container {
    let (env, env_complete) = compose_env(node);
    Container {
        at,
        name: name.to_owned(),
        image: node.get("image").map(|image| (plain(image), image.at)),
        node: node.clone(),
        folder: None,
        env,
        secrets: Vec::new(),
        ports: node
            .get("ports")
            .map_or(Vec::new(), |list| list.items().iter().filter_map(compose_port).collect()),
        probe: compose_probe(node),
        log: None,
        compose: Some(Compose {
            file,
            build: build(crate::tree::folder(path), node.get("build")),
            depends_on: depends(node.get("depends_on")),
            profiles: node.get("profiles").is_some(),
        }),
        env_complete,
    }
}

fn compose_env(node: &Node) -> (Vec<Setting>, bool) {
    let complete = node.get("env_file").is_none() && node.get("extends").is_none();
    let Some(env) = node.get("environment") else { return (Vec::new(), complete) };
    let mut found: Vec<Setting> = env
        .entries()
        .iter()
        .map(|entry| Setting {
            name: entry.key.clone(),
            at: entry.key_at,
            value: plain(&entry.value),
            node: entry.value.clone(),
        })
        .collect();
    for item in env.items() {
        let text = item.scalar().unwrap_or_default();
        let (name, value) = text.split_once('=').unwrap_or((&text, ""));
        found.push(Setting {
            name: name.to_owned(),
            at: item.at,
            value: text::value(value),
            node: item.clone(),
        });
    }
    (found, complete)
}

/// The port inside the container.
fn compose_port(node: &Node) -> Option<(u32, At)> {
    if let Some(target) = node.get("target") {
        return Some((target.scalar()?.parse().ok()?, target.at));
    }
    let text = node.scalar()?;
    let port = text.split('/').next()?.rsplit(':').next()?;
    Some((port.parse().ok()?, node.at))
}

fn compose_probe(node: &Node) -> Option<Probe> {
    let entry = node.entry("healthcheck")?;
    let test = entry.value.get("test")?;
    let commands = match test.text() {
        Some(line) => shell::read(line, test.at.file, test.at.span.start),
        None => shell::from_list(test.items()),
    };
    let clamp = |mut command: Command| {
        for word in &mut command.words {
            word.at.span.end = word.at.span.end.min(test.at.span.end.max(word.at.span.start));
        }
        command
    };
    Some(Probe {
        at: entry.key_at,
        commands: commands.into_iter().map(clamp).collect(),
        interval: seconds(entry.value.get("interval")),
        timeout: seconds(entry.value.get("timeout")),
    })
}

/// The path of the Dockerfile, and the target stage.
fn build(folder: &str, node: Option<&Node>) -> Option<(String, Option<String>)> {
    let node = node?;
    let (context, dockerfile, target) = match node.scalar() {
        Some(context) => (context, None, None),
        None => (
            node.get("context").and_then(Node::scalar).unwrap_or_else(|| ".".to_owned()),
            node.get("dockerfile").and_then(Node::scalar),
            node.get("target").and_then(Node::scalar),
        ),
    };
    let context = crate::tree::join(folder, &context)?;
    let dockerfile = crate::tree::join(&context, dockerfile.as_deref().unwrap_or("Dockerfile"))?;
    Some((dockerfile, target))
}

/// Names a service waits for, and whether until they are healthy.
fn depends(node: Option<&Node>) -> Vec<(String, At, bool)> {
    let Some(node) = node else { return Vec::new() };
    let listed = node.items().iter().filter_map(|item| Some((item.scalar()?, item.at, false)));
    let mapped = node.entries().iter().map(|entry| {
        let healthy = entry.value.get("condition").and_then(Node::text) == Some("service_healthy");
        (entry.key.clone(), entry.key_at, healthy)
    });
    listed.chain(mapped).collect()
}
