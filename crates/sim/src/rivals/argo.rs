//! Decides as an Argo Rollouts analysis of the success rate does (`analysis.go`): a metric fails when more measurements
//! failed than `failureLimit`. A measurement without requests is an error, and more than four in a row fail the run.
//! The first measurement is taken after one interval, over that interval.

use super::Decider;
use crate::traffic::{Counts, Second};

const SUCCESS_RATE_MIN: f64 = 0.95;
const CONSECUTIVE_ERRORS_MAX: u32 = 4;

/// An analysis run.
#[derive(Debug, Clone)]
pub struct Argo {
    interval_s: u64,
    failure_limit: u32,
    failed: u32,
    consecutive_errors: u32,
    interval: Counts,
}

impl Argo {
    /// The analysis of one step in Argo's documentation: every minute, no failure allowed.
    pub fn step_example() -> Self {
        Self::new(60, 0)
    }

    /// The documented background analysis: every five minutes, `failureLimit: 3`.
    pub fn background_example() -> Self {
        Self::new(300, 3)
    }

    pub fn new(interval_s: u64, failure_limit: u32) -> Self {
        Self { interval_s, failure_limit, failed: 0, consecutive_errors: 0, interval: Counts::default() }
    }
}

impl Decider for Argo {
    fn rolls_back(&mut self, second: &Second) -> bool {
        self.interval.add(second.candidate.all);
        if !(second.second + 1).is_multiple_of(self.interval_s) {
            return false;
        }
        match std::mem::take(&mut self.interval).error_rate() {
            None => self.consecutive_errors += 1,
            Some(rate) => {
                self.consecutive_errors = 0;
                self.failed += u32::from(1.0 - rate < SUCCESS_RATE_MIN);
            }
        }
        self.failed > self.failure_limit || self.consecutive_errors > CONSECUTIVE_ERRORS_MAX
    }
}
