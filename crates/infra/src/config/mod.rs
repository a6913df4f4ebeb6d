//! Reads Terraform, as files or as a plan, into resources with values: what rules and the schema check look at.
//! Judges nothing; see `check` and `schema`.

mod eval;
mod plan;
mod value;

pub use eval::path;
pub use plan::from_plan;
pub use value::{Value, names};

use crate::finding::{Place, Span};
use crate::tree::{Tree, file_name, folder};
use eval::Scope;
use hcl_edit::expr::Expression;
use hcl_edit::structure::{Block, Body, Structure};
use hcl_edit::{Span as _, parser};
use std::collections::BTreeMap;

/// Everything below one folder of Terraform files.
#[derive(Debug, Clone, Default)]
pub struct Root {
    /// `production/aws`; empty for the top; for a plan the environment it is said to be of.
    pub folder: String,
    /// Read from a plan, which leaves out what only a folder says: `lifecycle`.
    pub planned: bool,
    pub resources: Vec<Resource>,
    /// Regions of the providers, by alias; the default under "".
    pub regions: BTreeMap<String, Value>,
    pub backend: Option<Resource>,
    pub variables: Vec<Resource>,
}

/// One resource, or a data source.
#[derive(Debug, Clone)]
pub struct Resource {
    /// `aws_db_instance.main`; `data.aws_region.here`.
    pub address: String,
    pub kind: String,
    pub name: String,
    /// Alias of its provider; "" for the default.
    pub provider: String,
    /// Nested blocks are lists of tables, as in a plan.
    pub values: Value,
    pub at: Place,
    /// Where its attributes and blocks stand.
    pub spans: BTreeMap<String, Span>,
    /// What a plan says its attributes and blocks refer to, where the value is known too.
    pub references: BTreeMap<String, Vec<String>>,
}

impl Resource {
    pub fn get(&self, path: &str) -> Option<&Value> {
        self.values.at(path).filter(|value| !value.is_null())
    }

    pub fn text(&self, path: &str) -> Option<&str> {
        self.get(path)?.as_text()
    }

    pub fn number(&self, path: &str) -> Option<f64> {
        self.get(path)?.as_number()
    }

    pub fn is(&self, path: &str, wanted: bool) -> bool {
        self.get(path).and_then(Value::as_bool) == Some(wanted)
    }

    /// Returns all blocks of a name.
    pub fn blocks(&self, name: &str) -> Vec<&Value> {
        self.values.at(name).map(Value::elements).unwrap_or_default()
    }

    /// Says whether an attribute, or the block it is in, refers to another resource: by its value, or by what a plan says beside it.
    pub fn refers(&self, path: &str, to: &Resource) -> bool {
        let top = path.split('.').next().unwrap_or_default();
        // `aws_subnet.private["a"]` is configured as `aws_subnet.private`.
        let configured = to.address.split('[').next().unwrap_or_default();
        self.get(path).is_some_and(|value| value.mentions(&to.address))
            || self.references.get(top).is_some_and(|all| all.iter().any(|one| names(one, configured)))
    }

    /// Returns the place of an attribute, or of the resource where it is absent.
    pub fn place(&self, attribute: &str) -> Place {
        let name = attribute.split('.').next().unwrap_or_default();
        let span = self.spans.get(name).copied().unwrap_or(self.at.span);
        Place { path: self.at.path.clone(), span }
    }

    pub fn is_data(&self) -> bool {
        self.address.starts_with("data.")
    }
}

impl Root {
    pub fn of<'r>(&'r self, kind: &'r str) -> impl Iterator<Item = &'r Resource> {
        self.resources.iter().filter(move |resource| resource.kind == kind && !resource.is_data())
    }

    /// Returns where a resource lies, if the configuration says so.
    pub fn region<'r>(&'r self, resource: &'r Resource) -> Option<&'r str> {
        resource.text("region").or_else(|| self.regions.get(&resource.provider)?.as_text())
    }
}

/// A file that could not be read as HCL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    pub path: String,
    pub line: usize,
    pub why: String,
}

/// Reads every `.tf` file of a tree, one root a folder.
pub fn from_tree(tree: &Tree) -> Result<Vec<Root>, Vec<Unreadable>> {
    let mut folders: BTreeMap<&str, Vec<(&str, Body)>> = BTreeMap::new();
    let mut unreadable = Vec::new();
    for (path, bytes) in tree.iter().filter(|(path, _)| file_name(path).ends_with(".tf")) {
        let text = String::from_utf8_lossy(bytes);
        match parser::parse_body(&text) {
            Ok(body) => folders.entry(folder(path)).or_default().push((path, body)),
            Err(error) => unreadable.push(Unreadable {
                path: path.clone(),
                line: error.location().line(),
                why: error.message().to_owned(),
            }),
        }
    }
    match unreadable.is_empty() {
        true => Ok(folders.into_iter().map(|(folder, files)| root(folder, &files)).collect()),
        false => Err(unreadable),
    }
}

