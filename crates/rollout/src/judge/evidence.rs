//! Says what a verdict rests on, in numbers a person can check. Computes nothing; `Judge::verdict` fills it.

use super::record::{FailingRequest, ProbeCounts};
use crate::event::VerdictWord;
use crate::names::Weight;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What the judge says now.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub word: VerdictWord,
    pub evidence: Evidence,
}

/// The numbers a verdict rests on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// Which rule spoke.
    pub rule: String,
    /// What is worse: `errors`, `latency p99`, `errors of /api/appointments/{id}`, or `hard signal`.
    pub metric: String,
    /// How long the candidate has been watched, at all its weights.
    pub window_seconds: u64,
    pub candidate_requests: u64,
    pub candidate_errors: u64,
    pub stable_requests: u64,
    pub stable_errors: u64,
    /// Share of failing (or slow) requests up to which the candidate would be harmless.
    pub limit: f64,
    /// Of the plain guard before the sequential test: distance to the limit in standard errors.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub score: f64,
    /// Evidence against the candidate in nats, over all tests together.
    #[serde(default)]
    pub log_m: f64,
    /// What it must reach to take the candidate back.
    #[serde(default)]
    pub threshold: f64,
    /// 1/M: bounds how often a harmless candidate would ever look like this, however often one looks. At most 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_value: Option<f64>,
    /// The alternative that explains the counts best: a candidate with this share of failing (or slow) requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alternative: Option<f64>,
    /// Of latency: the candidate's threshold; `errors` are the requests slower than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slower_than_ms: Option<f64>,
    /// Weight the candidate had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Weight>,
    /// No calibration on this service's traffic: constants for a cold start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cold: bool,
    /// Seconds at the beginning whose latencies are left out.
    #[serde(default, skip_serializing_if = "is_none")]
    pub warm_up_seconds: u64,
    /// Seconds left out because both versions failed, or had just failed.
    #[serde(default, skip_serializing_if = "is_none")]
    pub shared_seconds: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    pub probes: ProbeCounts,
    /// Some of the requests that failed on the candidate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<FailingRequest>,
}

/// The rule that most requests of two seconds in a row failed.
pub(super) const GROSS_FAILURE: &str = "gross failure";
/// The metric of a rule that needs no statistics.
const HARD_SIGNAL: &str = "hard signal";

impl Evidence {
    /// Returns the evidence of a hard signal.
    pub fn signal(rule: &str) -> Self {
        Self { rule: rule.to_owned(), metric: HARD_SIGNAL.to_owned(), ..Self::default() }
    }

    /// Tells whether it is that of a hard signal: no count is behind it.
    pub fn is_signal(&self) -> bool {
        self.metric == HARD_SIGNAL
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_signal() {
            return f.write_str(&self.rule);
        }
        let happened = match self.slower_than_ms {
            Some(threshold) => format!("took over {threshold:.1} ms"),
            None => "failed".to_owned(),
        };
        write!(
            f,
            "{}: {} of {} requests {happened} in {} s, stable {} of {}; limit {:.3} %",
            self.metric,
            self.candidate_errors,
            self.candidate_requests,
            self.window_seconds,
            self.stable_errors,
            self.stable_requests,
            self.limit * 100.0
        )?;
        match self.p_value {
            Some(p_value) => write!(f, ", p {p_value:.2e}"),
            None if self.rule == GROSS_FAILURE => f.write_str("; most of them two seconds in a row"),
            None => Ok(()),
        }
    }
}

/// Something an operator should know that takes nothing back by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What jumped: `401 and 403`, `404 and 410`.
    pub what: String,
    pub candidate_requests: u64,
    pub candidate_count: u64,
    pub stable_requests: u64,
    pub stable_count: u64,
    /// Bounds how often that would happen by chance.
    pub p_value: f64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the candidate answers {} of {} requests with {}, stable {} of {} (p {:.2e})",
            self.candidate_count,
            self.candidate_requests,
            self.what,
            self.stable_count,
            self.stable_requests,
            self.p_value
        )
    }
}

fn is_none(number: &u64) -> bool {
    *number == 0
}

fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

fn is_default(probes: &ProbeCounts) -> bool {
    *probes == ProbeCounts::default()
}
