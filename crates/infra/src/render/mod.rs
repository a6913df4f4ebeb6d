//! Draws the model as files: Terraform by root, the repository's own files once. Text in, text out; the same model, the same bytes.
//! Reads no disk: the templates are part of the program. See `lock` for what is already there.

mod context;
pub mod fmt;
mod templates;

use crate::model::{Class, Plan, Refusal, Site};
use crate::tree::RelPath;
use minijinja::{Environment, Value, context};
use std::collections::BTreeMap;
use templates::value;

/// Files by path below the folder that is rendered to.
pub type Files = BTreeMap<RelPath, String>;

/// First line of every file, as its comment.
pub const HEADER: &str =
    "# Rendered by medeclipse from medeclipse.toml. Change the manifest, or add custom_*.tf beside it.\n";

/// Draws one environment, `local` included, with what all environments share.
pub fn render(plan: &Plan, environment: &str) -> Result<Files, Refusal> {
    let engine = templates::engine();
    let mut files = Files::new();
    if environment != "local" {
        let site = plan.site(environment).ok_or_else(|| unknown(plan, environment))?;
        roots(&engine, plan, site, &mut files);
    }
    bootstrap(&engine, plan, &mut files);
    repository(&engine, plan, &mut files);
    Ok(files)
}

fn unknown(plan: &Plan, environment: &str) -> Refusal {
    let mut known: Vec<&str> = plan.sites.iter().map(|site| site.environment.as_str()).collect();
    known.push("local");
    Refusal::new(
        format!("render the environment `{environment}`"),
        "the manifest has no such environment with `platform = \"ecs\"`",
        format!("use one of: {}", known.join(", ")),
    )
}

/// Each cloud has a root and a state of its own: a failover that needs the provider of the site that is down is none.
fn roots(engine: &Environment<'_>, plan: &Plan, site: &Site, files: &mut Files) {
    let context = value(&context::context(plan, site));
    let mut root = |folder: &str, list: &[(&str, &str)]| {
        for (name, _) in list.iter().filter(|(name, _)| folder != "aws" || has(site, name)) {
            let path = format!("{}/{folder}/{name}", site.environment);
            files.insert(path, terraform(engine, &format!("{folder}/{name}"), &context));
        }
    };
    root("aws", templates::AWS);
    if site.azure.is_some() {
        root("azure", templates::AZURE);
    }
    if site.cdn == "cloudflare" || (plan.cloudflare == "dns-only" && plan.zone_authority == "cloudflare") {
        root("cloudflare", templates::CLOUDFLARE);
    }
}

/// Says whether an environment has what a file is about.
fn has(site: &Site, name: &str) -> bool {
    match name {
        "edge.tf" => site.cdn == "cloudfront",
        "backup.tf" => site.database.is_some() && site.class != Class::Development,
        "secrets.tf" => site.services.iter().any(|service| !service.secrets.is_empty()),
        "data.tf" => site.database.is_some() || site.cache.is_some(),
        _ => true,
    }
}

/// One root for all accounts, applied once in each.
fn bootstrap(engine: &Environment<'_>, plan: &Plan, files: &mut Files) {
    let Some(site) = plan.site(&plan.registry).or(plan.sites.first()) else { return };
    let context = value(&context::context(plan, site));
    for (name, _) in templates::BOOTSTRAP {
        files.insert(
            format!("bootstrap/aws/{name}"),
            terraform(engine, &format!("bootstrap/{name}"), &context),
        );
    }
}

fn terraform(engine: &Environment<'_>, template: &str, context: &Value) -> String {
    format!("{HEADER}\n{}", fmt::hcl(&templates::fill(engine, template, context.clone())))
}

/// The same bytes whatever environment was asked for.
fn repository(engine: &Environment<'_>, plan: &Plan, files: &mut Files) {
    let mut file = |template: &str, path: String, context: Value| {
        let text = templates::fill(engine, &format!("repository/{template}"), context);
        files.insert(format!("repository/{path}"), format!("{HEADER}{text}"));
    };
    let services = value(&plan.local);
    let whole = value(plan);
    for service in &plan.local {
        let context = context! { plan => whole.clone(), service => value(service) };
        file("Dockerfile", format!("Dockerfile.{}", service.name), context);
    }
    file(
        "dockerignore",
        ".dockerignore".to_owned(),
        context! { plan => whole.clone(), services => services.clone() },
    );
    file(
        "compose.yaml",
        "compose.yaml".to_owned(),
        context! { plan => whole.clone(), services => services.clone() },
    );
    if plan.github.is_some() && !plan.sites.is_empty() {
        let registry = plan.site(&plan.registry).unwrap_or(&plan.sites[0]);
        let context = context! {
            plan => whole.clone(), services => services.clone(), registry_account => registry.account.clone(), registry_region => registry.region.clone(),
        };
        file("deploy.yml", ".github/workflows/deploy.yml".to_owned(), context);
    }
}
