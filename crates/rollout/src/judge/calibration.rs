//! Calibrates every component of a watch on the last day of stable's own traffic, and says what that cannot see.
//! Collects nothing: who keeps the reference cuts it into blocks. See `calibrate` for one component.

use super::buckets::Boundaries;
use super::calibrate::{Question, Trial};
use super::counts::Sample;
use super::family::{believable_errors, believable_slow};
use super::policy::{LATENCIES, Limits, Metric, Pair, Pairs, Policy, arms};
use super::process::{Acting, Reference};
use super::ripr::{Alternative, Answers, Arms, Margin};
use super::seasons::Seasons;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A pseudo-candidate without a slow request has this rate at least.
const SLOW_RATE_MIN: f64 = 1e-7;
/// Weights that differ by less are the same.
const SAME_WEIGHT: f64 = 1e-9;
/// Components with a smaller cap say too little to find their fault in time.
const CAP_INSENSITIVE: f64 = 0.5;
const HOUR_SECONDS: f64 = 3600.0;

/// Five seconds of stable, split as a weight would split them. Without a stable beside the candidate everything is the
/// pseudo-candidate's, also what is slow: above the *shifted* thresholds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    pub candidate_requests: u32,
    pub candidate_errors: u32,
    /// At most one a user, endpoint and ten seconds; as many as `candidate_errors` where users are not told apart.
    pub candidate_errors_once: u32,
    pub stable_requests: u32,
    pub stable_errors: u32,
    pub stable_errors_once: u32,
    /// Slower than the shifted thresholds.
    pub candidate_slow: [u32; LATENCIES],
    /// Slower than the thresholds themselves.
    pub stable_slow: [u32; LATENCIES],
}

/// What is known of a service before a watch, from stable's own traffic. Recorded with the deployment it is used in, and
/// fixed for its whole watch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Calibration {
    pub error_rate: f64,
    pub error_rate_once: f64,
    pub latency: Option<Thresholds>,
    /// The weights that were calibrated; none at a cold start.
    #[serde(default)]
    pub shares: Vec<ShareCalibration>,
    /// Routes judged on their own, by stable's traffic.
    #[serde(default)]
    pub routes: Vec<KnownRoute>,
    /// Errors by the time of day, for a candidate alone.
    #[serde(default)]
    pub seasons: Option<Seasons>,
    /// Hours of stable's traffic this rests on.
    #[serde(default)]
    pub hours: f64,
}

/// What is known of one route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KnownRoute {
    pub template: String,
    /// Share of its requests that fail on stable.
    pub error_rate: f64,
}

/// Where stable's requests are slow, and how many of them are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Thresholds {
    pub boundaries: Boundaries,
    /// Observed share of requests above each boundary.
    pub slow_rates: [f64; LATENCIES],
}

/// What one weight was calibrated to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShareCalibration {
    /// A part of one.
    pub weight: f64,
    /// Length of the reference.
    pub hours: f64,
    pub pairs: Pairs,
    /// Components that see nothing, or little.
    pub insensitive: Vec<Insensitive>,
    /// Metrics in which the instances that stood for the candidate are worse by more than the margin.
    pub differing: Vec<Metric>,
}

/// A component that will find its fault late or never.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Insensitive {
    pub metric: Metric,
    pub alternative: Alternative,
    pub pair: Pair,
}

/// All that is known of stable's requests, however short it ran.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct History<'a> {
    pub requests: u64,
    pub errors: u64,
    pub errors_once: u64,
    /// Latencies of the requests that did not fail: (bucket, count).
    pub latencies: &'a [(i16, u64)],
}

impl Calibration {
    /// Returns what a history tells of rates and thresholds, with no weight calibrated: a cold start.
    pub fn cold(policy: &Policy, history: History<'_>) -> Self {
        let rate = |errors: u64| {
            if history.requests == 0 {
                return policy.cold.error_rate;
            }
            smoothed(errors.min(history.requests) as f64, history.requests as f64)
        };
        let enough = history.requests >= policy.cold.latency_requests_min;
        Self {
            error_rate: rate(history.errors),
            error_rate_once: rate(history.errors_once),
            latency: if enough { Thresholds::of(history) } else { None },
            ..Self::default()
        }
    }

    /// Tells whether every rate is one: what is no number could not be read from a journal again.
    pub fn is_sound(&self) -> bool {
        let slow = self.latency.iter().flat_map(|latency| latency.slow_rates);
        let routes = self.routes.iter().map(|route| route.error_rate);
        let mut rates = [self.error_rate, self.error_rate_once].into_iter().chain(slow).chain(routes);
        self.hours.is_finite() && rates.all(|rate| (0.0..=1.0).contains(&rate))
    }

