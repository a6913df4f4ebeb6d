//! Decides as Netflix's published sequential canary does: a Beta mixture on the candidate's share of the errors (Lindon and
//! Malek, NeurIPS 2022) and time-uniform bands about both latency distributions (Howard and Ramdas 2022, as in Lindon et
//! al., KDD 2022), α split between them. The best published procedure; it has no margin and believes in independence.

use super::Decider;
use crate::traffic::{Arm, Latencies, Second};

const ALPHA: f64 = 0.01;
/// The prior of the candidate's share of the errors: Beta(1, 1), every share alike.
const PRIOR: f64 = 1.0;

/// The two tests of one watch.
#[derive(Debug, Clone, Default)]
pub struct Sequential {
    /// ln of the mixture's likelihood ratio.
    evidence: f64,
    candidate_errors: f64,
    stable_errors: f64,
    candidate: Latencies,
    stable: Latencies,
}

impl Sequential {
    /// Adds a second's errors one by one: the mixture's next probability by the configured share.
    fn add_errors(&mut self, share: f64, candidate: &Arm, stable: &Arm) {
        let next = |seen: f64, all: f64, share: f64| libm::log((PRIOR + seen) / (2.0 * PRIOR + all) / share);
        for _ in 0..candidate.all.errors {
            let all = self.candidate_errors + self.stable_errors;
            self.evidence += next(self.candidate_errors, all, share);
            self.candidate_errors += 1.0;
        }
        for _ in 0..stable.all.errors {
            let all = self.candidate_errors + self.stable_errors;
            self.evidence += next(self.stable_errors, all, 1.0 - share);
            self.stable_errors += 1.0;
        }
    }

    fn more_errors(&self, share: f64) -> bool {
        let expected = share * (self.candidate_errors + self.stable_errors);
        self.evidence >= libm::log(2.0 / ALPHA) && self.candidate_errors > expected
    }

    /// Says whether somewhere the candidate's band lies above stable's: fewer of its requests are that fast.
    fn slower(&self) -> bool {
        let (candidate, stable) = (self.candidate.count() as f64, self.stable.count() as f64);
        if candidate == 0.0 || stable == 0.0 {
            return false;
        }
        let bands = band(candidate) + band(stable);
        let (mut fast_candidate, mut fast_stable) = (0.0, 0.0);
        self.candidate.buckets().zip(self.stable.buckets()).any(|((_, of_candidate), (_, of_stable))| {
            fast_candidate += f64::from(of_candidate);
            fast_stable += f64::from(of_stable);
            fast_stable / stable - fast_candidate / candidate > bands
        })
    }
}

/// Returns the half-width of the band about a distribution of `n` values, at α/4: half for latency, half of it an arm.
fn band(n: f64) -> f64 {
    let confidence = libm::log(1612.0 / (ALPHA / 4.0));
    0.85 * ((libm::log(libm::log(std::f64::consts::E * n)) + 0.8 * confidence) / n).sqrt()
}

impl Decider for Sequential {
    fn rolls_back(&mut self, second: &Second) -> bool {
        // A share of 0 or 1 leaves nothing to compare.
        let share = second.weight;
        if share <= 0.0 || share >= 1.0 {
            return false;
        }
        self.add_errors(share, &second.candidate, &second.stable);
        self.candidate.merge(&second.candidate.latencies);
        self.stable.merge(&second.stable.latencies);
        self.more_errors(share) || self.slower()
    }
}
