//! Secrets where everybody can read them: in state, and in files.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::{At, Kind, Node};
use crate::lint::terraform::Resource;

pub const RULES: &[Rule] = &[
    Rule {
        id: "leak/in-state",
        severity: Severity::High,
        says: "Passwords do not pass through Terraform's variables or literals.",
        why: "What Terraform sets it keeps in its state, in clear text, for whoever can read the state.",
        instead: "let the service keep it: `manage_master_user_password = true`; or a write-only argument (`password_wo`)",
        check: in_state,
    },
    Rule {
        id: "leak/in-file",
        severity: Severity::Critical,
        says: "No password or key is written into a file.",
        why: "Whoever can read the repository, its history or the image has it, for ever.",
        instead: "a secret of the platform, injected when the task starts; then change this one",
        check: literal,
    },
];

/// Arguments that hold a password, by kind of resource.
const PASSWORDS: &[(&str, &str, &str)] = &[
    ("aws_db_instance", "password", "`manage_master_user_password = true`"),
    ("aws_rds_cluster", "master_password", "`manage_master_user_password = true`"),
    (
        "aws_elasticache_replication_group",
        "auth_token",
        "users of an `aws_elasticache_user_group` that authenticate by IAM",
    ),
    ("aws_docdb_cluster", "master_password", "`manage_master_user_password = true`"),
    ("aws_redshift_cluster", "master_password", "`manage_master_password = true`"),
    ("aws_mq_broker", "password", "a secret that the broker's maker sets"),
    (
        "azurerm_postgresql_flexible_server",
        "administrator_password",
        "`administrator_password_wo`, or Entra authentication alone",
    ),
    ("azurerm_mssql_server", "administrator_login_password", "Entra authentication alone"),
    ("google_sql_user", "password", "IAM authentication"),
];

fn in_state(out: &mut Out<'_>) {
    for (kind, argument, instead) in PASSWORDS {
        for resource in out.graph.resources(kind) {
            if let Some(entry) = resource.block.entry(argument)
                && entry.value.kind != Kind::Null
            {
                let message =
                    format!("`{argument}` of `{}` is kept in clear text in the state", resource.address());
                let declared = variable_of(resource, &entry.value);
                let told = out.say(entry.value.at, message).instead(*instead);
                if let Some(at) = declared {
                    told.against(at, "given from outside through this variable");
                }
            }
        }
    }
    for parameter in out.graph.resources("aws_ssm_parameter") {
        let secure = parameter.block.get("type").and_then(Node::text) == Some("SecureString");
        if let Some(entry) = parameter.block.entry("value").filter(|_| secure)
            && matches!(&entry.value.kind, Kind::Ref(parts) if parts.first().is_some_and(|root| root == "var" || root == "random_password"))
        {
            let declared = variable_of(parameter, &entry.value);
            let told = out
                .say(
                    entry.value.at,
                    format!("the value of `{}` is kept in clear text in the state", parameter.address()),
                )
                .instead("`value_wo` with `value_wo_version`, or set the value outside Terraform");
            if let Some(at) = declared {
                told.against(at, "given from outside through this variable");
            }
        }
    }
    for version in out.graph.resources("aws_secretsmanager_secret_version") {
        let Some(entry) = version.block.entry("secret_string") else { continue };
        let mut secret = None;
        entry.value.walk(&mut |node| {
            if let Kind::Ref(parts) = &node.kind
                && parts.len() >= 2
                && (parts[0] == "var" || parts[0] == "random_password")
                && looks_secret(&parts.join("_").to_uppercase())
            {
                secret.get_or_insert(node.at);
            }
        });
        if let Some(at) = secret {
            let declared = variable_at(version, at, &entry.value);
            let told =
                out.say(at, format!("`{}` copies a password into the state", version.address())).instead(
                    "`secret_string_wo` with `secret_string_wo_version`, or set the value outside Terraform",
                );
            if let Some(declared) = declared {
                told.against(declared, "given through this variable");
            }
        }
    }
}

fn variable_of(resource: Resource<'_>, node: &Node) -> Option<At> {
    let Kind::Ref(parts) = &node.kind else { return None };
    (parts.first()? == "var")
        .then(|| resource.module.labelled("variable", parts.get(1)?))
        .flatten()
        .map(|block| block.head)
}

fn variable_at(resource: Resource<'_>, at: At, value: &Node) -> Option<At> {
    let mut found = None;
    value.walk(&mut |node| {
        if node.at == at {
            found = found.or_else(|| variable_of(resource, node));
        }
    });
    found
}

