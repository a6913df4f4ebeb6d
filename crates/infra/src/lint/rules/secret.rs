//! Secrets: each one that is wanted exists, in the shape that is wanted, and does not lie about in state or files.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::{At, Kind, Node, Part};
use crate::lint::facts::container::{Container, Setting};
use crate::lint::facts::text;
use crate::lint::graph::{Match, Named};
use crate::lint::terraform::Resource;
use crate::lint::value::{Likeness, Value};

pub const RULES: &[Rule] = &[
    Rule {
        id: "secret/undeclared",
        severity: Severity::Critical,
        says: "Every secret a task wants is made under that name.",
        why: "ECS looks a secret up by its ARN when a task starts; one that is not there stops every task with ResourceInitializationError.",
        instead: "refer to the resource: `valueFrom = aws_secretsmanager_secret.NAME.arn`",
        check: undeclared,
    },
    Rule {
        id: "secret/whole-json",
        severity: Severity::Critical,
        says: "A variable that holds one value takes one key of a secret.",
        why: "Without a key ECS puts the whole JSON document into the variable. https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html",
        instead: "name the key: `ARN:KEY::`",
        check: whole_json,
    },
    Rule {
        id: "secret/key-missing",
        severity: Severity::Critical,
        says: "A key a task takes from a secret is in it.",
        why: "ECS stops a task whose secret lacks the key it asks for.",
        instead: "a key the secret has",
        check: key_missing,
    },
    Rule {
        id: "secret/endpoint-with-port",
        severity: Severity::Critical,
        says: "A host is an address without a port.",
        why: "The `endpoint` of an RDS instance is `address:port`: as a host it does not resolve. https://registry.terraform.io/providers/hashicorp/aws/latest/docs/resources/db_instance#attribute-reference",
        instead: "`.address`",
        check: endpoint_with_port,
    },
    Rule {
        id: "secret/port-mismatch",
        severity: Severity::Critical,
        says: "An address of a database or cache has the port it listens on.",
        why: "Connection refused, or a wait until the deadline, from the first request on.",
        instead: "the port from the resource: `${aws_db_instance.NAME.port}`",
        check: port_mismatch,
    },
    Rule {
        id: "secret/default-key",
        severity: Severity::High,
        says: "Secrets are encrypted with a key of one's own.",
        why: "With AWS's own key no policy of yours decides who decrypts, and other accounts cannot be let in (checkov CKV_AWS_149).",
        instead: "`kms_key_id = aws_kms_key.NAME.arn`, and a rotation of at most 30 days where it can rotate",
        check: default_key,
    },
];

/// Secrets and parameters that Terraform makes, by name.
fn declared<'g>(out: &Out<'g>) -> (Vec<Named<'g>>, Vec<Named<'g>>) {
    (out.graph.named("aws_secretsmanager_secret", "name"), out.graph.named("aws_ssm_parameter", "name"))
}

/// What a `valueFrom` asks for.
struct Wanted {
    name: Value,
    key: Option<String>,
    is_parameter: bool,
}

fn wanted(setting: &Setting) -> Option<Wanted> {
    let shown = setting.value.to_string();
    if let Some(at) = shown.find(":secret:") {
        let rest = &shown[at + ":secret:".len()..];
        let mut parts = split_outside(rest);
        let name = if parts.is_empty() { return None } else { parts.remove(0) };
        let key = parts.first().filter(|key| !key.is_empty()).cloned();
        return Some(Wanted { name: text::value(without_suffix(&name)), key, is_parameter: false });
    }
    if let Some(at) = shown.find(":parameter") {
        return Some(Wanted {
            name: text::value(&shown[at + ":parameter".len()..]),
            key: None,
            is_parameter: true,
        });
    }
    let plain = setting.value.known()?;
    (!plain.starts_with("arn:") && !plain.is_empty()).then(|| Wanted {
        name: text::value(plain),
        key: None,
        is_parameter: true,
    })
}

/// Parts between colons that stand outside `${…}`.
fn split_outside(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0_usize;
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("BUG: never empty").push(c);
    }
    parts
}

/// Takes the six random characters from the end of a full ARN's name.
fn without_suffix(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((head, tail))
            if tail.len() == 6
                && tail.chars().all(|c| c.is_ascii_alphanumeric())
                && tail.chars().any(|c| c.is_ascii_uppercase()) =>
        {
            head
        }
        _ if name.ends_with("-??????") => &name[..name.len() - 7],
        _ => name,
    }
}

