//! Keys: whoever encrypts with one is let in by its policy.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::{At, Node};
use crate::lint::eval::Scope;
use crate::lint::graph::Graph;
use crate::lint::terraform::Resource;
use crate::lint::value::Value;

pub const RULES: &[Rule] = &[
    Rule {
        id: "key/service-not-allowed",
        severity: Severity::Critical,
        says: "A key's policy lets in the services that encrypt with it.",
        why: "CloudWatch Logs, and alarms that publish to an encrypted topic, use the key as themselves: a policy for the account alone refuses them, and the log group cannot be made. https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html",
        instead: "a statement for the service: Encrypt*, Decrypt*, ReEncrypt*, GenerateDataKey*, Describe*",
        check: service_not_allowed,
    },
    Rule {
        id: "key/not-rotated",
        severity: Severity::Medium,
        says: "A key is rotated, and its deletion can be noticed in time.",
        why: "Without rotation one lost key opens all that was ever encrypted (KMS.4, checkov CKV_AWS_7); after 7 days a deleted key is gone, and with it all data.",
        instead: "`enable_key_rotation = true`, `deletion_window_in_days = 30`",
        check: not_rotated,
    },
];

/// What encrypts with a key as a service: kind, argument, service, and whether it needs a statement.
const USERS: &[(&str, &str, &str)] = &[
    ("aws_cloudwatch_log_group", "kms_key_id", "logs"),
    ("aws_sns_topic", "kms_master_key_id", "cloudwatch"),
    ("aws_cloudtrail", "kms_key_id", "cloudtrail"),
];

/// The key an expression names, also through an alias.
fn key_of<'g>(scope: Scope<'g>, node: &Node) -> Option<Resource<'g>> {
    let (resource, _) = scope.resource(node)?;
    match resource.kind() {
        "aws_kms_key" => Some(resource),
        "aws_kms_alias" => {
            let target = resource.block.get("target_key_id")?;
            scope.resource(target).map(|found| found.0).filter(|key| key.kind() == "aws_kms_key")
        }
        _ => None,
    }
}

/// The principals and actions a key's policy allows; `None` when it is not here to be read.
fn allowed(graph: &Graph, key: Resource<'_>) -> Option<(Vec<Value>, At)> {
    let scope = graph.scope(key.module);
    let own = key.block.get("policy").map(|node| (node.clone(), node.at));
    let apart = || {
        let mut policies = key.module.of_kind("aws_kms_key_policy");
        let of = |policy: &Resource<'_>| {
            let named = policy.block.get("key_id").and_then(|node| scope.resource(node));
            named.is_some_and(|(named, _)| named.address() == key.address())
        };
        policies.find(of).and_then(|policy| policy.block.get("policy").map(|node| (node.clone(), node.at)))
    };
    let Some((node, at)) = own.or_else(apart) else { return Some((Vec::new(), key.head())) };
    if let Some((policy, inner)) = scope.structure(&node) {
        let statements = policy.get("Statement")?.one_or_many().to_vec();
        let mut found = Vec::new();
        for statement in statements {
            let (statement, inner) = inner.structure(&statement)?;
            let Some(principal) = statement.get("Principal") else { continue };
            if statement.get("Effect").and_then(Node::text) == Some("Deny") {
                continue;
            }
            if principal.text() == Some("*") {
                found.push(Value::Known("*".to_owned()));
            }
            let services = principal.get("Service").map_or(&[][..], Node::one_or_many);
            found.extend(services.iter().map(|service| inner.value(service)));
        }
        return Some((found, at));
    }
    let document = document_of(scope, &node)?;
    let mut found = Vec::new();
    for statement in document.blocks("statement") {
        for principals in statement.blocks("principals") {
            if principals.get("type").and_then(Node::text) == Some("Service") {
                let names = principals.get("identifiers").map_or(&[][..], Node::one_or_many);
                found.extend(names.iter().map(|name| scope.value(name)));
            }
        }
    }
    Some((found, document.head))
}

/// The `aws_iam_policy_document` a `.json` comes from.
fn document_of<'g>(scope: Scope<'g>, node: &Node) -> Option<&'g crate::lint::read::hcl::Block> {
    let crate::lint::doc::Kind::Ref(parts) = &node.kind else { return None };
    match parts.as_slice() {
        [data, kind, name, ..] if data == "data" && kind == "aws_iam_policy_document" => {
            let document = scope.module.data(kind, name)?;
            // What is merged from elsewhere is not seen.
            let merged = document.has("source_policy_documents") || document.has("override_policy_documents");
            (!merged).then_some(document)
        }
        _ => None,
    }
}

