//! Puts our own judge in front of the simulated traffic: the production test, its calibration and its cold start.
//! Refuses to know what the traffic is like: everything is learned from a reference drawn with another seed.

use crate::chance::mixed;
use crate::rivals::Decider;
use crate::traffic::{Arm, Fault, Latencies, Scene, Second, Traffic};
use rollout::judge::buckets::Boundaries;
use rollout::judge::calibration::{Block, Calibration, History, Thresholds, calibrate};
use rollout::judge::policy::{LATENCIES, Pair, Pairs, Policy};
use rollout::judge::process::Test;
use rollout::judge::{Counts, RouteCounts};

/// How much of the reference is read to place the latency thresholds.
const THRESHOLDS_S: u64 = 7200;
/// Stable's history before a cold start.
const COLD_S: u64 = 600;
const HOUR_S: u64 = 3600;
const BLOCK_S: u64 = 5;
/// Buckets the candidate's thresholds lie above stable's.
const SHIFT: i16 = 2;
/// Keeps references apart from watches of the same seed.
const REFERENCE_SALT: u64 = 0x5245_4645_5245_4e43;

/// What our judge knows before a watch.
#[derive(Debug, Clone)]
pub struct Known {
    pub policy: Policy,
    pub calibration: Calibration,
    weight: f64,
    /// Chosen by hand instead of by a calibration.
    pairs: Option<Pairs>,
}

impl Known {
    /// Learns from so many hours of the stable version of this scene, split as its weight splits.
    pub fn calibrated(policy: &Policy, scene: &Scene, hours: u64, seed: u64, number: u64) -> Self {
        let reference = Reference::draw(policy, scene, hours * HOUR_S, seed, number);
        Self::learned(policy, scene, &reference)
    }

    /// Learns from a reference of this scene.
    pub fn learned(policy: &Policy, scene: &Scene, reference: &Reference) -> Self {
        let share = calibrate(policy, &reference.blocks, reference.slow, scene.weight);
        let calibration = Calibration { shares: vec![share], ..reference.cold(policy) };
        Self { policy: policy.clone(), calibration, weight: scene.weight, pairs: None }
    }

    /// Knows ten minutes of stable's history only.
    pub fn cold(policy: &Policy, scene: &Scene, seed: u64, number: u64) -> Self {
        let calibration = Reference::draw(policy, scene, COLD_S, seed, number).cold(policy);
        Self { policy: policy.clone(), calibration, weight: scene.weight, pairs: None }
    }

    /// Believes requests to be independent: no tempering, the widest cap.
    pub fn believing_independence(self) -> Self {
        Self { pairs: Some(Pairs::uniform(Pair { eta: 1.0, cap: 8.5 })), ..self }
    }

    /// Returns the judge ready for one watch.
    pub fn judge(&self, traffic: &Traffic) -> Judge {
        let routes = match traffic.scene.fault {
            Fault::Route { .. } => vec![self.calibration.error_rate],
            _ => Vec::new(),
        };
        let pairs = self.pairs.unwrap_or_else(|| self.calibration.pairs(&self.policy, self.weight));
        let reference = self.calibration.reference(routes, None);
        let mut test = Test::new(self.policy.clone(), reference, self.weight, &pairs);
        test.set_acting(self.calibration.acting(&self.policy, self.weight));
        let indexes = indexes(self.calibration.latency.map(|latency| latency.boundaries));
        Judge { test, indexes, counts: Counts::default() }
    }

    /// Returns what the judge would be told in the first seconds of a watch.
    pub fn records(&self, traffic: &Traffic, seed: u64, watch: u64, seconds: u64) -> Vec<Counts> {
        let indexes = indexes(self.calibration.latency.map(|latency| latency.boundaries));
        let mut stream = traffic.stream(seed, watch);
        let mut record = |_| {
            let mut counts = Counts::default();
            fill(&mut counts, stream.advance(), &indexes);
            counts
        };
        (0..seconds).map(&mut record).collect()
    }
}

/// Our judge, watching.
#[derive(Debug, Clone)]
pub struct Judge {
    pub test: Test,
    indexes: [i16; LATENCIES],
    counts: Counts,
}

impl Decider for Judge {
    fn rolls_back(&mut self, second: &Second) -> bool {
        fill(&mut self.counts, second, &self.indexes);
        self.test.add(&self.counts);
        self.test.is_decided()
    }
}

