//! Evaluates Terraform's expressions as far as files tell: variables with defaults, locals, `for_each`, modules in the tree.
//! What differs between environments stays a hole; what cannot be known says why.

use super::doc::{Kind, Node, Part};
use super::generate;
use super::read::hcl::Block;
use super::sources::Sources;
use super::terraform::{Module, Resource};
use super::value::{Piece, Value, is_environment_name};
use std::cell::Cell;

/// Longest chain of names that is followed: longer ones turn in circles.
const DEPTH_MAX: usize = 24;

/// Most steps of evaluation for one rule: names that use each other ten times over ten levels would need ten billion. What is
/// beyond is not known, and so not claimed.
const STEPS_MAX: u32 = 500_000;

thread_local! {
    static STEPS: Cell<u32> = const { Cell::new(0) };
}

/// Begins to count the steps anew: each rule has its own, so that the number of threads changes nothing.
pub fn begin() {
    STEPS.set(0);
}

/// Most items of a list that is put together.
const ITEMS_MAX: usize = 2_000;

/// What `each.key` and `each.value` stand for.
#[derive(Debug, Clone)]
pub struct Each {
    pub key: Value,
    pub value: Option<Node>,
}

/// Where an expression stands.
#[derive(Clone, Copy)]
pub struct Scope<'g> {
    pub sources: &'g Sources,
    pub module: &'g Module,
    pub each: Option<&'g Each>,
    depth: usize,
}

impl<'g> Scope<'g> {
    pub fn new(sources: &'g Sources, module: &'g Module) -> Self {
        Self { sources, module, each: None, depth: 0 }
    }

