//! Holds the walls between the rooms: who may import whom, and how long a file or a function may be.
//! The tables are data; docs/ARCHITECTURE.md explains them.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Workspace crates each crate may import.
const ROOMS: &[(&str, &[&str])] = &[
    ("rollout", &[]),
    ("meter", &[]),
    ("manifest", &["rollout"]),
    ("drivers", &["rollout", "manifest", "meter"]),
    ("edge", &["rollout", "manifest", "meter"]),
    ("engine", &["rollout", "manifest", "meter", "drivers"]),
    ("medeclipse", &["rollout", "manifest", "meter", "drivers", "edge", "engine", "sim", "infra"]),
    ("clinic", &[]),
    ("sim", &["rollout", "manifest", "drivers", "engine"]),
    ("noise", &[]),
    ("infra", &["manifest"]),
];

/// Outside crates of the pure rooms: nothing that knows a clock, a socket or a file.
const OUTSIDE: &[(&str, &[&str])] = &[
    ("rollout", &["libm", "schemars", "serde", "thiserror"]),
    ("meter", &["serde"]),
    ("sim", &["libm", "rand_distr", "rand_pcg", "serde_json", "thiserror"]),
    ("noise", &["rand_pcg", "rustix", "serde_json"]),
    (
        "infra",
        &[
            "hcl-edit",
            "jsonc-parser",
            "minijinja",
            "regorus",
            "saphyr-parser",
            "serde",
            "serde_json",
            "sha2",
            "strsim",
            "thiserror",
            "toml",
        ],
    ),
    ("manifest", &["annotate-snippets", "schemars", "serde", "serde_json", "strsim", "thiserror", "toml"]),
];

/// Lines a file may have, tests not counted, and what is longer today. A number here may only fall.
const FILE_LINES_MAX: usize = 500;
const FILES_TOO_LONG: &[(&str, usize)] = &[];

/// Lines a function may have, and how many are longer today. The number may only fall.
const FUNCTION_LINES_MAX: usize = 70;
const FUNCTIONS_TOO_LONG: usize = 0;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace is there")
}

/// Returns, for each crate of the workspace, what it depends on outside tests and fuzzing.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let of = |package: &Value| {
        let all = package["dependencies"].as_array().expect("a list of dependencies");
        let built = |of: &&Value| of["kind"].is_null() && of["target"] != "cfg(fuzzing)";
        all.iter().filter(built).map(name).collect()
    };
    packages.iter().map(|package| (name(package), of(package))).collect()
}

#[test]
fn every_room_imports_only_what_the_plan_allows() {
    let crates = dependencies();
    let rooms: BTreeSet<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    let found: BTreeSet<&str> = crates.keys().map(String::as_str).collect();
    assert_eq!(
        found, rooms,
        "a crate was added or removed: bring the table and docs/ARCHITECTURE.md up to date"
    );

    for (room, allowed) in ROOMS {
        let inside = crates[*room].iter().filter(|name| rooms.contains(name.as_str()));
        let forbidden: Vec<_> = inside.filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(forbidden.is_empty(), "`{room}` imports {forbidden:?}, which the plan forbids");
    }
}

#[test]
fn the_pure_rooms_import_no_outside_crate_that_is_not_on_their_list() {
    let crates = dependencies();
    let rooms: BTreeSet<&str> = ROOMS.iter().map(|(room, _)| *room).collect();

    for (room, allowed) in OUTSIDE {
        let outside = crates[*room].iter().filter(|name| !rooms.contains(name.as_str()));
        let forbidden: Vec<_> = outside.filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(forbidden.is_empty(), "`{room}` imports {forbidden:?}, which are not on its list");
    }
}

/// Returns the project's own Rust files, relative to the root, with their text.
fn sources() -> Vec<(String, String)> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
        .current_dir(root())
        .output()
        .expect("git runs");
    let names = String::from_utf8(output.stdout).expect("names are text");
    let read =
        |name: &str| std::fs::read_to_string(root().join(name)).ok().map(|text| (name.to_owned(), text));
    names.lines().filter_map(read).collect()
}

/// Returns the sources that are not tests: those may be as long as what they list.
fn code() -> Vec<(String, String)> {
    let is_test = |name: &str| name.contains("/tests/") || name.ends_with("tests.rs");
    sources().into_iter().filter(|(name, _)| !is_test(name)).collect()
}

/// Returns the text before the first test module.
fn without_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod ").map_or(text, |start| &text[..start])
}

#[test]
fn no_file_grows_past_its_limit() {
    let mut wrong = Vec::new();
    for (name, text) in code() {
        let lines = without_tests(&text).lines().count();
        let limit =
            FILES_TOO_LONG.iter().find(|(known, _)| *known == name).map_or(FILE_LINES_MAX, |known| known.1);
        if lines > limit {
            wrong.push(format!("{name}: {lines} lines, limit {limit}"));
        }
    }
    assert!(wrong.is_empty(), "split what grew:\n{}", wrong.join("\n"));
}

#[test]
fn no_further_function_grows_past_a_screen() {
    let mut long = Vec::new();
    for (name, text) in code() {
        for (function, lines) in functions(without_tests(&text)) {
            if lines > FUNCTION_LINES_MAX {
                long.push(format!("{name}: fn {function}: {lines} lines"));
            }
        }
    }
    assert!(
        long.len() == FUNCTIONS_TOO_LONG,
        "{} functions are longer than {FUNCTION_LINES_MAX} lines, {FUNCTIONS_TOO_LONG} may be:\n{}",
        long.len(),
        long.join("\n")
    );
}

/// Returns each function and its length: from `fn` to the brace that closes at its indentation (rustfmt's layout).
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let Some(name) = function_name(line.trim_start()) else { continue };
        let closing = format!("{}}}", " ".repeat(indent));
        if let Some(length) = lines[start..].iter().position(|line| *line == closing) {
            found.push((name, length + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let mut rest = line;
    for word in ["pub(super) ", "pub(crate) ", "pub ", "const ", "async "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let name = rest.strip_prefix("fn ")?;
    Some(name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|(name, text)| !text.starts_with("//!") && !name.ends_with("tests.rs"))
        .map(|(name, _)| name)
        .collect();
    assert!(silent.is_empty(), "these files do not begin with `//!`: {silent:?}");
}