fn service_not_allowed(out: &mut Out<'_>) {
    for (kind, argument, service) in USERS {
        for user in out.graph.resources(kind) {
            let Some(node) = user.block.get(argument) else { continue };
            let scope = out.graph.scope(user.module);
            let Some(key) = key_of(scope, node) else {
                out.unknown(node.at, "the key's policy is not in these files");
                continue;
            };
            // An encrypted topic matters to alarms that publish to it.
            if *service == "cloudwatch" && !alarms_publish(out.graph, user) {
                continue;
            }
            let Some((services, at)) = allowed(out.graph, key) else {
                out.unknown(
                    node.at,
                    format!(
                        "the policy of `{}` is made by an expression that is not evaluated",
                        key.address()
                    ),
                );
                continue;
            };
            wrong_region(out, user, node.at, &services, at, service);
            let lets_in = services.iter().any(|value| {
                let text = value.to_string();
                text == "*"
                    || text.starts_with(&format!("{service}."))
                    || (value.is_open() && text.starts_with("${"))
            });
            if !lets_in {
                let message = format!(
                    "`{}` is encrypted with `{}`, whose policy does not let `{service}.amazonaws.com` in",
                    user.address(),
                    key.address()
                );
                out.say(node.at, message).against(at, "the key's policy").instead(instead(service));
            }
        }
    }
}

/// A regional service that is let in only for another region than the one things are made in.
fn wrong_region(
    out: &mut Out<'_>,
    user: Resource<'_>,
    at: At,
    services: &[Value],
    policy: At,
    service: &str,
) {
    let alias = user.module.provider_alias(user.block);
    let provider = user.module.provider("aws", alias.as_deref()).and_then(|block| block.get("region"));
    let Some(home) = provider.map(|node| out.graph.scope(user.module).value(node)) else { return };
    let Some(home) = home.known().filter(|_| user.block.get("region").is_none()) else { return };
    let regions: Vec<String> = services
        .iter()
        .filter_map(|value| {
            let text = value.known()?.strip_prefix(&format!("{service}."))?.strip_suffix(".amazonaws.com")?;
            (!text.is_empty()).then(|| text.to_owned())
        })
        .collect();
    let any = services.iter().any(|value| {
        let text = value.to_string();
        text == "*" || text == format!("{service}.amazonaws.com") || text.contains("${")
    });
    if let Some(first) = regions.first().filter(|_| !any && !regions.iter().any(|region| region == home)) {
        out.say(
            at,
            format!(
                "its key's policy lets `{service}` in for `{first}`, but `{}` is made in `{home}`",
                user.address()
            ),
        )
        .against(policy, "the key's policy")
        .instead(format!("`{service}.{home}.amazonaws.com`"));
    }
}

fn instead(service: &str) -> String {
    let host = if service == "logs" {
        "logs.REGION.amazonaws.com".to_owned()
    } else {
        format!("{service}.amazonaws.com")
    };
    let actions = if service == "logs" {
        "Encrypt*, Decrypt*, ReEncrypt*, GenerateDataKey*, Describe*, with kms:EncryptionContext:aws:logs:arn"
    } else {
        "Decrypt, GenerateDataKey*"
    };
    format!("a statement with `Principal = {{ Service = \"{host}\" }}` and the actions {actions}")
}

fn alarms_publish(graph: &Graph, topic: Resource<'_>) -> bool {
    let scope = graph.scope(topic.module);
    topic.module.of_kind("aws_cloudwatch_metric_alarm").any(|alarm| {
        ["alarm_actions", "ok_actions"]
            .iter()
            .filter_map(|key| alarm.block.get(key))
            .flat_map(Node::one_or_many)
            .any(|node| scope.resource(node).is_some_and(|(named, _)| named.address() == topic.address()))
    })
}

fn not_rotated(out: &mut Out<'_>) {
    for key in out.graph.resources("aws_kms_key") {
        let text = |name: &str| key.block.get(name).and_then(Node::text);
        // Asymmetric and imported keys cannot rotate.
        if text("customer_master_key_spec").is_some_and(|spec| spec != "SYMMETRIC_DEFAULT")
            || text("key_usage").is_some_and(|usage| usage != "ENCRYPT_DECRYPT")
        {
            continue;
        }
        let rotates = key.block.get("enable_key_rotation").and_then(Node::truth);
        let window = key.block.get("deletion_window_in_days").and_then(Node::number);
        if key.block.get("enable_key_rotation").is_none() || rotates == Some(false) {
            let at = key.block.entry("enable_key_rotation").map_or(key.head(), |entry| entry.value.at);
            let told = out.say(at, format!("`{}` is never rotated", key.address()));
            if let Some(short) =
                window.filter(|days| *days < 14.0).and(key.block.get("deletion_window_in_days"))
            {
                told.against(short.at, "and it is gone 7 days after a deletion");
            }
        } else if let Some(node) =
            key.block.get("deletion_window_in_days").filter(|_| window.is_some_and(|days| days < 14.0))
        {
            out.say(
                node.at,
                format!("`{}` is gone {} days after a deletion", key.address(), window.unwrap_or_default()),
            );
        }
    }
}
