//! What cannot be drawn is refused before anything is written: what, why with the cloud's limit, and what to write.
#![allow(clippy::unwrap_used)]

mod support;

use infra::model::resolve;
use infra::render::render;
use support::{MANIFEST, plan};

/// Returns what the reference manifest is told when a line of it is written otherwise.
fn told(from: &str, to: &str) -> Vec<String> {
    assert!(MANIFEST.contains(from), "{from}");
    let text = MANIFEST.replacen(from, to, 1);
    let manifests = manifest::parse_all(&text, "medeclipse.toml")
        .unwrap_or_else(|errors| panic!("{}", errors.render(manifest::Color::Never)));
    resolve(&manifests).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

/// Every row: what is written, what instead, what the refusal must say.
const REFUSED: &[(&str, &str, &[&str])] = &[
    (
        "region   = \"eu-west-3\"\nstandby",
        "region   = \"us-east-1\"\nstandby",
        &["`compliance.regions` allows", "European Economic Area"],
    ),
    ("max = 12", "max = 64", &["max_connections", "901"]),
    ("cidr      = \"10.0.0.0/16\"", "cidr      = \"10.1.0.0/16\"", &["they could never be joined"]),
    ("cidr      = \"10.0.0.0/16\"", "cidr      = \"10.0.0.0/24\"", &["a VPC takes /16 to /28"]),
    ("name           = \"medeclipse\"", "name           = \"medeclipse-of-the-north\"", &["an ALB takes 32"]),
    (
        "certificate = \"arn:aws:acm:us-east-1",
        "certificate = \"arn:aws:acm:eu-west-3",
        &["CloudFront takes certificates of us-east-1 only"],
    ),
    (
        "interval = \"10s\", timeout = \"5s\"",
        "interval = \"1s\", timeout = \"500ms\"",
        &["an ALB takes 5 s to 300 s", "2 s to 120 s"],
    ),
    (
        "interval = \"30s\", timeout = \"10s\"",
        "interval = \"1s\", timeout = \"1s\"",
        &["ECS takes 5 s to 300 s", "ECS takes 2 s to 60 s"],
    ),
    ("ceiling = \"2m\"", "ceiling = \"10m\"", &["120 s after it was asked to", "stopTimeout"]),
    ("cpu = 1024, memory = \"2GiB\"", "cpu = 1000, memory = \"2GiB\"", &["Fargate has no task of that size"]),
    ("key = \"{env}/terraform.tfstate\"", "key = \"terraform.tfstate\"", &["two would share one state"]),
    ("account = \"333333333333\"", "account = \"111111111111\"", &["R-14"]),
    ("link         = \"tls-allowlist\"", "link         = \"vpn\"", &["no VPN gateway"]),
    ("region       = \"eu-central-1\"", "region       = \"eu-west-3\"", &["one event would take both"]),
    ("cdn         = \"cloudfront\"", "cdn         = \"cloudflare\"", &["R-02"]),
    ("interval = \"10s\", failures", "interval = \"20s\", failures", &["every 10 s or every 30 s"]),
    (
        "promote    = { production = \"staging\" }",
        "promote    = { production = \"preview\" }",
        &["no such environment on ECS"],
    ),
    ("storage_max = \"500GiB\"", "storage_max = \"100GiB\"", &["10 % above"]),
    (
        "lock         = { min_days = 35, max_days = 365",
        "lock         = { min_days = 400, max_days = 365",
        &["vault lock"],
    ),
];

#[test]
fn what_a_cloud_would_refuse_is_refused_before_with_its_limit() {
    for (from, to, expected) in REFUSED {
        let found = told(from, to);
        for text in *expected {
            assert!(found.iter().any(|line| line.contains(text)), "{to}: {text} is not in {found:#?}");
        }
    }
}

#[test]
fn replicas_beyond_the_subnets_are_refused_with_the_count() {
    let text = MANIFEST
        .replace("cidr      = \"10.0.0.0/16\"", "cidr      = \"10.0.0.0/20\"")
        .replace("max = 12", "max = 30")
        .replace("pool      = 10", "pool      = 1");
    let manifests = manifest::parse_all(&text, "medeclipse.toml").unwrap();

    let refusals = resolve(&manifests).unwrap_err();

    let line = refusals[0].to_string();
    assert!(line.contains("60") || line.contains("102 are needed"), "{line}");
    assert!(line.contains("leaves 33 (AWS keeps 5 of each subnet)"), "{line}");
}

#[test]
fn an_environment_the_manifest_does_not_know_is_refused_with_those_it_does() {
    let refusal = render(&plan(), "preview").unwrap_err();

    assert!(refusal.next.contains("production, staging, development, local"), "{refusal}");
}

#[test]
fn a_manifest_without_a_project_says_what_to_write() {
    let manifests = manifest::parse_all("[service.web]\ncommand = [\"./web\"]\n", "medeclipse.toml").unwrap();

    assert!(resolve(&manifests).unwrap_err()[0].next.contains("[project]"));
}
