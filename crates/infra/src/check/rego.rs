//! Rules of customers, in Rego: every package's `deny` and `warn`, over the resources as they were read. Reads no file and asks no
//! network: a policy has its input and nothing else. How to write one: docs/infra.md.

use super::{Finding, Input, Outcome, verdict};
use crate::finding::{Place, Severity, Span};
use crate::waiver::{Waiver, Waivers};
use regorus::{Engine, Value};
use serde_json::json;
use std::collections::BTreeSet;

/// Most findings one policy may tell: more say the policy is wrong.
const FINDINGS_MAX: usize = 1_000;

/// A policy that cannot be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("evaluate the policy {path}: {why}")]
pub struct RegoError {
    pub path: String,
    pub why: String,
}

/// A file of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    pub path: String,
    pub text: String,
}

/// What policies see: `input.resources`, each with what a configuration says of it.
pub fn seen(input: &Input<'_>) -> serde_json::Value {
    let resources: Vec<serde_json::Value> = input
        .roots
        .iter()
        .flat_map(|root| {
            root.resources.iter().map(move |resource| {
                json!({
                    "address": resource.address,
                    "type": resource.kind,
                    "name": resource.name,
                    "data": resource.is_data(),
                    "root": root.folder,
                    "file": resource.at.path,
                    "region": root.region(resource),
                    "values": resource.values.to_json(),
                })
            })
        })
        .collect();
    json!({ "today": input.today, "resources": resources })
}

/// Evaluates policies; what they deny or warn of is a finding of the rule `rego/PACKAGE`.
pub fn evaluate(
    policies: &[PolicyFile],
    input: &Input<'_>,
    waivers: &Waivers<'_>,
) -> Result<Outcome, RegoError> {
    let mut engine = Engine::new();
    let mut packages = BTreeSet::new();
    for policy in policies {
        let refused = |error: String| RegoError { path: policy.path.clone(), why: error };
        let package = engine
            .add_policy(policy.path.clone(), policy.text.clone())
            .map_err(|error| refused(error.to_string()))?;
        packages.insert((package, policy.path.clone()));
    }
    let value = Value::from_json_str(&seen(input).to_string())
        .map_err(|error| RegoError { path: "input".to_owned(), why: error.to_string() })?;
    engine.set_input(value);
    let mut findings = Vec::new();
    let mut told = BTreeSet::new();
    for (package, path) in &packages {
        for (rule, severity) in [("deny", Severity::High), ("warn", Severity::Low)] {
            let name = format!("{package}.{rule}");
            // Several files may make one package.
            if !told.insert(name.clone()) {
                continue;
            }
            let found = match engine.eval_rule(name) {
                Ok(found) => found,
                // A package need not have both.
                Err(error) if error.to_string().contains("not a valid rule path") => continue,
                Err(error) => return Err(RegoError { path: path.clone(), why: error.to_string() }),
            };
            let found = found
                .to_json_str()
                .map_err(|error| RegoError { path: path.clone(), why: error.to_string() })?;
            let found: serde_json::Value = serde_json::from_str(&found).unwrap_or_default();
            let rule = format!("rego/{}", package.trim_start_matches("data."));
            let items = found.as_array().map_or(&[][..], Vec::as_slice);
            findings.extend(
                items.iter().take(FINDINGS_MAX).map(|item| finding(&rule, severity, item, input, waivers)),
            );
        }
    }
    let evidence = policies.iter().map(|policy| format!("{}: evaluated", policy.path)).collect();
    Ok(Outcome { rule: "rego", verdict: verdict(&findings, false), evidence, findings })
}

/// A text, or an object with `msg` and, as it likes, `address`, `severity`, `instead`.
fn finding(
    rule: &str,
    severity: Severity,
    item: &serde_json::Value,
    input: &Input<'_>,
    waivers: &Waivers<'_>,
) -> Finding {
    let text = |key: &str| item.get(key).and_then(serde_json::Value::as_str);
    let what = item.as_str().or_else(|| text("msg")).map_or_else(|| item.to_string(), str::to_owned);
    let address = text("address").unwrap_or_default().to_owned();
    let mut resources = input.roots.iter().flat_map(|root| &root.resources);
    let root = text("file");
    let named = resources
        .find(|resource| resource.address == address && root.is_none_or(|file| resource.at.path == file));
    let at = named.map_or_else(
        || Place { path: root.unwrap_or_default().to_owned(), span: Span::new(0, 0) },
        |resource| resource.at.clone(),
    );
    let severity = match text("severity") {
        Some("critical") => Severity::Critical,
        Some("high") => Severity::High,
        Some("medium") => Severity::Medium,
        Some("low") => Severity::Low,
        _ => severity,
    };
    Finding {
        waived: waivers.of(rule, &at).map(Waiver::told),
        rule: rule.to_owned(),
        severity,
        address,
        at,
        what,
        instead: text("instead").unwrap_or("what the policy asks for").to_owned(),
    }
}
