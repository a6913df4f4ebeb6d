//! everything at rest is encrypted, with keys of our own that rotate and that are one a class of data.

use super::{Input, Seen};
use crate::config::{Resource, Root, Value};

/// Type, the flag that turns encryption on (if it has one), the attribute that names the key.
const KEYS: [(&str, Option<&str>, &str); 11] = [
    ("aws_db_instance", Some("storage_encrypted"), "kms_key_id"),
    ("aws_rds_cluster", Some("storage_encrypted"), "kms_key_id"),
    ("aws_elasticache_replication_group", Some("at_rest_encryption_enabled"), "kms_key_id"),
    ("aws_cloudwatch_log_group", None, "kms_key_id"),
    ("aws_sns_topic", None, "kms_master_key_id"),
    ("aws_secretsmanager_secret", None, "kms_key_id"),
    ("aws_backup_vault", None, "kms_key_arn"),
    ("aws_cloudtrail", None, "kms_key_id"),
    ("aws_sqs_queue", None, "kms_master_key_id"),
    ("aws_efs_file_system", Some("encrypted"), "kms_key_id"),
    ("aws_ecr_repository", None, "encryption_configuration.kms_key"),
];

pub fn at_rest(input: &Input<'_>, seen: &mut Seen) {
    for root in input.roots {
        for (kind, flag, key) in KEYS {
            for resource in root.of(kind) {
                if let Some(flag) = flag {
                    seen.require(
                        resource.is(flag, true),
                        resource,
                        flag,
                        &format!("`{flag} = true`"),
                        &format!("write `{flag} = true`"),
                    );
                }
                let named = resource.get(key).is_some_and(|value| value.as_text() != Some(""));
                seen.require(
                    named,
                    resource,
                    key,
                    &format!("a key of its own in `{key}`"),
                    &format!("write `{key}` with a customer key"),
                );
            }
        }
        keys(root, seen);
        buckets(root, seen);
        clusters(root, seen);
        azure(root, seen);
    }
}

fn keys(root: &Root, seen: &mut Seen) {
    for key in root.of("aws_kms_key") {
        seen.require(
            key.is("enable_key_rotation", true),
            key,
            "enable_key_rotation",
            "rotates",
            "write `enable_key_rotation = true`",
        );
        let days = key.number("deletion_window_in_days").unwrap_or(30.0);
        seen.require(
            days >= 30.0,
            key,
            "deletion_window_in_days",
            "30 days until it is gone",
            "write `deletion_window_in_days = 30`",
        );
        let users = [("aws_cloudwatch_log_group", "kms_key_id", "logs.")];
        for (kind, attribute, service) in users {
            let encrypts = root.of(kind).any(|it| it.refers(attribute, key));
            let said = format!("CloudWatch Logs ({service}…) may use it");
            let instead = format!(
                "add a statement to its policy with the principal {service}REGION.amazonaws.com and the encryption context of the log groups"
            );
            if encrypts {
                let allowed = key.get("policy").is_some_and(|policy| allows_service(policy, service));
                seen.require(allowed, key, "policy", &said, &instead);
            }
        }
    }
}

fn allows_service(policy: &Value, prefix: &str) -> bool {
    let statements = policy.at("Statement").map(Value::elements).unwrap_or_default();
    statements.iter().any(|statement| {
        let services = statement.at("Principal.Service").map(Value::texts).unwrap_or_default();
        statement.at("Effect").and_then(Value::as_text) == Some("Allow")
            && services.iter().any(|service| service.starts_with(prefix))
    })
}

/// A bucket is encrypted by a resource beside it. Logs of a balancer take SSE-S3 only.
fn buckets(root: &Root, seen: &mut Seen) {
    for bucket in root.of("aws_s3_bucket") {
        let beside = |kind: &'static str| root.of(kind).find(|it| it.refers("bucket", bucket));
        let of_balancer = root.of("aws_lb").any(|lb| lb.refers("access_logs.bucket", bucket));
        let encryption = beside("aws_s3_bucket_server_side_encryption_configuration");
        let algorithm =
            encryption.and_then(|it| it.text("rule.apply_server_side_encryption_by_default.sse_algorithm"));
        let strong = algorithm == Some("aws:kms") || (of_balancer && algorithm == Some("AES256"));
        let said = if of_balancer { "SSE-S3, the only one a balancer can write to" } else { "SSE-KMS" };
        seen.require(strong, bucket, "", said, "add aws_s3_bucket_server_side_encryption_configuration with sse_algorithm = \"aws:kms\" and a key");
        let block = beside("aws_s3_bucket_public_access_block");
        let closed = block.is_some_and(|it| {
            ["block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"]
                .iter()
                .all(|flag| it.is(flag, true))
        });
        seen.require(
            closed,
            bucket,
            "",
            "never public",
            "add aws_s3_bucket_public_access_block with all four flags",
        );
    }
}

fn clusters(root: &Root, seen: &mut Seen) {
    for cluster in root.of("aws_ecs_cluster") {
        let key =
            cluster.get("configuration.managed_storage_configuration.fargate_ephemeral_storage_kms_key_id");
        seen.require(
            key.is_some(),
            cluster,
            "configuration",
            "disks of tasks have a key of their own",
            "write `fargate_ephemeral_storage_kms_key_id`",
        );
    }
    for database in root.of("aws_db_instance").filter(|it| it.is("performance_insights_enabled", true)) {
        let named = database.get("performance_insights_kms_key_id").is_some();
        seen.require(
            named,
            database,
            "performance_insights_enabled",
            "Performance Insights has a key",
            "write `performance_insights_kms_key_id`",
        );
    }
}

fn azure(root: &Root, seen: &mut Seen) {
    let with_block: [(&str, &str); 3] = [
        ("azurerm_postgresql_flexible_server", "customer_managed_key"),
        ("azurerm_managed_redis", "customer_managed_key"),
        ("azurerm_container_registry", "encryption"),
    ];
    for (kind, block) in with_block {
        for resource in root.of(kind) {
            let has = |resource: &Resource| resource.get(block).is_some();
            seen.require(
                has(resource),
                resource,
                block,
                "a key of its own",
                &format!("add the block `{block}` with a key of the vault"),
            );
        }
    }
    for vault in root.of("azurerm_key_vault") {
        seen.require(
            vault.is("purge_protection_enabled", true),
            vault,
            "purge_protection_enabled",
            "keys cannot be purged",
            "write `purge_protection_enabled = true`",
        );
    }
}
