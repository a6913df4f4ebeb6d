//! Databases: logins, backups, logs, keys, and what remains when one is deleted.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::Node;
use crate::lint::graph::Graph;
use crate::lint::terraform::Resource;

pub const RULES: &[Rule] = &[
    Rule {
        id: "database/master-login-only",
        severity: Severity::High,
        says: "Applications log in by IAM, as users of their own.",
        why: "With the master's password alone every program may do everything, and nobody can be shut out without shutting all out (RDS.10, checkov CKV_AWS_161).",
        instead: "`iam_database_authentication_enabled = true`, and a role for each program",
        check: master_login,
    },
    Rule {
        id: "database/backup-short",
        severity: Severity::High,
        says: "A protected database keeps its backups longer than it takes to notice a loss.",
        why: "Damage that is found after a week cannot be undone with 7 days of backups (RDS.11; 35 days is the most).",
        instead: "`backup_retention_period = 35`, and a copy in another account",
        check: backup_short,
    },
    Rule {
        id: "database/logs-not-exported",
        severity: Severity::High,
        says: "A database's logs leave it.",
        why: "After an incident nobody can say who connected and what was changed (RDS.9, RDS.36, checkov CKV_AWS_129).",
        instead: "`enabled_cloudwatch_logs_exports = [\"postgresql\", \"upgrade\"]`, and a parameter group with `rds.force_ssl = 1`",
        check: logs,
    },
    Rule {
        id: "database/default-key",
        severity: Severity::Medium,
        says: "A database and its performance data are encrypted with a key of one's own.",
        why: "With AWS's own key no policy of yours decides who decrypts, and snapshots cannot be given to another account (checkov CKV_AWS_354).",
        instead: "`kms_key_id`, and `performance_insights_kms_key_id` where insights are on",
        check: default_key,
    },
    Rule {
        id: "database/no-final-snapshot",
        severity: Severity::Medium,
        says: "What remains of a deleted database is named before.",
        why: "A destroy without `final_snapshot_identifier` fails half-way, or with `skip_final_snapshot` leaves nothing (RDS.17, checkov CKV2_AWS_60, CKV_AWS_226).",
        instead: "`final_snapshot_identifier`, `copy_tags_to_snapshot = true`, `ca_cert_identifier`",
        check: final_snapshot,
    },
    Rule {
        id: "database/unencrypted",
        severity: Severity::Critical,
        says: "A database is encrypted at rest.",
        why: "It cannot be switched on later: the database has to be made anew (RDS.3).",
        instead: "`storage_encrypted = true`",
        check: unencrypted,
    },
    Rule {
        id: "database/unprotected",
        severity: Severity::High,
        says: "A production database cannot be deleted by an apply, and has a standby.",
        why: "A renamed argument that forces a replacement deletes it (RDS.8); without a standby a fault of one zone is an outage (RDS.5).",
        instead: "`deletion_protection = true`, `multi_az = true`",
        check: unprotected,
    },
];

/// Databases that are meant to last: a development one is called so, or lies in a folder that is.
fn databases(graph: &Graph) -> Vec<Resource<'_>> {
    let lasting = |resource: &Resource<'_>| {
        let identifier = resource.block.get("identifier").and_then(Node::text).unwrap_or_default();
        let names = format!("{}/{identifier}/{}", resource.module.folder, resource.name());
        let passing = ["dev", "test", "sandbox", "preview", "demo", "ephemeral", "ci"];
        let words = names.split(['/', '-', '_']);
        !resource.block.has("replicate_source_db")
            && !words.into_iter().any(|word| passing.contains(&word) || word == "development")
    };
    graph.resources("aws_db_instance").filter(lasting).collect()
}

fn master_login(out: &mut Out<'_>) {
    for database in databases(out.graph) {
        let engine = database.block.get("engine").map(|node| out.graph.scope(database.module).value(node));
        let supports = engine
            .as_ref()
            .and_then(crate::lint::value::Value::known)
            .is_some_and(|engine| matches!(engine, "postgres" | "mysql" | "mariadb"));
        if supports && !database.block.has("iam_database_authentication_enabled") {
            let at = database.block.entry("username").map_or(database.head(), |entry| entry.value.at);
            out.say(
                at,
                format!("`{}` knows only its master's password: IAM logins are off", database.address()),
            )
            .against(database.head(), "no `iam_database_authentication_enabled`");
        }
    }
}

