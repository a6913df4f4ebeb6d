//! Says what the exit codes mean, and carries a failure from where it happens to where it is shown.
//! Prints nothing itself; see `output`.

use engine::api::wire::ApiError;
use serde::{Deserialize, Serialize};

/// Done; for a deployment: promoted, promoted unproven or unchanged.
pub const DONE: u8 = 0;
/// The tool itself failed: a bug, report it.
pub const BUG: u8 = 1;
/// Bad arguments or manifest.
pub const BAD_INPUT: u8 = 2;
/// Refused: lease held, policy, capacity, another deployment, a port taken.
pub const REFUSED: u8 = 3;
/// Rolled back, stable proven healthy.
pub const ROLLED_BACK: u8 = 4;
/// Ended with stable not proven healthy: needs a human.
pub const UNPROVEN: u8 = 5;
/// Aborted by an operator, or superseded.
pub const ABORTED: u8 = 6;
/// The engine cannot be reached.
pub const UNREACHABLE: u8 = 7;
/// Following ended (`--timeout` passed, or Ctrl-C); what was followed goes on.
pub const DETACHED: u8 = 8;

/// Checks (`doctor`, `lint`, `replay`, `infra check`) follow linters' habit instead: found something.
pub const FINDINGS: u8 = 1;
/// Checks: could not check.
pub const COULD_NOT_CHECK: u8 = 2;

/// What each code means, for `--help`.
const MEANINGS: [(u8, &str); 9] = [
    (DONE, "done; a deployment was promoted"),
    (BUG, "the tool itself failed: a bug, report it"),
    (BAD_INPUT, "bad arguments or manifest"),
    (REFUSED, "refused"),
    (ROLLED_BACK, "rolled back, stable proven healthy"),
    (UNPROVEN, "ended with stable not proven healthy: needs a human"),
    (ABORTED, "aborted by an operator, or superseded"),
    (UNREACHABLE, "the engine cannot be reached"),
    (DETACHED, "following ended, the deployment goes on"),
];

/// Words the exit codes for `--help`.
pub fn help() -> String {
    let codes: Vec<String> = MEANINGS.iter().map(|(code, meaning)| format!("  {code}  {meaning}")).collect();
    format!(
        "Exit codes (`doctor`, `lint`, `replay`, `infra check`: 0 clean, 1 findings, 2 could not check):\n{}",
        codes.join("\n")
    )
}

/// Why a command did not do what it was asked to: what failed, why, what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A fragment that fits after "cannot".
    pub error: String,
    pub cause: Option<String>,
    pub next: Option<String>,
    pub exit: u8,
    /// Several mistakes at once: those of a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<Box<Mistakes>>,
}

/// Mistakes that are reported together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mistakes {
    /// For programs.
    pub items: Vec<serde_json::Value>,
    /// For people, shown instead of `error` and `cause`.
    #[serde(skip)]
    pub text: String,
}

impl Failure {
    pub fn new(exit: u8, error: impl Into<String>) -> Self {
        Self { error: error.into(), cause: None, next: None, exit, errors: None }
    }

    pub fn because(mut self, cause: impl std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    pub fn then(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self { cause: error.cause, next: error.next, ..Self::new(error.exit, error.error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollout::event::Outcome;

    #[test]
    fn every_outcome_ends_with_a_documented_code() {
        for outcome in Outcome::ALL {
            let code = outcome.exit_code();

            assert!([DONE, ROLLED_BACK, UNPROVEN, ABORTED].contains(&code), "{outcome} ends with {code}");
        }
    }

    #[test]
    fn a_failure_is_told_to_programs_in_four_fields() {
        let failure = Failure::new(REFUSED, "deploy web").because("busy").then("wait");

        let json = serde_json::to_string(&failure).unwrap();

        assert_eq!(json, r#"{"error":"deploy web","cause":"busy","next":"wait","exit":3}"#);
    }
}
