//! Notices a release that fails most of what it is asked, two seconds in a row, while stable does not: no statistics needed.
//! A rule of its own beside the sequential test, which takes up to two blocks for a fault that begins late; see
//! docs/decisions/0003. One bad second never takes a release back.

use super::record::Record;
use serde::{Deserialize, Serialize};

/// Seconds in a row.
const SECONDS: u32 = 2;
/// Requests of a second that says anything.
const REQUESTS_MIN: u64 = 20;
/// One in so many must fail on the candidate …
const CANDIDATE_ONE_IN: u64 = 2;
/// … and fewer than one in so many on stable, over all of those seconds: beside a hold-back it is asked seldom, and one
/// second of it would not tell an incident of both from a fault of the candidate.
const STABLE_ONE_IN: u64 = 10;

/// How long the candidate has failed grossly.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GrossFailure {
    seconds: u32,
    /// Stable's requests and errors in them.
    stable: (u64, u64),
}

impl GrossFailure {
    /// Folds one second that is held against the candidate.
    pub(super) fn add(&mut self, record: &Record) {
        if !is_gross(record) {
            return self.forget();
        }
        self.seconds = self.seconds.saturating_add(1);
        self.stable.0 = self.stable.0.saturating_add(record.stable_requests);
        self.stable.1 = self.stable.1.saturating_add(record.stable_errors);
    }

    /// Begins anew: what was counted before says nothing.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_there(&self) -> bool {
        let (requests, errors) = self.stable;
        let stable_fails = errors > 0 && errors.saturating_mul(STABLE_ONE_IN) >= requests;
        self.seconds >= SECONDS && !stable_fails
    }

    /// Tells whether the last second was one.
    pub(super) fn begins(&self) -> bool {
        self.seconds > 0
    }
}

fn is_gross(record: &Record) -> bool {
    let fails = record.candidate_errors.saturating_mul(CANDIDATE_ONE_IN) >= record.candidate_requests;
    record.candidate_requests >= REQUESTS_MIN && fails
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: &[(u64, u64, u64, u64)]) -> bool {
        let mut gross = GrossFailure::default();
        for &(candidate_requests, candidate_errors, stable_requests, stable_errors) in seconds {
            gross.add(&Record {
                candidate_requests,
                candidate_errors,
                stable_requests,
                stable_errors,
                ..Record::default()
            });
        }
        gross.is_there()
    }

    #[test]
    fn two_seconds_in_a_row_are_needed() {
        assert!(!after(&[(20, 20, 0, 0)]));
        assert!(!after(&[(20, 20, 0, 0), (20, 0, 0, 0), (20, 20, 0, 0)]));
        assert!(after(&[(20, 10, 380, 0), (20, 10, 380, 0)]));
    }

    #[test]
    fn few_requests_and_a_stable_that_fails_too_say_nothing() {
        assert!(!after(&[(19, 19, 0, 0); 9]));
        assert!(!after(&[(100, 100, 100, 10); 9]));
        assert!(!after(&[(100, 100, 3, 1); 2]), "the few of a hold-back are witness enough");
        assert!(after(&[(100, 100, 100, 9); 2]));
        assert!(after(&[(100, 100, 0, 0); 2]));
    }
}
