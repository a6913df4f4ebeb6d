//! What this project writes holds what it asks of others: lint over every rendered environment, as written and within a repository,
//! and over the example service.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests read the example")]

mod fixture;
mod support;

use fixture::{folder, judged, told};
use infra::tree::Tree;
use std::path::Path;
use support::{ENVIRONMENTS, MANIFEST, files, tree};

fn clinic() -> Tree {
    folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/clinic"))
}

fn assert_clean(what: &str, tree: &Tree) {
    let report = judged(tree);
    let wrong = told(tree, &report);
    assert!(report.unreadable.is_empty(), "{what}: {:?}", report.unreadable);
    assert!(wrong.is_empty(), "{what}: {} findings:\n{}", wrong.len(), wrong.join("\n"));
}

/// The clinic with what is rendered for some environments, where docs/infra.md says it belongs.
fn repository(environments: &[&str]) -> Tree {
    let mut repository = clinic();
    repository.insert("medeclipse.toml".to_owned(), MANIFEST.as_bytes().into());
    for (path, bytes) in environments.iter().flat_map(|environment| tree(&files(environment))) {
        let own = path.strip_prefix("repository/").map(str::to_owned);
        repository.insert(own.unwrap_or_else(|| format!("infrastructure/{path}")), bytes);
    }
    repository
}

#[test]
fn every_rendered_environment_is_clean() {
    for environment in ENVIRONMENTS {
        assert_clean(environment, &repository(&[environment]));
    }
}

#[test]
fn all_environments_in_one_repository_are_clean() {
    assert_clean("all", &repository(&ENVIRONMENTS));
}

#[test]
fn the_example_service_is_clean() {
    assert_clean("the clinic", &clinic());
}