/// Whether a name says that it holds a secret.
fn looks_secret(name: &str) -> bool {
    let upper = name.to_uppercase();
    let exempt = [
        "_ARN",
        "_ID",
        "_NAME",
        "_PATH",
        "_FILE",
        "_LENGTH",
        "PUBLIC",
        "_TTL",
        "_EXPIRY",
        "_EXPIRES",
        "_ALGORITHM",
        "_URL_PATH",
        "_HEADER",
        "_FIELD",
        "_POLICY",
        "_REQUIRED",
        "PLACEHOLDER",
    ];
    [
        "PASSWORD",
        "PASSWD",
        "SECRET",
        "TOKEN",
        "API_KEY",
        "APIKEY",
        "PRIVATE_KEY",
        "ACCESS_KEY",
        "ENCRYPTION_KEY",
        "AUTH_KEY",
    ]
    .iter()
    .any(|word| upper.contains(word))
        && !exempt.iter().any(|word| upper.ends_with(word) || upper.contains("PUBLIC"))
}

/// Whether a text is a secret's value rather than a name, a placeholder or a test's password.
fn is_value(text: &str) -> bool {
    let lower = text.to_lowercase();
    let placeholder = [
        "change",
        "example",
        "placeholder",
        "your",
        "xxx",
        "todo",
        "dummy",
        "<",
        "{{",
        "$",
        "test",
        "local",
        "dev",
        "arn:",
        "secret:",
        "/run/secrets",
        "true",
        "false",
    ];
    text.len() >= 6 && !text.contains(' ') && !placeholder.iter().any(|word| lower.contains(word))
}

/// Formats that are secrets whatever they are called.
fn is_credential(text: &str) -> bool {
    let key_id = text.starts_with("AKIA")
        && text.len() == 20
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
    let token = ["ghp_", "gho_", "github_pat_", "xoxb-", "xoxp-", "sk_live_", "rk_live_", "glpat-", "npm_"]
        .iter()
        .any(|prefix| text.starts_with(prefix) && text.len() > prefix.len() + 12);
    (key_id && !text.ends_with("EXAMPLE"))
        || token
        || text.starts_with("-----BEGIN") && text.contains("PRIVATE KEY")
}

/// `postgres://user:password@host`: the password, when the host is not this machine.
fn in_url(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else { return false };
    let Some((credentials, host)) = rest.split_once('@') else { return false };
    let Some((user, password)) = credentials.split_once(':') else { return false };
    let near =
        ["localhost", "127.0.0.1", "postgres", "db", "redis", "mysql", "database", "mongo", "rabbitmq"]
            .iter()
            .any(|word| host.split([':', '/']).next() == Some(word));
    !near && user != password && is_value(password)
}

fn literal(out: &mut Out<'_>) {
    let mut found: Vec<(At, String)> = Vec::new();
    for (_, container) in out.graph.task_containers() {
        for setting in &container.env {
            let Some(known) = setting.value.known() else { continue };
            if is_credential(known) || in_url(known) || (looks_secret(&setting.name) && is_value(known)) {
                found.push((setting.node.at, setting.name.clone()));
            }
        }
    }
    for docker in &out.graph.sources.dockerfiles {
        for instruction in docker
            .stages
            .iter()
            .flat_map(|stage| &stage.instructions)
            .filter(|it| matches!(it.keyword.as_str(), "ENV" | "ARG"))
        {
            for (name, value, at) in instruction.pairs() {
                if is_credential(&value) || in_url(&value) || (looks_secret(&name) && is_value(&value)) {
                    found.push((at, name));
                }
            }
        }
    }
    in_terraform(out, &mut found);
    for (_, root) in &out.graph.sources.yaml {
        root.walk(&mut |node| {
            for entry in node.entries() {
                let Some(text) = entry.value.text() else { continue };
                if is_credential(text) || in_url(text) {
                    found.push((entry.value.at, entry.key.clone()));
                }
            }
        });
    }
    for command in out.graph.commands() {
        for (name, word) in &command.sets {
            if is_credential(&word.text)
                || (looks_secret(name) && is_value(&word.text) && !word.text.contains('`'))
            {
                found.push((word.at, name.clone()));
            }
        }
    }
    found.sort();
    found.dedup();
    for (at, name) in found {
        out.say(at, format!("`{name}` holds a secret in clear text"));
    }
}

fn in_terraform(out: &Out<'_>, found: &mut Vec<(At, String)>) {
    for module in out.graph.modules() {
        for block in &module.blocks {
            block.walk(&mut |block| {
                for entry in &block.attrs {
                    let Some(text) = entry.value.text() else { continue };
                    let named = looks_secret(&entry.key)
                        && !matches!(block.kind.as_str(), "variable" | "output")
                        && is_value(text)
                        && !entry.key.contains("secret_id");
                    let default = block.kind == "variable"
                        && entry.key == "default"
                        && block.labels.first().is_some_and(|label| looks_secret(label))
                        && is_value(text);
                    if is_credential(text) || in_url(text) || named || default {
                        found.push((
                            entry.value.at,
                            block.labels.first().filter(|_| default).unwrap_or(&entry.key).clone(),
                        ));
                    }
                }
            });
        }
    }
}
