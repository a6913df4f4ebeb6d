//! Knows what the providers accept, and holds Terraform against it: every type, attribute, block and required argument, every
//! reference. The extracts under `schemas/` are made by `script/schemas` from the packages of cdktf; see docs/infra.md.

pub mod actions;
mod check;
pub mod task;

pub use check::{Mistake, check};

use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::OnceLock;

const EXTRACTS: [&str; 3] = [
    include_str!("../../schemas/aws.json"),
    include_str!("../../schemas/azurerm.json"),
    include_str!("../../schemas/cloudflare.json"),
];

/// What the providers accept, by type; a data source begins with `data.`.
pub struct Schemas {
    types: BTreeMap<String, Map<String, Value>>,
}

/// One name of a schema.
pub enum Item<'s> {
    Attribute(Attribute<'s>),
    Block(Nested<'s>),
}

/// An attribute: `rs` is a required text, `cl` a computed list; see script/schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'s>(&'s str);

/// A nested block, or an attribute that holds objects.
pub struct Nested<'s> {
    pub required: bool,
    /// Whether it may stand there more than once.
    pub many: bool,
    pub is_attribute: bool,
    pub inside: &'s Map<String, Value>,
}

impl Attribute<'_> {
    pub fn required(self) -> bool {
        self.0.starts_with('r')
    }

    /// Says whether only the provider sets it.
    pub fn only_computed(self) -> bool {
        self.0.starts_with('c')
    }

    /// `s` text, `n` number, `b` flag, `l` list, `m` map, `o` object, `a` anything.
    pub fn kind(self) -> char {
        self.0.chars().nth(1).unwrap_or('a')
    }
}

impl Schemas {
    /// Reads the extracts that are part of the program.
    fn load() -> Self {
        let mut types = BTreeMap::new();
        for extract in EXTRACTS {
            let mut document: Value = serde_json::from_str(extract).expect("BUG: an extract is JSON");
            let Some(Value::Object(found)) = document.get_mut("types").map(Value::take) else {
                panic!("BUG: an extract has types")
            };
            for (kind, body) in found {
                let Value::Object(body) = body else { panic!("BUG: a type is a table") };
                types.insert(kind, body);
            }
        }
        Self { types }
    }

    /// The extracts, read once for the whole program.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Schemas> = OnceLock::new();
        SHARED.get_or_init(Self::load)
    }

    pub fn get(&self, kind: &str) -> Option<&Map<String, Value>> {
        self.types.get(kind)
    }

    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.types.keys().map(String::as_str)
    }
}

/// Returns a name of a table of a schema.
pub fn item<'s>(table: &'s Map<String, Value>, name: &str) -> Option<Item<'s>> {
    match table.get(name).filter(|_| name != "+" && name != "=")? {
        Value::String(code) => Some(Item::Attribute(Attribute(code))),
        Value::Object(inside) => {
            let (is_attribute, code) = match (inside.get("+"), inside.get("=")) {
                (Some(Value::String(code)), _) => (false, code),
                (_, Some(Value::String(code))) => (true, code),
                _ => panic!("BUG: a nested block has its flags"),
            };
            Some(Item::Block(Nested {
                required: code.starts_with('r'),
                many: code.ends_with('*'),
                is_attribute,
                inside,
            }))
        }
        _ => panic!("BUG: a schema holds codes and tables"),
    }
}

/// Returns the names that must be there.
pub fn required(table: &Map<String, Value>) -> Vec<&str> {
    let needed = |name: &&str| match item(table, name) {
        Some(Item::Attribute(attribute)) => attribute.required(),
        Some(Item::Block(nested)) => nested.required,
        None => false,
    };
    table.keys().map(String::as_str).filter(needed).collect()
}
