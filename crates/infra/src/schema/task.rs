//! Holds task definitions against what ECS itself accepts: names, kinds, what is required, words of a list, lengths, patterns; and the limits
//! its documentation states beside the model. Terraform's own schema sees the containers as one text. The extract is made by `script/schemas`.

use super::Mistake;
use crate::config::{Resource, Root, Value};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What a request to register a task definition looks like.
const REQUEST: &str = "RegisterTaskDefinitionRequest";

static MODEL: LazyLock<Model> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../schemas/ecs.json")).expect("BUG: the extract is a model")
});

#[derive(Deserialize)]
struct Model {
    shapes: BTreeMap<String, Shape>,
}

/// One shape of the service model.
#[derive(Deserialize)]
struct Shape {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    members: BTreeMap<String, String>,
    #[serde(default)]
    required: Vec<String>,
    #[serde(rename = "enum", default)]
    words: Vec<String>,
    member: Option<String>,
    key: Option<String>,
    value: Option<String>,
    min: Option<f64>,
    max: Option<f64>,
    pattern: Option<String>,
}

/// Limits that stand in the documentation of a member and not in the model: shape, member, least, most, unit.
/// [Amazon ECS API Reference: HealthCheck, ContainerDefinition, PortMapping, EphemeralStorage]
const LIMITS: &[(&str, &str, f64, f64, &str)] = &[
    ("HealthCheck", "interval", 5.0, 300.0, " seconds"),
    ("HealthCheck", "timeout", 2.0, 60.0, " seconds"),
    ("HealthCheck", "retries", 1.0, 10.0, ""),
    ("HealthCheck", "startPeriod", 0.0, 300.0, " seconds"),
    ("ContainerDefinition", "stopTimeout", 0.0, 120.0, " seconds on Fargate"),
    ("ContainerDefinition", "startTimeout", 0.0, 120.0, " seconds on Fargate"),
    ("PortMapping", "containerPort", 1.0, 65_535.0, ""),
    ("EphemeralStorage", "sizeInGiB", 20.0, 200.0, " GiB"),
];

/// Up to 255 letters, digits, underscores and hyphens. [RegisterTaskDefinitionRequest.family, ContainerDefinition.name]
const NAME_MAX: usize = 255;
/// Arguments Terraform has for itself.
const TERRAFORM: [&str; 10] = [
    "skip_destroy",
    "track_latest",
    "region",
    "count",
    "for_each",
    "provider",
    "depends_on",
    "lifecycle",
    "timeouts",
    "tags_all",
];
/// What a provider computes; it stands in plans.
const COMPUTED: [&str; 4] = ["arn", "arn_without_revision", "id", "revision"];

/// Holds every `aws_ecs_task_definition` against the model.
pub fn check(roots: &[Root]) -> Vec<Mistake> {
    let tasks = roots.iter().flat_map(|root| root.of("aws_ecs_task_definition"));
    tasks.flat_map(one).collect()
}

fn one(resource: &Resource) -> Vec<Mistake> {
    let mut walk = Walk { found: Vec::new() };
    let request = request(&resource.values);
    walk.value(&request, REQUEST, "");
    between(&request, &mut walk);
    let place = |path: &str| match path.starts_with("containerDefinitions") {
        true => resource.place("container_definitions"),
        false => resource.place(&snake(path.split(['.', '[']).next().unwrap_or_default())),
    };
    let told = walk.found.into_iter().map(|(path, what)| Mistake {
        at: place(&path),
        what: format!("{}: `{path}` {what}", resource.address),
    });
    told.collect()
}

