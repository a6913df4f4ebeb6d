//! Says why something cannot be drawn: what, why with the limit of the cloud, and what to write.

use serde::Serialize;
use std::fmt;

/// One reason not to render. `what` fits after "cannot".
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    pub what: String,
    pub why: String,
    pub next: String,
}

impl Refusal {
    pub fn new(what: impl Into<String>, why: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), next: next.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.what, self.why, self.next)
    }
}

impl std::error::Error for Refusal {}

/// Gathers refusals, so that all are told at once.
#[derive(Debug, Default)]
pub struct Refusals(Vec<Refusal>);

impl Refusals {
    pub fn note(&mut self, what: impl Into<String>, why: impl Into<String>, next: impl Into<String>) {
        let refusal = Refusal::new(what, why, next);
        if !self.0.contains(&refusal) {
            self.0.push(refusal);
        }
    }

    pub fn into_result<T>(self, value: T) -> Result<T, Vec<Refusal>> {
        match self.0.is_empty() {
            true => Ok(value),
            false => Err(self.0),
        }
    }
}
