//! What Terraform itself would refuse: names nobody declares, arguments that are missing or misspelt.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::Kind;
use crate::lint::read::hcl::Block;
use crate::lint::terraform::Module;
use crate::schema::{self, Item, Schemas};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

pub const RULES: &[Rule] = &[
    Rule {
        id: "terraform/undefined",
        severity: Severity::High,
        says: "Every name that is used is declared.",
        why: "`terraform validate` refuses the folder: nothing of it can be planned or applied.",
        instead: "declare it, or use the name that is declared",
        check: undefined,
    },
    Rule {
        id: "terraform/argument-missing",
        severity: Severity::High,
        says: "A resource has the arguments its provider requires.",
        why: "The provider's schema requires it (aws 6.25): `terraform validate` refuses the folder.",
        instead: "add the argument or block",
        check: argument_missing,
    },
    Rule {
        id: "terraform/argument-unknown",
        severity: Severity::High,
        says: "A resource has only arguments its provider knows.",
        why: "The provider's schema (aws 6.25) has no such argument: `terraform validate` refuses the folder.",
        instead: "write the name the provider knows",
        check: argument_unknown,
    },
    Rule {
        id: "terraform/module-unpinned",
        severity: Severity::Medium,
        says: "A module from outside is pinned to a version.",
        why: "Without one, `terraform init` takes the newest: tomorrow's plan differs from today's review (checkov CKV_TF_1, CKV_TF_2).",
        instead: "`version = \"X.Y.Z\"` for a registry's module, `?ref=` with a commit for one from git",
        check: module_unpinned,
    },
    Rule {
        id: "terraform/module-argument",
        severity: Severity::High,
        says: "A call of a module in the tree gives what it declares, and all it requires.",
        why: "`terraform validate` refuses an argument the module has no variable for, and one that is missing and has no default.",
        instead: "give the module's variables by their names",
        check: module_argument,
    },
];

/// Words that begin a reference without being a resource's type.
const ROOTS: &[&str] = &[
    "var",
    "local",
    "module",
    "data",
    "each",
    "count",
    "self",
    "path",
    "terraform",
    "provider",
    "ephemeral",
];

/// Beginnings of resource types: a name of another kind is not judged.
const PROVIDERS: &[&str] = &[
    "aws_",
    "azurerm_",
    "google_",
    "cloudflare_",
    "random_",
    "tls_",
    "null_",
    "time_",
    "local_",
    "kubernetes_",
    "helm_",
    "archive_",
    "github_",
    "datadog_",
    "azuread_",
    "awscc_",
    "digitalocean_",
    "postgresql_",
    "vault_",
];

fn undefined(out: &mut Out<'_>) {
    for module in out.graph.modules() {
        if let Some(broken) = module.broken.first() {
            let at = module.blocks.first().map(|block| block.head);
            if let Some(at) = at {
                out.unknown(at, format!("`{broken}` could not be read: what is used may be declared there"));
            }
            continue;
        }
        let mut told = BTreeSet::new();
        for block in &module.blocks {
            block.walk_values(&mut |node| {
                if let Kind::Ref(parts) = &node.kind
                    && let Some((name, declare)) = missing(module, parts)
                    && told.insert(name.clone())
                {
                    let near = nearest(module, parts);
                    let told = out.say(node.at, format!("`{name}` is used, but nothing declares it"));
                    let told = told.instead(format!("declare it: {declare}"));
                    if let Some((near, at)) = near {
                        told.against(at, format!("`{near}` is declared"))
                            .instead(format!("`{near}`, or {declare}"));
                    }
                }
            });
        }
    }
}

/// The name that is missing, and how it would be declared.
fn missing(module: &Module, parts: &[String]) -> Option<(String, String)> {
    let words: Vec<&str> = parts.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["var", name, ..] if module.labelled("variable", name).is_none() => {
            Some((format!("var.{name}"), format!("`variable \"{name}\" {{}}`")))
        }
        ["local", name, ..] if module.local(name).is_none() => {
            Some((format!("local.{name}"), format!("`locals {{ {name} = … }}`")))
        }
        ["module", name, ..] if module.labelled("module", name).is_none() => {
            Some((format!("module.{name}"), format!("`module \"{name}\" {{ … }}`")))
        }
        ["data", kind, name, ..] if module.data(kind, name).is_none() => {
            Some((format!("data.{kind}.{name}"), format!("`data \"{kind}\" \"{name}\" {{}}`")))
        }
        [kind, name, ..]
            if !ROOTS.contains(kind)
                && PROVIDERS.iter().any(|prefix| kind.starts_with(prefix))
                && !name.starts_with('[')
                && module.resource(kind, name).is_none() =>
        {
            Some((format!("{kind}.{name}"), format!("`resource \"{kind}\" \"{name}\" {{ … }}`")))
        }
        _ => None,
    }
}