    /// Tells whether a weight has constants of its own.
    pub fn is_calibrated(&self, policy: &Policy, weight: f64) -> bool {
        self.share(weight).is_some_and(|share| share.hours >= policy.calibration.hours_min)
    }

    fn share(&self, weight: f64) -> Option<&ShareCalibration> {
        self.shares.iter().find(|share| (share.weight - weight).abs() < SAME_WEIGHT)
    }

    /// Returns the pairs of a weight: its own, or those of a cold start; never another weight's.
    pub fn pairs(&self, policy: &Policy, weight: f64) -> Pairs {
        self.share(weight).map_or_else(|| policy.uncalibrated(arms(weight)), |share| share.pairs)
    }

    /// Says whose evidence may take a candidate back at a weight: alone, rates need a day of reference.
    pub fn acting(&self, policy: &Policy, weight: f64) -> Acting {
        let hours = self.share(weight).map_or(0.0, |share| share.hours);
        match arms(weight) {
            Arms::Alone if hours < policy.calibration.hours_alone_min => Acting::Absolute,
            Arms::Alone | Arms::Both { .. } => Acting::All,
        }
    }

    /// Returns what a watch needs to know of stable.
    pub fn reference(&self) -> Reference {
        Reference {
            error_rate: self.error_rate,
            error_rate_once: self.error_rate_once,
            slow_rates: self.latency.map(|latency| latency.slow_rates),
            route_error_rates: self.routes.iter().map(|route| route.error_rate).collect(),
            seasons: self.seasons.clone(),
        }
    }
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.shares.iter().all(|share| share.hours < Limits::default().hours_min) {
            write!(f, "the judge starts cold: {:.1} h of stable's traffic are known", self.hours)?;
        } else {
            write!(f, "the judge is calibrated on {:.1} h of stable's traffic", self.hours)?;
        }
        write!(f, ", {:.3} % of its requests fail", self.error_rate * 100.0)?;
        let Some(latency) = self.latency else { return Ok(()) };
        let [p50, _, p99, _] = latency.boundaries.milliseconds();
        write!(f, ", p50 {p50:.1} ms, p99 {p99:.1} ms")
    }
}

impl Thresholds {
    fn of(history: History<'_>) -> Option<Self> {
        let boundaries = Boundaries::of(history.latencies)?;
        let requests = history.requests.max(1) as f64;
        let slow_rates =
            boundaries.slow_of_stable(history.latencies).map(|slow| (slow as f64 / requests).min(1.0));
        Some(Self { boundaries, slow_rates })
    }
}

fn smoothed(hits: f64, requests: f64) -> f64 {
    (hits + 0.5) / (requests + 1.0)
}

/// Calibrates all components for a weight. `slow` counts, for each threshold, the reference's requests of both arms above
/// the unshifted boundary; None leaves latency off. Too short a reference gives the constants of a cold start.
/// Takes some 50 ms for a day, seconds at worst.
pub fn calibrate(
    policy: &Policy,
    blocks: &[Block],
    slow: Option<[u64; LATENCIES]>,
    weight: f64,
) -> ShareCalibration {
    let arms = arms(weight);
    let hours = blocks.len() as f64 * f64::from(policy.block_seconds) / HOUR_SECONDS;
    let mut share = ShareCalibration {
        weight,
        hours,
        pairs: policy.uncalibrated(arms),
        insensitive: Vec::new(),
        differing: Vec::new(),
    };
    if hours >= policy.calibration.hours_min {
        share.calibrate_errors(policy, blocks, arms);
        share.calibrate_latency(policy, blocks, slow, arms);
    }
    share.list_insensitive(policy, slow.is_some());
    share
}

/// One metric of a reference.
struct Series {
    metric: Metric,
    blocks: Vec<Answers>,
    rate: f64,
    candidate_rate: f64,
    margin: Margin,
    strictness: f64,
    arms: Arms,
}

impl Series {
    fn choose(&self, alternative: Alternative, cap_max: f64) -> Pair {
        let Series { rate, candidate_rate, margin, strictness, arms, .. } = *self;
        let blocks = &self.blocks;
        Trial::new(Question { blocks, rate, candidate_rate, alternative, margin, arms, strictness, cap_max })
            .choose()
    }

    fn differs(&self) -> bool {
        self.candidate_rate > self.margin.limit(self.rate)
    }
}

/// Sums of a series.
fn totals(blocks: &[Answers]) -> Answers {
    blocks.iter().fold(Answers::default(), |sum, block| Answers {
        candidate_requests: sum.candidate_requests + block.candidate_requests,
        candidate_hits: sum.candidate_hits + block.candidate_hits,
        stable_requests: sum.stable_requests + block.stable_requests,
        stable_hits: sum.stable_hits + block.stable_hits,
    })
}

