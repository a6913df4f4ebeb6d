//! Counts the answers of one probe or dependency check of candidate and stable. Knows no interval and no timeout;
//! who probes has them. One counter for each probe and each dependency.

use serde::{Deserialize, Serialize};

/// One round: both were asked at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    pub candidate_ok: bool,
    pub stable_ok: bool,
}

/// What a round means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Ok,
    /// The candidate failed and stable did not; not yet often enough.
    Suspect,
    /// Both failed: it is not the release.
    Hold,
    /// The candidate failed often enough where stable did not.
    Rollback,
}

/// How often in a row the candidate failed while stable did not. Rounds in which both fail interrupt nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    failures_max: u32,
    failures: u32,
}

impl Probe {
    /// Three: with one probe in 200 lost, ten minutes lose three in a row with chance 4e-5. Four for a day.
    pub const FAILURES_MAX: u32 = 3;

    /// Returns a counter that says `rollback` at so many failures; 0 counts as 1.
    pub fn new(failures_max: u32) -> Self {
        Self { failures_max: failures_max.max(1), failures: 0 }
    }

    /// Counts a round.
    pub fn add(&mut self, probed: Probed) -> Answer {
        match (probed.candidate_ok, probed.stable_ok) {
            (true, _) => {
                self.failures = 0;
                Answer::Ok
            }
            (false, false) => Answer::Hold,
            (false, true) => {
                self.failures = self.failures.saturating_add(1);
                if self.failures >= self.failures_max { Answer::Rollback } else { Answer::Suspect }
            }
        }
    }

    /// Returns the failures counted.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

impl Default for Probe {
    fn default() -> Self {
        Self::new(Self::FAILURES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_of_a_day_may_ask_for_a_fourth_failure() {
        let mut probe = Probe::new(4);
        let failed = Probed { candidate_ok: false, stable_ok: true };
        let answers: Vec<_> = (0..4).map(|_| probe.add(failed)).collect();

        assert_eq!(answers, [Answer::Suspect, Answer::Suspect, Answer::Suspect, Answer::Rollback]);
    }
}
