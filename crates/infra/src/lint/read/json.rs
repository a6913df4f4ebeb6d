//! Reads JSON, also with comments and trailing commas, to a tree with places.

use crate::lint::doc::{At, Entry, Kind, Node};
use jsonc_parser::ast::{ObjectPropName, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions};

/// Deepest nesting that is read: a task definition has 6, a policy 8. The parser recurses.
pub const DEPTH_MAX: usize = 100;

/// Reads a document whose first byte stands at `offset` of the file.
pub fn read(text: &str, file: usize, offset: usize) -> Result<Node, String> {
    if depth(text) > DEPTH_MAX {
        return Err(format!("it is nested deeper than {DEPTH_MAX} levels"));
    }
    let parsed = jsonc_parser::parse_to_ast(text, &CollectOptions::default(), &ParseOptions::default())
        .map_err(|error| error.to_string())?;
    let value = parsed.value.ok_or("it is empty")?;
    Ok(convert(&value, file, offset))
}

/// Brackets open at once, outside strings. Over-counts in comments, which only refuses sooner.
pub fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn convert(value: &Value, file: usize, offset: usize) -> Node {
    let range = value.range();
    let at = At::new(file, offset + range.start, offset + range.end);
    let kind = match value {
        Value::StringLit(text) => Kind::Text(text.value.to_string()),
        Value::NumberLit(number) => Kind::Number(number.value.to_owned()),
        Value::BooleanLit(boolean) => Kind::Bool(boolean.value),
        Value::NullKeyword(_) => Kind::Null,
        Value::Array(array) => {
            Kind::List(array.elements.iter().map(|item| convert(item, file, offset)).collect())
        }
        Value::Object(object) => Kind::Map(
            object
                .properties
                .iter()
                .map(|property| {
                    let range = property.name.range();
                    let key = match &property.name {
                        ObjectPropName::String(text) => text.value.to_string(),
                        ObjectPropName::Word(word) => word.value.to_owned(),
                    };
                    let key_at = At::new(file, offset + range.start, offset + range.end);
                    Entry { key, key_at, value: convert(&property.value, file, offset) }
                })
                .collect(),
        ),
    };
    Node { at, kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_at_its_place() {
        let text = r#"{"a": [1, "x"]}"#;
        let node = read(text, 0, 0).unwrap();

        let item = &node.get("a").unwrap().items()[1];
        assert_eq!(&text[item.at.span.start..item.at.span.end], "\"x\"");
    }

    #[test]
    fn deep_nesting_is_refused_before_it_is_parsed() {
        assert!(read(&"[".repeat(1_000_000), 0, 0).unwrap_err().contains("nested deeper"));
    }
}