fn containers<'g>(out: &Out<'g>) -> Vec<&'g Container> {
    out.graph.task_containers().map(|(_, container)| container).collect()
}

fn undeclared(out: &mut Out<'_>) {
    let (secrets, parameters) = declared(out);
    for container in containers(out) {
        for setting in &container.secrets {
            if out.graph.resource_of(container, &setting.node).is_some() {
                continue;
            }
            let Some(wanted) = wanted(setting) else {
                out.unknown(
                    setting.node.at,
                    format!("what `{}` takes its value from is not in these files", setting.name),
                );
                continue;
            };
            let known = if wanted.is_parameter { &parameters } else { &secrets };
            if known.is_empty() {
                let what = if wanted.is_parameter { "parameter" } else { "secret" };
                out.unknown(
                    setting.node.at,
                    format!("no file here makes any {what}: `{}` may exist in the account", wanted.name),
                );
                continue;
            }
            match out.graph.match_name(&wanted.name, known) {
                Match::Same(_) => {}
                Match::Unclear => out.unknown(
                    setting.node.at,
                    format!(
                        "whether `{}` is made here depends on values that are not in these files",
                        wanted.name
                    ),
                ),
                Match::None(near) => {
                    let message = format!(
                        "`{}` wants the secret `{}`, which nothing here makes",
                        setting.name, wanted.name
                    );
                    let near = near.map(|near| (near.at, near.name.to_string(), near.resource.address()));
                    let told = out.say(setting.node.at, message);
                    if let Some((at, name, address)) = near {
                        told.against(at, format!("the nearest one made is `{name}`"))
                            .instead(format!("the ARN of `{address}`, or of a secret that is made for it"));
                    }
                }
            }
        }
    }
}

/// The Terraform secret a setting means, also by a name that only resembles it.
fn meant<'g>(out: &Out<'g>, container: &Container, setting: &Setting) -> Option<Resource<'g>> {
    if let Some((resource, _)) = out.graph.resource_of(container, &setting.node) {
        return (resource.kind() == "aws_secretsmanager_secret").then_some(resource);
    }
    let wanted = wanted(setting).filter(|wanted| !wanted.is_parameter)?;
    let secrets = declared(out).0;
    let same = secrets.iter().find(|known| known.name.likeness(&wanted.name) == Likeness::Same);
    let bare = text::bare(&wanted.name);
    let near = || secrets.iter().find(|known| !bare.is_empty() && text::bare(&known.name) == bare);
    same.or_else(near).map(|named| named.resource)
}

/// The keys of a secret's JSON, and where they stand; `None` when its value is not here or is plain text.
fn keys(
    out: &Out<'_>,
    container: &Container,
    setting: &Setting,
    secret: Resource<'_>,
) -> Option<(Vec<String>, At)> {
    let scope = out.graph.scope(secret.module);
    let module = container.folder.as_ref().and_then(|folder| out.graph.sources.modules.get(folder));
    let wanted = module.and_then(|module| out.graph.scope(module).instance(&setting.node));
    for version in secret.module.of_kind("aws_secretsmanager_secret_version") {
        let of = version.block.get("secret_id").and_then(|node| scope.resource(node));
        if of.is_none_or(|(of, _)| of.address() != secret.address()) {
            continue;
        }
        // Of several secrets of one resource each has a value of its own.
        let own = version.block.get("secret_id").and_then(|node| scope.instance(node));
        if own.is_some() && own != wanted {
            continue;
        }
        let value = version.block.get("secret_string").or_else(|| version.block.get("secret_string_wo"))?;
        let (map, _) = scope.structure(value)?;
        return map
            .is_map()
            .then(|| (map.entries().iter().map(|entry| entry.key.clone()).collect(), value.at));
    }
    None
}

