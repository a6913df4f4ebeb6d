//! What a small manifest becomes, word for word, so that a change of a template is a diff somebody can read: whole files where they are short, of the
//! long ones what a mistake would be worst in. `UPDATE_GOLDEN=1 cargo test -p infra --test golden` writes them anew.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use infra::render::{Files, render};
use support::plan_of;

/// More lines than this are not read.
const LINES_MAX: usize = 85;

/// Golden file, rendered file, and the openings of what is taken from it; none: all of it.
const GOLDEN: &[(&str, &str, &[&str])] = &[
    ("Dockerfile.web", "repository/Dockerfile.web", &[]),
    ("compose.yaml", "repository/compose.yaml", &[]),
    ("deploy.yml", "repository/.github/workflows/deploy.yml", &["  deploy-production:"]),
    ("secrets.tf", "production/aws/secrets.tf", &[]),
    ("task.tf", "production/aws/service.tf", &["resource \"aws_ecs_task_definition\" \"web\" {"]),
    ("service.tf", "production/aws/service.tf", &["resource \"aws_ecs_service\" \"web\" {"]),
    (
        "security.tf",
        "production/aws/security.tf",
        &[
            "resource \"aws_vpc_security_group_ingress_rule\" \"balancer_https\" {",
            "resource \"aws_vpc_security_group_ingress_rule\" \"web_balancer\" {",
            "resource \"aws_vpc_security_group_egress_rule\" \"web_database\" {",
            "resource \"aws_vpc_security_group_ingress_rule\" \"database_web\" {",
            "resource \"aws_security_group\" \"database\" {",
        ],
    ),
    ("data.tf", "production/aws/data.tf", &["resource \"aws_db_instance\" \"main\" {"]),
    (
        "firewall.tf",
        "production/aws/firewall.tf",
        &[
            "  rule {\n    name     = \"RateLimitRule\"",
            "  rule {\n    name     = \"OtherCountries\"",
            "  rule {\n    name     = \"AWS-AWSManagedRulesCommonRuleSet\"",
        ],
    ),
];

fn small() -> Files {
    render(&plan_of(include_str!("golden/small/medeclipse.toml")), "production").unwrap()
}

/// Takes what begins with an opening, to the first line that is no deeper and no comment of it.
fn taken(text: &str, opening: &str) -> String {
    let at = text.find(opening).unwrap_or_else(|| panic!("nothing begins with {opening:?}"));
    let indent = opening.len() - opening.trim_start().len();
    let mut lines = text[at..].lines();
    let mut part = format!("{}\n", lines.next().unwrap());
    for line in lines {
        let deep = line.is_empty() || line.len() - line.trim_start().len() > indent;
        if !deep && !line.trim_start().starts_with('}') {
            break;
        }
        part.push_str(line);
        part.push('\n');
        if !deep {
            break;
        }
    }
    format!("{}\n", part.trim_end())
}

#[test]
fn a_small_manifest_is_rendered_as_reviewed() {
    let files = small();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/small");
    let mut differ = Vec::new();
    for (name, path, openings) in GOLDEN {
        let text = &files[*path];
        let parts: Vec<String> = openings.iter().map(|opening| taken(text, opening)).collect();
        let found = if openings.is_empty() { text.clone() } else { parts.join("\n") };
        assert!(found.lines().count() <= LINES_MAX, "{name} has {} lines", found.lines().count());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(format!("{folder}/{name}"), &found).unwrap();
        }
        if std::fs::read_to_string(format!("{folder}/{name}")).unwrap_or_default() != found {
            differ.push(*name);
        }
    }
    assert!(differ.is_empty(), "{differ:?} differ: run with UPDATE_GOLDEN=1, and read `git diff`");
}

#[test]
fn every_golden_file_is_made_by_a_test() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/small");
    let known: Vec<&str> = GOLDEN.iter().map(|(name, ..)| *name).chain(["medeclipse.toml"]).collect();
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(known.contains(&name.as_str()), "{name} is left over");
    }
}
