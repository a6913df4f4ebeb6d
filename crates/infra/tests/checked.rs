//! The rules on what is rendered: all held; and on forty ways to spoil it: each is caught.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use infra::check::{Input, Policy, RULES, Report, Stage, Verdict, check};
use infra::config::{from_plan, from_tree};
use infra::render::Files;
use infra::schema::Schemas;
use infra::waiver::Waivers;
use support::{ENVIRONMENTS, files, plan, tree};

const TODAY: &str = "2026-11-28";

fn all() -> Files {
    ENVIRONMENTS.iter().flat_map(|environment| files(environment)).collect()
}

fn report(files: &Files, schemas: &Schemas) -> Report {
    let tree = tree(files);
    // What cannot be read is for the schema check to tell.
    let roots = from_tree(&tree).unwrap_or_default();
    let policy = Policy::of(&plan());
    check(&Input { roots: &roots, policy: &policy, today: TODAY }, &tree, schemas, &Waivers::default())
}

fn open(report: &Report) -> Vec<String> {
    report.open().map(|it| format!("{} {} {}: {}", it.rule, it.at.path, it.address, it.what)).collect()
}

#[test]
fn everything_that_is_rendered_holds_every_rule() {
    let report = report(&all(), Schemas::shared());

    assert_eq!(open(&report), Vec::<String>::new());
    for outcome in &report.outcomes {
        let decides = RULES
            .iter()
            .find(|rule| rule.id == outcome.rule)
            .is_none_or(|rule| matches!(rule.stage, Stage::Files(_)));
        let expected = if decides { Verdict::Held } else { Verdict::DecidedElsewhere };
        assert_eq!(outcome.verdict, expected, "{}", outcome.rule);
    }
    assert_eq!(
        report.outcomes.iter().filter(|outcome| outcome.verdict == Verdict::DecidedElsewhere).count(),
        11
    );
    assert_eq!(report.transfers.len(), 2, "AWS and Azure");
}

