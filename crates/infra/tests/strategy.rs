//! The strategy's own files, as they were written: every defect that files can show is found, where it stands.
//! The table in docs/lint.md is made here.

#![allow(clippy::disallowed_methods, reason = "tests read their fixtures")]

mod fixture;

use fixture::{fixtures, folder, judged};
use infra::lint::report::lines;
use std::collections::BTreeSet;

/// Defect, what it is, rule, file, line.
const SEED: &[(&str, &str, &str, &str, usize)] = &[
    ("A1", "one state key for every environment", "state/key-shared", "infrastructure/terraform/main.tf", 12),
    (
        "A2",
        "provider 5 cannot configure deployments",
        "version/provider-behind",
        "infrastructure/terraform/main.tf",
        6,
    ),
    ("A3", "lock table deprecated", "state/lock-deprecated", "infrastructure/terraform/main.tf", 15),
    (
        "A4",
        "no provider for us-east-1",
        "region/edge-provider-missing",
        "infrastructure/terraform/main.tf",
        20,
    ),
    ("A5", "passwords in the state", "leak/in-state", "infrastructure/terraform/main.tf", 88),
    ("A6", "referenced, never declared", "terraform/undefined", "infrastructure/terraform/cloudwatch.tf", 21),
    ("N1", "module without version", "terraform/module-unpinned", "infrastructure/terraform/main.tf", 34),
    (
        "N2",
        "fixed subnets in a variable range",
        "network/literal-subnets",
        "infrastructure/terraform/main.tf",
        40,
    ),
    ("N3", "VPN gateway for nothing", "network/unused-gateway", "infrastructure/terraform/main.tf", 44),
    (
        "R1",
        "PostgreSQL 16.1 cannot be created",
        "version/end-of-life",
        "infrastructure/terraform/main.tf",
        79,
    ),
    (
        "R2",
        "the master's login for all",
        "database/master-login-only",
        "infrastructure/terraform/main.tf",
        87,
    ),
    ("R3", "7 days of backups", "database/backup-short", "infrastructure/terraform/main.tf", 93),
    ("R4", "no logs exported", "database/logs-not-exported", "infrastructure/terraform/main.tf", 75),
    ("R5", "insights with AWS's key", "database/default-key", "infrastructure/terraform/main.tf", 100),
    ("R6", "no final snapshot", "database/no-final-snapshot", "infrastructure/terraform/main.tf", 75),
    ("X1", "engine and parameters by default", "cache/unpinned", "infrastructure/terraform/main.tf", 112),
    ("X2", "one token for all", "cache/shared-token", "infrastructure/terraform/main.tf", 127),
    ("D1", "Node 20 has ended", "version/end-of-life", "Dockerfile.production", 2),
    (
        "D2",
        "the probe's program is not in the image",
        "probe/program-missing",
        "ecs-task-definition.json",
        54,
    ),
    ("D3", "deprecated flag, unused stage", "image/stage-unused", "Dockerfile.production", 6),
    (
        "D4",
        "build-time variable set at run time",
        "image/build-time-variable",
        "ecs-task-definition.json",
        25,
    ),
    (
        "E2",
        "what is pushed is not what runs",
        "deploy/image-not-deployed",
        ".github/workflows/deploy.yml",
        129,
    ),
    ("E3", "a whole JSON secret in a variable", "secret/whole-json", "ecs-task-definition.json", 32),
    ("E4", "secrets nobody makes", "secret/undeclared", "ecs-task-definition.json", 36),
    ("E5", "a log group nobody makes", "log/group-missing", "ecs-task-definition.json", 46),
    ("E6", "stable is no proof", "deploy/wait-is-no-proof", ".github/workflows/deploy.yml", 138),
    ("E7", "one role for every environment", "role/shared", "ecs-task-definition.json", 8),
    (
        "E8",
        "the script goes on after errors",
        "script/goes-on-after-errors",
        "scripts/blue-green-deploy.sh",
        1,
    ),
    ("E9", "exec sessions without a key", "task/exec-unencrypted", "infrastructure/terraform/main.tf", 63),
    ("E10", "writable root, no init", "task/writable-root", "ecs-task-definition.json", 11),
    ("S1", "AWS's key, no rotation", "secret/default-key", "infrastructure/terraform/secrets.tf", 2),
    ("S2", "an endpoint as a host", "secret/endpoint-with-port", "infrastructure/terraform/secrets.tf", 17),
    (
        "K1",
        "the key shuts out CloudWatch Logs",
        "key/service-not-allowed",
        "infrastructure/terraform/cloudwatch.tf",
        5,
    ),
    ("K2", "no rotation, 7 days", "key/not-rotated", "infrastructure/terraform/secrets.tf", 24),
    ("L1", "traces for 30 days", "log/retention", "infrastructure/terraform/cloudwatch.tf", 4),
    ("W3", "an edge ACL in another region", "region/edge-elsewhere", "infrastructure/terraform/waf.tf", 1),
    ("W4", "the rate limit leaves out the world", "waf/rate-scoped", "infrastructure/terraform/waf.tf", 70),
    ("W6", "uploads over 8 KiB are blocked", "waf/body-size-blocked", "infrastructure/terraform/waf.tf", 20),
    ("W7", "Bot Control blocks probes", "waf/bots-block-probes", "infrastructure/terraform/waf.tf", 43),
    ("W8", "no WAF logs", "waf/not-logged", "infrastructure/terraform/waf.tf", 1),
    ("M1", "alarms on load alone", "alarm/load-only", "infrastructure/terraform/cloudwatch.tf", 13),
    ("M2", "a fixed limit for any class", "alarm/fixed-limit", "infrastructure/terraform/cloudwatch.tf", 36),
    ("P1", "URLs in metrics", "code/url-in-metric", "lib/monitoring.ts", 71),
    ("P2", "a measurement delays the request", "code/metric-in-request", "lib/monitoring.ts", 71),
    ("H1", "the rollback only logs", "code/does-nothing", "lib/deployment/health-monitor.ts", 54),
    ("C1", "an action by its branch", "workflow/action-unpinned", ".github/workflows/deploy.yml", 82),
    ("C2", "stored keys", "workflow/long-lived-keys", ".github/workflows/deploy.yml", 106),
    ("C3", "nobody has to agree", "workflow/no-environment", ".github/workflows/deploy.yml", 94),
    ("C4", "migrations after the deployment", "migration/after-deploy", ".github/workflows/deploy.yml", 147),
    ("C5", "no permissions", "workflow/permissions-missing", ".github/workflows/deploy.yml", 4),
    ("C6", "a scan that never fails", "workflow/scan-never-fails", ".github/workflows/deploy.yml", 82),
    ("C7", "the status of the job itself", "workflow/own-status", ".github/workflows/deploy.yml", 162),
    ("C8", "service images by tag", "image/unpinned", ".github/workflows/deploy.yml", 20),
    ("C9", "E2E without its cache", "env/test-lacks", ".github/workflows/deploy.yml", 71),
    ("C10", "deployments race", "workflow/no-concurrency", ".github/workflows/deploy.yml", 94),
    ("Q4", "the first container, whichever", "script/container-by-place", "scripts/blue-green-deploy.sh", 22),
    ("Q5", "a document unquoted", "script/unquoted-document", "scripts/blue-green-deploy.sh", 26),
    (
        "Q11",
        "a request without deadline",
        "script/probe-without-deadline",
        "scripts/blue-green-deploy.sh",
        50,
    ),
    ("Q13", "a rollback nobody waits for", "script/rollback-not-awaited", "scripts/blue-green-deploy.sh", 59),
    ("Q16", "a script nobody calls", "script/never-called", "scripts/blue-green-deploy.sh", 1),
    ("Q38", "built anew after the tests", "deploy/rebuilt-after-test", ".github/workflows/deploy.yml", 119),
    ("Q64", "the rate rule last", "waf/rate-last", "infrastructure/terraform/waf.tf", 58),
    ("Q67", "a required block missing", "terraform/argument-missing", "infrastructure/terraform/waf.tf", 1),
];