/// Brings Terraform's arguments into the words of the request.
fn request(values: &Value) -> Value {
    let Value::Map(arguments) = values else { return Value::Map(BTreeMap::new()) };
    let own = arguments.iter().filter(|(name, value)| {
        ![&TERRAFORM[..], &COMPUTED].concat().contains(&name.as_str()) && !is_absent(value)
    });
    let entry = |(name, value): (&String, &Value)| match (name.as_str(), value) {
        ("container_definitions", _) => ("containerDefinitions".to_owned(), value.clone()),
        ("volume", Value::List(volumes)) => {
            ("volumes".to_owned(), Value::List(volumes.iter().map(volume).collect()))
        }
        ("tags", Value::Map(tags)) => ("tags".to_owned(), Value::List(tags.iter().map(tag).collect())),
        // Terraform turns a number into a text where a text is wanted.
        ("cpu" | "memory", Value::Number(_)) => {
            (name.clone(), Value::Text(value.shown().unwrap_or_default()))
        }
        ("requires_compatibilities", _) => ("requiresCompatibilities".to_owned(), value.clone()),
        ("placement_constraints", _) => ("placementConstraints".to_owned(), value.clone()),
        _ => (camel(name), block(value)),
    };
    Value::Map(own.map(entry).collect())
}

fn tag((key, value): (&String, &Value)) -> Value {
    Value::Map(BTreeMap::from([
        ("key".to_owned(), Value::Text(key.clone())),
        ("value".to_owned(), value.clone()),
    ]))
}

fn volume(value: &Value) -> Value {
    let Value::Map(mut volume) = block(value) else { return value.clone() };
    if let Some(path) = volume.remove("hostPath") {
        volume.insert("host".to_owned(), Value::Map(BTreeMap::from([("sourcePath".to_owned(), path)])));
    }
    Value::Map(volume)
}

/// A plan shows a block that nobody wrote as an empty list.
fn is_absent(value: &Value) -> bool {
    value.is_null() || matches!(value, Value::List(list) if list.is_empty())
}

/// A block that may stand there once is a table to the service.
fn block(value: &Value) -> Value {
    match value {
        Value::List(list) => match list.as_slice() {
            [only @ Value::Map(_)] => block(only),
            _ => value.clone(),
        },
        Value::Map(map) => Value::Map(
            map.iter().filter(|(_, value)| !is_absent(value)).map(|(k, v)| (camel(k), block(v))).collect(),
        ),
        other => other.clone(),
    }
}

/// `size_in_gib` → `sizeInGiB`, as the model spells it.
fn camel(name: &str) -> String {
    let mut camel = String::new();
    for (at, part) in name.split('_').enumerate() {
        match part.chars().next() {
            Some(first) if at > 0 => {
                camel.extend(first.to_uppercase());
                camel.push_str(&part[first.len_utf8()..]);
            }
            _ => camel.push_str(part),
        }
    }
    camel.replace("InGib", "InGiB")
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for character in name.chars() {
        if character.is_uppercase() {
            snake.push('_');
        }
        snake.extend(character.to_lowercase());
    }
    snake.replace("volumes", "volume")
}

/// Whether a value is known before an apply.
fn known(value: &Value) -> bool {
    match value {
        Value::Refers(_) | Value::Unknown(_) => false,
        Value::Text(text) => !text.contains("${"),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Map(_) => true,
    }
}

struct Walk {
    /// Path within the request, and what is wrong there.
    found: Vec<(String, String)>,
}

impl Walk {
    fn note(&mut self, path: &str, what: impl Into<String>) {
        self.found.push((path.to_owned(), what.into()));
    }

    fn value(&mut self, value: &Value, name: &str, path: &str) {
        if value.is_null() || matches!(value, Value::Refers(_) | Value::Unknown(_)) {
            return;
        }
        let shape = MODEL.shapes.get(name).expect("BUG: the extract holds every shape it names");
        match (shape.kind.as_str(), value) {
            ("structure", Value::Map(map)) => self.structure(map, name, shape, path),
            ("map", Value::Map(map)) => {
                for (key, value) in map {
                    self.value(
                        &Value::Text(key.clone()),
                        shape.key.as_deref().unwrap_or("String"),
                        &below(path, key),
                    );
                    self.value(value, shape.value.as_deref().unwrap_or("String"), &below(path, key));
                }
            }
            ("list", Value::List(list)) => {
                self.bounds(list.len() as f64, shape, path, "members");
                for (at, value) in list.iter().enumerate() {
                    self.value(value, shape.member.as_deref().unwrap_or("String"), &format!("{path}[{at}]"));
                }
            }
            ("string", Value::Text(text)) if known(value) => self.text(text, shape, path),
            ("string", Value::Text(_)) | ("boolean", Value::Bool(_)) => {}
            ("integer" | "long" | "double" | "float", Value::Number(number)) => {
                if !shape.kind.starts_with(['d', 'f']) && number.fract() != 0.0 {
                    self.note(path, "is not a whole number");
                }
                self.bounds(*number, shape, path, "");
            }
            // What is known after the apply only may be of any kind.
            (_, other) if !known(other) => {}
            (wanted, _) => self.note(path, format!("is not {}", kind(wanted))),
        }
    }

