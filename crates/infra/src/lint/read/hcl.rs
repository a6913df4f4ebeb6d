//! Reads HCL, and Terraform's JSON form, to blocks with places. Evaluates nothing; see `lint::eval`.

use crate::lint::doc::{At, Entry, For, Kind, Node, Part};
use hcl_edit::Span as _;
use hcl_edit::expr::{Expression, ObjectKey, TraversalOperator};
use hcl_edit::structure::{Body, Structure};
use hcl_edit::template::{Directive, Element};
use std::ops::Range;

/// A block: `resource "aws_lb" "main" { … }`.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    pub kind: String,
    pub labels: Vec<String>,
    /// The head, up to the last label.
    pub head: At,
    pub attrs: Vec<Entry>,
    pub blocks: Vec<Block>,
}

impl Block {
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.attrs.iter().find(|entry| entry.key == key)
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The blocks of a kind inside this one, directly.
    pub fn blocks<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Block> {
        self.blocks.iter().filter(move |block| block.kind == kind)
    }

    pub fn block(&self, kind: &str) -> Option<&Block> {
        self.blocks.iter().find(|block| block.kind == kind)
    }

    /// The block at the end of a path of kinds.
    pub fn at(&self, kinds: &[&str]) -> Option<&Block> {
        kinds.iter().try_fold(self, |block, kind| block.block(kind))
    }

    /// Whether an attribute or a block has this name.
    pub fn has(&self, name: &str) -> bool {
        self.entry(name).is_some_and(|entry| entry.value.kind != Kind::Null) || self.block(name).is_some()
    }

    /// Calls `visit` for this block and those inside, outermost first.
    pub fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Block)) {
        visit(self);
        self.blocks.iter().for_each(|block| block.walk(visit));
    }

    /// Calls `visit` for every value in the block and in those inside.
    pub fn walk_values<'a>(&'a self, visit: &mut dyn FnMut(&'a Node)) {
        self.walk(&mut |block| block.attrs.iter().for_each(|entry| entry.value.walk(visit)));
    }
}

/// Reads a `.tf` file.
pub fn read(text: &str, file: usize) -> Result<Vec<Block>, String> {
    let body = hcl_edit::parser::parse_body(text).map_err(|error| located(&error))?;
    Ok(Reader { file, whole: None }.body(&body).1)
}

/// Reads a file of values alone: `.tfvars`.
pub fn read_values(text: &str, file: usize) -> Result<Vec<Entry>, String> {
    let body = hcl_edit::parser::parse_body(text).map_err(|error| located(&error))?;
    Ok(Reader { file, whole: None }.body(&body).0)
}

fn located(error: &hcl_edit::parser::Error) -> String {
    let place = error.location();
    format!("line {}, column {}: {}", place.line(), place.column(), error.message())
}

/// Reads a text with `${…}`, all of it standing at one place.
pub fn template(text: &str, at: At) -> Option<Kind> {
    let template = hcl_edit::parser::parse_template(text).ok()?;
    Some(Reader { file: at.file, whole: Some(at) }.template(template.iter()))
}

struct Reader {
    file: usize,
    /// Where everything stands, when the text is not the file's.
    whole: Option<At>,
}

impl Reader {
    fn at(&self, span: Option<Range<usize>>) -> At {
        if let Some(whole) = self.whole {
            return whole;
        }
        let span = span.unwrap_or_default();
        At::new(self.file, span.start, span.end)
    }

    fn body(&self, body: &Body) -> (Vec<Entry>, Vec<Block>) {
        let (mut attrs, mut blocks) = (Vec::new(), Vec::new());
        for structure in body {
            match structure {
                Structure::Attribute(attr) => attrs.push(Entry {
                    key: attr.key.as_str().to_owned(),
                    key_at: self.at(attr.key.span()),
                    value: self.expr(&attr.value),
                }),
                Structure::Block(block) => blocks.push(self.block(block)),
            }
        }
        (attrs, blocks)
    }

    fn block(&self, block: &hcl_edit::structure::Block) -> Block {
        let (mut attrs, mut blocks) = self.body(&block.body);
        let mut kind = block.ident.as_str().to_owned();
        let labels: Vec<String> = block.labels.iter().map(|label| label.as_str().to_owned()).collect();
        let mut head = self.at(block.ident.span());
        if let Some(last) = block.labels.last().and_then(hcl_edit::Span::span) {
            head.span.end = head.span.end.max(last.end);
        }
        // `dynamic "x" { for_each = …; content { … } }` stands for blocks `x`.
        if kind == "dynamic"
            && let Some(name) = labels.first()
            && let Some(content) = blocks.iter().position(|inner| inner.kind == "content")
        {
            kind.clone_from(name);
            let content = blocks.swap_remove(content);
            attrs.retain(|entry| entry.key == "for_each");
            attrs.extend(content.attrs);
            blocks = content.blocks;
        }
        Block { kind, labels, head, attrs, blocks }
    }