/// The declared name that a missing one is probably meant to be.
fn nearest(module: &Module, parts: &[String]) -> Option<(String, crate::lint::doc::At)> {
    let close = |a: &str, b: &str| strsim::damerau_levenshtein(a, b) <= 2.max(a.len() / 5);
    let labelled = |kind: &str, name: &str| {
        let found =
            module.named(kind).find(|block| block.labels.first().is_some_and(|label| close(label, name)))?;
        Some((found.labels[0].clone(), found.head))
    };
    match parts {
        [root, name, ..] if root == "var" => {
            labelled("variable", name).map(|(near, at)| (format!("var.{near}"), at))
        }
        [root, name, ..] if root == "module" => {
            labelled("module", name).map(|(near, at)| (format!("module.{near}"), at))
        }
        [root, name, ..] if root == "local" => {
            let entries = module.named("locals").flat_map(|block| &block.attrs);
            entries
                .into_iter()
                .find(|entry| close(&entry.key, name))
                .map(|entry| (format!("local.{}", entry.key), entry.key_at))
        }
        [kind, name, ..] if !ROOTS.contains(&kind.as_str()) => {
            let mut same = module.of_kind(kind);
            let found = same.find(|resource| close(resource.name(), name)).or_else(|| {
                let all: Vec<_> = module.of_kind(kind).collect();
                (all.len() == 1).then(|| all[0])
            })?;
            Some((found.address(), found.head()))
        }
        _ => None,
    }
}

/// The provider's schema of a resource type. Only of AWS: the versions of other providers that people use differ too much.
fn schema(kind: &str) -> Option<&'static Map<String, Value>> {
    kind.starts_with("aws_").then(|| Schemas::shared().get(kind))?
}

/// Arguments every resource may have.
const META: &[&str] = &[
    "count",
    "for_each",
    "depends_on",
    "lifecycle",
    "provider",
    "provisioner",
    "connection",
    "timeouts",
    "id",
    "dynamic",
];

fn names(block: &Block) -> impl Iterator<Item = (&str, crate::lint::doc::At)> {
    let attrs = block.attrs.iter().map(|entry| (entry.key.as_str(), entry.key_at));
    attrs.chain(block.blocks.iter().map(|inner| (inner.kind.as_str(), inner.head)))
}

fn argument_missing(out: &mut Out<'_>) {
    for module in out.graph.modules() {
        for resource in module.resources() {
            if let Some(schema) = schema(resource.kind()) {
                missing_in(out, &resource.address(), resource.block, schema);
            }
        }
    }
}

fn missing_in(out: &mut Out<'_>, address: &str, block: &Block, schema: &Map<String, Value>) {
    for name in schema::required(schema) {
        let dynamic =
            block.blocks("dynamic").any(|inner| inner.labels.first().is_some_and(|label| label == name));
        if block.entry(name).is_none() && block.block(name).is_none() && !dynamic {
            out.say(block.head, format!("`{address}` has no `{name}`, which its provider requires"))
                .instead(format!("add `{name}` to `{address}`"));
        }
    }
    for nested in &block.blocks {
        if let Some(Item::Block(inner)) = schema::item(schema, &nested.kind)
            && !inner.is_attribute
        {
            missing_in(out, &format!("{address}.{}", nested.kind), nested, inner.inside);
        }
    }
}

fn argument_unknown(out: &mut Out<'_>) {
    for module in out.graph.modules() {
        for resource in module.resources() {
            if let Some(schema) = schema(resource.kind()) {
                unknown_in(out, &resource.address(), resource.block, schema);
            }
        }
    }
}

