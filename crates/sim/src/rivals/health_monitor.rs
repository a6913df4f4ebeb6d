//! Decides as the strategy's `HealthMonitor` does: looks every 30 s for 10 min, four checks, two must fail.
//! The text leaves the thresholds open. Modelled generously: the error-rate check fails above 1 % of the candidate's last
//! 60 s, the API check is one request to the candidate; database and Redis are never at fault here.

use super::Decider;
use crate::traffic::{Counts, Second};

const POLL_S: u64 = 30;
const WATCH_S: u64 = 600;
const ERROR_RATE_MAX: f64 = 0.01;
const WINDOW_S: usize = 60;
const FAILED_CHECKS_MIN: usize = 2;

/// The strategy's monitor.
#[derive(Debug, Clone)]
pub struct HealthMonitor {
    window: [Counts; WINDOW_S],
}

impl Default for HealthMonitor {
    fn default() -> Self {
        Self { window: [Counts::default(); WINDOW_S] }
    }
}

impl Decider for HealthMonitor {
    fn rolls_back(&mut self, second: &Second) -> bool {
        self.window[second.second as usize % WINDOW_S] = second.candidate.all;
        let elapsed = second.second + 1;
        if elapsed > WATCH_S || !elapsed.is_multiple_of(POLL_S) {
            return false;
        }
        let mut last = Counts::default();
        self.window.iter().for_each(|counts| last.add(*counts));
        let error_rate_failed = last.error_rate().is_some_and(|rate| rate > ERROR_RATE_MAX);
        let api_failed = !second.candidate.probe_ok;
        [error_rate_failed, api_failed].into_iter().filter(|failed| *failed).count() >= FAILED_CHECKS_MIN
    }
}
