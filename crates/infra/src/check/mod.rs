//! Holds a configuration or a plan to the rules that protect patients' data: each with its source in law, what was seen as evidence,
//! and what to write instead. Decides nothing that only a running system or a deployment can show; see `RULES`.

mod access;
mod backup;
mod capacity;
mod encryption;
mod logging;
mod policy;
mod rego;
mod report;
mod residency;
mod rules;
mod separation;
mod transfers;
mod transit;

pub use policy::{Class, Policy};
pub use rego::{PolicyFile, RegoError, evaluate, seen};
pub use report::{Language, html, json, markdown};
pub use rules::{RULES, Rule, Stage};

use crate::config::{Resource, Root, Value};
use crate::finding::{Place, Severity};
use crate::schema::{self, Schemas};
use crate::tree::Tree;
use crate::waiver::{Waiver, Waivers};
use serde::Serialize;

/// What is looked at, and what it is held to.
pub struct Input<'i> {
    pub roots: &'i [Root],
    pub policy: &'i Policy,
    /// `YYYY-MM-DD`.
    pub today: &'i str,
}

/// Something against a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub rule: String,
    pub severity: Severity,
    pub address: String,
    pub at: Place,
    pub what: String,
    pub instead: String,
    /// Why it is accepted for now.
    pub waived: Option<String>,
}

/// What a rule came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Held,
    Broken,
    /// Broken, and every finding is waived.
    Waived,
    /// Nothing in the configuration is subject to it.
    NotApplicable,
    /// Only a deployment or the running system can show it.
    DecidedElsewhere,
}

/// One rule and what was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    pub rule: &'static str,
    pub verdict: Verdict,
    /// Lines for people: resource, value.
    pub evidence: Vec<String>,
    pub findings: Vec<Finding>,
}

/// Everything that was found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub date: String,
    pub outcomes: Vec<Outcome>,
    pub transfers: Vec<transfers::Transfer>,
}

impl Report {
    /// Returns what is neither held nor waived.
    pub fn open(&self) -> impl Iterator<Item = &Finding> {
        self.outcomes.iter().flat_map(|outcome| &outcome.findings).filter(|finding| finding.waived.is_none())
    }
}

/// What a rule sees while it looks.
#[derive(Default)]
pub struct Seen {
    evidence: Vec<String>,
    findings: Vec<(String, Place, String, String)>,
}

impl Seen {
    /// Records that something is as it should be.
    pub fn holds(&mut self, resource: &Resource, what: impl std::fmt::Display) {
        self.evidence.push(format!("{}: {what}", resource.address));
    }

    pub fn note(&mut self, what: impl Into<String>) {
        self.evidence.push(what.into());
    }

    /// Records a finding at an attribute of a resource, or at the resource where it is absent.
    pub fn breaks(
        &mut self,
        resource: &Resource,
        attribute: &str,
        what: impl Into<String>,
        instead: impl Into<String>,
    ) {
        self.findings.push((
            resource.address.clone(),
            resource.place(attribute),
            what.into(),
            instead.into(),
        ));
    }

    pub fn broken(&mut self, address: &str, path: &str, what: impl Into<String>, instead: impl Into<String>) {
        let at = Place { path: path.to_owned(), span: crate::finding::Span::new(0, 0) };
        self.findings.push((address.to_owned(), at, what.into(), instead.into()));
    }

    /// Holds a condition: evidence where it is true, a finding where not.
    pub fn require(&mut self, holds: bool, resource: &Resource, attribute: &str, said: &str, instead: &str) {
        match holds {
            true => self.holds(resource, said),
            false => self.breaks(resource, attribute, format!("not so: {said}"), instead),
        }
    }
}

/// Returns the containers of a task definition. A plan may not know them before the apply: then there is a note instead of judgement.
fn containers<'r>(root: &Root, task: &'r Resource, seen: &mut Seen) -> Vec<&'r Value> {
    let definitions = task.get("container_definitions");
    if root.planned && matches!(definitions, Some(Value::Refers(_) | Value::Unknown(_))) {
        seen.note(format!(
            "{}: its containers are known only after the apply; check the folder",
            task.address
        ));
        return Vec::new();
    }
    definitions.map(Value::elements).unwrap_or_default()
}

/// Looks at everything. `tree` is held against the schemas; it is empty for a plan.
pub fn check(input: &Input<'_>, tree: &Tree, schemas: &Schemas, waivers: &Waivers<'_>) -> Report {
    let mut outcomes: Vec<Outcome> = RULES.iter().map(|rule| outcome(rule, input, waivers)).collect();
    outcomes.push(of_schema(input.roots, tree, schemas, waivers));
    outcomes.push(of_waivers(waivers));
    Report { date: input.today.to_owned(), outcomes, transfers: transfers::map(input) }
}

fn outcome(rule: &'static Rule, input: &Input<'_>, waivers: &Waivers<'_>) -> Outcome {
    let Stage::Files(look) = rule.stage else {
        return Outcome {
            rule: rule.id,
            verdict: Verdict::DecidedElsewhere,
            evidence: Vec::new(),
            findings: Vec::new(),
        };
    };
    let mut seen = Seen::default();
    look(input, &mut seen);
    let findings: Vec<Finding> = seen
        .findings
        .into_iter()
        .map(|(address, at, what, instead)| Finding {
            waived: waivers.of(rule.id, &at).map(Waiver::told),
            rule: rule.id.to_owned(),
            severity: rule.severity,
            address,
            at,
            what,
            instead,
        })
        .collect();
    let verdict = verdict(&findings, seen.evidence.is_empty());
    Outcome { rule: rule.id, verdict, evidence: seen.evidence, findings }
}

/// What findings come to; `nothing` says that there was nothing to look at.
fn verdict(findings: &[Finding], nothing: bool) -> Verdict {
    match (findings.is_empty(), findings.iter().all(|finding| finding.waived.is_some())) {
        (true, true) if nothing => Verdict::NotApplicable,
        (true, _) => Verdict::Held,
        (false, true) => Verdict::Waived,
        (false, false) => Verdict::Broken,
    }
}

/// Terraform against the providers' schemas, and task definitions against the service's own model, which a provider passes on unread.
fn of_schema(roots: &[Root], tree: &Tree, schemas: &Schemas, waivers: &Waivers<'_>) -> Outcome {
    let mut mistakes = schema::check(tree, schemas);
    mistakes.extend(schema::task::check(roots));
    let findings: Vec<Finding> = mistakes
        .into_iter()
        .map(|mistake| Finding {
            waived: waivers.of("schema", &mistake.at).map(Waiver::told),
            rule: "schema".to_owned(),
            severity: Severity::Critical,
            address: String::new(),
            at: mistake.at,
            what: mistake.what,
            instead: "write what the provider's schema, or the service's model, has".to_owned(),
        })
        .collect();
    let tasks = roots.iter().any(|root| root.of("aws_ecs_task_definition").next().is_some());
    let verdict = verdict(&findings, tree.is_empty() && !tasks);
    Outcome { rule: "schema", verdict, evidence: Vec::new(), findings }
}

fn of_waivers(waivers: &Waivers<'_>) -> Outcome {
    let findings: Vec<Finding> = waivers
        .problems()
        .map(|problem| Finding {
            rule: problem.rule.to_owned(),
            severity: Severity::High,
            address: String::new(),
            at: problem.at,
            what: problem.message,
            instead: problem.instead.to_owned(),
            waived: None,
        })
        .collect();
    let verdict = if findings.is_empty() { Verdict::Held } else { Verdict::Broken };
    Outcome { rule: "waiver/expired", verdict, evidence: Vec::new(), findings }
}
