//! Notices that the candidate does not get the requests its weight says: the router is wrong, or the candidate is gone.

use super::record::Record;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Seconds looked at (rollback.md 3.8).
const SECONDS: usize = 30;
/// Requests the candidate should have got before anything is said.
const EXPECTED_MIN: f64 = 100.0;

/// Seconds after a change of weight that may still be of the one before: counts come late.
const SETTLING: u32 = 3;

/// Requests of the candidate and of both, second by second, at one weight.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShareWatch {
    seconds: VecDeque<(u64, u64)>,
    passed: u32,
}

impl ShareWatch {
    pub(super) fn add(&mut self, record: &Record) {
        self.passed = self.passed.saturating_add(1);
        if self.passed <= SETTLING {
            return;
        }
        if self.seconds.len() == SECONDS {
            self.seconds.pop_front();
        }
        let both = record.candidate_requests.saturating_add(record.stable_requests);
        self.seconds.push_back((record.candidate_requests, both));
    }

    /// Tells whether the candidate got less than half, or more than twice, what it should.
    pub(super) fn is_off(&self, share: f64) -> bool {
        let (got, both) = self.seconds.iter().fold((0u64, 0u64), |sum, second| {
            (sum.0.saturating_add(second.0), sum.1.saturating_add(second.1))
        });
        let expected = share * both as f64;
        expected >= EXPECTED_MIN && !(0.5 * expected..=2.0 * expected).contains(&(got as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(candidate_requests: u64, stable_requests: u64) -> ShareWatch {
        let mut watch = ShareWatch::default();
        let record = Record { candidate_requests, stable_requests, ..Record::default() };
        (0..40).for_each(|_| watch.add(&record));
        watch
    }

    #[test]
    fn a_candidate_that_gets_a_third_of_its_share_is_off() {
        assert!(watch(2, 98).is_off(0.06));
        assert!(!watch(4, 96).is_off(0.06));
        assert!(watch(13, 87).is_off(0.06));
    }

    #[test]
    fn the_seconds_in_which_the_weight_changes_say_nothing() {
        let mut watch = ShareWatch::default();
        let before = Record { candidate_requests: 50, stable_requests: 950, ..Record::default() };
        let after = Record { candidate_requests: 950, stable_requests: 50, ..Record::default() };

        for record in [&before, &before, &after, &after, &after] {
            watch.add(record);
            assert!(!watch.is_off(0.95));
        }
    }

    #[test]
    fn few_requests_say_nothing() {
        assert!(!watch(0, 30).is_off(0.1));
        assert!(watch(0, 100).is_off(0.1));
    }
}
