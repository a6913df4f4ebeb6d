//! Reads Terraform's JSON form (`.tf.json`) to the same blocks as HCL.

use super::hcl::{Block, template};
use crate::lint::doc::{At, Entry, Kind, Node};

/// Labels a block of this kind has.
fn labels(kind: &str) -> usize {
    match kind {
        "resource" | "data" => 2,
        "variable" | "output" | "module" | "provider" | "backend" => 1,
        _ => 0,
    }
}

/// Turns the root of a `.tf.json` file into blocks.
pub fn blocks(root: Node) -> Vec<Block> {
    let mut found = Vec::new();
    for entry in entries(root) {
        nested(&entry.key, entry.key_at, entry.value, labels(&entry.key), Vec::new(), &mut found);
    }
    found
}

fn entries(node: Node) -> Vec<Entry> {
    match node.kind {
        Kind::Map(entries) => entries,
        _ => Vec::new(),
    }
}

fn nested(kind: &str, head: At, node: Node, left: usize, labels: Vec<String>, found: &mut Vec<Block>) {
    match node.kind {
        Kind::List(items) => {
            for item in items {
                nested(kind, head, item, left, labels.clone(), found);
            }
        }
        Kind::Map(entries) if left > 0 => {
            for entry in entries {
                let labels = labels.iter().cloned().chain([entry.key]).collect();
                nested(kind, entry.key_at, entry.value, left - 1, labels, found);
            }
        }
        Kind::Map(entries) => found.push(block(kind, head, labels, entries)),
        _ => {}
    }
}

fn block(kind: &str, head: At, labels: Vec<String>, entries: Vec<Entry>) -> Block {
    let (mut attrs, mut blocks) = (Vec::new(), Vec::new());
    for entry in entries {
        let maps = entry.value.one_or_many();
        // An object may be an attribute or blocks: only a schema knows. It is kept as both.
        if kind != "locals" && !maps.is_empty() && maps.iter().all(Node::is_map) {
            let deeper = usize::from(entry.key == "backend");
            nested(&entry.key, entry.key_at, entry.value.clone(), deeper, Vec::new(), &mut blocks);
        }
        attrs.push(Entry { value: with_templates(entry.value), ..entry });
    }
    Block { kind: kind.to_owned(), labels, head, attrs, blocks }
}

fn with_templates(node: Node) -> Node {
    let at = node.at;
    let kind = match node.kind {
        Kind::Text(text) if text.contains("${") => match template(&text, at) {
            Some(kind) => kind,
            None => Kind::Text(text),
        },
        Kind::List(items) => Kind::List(items.into_iter().map(with_templates).collect()),
        Kind::Map(entries) => Kind::Map(
            entries.into_iter().map(|entry| Entry { value: with_templates(entry.value), ..entry }).collect(),
        ),
        kind => kind,
    };
    Node { at, kind }
}