/// The key that a setting names, whether its secret is referred to or named.
fn key_of(out: &Out<'_>, container: &Container, setting: &Setting) -> Option<String> {
    let (resource, _) = match out.graph.resource_of(container, &setting.node) {
        Some(found) => found,
        None => return wanted(setting)?.key,
    };
    let _ = resource;
    // `"${aws_secretsmanager_secret.x.arn}:key::"`
    let Kind::Template(parts) = &setting.node.kind else { return None };
    let tail: String = parts
        .iter()
        .map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Hole(_) => "\u{0}",
        })
        .collect();
    let after = tail.split('\u{0}').next_back()?;
    after.split(':').nth(1).filter(|key| !key.is_empty()).map(str::to_owned)
}

/// Whether a variable's name says that it holds one value, not a document.
fn holds_one_value(name: &str) -> bool {
    let document = ["JSON", "CONFIG", "SETTINGS", "CREDENTIALS", "CREDS", "_SECRET_ARN", "SECRETS"]
        .iter()
        .any(|word| name.contains(word));
    let one = [
        "URL", "URI", "DSN", "PASSWORD", "PASS", "PWD", "USER", "USERNAME", "HOST", "PORT", "TOKEN", "KEY",
        "NAME", "SECRET",
    ];
    !document
        && one.iter().any(|word| name == *word || name.ends_with(&format!("_{word}")) || name.ends_with(word))
}

fn whole_json(out: &mut Out<'_>) {
    for container in containers(out) {
        for setting in &container.secrets {
            if !holds_one_value(&setting.name) || key_of(out, container, setting).is_some() {
                continue;
            }
            let Some(secret) = meant(out, container, setting) else { continue };
            let Some((keys, at)) = keys(out, container, setting, secret) else { continue };
            // A program that parses the variable takes the document on purpose.
            if parsed(out, &setting.name) {
                continue;
            }
            let message = format!(
                "`{}` takes the whole of a secret that is JSON with the keys {}",
                setting.name,
                listed(&keys)
            );
            out.say(setting.node.at, message).against(at, "made as JSON here").instead(format!(
                "one key: `ARN:{}::`, or a secret that is the text itself",
                keys.first().map_or("KEY", String::as_str)
            ));
        }
    }
}

/// Whether some program parses that variable as JSON.
fn parsed(out: &Out<'_>, name: &str) -> bool {
    out.graph.sources.code.iter().any(|source| {
        let calls = source.calls(0..source.tokens.len());
        calls.iter().any(|call| {
            matches!(
                call.path.as_str(),
                "JSON.parse" | "json.loads" | "json.Unmarshal" | "serde_json::from_str"
            ) && call.args.iter().any(|arg| source.words(arg.clone()).contains(name))
        })
    })
}

