//! Rules of customers in Rego: what they deny is a finding with its place, a waiver covers it, a broken policy is named.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use infra::check::{Input, Policy, PolicyFile, Verdict, evaluate, seen};
use infra::config::{Root, from_tree};
use infra::finding::Severity;
use infra::tree::Tree;
use infra::waiver::Waivers;
use std::sync::Arc;

const STORAGE: &str = include_str!("fixtures/rego/storage.rego");
const FILES: &str = "resource \"aws_s3_bucket\" \"files\" {\n  bucket = \"files\"\n}\n\nresource \"aws_s3_bucket\" \"logs\" {\n  bucket = \"logs\"\n  tags   = { owner = \"ops\" }\n}\n\nresource \"aws_db_instance\" \"main\" {\n  allocated_storage = 500\n}\n";

fn roots() -> Vec<Root> {
    let tree: Tree = [("aws/main.tf".to_owned(), Arc::from(FILES.as_bytes()))].into();
    from_tree(&tree).unwrap()
}

fn policy(text: &str) -> Vec<PolicyFile> {
    vec![PolicyFile { path: "policies/storage.rego".to_owned(), text: text.to_owned() }]
}

#[test]
fn what_a_policy_denies_is_a_finding_at_its_resource() {
    let (roots, strict) = (roots(), Policy::strict());
    let input = Input { roots: &roots, policy: &strict, today: "2026-11-28" };

    let outcome = evaluate(&policy(STORAGE), &input, &Waivers::default()).unwrap();

    assert_eq!(outcome.verdict, Verdict::Broken);
    let told: Vec<_> = outcome
        .findings
        .iter()
        .map(|it| (it.rule.as_str(), it.severity, it.what.as_str(), it.at.path.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("rego/storage", Severity::Medium, "aws_s3_bucket.files does not say whose it is", "aws/main.tf"),
            ("rego/storage", Severity::Low, "aws_db_instance.main has 500 GiB", ""),
        ]
    );
    assert_eq!(outcome.findings[0].at.span.start, 0);
}

#[test]
fn a_waiver_covers_a_customers_rule() {
    let (roots, strict) = (roots(), Policy::strict());
    let input = Input { roots: &roots, policy: &strict, today: "2026-11-28" };
    let manifest = "[[waiver]]\nrule = \"rego/storage\"\nreason = \"moves next month\"\nby = \"ops\"\nuntil = \"2026-12-31\"\n";
    let none = Tree::new();
    let waivers = Waivers::beside(&none, "2026-11-28", "", Some(("medeclipse.toml", manifest)));

    assert_eq!(evaluate(&policy(STORAGE), &input, &waivers).unwrap().verdict, Verdict::Waived);
}

#[test]
fn a_policy_that_is_broken_is_named_and_one_without_findings_holds() {
    let (roots, strict) = (roots(), Policy::strict());
    let input = Input { roots: &roots, policy: &strict, today: "2026-11-28" };

    let error =
        evaluate(&policy("package x\n\ndeny contains if {"), &input, &Waivers::default()).unwrap_err();
    assert_eq!(error.path, "policies/storage.rego");
    let none = evaluate(
        &policy("package x\n\nimport rego.v1\n\ndeny contains \"no\" if false\n"),
        &input,
        &Waivers::default(),
    )
    .unwrap();
    assert_eq!(none.verdict, Verdict::Held);
}

#[test]
fn policies_reach_nothing_but_their_input() {
    let (roots, strict) = (roots(), Policy::strict());
    let input = Input { roots: &roots, policy: &strict, today: "2026-11-28" };

    let asks = "package x\n\nimport rego.v1\n\ndeny contains \"reached\" if http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1:1\"})\n";
    let outcome = evaluate(&policy(asks), &input, &Waivers::default());
    assert!(outcome.is_err() || outcome.unwrap().findings.is_empty());
}

#[test]
fn the_docs_show_the_policy_that_is_tested() {
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/infra.md")).unwrap();

    assert!(docs.contains(STORAGE), "docs/infra.md shows crates/infra/tests/fixtures/rego/storage.rego");
    let (roots, strict) = (roots(), Policy::strict());
    let first = &seen(&Input { roots: &roots, policy: &strict, today: "2026-11-28" })["resources"][0];
    for key in first.as_object().unwrap().keys() {
        assert!(docs.contains(&format!("`{key}`")), "docs/infra.md says what `{key}` is");
    }
}
