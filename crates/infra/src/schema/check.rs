//! Holds files of Terraform against the schemas: unknown types and names, blocks written as attributes, what is missing, what is
//! only computed, wrong kinds, and references that lead nowhere.

use super::{Item, Schemas, item, required};
use crate::config::{expressions, path};
use crate::finding::{Place, Span};
use crate::tree::{Tree, file_name, folder};
use hcl_edit::expr::{Expression, ObjectKey};
use hcl_edit::structure::{Block, Body, Structure};
use hcl_edit::visit::{Visit, visit_expr};
use hcl_edit::{Span as _, parser};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Arguments every resource takes, whatever its provider says.
const META: [&str; 5] = ["count", "for_each", "provider", "depends_on", "lifecycle"];
const META_BLOCKS: [&str; 4] = ["lifecycle", "timeouts", "provisioner", "connection"];

/// Something Terraform or a provider would refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub at: Place,
    pub what: String,
}

/// Holds every `.tf` file of a tree against the schemas.
pub fn check(tree: &Tree, schemas: &Schemas) -> Vec<Mistake> {
    let mut roots: BTreeMap<&str, Vec<(&str, Body)>> = BTreeMap::new();
    let mut mistakes = Vec::new();
    for (path, bytes) in tree.iter().filter(|(path, _)| file_name(path).ends_with(".tf")) {
        match parser::parse_body(&String::from_utf8_lossy(bytes)) {
            Ok(body) => roots.entry(folder(path)).or_default().push((path, body)),
            Err(error) => {
                let offset = error.location().offset();
                let at = Place { path: path.clone(), span: Span::new(offset, offset) };
                mistakes.push(Mistake { at, what: format!("no HCL: {}", error.message()) });
            }
        }
    }
    for files in roots.values() {
        let declared = Declared::of(files);
        for (path, body) in files {
            let mut checker = Checker { path, schemas, declared: &declared, mistakes: &mut mistakes };
            checker.file(body);
        }
    }
    mistakes
}

/// Addresses of a root.
struct Declared {
    /// Resources and data sources to their type's name in the schemas.
    resources: BTreeMap<String, String>,
    others: BTreeSet<String>,
}

impl Declared {
    fn of(files: &[(&str, Body)]) -> Self {
        let mut declared = Self { resources: BTreeMap::new(), others: BTreeSet::new() };
        for block in files.iter().flat_map(|(_, body)| body.iter().filter_map(Structure::as_block)) {
            let labels: Vec<&str> = block.labels.iter().map(|label| label.as_str()).collect();
            match (block.ident.as_str(), labels.as_slice()) {
                ("resource", [kind, name]) => {
                    declared.resources.insert(format!("{kind}.{name}"), (*kind).to_owned());
                }
                ("data", [kind, name]) => {
                    declared.resources.insert(format!("data.{kind}.{name}"), format!("data.{kind}"));
                }
                ("variable", [name]) => {
                    declared.others.insert(format!("var.{name}"));
                }
                ("provider", [name]) => {
                    let alias = block.body.get_attribute("alias").and_then(|alias| alias.value.as_str());
                    declared.others.extend(alias.map(|alias| format!("{name}.{alias}")));
                }
                ("locals", []) => {
                    let locals = block.body.iter().filter_map(Structure::as_attribute);
                    declared.others.extend(locals.map(|local| format!("local.{}", local.key.as_str())));
                }
                _ => {}
            }
        }
        declared
    }
}

struct Checker<'c> {
    path: &'c str,
    schemas: &'c Schemas,
    declared: &'c Declared,
    mistakes: &'c mut Vec<Mistake>,
}

