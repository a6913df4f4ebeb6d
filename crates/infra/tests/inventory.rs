//! Every row of the strategy's inventory that infrastructure can carry stands in what is rendered: docs/inventory.md says where.
//! `UPDATE_DOCS=1` writes the page.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use infra::render::Files;
use std::fmt::Write;
use support::{ENVIRONMENTS, files};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/inventory.md");

/// Row of the inventory, file, a line that carries it, what was corrected.
const ROWS: &[(&str, &str, &str, &str)] = &[
    ("ENV-1 production", "production/aws/terraform.tf", "environment = \"production\"", ""),
    (
        "ENV-2 staging",
        "staging/aws/terraform.tf",
        "environment = \"staging\"",
        "a state and an account of its own",
    ),
    (
        "ENV-3 development",
        "development/aws/terraform.tf",
        "environment = \"development\"",
        "deployed, not only tested",
    ),
    ("ENV-4 local", "repository/compose.yaml", "services:", "was only named"),
    ("MC-1 AWS Paris", "production/aws/terraform.tf", "region      = \"eu-west-3\"", ""),
    (
        "MC-2 Azure France Central",
        "production/azure/terraform.tf",
        "location = \"francecentral\"",
        "was only named",
    ),
    (
        "MC-3 CDN",
        "production/aws/edge.tf",
        "resource \"aws_cloudfront_distribution\" \"main\"",
        "one CDN on a host name; Cloudflare is refused unless allowed",
    ),
    (
        "MC-4 DNS failover",
        "production/aws/dns.tf",
        "resource \"aws_route53_record\" \"app_secondary\"",
        "was only named",
    ),
    (
        "TF-2 provider",
        "production/aws/terraform.tf",
        "version = \"~> 6.25\"",
        "~> 5.0 cannot express blue/green",
    ),
    (
        "TF-3 state",
        "production/aws/terraform.tf",
        "key                 = \"production/terraform.tfstate\"",
        "a key an environment",
    ),
    (
        "TF-4 lock",
        "production/aws/terraform.tf",
        "use_lockfile        = true",
        "the table of locks is deprecated",
    ),
    ("TF-5 tags", "production/aws/terraform.tf", "ManagedBy   = \"Terraform\"", ""),
    (
        "TF-7 references",
        "production/aws/observability.tf",
        "resource \"aws_sns_topic\" \"alerts\"",
        "every reference is declared: the schema check",
    ),
    (
        "VPC-1 network",
        "production/aws/network.tf",
        "cidr_block           = \"10.0.0.0/16\"",
        "flat resources instead of a module without a version",
    ),
    ("VPC-2 zones", "production/aws/network.tf", "availability_zone = \"eu-west-3c\"", ""),
    (
        "VPC-3 private subnets",
        "production/aws/network.tf",
        "cidr_block        = cidrsubnet(aws_vpc.main.cidr_block, 8, 1)",
        "computed from the network",
    ),
    (
        "VPC-4 public subnets",
        "production/aws/network.tf",
        "cidr_block              = cidrsubnet(aws_vpc.main.cidr_block, 8, 101)",
        "computed from the network",
    ),
    (
        "VPC-5 flags",
        "production/aws/network.tf",
        "enable_dns_hostnames = true",
        "no VPN gateway unless the standby wants one",
    ),
    ("ECS-1 cluster", "production/aws/service.tf", "name  = \"containerInsights\"", ""),
    (
        "ECS-2 exec",
        "production/aws/service.tf",
        "logging    = \"OVERRIDE\"",
        "with a key; exec is off in production",
    ),
    (
        "RDS-1 instance",
        "production/aws/data.tf",
        "engine_version        = \"17\"",
        "16.1 cannot be created any more",
    ),
    (
        "RDS-2 database",
        "production/aws/data.tf",
        "manage_master_user_password         = true",
        "no password in variables and state",
    ),
    ("RDS-3 network", "production/aws/data.tf", "publicly_accessible    = false", ""),
    (
        "RDS-4 backup",
        "production/aws/data.tf",
        "backup_retention_period    = 35",
        "7 days were too few, and in one place",
    ),
    ("RDS-4 windows", "production/aws/data.tf", "backup_window              = \"03:00-04:00\"", ""),
    (
        "RDS-4 maintenance",
        "production/aws/data.tf",
        "maintenance_window         = \"Sun:04:00-Sun:05:00\"",
        "",
    ),
    ("RDS-5 monitoring", "production/aws/data.tf", "monitoring_interval             = 60", "with a key"),
    ("RDS-6 protection", "production/aws/data.tf", "deletion_protection        = true", ""),
    ("RED-1 Redis", "production/aws/data.tf", "num_cache_clusters   = 2", "a parameter group of its own"),
    (
        "RED-2 security",
        "production/aws/data.tf",
        "transit_encryption_mode    = \"required\"",
        "users instead of one token",
    ),
    ("RED-3 availability", "production/aws/data.tf", "multi_az_enabled           = true", ""),
    (
        "DK-1 image",
        "repository/Dockerfile.web",
        "FROM rust:1-bookworm AS build",
        "the reference service is Rust; `toolchain = \"node\"` renders Node 24",
    ),
    ("DK-4 user", "repository/Dockerfile.web", "USER 1001:1001", ""),
    ("DK-5 network", "repository/Dockerfile.web", "ENV HOST=0.0.0.0 PORT=3000", ""),
    (
        "DK-6 health check",
        "repository/Dockerfile.web",
        "HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3",
        "a program the image has",
    ),
    ("TD-1 task", "production/aws/service.tf", "cpu                      = \"1024\"", ""),
    (
        "TD-2 roles",
        "production/aws/service.tf",
        "resource \"aws_iam_role\" \"web_execution\"",
        "one a service and environment",
    ),
    ("TD-3 image", "production/aws/service.tf", "image                  = var.image_web", "a digest"),
    (
        "TD-5 secrets",
        "production/aws/service.tf",
        "{ name = \"DATABASE_URL\", valueFrom = aws_secretsmanager_secret.database_url.arn }",
        "plain texts, made here",
    ),
    (
        "TD-6 logs",
        "production/aws/service.tf",
        "awslogs-group         = aws_cloudwatch_log_group.app.name",
        "the group that exists",
    ),
    (
        "TD-7 health",
        "production/aws/service.tf",
        "command     = [\"CMD\", \"./clinic\", \"probe\"]",
        "no curl",
    ),
    ("CI-1 triggers", "repository/.github/workflows/deploy.yml", "branches: [main, staging, develop]", ""),
    (
        "CI-4 scan",
        "repository/.github/workflows/deploy.yml",
        "aquasecurity/trivy-action@ed142fd0673e97e23eac54620cfb913e5ce36c25",
        "pinned, and it can fail",
    ),
    (
        "CI-5 deploy job",
        "repository/.github/workflows/deploy.yml",
        "role-to-assume: ${{ vars.AWS_DEPLOY_ROLE }}",
        "OIDC instead of keys",
    ),
    (
        "CI-6 image",
        "repository/.github/workflows/deploy.yml",
        "tags: ${{ steps.registry.outputs.registry }}/medeclipse:web-${{ github.sha }}",
        "no latest",
    ),
    (
        "CI-7 rollout",
        "repository/.github/workflows/deploy.yml",
        "./medeclipse deploy web --env production",
        "by digest, followed to its verdict",
    ),
    (
        "CI-8 wait",
        "repository/.github/workflows/deploy.yml",
        "5) verdict=unproven_return ;;",
        "the engine's verdict instead of a waiter",
    ),
    (
        "CI-9 migrations",
        "repository/compose.yaml",
        "command: [\"./clinic\", \"migrate\", \"expand\"]",
        "before traffic, awaited; in the cloud by `medeclipse deploy`",
    ),
    (
        "CI-10 notify",
        "repository/.github/workflows/deploy.yml",
        "needs.deploy-production.outputs.verdict",
        "from the verdict",
    ),
    (
        "SEC-1 secret",
        "production/aws/secrets.tf",
        "name                    = \"${local.project}/${local.environment}/DATABASE_URL\"",
        "",
    ),
    (
        "SEC-3 others",
        "production/aws/secrets.tf",
        "name                    = \"${local.project}/${local.environment}/JWT_SECRET\"",
        "were only named",
    ),
    (
        "KMS-1 key",
        "production/aws/keys.tf",
        "deletion_window_in_days = 30",
        "one a class of data, rotating, usable by the logs",
    ),
    ("WAF-1 ACL", "production/aws/firewall.tf", "scope       = \"CLOUDFRONT\"", "in us-east-1, associated"),
    (
        "WAF-2 common rules",
        "production/aws/firewall.tf",
        "metric_name                = \"commonRuleSetMetric\"",
        "documents may be uploaded",
    ),
    (
        "WAF-3 bots",
        "production/aws/firewall.tf",
        "metric_name                = \"botControlMetric\"",
        "counts first, health paths left out",
    ),
    (
        "WAF-4 rate",
        "production/aws/firewall.tf",
        "limit                 = 2000",
        "everybody, not five countries",
    ),
    (
        "LOG-1 log group",
        "production/aws/observability.tf",
        "retention_in_days = 365",
        "30 days were too few for traces",
    ),
    ("ALM-1 processor", "production/aws/alarms.tf", "threshold           = 75", "in no deployment"),
    (
        "ALM-2 connections",
        "production/aws/alarms.tf",
        "threshold           = 720",
        "80 % of what the class allows, not 80",
    ),
    ("BG-3 rollback", "production/aws/service.tf", "rollback = true", "alarms take a release back"),
    ("G-1 without downtime", "production/aws/service.tf", "strategy             = \"CANARY\"", ""),
    (
        "G-3 health",
        "production/aws/alarms.tf",
        "resource \"aws_cloudwatch_composite_alarm\" \"page\"",
        "on symptoms",
    ),
    (
        "G-5 scaling",
        "production/aws/service.tf",
        "resource \"aws_appautoscaling_policy\" \"web_cpu\"",
        "no scaling object was there",
    ),
];

