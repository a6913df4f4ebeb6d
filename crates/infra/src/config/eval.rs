//! Evaluates what an expression of HCL says without an apply: literals, locals, defaults of variables, a few functions.
//! Everything else is kept as a reference or as its text.

use super::value::Value;
use hcl_edit::expr::{BinaryOperator, Expression, FuncCall, ObjectKey, TraversalOperator};
use hcl_edit::template::{Element, Template};
use std::collections::BTreeMap;

/// Locals refer to locals; deeper chains than this are a circle.
const DEPTH_MAX: usize = 16;

/// What names stand for.
pub struct Scope<'e> {
    pub locals: BTreeMap<String, &'e Expression>,
    /// Defaults of variables.
    pub variables: BTreeMap<String, &'e Expression>,
}

impl Scope<'_> {
    pub fn value(&self, expression: &Expression) -> Value {
        self.at_depth(expression, 0)
    }

    fn at_depth(&self, expression: &Expression, depth: usize) -> Value {
        if depth > DEPTH_MAX {
            return unknown(expression);
        }
        let inner = |expression: &Expression| self.at_depth(expression, depth);
        match expression {
            Expression::Null(_) => Value::Null,
            Expression::Bool(flag) => Value::Bool(*flag.value()),
            Expression::Number(number) => Value::Number(number.value().as_f64().unwrap_or(f64::NAN)),
            Expression::String(text) => Value::Text(text.value().clone()),
            Expression::Array(array) => Value::List(array.iter().map(inner).collect()),
            Expression::Object(object) => Value::Map(
                object
                    .iter()
                    .map(|(key, value)| {
                        let key = match key {
                            ObjectKey::Ident(name) => name.as_str().to_owned(),
                            ObjectKey::Expression(key) => inner(key).shown().unwrap_or_default(),
                        };
                        (key, inner(value.expr()))
                    })
                    .collect(),
            ),
            Expression::StringTemplate(template) => self.template(template.iter(), depth),
            Expression::HeredocTemplate(heredoc) => {
                let template: &Template = &heredoc.template;
                self.template(template.iter(), depth)
            }
            Expression::Parenthesis(inside) => inner(inside.inner()),
            Expression::Conditional(choice) => match inner(&choice.cond_expr) {
                Value::Bool(true) => inner(&choice.true_expr),
                Value::Bool(false) => inner(&choice.false_expr),
                _ => unknown(expression),
            },
            Expression::FuncCall(call) => self.call(call, expression, depth),
            Expression::Traversal(_) => self.traversal(expression, depth),
            Expression::BinaryOp(operation) => {
                let (left, right) = (inner(&operation.lhs_expr), inner(&operation.rhs_expr));
                compared(*operation.operator.value(), &left, &right).unwrap_or_else(|| unknown(expression))
            }
            Expression::Variable(_) | Expression::UnaryOp(_) | Expression::ForExpr(_) => unknown(expression),
        }
    }

    fn template<'t>(&self, elements: impl Iterator<Item = &'t Element>, depth: usize) -> Value {
        let mut text = String::new();
        for element in elements {
            match element {
                Element::Literal(literal) => text.push_str(literal.value()),
                Element::Interpolation(interpolation) => {
                    let value = self.at_depth(&interpolation.expr, depth + 1);
                    text.push_str(&value.shown().unwrap_or_else(|| "${…}".to_owned()));
                }
                Element::Directive(_) => text.push_str("${…}"),
            }
        }
        Value::Text(text)
    }

    fn call(&self, call: &FuncCall, expression: &Expression, depth: usize) -> Value {
        let arguments: Vec<Value> = call.args.iter().map(|argument| self.at_depth(argument, depth)).collect();
        match (call.name.name.as_str(), arguments.as_slice()) {
            // Kept as what it holds: rules look into policies.
            ("jsonencode" | "toset" | "tolist" | "tomap" | "nonsensitive" | "sensitive" | "one", [only]) => {
                only.clone()
            }
            ("merge", maps) if maps.iter().all(|map| matches!(map, Value::Map(_))) => {
                let entries = maps.iter().flat_map(|map| match map {
                    Value::Map(map) => map.clone(),
                    _ => BTreeMap::new(),
                });
                Value::Map(entries.collect())
            }
            ("concat", lists) if lists.iter().all(|list| matches!(list, Value::List(_))) => {
                Value::List(lists.iter().flat_map(Value::elements).cloned().collect())
            }
            ("jsondecode", [Value::Text(text)]) => serde_json::from_str(text)
                .map_or_else(|_| unknown(expression), |json| Value::from_json(&json)),
            _ => unknown(expression),
        }
    }

    fn traversal(&self, expression: &Expression, depth: usize) -> Value {
        let Some(path) = path(expression) else { return unknown(expression) };
        let mut parts = path.split('.');
        let (Some(root), Some(name)) = (parts.next(), parts.next()) else { return unknown(expression) };
        let known = match root {
            "local" => self.locals.get(name),
            "var" => self.variables.get(name),
            "each" | "count" | "self" | "path" | "terraform" => return unknown(expression),
            _ => return Value::Refers(path),
        };
        let Some(known) = known else { return Value::Refers(path) };
        let value = self.at_depth(known, depth + 1);
        let rest: Vec<&str> = parts.collect();
        if rest.is_empty() {
            return value;
        }
        value.at(&rest.join(".")).cloned().unwrap_or_else(|| unknown(expression))
    }
}

fn compared(operator: BinaryOperator, left: &Value, right: &Value) -> Option<Value> {
    let known = |value: &Value| !matches!(value, Value::Refers(_) | Value::Unknown(_));
    if !known(left) || !known(right) {
        return None;
    }
    match operator {
        BinaryOperator::Eq => Some(Value::Bool(left == right)),
        BinaryOperator::NotEq => Some(Value::Bool(left != right)),
        BinaryOperator::And => Some(Value::Bool(left.as_bool()? && right.as_bool()?)),
        BinaryOperator::Or => Some(Value::Bool(left.as_bool()? || right.as_bool()?)),
        _ => None,
    }
}

fn unknown(expression: &Expression) -> Value {
    Value::Unknown(expression.to_string().trim().to_owned())
}

/// Returns `aws_kms_key.logs.arn` for a plain traversal; indexes and splats are left out.
pub fn path(expression: &Expression) -> Option<String> {
    let Expression::Traversal(traversal) = expression else { return None };
    let Expression::Variable(root) = &traversal.expr else { return None };
    let mut path = root.as_str().to_owned();
    for operator in &traversal.operators {
        match operator.value() {
            TraversalOperator::GetAttr(name) => {
                path.push('.');
                path.push_str(name.as_str());
            }
            TraversalOperator::Index(_)
            | TraversalOperator::LegacyIndex(_)
            | TraversalOperator::AttrSplat(_)
            | TraversalOperator::FullSplat(_) => {}
        }
    }
    Some(path)
}
