//! Each rule finds its failing fixture and passes its passing one; the registry is the folder.

#![allow(clippy::disallowed_methods, reason = "tests read their fixtures")]

mod fixture;

use fixture::{all, judged, told, tree};
use std::collections::BTreeMap;

/// Rule and `bad` or `good` to the fixture's files.
fn fixtures() -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for (_, text) in all("rules") {
        for block in text.split("=== ").filter(|block| !block.trim().is_empty()) {
            let (head, files) = block.split_once('\n').expect("a head and files");
            let (rule, kind) = head.split_once(' ').expect("a rule and a kind");
            let before = found.insert((rule.to_owned(), kind.to_owned()), files.to_owned());
            assert!(before.is_none(), "{head} stands twice");
        }
    }
    found
}

#[test]
fn each_rule_has_a_fixture_that_fails_and_one_that_passes() {
    let fixtures = fixtures();
    let mut wrong = Vec::new();
    for rule in infra::lint::rules::all() {
        for (kind, expected) in [("bad", true), ("good", false)] {
            let Some(files) = fixtures.get(&(rule.id.to_owned(), kind.to_owned())) else {
                wrong.push(format!("{} has no {kind} fixture", rule.id));
                continue;
            };
            let tree = tree(files);
            let report = judged(&tree);
            let found = report.findings.iter().any(|finding| finding.rule == rule.id);
            if found != expected || !report.unreadable.is_empty() {
                wrong.push(format!("{} {kind}: {:?} {:?}", rule.id, told(&tree, &report), report.unreadable));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn fixtures_are_of_rules_there_are() {
    for (rule, kind) in fixtures().keys() {
        assert!(
            infra::lint::rules::find(rule).is_some() && matches!(kind.as_str(), "bad" | "good"),
            "{rule} {kind}"
        );
    }
}

#[test]
fn a_topic_is_a_file_and_its_rules_begin_with_it() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lint/rules");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .expect("the rules")
        .filter_map(|entry| {
            entry.expect("an entry").file_name().to_str()?.strip_suffix(".rs").map(str::to_owned)
        })
        .filter(|name| name != "mod")
        .collect();
    files.sort();
    let topics: Vec<&str> = infra::lint::rules::TOPICS.iter().map(|topic| topic.0).collect();

    assert_eq!(files, topics);
    for (topic, rules) in infra::lint::rules::TOPICS {
        for rule in *rules {
            assert!(rule.id.starts_with(&format!("{topic}/")), "{} lies in {topic}.rs", rule.id);
        }
    }
}

#[test]
fn no_rule_knows_the_strategys_names() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lint");
    let mut todo = vec![folder];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(
                std::fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()),
            );
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("text").to_lowercase();
        for line in text.lines().filter(|line| line.contains("medeclipse")) {
            let ours = [
                "medeclipse lint",
                "medeclipse.toml",
                "medeclipse:allow",
                "medeclipse/v1",
                "[\"medeclipse\"",
                "\"name\": \"medeclipse\"",
            ];
            assert!(ours.iter().any(|own| line.contains(own)), "{}: {line}", path.display());
        }
    }
}
