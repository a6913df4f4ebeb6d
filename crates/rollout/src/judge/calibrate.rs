//! Chooses how far one component's evidence can be trusted on a service whose errors come in bursts, from what stable did.
//! An empirical check at eight time scales that a healthy candidate gains nothing; an estimate, not a theorem.
//! Reads one series and holds it for the time of the choice only; `calibration` asks for every component.

use super::policy::Pair;
use super::ripr::{Alternative, Answers, Arms, Factors, Margin, factors};

/// η that are tried, and c.
const ETAS: [f64; 12] = [1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.05, 0.03, 0.02, 0.01];
const CAPS: [f64; 15] = [8.5, 5.0, 3.7, 2.7, 2.0, 1.4, 1.0, 0.7, 0.5, 0.35, 0.25, 0.17, 0.12, 0.08, 0.05];
/// Lengths, in blocks, of the windows in which a healthy candidate must gain nothing.
const WINDOWS: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
/// A window is looked at where the reference is this many times as long.
const WINDOWS_MIN: usize = 4;
/// Windows longer than this are capped, with a stable beside them: one bad spell of the reference is not the rule.
const WINDOW_UNCAPPED: usize = 8;
const WINDOW_CAP_MAX: f64 = 40.0;
/// Events the belief in independent requests is worth.
const PRIOR_EVENTS: f64 = 5.0;
/// What a larger cap is preferred by when nothing else tells pairs apart.
const CAP_BONUS: f64 = 1e-4;
/// Hits are put on top of each other up to so many times; beyond that, or at such a rate, they are spread evenly.
const SUPERPOSED_MAX: f64 = 8.0;
const SUPERPOSED_RATE_MAX: f64 = 0.2;
/// Distance, in blocks, between what is put on top of each other: a prime, so that no rhythm repeats.
const STRIDE: usize = 7919;

/// What is asked of a reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Question<'a> {
    /// What both arms answered in every block of the reference.
    pub blocks: &'a [Answers],
    /// p: share of hits of both arms.
    pub rate: f64,
    /// pc0: that of the pseudo-candidate, above the shifted threshold where it is of latency.
    pub candidate_rate: f64,
    pub alternative: Alternative,
    pub margin: Margin,
    pub arms: Arms,
    /// κ_s: gains count so many times losses.
    pub strictness: f64,
    pub cap_max: f64,
}

/// A question with what every block says to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial<'a> {
    question: Question<'a>,
    alternative_rate: f64,
    factors: Factors,
    candidate_mean: f64,
    stable_mean: f64,
    /// ℓ of the blocks as they were.
    healthy: Vec<f64>,
    /// ℓ' of the blocks under the alternative, sorted, and the sums of the first of them.
    harmed: Vec<f64>,
    harmed_sums: Vec<f64>,
}

impl<'a> Trial<'a> {
    pub fn new(question: Question<'a>) -> Self {
        let Question { blocks, rate, alternative, margin, arms, .. } = question;
        let (alternative_rate, factors) = factors(alternative, rate, margin, arms);
        let count = blocks.len().max(1) as f64;
        let mut harmed: Vec<f64> = (0..blocks.len())
            .map(|block| {
                let candidate_hits = superposed(&question, alternative_rate, block);
                factors.log_ratio(&Answers { candidate_hits, ..blocks[block] })
            })
            .collect();
        harmed.sort_unstable_by(f64::total_cmp);
        let sums = harmed.iter().scan(0.0, |sum, value| {
            *sum += value;
            Some(*sum)
        });
        Self {
            alternative_rate,
            factors,
            candidate_mean: blocks.iter().map(|block| block.candidate_requests).sum::<f64>() / count,
            stable_mean: blocks.iter().map(|block| block.stable_requests).sum::<f64>() / count,
            healthy: blocks.iter().map(|block| factors.log_ratio(block)).collect(),
            harmed_sums: std::iter::once(0.0).chain(sums).collect(),
            harmed,
            question,
        }
    }

    /// Returns p1c, the rate of the alternative.
    pub fn alternative_rate(&self) -> f64 {
        self.alternative_rate
    }

    pub fn factors(&self) -> Factors {
        self.factors
    }

    /// Returns the pair that finds the alternative soonest among those that leave a healthy candidate alone; off if none does.
    /// Off too where the reference is shorter than any window.
    pub fn choose(&self) -> Pair {
        if self.windows().next().is_none() {
            return Pair::default();
        }
        let caps = CAPS.into_iter().filter(|cap| *cap <= self.question.cap_max);
        let pairs = ETAS.into_iter().flat_map(|eta| caps.clone().map(move |cap| Pair { eta, cap }));
        let mut growing: Vec<(f64, Pair)> =
            pairs.map(|pair| (self.growth(pair), pair)).filter(|(growth, _)| *growth > 0.0).collect();
        // Stable: of equal ones the first in the lists is tried first.
        growing.sort_by(|a, b| b.0.total_cmp(&a.0));
        growing.into_iter().map(|(_, pair)| pair).find(|pair| self.is_harmless(*pair)).unwrap_or_default()
    }

