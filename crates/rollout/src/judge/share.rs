//! Notices that the candidate does not get the requests its weight says: the router is wrong, or the candidate is gone.

use super::record::Record;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Seconds looked at (rollback.md 3.8) …
const SECONDS: usize = 30;
/// … and at most, where fewer requests come.
const SECONDS_MAX: usize = 600;
/// Requests the candidate should have got before anything is said.
const EXPECTED_MIN: f64 = 100.0;

/// Stretches of the last seconds in which the candidate may have got too little to be compared.
const STRETCHES: [usize; 4] = [5, SECONDS, 120, SECONDS_MAX];

/// Requests of the candidate and of both, second by second, at one weight.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShareWatch {
    seconds: VecDeque<(u64, u64)>,
    /// Since the change of weight.
    got: u64,
    both: u64,
}

impl ShareWatch {
    pub(super) fn add(&mut self, record: &Record) {
        if self.seconds.len() == SECONDS_MAX {
            self.seconds.pop_front();
        }
        let both = record.candidate_requests.saturating_add(record.stable_requests);
        self.seconds.push_back((record.candidate_requests, both));
        self.got = self.got.saturating_add(record.candidate_requests);
        self.both = self.both.saturating_add(both);
    }

    /// Tells whether the candidate has got so little that chance is no good reason: half of what it should, and a standard
    /// deviation less. Sooner than `is_off`, because every second counted until then would be held against the candidate.
    pub(super) fn is_short(&self, share: f64) -> bool {
        let lacks = |got: u64, both: u64| {
            let expected = share * both as f64;
            got as f64 + libm::sqrt(expected) < 0.5 * expected
        };
        let stretch = |seconds: usize| {
            self.seconds.iter().rev().take(seconds).fold((0u64, 0u64), |sum, second| {
                (sum.0.saturating_add(second.0), sum.1.saturating_add(second.1))
            })
        };
        lacks(self.got, self.both) || STRETCHES.into_iter().map(stretch).any(|(got, both)| lacks(got, both))
    }

    /// Tells whether the candidate got less than half, or more than twice, what it should.
    pub(super) fn is_off(&self, share: f64) -> bool {
        let (mut got, mut expected) = (0u64, 0.0);
        for (place, (of_candidate, both)) in self.seconds.iter().rev().enumerate() {
            if place >= SECONDS && expected >= EXPECTED_MIN {
                break;
            }
            got = got.saturating_add(*of_candidate);
            expected += share * *both as f64;
        }
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
    fn a_candidate_that_gets_nothing_is_short_before_it_is_off() {
        let watch = |seconds: usize, candidate_requests, stable_requests| {
            let mut watch = ShareWatch::default();
            let record = Record { candidate_requests, stable_requests, ..Record::default() };
            (0..seconds).for_each(|_| watch.add(&record));
            watch
        };

        assert!(watch(2, 0, 60).is_short(0.05) && !watch(2, 0, 60).is_off(0.05));
        assert!(!watch(2, 3, 57).is_short(0.05));
        assert!(watch(2000, 0, 1).is_short(0.01));
    }

    #[test]
    fn few_requests_say_nothing() {
        assert!(!watch(0, 2).is_off(0.1));
        assert!(watch(0, 30).is_off(0.1));
    }
}