impl Checker<'_> {
    fn note(&mut self, span: Option<std::ops::Range<usize>>, what: String) {
        let span = span.map_or(Span::new(0, 0), |range| Span::new(range.start, range.end));
        self.mistakes.push(Mistake { at: Place { path: self.path.to_owned(), span }, what });
    }

    fn file(&mut self, body: &Body) {
        for block in body.iter().filter_map(Structure::as_block) {
            let labels: Vec<&str> = block.labels.iter().map(|label| label.as_str()).collect();
            match (block.ident.as_str(), labels.as_slice()) {
                ("resource", [kind, _]) => self.resource(kind, kind, block),
                ("data", [kind, _]) => self.resource(&format!("data.{kind}"), kind, block),
                _ => {}
            }
            self.provider(block);
            self.references(&block.body);
        }
    }

    fn provider(&mut self, block: &Block) {
        let Some(attribute) = block.body.get_attribute("provider") else { return };
        let named = path(&attribute.value).unwrap_or_default();
        if !self.declared.others.contains(&named) {
            self.note(attribute.span(), format!("there is no provider `{named}`"));
        }
    }

    fn resource(&mut self, schema: &str, kind: &str, block: &Block) {
        match self.schemas.get(schema) {
            Some(table) => self.body(&format!("`{kind}`"), table, block, true),
            None => {
                self.note(block.span(), format!("`{schema}` is in no schema: add it to schemas/types.txt"))
            }
        }
    }

    fn body(&mut self, whose: &str, table: &Map<String, Value>, block: &Block, top: bool) {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for structure in block.body.iter() {
            let (name, span) = match structure {
                Structure::Attribute(attribute) => (attribute.key.as_str(), attribute.span()),
                Structure::Block(block) if block.ident.as_str() == "dynamic" => {
                    (block.labels.first().map_or("", |label| label.as_str()), block.span())
                }
                Structure::Block(block) => (block.ident.as_str(), block.span()),
            };
            if top && (META.contains(&name) || META_BLOCKS.contains(&name)) {
                continue;
            }
            *seen.entry(name).or_default() += 1;
            match (item(table, name), structure) {
                (None, _) => self.note(span, format!("{whose} has no `{name}`")),
                (Some(Item::Attribute(attribute)), Structure::Attribute(written)) => {
                    if attribute.only_computed() {
                        self.note(span.clone(), format!("`{name}` of {whose} is set by the provider alone"));
                    }
                    self.kind(whose, name, attribute.kind(), &written.value, span);
                }
                (Some(Item::Attribute(attribute)), Structure::Block(_))
                    if !matches!(attribute.kind(), 'l' | 'a') =>
                {
                    self.note(span, format!("`{name}` of {whose} is an attribute: write `{name} = …`"));
                }
                (Some(Item::Attribute(_)), Structure::Block(_)) => {}
                (Some(Item::Block(nested)), Structure::Block(inner)) => {
                    if nested.is_attribute {
                        self.note(
                            span,
                            format!("`{name}` of {whose} is an attribute: write `{name} = {{ … }}`"),
                        );
                    }
                    if !nested.many && seen.get(name) == Some(&2) {
                        self.note(inner.span(), format!("{whose} has one `{name}` at most"));
                    }
                    let inner = match (inner.ident.as_str(), inner.body.get_blocks("content").next()) {
                        ("dynamic", Some(content)) => content,
                        _ => inner,
                    };
                    self.body(&format!("`{name}` of {whose}"), nested.inside, inner, false);
                }
                (Some(Item::Block(nested)), Structure::Attribute(written)) => {
                    if !nested.is_attribute {
                        self.note(span, format!("`{name}` of {whose} is a block: write `{name} {{ … }}`"));
                    } else {
                        self.objects(
                            &format!("`{name}` of {whose}"),
                            nested.inside,
                            &written.value,
                            nested.many,
                        );
                    }
                }
            }
        }
        for name in required(table).into_iter().filter(|name| !seen.contains_key(name)) {
            self.note(block.span(), format!("{whose} lacks `{name}`, which is required"));
        }
    }

    /// An attribute that holds objects, as the Cloudflare provider has them.
    fn objects(&mut self, whose: &str, table: &Map<String, Value>, value: &Expression, many: bool) {
        match value {
            Expression::Array(array) if many => {
                array.iter().for_each(|each| self.objects(whose, table, each, true))
            }
            Expression::Object(object) => {
                let mut seen = BTreeSet::new();
                for (key, value) in object.iter() {
                    let name = match key {
                        ObjectKey::Ident(name) => name.as_str().to_owned(),
                        ObjectKey::Expression(key) => key.as_str().unwrap_or_default().to_owned(),
                    };
                    match item(table, &name) {
                        None => self.note(value.expr().span(), format!("{whose} has no `{name}`")),
                        Some(Item::Block(nested)) => {
                            self.objects(
                                &format!("`{name}` of {whose}"),
                                nested.inside,
                                value.expr(),
                                nested.many,
                            );
                        }
                        Some(Item::Attribute(_)) => {}
                    }
                    seen.insert(name);
                }
                for name in required(table).into_iter().filter(|name| !seen.contains(*name)) {
                    self.note(value.span(), format!("{whose} lacks `{name}`, which is required"));
                }
            }
            _ => {}
        }
    }

    /// Refuses a literal of a wrong kind; Terraform itself turns numbers and flags into texts and back.
    fn kind(
        &mut self,
        whose: &str,
        name: &str,
        kind: char,
        value: &Expression,
        span: Option<std::ops::Range<usize>>,
    ) {
        let scalar = matches!(value, Expression::String(_) | Expression::Number(_) | Expression::Bool(_));
        let wrong = match kind {
            'n' => value.as_str().is_some_and(|text| text.parse::<f64>().is_err()) || value.is_bool(),
            'b' => value.as_str().is_some_and(|text| text.parse::<bool>().is_err()) || value.is_number(),
            's' => value.is_array() || value.is_object(),
            'l' => scalar || value.is_object(),
            'm' => scalar || value.is_array(),
            _ => false,
        };
        if wrong {
            let wanted = match kind {
                'n' => "a number",
                'b' => "`true` or `false`",
                's' => "a text",
                'l' => "a list",
                _ => "a map",
            };
            self.note(span, format!("`{name}` of {whose} is not {wanted}"));
        }
    }

    fn references(&mut self, body: &Body) {
        let mut found = Found::default();
        expressions(body, &mut |expression| found.visit_expr(expression));
        for (path, span) in found.paths {
            self.reference(&path, span);
        }
    }

    fn reference(&mut self, path: &str, span: Option<std::ops::Range<usize>>) {
        let parts: Vec<&str> = path.split('.').collect();
        match parts.as_slice() {
            [root @ ("var" | "local"), name, ..]
                if !self.declared.others.contains(&format!("{root}.{name}")) =>
            {
                self.note(span, format!("there is no `{root}.{name}`"));
            }
            ["data", kind, name, rest @ ..] => self.attribute(&format!("data.{kind}.{name}"), rest, span),
            [kind, name, rest @ ..]
                if kind.starts_with("aws_")
                    || kind.starts_with("azurerm_")
                    || kind.starts_with("cloudflare_") =>
            {
                self.attribute(&format!("{kind}.{name}"), rest, span);
            }
            _ => {}
        }
    }

    fn attribute(&mut self, address: &str, rest: &[&str], span: Option<std::ops::Range<usize>>) {
        let Some(kind) = self.declared.resources.get(address) else {
            self.note(span, format!("there is no `{address}`"));
            return;
        };
        let (Some(table), Some(name)) = (self.schemas.get(kind), rest.first()) else { return };
        if item(table, name).is_none() {
            self.note(span, format!("`{kind}` has no `{name}` to refer to"));
        }
    }
}

/// Traversals of an expression, with their places.
#[derive(Default)]
struct Found {
    paths: Vec<(String, Option<std::ops::Range<usize>>)>,
}

impl Visit for Found {
    fn visit_expr(&mut self, node: &Expression) {
        if let Some(path) = path(node) {
            self.paths.push((path, node.span()));
        }
        visit_expr(self, node);
    }
}