    fn expr(&self, expr: &Expression) -> Node {
        let at = self.at(expr.span());
        let kind = match expr {
            Expression::Null(_) => Kind::Null,
            Expression::Bool(value) => Kind::Bool(*value.value()),
            Expression::Number(number) => Kind::Number(number.value().to_string()),
            Expression::String(text) => Kind::Text(text.value().clone()),
            Expression::Array(array) => Kind::List(array.iter().map(|item| self.expr(item)).collect()),
            Expression::Object(object) => Kind::Map(
                object
                    .iter()
                    .map(|(key, value)| Entry {
                        key: self.key(key),
                        key_at: self.at(key.span()),
                        value: self.expr(value.expr()),
                    })
                    .collect(),
            ),
            Expression::StringTemplate(template) => self.template(template.iter()),
            Expression::HeredocTemplate(heredoc) => self.template(heredoc.template.iter()),
            Expression::Parenthesis(inner) => return self.expr(inner.inner()),
            Expression::Variable(name) => Kind::Ref(vec![name.as_str().to_owned()]),
            Expression::Conditional(it) => Kind::Op(
                "?",
                vec![self.expr(&it.cond_expr), self.expr(&it.true_expr), self.expr(&it.false_expr)],
            ),
            Expression::FuncCall(call) => Kind::Call(
                call.name.name.as_str().to_owned(),
                call.args.iter().map(|arg| self.expr(arg)).collect(),
            ),
            Expression::Traversal(traversal) => self.traversal(traversal),
            Expression::UnaryOp(it) => Kind::Op("unary", vec![self.expr(&it.expr)]),
            Expression::BinaryOp(it) => Kind::Op(
                operator(*it.operator.value()),
                vec![self.expr(&it.lhs_expr), self.expr(&it.rhs_expr)],
            ),
            Expression::ForExpr(it) => {
                let names = it.intro.key_var.iter().chain(std::iter::once(&it.intro.value_var));
                Kind::For(Box::new(For {
                    names: names.map(|name| name.as_str().to_owned()).collect(),
                    over: self.expr(&it.intro.collection_expr),
                    key: it.key_expr.as_ref().map(|key| self.expr(key)),
                    value: self.expr(&it.value_expr),
                    // `...` makes lists of what has the same key.
                    filtered: it.cond.is_some() || it.grouping,
                }))
            }
        };
        Node { at, kind }
    }

    fn key(&self, key: &ObjectKey) -> String {
        match key {
            ObjectKey::Ident(name) => name.as_str().to_owned(),
            ObjectKey::Expression(expr) => match self.expr(expr).kind {
                Kind::Text(text) | Kind::Number(text) => text,
                Kind::Ref(parts) => parts.join("."),
                _ => expr.to_string().trim().to_owned(),
            },
        }
    }

    fn traversal(&self, traversal: &hcl_edit::expr::Traversal) -> Kind {
        let base = self.expr(&traversal.expr);
        let mut indexes = Vec::new();
        let mut parts = match base.kind {
            Kind::Ref(parts) => parts,
            kind => {
                indexes.push(Node { at: base.at, kind });
                Vec::new()
            }
        };
        for operator in &traversal.operators {
            match operator.value() {
                TraversalOperator::GetAttr(name) => parts.push(name.as_str().to_owned()),
                TraversalOperator::AttrSplat(_) | TraversalOperator::FullSplat(_) => {
                    parts.push("[*]".to_owned())
                }
                TraversalOperator::LegacyIndex(index) => parts.push(format!("[{}]", index.value())),
                TraversalOperator::Index(index) => {
                    let index = self.expr(index);
                    parts.push(match &index.kind {
                        Kind::Number(number) => format!("[{number}]"),
                        Kind::Text(text) => format!("[\"{text}\"]"),
                        _ => "[?]".to_owned(),
                    });
                    if parts.last().is_some_and(|part| part == "[?]") {
                        indexes.push(index);
                    }
                }
            }
        }
        if indexes.is_empty() {
            return Kind::Ref(parts);
        }
        if !parts.is_empty() {
            indexes.insert(0, Node { at: base.at, kind: Kind::Ref(parts) });
        }
        Kind::Op("index", indexes)
    }

    fn template<'e>(&self, elements: impl Iterator<Item = &'e Element>) -> Kind {
        let mut parts = Vec::new();
        for element in elements {
            match element {
                Element::Literal(text) => parts.push(Part::Text(text.value().clone())),
                Element::Interpolation(hole) => parts.push(Part::Hole(self.expr(&hole.expr))),
                Element::Directive(directive) => parts.push(Part::Hole(self.directive(directive))),
            }
        }
        match parts.as_slice() {
            [] => Kind::Text(String::new()),
            [Part::Text(text)] => Kind::Text(text.clone()),
            [Part::Hole(hole)] => hole.kind.clone(),
            _ => Kind::Template(parts),
        }
    }

    fn directive(&self, directive: &Directive) -> Node {
        let at = self.at(directive.span());
        let mut inner = Vec::new();
        match directive {
            Directive::If(it) => {
                inner.push(self.expr(&it.if_expr.cond_expr));
                inner.push(Node { at, kind: self.template(it.if_expr.template.iter()) });
            }
            Directive::For(it) => {
                inner.push(self.expr(&it.for_expr.collection_expr));
                inner.push(Node { at, kind: self.template(it.for_expr.template.iter()) });
            }
        }
        Node { at, kind: Kind::Op("directive", inner) }
    }
}

fn operator(operator: hcl_edit::expr::BinaryOperator) -> &'static str {
    use hcl_edit::expr::BinaryOperator as Op;
    match operator {
        Op::Eq => "==",
        Op::NotEq => "!=",
        Op::LessEq => "<=",
        Op::GreaterEq => ">=",
        Op::Less => "<",
        Op::Greater => ">",
        Op::Plus => "+",
        Op::Minus => "-",
        Op::Mul => "*",
        Op::Div => "/",
        Op::Mod => "%",
        Op::And => "&&",
        Op::Or => "||",
    }
}
