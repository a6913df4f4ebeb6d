//! Decides as Flagger's scheduler does with its default checks: every minute, success rate at least 99 % and p99 at most
//! 500 ms; no traffic is a failed check; failed checks add up and are looked at when the next loop begins.

use super::Decider;
use crate::traffic::{Minute, Second};

const THRESHOLD: u32 = 5;
const SUCCESS_RATE_MIN: f64 = 0.99;
const P99_MS_MAX: f64 = 500.0;

/// The analysis of one canary.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flagger {
    failed_checks: u32,
}

impl Flagger {
    fn check_passes(minute: &Minute) -> bool {
        let success = minute.all.error_rate().is_some_and(|rate| 1.0 - rate >= SUCCESS_RATE_MIN);
        // Where nothing succeeded there is no latency; the first check has failed already.
        success && minute.p99_ms.is_some_and(|ms| ms <= P99_MS_MAX)
    }
}

impl Decider for Flagger {
    fn rolls_back(&mut self, second: &Second) -> bool {
        let Some(minutes) = second.minute else { return false };
        if self.failed_checks >= THRESHOLD {
            return true;
        }
        self.failed_checks += u32::from(!Self::check_passes(&minutes.candidate));
        false
    }
}
