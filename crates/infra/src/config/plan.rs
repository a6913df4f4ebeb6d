//! Reads `terraform show -json`: planned values, and for what is known only after an apply the references of the configuration.

use super::{Resource, Root, Value};
use crate::finding::{Place, Span};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Reads a plan; `None` where the document is none. `path` is what findings point at. A plan does not say what it is of: `environment`
/// does, and one that is no environment's name is held to the most.
pub fn from_plan(document: &Json, path: &str, environment: &str) -> Option<Root> {
    document.get("terraform_version")?;
    let planned = document.pointer("/planned_values/root_module")?;
    let mut root = Root { folder: environment.to_owned(), planned: true, ..Root::default() };
    let mut references = BTreeMap::new();
    if let Some(configuration) = document.pointer("/configuration/root_module") {
        collect_expressions(configuration, "", &mut references);
    }
    if let Some(Json::Object(providers)) = document.pointer("/configuration/provider_config") {
        for provider in providers.values() {
            let alias = provider.get("alias").and_then(Json::as_str).unwrap_or_default();
            let region = provider.pointer("/expressions/region/constant_value").map(Value::from_json);
            root.regions.extend(region.map(|region| (alias.to_owned(), region)));
        }
    }
    collect_resources(planned, path, &references, &mut root);
    Some(root)
}

/// What the configuration says about a resource beside its values.
struct Said<'j> {
    expressions: Option<&'j Json>,
    provider: String,
}

fn collect_expressions<'j>(module: &'j Json, prefix: &str, found: &mut BTreeMap<String, Said<'j>>) {
    for resource in list(module, "resources") {
        let Some(address) = resource.get("address").and_then(Json::as_str) else { continue };
        let key = resource.get("provider_config_key").and_then(Json::as_str).unwrap_or_default();
        let alias = key.rsplit(':').next().and_then(|key| key.split_once('.')).map_or("", |(_, alias)| alias);
        let said = Said { expressions: resource.get("expressions"), provider: alias.to_owned() };
        found.insert(format!("{prefix}{address}"), said);
    }
    if let Some(Json::Object(calls)) = module.get("module_calls") {
        for (name, call) in calls {
            if let Some(module) = call.get("module") {
                collect_expressions(module, &format!("{prefix}module.{name}."), found);
            }
        }
    }
}

fn collect_resources(module: &Json, path: &str, said: &BTreeMap<String, Said<'_>>, root: &mut Root) {
    for resource in list(module, "resources") {
        let text = |name: &str| resource.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        let address = text("address");
        // `aws_subnet.private["a"]` is configured as `aws_subnet.private`.
        let configured = address.split('[').next().unwrap_or_default();
        let about = said.get(configured);
        let mut values = resource.get("values").map_or_else(|| Value::Map(BTreeMap::new()), Value::from_json);
        said_nothing(&mut values);
        if let Value::Map(map) = &mut values {
            map.values_mut().for_each(policies);
        }
        let expressions = about.and_then(|said| said.expressions);
        if let Some(expressions) = expressions {
            complete(&mut values, expressions);
        }
        root.resources.push(Resource {
            kind: text("type"),
            name: text("name"),
            provider: about.map(|said| said.provider.clone()).unwrap_or_default(),
            values,
            at: Place { path: path.to_owned(), span: Span::new(0, 0) },
            spans: BTreeMap::new(),
            references: expressions.map(references).unwrap_or_default(),
            address,
        });
    }
    for child in list(module, "child_modules") {
        collect_resources(child, path, said, root);
    }
}

/// A plan shows what nobody wrote as null, and a block that nobody wrote as an empty list.
fn said_nothing(value: &mut Value) {
    match value {
        Value::Map(map) => {
            map.retain(|_, value| !matches!(value, Value::Null) && *value != Value::List(Vec::new()));
            map.values_mut().for_each(said_nothing);
        }
        Value::List(list) => list.iter_mut().for_each(said_nothing),
        _ => {}
    }
}

/// Adds what is known only after an apply, as what it refers to: to a resource or to a block within it.
fn complete(values: &mut Value, expressions: &Json) {
    let (Value::Map(values), Json::Object(expressions)) = (values, expressions) else { return };
    for (name, expression) in expressions {
        match (values.get_mut(name), expression) {
            (Some(Value::List(blocks)), Json::Array(written)) => {
                for written in written {
                    if let Some(block) = blocks.iter_mut().find(|block| is_of(block, written)) {
                        complete(block, written);
                    }
                }
            }
            (Some(_), _) => {}
            (None, _) => values.extend(unknown(expression).map(|value| (name.clone(), value))),
        }
    }
}

/// Says whether a planned block is one that is written: what is constant in the one is the same in the other.
fn is_of(block: &Value, written: &Json) -> bool {
    let Json::Object(written) = written else { return false };
    written.iter().all(|(name, expression)| {
        let constant = expression.get("constant_value").map(Value::from_json);
        constant.is_none_or(|constant| block.at(name).is_none_or(|value| *value == constant))
    })
}

/// Returns what an expression says where the plan has no value for it: blocks as tables, everything else as what it refers to.
fn unknown(expression: &Json) -> Option<Value> {
    if let Json::Array(blocks) = expression {
        let blocks = blocks.iter().map(|block| {
            let mut table = Value::Map(BTreeMap::new());
            complete(&mut table, block);
            table
        });
        return Some(Value::List(blocks.collect()));
    }
    if let Some(constant) = expression.get("constant_value") {
        return Some(Value::from_json(constant)).filter(|value| !value.is_null());
    }
    // `aws_kms_key.a.arn` is followed by `aws_kms_key.a`, which says no more.
    let all: Vec<&str> = list(expression, "references").filter_map(Json::as_str).collect();
    let told = |(at, one): (usize, &&str)| at == 0 || !all[at - 1].starts_with(&format!("{one}."));
    let own: Vec<&str> =
        all.iter().enumerate().filter(|(at, one)| told((*at, one))).map(|(_, one)| *one).collect();
    match own.as_slice() {
        [] => None,
        [one] => Some(Value::Refers((*one).to_owned())),
        several => Some(Value::Unknown(several.join(", "))),
    }
}

/// Returns what each attribute and block refers to, however deep.
fn references(expressions: &Json) -> BTreeMap<String, Vec<String>> {
    fn collect(expression: &Json, found: &mut Vec<String>) {
        match expression {
            Json::Array(blocks) => blocks.iter().for_each(|block| collect(block, found)),
            Json::Object(map) => {
                found.extend(list(expression, "references").filter_map(Json::as_str).map(str::to_owned));
                map.iter()
                    .filter(|(name, _)| *name != "references")
                    .for_each(|(_, inside)| collect(inside, found));
            }
            _ => {}
        }
    }
    let Json::Object(expressions) = expressions else { return BTreeMap::new() };
    let of = |(name, expression): (&String, &Json)| {
        let mut found = Vec::new();
        collect(expression, &mut found);
        (name.clone(), found)
    };
    expressions.iter().map(of).filter(|(_, found)| !found.is_empty()).collect()
}

/// Policies are texts in a plan: kept as what they hold, as rules look into them.
fn policies(value: &mut Value) {
    let Value::Text(text) = value else { return };
    if text.starts_with(['{', '['])
        && let Ok(json) = serde_json::from_str::<Json>(text)
    {
        *value = Value::from_json(&json);
    }
}

fn list<'j>(of: &'j Json, name: &str) -> impl Iterator<Item = &'j Json> {
    of.get(name).and_then(Json::as_array).into_iter().flatten()
}