fn root(folder: &str, files: &[(&str, Body)]) -> Root {
    let scope = scope(files);
    let mut root = Root { folder: folder.to_owned(), ..Root::default() };
    for (path, body) in files {
        for block in body.iter().filter_map(Structure::as_block) {
            add(&mut root, path, block, &scope);
        }
    }
    root
}

fn scope<'e>(files: &'e [(&str, Body)]) -> Scope<'e> {
    let mut scope = Scope { locals: BTreeMap::new(), variables: BTreeMap::new() };
    for block in files.iter().flat_map(|(_, body)| body.iter().filter_map(Structure::as_block)) {
        match (block.ident.as_str(), block.labels.as_slice()) {
            ("locals", []) => {
                let locals = block.body.iter().filter_map(Structure::as_attribute);
                scope.locals.extend(locals.map(|local| (local.key.as_str().to_owned(), &local.value)));
            }
            ("variable", [name]) => {
                let default = block.body.get_attribute("default");
                scope.variables.extend(default.map(|default| (name.as_str().to_owned(), &default.value)));
            }
            _ => {}
        }
    }
    scope
}

fn add(root: &mut Root, path: &str, block: &Block, scope: &Scope<'_>) {
    let labels: Vec<&str> = block.labels.iter().map(|label| label.as_str()).collect();
    match (block.ident.as_str(), labels.as_slice()) {
        ("resource", [kind, name]) => {
            root.resources.push(resource(format!("{kind}.{name}"), kind, name, path, block, scope))
        }
        ("data", [kind, name]) => {
            root.resources.push(resource(format!("data.{kind}.{name}"), kind, name, path, block, scope));
        }
        ("variable", [name]) => {
            root.variables.push(resource(format!("var.{name}"), "variable", name, path, block, scope))
        }
        ("provider", [_]) => {
            let provider = resource(String::new(), "provider", "", path, block, scope);
            let alias = provider.text("alias").unwrap_or_default().to_owned();
            let region = provider.get("region").cloned();
            root.regions.extend(region.map(|region| (alias, region)));
        }
        ("terraform", []) => {
            let backend = block.body.get_blocks("backend").next();
            root.backend = backend.map(|block| {
                let kind = block.labels.first().map_or("", |label| label.as_str());
                resource(format!("backend.{kind}"), kind, kind, path, block, scope)
            });
        }
        _ => {}
    }
}

fn resource(
    address: String,
    kind: &str,
    name: &str,
    path: &str,
    block: &Block,
    scope: &Scope<'_>,
) -> Resource {
    let provider = block.body.get_attribute("provider").and_then(|it| self::path(&it.value));
    let mut spans = BTreeMap::new();
    for structure in block.body.iter() {
        let (name, span) = match structure {
            Structure::Attribute(attribute) => (attribute.key.as_str(), attribute.span()),
            Structure::Block(block) => (block.ident.as_str(), block.span()),
        };
        spans.entry(name.to_owned()).or_insert_with(|| span_of(span));
    }
    Resource {
        address,
        kind: kind.to_owned(),
        name: name.to_owned(),
        provider: provider.and_then(|path| Some(path.split_once('.')?.1.to_owned())).unwrap_or_default(),
        values: table(&block.body, scope),
        at: Place { path: path.to_owned(), span: span_of(block.span()) },
        spans,
        references: BTreeMap::new(),
    }
}

fn span_of(range: Option<std::ops::Range<usize>>) -> Span {
    range.map_or(Span::new(0, 0), |range| Span::new(range.start, range.end))
}

/// Returns a body as a table: an attribute is its value, blocks of a name are a list.
fn table(body: &Body, scope: &Scope<'_>) -> Value {
    let mut table: BTreeMap<String, Value> = BTreeMap::new();
    for structure in body.iter() {
        match structure {
            Structure::Attribute(attribute) => {
                table.insert(attribute.key.as_str().to_owned(), scope.value(&attribute.value));
            }
            Structure::Block(block) => {
                let name = match (block.ident.as_str(), block.labels.first()) {
                    // `dynamic "rule" { content { … } }` stands for some number of rules.
                    ("dynamic", Some(label)) => label.as_str(),
                    (name, _) => name,
                };
                let inside = match (block.ident.as_str(), block.body.get_blocks("content").next()) {
                    ("dynamic", Some(content)) => self::table(&content.body, scope),
                    _ => self::table(&block.body, scope),
                };
                match table.entry(name.to_owned()).or_insert_with(|| Value::List(Vec::new())) {
                    Value::List(list) => list.push(inside),
                    other => *other = Value::List(vec![inside]),
                }
            }
        }
    }
    Value::Map(table)
}

/// Calls `visit` for every expression of a body, nested blocks included.
pub fn expressions(body: &Body, visit: &mut impl FnMut(&Expression)) {
    for structure in body.iter() {
        match structure {
            Structure::Attribute(attribute) => visit(&attribute.value),
            Structure::Block(block) => expressions(&block.body, visit),
        }
    }
}
