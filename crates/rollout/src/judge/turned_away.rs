//! Notices that the candidate turns clients away more often than stable: 401 and 403, or 404 and 410.
//! Takes nothing back: such answers may be what the release is for. Operators are told, once each.

use super::counts::Counts;
use super::evidence::Finding;
use super::policy::{Policy, arms};
use super::process::{Acting, Reference, Test};
use super::record::{ClientErrorCounts, Record};
use super::ripr::Arms;
use super::watch::cold_rate;
use serde::{Deserialize, Serialize};

/// What is looked for.
const KINDS: [&str; 2] = ["401 and 403", "404 and 410"];

/// A sequential test for each kind of answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct TurnedAway {
    kinds: [Kind; 2],
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Kind {
    /// Of stable, before the watch.
    before: (u64, u64),
    test: Option<Test>,
    seen: Counts,
    is_known: bool,
}

impl TurnedAway {
    /// Learns what stable answers before the candidate is asked.
    pub(super) fn learn(&mut self, record: &Record) {
        for (kind, _, stable) in self.each(record) {
            kind.before.0 = kind.before.0.saturating_add(record.stable_requests);
            kind.before.1 = kind.before.1.saturating_add(stable);
        }
    }

    /// Begins to compare.
    pub(super) fn begin(&mut self, policy: &Policy, share: f64) {
        for kind in &mut self.kinds {
            let rate = cold_rate(policy.cold.error_rate, kind.before);
            let pairs = policy.uncalibrated(arms(share));
            kind.test = Some(Test::new(policy.clone(), Reference::errors(rate), share, &pairs));
        }
    }

    pub(super) fn set_weight(&mut self, share: f64, policy: &Policy) {
        let pairs = policy.uncalibrated(arms(share));
        let acting = if arms(share) == Arms::Alone { Acting::Absolute } else { Acting::All };
        for test in self.kinds.iter_mut().filter_map(|kind| kind.test.as_mut()) {
            test.set_weight(share, &pairs);
            test.set_acting(acting);
        }
    }

    pub(super) fn add(&mut self, record: &Record) {
        for (kind, candidate, stable) in self.each(record) {
            let counts = Counts::errors(
                record.second,
                (record.candidate_requests, candidate),
                (record.stable_requests, stable),
            );
            if let Some(test) = &mut kind.test {
                test.add(&counts);
            }
            let seen = &mut kind.seen;
            seen.candidate_requests = seen.candidate_requests.saturating_add(counts.candidate_requests);
            seen.candidate_errors = seen.candidate_errors.saturating_add(counts.candidate_errors);
            seen.stable_requests = seen.stable_requests.saturating_add(counts.stable_requests);
            seen.stable_errors = seen.stable_errors.saturating_add(counts.stable_errors);
        }
    }

    fn each<'k>(&'k mut self, record: &Record) -> impl Iterator<Item = (&'k mut Kind, u64, u64)> {
        let answers = record.client_errors.unwrap_or_default();
        let of = |counts: &ClientErrorCounts| [counts.unauthorized, counts.not_found];
        let (candidate, stable) = (of(&answers.candidate), of(&answers.stable));
        let pairs = candidate.into_iter().zip(stable);
        self.kinds.iter_mut().zip(pairs).map(|(kind, (candidate, stable))| (kind, candidate, stable))
    }

    /// Returns what nobody was told of yet.
    pub(super) fn finding(&self) -> Option<Finding> {
        self.kinds.iter().zip(KINDS).find_map(|(kind, what)| {
            let test = kind.test.as_ref().filter(|test| test.is_decided() && !kind.is_known)?;
            Some(Finding {
                what: what.to_owned(),
                candidate_requests: kind.seen.candidate_requests,
                candidate_count: kind.seen.candidate_errors,
                stable_requests: kind.seen.stable_requests,
                stable_count: kind.seen.stable_errors,
                p_value: test.p_value(),
            })
        })
    }

    pub(super) fn reported(&mut self, finding: &Finding) {
        for (kind, what) in self.kinds.iter_mut().zip(KINDS) {
            kind.is_known |= what == finding.what;
        }
    }
}