fn errors(policy: &Policy, blocks: &[Block], arms: Arms, hits: impl Fn(&Block) -> (u32, u32)) -> Series {
    let blocks: Vec<Answers> = blocks.iter().map(|block| answers(block, hits(block))).collect();
    let sum = totals(&blocks);
    let requests = sum.candidate_requests + sum.stable_requests;
    let rate = believable_errors(smoothed(sum.candidate_hits + sum.stable_hits, requests));
    let margin = policy.error_margin(arms);
    let strictness = strictness(policy.calibration.strictness_errors, &policy.calibration, arms);
    Series { metric: Metric::Errors, blocks, rate, candidate_rate: rate, margin, strictness, arms }
}

fn latency(policy: &Policy, blocks: &[Block], arms: Arms, threshold: u8, slow: u64) -> Series {
    let j = usize::from(threshold);
    let hits = |block: &Block| (block.candidate_slow[j], block.stable_slow[j]);
    let blocks: Vec<Answers> = blocks.iter().map(|block| answers(block, hits(block))).collect();
    let sum = totals(&blocks);
    let rate = believable_slow(smoothed(slow as f64, sum.candidate_requests + sum.stable_requests));
    let candidate_rate = (sum.candidate_hits / sum.candidate_requests.max(1.0)).max(SLOW_RATE_MIN);
    let strictness = strictness(policy.calibration.strictness_latency, &policy.calibration, arms);
    let metric = Metric::Latency(threshold);
    Series { metric, blocks, rate, candidate_rate, margin: policy.latency, strictness, arms }
}

fn answers(block: &Block, (candidate_hits, stable_hits): (u32, u32)) -> Answers {
    Sample::new(
        u64::from(block.candidate_requests),
        u64::from(candidate_hits),
        u64::from(block.stable_requests),
        u64::from(stable_hits),
    )
    .answers()
}

fn strictness(beside_stable: f64, limits: &Limits, arms: Arms) -> f64 {
    match arms {
        Arms::Both { .. } => beside_stable,
        Arms::Alone => limits.strictness_alone,
    }
}

impl ShareCalibration {
    fn calibrate_errors(&mut self, policy: &Policy, blocks: &[Block], arms: Arms) {
        let limits = &policy.calibration;
        let cap_odds = match arms {
            Arms::Both { .. } => limits.cap_errors,
            Arms::Alone => limits.cap_errors_alone,
        };
        let once = errors(policy, blocks, arms, |b| (b.candidate_errors_once, b.stable_errors_once));
        let all = errors(policy, blocks, arms, |b| (b.candidate_errors, b.stable_errors));
        for (pair, alternative) in self.pairs.errors.iter_mut().zip(policy.error_alternatives()) {
            *pair = match alternative {
                Alternative::Odds(_) => once.choose(alternative, cap_odds),
                Alternative::Absolute(_) => all.choose(alternative, limits.cap_absolute),
            };
        }
        // Of errors both arms have one rate here, so the arms themselves are compared.
        let sum = totals(&all.blocks);
        let candidate_rate = sum.candidate_hits / sum.candidate_requests.max(1.0);
        self.note_difference(&Series { candidate_rate, ..all });
    }

    fn calibrate_latency(
        &mut self,
        policy: &Policy,
        blocks: &[Block],
        slow: Option<[u64; LATENCIES]>,
        arms: Arms,
    ) {
        let Some(slow) = slow else { return };
        for (threshold, slow) in (0..).zip(slow) {
            let series = latency(policy, blocks, arms, threshold, slow);
            let pairs = &mut self.pairs.latency[usize::from(threshold)];
            for (pair, alternative) in pairs.iter_mut().zip(policy.latency_alternatives()) {
                *pair = series.choose(alternative, policy.calibration.cap_latency);
            }
            self.note_difference(&series);
        }
    }

    fn note_difference(&mut self, series: &Series) {
        if series.differs() {
            self.differing.push(series.metric);
        }
    }

    fn list_insensitive(&mut self, policy: &Policy, with_latency: bool) {
        let errors = self.pairs.errors.iter().zip(policy.error_alternatives());
        let mut all: Vec<_> = errors.map(|(pair, of)| (Metric::Errors, *pair, of)).collect();
        for (threshold, pairs) in (0..).zip(self.pairs.latency).filter(|_| with_latency) {
            let of = pairs.into_iter().zip(policy.latency_alternatives());
            all.extend(of.map(|(pair, of)| (Metric::Latency(threshold), pair, of)));
        }
        let weak = all.into_iter().filter(|(_, pair, _)| pair.eta == 0.0 || pair.cap < CAP_INSENSITIVE);
        self.insensitive =
            weak.map(|(metric, pair, alternative)| Insensitive { metric, alternative, pair }).collect();
    }
}
