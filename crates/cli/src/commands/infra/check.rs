//! `infra check`: holds a folder of Terraform, or a plan, to the compliance rules and the providers' schemas.

use super::{disk, plan_of};
use crate::context::Context;
use crate::exit::{self, Failure};
use crate::output;
use infra::check::{
    Input, Language, Policy, PolicyFile, Report, Verdict, check, evaluate, html, json, markdown,
};
use infra::config::{Root, from_plan, from_tree};
use infra::schema::Schemas;
use infra::tree::Tree;
use infra::waiver::Waivers;
use std::path::{Path, PathBuf};

/// Check a folder of Terraform, or a plan, against the rules that protect patients' data.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples: medeclipse infra check infrastructure --report compliance\n          terraform show -json plan > plan.json && medeclipse --env staging infra check plan.json\n\n\
                  Exit codes: 0 clean, 1 findings, 2 could not check."
)]
pub struct Args {
    /// A folder, or the output of `terraform show -json`; `--env` says of which environment a plan is.
    #[arg(default_value = "infrastructure")]
    path: PathBuf,
    /// Write report.json, report.html, report.md, rapport.html and rapport.md to this folder.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Also evaluate the rules in Rego (`*.rego`) of this folder; may be repeated. Adds to `compliance.rego` of the manifest.
    #[arg(long, value_name = "DIR")]
    rego: Vec<PathBuf>,
}

pub fn run(args: &Args, context: &Context) -> Result<u8, Failure> {
    let plan = match context.manifest.exists() {
        true => Some(plan_of(&context.manifest)?),
        false => None,
    };
    let policy = plan.as_ref().map_or_else(Policy::strict, Policy::of);
    let named = plan.iter().flat_map(|plan| plan.rego.iter().map(|folder| beside(&context.manifest, folder)));
    let policies = policies(args.rego.iter().cloned().chain(named))?;
    let (roots, tree) = read(&args.path, &context.environment)?;
    let today = &crate::units::date_time(crate::units::now())[..10];
    let input = Input { roots: &roots, policy: &policy, today };
    let manifest = context.manifest.display().to_string();
    let text = plan.map(|_| std::fs::read_to_string(&context.manifest)).transpose();
    let text = text.map_err(|error| disk::unreadable(&context.manifest, error))?;
    let waivers = Waivers::beside(
        &tree,
        today,
        &seen_from(&context.manifest, &args.path),
        text.as_deref().map(|text| (manifest.as_str(), text)),
    );
    let mut report = check(&input, &tree, Schemas::shared(), &waivers);
    if !policies.is_empty() {
        let outcome = evaluate(&policies, &input, &waivers).map_err(|error| {
            Failure::new(exit::BAD_INPUT, format!("evaluate the policy {}", error.path))
                .because(error.why)
                .then("correct it; `medeclipse infra check` without --rego checks everything else")
        })?;
        report.outcomes.push(outcome);
    }
    if let Some(folder) = &args.report {
        write(folder, &report)?;
    }
    match context.json {
        true => output::json(&json(&report)),
        false => told(&report, &tree),
    }
    Ok(if report.open().next().is_some() { exit::FINDINGS } else { exit::DONE })
}

/// A folder of the manifest, which is seen from where the manifest lies.
fn beside(manifest: &Path, folder: &str) -> PathBuf {
    manifest.parent().unwrap_or(Path::new("")).join(folder)
}

/// Where a folder lies as the manifest sees it; by its own name where it lies elsewhere, and so does a plan.
fn seen_from(manifest: &Path, folder: &Path) -> String {
    let real = |path: &Path| path.canonicalize().ok();
    let home = real(manifest).and_then(|path| path.parent().map(Path::to_owned));
    let below =
        home.zip(real(folder)).and_then(|(home, folder)| Some(folder.strip_prefix(home).ok()?.to_owned()));
    match folder.is_dir() {
        true => below.unwrap_or_else(|| folder.to_owned()).display().to_string(),
        false => String::new(),
    }
}

/// Reads the policies below some folders; their own tests are left out.
fn policies(folders: impl Iterator<Item = PathBuf>) -> Result<Vec<PolicyFile>, Failure> {
    let mut found = Vec::new();
    for folder in folders {
        let wanted = |name: &str| name.ends_with(".rego") && !name.ends_with("_test.rego");
        let next = "put rules in Rego there, or take the folder out of `compliance.rego` or --rego";
        let tree = disk::walk(&folder, wanted).map_err(|failure| failure.then(next))?;
        if tree.is_empty() {
            return Err(disk::unreadable(&folder, "there is no .rego file below it").then(next));
        }
        found.extend(tree.into_iter().map(|(path, bytes)| PolicyFile {
            path: folder.join(path).display().to_string(),
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }));
    }
    Ok(found)
}

fn read(path: &Path, environment: &str) -> Result<(Vec<Root>, Tree), Failure> {
    if path.is_dir() {
        let tree = disk::walk(path, |name| name.ends_with(".tf"))?;
        if tree.is_empty() {
            return Err(disk::unreadable(path, "there is no .tf file below it")
                .then("render one: `medeclipse infra render --env production --out DIR`"));
        }
        // Below a folder named as an environment or as `bootstrap`, a root is held to that; others to the most.
        let roots = from_tree(&tree).map_err(|errors| {
            let lines: Vec<String> =
                errors.iter().map(|it| format!("{}:{}: {}", it.path, it.line, it.why)).collect();
            disk::unreadable(path, lines.join("; "))
        })?;
        return Ok((roots, tree));
    }
    let text = std::fs::read_to_string(path).map_err(|error| disk::unreadable(path, error))?;
    let document = serde_json::from_str(&text).map_err(|error| disk::unreadable(path, error))?;
    let root = from_plan(&document, &path.display().to_string(), environment).ok_or_else(|| {
        disk::unreadable(path, "it is no plan")
            .then("make one: `terraform plan -out plan && terraform show -json plan > plan.json`")
    })?;
    Ok((vec![root], Tree::new()))
}

fn write(folder: &Path, report: &Report) -> Result<(), Failure> {
    let document = serde_json::to_string_pretty(&json(report)).expect("BUG: a report has a JSON form");
    disk::write(folder, "report.json", &format!("{document}\n"))?;
    disk::write(folder, "report.html", &html(report, Language::English))?;
    disk::write(folder, "report.md", &markdown(report, Language::English))?;
    disk::write(folder, "rapport.html", &html(report, Language::French))?;
    disk::write(folder, "rapport.md", &markdown(report, Language::French))
}

fn told(report: &Report, tree: &Tree) {
    for finding in report.open() {
        let line = tree.get(&finding.at.path).map(|bytes| {
            let before = &bytes[..finding.at.span.start.min(bytes.len())];
            before.iter().filter(|byte| **byte == b'\n').count() + 1
        });
        let place = line.map_or(finding.at.path.clone(), |line| format!("{}:{line}", finding.at.path));
        output::line(&format!(
            "{} {} {place} {}: {}",
            finding.rule,
            finding.severity.word(),
            finding.address,
            finding.what
        ));
        output::line(&format!("    instead: {}", finding.instead));
    }
    let count = |verdict| report.outcomes.iter().filter(|outcome| outcome.verdict == verdict).count();
    output::line(&format!(
        "{} findings; {} rules held, {} broken, {} waived, {} without anything subject to them, {} decided by the deploy gate or by live state",
        report.open().count(),
        count(Verdict::Held),
        count(Verdict::Broken),
        count(Verdict::Waived),
        count(Verdict::NotApplicable),
        count(Verdict::DecidedElsewhere),
    ));
}