fn unknown_in(out: &mut Out<'_>, address: &str, block: &Block, schema: &Map<String, Value>) {
    for (name, at) in names(block) {
        if schema.contains_key(name) || META.contains(&name) {
            continue;
        }
        // Only a misspelt one is claimed: a provider of another version may know others.
        let distance = |known: &&String| strsim::damerau_levenshtein(known, name);
        let near = schema.keys().min_by_key(distance).filter(|known| distance(known) <= 2 && name.len() > 4);
        if let Some(near) = near {
            out.say(at, format!("`{address}` has an argument `{name}`, which its provider does not know"))
                .instead(format!("`{near}`"))
                .fix(at, near.clone());
        }
    }
    for nested in &block.blocks {
        if let Some(Item::Block(inner)) = schema::item(schema, &nested.kind) {
            unknown_in(out, &format!("{address}.{}", nested.kind), nested, inner.inside);
        }
    }
}

fn module_unpinned(out: &mut Out<'_>) {
    for module in out.graph.modules() {
        for call in module.named("module") {
            let Some(source) = call.get("source") else { continue };
            let Some(text) = source.text() else { continue };
            if text.starts_with('.') || text.starts_with('/') {
                continue;
            }
            let git = text.starts_with("git::")
                || text.starts_with("git@")
                || text.contains("github.com/")
                || text.contains("bitbucket.org/");
            let name = call.labels.first().map_or("", String::as_str);
            if git {
                let reference = text.split_once("ref=").map(|(_, reference)| reference);
                if reference
                    .is_none_or(|reference| matches!(reference, "main" | "master" | "develop" | "HEAD"))
                {
                    out.say(source.at, format!("module `{name}` is taken from a branch: `{text}`"));
                }
            } else if call.get("version").is_none() && text.split('/').count() >= 3 && !text.contains("://") {
                out.say(source.at, format!("module `{name}` from `{text}` has no version"));
            }
        }
    }
}

/// Arguments every call may have.
const CALL_META: &[&str] = &["source", "version", "count", "for_each", "depends_on", "providers"];

fn module_argument(out: &mut Out<'_>) {
    for module in out.graph.modules() {
        for call in module.named("module") {
            let Some(inner) =
                module.source_folder(call).and_then(|folder| out.graph.sources.modules.get(&folder))
            else {
                continue;
            };
            if !inner.broken.is_empty() {
                continue;
            }
            let name = call.labels.first().map_or("", String::as_str);
            for entry in &call.attrs {
                if CALL_META.contains(&entry.key.as_str()) || inner.labelled("variable", &entry.key).is_some()
                {
                    continue;
                }
                let near = inner
                    .named("variable")
                    .find(|variable| strsim::damerau_levenshtein(&variable.labels[0], &entry.key) <= 3);
                let told = out.say(
                    entry.key_at,
                    format!("module `{name}` is given `{}`, but declares no such variable", entry.key),
                );
                if let Some(near) = near.or_else(|| inner.named("variable").next()) {
                    told.against(near.head, format!("it declares `{}`", near.labels[0]));
                }
            }
            for variable in inner.named("variable") {
                let Some(wanted) = variable.labels.first() else { continue };
                if variable.get("default").is_none() && call.get(wanted).is_none() {
                    out.say(
                        call.head,
                        format!("module `{name}` is not given `{wanted}`, which has no default"),
                    )
                    .against(variable.head, "declared here without a default")
                    .instead(format!("`{wanted} = …` in the call, or a default"));
                }
            }
            check_outputs(out, module, call, inner);
        }
    }
}

/// `module.x.y` where the module has no output `y`.
fn check_outputs(out: &mut Out<'_>, module: &Module, call: &Block, inner: &Module) {
    let Some(name) = call.labels.first() else { return };
    let mut told = BTreeSet::new();
    for block in &module.blocks {
        block.walk_values(&mut |node| {
            if let Kind::Ref(parts) = &node.kind
                && parts.len() >= 3
                && parts[0] == "module"
                && &parts[1] == name
            {
                let output = parts[2..].iter().find(|part| !part.starts_with('['));
                if let Some(output) = output
                    && inner.labelled("output", output).is_none()
                    && told.insert(output.clone())
                {
                    let near = inner
                        .named("output")
                        .min_by_key(|known| strsim::damerau_levenshtein(&known.labels[0], output));
                    let told = out.say(node.at, format!("module `{name}` has no output `{output}`"));
                    if let Some(near) = near {
                        told.against(near.head, format!("it has an output `{}`", near.labels[0]));
                    }
                }
            }
        });
    }
}
