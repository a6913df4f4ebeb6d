//! Runs `medeclipse lint` as people and pipelines do: exit codes, formats, baselines, fixes, what is not read.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn lint(folder: &Path, args: &[&str]) -> Output {
    let state = folder.join(".state");
    Command::new(env!("CARGO_BIN_EXE_medeclipse"))
        .arg("lint")
        .args(args)
        .args(["--state", state.to_str().unwrap()])
        .current_dir(folder)
        .env_remove("MEDECLIPSE_JSON")
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn place(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    folder
}

const CHECK: (&str, &str) = (
    "Dockerfile",
    "FROM node:24-alpine@sha256:9f2c1a7be04d5c6f8e3b1d0a9c8b7a6f5e4d3c2b1a0f9e8d7c6b5a4f3e2d1c0b\nUSER node\nHEALTHCHECK CMD curl -f http://localhost/\n",
);

#[test]
fn a_finding_names_both_places_and_ends_with_one() {
    let folder = place(&[CHECK]);
    let output = lint(folder.path(), &["."]);

    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let text = text(&output);
    assert!(text.contains("critical probe/program-missing: the health check calls `curl`"), "{text}");
    assert!(text.contains("at Dockerfile:3:17") && text.contains("against Dockerfile:1:1"), "{text}");
    assert!(
        text.contains("HEALTHCHECK CMD curl -f http://localhost/\n        |                 ^^^^"),
        "{text}"
    );
}

#[test]
fn a_clean_tree_ends_with_zero_and_an_unreadable_file_with_two() {
    let clean = place(&[("a.sh", "#!/bin/sh\necho hello\n")]);
    assert_eq!(lint(clean.path(), &["."]).status.code(), Some(0));

    let broken = place(&[CHECK, ("main.tf", "resource \"a\" {\n")]);
    let output = lint(broken.path(), &["."]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("cannot read main.tf: line "), "{}", text(&output));
    assert!(text(&output).contains("probe/program-missing"), "the rest is judged");
}

#[test]
fn the_formats_for_programs_can_be_read() {
    let folder = place(&[CHECK]);
    let json: Value =
        serde_json::from_slice(&lint(folder.path(), &[".", "--format", "json"]).stdout).unwrap();
    assert_eq!(json["findings"][0]["rule"], "probe/program-missing");
    assert_eq!(json["findings"][0]["contradicts"]["line"], 1);

    let sarif: Value =
        serde_json::from_slice(&lint(folder.path(), &[".", "--format", "sarif"]).stdout).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], 3);
    let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
    assert_eq!(sarif["runs"][0]["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);

    let github = text(&lint(folder.path(), &[".", "--format", "github"]));
    assert!(github.starts_with("::error file=Dockerfile,line=3,col=17,"), "{github}");
}

#[test]
fn a_baseline_hides_what_was_there_also_when_lines_move() {
    let folder = place(&[CHECK]);
    let written = lint(folder.path(), &[".", "--baseline", "known.json", "--write-baseline"]);
    assert_eq!(written.status.code(), Some(0), "{}", text(&written));
    let moved = format!("# one more line\n{}", CHECK.1);
    std::fs::write(folder.path().join("Dockerfile"), moved).unwrap();

    let output = lint(folder.path(), &[".", "--baseline", "known.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("1 in the baseline"), "{}", text(&output));
}

#[test]
fn fixes_are_carried_out_and_the_rest_is_left() {
    let folder = place(&[(
        "main.tf",
        "resource \"aws_elasticache_replication_group\" \"a\" {\n  user_group_ids             = [\"a\"]\n  engine_version             = \"7.1\"\n  at_rest_encryption_enabled = false # why\n  transit_encryption_enabled = true\n  description                = \"a\"\n  replication_group_id       = \"a\"\n}\n",
    )]);
    let output = lint(folder.path(), &[".", "--fix"]);

    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let fixed = std::fs::read_to_string(folder.path().join("main.tf")).unwrap();
    assert!(fixed.contains("at_rest_encryption_enabled = true # why\n"), "{fixed}");
}

#[test]
fn links_ignored_files_and_what_lies_outside_are_not_read() {
    let outside = place(&[("secret.tf", "resource \"aws_kms_key\" \"a\" {}\n")]);
    let folder = place(&[
        (".gitignore", "made/\n"),
        ("made/main.tf", "resource \"aws_kms_key\" \"a\" {}\n"),
        ("a.sh", "echo\n"),
    ]);
    std::os::unix::fs::symlink(outside.path(), folder.path().join("linked")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret.tf"), folder.path().join("linked.tf")).unwrap();

    let output = lint(folder.path(), &["."]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[test]
fn a_rule_explains_itself_and_an_unknown_one_is_refused() {
    let folder = place(&[]);
    let output = lint(folder.path(), &["--explain", "secret/whole-json"]);
    assert!(text(&output).contains("takes one key of a secret"), "{}", text(&output));
    assert_eq!(lint(folder.path(), &["--explain", "nothing"]).status.code(), Some(2));
}

#[test]
fn a_waiver_holds_until_it_ends() {
    let waived = CHECK.1.replace(
        "HEALTHCHECK",
        "# medeclipse:allow probe/program-missing until=2999-01-01 reason=\"a test\"\nHEALTHCHECK",
    );
    let folder = place(&[("Dockerfile", &waived)]);
    let output = lint(folder.path(), &["."]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("1 waived"), "{}", text(&output));

    std::fs::write(folder.path().join("Dockerfile"), waived.replace("2999", "2001")).unwrap();
    let output = lint(folder.path(), &["."]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("waiver/expired"), "{}", text(&output));
}