    fn structure(&mut self, map: &BTreeMap<String, Value>, name: &str, shape: &Shape, path: &str) {
        for (key, value) in map {
            match shape.members.get(key) {
                Some(member) => self.value(value, member, &below(path, key)),
                None => {
                    let near = shape
                        .members
                        .keys()
                        .max_by(|a, b| strsim::jaro(a, key).total_cmp(&strsim::jaro(b, key)));
                    let near = near.filter(|near| strsim::jaro(near, key) > 0.8);
                    let hint = near.map(|near| format!("; `{near}` is")).unwrap_or_default();
                    self.note(&below(path, key), format!("is not known to {name}{hint}"));
                }
            }
        }
        for key in shape.required.iter().filter(|key| map.get(*key).is_none_or(Value::is_null)) {
            self.note(&below(path, key), format!("must be there ({name})"));
        }
        for (_, member, least, most, unit) in LIMITS.iter().filter(|(of, ..)| *of == name) {
            let number = map.get(*member).filter(|value| known(value)).and_then(Value::as_number);
            if number.is_some_and(|number| number < *least || number > *most) {
                self.note(&below(path, member), format!("takes {least} to {most}{unit}"));
            }
        }
    }

    fn text(&mut self, text: &str, shape: &Shape, path: &str) {
        if !shape.words.is_empty() && !shape.words.iter().any(|word| word == text) {
            self.note(path, format!("is `{text}`; one of {}", shape.words.join(", ")));
        }
        self.bounds(text.chars().count() as f64, shape, path, "characters");
        // The only pattern of these shapes is that of tags. The test beside it fails when another one comes.
        let tag = |character: char| {
            character.is_alphanumeric() || character.is_whitespace() || "_.:/=+-@".contains(character)
        };
        if shape.pattern.is_some() && !text.chars().all(tag) {
            self.note(path, "has a character that a tag does not take");
        }
    }

    fn bounds(&mut self, size: f64, shape: &Shape, path: &str, what: &str) {
        let least = shape.min.filter(|least| size < *least).map(|least| format!("at least {least}"));
        let most = shape.max.filter(|most| size > *most).map(|most| format!("at most {most}"));
        if let Some(bound) = least.or(most) {
            self.note(path, format!("has {size}; {bound} {what}").trim_end().to_owned());
        }
    }
}

fn kind(of: &str) -> &'static str {
    match of {
        "structure" | "map" => "an object",
        "list" => "a list",
        "boolean" => "true or false",
        "string" => "a text",
        _ => "a number",
    }
}

fn below(path: &str, name: &str) -> String {
    match path.is_empty() {
        true => name.to_owned(),
        false => format!("{path}.{name}"),
    }
}

