//! Reads what the evidence of a watch says: M, whether it decides, and which component says most.
//! Changes nothing; `process` gathers.

use super::counts::{Role, Sample};
use super::family::Family;
use super::log_space;
use super::policy::{Metric, Policy, arms};
use super::process::{Acting, Test};
use super::ripr::Alternative;
use super::safety::Safety;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The component that says most: what a verdict is explained with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Strongest {
    pub metric: Metric,
    pub alternative: Alternative,
    /// ln v + R + min(S, c).
    pub log_value: f64,
    /// The rate this alternative stands for, and stable's beside it.
    pub candidate_rate: f64,
    pub stable_rate: f64,
    /// The first by the second.
    pub effect: f64,
    /// What was seen of the metric since the last change of weight, without what was skipped.
    pub seen: Sample,
}

impl Test {
    /// Returns ln M, 0 before the first record.
    pub fn log_m(&self) -> f64 {
        self.average(|_| true)
    }

    /// Returns the same of the absolute components of errors alone.
    pub fn log_m_absolute(&self) -> f64 {
        self.average(|role| role == Role::ErrorAbsolute)
    }

    fn average(&self, counts: impl Fn(Role) -> bool + Copy) -> f64 {
        let families = self.families.iter().filter(|family| counts(family.role));
        let weight: f64 = families.clone().map(|family| family.role.weight(&self.policy)).sum();
        let unstarted = libm::log(1.0 - weight + weight * self.tail);
        let started = families.flat_map(Family::log_values);
        log_space::sum(std::iter::once(unstarted).chain(started))
    }

    /// Returns what the acting evidence must reach.
    pub fn threshold(&self) -> f64 {
        match self.acting {
            Acting::All => self.policy.threshold(arms(self.weight)),
            Acting::Absolute => self.policy.threshold_strict(),
        }
    }

    /// Returns the evidence that may take the candidate back, now.
    pub fn log_acting(&self) -> f64 {
        match self.acting {
            Acting::All => self.log_m(),
            Acting::Absolute => self.log_m_absolute(),
        }
    }

    /// Tells whether the candidate must be taken back, now. Never of a broken watch: that is held.
    pub fn is_decided(&self) -> bool {
        !self.broken && self.log_acting() >= self.threshold()
    }

    /// Returns the chance, at most, of evidence like this from a harmless candidate.
    pub fn p_value(&self) -> f64 {
        libm::exp(-self.log_acting()).min(1.0)
    }

    /// Tells whether something was not a number.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    pub fn safety(&self) -> &Safety {
        &self.safety
    }

    pub fn acting(&self) -> Acting {
        self.acting
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Returns the weight watched, a part of one.
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// Returns the seconds added so far, skipped ones included.
    pub fn seconds(&self) -> u64 {
        self.time
    }

    /// Returns the component that says most of those that may act.
    pub fn strongest(&self) -> Strongest {
        let may_act = |role| self.acting == Acting::All || role == Role::ErrorAbsolute;
        let loudest = self.families.iter().filter(|family| may_act(family.role)).filter_map(|family| {
            let spoken = family.loudest(&self.policy)?;
            Some((family, spoken))
        });
        let (family, spoken) = loudest
            .reduce(|most, next| if next.1.log_value > most.1.log_value { next } else { most })
            .expect("BUG: errors are always watched");
        let limit = family.margin(arms(self.weight), &self.policy).bounded_limit(family.rate);
        let candidate_rate = spoken.alternative.rate(limit);
        Strongest {
            metric: family.role.metric(),
            alternative: spoken.alternative,
            log_value: spoken.log_value,
            candidate_rate,
            stable_rate: family.rate,
            effect: candidate_rate / family.rate,
            seen: family.seen,
        }
    }
}
