//! Draws one second after another. The order of the draws is fixed: deciders cannot change what they see.

use super::arm::{Arm, Counts, Latencies, Minute, Minutes, Second};
use super::clusters::{Clusters, Failures, Spells, is_gross};
use super::fault::Fault;
use super::latency::Table;
use super::scene::{Mode, Traffic};
use super::weather::{Conditions, Weather};
use crate::chance::Chance;

/// 600 ms, in the histogram kept here.
const SPELL_PLACE: usize = 263;
const MINUTE: u64 = 60;

/// The seconds of one watch, drawn when asked for.
pub struct Stream<'a> {
    traffic: &'a Traffic,
    chance: Chance,
    weather: Option<Weather>,
    candidate: Nature,
    stable: Nature,
    minute: [(Counts, Latencies); 2],
    next: u64,
    second: Second,
}

/// What of a version lasts longer than a second.
struct Nature {
    clusters: Clusters,
    spells: Spells,
}

impl<'a> Stream<'a> {
    pub(super) fn new(traffic: &'a Traffic, seed: u64, watch: u64) -> Self {
        let scene = &traffic.scene;
        let mut chance = Chance::new(seed, watch);
        let weather = (scene.mode == Mode::Bursts).then(|| Weather::new(&mut chance));
        let rps = scene.load.at(0);
        let mut nature = |share: f64, rate: f64| Nature {
            clusters: Clusters::new(rps * share, rate, &mut chance),
            spells: Spells::default(),
        };
        let candidate = nature(scene.weight, scene.fault.error_rate(scene.error_rate, 0));
        let stable = nature(1.0 - scene.weight, scene.error_rate);
        let (minute, second) = (Default::default(), Second::default());
        Self { traffic, chance, weather, candidate, stable, minute, next: 0, second }
    }

    /// Draws the next second.
    pub fn advance(&mut self) -> &Second {
        self.advance_at(self.traffic.scene.weight_at(self.next))
    }

    /// Draws the next second with the candidate at this weight, whatever the scene says: somebody else decides.
    pub fn advance_at(&mut self, weight: f64) -> &Second {
        let scene = &self.traffic.scene;
        let at = self.next;
        self.next += 1;
        let conditions =
            self.weather.as_mut().map_or(Conditions::CALM, |weather| weather.step(&mut self.chance));
        let requests = self.chance.poisson(scene.load.at(at));
        let to_candidate = self.chance.binomial(requests, weight);
        let route = match scene.fault {
            Fault::Route { traffic, errors } => Some((traffic, errors)),
            _ => None,
        };
        (self.second.second, self.second.weight) = (at, weight);
        let candidate = Draw {
            requests: to_candidate,
            rate: scene.fault.error_rate(scene.error_rate, at),
            route,
            table: &self.traffic.candidate,
            conditions,
            mode: scene.mode,
        };
        candidate.into(&mut self.second.candidate, &mut self.candidate, &mut self.chance);
        let stable = Draw {
            requests: requests - to_candidate,
            rate: scene.error_rate,
            route: route.map(|(traffic, _)| (traffic, scene.error_rate)),
            table: &self.traffic.stable,
            ..candidate
        };
        stable.into(&mut self.second.stable, &mut self.stable, &mut self.chance);
        self.second.harmed = self.harmed(at);
        self.close_minute(at);
        &self.second
    }

    fn harmed(&self, at: u64) -> f64 {
        let scene = &self.traffic.scene;
        let all = self.second.candidate.all;
        if at < scene.fault.onset() {
            return 0.0;
        }
        match scene.fault.slow_share(scene.latency) {
            Some(share) => (all.requests - all.errors) as f64 * share,
            None => all.errors as f64,
        }
    }

    fn close_minute(&mut self, at: u64) {
        for (arm, sum) in [&self.second.candidate, &self.second.stable].into_iter().zip(&mut self.minute) {
            sum.0.add(arm.all);
            sum.1.merge(&arm.latencies);
        }
        self.second.minute = None;
        if (at + 1).is_multiple_of(MINUTE) {
            let mut closed = self.minute.iter_mut().map(|sum| {
                let minute =
                    Minute { all: sum.0, p50_ms: sum.1.quantile_ms(0.5), p99_ms: sum.1.quantile_ms(0.99) };
                sum.0 = Counts::default();
                sum.1.clear();
                minute
            });
            let mut next = || closed.next().expect("BUG: there are two versions");
            self.second.minute = Some(Minutes { candidate: next(), stable: next() });
        }
    }
}

/// What is drawn for one version in one second.
#[derive(Clone, Copy)]
struct Draw<'a> {
    requests: u64,
    rate: f64,
    /// A route's share of the traffic, and the share of it that fails.
    route: Option<(f64, f64)>,
    table: &'a Table,
    conditions: Conditions,
    mode: Mode,
}

impl Draw<'_> {
    /// Returns a share of errors as it is in this second; what is down is down in every weather.
    fn in_these_conditions(&self, rate: f64) -> f64 {
        if is_gross(rate) { rate } else { (rate * self.conditions.errors_times).min(1.0) }
    }

    fn into(self, arm: &mut Arm, nature: &mut Nature, chance: &mut Chance) {
        let rate = self.in_these_conditions(self.rate);
        arm.route = Counts::default();
        if let Some((traffic, errors)) = self.route {
            let requests = chance.binomial(self.requests, traffic);
            let errors = chance.binomial(requests, self.in_these_conditions(errors));
            arm.route = Counts { requests, errors };
        }
        let others = self.requests - arm.route.requests;
        let errors = match self.mode {
            Mode::Independent => Failures::apart(chance.binomial(others, rate)),
            Mode::Bursts => nature.clusters.errors(others, rate, chance),
        };
        arm.all = Counts { requests: self.requests, errors: errors.all + arm.route.errors };
        arm.errors_once = errors.once + arm.route.errors;
        arm.probe_ok = !chance.happens(rate);
        arm.latencies.clear();
        let answers = arm.all.requests - arm.all.errors;
        let slow = match self.mode {
            Mode::Independent => 0,
            Mode::Bursts => nature.spells.slow(answers, chance),
        };
        arm.latencies.add(SPELL_PLACE, slow as u32);
        self.table.draw(answers - slow, self.conditions.latency_shift, chance, &mut arm.latencies);
    }
}
