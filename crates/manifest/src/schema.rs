//! Draws the JSON Schema of the manifest from the sections' descriptions, for editors and other tools.
//! Never stricter than the reader, save for keys that come later: they are not in it.

use crate::sections::{Absent, Key, ROOT, Section, Shape};
use serde_json::{Map, Value, json};

/// Durations as `units::duration` reads them.
const DURATION: &str = r"^((\d+(\.\d+)?)(d|h|m|s|ms))+$";
const SIZE: &str = r"^((\d+(\.\d+)?)(TiB|TB|GiB|GB|MiB|MB|KiB|KB|B))+$";
const PERCENT: &str = r"^\d+(\.\d+)?%$";
const SHARE: &str = r"^(off|\d+(\.0+)?%)$";

/// Returns the JSON Schema (draft 2020-12) of `medeclipse.toml`.
pub fn schema() -> Value {
    let mut definitions = Map::new();
    let mut root = object(&ROOT, &mut definitions);
    let top = root.as_object_mut().expect("BUG: a section is drawn as an object");
    top.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    top.insert("title".to_owned(), json!("medeclipse.toml"));
    top.insert("required".to_owned(), json!(["service"]));
    top.insert("$defs".to_owned(), Value::Object(definitions));
    root
}

fn object(section: &'static Section, definitions: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    for key in section.supported() {
        properties.insert(key.name.to_owned(), property(key, definitions));
    }
    json!({
        "type": "object",
        "description": section.doc,
        "properties": properties,
        "additionalProperties": false,
    })
}

fn property(key: &'static Key, definitions: &mut Map<String, Value>) -> Value {
    let mut drawn = shape(&key.shape, definitions);
    let fields = drawn.as_object_mut().expect("BUG: a shape is drawn as an object");
    let mut description = key.doc.to_owned();
    match key.absent {
        Absent::Refused => description.push_str(" Must be there."),
        Absent::Is(toml) => {
            if let Some(value) = as_json(toml) {
                fields.insert("default".to_owned(), value);
            }
        }
        Absent::Means(meaning) => description.push_str(&format!(" Absent: {meaning}.")),
    }
    fields.insert("description".to_owned(), json!(description));
    drawn
}

fn shape(shape: &'static Shape, definitions: &mut Map<String, Value>) -> Value {
    match shape {
        Shape::Text(text) => json!({ "type": "string", "pattern": text.pattern, "examples": [text.example] }),
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Shape::Duration { .. } => quantity(DURATION, shape),
        Shape::Size { .. } => quantity(SIZE, shape),
        Shape::Percent { .. } => quantity(PERCENT, shape),
        Shape::Share { .. } => quantity(SHARE, shape),
        Shape::Buckets { .. } => quantity(PERCENT, shape),
        Shape::Fraction { min, max, .. } => json!({ "type": "number", "minimum": min, "maximum": max }),
        Shape::Quantiles { max } => json!({
            "type": "array",
            "items": { "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1 },
            "minItems": 1,
            "maxItems": max,
        }),
        Shape::Choice(words) => json!({ "enum": words }),
        Shape::Command { empty } => {
            json!({ "type": "array", "items": { "type": "string" }, "minItems": u8::from(!empty) })
        }
        Shape::Texts { of, min, max } => json!({
            "type": "array",
            "items": { "type": "string", "pattern": of.pattern },
            "minItems": min,
            "maxItems": max,
        }),
        Shape::Weights { max } => json!({
            "type": "array",
            "items": { "type": "integer", "minimum": 1, "maximum": 100 },
            "minItems": 1,
            "maxItems": max,
        }),
        Shape::Variables { name } => json!({
            "type": "object",
            "propertyNames": { "pattern": name.pattern },
            "additionalProperties": { "type": "string" },
        }),
        Shape::Lists { of, name } => json!({
            "type": "object",
            "propertyNames": { "pattern": name.pattern },
            "additionalProperties": { "type": "array", "items": { "type": "string", "pattern": of.pattern } },
        }),
        Shape::Table(of) => reference(of, definitions),
        Shape::Tables { of, max } => {
            json!({ "type": "array", "items": reference(of, definitions), "maxItems": max })
        }
        Shape::Named { of, name } => json!({
            "type": "object",
            "propertyNames": { "pattern": name.pattern },
            "additionalProperties": reference(of, definitions),
        }),
        Shape::OneOf(shapes) => {
            let drawn: Vec<Value> = shapes.iter().map(|inner| self::shape(inner, definitions)).collect();
            json!({ "anyOf": drawn })
        }
        Shape::Statuses { max } => json!({
            "type": "array",
            "items": { "type": "integer", "minimum": 500, "maximum": 599 },
            "minItems": 1,
            "maxItems": max,
        }),
        Shape::Later(_) => unreachable!("BUG: what comes later is not drawn"),
    }
}

fn quantity(pattern: &str, shape: &Shape) -> Value {
    json!({ "type": "string", "pattern": pattern, "$comment": shape.bounds() })
}

/// Draws a section once and refers to it. Required keys are not listed: an environment may give them instead.
fn reference(section: &'static Section, definitions: &mut Map<String, Value>) -> Value {
    if !definitions.contains_key(section.name) {
        // Drawn into its place only afterwards; sections do not contain themselves.
        let drawn = object(section, definitions);
        definitions.insert(section.name.to_owned(), drawn);
    }
    json!({ "$ref": format!("#/$defs/{}", section.name) })
}

/// Returns a default, written as TOML, as JSON.
fn as_json(toml: &str) -> Option<Value> {
    let table: toml::Table = toml::from_str(&format!("value = {toml}")).ok()?;
    serde_json::to_value(table.get("value")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/schema/manifest.schema.json");

    #[test]
    fn the_committed_schema_is_the_one_of_the_code() {
        let drawn = format!("{:#}\n", schema());
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(COMMITTED, &drawn).unwrap();
        }

        let committed = std::fs::read_to_string(COMMITTED).unwrap_or_default();
        assert!(
            committed == drawn,
            "docs/schema/manifest.schema.json is old: run the tests with UPDATE_SCHEMA=1"
        );
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let drawn = schema();

        let text = drawn.to_string();
        let names: Vec<&str> =
            text.split("\"#/$defs/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(names.len() > 10);
        for name in names {
            assert!(drawn["$defs"][name]["properties"].is_object(), "{name}");
        }
    }

    #[test]
    fn what_comes_later_is_not_drawn() {
        let text = schema().to_string();

        for later in ["waf", "image", "contract", "alarm"] {
            assert!(!text.contains(&format!("\"{later}\"")), "{later}");
        }
    }

    #[test]
    fn every_default_is_drawn() {
        let drawn = schema();

        assert_eq!(drawn["$defs"]["service.NAME.rollout"]["properties"]["bake"]["default"], "10m");
        assert_eq!(drawn["$defs"]["service.NAME"]["properties"]["replicas"]["default"], 1);
    }
}
