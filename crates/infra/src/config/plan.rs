//! Reads `terraform show -json`: planned values, and for what is known only after an apply the references of the configuration.

use super::{Resource, Root, Value};
use crate::finding::{Place, Span};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Reads a plan; `None` where the document is none. `path` is what findings point at.
pub fn from_plan(document: &Json, path: &str) -> Option<Root> {
    document.get("terraform_version")?;
    let planned = document.pointer("/planned_values/root_module")?;
    let mut root = Root::default();
    let mut references = BTreeMap::new();
    if let Some(configuration) = document.pointer("/configuration/root_module") {
        collect_references(configuration, "", &mut references);
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
#[derive(Default)]
struct Said {
    /// Attribute to the first thing it refers to.
    references: BTreeMap<String, String>,
    provider: String,
}

fn collect_references(module: &Json, prefix: &str, found: &mut BTreeMap<String, Said>) {
    for resource in list(module, "resources") {
        let Some(address) = resource.get("address").and_then(Json::as_str) else { continue };
        let mut said = Said::default();
        if let Some(Json::Object(expressions)) = resource.get("expressions") {
            for (name, expression) in expressions {
                let first = expression.pointer("/references/0").and_then(Json::as_str);
                said.references.extend(first.map(|first| (name.clone(), first.to_owned())));
            }
        }
        let key = resource.get("provider_config_key").and_then(Json::as_str).unwrap_or_default();
        said.provider = key
            .rsplit(':')
            .next()
            .and_then(|key| key.split_once('.'))
            .map_or("", |(_, alias)| alias)
            .to_owned();
        found.insert(format!("{prefix}{address}"), said);
    }
    if let Some(Json::Object(calls)) = module.get("module_calls") {
        for (name, call) in calls {
            if let Some(module) = call.get("module") {
                collect_references(module, &format!("{prefix}module.{name}."), found);
            }
        }
    }
}

fn collect_resources(module: &Json, path: &str, said: &BTreeMap<String, Said>, root: &mut Root) {
    for resource in list(module, "resources") {
        let text = |name: &str| resource.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        let address = text("address");
        // `aws_subnet.private["a"]` is configured as `aws_subnet.private`.
        let configured = address.split('[').next().unwrap_or_default();
        let about = said.get(configured);
        let mut values = match resource.get("values").map(Value::from_json) {
            Some(Value::Map(map)) => map,
            _ => BTreeMap::new(),
        };
        values.retain(|_, value| !value.is_null());
        for value in values.values_mut() {
            policies(value);
        }
        for (name, reference) in about.iter().flat_map(|said| &said.references) {
            values.entry(name.clone()).or_insert_with(|| Value::Refers(reference.clone()));
        }
        root.resources.push(Resource {
            kind: text("type"),
            name: text("name"),
            provider: about.map(|said| said.provider.clone()).unwrap_or_default(),
            values: Value::Map(values),
            at: Place { path: path.to_owned(), span: Span::new(0, 0) },
            spans: BTreeMap::new(),
            address,
        });
    }
    for child in list(module, "child_modules") {
        collect_resources(child, path, said, root);
    }
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
