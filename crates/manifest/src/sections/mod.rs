//! Describes the manifest: every section, its keys, what each may hold, what holds when it is absent.
//! One description serves the reader, the JSON Schema and the reference, so they cannot disagree.
//! To add a setting: a [`Key`] here, its reading beside it, a line in `default.rs`.

pub(crate) mod checks;
pub(crate) mod environment;
pub(crate) mod guard;
pub(crate) mod guard_keys;
pub(crate) mod headers;
pub(crate) mod health;
pub(crate) mod infra;
pub(crate) mod judge;
pub(crate) mod mirror;
pub(crate) mod monitor;
pub(crate) mod rollout;
pub(crate) mod service;
pub(crate) mod text;
pub(crate) mod tls;

use crate::units::{bucket_percent, duration_text, size_text};
use ::rollout::names::Millis;
use text::Text;

/// One table of the manifest.
pub(crate) struct Section {
    /// As people find it: `service.NAME.rollout`.
    pub name: &'static str,
    pub doc: &'static str,
    pub keys: &'static [Key],
}

/// One key of a section.
pub(crate) struct Key {
    pub name: &'static str,
    pub shape: Shape,
    pub absent: Absent,
    /// One sentence.
    pub doc: &'static str,
}

/// What holds when a key is absent.
pub(crate) enum Absent {
    /// The section is refused.
    Refused,
    /// The same as writing this.
    Is(&'static str),
    /// Something no value of the key says.
    Means(&'static str),
}

/// What a key may hold.
pub(crate) enum Shape {
    Text(&'static Text),
    Flag,
    Integer {
        min: u64,
        max: u64,
    },
    Duration {
        min: Millis,
        max: Millis,
    },
    Size {
        min: u64,
        max: u64,
    },
    /// Bounds are fractions of one.
    Percent {
        min: f64,
        max: f64,
    },
    /// A percentage without a fraction, or `off` for none.
    Share {
        max: u8,
    },
    /// A percentage that is rounded to buckets of the latency histogram.
    Buckets {
        max: u8,
    },
    /// A number without a unit.
    Fraction {
        min: f64,
        max: f64,
        example: f64,
    },
    /// Fractions between 0 and 1, each above the one before.
    Quantiles {
        max: usize,
    },
    Choice(&'static [&'static str]),
    /// A program and its arguments.
    Command {
        empty: bool,
    },
    Texts {
        of: &'static Text,
        min: usize,
        max: usize,
    },
    /// Numbers from 1 to 100, each above the one before.
    Weights {
        max: usize,
    },
    /// Names of a kind, each with a text.
    Variables {
        name: &'static Text,
    },
    /// Names of a kind, each with a list of texts.
    Lists {
        of: &'static Text,
        name: &'static Text,
    },
    Table(&'static Section),
    /// A list of tables.
    Tables {
        of: &'static Section,
        max: usize,
    },
    /// Tables under names of their own.
    Named {
        of: &'static Section,
        name: &'static Text,
    },
    OneOf(&'static [Shape]),
    /// Not yet supported; says what to do meanwhile.
    Later(&'static str),
    /// HTTP statuses of failures, 500 to 599.
    Statuses {
        max: usize,
    },
}

const fn key(name: &'static str, shape: Shape, absent: Absent, doc: &'static str) -> Key {
    Key { name, shape, absent, doc }
}

/// A key whose behaviour comes later. Refused, and in no reference: nobody should plan with it.
const fn later(name: &'static str, meanwhile: &'static str) -> Key {
    Key { name, shape: Shape::Later(meanwhile), absent: Absent::Means("nothing"), doc: "" }
}

/// The whole file.
pub(crate) static ROOT: Section = Section {
    name: "",
    doc: "The manifest of MedEclipse: what to run, how to roll it out, when to take it back.",
    keys: &[
        key(
            "service",
            Shape::Named { of: &service::SERVICE, name: &text::NAME },
            Absent::Means("the manifest is refused"),
            "The services, each under its name.",
        ),
        key(
            "environment",
            Shape::Named { of: &environment::ENVIRONMENT, name: &text::NAME },
            Absent::Means("`local`, with the defaults of an environment"),
            "The places where the services run, each under its name.",
        ),
        key(
            "project",
            Shape::Table(&infra::project::PROJECT),
            Absent::Means("nothing can be rendered"),
            "What the infrastructure is called.",
        ),
        key(
            "ci",
            Shape::Table(&infra::project::CI),
            Absent::Means("no workflow is rendered"),
            "The pipeline.",
        ),
        key(
            "compliance",
            Shape::Table(&infra::project::COMPLIANCE),
            Absent::Means("its defaults"),
            "Rules infrastructure is held to.",
        ),
        key(
            "waiver",
            Shape::Tables { of: &infra::project::WAIVER, max: 256 },
            Absent::Means("none"),
            "Findings that are accepted for a while.",
        ),
        later("alarm", "remove it; `medeclipse status` and `medeclipse metrics` show the figures meanwhile"),
        later("notify", "remove it; `rollout.hooks.after_deploy` can send a message meanwhile"),
    ],
};

impl Section {
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    pub fn key_names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }

    /// Returns the keys that work today.
    pub fn supported(&self) -> impl Iterator<Item = &'static Key> {
        self.keys.iter().filter(|key| !matches!(key.shape, Shape::Later(_)))
    }
}

impl Shape {
    /// Returns the section of the tables this shape holds.
    pub fn section(&self) -> Option<&'static Section> {
        match self {
            Shape::Table(of) | Shape::Tables { of, .. } | Shape::Named { of, .. } => Some(of),
            Shape::OneOf(shapes) => shapes.iter().find_map(Shape::section),
            _ => None,
        }
    }

    /// Says what belongs there: "a duration". Fits after "is not".
    pub fn noun(&self) -> String {
        match self {
            Shape::Text(text) => text.noun.to_owned(),
            Shape::Flag => "`true` or `false`".to_owned(),
            Shape::Integer { .. } => "a whole number".to_owned(),
            Shape::Duration { .. } => "a duration".to_owned(),
            Shape::Size { .. } => "a size".to_owned(),
            Shape::Percent { .. } => "a percentage".to_owned(),
            Shape::Share { .. } => "a whole percentage or \"off\"".to_owned(),
            Shape::Buckets { .. } => "a percentage of at least one histogram bucket".to_owned(),
            Shape::Fraction { .. } => "a fraction".to_owned(),
            Shape::Quantiles { .. } => "a list of rising quantiles".to_owned(),
            Shape::Choice(words) => one_of(words),
            Shape::Command { .. } => "a command".to_owned(),
            Shape::Texts { of, .. } => format!("a list with {} in each place", of.noun),
            Shape::Weights { .. } => "a list of rising weights".to_owned(),
            Shape::Variables { .. } => "a table of variables".to_owned(),
            Shape::Lists { of, .. } => format!("a table of lists with {} in each place", of.noun),
            Shape::Table(_) => "a table".to_owned(),
            Shape::Tables { .. } => "a list of tables".to_owned(),
            Shape::Named { .. } => "a table of tables".to_owned(),
            Shape::OneOf(shapes) => shapes.iter().map(Shape::noun).collect::<Vec<_>>().join(" or "),
            Shape::Later(_) => "supported yet".to_owned(),
            Shape::Statuses { .. } => "a list of statuses".to_owned(),
        }
    }

    /// Returns a value that could stand there, as TOML.
    pub fn example(&self) -> String {
        match self {
            Shape::Text(text) => format!("\"{}\"", text.example),
            Shape::Flag => "true".to_owned(),
            Shape::Integer { min, .. } => format!("{}", (*min).max(1)),
            Shape::Duration { .. } => "\"30s\"".to_owned(),
            Shape::Size { .. } => "\"512MiB\"".to_owned(),
            Shape::Percent { .. } => "\"20%\"".to_owned(),
            Shape::Share { .. } => "\"5%\"".to_owned(),
            Shape::Buckets { .. } => "\"4.4%\"".to_owned(),
            Shape::Fraction { example, .. } => example.to_string(),
            Shape::Quantiles { .. } => "[0.5, 0.9, 0.99]".to_owned(),
            Shape::Choice(words) => format!("\"{}\"", words[0]),
            Shape::Command { .. } => "[\"./program\", \"--flag\"]".to_owned(),
            Shape::Texts { of, .. } => format!("[\"{}\"]", of.example),
            Shape::Weights { .. } => "[5, 25, 100]".to_owned(),
            Shape::Variables { .. } => "{ NAME = \"value\" }".to_owned(),
            Shape::Lists { of, name } => format!("{{ {} = [\"{}\"] }}", name.example, of.example),
            Shape::Table(of) => format!("{{ {} }}", example_of(of)),
            Shape::Tables { of, .. } => format!("[{{ {} }}]", example_of(of)),
            Shape::Named { of, name } => format!("{{ {} = {{ {} }} }}", name.example, example_of(of)),
            Shape::OneOf(shapes) => shapes[0].example(),
            Shape::Later(_) => String::new(),
            Shape::Statuses { .. } => "[500, 502, 503, 504]".to_owned(),
        }
    }

    /// Says how far values may go, for the reference.
    pub fn bounds(&self) -> String {
        match self {
            Shape::Text(text) => text.noun.to_owned(),
            Shape::Integer { min, max } => format!("{min} to {max}"),
            Shape::Duration { min, max } => format!("{} to {}", duration_text(*min), duration_text(*max)),
            Shape::Size { min, max } => format!("{} to {}", size_text(*min), size_text(*max)),
            Shape::Percent { min, max } => format!("{}% to {}%", min * 100.0, max * 100.0),
            Shape::Share { max } => format!("0% to {max}% without a fraction, or \"off\""),
            Shape::Buckets { max } => {
                format!("{}% to {}%, rounded to buckets", bucket_percent(1), bucket_percent(*max))
            }
            Shape::Fraction { min, max, .. } => format!("{min} to {max}"),
            Shape::Quantiles { max } => format!("1 to {max} numbers between 0 and 1, rising"),
            Shape::Command { empty: true } => "a program and its arguments, or `[]`".to_owned(),
            Shape::Command { empty: false } => "a program and its arguments".to_owned(),
            Shape::Texts { of, min, max } => format!("{min} to {max} of: {}", of.noun),
            Shape::Weights { max } => format!("up to {max} numbers from 1 to 100, rising, the last 100"),
            Shape::Variables { name } => format!("names: {}; values: texts", name.noun),
            Shape::Lists { of, name } => format!("names: {}; each a list of: {}", name.noun, of.noun),
            Shape::Tables { max, .. } => format!("up to {max} tables"),
            Shape::OneOf(shapes) => shapes.iter().map(Shape::bounds).collect::<Vec<_>>().join(", or "),
            Shape::Statuses { max } => format!("1 to {max} numbers from 500 to 599"),
            Shape::Flag | Shape::Choice(_) => self.noun(),
            Shape::Table(_) | Shape::Named { .. } => "a table".to_owned(),
            Shape::Later(_) => String::new(),
        }
    }
}

/// Returns `"a", "b" or "c"`.
pub(crate) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.join(""),
    }
}

fn example_of(section: &Section) -> String {
    let Some(key) = section.supported().next() else { return String::new() };
    format!("{} = {}", key.name, key.shape.example())
}