fn backup_short(out: &mut Out<'_>) {
    for database in databases(out.graph) {
        let Some(node) = database.block.get("backup_retention_period") else { continue };
        let Some(days) =
            out.graph.scope(database.module).value(node).known().and_then(|text| text.parse::<u32>().ok())
        else {
            continue;
        };
        let protected = database.block.get("deletion_protection").and_then(Node::truth) == Some(true);
        if days == 0 {
            out.say(node.at, format!("`{}` has no backups", database.address())).severity(Severity::Critical);
        } else if days < 14 && protected && out.graph.resources("aws_backup_plan").next().is_none() {
            out.say(
                node.at,
                format!(
                    "`{}` keeps {days} days of backups, in its own account and region alone",
                    database.address()
                ),
            );
        }
    }
}

fn logs(out: &mut Out<'_>) {
    for database in databases(out.graph) {
        if !database.block.has("enabled_cloudwatch_logs_exports") {
            out.say(database.head(), format!("the logs of `{}` are not exported", database.address()));
        }
    }
}

fn default_key(out: &mut Out<'_>) {
    for database in databases(out.graph) {
        let insights =
            database.block.get("performance_insights_enabled").filter(|node| node.truth() == Some(true));
        let storage = database.block.get("storage_encrypted").filter(|node| node.truth() == Some(true));
        if let Some(node) = insights
            && !database.block.has("performance_insights_kms_key_id")
            && !database.block.has("kms_key_id")
        {
            out.say(
                node.at,
                format!("the performance data of `{}` is encrypted with AWS's own key", database.address()),
            );
        } else if let Some(node) = storage
            && !database.block.has("kms_key_id")
        {
            out.say(node.at, format!("`{}` is encrypted with AWS's own key", database.address()));
        }
    }
}

fn final_snapshot(out: &mut Out<'_>) {
    for database in databases(out.graph) {
        let skips = database.block.get("skip_final_snapshot").filter(|node| node.truth() == Some(true));
        if let Some(node) = skips {
            out.say(node.at, format!("nothing remains of `{}` when it is deleted", database.address()));
        } else if !database.block.has("final_snapshot_identifier") {
            out.say(database.head(), format!("`{}` names no final snapshot", database.address()));
        }
    }
}

fn unencrypted(out: &mut Out<'_>) {
    for kind in ["aws_db_instance", "aws_rds_cluster"] {
        for database in out.graph.resources(kind) {
            if database.block.has("replicate_source_db") || database.block.has("snapshot_identifier") {
                continue;
            }
            match database.block.entry("storage_encrypted") {
                Some(entry) if entry.value.truth() == Some(false) => {
                    out.say(entry.value.at, format!("`{}` is not encrypted", database.address()))
                        .fix(entry.value.at, "true");
                }
                Some(_) => {}
                None => {
                    out.say(
                        database.head(),
                        format!(
                            "`{}` is not encrypted: `storage_encrypted` is off unless set",
                            database.address()
                        ),
                    );
                }
            }
        }
    }
}

fn unprotected(out: &mut Out<'_>) {
    for database in out.graph.resources("aws_db_instance") {
        if let Some(entry) = database.block.entry("deletion_protection")
            && entry.value.truth() == Some(false)
            && database.block.get("multi_az").and_then(Node::truth) == Some(true)
        {
            out.say(entry.value.at, format!("an apply may delete `{}`", database.address()))
                .fix(entry.value.at, "true");
        }
        if let Some(entry) = database.block.entry("multi_az")
            && entry.value.truth() == Some(false)
            && database.block.get("deletion_protection").and_then(Node::truth) == Some(true)
        {
            out.say(entry.value.at, format!("`{}` has no standby in another zone", database.address()))
                .fix(entry.value.at, "true");
        }
    }
}