    /// Returns G, the mean gain of a block under the alternative, in nats.
    pub fn growth(&self, pair: Pair) -> f64 {
        let uncapped = self.harmed.partition_point(|value| pair.eta * value < pair.cap);
        let capped = self.harmed.len() - uncapped;
        let gained = pair.eta * self.harmed_sums[uncapped] + pair.cap * capped as f64;
        gained / self.harmed.len().max(1) as f64 * (1.0 + CAP_BONUS * pair.cap)
    }

    /// Returns the left-hand side of the condition at every window length the reference is long enough for.
    /// A healthy candidate gains nothing where none of them is above 0.
    pub fn left_hand_sides(&self, pair: Pair) -> Vec<f64> {
        let tempered = self.tempered(pair);
        self.windows().map(|window| self.left_hand_side(&tempered, pair.eta, window)).collect()
    }

    fn is_harmless(&self, pair: Pair) -> bool {
        let tempered = self.tempered(pair);
        self.windows().all(|window| self.left_hand_side(&tempered, pair.eta, window) <= 0.0)
    }

    fn windows(&self) -> impl Iterator<Item = usize> + use<> {
        let blocks = self.healthy.len();
        WINDOWS.into_iter().take_while(move |window| window * WINDOWS_MIN <= blocks)
    }

    fn tempered(&self, pair: Pair) -> Vec<f64> {
        self.healthy.iter().map(|value| (pair.eta * value).min(pair.cap)).collect()
    }

    fn left_hand_side(&self, tempered: &[f64], eta: f64, window: usize) -> f64 {
        let length = window as f64;
        let cap = self.window_cap(window);
        let (mut sum, mut count) = (0.0, 0.0);
        for blocks in tempered.windows(window).step_by((window / 4).max(1)) {
            let gain = libm::exp(blocks.iter().sum::<f64>().min(cap)) - 1.0;
            sum += if gain < 0.0 { gain } else { self.question.strictness * gain };
            count += 1.0;
        }
        let events = self.candidate_mean * self.question.candidate_rate;
        let prior = PRIOR_EVENTS / (length * events) * (libm::exp(length * self.independent(eta)) - 1.0);
        tempered.len() as f64 / length * (sum / count) + prior
    }

    /// Returns d, what a window may gain at most.
    fn window_cap(&self, window: usize) -> f64 {
        match self.question.arms {
            Arms::Both { .. } if window > WINDOW_UNCAPPED => {
                libm::log((self.healthy.len() as f64 / (10.0 * window as f64)).max(3.0))
            }
            Arms::Both { .. } | Arms::Alone => WINDOW_CAP_MAX,
        }
    }

    /// Returns Λ, what a block of the mean size gains where requests are independent.
    fn independent(&self, eta: f64) -> f64 {
        let mean = |rate: f64, hit: f64, miss: f64| {
            libm::log((1.0 - rate) * libm::exp(eta * miss) + rate * libm::exp(eta * hit))
        };
        let Factors { candidate_error, candidate_success, stable_error, stable_success } = self.factors;
        let candidate = mean(self.question.candidate_rate, candidate_error, candidate_success);
        let stable = mean(self.question.rate, stable_error, stable_success);
        match self.question.arms {
            Arms::Both { .. } => self.candidate_mean * candidate + self.stable_mean * stable,
            Arms::Alone => self.candidate_mean * candidate,
        }
    }
}

/// Returns the candidate's hits of a block had it the alternative's rate: those of other blocks on top of its own,
/// so that bursts stay bursts.
fn superposed(question: &Question<'_>, alternative_rate: f64, block: usize) -> f64 {
    let Question { blocks, candidate_rate, .. } = *question;
    let requests = blocks[block].candidate_requests;
    let times = alternative_rate / candidate_rate;
    if times > SUPERPOSED_MAX || candidate_rate > SUPERPOSED_RATE_MAX {
        return requests * alternative_rate;
    }
    let whole = libm::floor(times);
    let hits = |layer: usize| blocks[(block + STRIDE * layer) % blocks.len()].candidate_hits;
    let layers = whole as usize;
    let sum = (0..layers).map(hits).sum::<f64>() + (times - whole) * hits(layers);
    sum.min(requests)
}
