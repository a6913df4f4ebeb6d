//! Where Terraform keeps its state.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::Kind;
use crate::lint::terraform::Module;
use crate::lint::value::is_environment_name;

pub const RULES: &[Rule] = &[
    Rule {
        id: "state/key-shared",
        severity: Severity::Critical,
        says: "A folder that is applied to several environments has a state of its own for each.",
        why: "With one key for all, applying staging plans to rename or destroy what production's state holds. https://developer.hashicorp.com/terraform/language/backend/s3",
        instead: "leave the key out of the backend block and give it per environment: `terraform init -backend-config=key=ENV/terraform.tfstate`",
        check: key_shared,
    },
    Rule {
        id: "state/key-collision",
        severity: Severity::Critical,
        says: "Two folders never write the same state.",
        why: "Each apply of one folder destroys what the other one made: Terraform sees resources in the state that its files do not have.",
        instead: "give each folder its own key",
        check: key_collision,
    },
    Rule {
        id: "state/lock-deprecated",
        severity: Severity::Medium,
        says: "The S3 backend locks with its own lock file.",
        why: "Locking through DynamoDB is deprecated since Terraform 1.10 and will be removed. https://developer.hashicorp.com/terraform/language/backend/s3#state-locking",
        instead: "`use_lockfile = true`, without `dynamodb_table`",
        check: lock_deprecated,
    },
    Rule {
        id: "state/unencrypted",
        severity: Severity::High,
        says: "State is stored encrypted.",
        why: "State holds every generated password in clear text.",
        instead: "`encrypt = true`",
        check: unencrypted,
    },
];

/// The attribute of a backend that tells states apart.
fn key_of(kind: &str) -> Option<&'static str> {
    match kind {
        "s3" | "azurerm" | "oss" => Some("key"),
        "gcs" => Some("prefix"),
        "local" => Some("path"),
        "http" => Some("address"),
        _ => None,
    }
}

/// The variable that tells environments apart, with where it is used, when more than one value is meant.
fn environment_use(module: &Module) -> Option<(String, crate::lint::doc::At)> {
    let mut found = None;
    let mut names_given = false;
    for block in &module.blocks {
        if matches!(block.kind.as_str(), "variable" | "terraform") {
            continue;
        }
        block.walk_values(&mut |node| {
            if let Kind::Ref(parts) = &node.kind
                && let [root, name, ..] = parts.as_slice()
                && root == "var"
                && is_environment_name(name)
            {
                found.get_or_insert((name.clone(), node.at));
            }
            // Workspaces have states of their own.
            names_given |= matches!(&node.kind, Kind::Ref(parts) if parts.join(".") == "terraform.workspace");
        });
    }
    found.filter(|_| !names_given)
}

fn key_shared(out: &mut Out<'_>) {
    for module in out.graph.modules() {
        let Some(backend) = module.backend() else { continue };
        let Some(attribute) = backend.labels.first().and_then(|kind| key_of(kind)) else { continue };
        let Some(entry) = backend.entry(attribute) else { continue };
        let Some(key) = entry.value.text() else { continue };
        let Some((variable, used)) = environment_use(module) else { continue };
        // A variable with one value, in a folder called like it, means one environment.
        let scope = out.graph.scope(module);
        let one =
            crate::lint::doc::Node { at: used, kind: Kind::Ref(vec!["var".to_owned(), variable.clone()]) };
        if scope.value(&one).known().is_some() {
            continue;
        }
        let message = format!(
            "the state's {attribute} `{key}` is the same whatever `var.{variable}` is: applying one environment changes another one's state"
        );
        out.say(entry.value.at, message)
            .against(used, format!("`var.{variable}` makes this folder serve several environments"));
    }
}

fn key_collision(out: &mut Out<'_>) {
    let mut seen: Vec<(Vec<Option<String>>, &Module, crate::lint::doc::At)> = Vec::new();
    for module in out.graph.modules() {
        let Some(backend) = module.backend() else { continue };
        let Some(kind) = backend.labels.first() else { continue };
        let Some(key) = key_of(kind).and_then(|key| backend.entry(key)) else { continue };
        let text = |name: &str| backend.get(name).and_then(|node| node.text().map(str::to_owned));
        let place = ["bucket", "container_name", "storage_account_name"].map(text).to_vec();
        if place.iter().all(Option::is_none) {
            continue;
        }
        let identity: Vec<Option<String>> =
            place.into_iter().chain([key.value.text().map(str::to_owned)]).collect();
        if let Some((_, first, at)) = seen.iter().find(|known| known.0 == identity) {
            let message = format!("`{}` writes the same state as `{}`", shown(module), shown(first));
            out.say(key.value.at, message).against(*at, "the same bucket and key");
            continue;
        }
        seen.push((identity, module, key.value.at));
    }
}

fn shown(module: &Module) -> &str {
    if module.folder.is_empty() { "." } else { &module.folder }
}

fn lock_deprecated(out: &mut Out<'_>) {
    for module in out.graph.modules() {
        let Some(backend) = module.backend() else { continue };
        if let Some(entry) = backend.entry("dynamodb_table") {
            let locked = backend.get("use_lockfile").and_then(crate::lint::doc::Node::truth) == Some(true);
            // Both at once is the documented way to move over.
            if !locked {
                let whole = crate::lint::doc::At {
                    span: crate::finding::Span::new(entry.key_at.span.start, entry.value.at.span.end),
                    ..entry.key_at
                };
                out.say(entry.key_at, "the state is locked through DynamoDB, which is deprecated")
                    .fix(whole, "use_lockfile = true");
            }
        }
    }
}

fn unencrypted(out: &mut Out<'_>) {
    for module in out.graph.modules() {
        let Some(backend) = module.backend() else { continue };
        if let Some(entry) = backend.entry("encrypt")
            && entry.value.truth() == Some(false)
        {
            out.say(entry.value.at, "the state is stored unencrypted").fix(entry.value.at, "true");
        }
    }
}
