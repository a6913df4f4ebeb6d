//! One tree of values for YAML, JSON, TOML and HCL, each value with its place. Evaluates nothing; see `eval`.

use crate::finding::{Place, Span};

/// Bytes of one file of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    pub file: usize,
    pub span: Span,
}

impl At {
    pub const fn new(file: usize, start: usize, end: usize) -> Self {
        Self { file, span: Span::new(start, end) }
    }
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub at: At,
    pub kind: Kind,
}

/// What a value is. The last five come from HCL alone.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Text with holes.
    Template(Vec<Part>),
    /// `var.x`, `aws_lb.main.arn`: an index is its own part, `[0]`, `[*]`, `["key"]` as text.
    Ref(Vec<String>),
    /// A function by name, and its arguments.
    Call(String, Vec<Node>),
    /// An expression that is not looked into, only walked: conditionals (`?`), operators, `for`, indexes.
    Op(&'static str, Vec<Node>),
    /// `[for …]`, `{for …}`.
    For(Box<For>),
}

/// A `for` expression.
#[derive(Debug, Clone, PartialEq)]
pub struct For {
    /// What the element is called, or its key and it.
    pub names: Vec<String>,
    pub over: Node,
    /// Of `{for … : key => value}`.
    pub key: Option<Node>,
    pub value: Node,
    /// Whether a condition leaves some out.
    pub filtered: bool,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    Text(String),
    Hole(Node),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub key_at: At,
    pub value: Node,
}

impl Node {
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A literal as text: a string, a number or a boolean.
    pub fn scalar(&self) -> Option<String> {
        match &self.kind {
            Kind::Text(text) | Kind::Number(text) => Some(text.clone()),
            Kind::Bool(value) => Some(value.to_string()),
            _ => None,
        }
    }

    pub fn number(&self) -> Option<f64> {
        self.scalar()?.trim().parse().ok()
    }

    /// A boolean; quoted ones count.
    pub fn truth(&self) -> Option<bool> {
        match self.scalar()?.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    pub fn path(&self, keys: &[&str]) -> Option<&Node> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }

    pub fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// The items of a list, or the value itself: many formats take either.
    pub fn one_or_many(&self) -> &[Node] {
        match &self.kind {
            Kind::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    pub fn is_map(&self) -> bool {
        matches!(self.kind, Kind::Map(_))
    }

    /// Calls `visit` for this value and all below it.
    pub fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Node)) {
        visit(self);
        match &self.kind {
            Kind::List(items) | Kind::Call(_, items) | Kind::Op(_, items) => {
                items.iter().for_each(|item| item.walk(visit));
            }
            Kind::Map(entries) => entries.iter().for_each(|entry| entry.value.walk(visit)),
            Kind::Template(parts) => {
                for part in parts {
                    if let Part::Hole(node) = part {
                        node.walk(visit);
                    }
                }
            }
            Kind::For(it) => {
                it.over.walk(visit);
                it.key.iter().for_each(|key| key.walk(visit));
                it.value.walk(visit);
            }
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) | Kind::Ref(_) => {}
        }
    }
}

/// A file that was read, with what its places need.
#[derive(Debug)]
pub struct File {
    pub path: String,
    pub text: String,
}

impl File {
    pub fn place(&self, span: Span) -> Place {
        Place { path: self.path.clone(), span }
    }

    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or("")
    }
}

/// Line and column (in characters), both from 1, of a byte.
pub fn line_column(text: &str, byte: usize) -> (usize, usize) {
    let mut byte = byte.min(text.len());
    while !text.is_char_boundary(byte) {
        byte -= 1;
    }
    let before = &text[..byte];
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (line, before[start..].chars().count() + 1)
}
