//! Caches: versions, snapshots, tokens, encryption.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::Node;

pub const RULES: &[Rule] = &[
    Rule {
        id: "cache/unpinned",
        severity: Severity::Medium,
        says: "A cache names its engine's version and a parameter group of its own, and keeps snapshots.",
        why: "A default version moves by itself; a default parameter group cannot be changed; sessions in a cache without snapshots are gone with it (ElastiCache.1, .2, .7).",
        instead: "`engine_version`, an `aws_elasticache_parameter_group`, `snapshot_retention_limit = 7`",
        check: unpinned,
    },
    Rule {
        id: "cache/shared-token",
        severity: Severity::High,
        says: "Each program has a login of its own at the cache.",
        why: "One token for all cannot be changed without an outage, and lets every program do everything (ElastiCache.6, checkov CKV_AWS_191).",
        instead: "`user_group_ids`, and `kms_key_id`",
        check: shared_token,
    },
    Rule {
        id: "cache/unencrypted",
        severity: Severity::High,
        says: "A cache is encrypted at rest and on the wire.",
        why: "Sessions and cached records are as confidential as the database (ElastiCache.4, .5).",
        instead: "`at_rest_encryption_enabled = true`, `transit_encryption_enabled = true`",
        check: unencrypted,
    },
];

fn unpinned(out: &mut Out<'_>) {
    for cache in out.graph.resources("aws_elasticache_replication_group") {
        let mut lacks = Vec::new();
        if !cache.block.has("engine_version") {
            lacks.push("an engine version");
        }
        let group = cache.block.get("parameter_group_name");
        if group.is_some_and(|node| node.text().is_some_and(|text| text.starts_with("default."))) {
            lacks.push("a parameter group of its own");
        }
        if !cache.block.has("snapshot_retention_limit") {
            lacks.push("snapshots");
        }
        if lacks.len() >= 2 || (lacks.len() == 1 && lacks[0].starts_with("an engine")) {
            out.say(cache.head(), format!("`{}` lacks {}", cache.address(), lacks.join(", ")));
        }
    }
}

fn shared_token(out: &mut Out<'_>) {
    for cache in out.graph.resources("aws_elasticache_replication_group") {
        if let Some(entry) = cache.block.entry("auth_token")
            && !cache.block.has("user_group_ids")
        {
            out.say(entry.key_at, format!("all programs share one token for `{}`", cache.address()))
                .against(cache.head(), "no `user_group_ids`");
        }
    }
}

fn unencrypted(out: &mut Out<'_>) {
    for cache in out.graph.resources("aws_elasticache_replication_group") {
        for argument in ["at_rest_encryption_enabled", "transit_encryption_enabled"] {
            match cache.block.entry(argument) {
                Some(entry) if entry.value.truth() == Some(false) => {
                    out.say(entry.value.at, format!("`{argument}` of `{}` is off", cache.address()))
                        .fix(entry.value.at, "true");
                }
                Some(_) => {}
                None => {
                    out.say(cache.head(), format!("`{argument}` of `{}` is off unless set", cache.address()));
                }
            }
        }
        let token = cache.block.entry("auth_token");
        let transit = cache.block.get("transit_encryption_enabled").and_then(Node::truth);
        if let (Some(token), Some(false)) = (token, transit) {
            out.say(token.key_at, "a token needs encryption on the wire: AWS refuses it without");
        }
    }
}