fn all() -> Files {
    ENVIRONMENTS.iter().flat_map(|environment| files(environment)).collect()
}

#[test]
fn every_row_of_the_inventory_stands_where_the_page_says() {
    let files = all();
    let mut missing = Vec::new();
    let mut page = String::from(
        "# Inventory: from the strategy to a line of what is rendered\n\n\
         Drawn by `crates/infra/tests/inventory.rs` from the manifest `crates/manifest/tests/infra.toml`: each row is a parameter of the strategy, the\n\
         file and line that carry it, and what was corrected. The test fails when a line is gone.\n\n\
         | row | file and line | text | corrected |\n|---|---|---|---|\n",
    );
    for (row, path, text, corrected) in ROWS {
        let line = files.get(*path).and_then(|file| file.lines().position(|line| line.contains(text)));
        match line {
            Some(line) => writeln!(
                page,
                "| {row} | `{path}:{}` | `{}` | {corrected} |",
                line + 1,
                text.replace('|', "\\|")
            )
            .unwrap(),
            None => missing.push(format!("{row}: {path} has no line with {text}")),
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    page.push_str(NOT_CARRIED);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    assert!(
        std::fs::read_to_string(PAGE).unwrap_or_default() == page,
        "docs/inventory.md is old: run the tests with UPDATE_DOCS=1"
    );
}

const NOT_CARRIED: &str = "\n\
Not carried by infrastructure: APM-1 to APM-3 (the edge counts, by route template), BG-1 and BG-2 (the engine deploys), HM-1 to HM-4 (`rollout.monitor`),\n\
CI-2 and CI-3 (service containers and commands of a Node project: `ci.github.test` holds the commands), DK-2 and DK-3 (Node; rendered by `toolchain = \"node\"`),\n\
TD-4 (`NEXT_PUBLIC_*` is inlined at build time), SEC-2 (secrets are plain texts), TF-1 (one file became many), TF-6 (variables became the manifest), WAF-5 (sampled\n\
requests are off: they hold queries), G-2 and G-4 (the judge; `infra check`).\n";

#[test]
fn rendering_production_takes_milliseconds() {
    let plan = support::plan();
    let started = std::time::Instant::now();
    let files = infra::render::render(&plan, "production").unwrap();

    println!(
        "production: {} files, {} lines in {:.1} ms",
        files.len(),
        files.values().map(|text| text.lines().count()).sum::<usize>(),
        started.elapsed().as_secs_f64() * 1000.0
    );
    assert!(files.len() > 30);
}