/// What members say about each other, as the documentation has it.
fn between(request: &Value, walk: &mut Walk) {
    let named = |text: &str| {
        text.len() <= NAME_MAX
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    if let Some(family) = request.at("family").filter(|family| known(family)).and_then(Value::as_text)
        && !named(family)
    {
        walk.note("family", "takes up to 255 letters, digits, underscores and hyphens");
    }
    let volumes: Vec<&str> = match request.at("volumes") {
        Some(Value::List(list)) => list.iter().filter_map(|it| it.at("name")?.as_text()).collect(),
        _ => Vec::new(),
    };
    let fargate = matches!(request.at("requiresCompatibilities"), Some(Value::List(list))
        if list.iter().any(|it| it.as_text() == Some("FARGATE")));
    if fargate {
        for member in ["cpu", "memory"].into_iter().filter(|member| request.at(member).is_none()) {
            walk.note(member, "must be there for Fargate");
        }
        if request.at("networkMode").is_none_or(|mode| known(mode) && mode.as_text() != Some("awsvpc")) {
            walk.note("networkMode", "is `awsvpc` on Fargate");
        }
    }
    let Some(Value::List(containers)) = request.at("containerDefinitions") else { return };
    if containers.is_empty() {
        walk.note("containerDefinitions", "has no container");
    }
    let mut names = std::collections::BTreeSet::new();
    for (at, container) in containers.iter().enumerate() {
        let path = format!("containerDefinitions[{at}]");
        // The model requires neither: one registers, and no task of it can start.
        for member in ["name", "image"].into_iter().filter(|member| container.at(member).is_none()) {
            walk.note(&below(&path, member), "must be there");
        }
        if let Some(name) = container.at("name").filter(|name| known(name)).and_then(Value::as_text) {
            if !named(name) {
                walk.note(&below(&path, "name"), "takes up to 255 letters, digits, underscores and hyphens");
            }
            if !names.insert(name) {
                walk.note(&below(&path, "name"), format!("is `{name}` a second time"));
            }
        }
        self::container(container, &path, fargate, &volumes, walk);
    }
    let essential =
        |container: &Value| container.at("essential").is_none_or(|it| it.as_bool() != Some(false));
    if !containers.is_empty() && !containers.iter().any(essential) {
        walk.note("containerDefinitions", "has no essential container");
    }
}

fn container(container: &Value, path: &str, fargate: bool, volumes: &[&str], walk: &mut Walk) {
    let list = |member: &str| match container.at(member) {
        Some(Value::List(list)) => list.iter().collect::<Vec<&Value>>(),
        _ => Vec::new(),
    };
    let mut names = std::collections::BTreeSet::new();
    for entry in list("environment").into_iter().chain(list("secrets")) {
        if let Some(name) = entry.at("name").and_then(Value::as_text)
            && !names.insert(name)
        {
            walk.note(&below(path, "environment"), format!("and `secrets` hold `{name}` twice"));
        }
    }
    for mount in list("mountPoints") {
        let source = mount.at("sourceVolume").filter(|it| known(it)).and_then(Value::as_text);
        if let Some(source) = source.filter(|source| !volumes.contains(source)) {
            walk.note(
                &below(path, "mountPoints"),
                format!("names the volume `{source}`, which there is none of"),
            );
        }
    }
    if !fargate {
        return;
    }
    for mapping in list("portMappings") {
        if let (Some(host), Some(own)) = (
            mapping.at("hostPort").and_then(Value::as_number),
            mapping.at("containerPort").and_then(Value::as_number),
        ) && host != own
        {
            walk.note(
                &below(path, "portMappings"),
                format!("has the host's port {host} for {own}: on Fargate they are the same"),
            );
        }
    }
    if container.at("privileged").and_then(Value::as_bool) == Some(true) {
        walk.note(&below(path, "privileged"), "does not exist on Fargate");
    }
    let driver = container.at("logConfiguration.logDriver").filter(|it| known(it)).and_then(Value::as_text);
    if driver.is_some_and(|driver| !["awslogs", "splunk", "awsfirelens"].contains(&driver)) {
        walk.note(&below(path, "logConfiguration.logDriver"), "is awslogs, splunk or awsfirelens on Fargate");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extract_has_every_shape_it_names_and_no_pattern_we_do_not_know() {
        for (name, shape) in &MODEL.shapes {
            let named = shape.members.values().chain(&shape.member).chain(&shape.key).chain(&shape.value);
            for inner in named {
                assert!(MODEL.shapes.contains_key(inner), "{name} names {inner}");
            }
            if shape.pattern.is_some() {
                assert!(name.starts_with("Tag"), "{name} has a pattern: {:?}", shape.pattern);
            }
        }
        for (shape, member, ..) in LIMITS {
            assert!(MODEL.shapes[*shape].members.contains_key(*member), "{shape} has no {member}");
        }
    }

    #[test]
    fn arguments_of_terraform_become_members() {
        assert_eq!(camel("operating_system_family"), "operatingSystemFamily");
        assert_eq!(camel("size_in_gib"), "sizeInGiB");
        assert_eq!(snake("networkMode"), "network_mode");
    }
}
