//! Puts our own judge in front of the simulated traffic: the production test, its calibration and its cold start.
//! Refuses to know what the traffic is like: everything is learned from a reference drawn with another seed.

use crate::chance::mixed;
use crate::rivals::Decider;
use crate::traffic::{Arm, Fault, Latencies, Scene, Second, Traffic};
use rollout::event::VerdictWord;
use rollout::judge::buckets::Boundaries;
use rollout::judge::calibration::{Block, Calibration, History, KnownRoute, Thresholds, calibrate};
use rollout::judge::policy::{LATENCIES, Pair, Pairs, Policy};
use rollout::judge::{Judge, Once, Record, RouteCounts, SAMPLE_MIN, Slow, SlowFrom, policy_for};
use rollout::names::{Millis, Weight};
use rollout::plan::JudgeSettings;

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
    pub settings: JudgeSettings,
    pub calibration: Calibration,
}

impl Known {
    /// Learns from so many hours of the stable version of this scene, split as its weights split.
    pub fn calibrated(settings: &JudgeSettings, scene: &Scene, hours: u64, seed: u64, number: u64) -> Self {
        let reference = Reference::draw(settings, scene, hours * HOUR_S, seed, number);
        Self::learned(settings, &reference)
    }

    /// Learns from a reference.
    pub fn learned(settings: &JudgeSettings, reference: &Reference) -> Self {
        let policy = policy_for(settings);
        let calibrated =
            |part: &Part| calibrate(&policy, &part.blocks_seen(settings), reference.slow(part), part.weight);
        let shares = reference.parts.iter().map(calibrated).collect();
        let calibration = Calibration { shares, ..reference.history(settings) };
        Self { settings: settings.clone(), calibration }
    }

    /// Knows ten minutes of stable's history only.
    pub fn cold(settings: &JudgeSettings, scene: &Scene, seed: u64, number: u64) -> Self {
        let reference = Reference::draw(settings, scene, COLD_S, seed, number);
        let calibration = reference.history(settings);
        Self { settings: settings.clone(), calibration }
    }

    /// Believes requests to be independent: no tempering, the widest cap.
    pub fn believing_independence(mut self) -> Self {
        for share in &mut self.calibration.shares {
            share.pairs = Pairs::uniform(Pair { eta: 1.0, cap: 8.5 });
        }
        self
    }

    /// Returns the judge ready for one watch.
    pub fn watcher(&self, traffic: &Traffic) -> Watcher {
        let mut calibration = self.calibration.clone();
        if let Fault::Route { .. } = traffic.scene.fault {
            let error_rate = calibration.error_rate;
            calibration.routes.push(KnownRoute { template: "/struck".to_owned(), error_rate });
        }
        let mut judge = Judge::new(&self.settings, true);
        judge.calibrate(&calibration);
        let slow_from = judge.slow_from();
        let users = self.settings.user.is_some();
        Watcher { judge, users, weight: None, slow_from, record: Record::default() }
    }
}

/// The Unix second at which streams begin: a midnight.
const EPOCH: u64 = 1_800_000_000 / 86_400 * 86_400;

/// Our judge, watching: the one the state machine speaks to.
#[derive(Debug, Clone)]
pub struct Watcher {
    pub judge: Judge,
    /// Users are told apart.
    users: bool,
    weight: Option<Weight>,
    slow_from: Option<SlowFrom>,
    record: Record,
}

impl Watcher {
    /// Writes down one second as the engine would report it. A new weight is told to the judge first.
    pub fn report(&mut self, second: &Second) -> &Record {
        let percent = (second.weight * 100.0).round() as u8;
        let weight = Weight::new(percent).expect("BUG: a weight is a share");
        if self.weight.replace(weight) != Some(weight) {
            // At the very end of the second before: this one is all of the new weight.
            self.judge.set_weight(weight, Millis((EPOCH + second.second) * 1000 - 1));
        }
        fill(&mut self.record, second, self.slow_from.as_ref());
        let once = Once { candidate: second.candidate.errors_once, stable: second.stable.errors_once };
        self.record.once = self.users.then_some(once);
        &self.record
    }
}

impl Decider for Watcher {
    fn rolls_back(&mut self, second: &Second) -> bool {
        self.report(second);
        self.judge.add(&self.record);
        self.judge.verdict().word == VerdictWord::Worse
    }
}

/// Writes a second as the engine would report it.
pub(crate) fn fill(record: &mut Record, second: &Second, slow_from: Option<&SlowFrom>) {
    let Second { candidate, stable, .. } = second;
    record.second = EPOCH + second.second;
    (record.candidate_requests, record.candidate_errors) = (candidate.all.requests, candidate.all.errors);
    (record.stable_requests, record.stable_errors) = (stable.all.requests, stable.all.errors);
    record.slow = slow_from
        .map(|from| Slow { candidate: slow(candidate, &from.candidate), stable: slow(stable, &from.stable) });
    // Where stable answers too few to be a witness the engine asks its readiness when the candidate fails.
    record.unwell = candidate.all.errors > 0 && stable.all.requests < SAMPLE_MIN && !stable.probe_ok;
    record.routes.clear();
    if candidate.route.requests + stable.route.requests > 0 {
        record.routes.push(RouteCounts {
            candidate_requests: candidate.route.requests,
            candidate_errors: candidate.route.errors,
            stable_requests: stable.route.requests,
            stable_errors: stable.route.errors,
        });
    }
}

