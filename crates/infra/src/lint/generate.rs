//! Makes what `for` expressions and templates stand for, as far as the files tell. See `eval` for everything else.

use super::doc::{Entry, For, Kind, Node, Part};
use super::eval::Scope;

/// Most values a `for` expression is written out to: more are generated, and nobody compares them by hand.
const GENERATED_MAX: usize = 500;

impl<'g> Scope<'g> {
    /// The list or map that a `for` expression makes; nothing where it leaves some out by a condition.
    pub(super) fn generated(self, whole: &Node, it: &For) -> Option<Node> {
        let elements = self.elements(&it.over)?;
        if it.filtered || elements.len() > GENERATED_MAX {
            return None;
        }
        let mut list = Vec::new();
        let mut map = Vec::new();
        for (key, value) in elements {
            let bind = |parts: &[String]| bound(&it.names, &key, &value, parts);
            let made = substituted(it.value.clone(), &bind, false);
            match &it.key {
                Some(name) => {
                    let name = substituted(name.clone(), &bind, false);
                    let text = self.value(&name).known()?.to_owned();
                    map.push(Entry { key: text, key_at: name.at, value: made });
                }
                None => list.push(made),
            }
        }
        let kind = if it.key.is_some() { Kind::Map(map) } else { Kind::List(list) };
        Some(Node { at: whole.at, kind })
    }

    /// Keys and values of what is gone through: a map, a list, or the instances of a resource with `for_each`.
    fn elements(self, over: &Node) -> Option<Vec<(Node, Node)>> {
        if let Kind::Ref(parts) = &over.kind
            && let [kind, name] = parts.as_slice()
            && let Some(resource) = self.module.resource(kind, name)
        {
            let (keys, _) = self.structure(resource.block.get("for_each")?)?;
            let keys: Vec<Node> = match &keys.kind {
                Kind::Map(entries) => entries
                    .iter()
                    .map(|entry| Node { at: entry.key_at, kind: Kind::Text(entry.key.clone()) })
                    .collect(),
                _ => keys.items().to_vec(),
            };
            let instance = |key: Node| {
                let index = format!("[\"{}\"]", self.value(&key));
                let parts = vec![kind.clone(), name.clone(), index];
                let at = key.at;
                (key, Node { at, kind: Kind::Ref(parts) })
            };
            return Some(keys.into_iter().map(instance).collect());
        }
        let (node, scope) = self.structure(over)?;
        // What stands in another folder is only understood there, unless it is plain.
        if scope.module.folder != self.module.folder && names_something(&node) {
            return None;
        }
        Some(match node.kind {
            Kind::Map(entries) => entries
                .into_iter()
                .map(|entry| (Node { at: entry.key_at, kind: Kind::Text(entry.key) }, entry.value))
                .collect(),
            Kind::List(items) => items
                .into_iter()
                .enumerate()
                .map(|(at, item)| (Node { at: item.at, kind: Kind::Number(at.to_string()) }, item))
                .collect(),
            _ => return None,
        })
    }
}

fn names_something(node: &Node) -> bool {
    let mut found = false;
    node.walk(&mut |node| found |= matches!(node.kind, Kind::Ref(_) | Kind::Call(..)));
    found
}

/// What `name` and `name.key` mean in a `for` expression.
fn bound(names: &[String], key: &Node, value: &Node, parts: &[String]) -> Option<Node> {
    let (first, rest) = parts.split_first()?;
    let node = match names {
        [only] if only == first => value,
        [own, _] if own == first => key,
        [_, own] if own == first => value,
        _ => return None,
    };
    let mut node = node.clone();
    for (at, part) in rest.iter().enumerate() {
        if let Kind::Ref(known) = &node.kind {
            let parts = known.iter().chain(&rest[at..]).cloned().collect();
            return Some(Node { at: node.at, kind: Kind::Ref(parts) });
        }
        node = node.get(part)?.clone();
    }
    Some(node)
}

/// Puts a template's variables where they are used.
pub(super) fn filled(node: Node, vars: &Node) -> Node {
    substituted(
        node,
        &|parts: &[String]| {
            let first = parts.first()?;
            bound(std::slice::from_ref(first), vars, vars.get(first)?, parts)
        },
        true,
    )
}

/// Puts nodes in the place of names; what stays is said to stand where the name does.
fn substituted(node: Node, with: &dyn Fn(&[String]) -> Option<Node>, stay: bool) -> Node {
    let at = node.at;
    let all = |nodes: Vec<Node>| nodes.into_iter().map(|node| substituted(node, with, stay)).collect();
    let kind = match node.kind {
        Kind::Ref(parts) => match with(&parts) {
            Some(found) if stay => return Node { at, ..found },
            Some(found) => return found,
            None => Kind::Ref(parts),
        },
        Kind::List(items) => Kind::List(all(items)),
        Kind::Call(name, args) => Kind::Call(name, all(args)),
        Kind::Op(name, parts) => Kind::Op(name, all(parts)),
        Kind::Map(entries) => Kind::Map(
            entries
                .into_iter()
                .map(|entry| Entry { value: substituted(entry.value, with, stay), ..entry })
                .collect(),
        ),
        Kind::Template(parts) => Kind::Template(
            parts
                .into_iter()
                .map(|part| match part {
                    Part::Hole(node) => Part::Hole(substituted(node, with, stay)),
                    text => text,
                })
                .collect(),
        ),
        Kind::For(it) => Kind::For(Box::new(For {
            over: substituted(it.over, with, stay),
            value: substituted(it.value, with, stay),
            ..*it
        })),
        kind => kind,
    };
    Node { at, kind }
}
