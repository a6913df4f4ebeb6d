//! Lists the rules. A topic is a file; a rule asks the graph and claims only what it can show.

mod alarm;
mod balancer;
mod cache;
mod call;
mod code;
mod compose;
mod context;
mod database;
mod deploy;
mod env;
mod gate;
mod image;
mod job;
mod key;
mod leak;
mod log;
mod migration;
mod name;
mod network;
mod permission;
mod probe;
mod proxy;
mod region;
mod reuse;
mod role;
mod scaling;
mod script;
mod secret;
mod start;
mod state;
mod task;
mod terraform;
mod version;
mod waf;
mod workflow;

use super::doc::At;
use super::graph::Graph;
use crate::finding::{Finding, Fix, Place, Severity, Unchecked};

/// What can be wrong, and how it is looked for.
pub struct Rule {
    /// `topic/fact`; the topic is the file.
    pub id: &'static str,
    pub severity: Severity,
    /// What holds in a good project, as a sentence.
    pub says: &'static str,
    /// Why, with the source.
    pub why: &'static str,
    /// What to write instead, in general.
    pub instead: &'static str,
    pub check: fn(&mut Out<'_>),
}

/// All rules, by topic.
pub const TOPICS: &[(&str, &[Rule])] = &[
    ("alarm", alarm::RULES),
    ("balancer", balancer::RULES),
    ("cache", cache::RULES),
    ("call", call::RULES),
    ("code", code::RULES),
    ("compose", compose::RULES),
    ("context", context::RULES),
    ("database", database::RULES),
    ("deploy", deploy::RULES),
    ("env", env::RULES),
    ("gate", gate::RULES),
    ("image", image::RULES),
    ("job", job::RULES),
    ("key", key::RULES),
    ("leak", leak::RULES),
    ("log", log::RULES),
    ("migration", migration::RULES),
    ("name", name::RULES),
    ("network", network::RULES),
    ("permission", permission::RULES),
    ("probe", probe::RULES),
    ("proxy", proxy::RULES),
    ("region", region::RULES),
    ("reuse", reuse::RULES),
    ("role", role::RULES),
    ("scaling", scaling::RULES),
    ("script", script::RULES),
    ("secret", secret::RULES),
    ("start", start::RULES),
    ("state", state::RULES),
    ("task", task::RULES),
    ("terraform", terraform::RULES),
    ("version", version::RULES),
    ("waf", waf::RULES),
    ("workflow", workflow::RULES),
];

/// All rules.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    TOPICS.iter().flat_map(|(_, rules)| rules.iter())
}

/// The rule of an id.
pub fn find(id: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.id == id)
}

/// Takes what a rule finds.
pub struct Out<'g> {
    pub graph: &'g Graph,
    rule: &'static Rule,
    findings: Vec<Finding>,
    unchecked: Vec<Unchecked>,
}

/// A finding that is being told.
pub struct Told<'o> {
    finding: &'o mut Finding,
    graph: &'o Graph,
}

impl<'g> Out<'g> {
    /// Lets one rule look.
    pub fn of(graph: &'g Graph, rule: &'static Rule) -> (Vec<Finding>, Vec<Unchecked>) {
        let mut out = Self { graph, rule, findings: Vec::new(), unchecked: Vec::new() };
        crate::lint::eval::begin();
        (rule.check)(&mut out);
        (out.findings, out.unchecked)
    }

    fn place(&self, at: At) -> Place {
        self.graph.sources.files[at.file].place(at.span)
    }

    /// Tells that something is wrong at a place.
    pub fn say(&mut self, at: At, message: impl Into<String>) -> Told<'_> {
        let finding = Finding {
            rule: self.rule.id,
            severity: self.rule.severity,
            message: message.into(),
            at: self.place(at),
            other: None,
            instead: self.rule.instead.to_owned(),
            fix: None,
        };
        self.findings.push(finding);
        Told { finding: self.findings.last_mut().expect("BUG: pushed above"), graph: self.graph }
    }

    /// Tells what could not be known.
    pub fn unknown(&mut self, at: At, why: impl Into<String>) {
        let at = Some(self.place(at));
        self.unchecked.push(Unchecked { rule: self.rule.id, at, why: why.into() });
    }
}

impl Told<'_> {
    /// Names the place it contradicts.
    pub fn against(self, at: At, note: impl Into<String>) -> Self {
        self.finding.other = Some((self.graph.sources.files[at.file].place(at.span), note.into()));
        self
    }

    /// Says what to write in this case.
    pub fn instead(self, text: impl Into<String>) -> Self {
        self.finding.instead = text.into();
        self
    }

    pub fn severity(self, severity: Severity) -> Self {
        self.finding.severity = severity;
        self
    }

    /// A change that can mean nothing else.
    pub fn fix(self, at: At, with: impl Into<String>) -> Self {
        self.finding.fix =
            Some(Fix { at: self.graph.sources.files[at.file].place(at.span), with: with.into() });
        self
    }
}