fn slow(arm: &Arm, indexes: &[i16; LATENCIES]) -> [u64; LATENCIES] {
    indexes.map(|index| arm.latencies.count_from(index))
}

/// Stable traffic of the past, in blocks of five seconds, split by pseudo-candidates' shares.
#[derive(Debug, Clone)]
pub struct Reference {
    boundaries: Option<Boundaries>,
    seconds: u64,
    /// One a weight.
    parts: Vec<Part>,
}

/// The same at one weight.
#[derive(Debug, Clone)]
struct Part {
    weight: f64,
    blocks: Vec<Block>,
    requests: u64,
    errors: u64,
    errors_once: u64,
    /// Requests of both arms above each unshifted boundary.
    slow: [u64; LATENCIES],
}

impl Reference {
    /// Draws so many seconds of it, twice: the first hours place the thresholds, the whole is counted against them.
    pub fn draw(settings: &JudgeSettings, scene: &Scene, seconds: u64, seed: u64, number: u64) -> Self {
        let healthy = Scene { fault: Fault::Nothing, later: Vec::new(), ..scene.clone() };
        let seed = mixed(seed ^ REFERENCE_SALT);
        let boundaries = boundaries(
            &policy_for(settings),
            &Traffic::new(healthy.clone()),
            seconds.min(THRESHOLDS_S),
            seed,
            number,
        );
        let part = |weight: f64| {
            let traffic = Traffic::new(Scene { weight, ..healthy.clone() });
            Part::draw(&traffic, boundaries, seconds, seed, number)
        };
        Self { boundaries, seconds, parts: scene.weights().map(part).collect() }
    }

    fn slow(&self, part: &Part) -> Option<[u64; LATENCIES]> {
        self.boundaries.map(|_| part.slow)
    }

    /// Returns what is known without a calibration.
    fn history(&self, settings: &JudgeSettings) -> Calibration {
        let first = self.parts.first().expect("BUG: a scene has a weight");
        let (requests, errors) = (first.requests, first.errors);
        let latency = self.boundaries.map(|boundaries| Thresholds {
            boundaries,
            slow_rates: first.slow.map(|count| count as f64 / requests.max(1) as f64),
        });
        let errors_once = if settings.user.is_some() { first.errors_once } else { errors };
        let history = History { requests, errors, errors_once, latencies: &[] };
        let hours = self.seconds as f64 / HOUR_S as f64;
        Calibration { latency, hours, ..Calibration::cold(&policy_for(settings), history) }
    }
}

impl Part {
    fn draw(traffic: &Traffic, boundaries: Option<Boundaries>, seconds: u64, seed: u64, number: u64) -> Self {
        let stable = boundaries.map_or([i16::MAX; LATENCIES], |boundaries| boundaries.indexes());
        let from = SlowFrom { stable, candidate: stable.map(|index| index.saturating_add(SHIFT)) };
        let blocks = vec![Block::default(); seconds.div_ceil(BLOCK_S) as usize];
        let mut part = Self {
            weight: traffic.scene.weight,
            blocks,
            requests: 0,
            errors: 0,
            errors_once: 0,
            slow: [0; LATENCIES],
        };
        let mut stream = traffic.stream(seed, number);
        for at in 0..seconds {
            part.add(at, stream.advance(), &from);
        }
        part
    }

    /// Returns the blocks as they are counted: where users are not told apart every error is one of its own.
    fn blocks_seen(&self, settings: &JudgeSettings) -> Vec<Block> {
        let apart = |block: &Block| match settings.user {
            Some(_) => *block,
            None => Block {
                candidate_errors_once: block.candidate_errors,
                stable_errors_once: block.stable_errors,
                ..*block
            },
        };
        self.blocks.iter().map(apart).collect()
    }

    fn add(&mut self, at: u64, second: &Second, from: &SlowFrom) {
        let Second { candidate, stable, .. } = second;
        let block = &mut self.blocks[(at / BLOCK_S) as usize];
        block.candidate_requests += candidate.all.requests as u32;
        block.candidate_errors += candidate.all.errors as u32;
        block.candidate_errors_once += candidate.errors_once as u32;
        block.stable_requests += stable.all.requests as u32;
        block.stable_errors += stable.all.errors as u32;
        block.stable_errors_once += stable.errors_once as u32;
        let add = |sums: &mut [u32; LATENCIES], counts: [u64; LATENCIES]| {
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count as u32);
        };
        add(&mut block.candidate_slow, slow(candidate, &from.candidate));
        add(&mut block.stable_slow, slow(stable, &from.stable));
        for arm in [candidate, stable] {
            self.requests += arm.all.requests;
            self.errors += arm.all.errors;
            self.errors_once += arm.errors_once;
            self.slow.iter_mut().zip(slow(arm, &from.stable)).for_each(|(sum, count)| *sum += count);
        }
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

#[cfg(test)]
mod tests;
