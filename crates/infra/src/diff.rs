//! Says what a change of the manifest does to the infrastructure: what is made, replaced, changed and removed, in words, and what
//! it costs a month where a table of prices says so.

use crate::config::{Resource, Root, Value};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A table of prices, the user's own: `[[price]] type = "…" when = { … } month = …`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    #[serde(default)]
    pub price: Vec<Price>,
    #[serde(default = "currency")]
    pub currency: String,
}

fn currency() -> String {
    "EUR".to_owned()
}

/// One row; the first that fits counts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub when: BTreeMap<String, toml::Value>,
    pub month: f64,
}

/// What happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Made,
    /// Removed and made anew: an argument cannot be changed in place.
    Replaced,
    Changed,
    Removed,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// `production/aws`.
    pub root: String,
    pub address: String,
    pub kind: Kind,
    /// `instance_class: "a" → "b"`.
    pub what: Vec<String>,
    /// By month, before and after; None: no price.
    pub before: Option<f64>,
    pub after: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diff {
    pub changes: Vec<Change>,
    pub currency: String,
    /// Sum of the differences that have prices.
    pub month: f64,
    /// Addresses that change and have no price.
    pub unpriced: Vec<String>,
}

/// Arguments whose change makes a resource anew, for types where that loses something. [provider documentation, ForceNew]
const REPLACES: [(&str, &[&str]); 9] = [
    ("aws_vpc", &["cidr_block"]),
    ("aws_subnet", &["cidr_block", "availability_zone", "vpc_id"]),
    ("aws_db_instance", &["identifier", "db_name", "username", "kms_key_id", "storage_encrypted", "engine"]),
    (
        "aws_elasticache_replication_group",
        &["replication_group_id", "kms_key_id", "at_rest_encryption_enabled"],
    ),
    ("aws_lb", &["name", "internal", "load_balancer_type"]),
    ("aws_lb_target_group", &["name", "port", "protocol", "target_type", "vpc_id"]),
    ("aws_ecs_cluster", &["name"]),
    ("aws_s3_bucket", &["bucket"]),
    ("aws_cloudwatch_log_group", &["name"]),
];

/// Compares two renderings of the same environment.
pub fn diff(before: &[Root], after: &[Root], prices: &Prices) -> Diff {
    let (old, new) = (resources(before), resources(after));
    let mut changes = Vec::new();
    for ((root, address), resource) in &new {
        let was = old.get(&(root.clone(), address.clone()));
        let (kind, what) = match was {
            None => (Kind::Made, Vec::new()),
            Some(was) => match differences(&was.values, &resource.values, "") {
                what if what.is_empty() => continue,
                what => (kind_of(&resource.kind, &what), what),
            },
        };
        let before = was.and_then(|was| prices.month(was));
        changes.push(Change {
            root: root.clone(),
            address: address.clone(),
            kind,
            what,
            before,
            after: prices.month(resource),
        });
    }
    for ((root, address), resource) in old.iter().filter(|(key, _)| !new.contains_key(*key)) {
        let before = prices.month(resource);
        changes.push(Change {
            root: root.clone(),
            address: address.clone(),
            kind: Kind::Removed,
            what: Vec::new(),
            before,
            after: None,
        });
    }
    changes.sort_by(|left, right| {
        (left.kind, &left.root, &left.address).cmp(&(right.kind, &right.root, &right.address))
    });
    let month = changes.iter().map(|change| change.after.unwrap_or(0.0) - change.before.unwrap_or(0.0)).sum();
    let free = |change: &&Change| change.before.is_none() && change.after.is_none();
    let unpriced =
        changes.iter().filter(free).map(|change| format!("{} {}", change.root, change.address)).collect();
    Diff { month, unpriced, currency: prices.currency.clone(), changes }
}

fn resources(roots: &[Root]) -> BTreeMap<(String, String), &Resource> {
    let all = roots.iter().flat_map(|root| root.resources.iter().map(move |resource| (root, resource)));
    all.filter(|(_, resource)| !resource.is_data())
        .map(|(root, resource)| ((root.folder.clone(), resource.address.clone()), resource))
        .collect()
}

fn kind_of(kind: &str, what: &[String]) -> Kind {
    let names = REPLACES.iter().find(|(of, _)| *of == kind).map_or(&[][..], |(_, names)| names);
    let replaced = what.iter().any(|line| names.iter().any(|name| line.starts_with(&format!("{name}: "))));
    if replaced { Kind::Replaced } else { Kind::Changed }
}

/// Returns what differs, one line an attribute.
fn differences(before: &Value, after: &Value, path: &str) -> Vec<String> {
    let (Value::Map(old), Value::Map(new)) = (before, after) else {
        return match before == after {
            true => Vec::new(),
            false => vec![format!("{path}: {} → {}", short(before), short(after))],
        };
    };
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    let each = names.into_iter().flat_map(|name| {
        let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) => match (old, new) {
                (Value::List(left), Value::List(right)) if left.len() == right.len() => left
                    .iter()
                    .zip(right)
                    .flat_map(|(left, right)| differences(left, right, &inner))
                    .collect(),
                _ => differences(old, new, &inner),
            },
            (None, Some(new)) => vec![format!("{inner}: added, {}", short(new))],
            (Some(old), None) => vec![format!("{inner}: removed, was {}", short(old))],
            (None, None) => Vec::new(),
        }
    });
    each.collect()
}

/// Returns a value on one line, cut where it is long.
fn short(value: &Value) -> String {
    const WIDTH: usize = 60;
    let text = value.to_json().to_string();
    match text.char_indices().nth(WIDTH) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

impl Prices {
    /// Returns the monthly price of a resource; None, never 0, without a row.
    fn month(&self, resource: &Resource) -> Option<f64> {
        let fits = |price: &&Price| {
            price.kind == resource.kind
                && price.when.iter().all(|(name, wanted)| {
                    let wanted = serde_json::to_value(wanted).map(|json| Value::from_json(&json));
                    wanted.is_ok_and(|wanted| resource.get(name).and_then(Value::shown) == wanted.shown())
                })
        };
        self.price.iter().find(fits).map(|price| price.month)
    }
}
