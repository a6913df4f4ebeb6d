//! The reference manifest, and what is rendered from it.
#![allow(dead_code)]

use infra::model::{Plan, resolve};
use infra::render::{Files, render};
use infra::tree::Tree;
use manifest::{Color, parse_all};

pub const ENVIRONMENTS: [&str; 4] = ["production", "staging", "development", "local"];
pub const MANIFEST: &str = include_str!("../../../manifest/tests/infra.toml");

pub fn plan() -> Plan {
    plan_of(MANIFEST)
}

pub fn plan_of(text: &str) -> Plan {
    let manifests =
        parse_all(text, "medeclipse.toml").unwrap_or_else(|errors| panic!("{}", errors.render(Color::Never)));
    resolve(&manifests).unwrap_or_else(|refusals| panic!("{refusals:#?}"))
}

pub fn files(environment: &str) -> Files {
    render(&plan(), environment).unwrap()
}

pub fn tree(files: &Files) -> Tree {
    files.iter().map(|(path, text)| (path.clone(), text.as_bytes().into())).collect()
}

/// Returns line and column of a byte, counted from 1.
pub fn lines(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..byte.min(text.len())];
    (before.matches('\n').count() + 1, before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1)
}
