//! Passes over a replica that has failed several times in a row, for a while that doubles: others of its release answer.
//! Refuses to leave nobody: where all are passed over, all are asked. What a release answers, 500 too, is no reason.

use crate::limits;
use rollout::names::Millis;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// How a replica has fared, over all workers.
#[derive(Debug, Default)]
pub(crate) struct Outlier {
    /// Requests in a row that got no answer.
    failed: AtomicU32,
    /// Times in a row it was passed over.
    times: AtomicU32,
    /// Passed over until then; wall clock.
    until: AtomicU64,
}

impl Outlier {
    /// The clock is read only of one that was passed over before: most never were.
    pub(crate) fn is_out(&self, now: impl FnOnce() -> Millis) -> bool {
        let until = self.until.load(Relaxed);
        until > 0 && now().0 < until
    }

    /// Notes an answer, whatever it was.
    pub(crate) fn answered(&self) {
        // Most have nothing to forget: one read, and no write that other workers would wait for.
        if self.failed.load(Relaxed) > 0 {
            self.failed.store(0, Relaxed);
            self.times.store(0, Relaxed);
        }
    }

    /// Notes a request that got no answer: no connection, one that broke, silence.
    pub(crate) fn failed(&self, now: Millis) {
        if self.is_out(|| now) {
            return;
        }
        let failed = self.failed.fetch_add(1, Relaxed) + 1;
        if failed < limits::OUTLIER_FAILURES {
            return;
        }
        // The next request after its time decides: one more failure, and it is out again.
        let times = self.times.fetch_add(1, Relaxed).min(limits::OUTLIER_DOUBLINGS);
        self.until.store(now.0 + (limits::OUTLIER_FIRST.0 << times), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out_for(outlier: &Outlier, now: u64) -> u64 {
        outlier.until.load(Relaxed).saturating_sub(now)
    }

    #[test]
    fn a_replica_is_passed_over_after_failures_in_a_row_and_an_answer_forgives_them() {
        let outlier = Outlier::default();
        for _ in 1..limits::OUTLIER_FAILURES {
            outlier.failed(Millis(1_000));
        }
        outlier.answered();
        outlier.failed(Millis(1_000));
        assert!(!outlier.is_out(|| Millis(1_000)));

        for _ in 1..limits::OUTLIER_FAILURES {
            outlier.failed(Millis(1_000));
        }

        assert!(outlier.is_out(|| Millis(1_000)));
        assert!(!outlier.is_out(|| Millis(1_000).plus(limits::OUTLIER_FIRST)));
    }

    #[test]
    fn it_is_passed_over_ever_longer_up_to_a_bound() {
        let outlier = Outlier::default();
        let mut now = 1_000;
        let mut waits = Vec::new();
        for _ in 0..limits::OUTLIER_FAILURES + 8 {
            outlier.failed(Millis(now));
            let wait = out_for(&outlier, now);
            if wait > 0 {
                waits.push(wait / 1000);
                now += wait;
            }
        }

        assert_eq!(waits[..6], [1, 2, 4, 8, 16, 32]);
        assert_eq!(waits.last(), Some(&32));
    }
}
