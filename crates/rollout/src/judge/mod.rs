//! Judges a candidate by the requests both sides answered. Part of the state: folded from the journal, never polled.
//! The plain guard of `guard` stands where the sequential test of docs/decisions will; the records are already its input.

mod counts;
mod family;
mod guard;
mod log_space;
pub mod policy;
pub mod process;
pub mod reading;
pub mod ripr;
pub mod safety;
pub mod seasons;
#[cfg(test)]
mod tests;

pub use counts::{Counts, RouteCounts, Sample};
pub use guard::Guard;

use crate::event::VerdictWord;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What was counted in one second, candidate against stable. A second nobody reported is `missing`, never zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// The second covered, since the Unix epoch.
    pub second: u64,
    /// The edge reported nothing for this second.
    #[serde(default)]
    pub missing: bool,
    /// The revision traffic would go back to was asked, because the candidate failed, and was not well either.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unwell: bool,
    pub candidate_requests: u64,
    pub candidate_errors: u64,
    pub stable_requests: u64,
    pub stable_errors: u64,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.missing {
            return f.write_str("no counts for this second");
        }
        write!(
            f,
            "candidate {}/{} failed, stable {}/{}",
            self.candidate_errors, self.candidate_requests, self.stable_errors, self.stable_requests
        )?;
        f.write_str(if self.unwell { "; stable is not well either" } else { "" })
    }
}

/// The numbers a verdict rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// Which rule spoke.
    pub rule: String,
    pub metric: String,
    pub window_seconds: u64,
    pub candidate_requests: u64,
    pub candidate_errors: u64,
    pub stable_requests: u64,
    pub stable_errors: u64,
    /// Share of failing requests above which the candidate is harmful.
    pub limit: f64,
    /// Distance to that limit in standard errors.
    pub score: f64,
}

impl Evidence {
    /// Returns the evidence of a hard signal: a rule that needs no statistics.
    pub fn signal(rule: &str) -> Self {
        Self {
            rule: rule.to_owned(),
            metric: "hard signal".to_owned(),
            window_seconds: 0,
            candidate_requests: 0,
            candidate_errors: 0,
            stable_requests: 0,
            stable_errors: 0,
            limit: 0.0,
            score: 0.0,
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.metric == "hard signal" {
            return f.write_str(&self.rule);
        }
        write!(
            f,
            "{} of {} requests failed in {} s, stable {} of {}; limit {:.3} %",
            self.candidate_errors,
            self.candidate_requests,
            self.window_seconds,
            self.stable_errors,
            self.stable_requests,
            self.limit * 100.0
        )
    }
}

/// What the judge says now.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub word: VerdictWord,
    pub evidence: Evidence,
}
