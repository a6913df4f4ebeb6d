//! Holds what both arms answered in one report, and what of it one metric looks at. Corrects what cannot be:
//! no more errors than requests. See `process` for who adds it up.

use super::policy::{LATENCIES, Metric, Policy};
use super::ripr::{Alternative, Answers, Arms};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was counted in one report of the edge, candidate against stable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// The first second covered, since the Unix epoch. Read for the time of day only.
    pub second: u64,
    /// Seconds covered. 0 counts as 1.
    pub length: u32,
    pub candidate_requests: u64,
    pub candidate_errors: u64,
    /// At most one a user, endpoint and ten seconds; as many as `candidate_errors` where users are not told apart.
    pub candidate_errors_once: u64,
    pub stable_requests: u64,
    pub stable_errors: u64,
    pub stable_errors_once: u64,
    /// The candidate's requests slower than the *shifted* thresholds.
    pub candidate_slow: [u64; LATENCIES],
    /// Stable's requests slower than the thresholds themselves.
    pub stable_slow: [u64; LATENCIES],
    /// In the order the routes were given; a missing one had no request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteCounts>,
}

/// The same of one route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouteCounts {
    pub candidate_requests: u64,
    pub candidate_errors: u64,
    pub stable_requests: u64,
    pub stable_errors: u64,
}

impl Counts {
    /// Returns one second in which users are not told apart and nothing was slow.
    pub fn errors(second: u64, candidate: (u64, u64), stable: (u64, u64)) -> Self {
        Self {
            second,
            length: 1,
            candidate_requests: candidate.0,
            candidate_errors: candidate.1,
            candidate_errors_once: candidate.1,
            stable_requests: stable.0,
            stable_errors: stable.1,
            stable_errors_once: stable.1,
            ..Self::default()
        }
    }

    pub(super) fn seconds(&self) -> u64 {
        u64::from(self.length.max(1))
    }

    /// Returns what a role looks at.
    pub(super) fn sample(&self, role: Role, arms: Arms) -> Sample {
        let (candidate, stable) = (self.candidate_requests, self.stable_requests);
        let sample = match role {
            Role::ErrorOdds => {
                Sample::new(candidate, self.candidate_errors_once, stable, self.stable_errors_once)
            }
            Role::ErrorAbsolute => Sample::new(candidate, self.candidate_errors, stable, self.stable_errors),
            Role::Latency(j) => {
                let j = usize::from(j);
                Sample::new(candidate, self.candidate_slow[j], stable, self.stable_slow[j])
            }
            Role::Route(r) => {
                let of = self.routes.get(usize::from(r)).copied().unwrap_or_default();
                Sample::new(of.candidate_requests, of.candidate_errors, of.stable_requests, of.stable_errors)
            }
        };
        sample.seen_by(arms)
    }
}

/// Which question a family of components asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    /// Is the share of errors some times stable's? Of errors counted once a user where users are told apart.
    ErrorOdds,
    /// Does a third fail, or nearly everything? Of all errors.
    ErrorAbsolute,
    /// Is the candidate slower at this threshold?
    Latency(u8),
    /// Does this route fail more often?
    Route(u8),
}

impl Role {
    pub(super) fn metric(self) -> Metric {
        match self {
            Role::ErrorOdds | Role::ErrorAbsolute => Metric::Errors,
            Role::Latency(threshold) => Metric::Latency(threshold),
            Role::Route(route) => Metric::Route(route),
        }
    }

    /// Returns the rates it looks for.
    pub(super) fn alternatives(self, policy: &Policy) -> Vec<Alternative> {
        let errors = policy.error_alternatives();
        let (odds, absolute) = errors.split_at(policy.error_odds.len());
        match self {
            Role::ErrorOdds => odds.to_vec(),
            Role::ErrorAbsolute => absolute.to_vec(),
            Role::Latency(_) => policy.latency_alternatives().to_vec(),
            Role::Route(_) => errors.to_vec(),
        }
    }

    /// Returns its part of the average, all components together.
    pub(super) fn weight(self, policy: &Policy) -> f64 {
        policy.component_weight(self.metric()) * self.alternatives(policy).len() as f64
    }
}

/// What was counted of one metric; a hit is an error, or a request slower than a threshold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    pub candidate_requests: u64,
    pub candidate_hits: u64,
    pub stable_requests: u64,
    pub stable_hits: u64,
}

impl Sample {
    /// Returns a sample without more hits than requests.
    pub(super) fn new(
        candidate_requests: u64,
        candidate_hits: u64,
        stable_requests: u64,
        stable_hits: u64,
    ) -> Self {
        Self {
            candidate_requests,
            candidate_hits: candidate_hits.min(candidate_requests),
            stable_requests,
            stable_hits: stable_hits.min(stable_requests),
        }
    }

    /// Forgets stable where the candidate is alone: a straggler's answer is no control.
    fn seen_by(self, arms: Arms) -> Self {
        match arms {
            Arms::Both { .. } => self,
            Arms::Alone => Self { stable_requests: 0, stable_hits: 0, ..self },
        }
    }

    pub(super) fn answers(&self) -> Answers {
        Answers {
            candidate_requests: self.candidate_requests as f64,
            candidate_hits: self.candidate_hits as f64,
            stable_requests: self.stable_requests as f64,
            stable_hits: self.stable_hits as f64,
        }
    }

    pub(super) fn add(&mut self, other: &Sample) {
        self.candidate_requests = self.candidate_requests.saturating_add(other.candidate_requests);
        self.candidate_hits = self.candidate_hits.saturating_add(other.candidate_hits);
        self.stable_requests = self.stable_requests.saturating_add(other.stable_requests);
        self.stable_hits = self.stable_hits.saturating_add(other.stable_hits);
    }
}
