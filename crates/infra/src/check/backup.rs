//! backups are kept, elsewhere too, and locked; programs are kept as long as their data can be restored.

use super::{Class, Input, Seen};
use crate::config::{Resource, Root, Value};

/// Days a backup of production is kept at least.
const DAYS: f64 = 35.0;

pub fn kept(input: &Input<'_>, seen: &mut Seen) {
    for root in input.roots.iter().filter(|root| Class::of(root) == Class::Production) {
        for database in root.of("aws_db_instance") {
            database_kept(root, database, seen);
        }
        for vault in root.of("aws_backup_vault") {
            let lock = root
                .of("aws_backup_vault_lock_configuration")
                .find(|lock| lock.refers("backup_vault_name", vault));
            let days = lock.and_then(|lock| lock.number("min_retention_days")).unwrap_or(0.0);
            seen.require(
                days >= DAYS,
                vault,
                "",
                "locked for 35 days and more",
                "add aws_backup_vault_lock_configuration with `min_retention_days = 35`",
            );
        }
        for plan in root.of("aws_backup_plan") {
            plan_kept(input, root, plan, seen);
        }
        for cache in root.of("aws_elasticache_replication_group") {
            let days = cache.number("snapshot_retention_limit").unwrap_or(0.0);
            seen.require(
                days >= 1.0,
                cache,
                "snapshot_retention_limit",
                &format!("snapshots, {days} days"),
                "write `snapshot_retention_limit = 7`",
            );
        }
        for server in root.of("azurerm_postgresql_flexible_server") {
            let days = server.number("backup_retention_days").unwrap_or(7.0);
            seen.require(
                days >= DAYS,
                server,
                "backup_retention_days",
                "35 days",
                "write `backup_retention_days = 35`",
            );
        }
    }
}

fn database_kept(root: &Root, database: &Resource, seen: &mut Seen) {
    let days = database.number("backup_retention_period").unwrap_or(0.0);
    seen.require(
        days >= DAYS,
        database,
        "backup_retention_period",
        "35 days",
        "write `backup_retention_period = 35`",
    );
    seen.require(
        database.is("deletion_protection", true),
        database,
        "deletion_protection",
        "refuses to be deleted",
        "write `deletion_protection = true`",
    );
    seen.require(
        !database.is("skip_final_snapshot", true),
        database,
        "skip_final_snapshot",
        "leaves a last snapshot",
        "write `skip_final_snapshot = false` and a `final_snapshot_identifier`",
    );
    let planned = root
        .of("aws_backup_selection")
        .any(|it| it.refers("resources", database) || it.get("selection_tag").is_some());
    seen.require(planned, database, "", "in a plan of AWS Backup", "add aws_backup_selection with its ARN");
}

fn plan_kept(input: &Input<'_>, root: &Root, plan: &Resource, seen: &mut Seen) {
    for rule in plan.blocks("rule") {
        let days = rule.at("lifecycle.delete_after").and_then(Value::as_number).unwrap_or(f64::INFINITY);
        seen.require(days >= DAYS, plan, "rule", "kept 35 days", "write `delete_after = 35` or more");
        let destination = rule.at("copy_action.destination_vault_arn");
        let vault = destination
            .and_then(|arn| root.of("aws_backup_vault").find(|vault| arn.mentions(&vault.address)));
        let elsewhere = match (vault, destination.and_then(Value::as_text)) {
            (Some(vault), _) => {
                let region = root.region(vault);
                !vault.provider.is_empty()
                    && region.is_some_and(|region| input.policy.allows(region))
                    && region != root.regions.get("").and_then(Value::as_text)
            }
            // arn:aws:backup:REGION:ACCOUNT:backup-vault:NAME
            (None, Some(arn)) => arn.split(':').nth(3).is_some_and(|region| input.policy.allows(region)),
            (None, None) => false,
        };
        seen.require(
            elsewhere,
            plan,
            "rule",
            "copied to another account in another allowed region",
            "add a `copy_action` to a vault of another account: `[environment.NAME.backup] account = \"…\"`",
        );
    }
}

pub fn images(input: &Input<'_>, seen: &mut Seen) {
    for root in input.roots {
        for repository in root.of("aws_ecr_repository") {
            seen.require(
                repository.text("image_tag_mutability") == Some("IMMUTABLE"),
                repository,
                "image_tag_mutability",
                "a tag never moves",
                "write `image_tag_mutability = \"IMMUTABLE\"`",
            );
        }
        for policy in root.of("aws_ecr_lifecycle_policy") {
            let rules = policy.get("policy.rules").map(Value::elements).unwrap_or_default();
            let forgets = rules.iter().any(|rule| {
                let status = rule.at("selection.tagStatus").and_then(Value::as_text);
                let days =
                    rule.at("selection.countType").and_then(Value::as_text) == Some("sinceImagePushed");
                let count = rule.at("selection.countNumber").and_then(Value::as_number).unwrap_or(0.0);
                status != Some("untagged") && !(days && count >= 365.0)
            });
            seen.require(
                !forgets,
                policy,
                "policy",
                "forgets no released image",
                "expire untagged images only",
            );
        }
        for registry in root.of("azurerm_container_registry") {
            seen.holds(registry, "keeps what is tagged");
        }
    }
}