fn listed(keys: &[String]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

fn key_missing(out: &mut Out<'_>) {
    for container in containers(out) {
        for setting in &container.secrets {
            let Some(key) = key_of(out, container, setting).filter(|key| !key.contains('$')) else {
                continue;
            };
            let Some(secret) = meant(out, container, setting) else { continue };
            let Some((keys, at)) = keys(out, container, setting, secret) else {
                out.unknown(
                    setting.node.at,
                    format!("the value of `{}` is not in these files", secret.address()),
                );
                continue;
            };
            if !keys.contains(&key) {
                out.say(
                    setting.node.at,
                    format!("`{}` takes the key `{key}`, which the secret does not have", setting.name),
                )
                .against(at, format!("its keys are {}", listed(&keys)));
            }
        }
    }
}

/// Resources whose `endpoint` has a port in it.
const WITH_PORT: &[&str] =
    &["aws_db_instance", "aws_db_proxy_endpoint", "aws_redshift_cluster", "aws_elasticache_serverless_cache"];

fn endpoint_with_port(out: &mut Out<'_>) {
    for module in out.graph.modules() {
        let scope = out.graph.scope(module);
        for block in &module.blocks {
            let mut hosts: Vec<(String, &Node)> = Vec::new();
            block.walk(&mut |block| {
                for entry in &block.attrs {
                    host_entries(&entry.key, &entry.value, &mut hosts);
                }
            });
            for (name, node) in hosts {
                let Some((resource, attribute)) = scope.resource(node) else { continue };
                if attribute == "endpoint" && WITH_PORT.contains(&resource.kind()) && takes_host(&name, node)
                {
                    let at = hole_at(node);
                    let text = out.graph.sources.slice(at).to_owned();
                    let fixed = text.strip_suffix("endpoint").map(|head| format!("{head}address"));
                    let told = out.say(
                        at,
                        format!(
                            "`{name}` is `address:port`: the endpoint of `{}` has its port in it",
                            resource.address()
                        ),
                    );
                    let told = told.against(resource.head(), "an instance's endpoint is `address:port`");
                    if let Some(fixed) = fixed {
                        told.instead(format!("`{fixed}`")).fix(at, fixed);
                    }
                }
            }
        }
    }
}

/// `{ host = aws_db_instance.x.address, port = 5432 }` and `…${aws_db_instance.x.address}:5432/…`.
fn port_mismatch(out: &mut Out<'_>) {
    for module in out.graph.modules() {
        let mut found: Vec<(Resource<'_>, i64, At)> = Vec::new();
        let scope = out.graph.scope(module);
        for block in &module.blocks {
            block.walk_values(&mut |node| {
                if let Kind::Template(parts) = &node.kind {
                    for pair in parts.windows(2) {
                        if let [Part::Hole(host), Part::Text(after)] = pair
                            && let Some(port) = leading_port(after)
                            && let Some((resource, attribute)) = scope.resource(host)
                            && attribute.contains("address")
                        {
                            found.push((resource, port, node.at));
                        }
                    }
                }
                let literal = node.get("port").and_then(|port| Some((port.number()?, port.at)));
                if let (Some((port, at)), Some(host)) = (literal, node.get("host"))
                    && let Some((resource, _)) = scope.resource(host)
                {
                    // A port is a whole number.
                    #[allow(clippy::cast_possible_truncation, reason = "ports are small")]
                    found.push((resource, port as i64, at));
                }
            });
        }
        for (resource, port, at) in found {
            if let Some((listens, place)) = super::network::store_port(out.graph, resource)
                && listens != port
            {
                out.say(at, format!("port {port}, but `{}` listens on {listens}", resource.address()))
                    .against(place, format!("port {listens}"))
                    .instead(format!("`${{{}.port}}`", resource.address()));
            }
        }
    }
}

fn leading_port(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(':')?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// The hole of a template that names the resource, else the whole.
fn hole_at(node: &Node) -> At {
    if let Kind::Template(parts) = &node.kind {
        for part in parts {
            if let Part::Hole(hole) = part
                && matches!(&hole.kind, Kind::Ref(parts) if parts.last().is_some_and(|last| last == "endpoint"))
            {
                return hole.at;
            }
        }
    }
    node.at
}

/// Names and values of a tree, `{ name = "DB_HOST", value = … }` included.
fn host_entries<'n>(key: &str, node: &'n Node, into: &mut Vec<(String, &'n Node)>) {
    match &node.kind {
        Kind::Map(entries) => {
            let name = node.get("name").and_then(Node::text);
            for entry in entries {
                let key = name.filter(|_| entry.key == "value").unwrap_or(&entry.key);
                host_entries(key, &entry.value, into);
            }
        }
        Kind::List(items) | Kind::Call(_, items) => {
            items.iter().for_each(|item| host_entries(key, item, into))
        }
        _ => into.push((key.to_owned(), node)),
    }
}

/// Whether a port follows, or none may: a host's name, or a URL that adds a port.
fn takes_host(name: &str, node: &Node) -> bool {
    if let Kind::Template(parts) = &node.kind {
        let mut after = parts.iter().skip_while(|part| !matches!(part, Part::Hole(hole) if matches!(&hole.kind, Kind::Ref(parts) if parts.last().is_some_and(|last| last == "endpoint"))));
        after.next();
        return matches!(after.next(), Some(Part::Text(text)) if text.starts_with(':'));
    }
    let upper = name.to_uppercase();
    upper == "HOST"
        || upper.ends_with("_HOST")
        || upper.ends_with("HOSTNAME")
        || upper == "SERVER"
        || upper == "ADDRESS"
        || upper.ends_with("_ADDRESS")
}

fn default_key(out: &mut Out<'_>) {
    for secret in out.graph.resources("aws_secretsmanager_secret") {
        if !secret.block.has("kms_key_id") {
            let rotation = out
                .graph
                .resources("aws_secretsmanager_secret_rotation")
                .any(|rotation| rotation.module.folder == secret.module.folder);
            let and = if rotation { "" } else { ", and nothing rotates it" };
            out.say(secret.head(), format!("`{}` is encrypted with AWS's own key{and}", secret.address()));
        }
    }
}