#[test]
fn every_defect_that_files_can_show_is_found_where_it_stands() {
    let tree = folder(&fixtures().join("strategy"));
    let report = judged(&tree);

    let ids: BTreeSet<&str> = SEED.iter().map(|seed| seed.0).collect();
    assert_eq!(ids.len(), 63);
    let found = |seed: &&(&str, &str, &str, &str, usize)| {
        report.findings.iter().any(|finding| {
            finding.rule == seed.2 && finding.at.path == seed.3 && lines(&tree, &finding.at).line == seed.4
        })
    };
    let missed: Vec<_> = SEED.iter().filter(|seed| !found(seed)).collect();
    assert!(missed.is_empty(), "{} of {} missed: {missed:?}", missed.len(), SEED.len());
}

/// The defects no other tool we tried finds.
const FOURTEEN: [&str; 14] =
    ["A1", "C4", "D2", "D4", "E2", "E3", "E4", "E5", "E6", "K1", "P1", "S2", "W3", "W4"];

#[test]
fn the_readme_holds_the_lines_of_the_fourteen() {
    let tree = folder(&fixtures().join("strategy"));
    let report = judged(&tree);
    let readme = std::fs::read_to_string(fixtures().join("../../../../README.md")).expect("README.md");
    for id in FOURTEEN {
        let (_, _, rule, path, line) = SEED.iter().find(|seed| seed.0 == id).expect("a defect");
        let is = |finding: &&infra::finding::Finding| {
            finding.rule == *rule && finding.at.path == *path && lines(&tree, &finding.at).line == *line
        };
        let found = report.findings.iter().filter(is);
        let written =
            |finding: &infra::finding::Finding| format!("{path}:{line}: {rule}: {}", finding.message);
        let any = found.map(written).any(|line| readme.contains(&line));
        assert!(any, "the README lacks the line of {id}");
    }
}

/// The rows of the table in the docs.
fn table() -> String {
    let mut text = String::new();
    for (id, what, rule, path, line) in SEED {
        text.push_str(&format!("| {id} | {what} | `{rule}` | `{path}:{line}` |\n"));
    }
    text
}

#[test]
fn the_docs_hold_the_table() {
    let path = fixtures().join("../../../../docs/lint.md");
    let docs = std::fs::read_to_string(path).expect("docs/lint.md");
    assert!(docs.contains(&table()), "put this into docs/lint.md:\n{}", table());
}

#[test]
fn the_docs_name_every_rule_with_its_sentence() {
    let path = fixtures().join("../../../../docs/lint.md");
    let docs = std::fs::read_to_string(&path).expect("docs/lint.md");
    let mut rows = String::new();
    for rule in infra::lint::rules::all() {
        rows.push_str(&format!("| `{}` | {} | {} |\n", rule.id, rule.severity.word(), rule.says));
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let (head, rest) = docs.split_once("<!-- rules -->\n").expect("the mark");
        let tail = rest.split_once("<!-- /rules -->\n").expect("the end's mark").1;
        let (head, tail) = (head.to_owned(), tail.to_owned());
        let rows = format!(
            "{head}<!-- rules -->\n| rule | severity | what holds in a good project |\n|---|---|---|\n{rows}<!-- /rules -->\n{tail}"
        );
        std::fs::write(&path, rows).expect("docs/lint.md is written");
        return;
    }
    assert!(docs.contains(&rows), "`UPDATE_DOCS=1 cargo test -p infra --test strategy` writes them");
}
