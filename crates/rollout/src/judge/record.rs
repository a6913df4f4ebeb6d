//! Says what was counted in one second, candidate against stable. Judges nothing; `engine::samples` makes it, `Judge` folds it.
//! A second nobody reported is `missing`, never zero; what was not counted at all is None, never zero either.

use super::counts::RouteCounts;
use crate::mirror::MirrorCounts;
use crate::names::{ReplicaId, Revision};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Failing requests told with one second; more say nothing more.
pub const FAILURES_MAX: usize = 3;

/// What was counted in one second (rollback.md 3.1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Requests slower than the thresholds of the calibration; None while there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow: Option<Slow>,
    /// Errors counted once per user, endpoint and ten seconds; None where users are not told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once: Option<Once>,
    /// Answers 400–499, which are no errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_errors: Option<ClientErrors>,
    /// The same counts for the routes the calibration names, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteCounts>,
    /// Our own requests. Never among the counts above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<ProbeCounts>,
    /// Copies of requests, before the candidate had any of its own. Never among the counts above.
    #[serde(default, skip_serializing_if = "MirrorCounts::is_empty")]
    pub mirror: MirrorCounts,
    /// Some of the requests that failed on the candidate, without anything that could name a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<FailingRequest>,
}

/// Requests slower than each threshold: the candidate's above the shifted one, stable's above the threshold itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Slow {
    pub candidate: [u64; 4],
    pub stable: [u64; 4],
}

/// Errors of different users or endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Once {
    pub candidate: u64,
    pub stable: u64,
}

/// Answers that tell clients they are wrong. A jump of one kind on the candidate alone is a finding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientErrors {
    pub candidate: ClientErrorCounts,
    pub stable: ClientErrorCounts,
}

/// Answers 400–499 by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientErrorCounts {
    /// 401 and 403.
    pub unauthorized: u64,
    /// 404 and 410.
    pub not_found: u64,
    /// Every other one.
    pub other: u64,
}

/// Synthetic requests to the candidate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeCounts {
    pub asked: u64,
    pub failed: u64,
}

/// A request that failed, as far as it may be told: no header, no body, no value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailingRequest {
    pub second: u64,
    pub revision: Revision,
    pub replica: ReplicaId,
    pub method: String,
    /// The route's template, or the path with everything that may name a person replaced by `{…}`.
    pub route: String,
    /// The status answered, or the class of failure: `connect`, `reset`, `timeout`, `early_eof`.
    pub failure: String,
    pub latency_ms: u64,
}

impl Record {
    /// Returns the record of a second nobody reported.
    pub fn missing(second: u64) -> Self {
        Self { second, missing: true, ..Self::default() }
    }
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
        if let Some(probes) = self.probes {
            write!(f, "; {} of {} synthetic requests failed", probes.failed, probes.asked)?;
        }
        if !self.mirror.is_empty() {
            write!(f, "; {}", self.mirror)?;
        }
        f.write_str(if self.unwell { "; stable is not well either" } else { "" })
    }
}

impl fmt::Display for FailingRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}: {} after {} ms, replica {}",
            self.method, self.route, self.failure, self.latency_ms, self.replica
        )
    }
}