/// Writes a second as the engine would report it.
fn fill(counts: &mut Counts, second: &Second, indexes: &[i16; LATENCIES]) {
    let Second { candidate, stable, .. } = second;
    counts.second = second.second;
    counts.length = 1;
    (counts.candidate_requests, counts.candidate_errors) = (candidate.all.requests, candidate.all.errors);
    (counts.stable_requests, counts.stable_errors) = (stable.all.requests, stable.all.errors);
    (counts.candidate_errors_once, counts.stable_errors_once) = (candidate.all.errors, stable.all.errors);
    counts.candidate_slow = slow(candidate, indexes, SHIFT);
    counts.stable_slow = slow(stable, indexes, 0);
    counts.routes.clear();
    if candidate.route.requests + stable.route.requests > 0 {
        counts.routes.push(RouteCounts {
            candidate_requests: candidate.route.requests,
            candidate_errors: candidate.route.errors,
            stable_requests: stable.route.requests,
            stable_errors: stable.route.errors,
        });
    }
}

fn slow(arm: &Arm, indexes: &[i16; LATENCIES], shift: i16) -> [u64; LATENCIES] {
    indexes.map(|index| arm.latencies.count_from(index + shift))
}

/// Stable traffic of the past, in blocks of five seconds, split by a pseudo-candidate's share.
#[derive(Debug, Clone)]
pub struct Reference {
    blocks: Vec<Block>,
    requests: u64,
    errors: u64,
    thresholds: Option<Thresholds>,
    /// Requests of both arms above each unshifted boundary.
    slow: Option<[u64; LATENCIES]>,
}

impl Reference {
    /// Draws so many seconds of it, twice: the first hours place the thresholds, the whole is counted against them.
    pub fn draw(policy: &Policy, scene: &Scene, seconds: u64, seed: u64, number: u64) -> Self {
        let traffic = Traffic::new(Scene { fault: Fault::Nothing, ..scene.clone() });
        let seed = mixed(seed ^ REFERENCE_SALT);
        let boundaries = boundaries(policy, &traffic, seconds.min(THRESHOLDS_S), seed, number);
        let indexes = indexes(boundaries);
        let (mut requests, mut errors, mut slow_all) = (0, 0, [0; LATENCIES]);
        let mut blocks = vec![Block::default(); seconds.div_ceil(BLOCK_S) as usize];
        let mut stream = traffic.stream(seed, number);
        for at in 0..seconds {
            let second = stream.advance();
            add(&mut blocks[(at / BLOCK_S) as usize], second, &indexes);
            for arm in [&second.candidate, &second.stable] {
                requests += arm.all.requests;
                errors += arm.all.errors;
                slow_all.iter_mut().zip(slow(arm, &indexes, 0)).for_each(|(sum, count)| *sum += count);
            }
        }
        let thresholds = boundaries.map(|boundaries| {
            let slow_rates = slow_all.map(|count| count as f64 / requests.max(1) as f64);
            Thresholds { boundaries, slow_rates }
        });
        Self { blocks, requests, errors, thresholds, slow: thresholds.map(|_| slow_all) }
    }

    fn cold(&self, policy: &Policy) -> Calibration {
        let history = History {
            requests: self.requests,
            errors: self.errors,
            errors_once: self.errors,
            latencies: &[],
        };
        Calibration { latency: self.thresholds, ..Calibration::cold(policy, history) }
    }
}

fn boundaries(
    policy: &Policy,
    traffic: &Traffic,
    seconds: u64,
    seed: u64,
    number: u64,
) -> Option<Boundaries> {
    let mut seen = Latencies::default();
    let mut stream = traffic.stream(seed, number);
    for _ in 0..seconds {
        let second = stream.advance();
        seen.merge(&second.candidate.latencies);
        seen.merge(&second.stable.latencies);
    }
    let enough = seen.count() >= policy.cold.latency_requests_min;
    let buckets: Vec<(i16, u64)> = seen.buckets().map(|(index, count)| (index, u64::from(count))).collect();
    if enough { Boundaries::of(&buckets) } else { None }
}

fn indexes(boundaries: Option<Boundaries>) -> [i16; LATENCIES] {
    boundaries.map_or([i16::MAX - SHIFT; LATENCIES], |boundaries| boundaries.indexes())
}

fn add(block: &mut Block, second: &Second, indexes: &[i16; LATENCIES]) {
    let Second { candidate, stable, .. } = second;
    block.candidate_requests += candidate.all.requests as u32;
    block.candidate_errors += candidate.all.errors as u32;
    block.candidate_errors_once += candidate.all.errors as u32;
    block.stable_requests += stable.all.requests as u32;
    block.stable_errors += stable.all.errors as u32;
    block.stable_errors_once += stable.all.errors as u32;
    let add = |sums: &mut [u32; LATENCIES], counts: [u64; LATENCIES]| {
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count as u32);
    };
    add(&mut block.candidate_slow, slow(candidate, indexes, SHIFT));
    add(&mut block.stable_slow, slow(stable, indexes, 0));
}

#[cfg(test)]
mod tests;