    pub fn with<'e>(self, each: &'e Each) -> Scope<'e>
    where
        'g: 'e,
    {
        Scope { sources: self.sources, module: self.module, each: Some(each), depth: self.depth }
    }

    fn deeper(self) -> Option<Self> {
        let steps = STEPS.get();
        STEPS.set(steps.saturating_add(1));
        (self.depth < DEPTH_MAX && steps < STEPS_MAX).then_some(Self { depth: self.depth + 1, ..self })
    }

    fn of(self, module: &'g Module) -> Self {
        Self { module, each: None, ..self }
    }

    /// What is known of an expression's text.
    pub fn value(self, node: &Node) -> Value {
        let Some(scope) = self.deeper() else {
            return Value::Unknown("names that lead to each other".to_owned());
        };
        match &node.kind {
            Kind::Null => Value::Known(String::new()),
            Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => {
                Value::Known(node.scalar().unwrap_or_default())
            }
            Kind::Template(parts) => Value::of(parts.iter().flat_map(|part| scope.part(part)).collect()),
            Kind::Ref(parts) => scope.reference(parts),
            Kind::Call(name, args) => scope.call(name, args),
            Kind::Op("?", parts) => {
                let values: Vec<Value> = parts[1..].iter().map(|part| scope.value(part)).collect();
                if values[0] == values[1] { values[0].clone() } else { hole("a condition") }
            }
            Kind::Op(..) => Value::Unknown("an expression that is not evaluated".to_owned()),
            Kind::List(_) | Kind::Map(_) | Kind::For(_) => Value::Unknown("a collection".to_owned()),
        }
    }

    fn part(self, part: &Part) -> Vec<Piece> {
        match part {
            Part::Text(text) => vec![Piece::Text(text.clone())],
            Part::Hole(node) => self.value(node).pieces(),
        }
    }

    fn reference(self, parts: &[String]) -> Value {
        let words: Vec<&str> = parts.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["each", "key"] => self.each.map_or_else(|| hole("each.key"), |each| each.key.clone()),
            ["each", "value"] => match self.each {
                Some(Each { value: Some(node), .. }) => self.value(node),
                Some(each) => each.key.clone(),
                None => hole("each.value"),
            },
            ["terraform", "workspace"] => hole("terraform.workspace"),
            ["data", "aws_region", _, ..] => self.region().unwrap_or_else(|| hole("region")),
            ["data", "aws_caller_identity", _, "account_id"] => hole("account_id"),
            _ => match self.follow(parts) {
                Some((node, scope)) => scope.value(&node),
                None => self.attribute(&words),
            },
        }
    }

    /// The region of the provider without alias.
    fn region(self) -> Option<Value> {
        let region = self.module.provider("aws", None)?.get("region")?;
        Some(self.value(region))
    }

    /// What a resource's computed attribute is known to look like.
    fn attribute(self, words: &[&str]) -> Value {
        let shown = words.join(".");
        if let [kind, name, attribute] = words
            && let Some(resource) = self.module.resource(kind, name)
        {
            let own = |key: &str| resource.block.get(key).map(|node| self.value(node).pieces());
            let arn = |service: &str, prefix: &str, name: Vec<Piece>| {
                let mut pieces = vec![Piece::Text(format!("arn:aws:{service}:"))];
                pieces.extend(self.region().unwrap_or_else(|| hole("region")).pieces());
                pieces.extend([
                    Piece::Text(":".to_owned()),
                    Piece::Hole("account_id".to_owned()),
                    Piece::Text(format!(":{prefix}")),
                ]);
                pieces.extend(name);
                Value::of(pieces)
            };
            let found = match (*kind, *attribute) {
                ("aws_ecr_repository", "repository_url") => own("name").map(|name| {
                    let mut pieces =
                        vec![Piece::Hole("account_id".to_owned()), Piece::Text(".dkr.ecr.".to_owned())];
                    pieces.extend(self.region().unwrap_or_else(|| hole("region")).pieces());
                    pieces.push(Piece::Text(".amazonaws.com/".to_owned()));
                    pieces.extend(name);
                    Value::of(pieces)
                }),
                ("aws_secretsmanager_secret", "arn" | "id") => {
                    own("name").map(|name| arn("secretsmanager", "secret:", name))
                }
                ("aws_ssm_parameter", "arn") => own("name").map(|name| arn("ssm", "parameter", name)),
                ("aws_cloudwatch_log_group", "arn") => {
                    own("name").map(|name| arn("logs", "log-group:", name))
                }
                ("aws_s3_bucket", "id") => own("bucket").map(Value::of),
                ("aws_cloudwatch_log_group" | "aws_ecs_cluster" | "aws_iam_role", "id") => {
                    own("name").map(Value::of)
                }
                _ => None,
            };
            return found.unwrap_or_else(|| hole(&shown));
        }
        if words.first().is_some_and(|first| matches!(*first, "module" | "data")) {
            return Value::Unknown(format!("`{shown}` is not in these files"));
        }
        hole(&shown)
    }

    /// Follows a name to the expression it stands for, and where that stands.
    pub fn follow(self, parts: &[String]) -> Option<(Node, Scope<'g>)> {
        let scope = self.deeper()?;
        let words: Vec<&str> = parts.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["local", name, rest @ ..] => scope.descend(scope.module.local(name)?, rest),
            ["var", name, rest @ ..] => scope.variable(name, rest),
            ["each", "value", rest @ ..] => {
                let node = self.each?.value.as_ref()?;
                scope.descend(node, rest)
            }
            ["module", call, output, rest @ ..] => {
                let call = scope.module.labelled("module", call)?;
                let inner = scope.sources.modules.get(&scope.module.source_folder(call)?)?;
                let value = inner.labelled("output", output)?.get("value")?;
                scope.of(inner).descend(value, rest)
            }
            [kind, name, attribute, rest @ ..] if kind.contains('_') => {
                let (attribute, rest) = match rest {
                    [first, more @ ..] if attribute.starts_with('[') => (first, more),
                    _ => (attribute, rest),
                };
                let resource = scope.module.resource(kind, name)?;
                scope.descend(resource.block.get(attribute)?, rest)
            }
            _ => None,
        }
    }

    fn variable(self, name: &str, rest: &[&str]) -> Option<(Node, Scope<'g>)> {
        let variable = self.module.labelled("variable", name);
        let calls = self.sources.calls_of(&self.module.folder);
        if let [(caller, call)] = calls.as_slice() {
            let outer = self.of(caller);
            if let Some(node) = call.get(name) {
                return outer.descend(node, rest);
            }
        } else if calls.iter().any(|(_, call)| call.get(name).is_some()) {
            return None;
        }
        if calls.is_empty() && is_environment_name(name) && !has_one_value(variable, self.module, name) {
            return None;
        }
        match self.module.given.get(name).map(Vec::as_slice) {
            Some([node]) => self.descend(node, rest),
            Some([_, _, ..]) => None,
            _ => self.descend(variable?.get("default")?, rest),
        }
    }

    /// Goes down into a value by keys and indexes.
    fn descend(self, node: &Node, rest: &[&str]) -> Option<(Node, Scope<'g>)> {
        let Some((first, more)) = rest.split_first() else { return Some((node.clone(), self)) };
        let (node, scope) = self.structure(node)?;
        let key = first.trim_matches(|c| matches!(c, '[' | ']' | '"'));
        let inner = match &node.kind {
            Kind::Map(_) => node.get(key)?,
            Kind::List(items) => items.get(key.parse::<usize>().ok()?)?,
            _ => return None,
        };
        scope.deeper()?.descend(inner, more)
    }

    /// Follows names, `jsonencode`, templates and files to the list or map they stand for.
    pub fn structure(self, node: &Node) -> Option<(Node, Scope<'g>)> {
        let scope = self.deeper()?;
        match &node.kind {
            Kind::List(_) | Kind::Map(_) => Some((node.clone(), scope)),
            Kind::Ref(parts) => {
                let (node, inner) = scope.follow(parts)?;
                inner.structure(&node)
            }
            Kind::For(it) => Some((scope.generated(node, it)?, scope)),
            Kind::Call(name, args) => match (name.as_str(), args.as_slice()) {
                (
                    "jsonencode" | "jsondecode" | "toset" | "tolist" | "tomap" | "nonsensitive" | "sensitive"
                    | "yamlencode",
                    [inner],
                ) => scope.structure(inner),
                ("file", [path]) => scope.json_of_file(path, None),
                ("templatefile", [path, vars]) => scope.json_of_file(path, Some(vars)),
                ("concat", items) => scope.joined(node, items),
                ("merge", items) => scope.merged(node, items),
                ("try" | "coalesce", [first, ..]) => scope.structure(first),
                _ => None,
            },
            Kind::Text(_) | Kind::Template(_) => Some((scope.sources.json_in_template(node)?, scope)),
            _ => None,
        }
    }

    fn joined(self, node: &Node, items: &[Node]) -> Option<(Node, Scope<'g>)> {
        let mut all = Vec::new();
        for item in items {
            all.extend(self.structure(item)?.0.items().iter().cloned());
            if all.len() > ITEMS_MAX {
                return None;
            }
        }
        Some((Node { at: node.at, kind: Kind::List(all) }, self))
    }

    fn merged(self, node: &Node, items: &[Node]) -> Option<(Node, Scope<'g>)> {
        let mut all: Vec<super::doc::Entry> = Vec::new();
        for item in items {
            for entry in self.structure(item)?.0.entries() {
                all.retain(|known| known.key != entry.key);
                all.push(entry.clone());
            }
        }
        Some((Node { at: node.at, kind: Kind::Map(all) }, self))
    }

    fn json_of_file(self, path: &Node, vars: Option<&Node>) -> Option<(Node, Scope<'g>)> {
        let path = self.value(path);
        let relative: String = path
            .pieces()
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.as_str(),
                // `${path.module}`: the folder itself.
                Piece::Hole(name) if name.starts_with("path.") => ".",
                Piece::Hole(_) => "\u{0}",
            })
            .collect();
        let path = crate::tree::join(&self.module.folder, &relative)?;
        let node = self.sources.json_template_file(&path)?;
        Some((vars.map_or(node.clone(), |vars| generate::filled(node, vars)), self))
    }

    fn call(self, name: &str, args: &[Node]) -> Value {
        match (name, args) {
            ("format", [format, values @ ..]) => self.format(format, values),
            ("join", [separator, list]) => self.join(separator, list),
            (
                "lower" | "upper" | "trimspace" | "tostring" | "nonsensitive" | "sensitive" | "title",
                [inner],
            ) => match (name, self.value(inner)) {
                ("lower", Value::Known(text)) => Value::Known(text.to_lowercase()),
                ("upper", Value::Known(text)) => Value::Known(text.to_uppercase()),
                (_, value) => value,
            },
            ("coalesce" | "try", [first, ..]) => self.value(first),
            ("element" | "lookup", [_, key, ..]) => hole(&format!("{name} {}", self.value(key))),
            _ => Value::Unknown(format!("the function `{name}` is not evaluated")),
        }
    }

    fn format(self, format: &Node, values: &[Node]) -> Value {
        let Value::Known(format) = self.value(format) else { return hole("format") };
        let mut pieces = Vec::new();
        let mut values = values.iter();
        let mut rest = format.as_str();
        while let Some(at) = rest.find('%') {
            pieces.push(Piece::Text(rest[..at].to_owned()));
            if rest[at..].starts_with("%s") || rest[at..].starts_with("%d") {
                let Some(value) = values.next() else { return hole("format") };
                pieces.extend(self.value(value).pieces());
                rest = &rest[at + 2..];
            } else {
                return Value::Unknown("a format that is not evaluated".to_owned());
            }
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Value::of(pieces)
    }

    fn join(self, separator: &Node, list: &Node) -> Value {
        let (Value::Known(separator), Some((list, scope))) = (self.value(separator), self.structure(list))
        else {
            return hole("join");
        };
        let mut pieces = Vec::new();
        for (at, item) in list.items().iter().enumerate() {
            if at > 0 {
                pieces.push(Piece::Text(separator.clone()));
            }
            pieces.extend(scope.value(item).pieces());
        }
        Value::of(pieces)
    }

    /// What `each` is in each instance of a resource; one empty entry where there is no `for_each`.
    pub fn instances(self, resource: Resource<'_>) -> Vec<Option<Each>> {
        let Some(over) = resource.block.get("for_each") else { return vec![None] };
        let unknown = vec![Some(Each { key: hole("each.key"), value: None })];
        let Some((node, scope)) = self.structure(over) else { return unknown };
        match &node.kind {
            Kind::List(items) => {
                items.iter().map(|item| Some(Each { key: scope.value(item), value: None })).collect()
            }
            Kind::Map(entries) => entries
                .iter()
                .map(|entry| {
                    Some(Each { key: Value::Known(entry.key.clone()), value: Some(entry.value.clone()) })
                })
                .collect(),
            _ => unknown,
        }
    }

    /// The key of the instance an expression names, of a resource with `for_each`: `jwt` of `x.y["jwt"].arn`.
    pub fn instance(self, node: &Node) -> Option<String> {
        let scope = self.deeper()?;
        let parts = match &node.kind {
            Kind::Ref(parts) => parts,
            Kind::Template(pieces) => {
                return pieces.iter().find_map(|part| match part {
                    Part::Hole(node) => scope.instance(node),
                    Part::Text(_) => None,
                });
            }
            _ => return None,
        };
        if let [kind, name, index, ..] = parts.as_slice()
            && scope.module.resource(kind, name).is_some()
        {
            let key = index.strip_prefix("[\"")?.strip_suffix("\"]")?;
            return Some(key.to_owned());
        }
        let (node, inner) = scope.follow(parts)?;
        inner.instance(&node)
    }

    /// The resource of the tree an expression names, with the attribute asked for.
    pub fn resource(self, node: &Node) -> Option<(Resource<'g>, String)> {
        let scope = self.deeper()?;
        let parts = match &node.kind {
            Kind::Ref(parts) => parts,
            Kind::Op("index", inner) => return scope.resource(inner.first()?),
            Kind::Template(pieces) => {
                let mut holes = pieces.iter().filter_map(|part| match part {
                    Part::Hole(node) => scope.resource(node),
                    Part::Text(_) => None,
                });
                return holes.next();
            }
            _ => return None,
        };
        let words: Vec<&str> =
            parts.iter().map(String::as_str).filter(|part| !part.starts_with('[')).collect();
        if let [kind, name, rest @ ..] = words.as_slice()
            && let Some(resource) = scope.module.resource(kind, name)
        {
            return Some((resource, rest.first().map_or(String::new(), |attribute| (*attribute).to_owned())));
        }
        let (node, inner) = scope.follow(parts)?;
        inner.resource(&node)
    }
}

fn hole(name: &str) -> Value {
    Value::Pattern(vec![Piece::Hole(name.to_owned())])
}

/// Whether a variable called like an environment has one value all the same: a folder of one environment.
fn has_one_value(variable: Option<&Block>, module: &Module, name: &str) -> bool {
    let given = module.given.get(name).map_or(0, Vec::len);
    let default = variable.and_then(|variable| variable.get("default")).is_some();
    let folder = module.folder.rsplit('/').next().unwrap_or_default();
    given == 0 && default && super::value::is_environment(folder)
}