/// File, what is written, what is written instead, the rule that must tell.
const MUTATIONS: &[(&str, &str, &str, &str)] = &[
    (
        "production/aws/balancer.tf",
        "port                          = 3000",
        "port                          = 3001",
        "R-05",
    ),
    ("production/aws/data.tf", "storage_encrypted     = true", "storage_encrypted     = false", "R-04"),
    ("production/aws/data.tf", "publicly_accessible    = false", "publicly_accessible    = true", "R-05"),
    (
        "production/aws/service.tf",
        "[\"logs:CreateLogStream\", \"logs:PutLogEvents\"]",
        "[\"logs:*\"]",
        "R-16",
    ),
    (
        "production/aws/service.tf",
        "awslogs-group         = aws_cloudwatch_log_group.app.name",
        "awslogs-group         = \"/ecs/medeclipse-web\"",
        "R-06",
    ),
    ("production/aws/data.tf", "multi_az               = true", "multi_az               = false", "R-21"),
    ("production/aws/data.tf", "backup_retention_period    = 35", "backup_retention_period    = 7", "R-10"),
    (
        "production/aws/data.tf",
        "deletion_protection        = true",
        "deletion_protection        = false",
        "R-10",
    ),
    (
        "production/aws/data.tf",
        "name  = \"rds.force_ssl\"\n    value = \"1\"",
        "name  = \"rds.force_ssl\"\n    value = \"0\"",
        "R-05",
    ),
    (
        "production/aws/data.tf",
        "manage_master_user_password         = true",
        "password                            = var.db_password",
        "R-24",
    ),
    (
        "production/aws/data.tf",
        "aws_db_subnet_group.main.name",
        "aws_db_subnet_group.postgres.name",
        "schema",
    ),
    (
        "production/aws/data.tf",
        "transit_encryption_mode    = \"required\"",
        "transit_encryption_mode    = \"preferred\"",
        "R-05",
    ),
    (
        "production/aws/data.tf",
        "user_group_ids             = [aws_elasticache_user_group.main.user_group_id]",
        "auth_token                 = \"one-for-all\"",
        "R-24",
    ),
    (
        "production/aws/data.tf",
        "log_parameter_max_length\"\n    value = \"0\"",
        "log_parameter_max_length\"\n    value = \"-1\"",
        "R-09",
    ),
    (
        "production/aws/data.tf",
        "name  = \"log_connections\"\n    value = \"1\"",
        "name  = \"log_connections\"\n    value = \"0\"",
        "R-06",
    ),
    ("production/aws/keys.tf", "enable_key_rotation     = true", "enable_key_rotation     = false", "R-04"),
    ("production/aws/keys.tf", "deletion_window_in_days = 30", "deletion_window_in_days = 7", "R-04"),
    ("production/aws/keys.tf", "logs.eu-west-3.amazonaws.com", "sns.amazonaws.com", "R-04"),
    (
        "production/aws/keys.tf",
        "\"kms:GenerateDataKey*\", \"kms:Describe*\"]",
        "\"kms:GenerateDateKey*\", \"kms:Describe*\"]",
        "R-16",
    ),
    ("production/aws/observability.tf", "retention_in_days = 365", "retention_in_days = 0", "R-08"),
    (
        "production/aws/observability.tf",
        "name              = \"/ecs/${local.name}\"\n  retention_in_days = 365\n  kms_key_id        = aws_kms_key.logs.arn",
        "name              = \"/ecs/${local.name}\"\n  retention_in_days = 365",
        "R-04",
    ),
    (
        "production/aws/observability.tf",
        "Deidentify = { MaskConfig = {} }",
        "Audit = { FindingsDestination = {} }",
        "R-09",
    ),
    (
        "production/aws/network.tf",
        "traffic_type             = \"ALL\"",
        "traffic_type             = \"REJECT\"",
        "R-06",
    ),
    (
        "production/aws/network.tf",
        "cidr_block           = \"10.0.0.0/16\"",
        "cidr_block           = \"10.1.0.0/16\"",
        "R-14",
    ),
    (
        "production/aws/security.tf",
        "prefix_list_id    = data.aws_ec2_managed_prefix_list.cloudfront.id",
        "cidr_ipv4         = \"0.0.0.0/0\"\n  description_wrong = 1",
        "schema",
    ),
    (
        "production/aws/security.tf",
        "from_port                    = 5433\n  to_port                      = 5433\n  referenced_security_group_id = aws_security_group.web.id",
        "from_port                    = 5433\n  to_port                      = 5433\n  cidr_ipv4                    = \"0.0.0.0/0\"",
        "R-05",
    ),
    (
        "production/aws/balancer.tf",
        "ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
        "ELBSecurityPolicy-2016-08",
        "R-05",
    ),
    (
        "production/aws/balancer.tf",
        "drop_invalid_header_fields       = true",
        "drop_invalid_header_fields       = false",
        "R-05",
    ),
    (
        "production/aws/balancer.tf",
        "mode = \"GOVERNANCE\"\n      days = 180",
        "mode = \"GOVERNANCE\"\n      days = 30",
        "R-07",
    ),
    (
        "production/aws/balancer.tf",
        "ignore_public_acls      = true",
        "ignore_public_acls      = false",
        "R-04",
    ),
    (
        "production/aws/edge.tf",
        "minimum_protocol_version = \"TLSv1.2_2021\"",
        "minimum_protocol_version = \"TLSv1\"",
        "R-05",
    ),
    ("production/aws/edge.tf", "\"Managed-CachingDisabled\"", "\"Managed-CachingOptimized\"", "R-03"),
    (
        "production/aws/service.tf",
        "enable_execute_command            = false",
        "enable_execute_command            = true",
        "R-16",
    ),
    (
        "production/aws/service.tf",
        "{ name = \"CLINIC_DRAIN_MS\", value = \"25000\" }",
        "{ name = \"DATABASE_URL\", value = \"postgres://u:p@h/d\" }",
        "R-24",
    ),
    (
        "production/aws/service.tf",
        "aws_cloudwatch_metric_alarm.web_latency_p99.alarm_name",
        "aws_cloudwatch_metric_alarm.web_cpu_utilization.alarm_name",
        "R-21",
    ),
    (
        "production/aws/service.tf",
        "ignore_changes = [task_definition, load_balancer, desired_count, deployment_configuration]",
        "ignore_changes = [desired_count]",
        "R-21",
    ),
    (
        "production/aws/terraform.tf",
        "region              = \"eu-central-1\"",
        "region              = \"us-west-2\"",
        "R-01",
    ),
    (
        "production/aws/terraform.tf",
        "key                 = \"production/terraform.tfstate\"",
        "key                 = \"staging/terraform.tfstate\"",
        "R-14",
    ),
    ("production/aws/terraform.tf", "use_lockfile        = true", "use_lockfile        = false", "R-14"),
    (
        "production/aws/backup.tf",
        "destination_vault_arn = aws_backup_vault.copies.arn",
        "destination_vault_arn = aws_backup_vault.main.arn",
        "R-10",
    ),
    ("bootstrap/aws/identity.tf", ":environment:${var.environment}", ":*", "R-16"),
    (
        "bootstrap/aws/identity.tf",
        "\"iam:PassedToService\" = \"ecs-tasks.amazonaws.com\"",
        "\"aws:RequestedRegion\" = local.region",
        "R-16",
    ),
    ("bootstrap/aws/registry.tf", "\"IMMUTABLE\"", "\"MUTABLE\"", "R-13"),
    (
        "bootstrap/aws/audit.tf",
        "enable_log_file_validation    = true",
        "enable_log_file_validation    = false",
        "R-07",
    ),
    (
        "production/azure/service.tf",
        "allow_insecure_connections = false",
        "allow_insecure_connections = true",
        "R-05",
    ),
    (
        "production/azure/data.tf",
        "public_network_access_enabled = false\n  backup_retention_days         = 35",
        "public_network_access_enabled = true\n  backup_retention_days         = 7",
        "R-10",
    ),
    (
        "staging/aws/data.tf",
        "identifier            = local.name",
        "identifier            = local.name\n  snapshot_identifier   = \"medeclipse-production-final\"",
        "R-15",
    ),
];

