//! How long lint takes: the strategy's files, and repositories of 5,000 files made of the good projects. Printed; see docs/measurements.md.

#![allow(clippy::disallowed_methods, reason = "tests read their fixtures and the clock")]

mod fixture;

use fixture::{TODAY, all, fixtures, folder, tree};
use infra::lint::{Options, lint};
use infra::tree::Tree;
use std::collections::BTreeSet;
use std::time::Instant;

/// The good projects again and again, as parts of one repository, until it has so many files.
fn repository(files: usize, below: &str) -> Tree {
    let projects = all("good");
    let mut repository = Tree::new();
    for number in 0.. {
        let (name, text) = &projects[number % projects.len()];
        for (path, bytes) in tree(text) {
            repository.insert(format!("{below}{number:03}-{name}/{path}"), bytes);
            if repository.len() >= files {
                return repository;
            }
        }
    }
    unreachable!("the projects have files")
}

/// The shortest of some runs, in milliseconds.
fn took(tree: &Tree, runs: usize) -> f64 {
    let options = Options { today: TODAY.to_owned(), threads: 2, baseline: BTreeSet::new() };
    let one = || {
        let began = Instant::now();
        lint(tree, &options);
        began.elapsed().as_secs_f64() * 1000.0
    };
    (0..runs).map(|_| one()).fold(f64::INFINITY, f64::min)
}

/// The aims are 100 ms and 2 s. On a loaded machine a clock shows little: a tenth of the size must stay within ten times its aim.
#[test]
fn lint_takes_milliseconds() {
    let strategy = folder(&fixtures().join("strategy"));
    let alone = took(&strategy, 10);
    println!("lint of {} files, the strategy's: {alone:.1} ms", strategy.len());
    assert!(alone < 1_000.0, "{alone} ms");

    let repository = repository(500, "services/");
    let many = took(&repository, 3);
    println!("lint of {} files, one project: {many:.0} ms", repository.len());
    assert!(many < 2_000.0, "{many} ms");
}

/// `script/bench lint`
#[test]
#[ignore = "for the figures"]
fn lint_of_five_thousand_files() {
    let strategy = folder(&fixtures().join("strategy"));
    println!("lint of {} files, the strategy's: {:.1} ms", strategy.len(), took(&strategy, 20));
    for (what, below) in [("projects beside each other", ""), ("one project", "services/")] {
        let repository = repository(5_000, below);
        println!("lint of {} files, {what}: {:.0} ms", repository.len(), took(&repository, 3));
    }
}
