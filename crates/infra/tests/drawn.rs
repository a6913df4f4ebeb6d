//! What is rendered: the same every time, accepted by the providers' schemas, in the form of `terraform fmt`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use infra::schema::{Schemas, check};
use support::{ENVIRONMENTS, files, lines, plan, tree};

#[test]
fn every_environment_is_accepted_by_the_schemas() {
    let schemas = Schemas::shared();
    let mut wrong = Vec::new();
    for environment in ENVIRONMENTS {
        let files = files(environment);
        for mistake in check(&tree(&files), schemas) {
            let (line, _) = lines(&files[&mistake.at.path], mistake.at.span.start);
            wrong.push(format!("{environment}: {}:{line}: {}", mistake.at.path, mistake.what));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_same_manifest_gives_the_same_bytes() {
    let plan = plan();
    for environment in ENVIRONMENTS {
        assert_eq!(infra::render::render(&plan, environment), infra::render::render(&plan, environment));
    }
}
