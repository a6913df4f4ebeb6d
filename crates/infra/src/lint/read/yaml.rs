//! Reads YAML to a tree with places. An alias is copied within a bound: a bomb of anchors is refused, not expanded.

use super::json::DEPTH_MAX;
use crate::lint::doc::{At, Entry, Kind, Node};
use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use std::collections::BTreeMap;

/// Nodes of one document, aliases copied: the largest workflow seen has under 10,000.
const NODES_MAX: usize = 200_000;

/// Reads the first document of a file.
pub fn read(text: &str, file: usize) -> Result<Node, String> {
    let bytes = if text.is_ascii() {
        Vec::new()
    } else {
        text.char_indices().map(|(at, _)| at).chain([text.len()]).collect()
    };
    let parser = Parser::new_from_str(text);
    let mut reader = Reader { parser, bytes, file, anchors: BTreeMap::new(), nodes: 0, length: text.len() };
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => return Ok(Node { at: At::new(file, 0, 0), kind: Kind::Null }),
            (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing, _) => {}
            (event, span) => return reader.node(event, span, 0),
        }
    }
}

struct Reader<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    /// Byte of each character; empty when they are the same.
    bytes: Vec<usize>,
    file: usize,
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
    length: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), String> {
        match self.parser.next_event() {
            None => Ok((Event::StreamEnd, Span::default())),
            Some(result) => result.map_err(|error| error.to_string()),
        }
    }

    fn byte(&self, index: usize) -> usize {
        if self.bytes.is_empty() {
            return index.min(self.length);
        }
        self.bytes.get(index).copied().unwrap_or(self.length)
    }

    fn at(&self, span: Span) -> At {
        At::new(self.file, self.byte(span.start.index()), self.byte(span.end.index()))
    }

    fn count(&mut self, nodes: usize) -> Result<(), String> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            return Err(format!("it has more than {NODES_MAX} values once its aliases are followed"));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, String> {
        if depth > DEPTH_MAX {
            return Err(format!("it is nested deeper than {DEPTH_MAX} levels"));
        }
        let before = self.nodes;
        self.count(1)?;
        let mut at = self.at(span);
        let (anchor, kind) = match event {
            Event::Alias(anchor) => {
                let (node, size) = self.anchors.get(&anchor).cloned().ok_or("an alias has no anchor")?;
                self.count(size)?;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, _) => (anchor, scalar(text.into_owned(), style)),
            Event::SequenceStart(anchor, _) => {
                let (items, end) = self.items(depth)?;
                at.span.end = at.span.end.max(end);
                (anchor, Kind::List(items))
            }
            Event::MappingStart(anchor, _) => {
                let (entries, end) = self.entries(depth)?;
                at.span.end = at.span.end.max(end);
                (anchor, Kind::Map(entries))
            }
            _ => return Err("it ends in the middle of a value".to_owned()),
        };
        let node = Node { at, kind };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn items(&mut self, depth: usize) -> Result<(Vec<Node>, usize), String> {
        let mut items: Vec<Node> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                let end = items.last().map_or(0, |item| item.at.span.end);
                return Ok((items, end));
            }
            items.push(self.node(event, span, depth + 1)?);
        }
    }

    fn entries(&mut self, depth: usize) -> Result<(Vec<Entry>, usize), String> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                let end = entries.last().map_or(0, |entry: &Entry| entry.value.at.span.end);
                return Ok((entries, end));
            }
            let key = self.node(event, span, depth + 1)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            if key.text() == Some("<<") {
                let merged = value.one_or_many().iter().flat_map(Node::entries).cloned();
                let merged: Vec<Entry> = merged.collect();
                self.count(merged.len())?;
                entries.extend(merged);
                continue;
            }
            let name = key.scalar().unwrap_or_default();
            // The last one wins: it overrides what was merged before it.
            entries.retain(|entry| entry.key != name);
            entries.push(Entry { key: name, key_at: key.at, value });
        }
    }
}

fn scalar(text: String, style: ScalarStyle) -> Kind {
    if style != ScalarStyle::Plain {
        return Kind::Text(text);
    }
    match text.as_str() {
        "" | "~" | "null" => Kind::Null,
        "true" | "True" => Kind::Bool(true),
        "false" | "False" => Kind::Bool(false),
        number
            if number.parse::<f64>().is_ok()
                && number.starts_with(|c: char| c.is_ascii_digit() || c == '-') =>
        {
            Kind::Number(text)
        }
        _ => Kind::Text(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bytes_also_behind_other_alphabets() {
        let text = "é: 1\nkey: [a, \"b\"]\n";
        let node = read(text, 0).unwrap();

        let item = &node.get("key").unwrap().items()[1];
        assert_eq!(&text[item.at.span.start..item.at.span.end], "\"b\"");
    }

    #[test]
    fn a_bomb_of_anchors_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let last = level - 1;
            text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{last}"); 10].join(", ")));
        }
        assert!(read(&text, 0).unwrap_err().contains("aliases"));
    }

    #[test]
    fn a_merged_key_is_overridden_by_the_map_itself() {
        let node = read("base: &b {x: 1, y: 2}\nc:\n  <<: *b\n  y: 3\n", 0).unwrap();

        assert_eq!(node.path(&["c", "y"]).unwrap().scalar().unwrap(), "3");
        assert_eq!(node.path(&["c", "x"]).unwrap().scalar().unwrap(), "1");
    }
}