#[test]
fn forty_ways_to_spoil_it_are_all_caught() {
    let schemas = Schemas::shared();
    let whole = all();
    let mut wrong = Vec::new();
    let tried = MUTATIONS;
    for (path, from, to, rule) in tried {
        let mut files = whole.clone();
        let text = files.get_mut(*path).unwrap_or_else(|| panic!("{path} is not rendered"));
        if !text.contains(from) {
            wrong.push(format!("{path} does not contain {from:?}"));
            continue;
        }
        *text = text.replacen(from, to, 1);
        let report = report(&files, schemas);
        if !report.open().any(|finding| finding.rule == *rule) {
            wrong.push(format!("{path}: {from:?} → {to:?} is not caught by {rule}: {:?}", open(&report)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried.len() >= 40, "{} are tried", tried.len());
    println!("{} of {} ways to spoil a rendered environment are caught", tried.len(), tried.len());
}

#[test]
fn a_plan_is_held_to_the_same_rules() {
    let plan = serde_json::json!({
        "terraform_version": "1.11.4",
        "planned_values": { "root_module": { "resources": [
            { "address": "aws_db_instance.main", "mode": "managed", "type": "aws_db_instance", "name": "main",
              "values": { "storage_encrypted": false, "publicly_accessible": true, "backup_retention_period": 1, "kms_key_id": null } },
            { "address": "aws_iam_role_policy.x", "mode": "managed", "type": "aws_iam_role_policy", "name": "x",
              "values": { "policy": "{\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}]}" } },
        ] } },
        "configuration": { "provider_config": { "aws": { "expressions": { "region": { "constant_value": "us-east-2" } } } },
            "root_module": { "resources": [
                { "address": "aws_db_instance.main", "provider_config_key": "aws", "expressions": { "kms_key_id": { "references": ["aws_kms_key.a.arn", "aws_kms_key.a"] } } },
            ] } },
    });
    let root = from_plan(&plan, "plan.json", "").unwrap();
    let policy = Policy::strict();

    let report = check(
        &Input { roots: &[root], policy: &policy, today: TODAY },
        &Default::default(),
        Schemas::shared(),
        &Waivers::default(),
    );

    let found = open(&report);
    for expected in [
        "R-01 plan.json aws_db_instance.main: lies in us-east-2",
        "R-05 plan.json aws_db_instance.main",
        "R-10 plan.json",
        "R-16 plan.json aws_iam_role_policy.x",
    ] {
        assert!(found.iter().any(|line| line.starts_with(expected)), "{expected}: {found:#?}");
    }
    assert!(
        !found.iter().any(|line| line.contains("a key of its own in `kms_key_id`")),
        "the key is known after the apply"
    );
    assert_eq!(from_plan(&serde_json::json!({}), "plan.json", "").map(|_| ()), None);
}

/// What a real plan looks like: names are known and references are not, keys are known only after the apply, absent blocks are empty lists.
#[test]
fn what_a_plan_does_not_know_yet_is_taken_from_its_configuration() {
    let managed = |kind: &str, values: serde_json::Value| serde_json::json!({ "address": format!("{kind}.main"), "mode": "managed", "type": kind, "name": "main", "values": values });
    let written = |kind: &str, expressions: serde_json::Value| serde_json::json!({ "address": format!("{kind}.main"), "provider_config_key": "aws", "expressions": expressions });
    let to = |what: &str| serde_json::json!({ "references": [what, what.rsplit_once('.').unwrap().0] });
    let plan = |lock: serde_json::Value| {
        serde_json::json!({
            "terraform_version": "1.11.4",
            "planned_values": { "root_module": { "resources": [
                managed("aws_ecs_cluster", serde_json::json!({ "configuration": [{ "managed_storage_configuration": [{ "kms_key_id": null }] }] })),
                managed("aws_backup_vault", serde_json::json!({ "name": "clinic" })),
                managed("aws_backup_vault_lock_configuration", serde_json::json!({ "backup_vault_name": "clinic", "min_retention_days": 35 })),
                managed("aws_cloudfront_distribution", serde_json::json!({ "logging_config": [] })),
                managed("aws_ecs_task_definition", serde_json::json!({ "family": "web" })),
            ] } },
            "configuration": { "root_module": { "resources": [
                written("aws_ecs_cluster", serde_json::json!({ "configuration": [{ "managed_storage_configuration":
                    [{ "fargate_ephemeral_storage_kms_key_id": to("aws_kms_key.tasks.arn") }] }] })),
                written("aws_backup_vault", serde_json::json!({ "kms_key_arn": to("aws_kms_key.backup.arn") })),
                written("aws_backup_vault_lock_configuration", serde_json::json!({ "backup_vault_name": lock })),
                written("aws_ecs_task_definition", serde_json::json!({ "container_definitions": to("var.image") })),
            ] } },
        })
    };
    let told = |plan: &serde_json::Value, environment: &str| {
        let root = from_plan(plan, "plan.json", environment).unwrap();
        let policy = Policy::strict();
        open(&check(
            &Input { roots: &[root], policy: &policy, today: TODAY },
            &Default::default(),
            Schemas::shared(),
            &Waivers::default(),
        ))
    };
    let about = |found: &[String], what: &str| found.iter().any(|line| line.contains(what));

    let found = told(&plan(to("aws_backup_vault.main.name")), "");
    for untrue in
        ["disks of tasks", "locked for 35 days", "logs whole URIs", "runs as", "log group that is made"]
    {
        assert!(!about(&found, untrue), "{untrue}: {found:#?}");
    }
    // Of another vault it is no lock; and staging needs none.
    let other = plan(to("aws_backup_vault.other.name"));
    assert!(about(&told(&other, ""), "locked for 35 days"));
    assert!(!about(&told(&other, "staging"), "locked for 35 days"));
}

#[test]
fn a_waiver_covers_its_rule_until_its_day_and_then_is_a_finding() {
    let mut files = all();
    let text = files.get_mut("production/aws/terraform.tf").unwrap();
    *text = text.replace("use_lockfile        = true", "use_lockfile        = false");
    let tree = tree(&files);
    let roots = from_tree(&tree).unwrap();
    let policy = Policy::of(&plan());
    let input = Input { roots: &roots, policy: &policy, today: TODAY };
    let look = |until: &str| {
        let manifest = format!(
            "[[waiver]]\nrule = \"R-14\"\npath = \"infrastructure/production/aws/terraform.tf\"\nreason = \"the runner is older\"\nby = \"ops\"\nuntil = \"{until}\"\n"
        );
        let waivers = Waivers::beside(&tree, TODAY, "infrastructure", Some(("medeclipse.toml", &manifest)));
        check(&input, &tree, Schemas::shared(), &waivers)
    };

    assert_eq!(open(&look("2027-01-01")), Vec::<String>::new());
    let late = open(&look("2026-11-27"));
    assert_eq!(late.len(), 2, "{late:?}");
    assert!(late.iter().any(|line| line.starts_with("waiver/expired")));
}

#[test]
fn reports_say_the_same_in_both_languages() {
    use infra::check::{Language, html, json, markdown};
    let report = report(&all(), Schemas::shared());

    let (english, french) = (markdown(&report, Language::English), markdown(&report, Language::French));

    assert_eq!(english.lines().count(), french.lines().count());
    assert!(french.contains("Les données au repos sont chiffrées") && french.contains("| R-04 |"));
    assert!(html(&report, Language::French).contains("<html lang=\"fr\">"));
    assert_eq!(json(&report)["open"], 0);
    assert_eq!(json(&report)["rules"].as_array().unwrap().len(), 31);
}
