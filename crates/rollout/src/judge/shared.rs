//! Notices a fault both versions share: then nothing is blamed on the release, and the rollout is held.
//! Looks at the last seconds only. The judge asks before it folds a record, so that what is left out never depends on it.

use super::Record;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Seconds looked at: a gross fault shows in the shorter window, one at little traffic in the longer.
const WINDOWS: [usize; 2] = [3, 15];
const SECONDS_MAX: usize = 15;
/// Requests of each side a window must hold before it says anything.
pub const SAMPLE_MIN: u64 = 20;
/// Errors of each side it must hold: a handful may be anything.
const ERRORS_MIN: u64 = 5;
/// One request of so many must fail on both sides: less is no outage.
const OUTAGE_ONE_IN: u64 = 10;
/// A candidate that fails this many times as often as stable has a fault of its own.
const OWN_FAULT_TIMES: u64 = 2;
/// Seconds after a shared fault that say nothing either: versions do not recover in the same second.
const RECOVERY_SECONDS: u64 = 3;

/// The last seconds of both sides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedFault {
    recent: VecDeque<Sides>,
    /// Seconds to come that say nothing.
    recovering: u64,
    /// Seconds to come in which failures of a candidate alone say nothing, because stable was asked and not well.
    excused: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sides {
    candidate_requests: u64,
    candidate_errors: u64,
    stable_requests: u64,
    stable_errors: u64,
}

impl SharedFault {
    /// Tells whether both sides fail now, in about the same measure.
    pub fn is_on(&self) -> bool {
        WINDOWS.iter().any(|seconds| {
            let sum = self.sum(*seconds);
            let asked = sum.candidate_requests >= SAMPLE_MIN && sum.stable_requests >= SAMPLE_MIN;
            asked
                && is_outage(sum.candidate_errors, sum.candidate_requests)
                && is_outage(sum.stable_errors, sum.stable_requests)
                && !has_own_fault(&sum)
        })
    }

    /// Tells whether a fault of both is on or has just ended: what is counted next says nothing about the release.
    pub fn silences(&self) -> bool {
        self.recovering > 0 || self.is_on()
    }

    /// Tells whether the candidate failed while stable, asked in the same second, was not well either.
    pub fn is_excused(&self) -> bool {
        self.excused > 0
    }

    /// Folds one second. Returns whether a candidate that has the traffic alone is excused in it.
    pub fn add(&mut self, record: &Record) -> bool {
        let was_on = self.is_on();
        if self.recent.len() == SECONDS_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(Sides {
            candidate_requests: record.candidate_requests,
            candidate_errors: record.candidate_errors,
            stable_requests: record.stable_requests,
            stable_errors: record.stable_errors,
        });
        self.recovering = if was_on { RECOVERY_SECONDS } else { self.recovering.saturating_sub(1) };
        let left = if record.unwell { RECOVERY_SECONDS } else { self.excused.saturating_sub(1) };
        let before = std::mem::replace(&mut self.excused, left);
        let alone = record.stable_requests < SAMPLE_MIN;
        record.candidate_errors > 0 && alone && (record.unwell || before > 0)
    }

    fn sum(&self, seconds: usize) -> Sides {
        self.recent.iter().rev().take(seconds).fold(Sides::default(), |sum, next| Sides {
            candidate_requests: sum.candidate_requests.saturating_add(next.candidate_requests),
            candidate_errors: sum.candidate_errors.saturating_add(next.candidate_errors),
            stable_requests: sum.stable_requests.saturating_add(next.stable_requests),
            stable_errors: sum.stable_errors.saturating_add(next.stable_errors),
        })
    }
}

fn is_outage(errors: u64, requests: u64) -> bool {
    errors >= ERRORS_MIN && errors.saturating_mul(OUTAGE_ONE_IN) >= requests
}

/// Compares the shares crosswise: `kc / nc > 2 · kb / nb`.
fn has_own_fault(sum: &Sides) -> bool {
    let of_candidate = u128::from(sum.candidate_errors) * u128::from(sum.stable_requests);
    let of_stable = u128::from(sum.stable_errors) * u128::from(sum.candidate_requests);
    of_candidate > of_stable * u128::from(OWN_FAULT_TIMES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(nc: u64, kc: u64, nb: u64, kb: u64) -> Record {
        Record {
            candidate_requests: nc,
            candidate_errors: kc,
            stable_requests: nb,
            stable_errors: kb,
            ..Record::default()
        }
    }

    fn after(records: &[Record]) -> SharedFault {
        let mut shared = SharedFault::default();
        for record in records {
            shared.add(record);
        }
        shared
    }

    #[test]
    fn o2_what_fails_on_both_sides_is_shared_and_what_fails_on_one_is_not() {
        assert!(after(&[second(20, 20, 100, 100)]).is_on());
        assert!(!after(&[second(20, 20, 100, 0)]).is_on());
        assert!(!after(&[second(20, 0, 100, 100)]).is_on());
    }

    #[test]
    fn o2_a_candidate_that_fails_much_more_than_stable_has_a_fault_of_its_own() {
        assert!(!after(&[second(100, 100, 100, 12)]).is_on());
        assert!(after(&[second(100, 100, 100, 60)]).is_on());
    }

    #[test]
    fn a_version_may_recover_three_seconds_later_than_the_other() {
        let mut shared = after(&[second(100, 100, 100, 100)]);
        let recovering = second(100, 100, 1000, 0);
        let silent = (0..6).map(|_| {
            let silent = shared.silences();
            shared.add(&recovering);
            silent
        });

        assert_eq!(silent.collect::<Vec<_>>(), [true, true, true, true, false, false]);
    }

    #[test]
    fn few_requests_say_nothing() {
        assert!(!after(&[second(19, 19, 100, 100)]).is_on());
        assert!(after(&[second(10, 10, 50, 50), second(10, 10, 50, 50)]).is_on());
    }

    #[test]
    fn a_candidate_alone_is_excused_while_stable_is_not_well_and_a_little_longer() {
        let mut shared = SharedFault::default();
        let failing = second(50, 50, 0, 0);

        assert!(!shared.add(&failing));
        assert!(shared.add(&Record { unwell: true, ..failing.clone() }));
        let after = [shared.add(&failing), shared.add(&failing), shared.add(&failing), shared.add(&failing)];
        assert_eq!(after, [true, true, true, false]);
    }
}
