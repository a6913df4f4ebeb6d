//! Gathers evidence that a candidate is *not* harmful, and that it does not fail grossly. Starts anew at every weight.
//! Takes nothing back; `process` feeds it, the machine promotes by it.

use super::counts::Sample;
use super::policy::SafetyRule;
use super::ripr::{Arms, Factors, accept_alone, ripr_accept};
use serde::{Deserialize, Serialize};

/// The opposite test, of one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Safety {
    rule: SafetyRule,
    /// η of the error component whose odds are 2.5 times the limit's: the same dependence dulls both tests.
    eta: f64,
    factors: Factors,
    /// What one answer is worth against "a fifth fails", in nats.
    gross: Factors,
    log_safe: f64,
    log_gross: f64,
    is_safe: bool,
    candidate_requests: u64,
}

impl Safety {
    pub(super) fn new(rule: SafetyRule, eta: f64) -> Self {
        Self {
            rule,
            eta,
            factors: Factors::default(),
            gross: Factors::default(),
            log_safe: 0.0,
            log_gross: 0.0,
            is_safe: false,
            candidate_requests: 0,
        }
    }

    /// Asks anew, where `rate` is what stable's share of errors is believed to be.
    pub(super) fn refresh(&mut self, rate: f64, arms: Arms) {
        self.factors = match arms {
            Arms::Both { share } => ripr_accept(rate, self.rule.margin, share),
            Arms::Alone => accept_alone(rate, self.rule.margin),
        };
        let believed = rate.min(self.rule.gross_belief_max);
        self.gross = Factors {
            candidate_error: libm::log(believed / self.rule.gross_rate),
            candidate_success: libm::log((1.0 - believed) / (1.0 - self.rule.gross_rate)),
            ..Factors::default()
        };
    }

    /// Adds a record. Returns false, and adds nothing, where that is not a number.
    #[must_use]
    pub(super) fn add(&mut self, sample: &Sample) -> bool {
        let answers = sample.answers();
        let log_safe = self.log_safe + self.eta * self.factors.log_ratio(&answers);
        let log_gross = self.log_gross + self.gross.log_ratio(&answers);
        if !log_safe.is_finite() || !log_gross.is_finite() {
            return false;
        }
        (self.log_safe, self.log_gross) = (log_safe, log_gross);
        self.is_safe |= log_safe >= self.threshold();
        self.candidate_requests = self.candidate_requests.saturating_add(sample.candidate_requests);
        true
    }

    fn threshold(&self) -> f64 {
        libm::log(self.rule.cases)
    }

    /// Returns log A: evidence that the candidate is not 1.5 times stable's errors and half a point worse.
    pub fn log_safe(&self) -> f64 {
        self.log_safe
    }

    /// Tells whether the step was proven safe; it stays so until the weight changes.
    pub fn is_safe(&self) -> bool {
        self.is_safe
    }

    /// Returns the log of the evidence that less than a fifth of the candidate's requests fail.
    pub fn log_gross(&self) -> f64 {
        self.log_gross
    }

    /// Tells whether a gross failure is excluded, now.
    pub fn excludes_gross_failure(&self) -> bool {
        self.log_gross >= self.threshold()
    }

    /// Returns the candidate's requests this rests on.
    pub fn candidate_requests(&self) -> u64 {
        self.candidate_requests
    }
}
