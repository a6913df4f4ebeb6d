//! Checks a machine for what an environment needs: each check looks at one thing and says how to get it.
//! Changes nothing but for a file it writes and removes in the state directory. Shown by `commands::doctor`.

mod machine;
mod needs;

use crate::context::Context;
use serde::Serialize;

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub result: Result,
    /// What is so.
    pub text: String,
    /// How to get what is missing.
    pub next: Option<String>,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Result {
    Fine,
    Finding,
    NotChecked,
}

impl Finding {
    fn fine(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, result: Result::Fine, text: text.into(), next: None }
    }

    fn missing(check: &'static str, text: impl Into<String>, next: impl Into<String>) -> Self {
        Self { check, result: Result::Finding, text: text.into(), next: Some(next.into()) }
    }

    fn not_checked(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, result: Result::NotChecked, text: text.into(), next: None }
    }

    /// Words the finding for people.
    pub fn lines(&self) -> Vec<String> {
        let word = match self.result {
            Result::Fine => "ok     ",
            Result::Finding => "FINDING",
            Result::NotChecked => "unknown",
        };
        let mut lines = vec![format!("{word} {}: {}", self.check, self.text)];
        lines.extend(self.next.iter().map(|next| format!("         next: {next}")));
        lines
    }
}

/// Runs every check.
pub fn run(context: &Context) -> Vec<Finding> {
    let mut found = vec![
        machine::state_directory(&context.paths),
        machine::disk(&context.paths),
        machine::descriptors(),
        machine::kernel(),
        machine::leader(&context.paths),
    ];
    match context.read_manifest() {
        Ok(read) => {
            found.push(Finding::fine("manifest", context.manifest.display().to_string()));
            found.extend(needs::addresses(context, &read.manifest.environment));
            found.push(needs::replica_ports(&read.manifest.environment));
            found.push(needs::limits(&read.manifest.services));
            found.extend(read.manifest.services.iter().flat_map(needs::service));
        }
        Err(failure) => {
            let cause = failure.cause.map(|cause| format!(": {cause}")).unwrap_or_default();
            let next = failure.next.unwrap_or_default();
            found.push(Finding::missing("manifest", format!("cannot {}{cause}", failure.error), next));
        }
    }
    found
}
