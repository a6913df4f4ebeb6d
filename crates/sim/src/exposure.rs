//! Predicts what a failing release would cost at each step of a rollout, for one service's traffic: whole walks through the
//! production state machine where there is time for them, the closed form of `rollout::judge::forecast` where there is not.
//! Failures come one by one, or in clusters where the calibration has seen such. Refuses to say what latency would cost.

use crate::traffic::{Fault, Load, Mixture, Mode, Scene, Traffic};
use crate::walk::{Course, End, Path, Runner, with_look};
use rollout::judge::buckets::{Boundaries, bucket, lower_ms};
use rollout::judge::calibration::{Calibration, Thresholds};
use rollout::judge::forecast::Forecast;
use rollout::judge::policy::{LATENCIES, Metric, Pair, Pairs, Policy, arms};
use rollout::judge::policy_for;
use rollout::names::{Millis, Weight};
use rollout::plan::RolloutSettings;

/// Shares of a release's requests that fail, for which the cost is said.
pub const FAILING: [f64; 4] = [0.01, 0.05, 0.2, 1.0];
/// A release that fails this often must not pass a step unseen; where it may, that is said.
const MUST_BE_SEEN: f64 = 0.05;
/// From the verdict until the edge has sent its last request to the candidate, 99 times of 100 (docs/measurements.md).
pub const EDGE_SECONDS: f64 = 0.05;
/// Walks of one kind: more say no more in two digits.
const WALKS_MAX: u64 = 100;
/// With fewer the worst of twenty is not known, and the closed form is used.
const WALKS_MIN: u64 = 20;
/// Simulated seconds of one kind that may be spent, and that are too many for even the fewest walks.
const SECONDS_WANTED: f64 = 12_000.0;
const SECONDS_MAX: f64 = 60_000.0;
/// Requests a second from which drawing them takes as long as everything else.
const REQUESTS_DEAR: f64 = 4000.0;
const REQUESTS_DEAREST: f64 = 20_000.0;
/// Tempering of the errors' components from which requests are taken to fail in clusters.
const ETA_INDEPENDENT: f64 = 0.7;

/// A service as the prediction needs it.
#[derive(Debug, Clone)]
pub struct Service {
    pub requests_per_second: f64,
    pub error_rate: f64,
    pub calibration: Calibration,
}

/// What a deploy would cost.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// Whether failures were taken to come in clusters.
    pub mode: Mode,
    pub steps: Vec<StepForecast>,
    /// A release that fails so from its first request on, through all steps.
    pub whole: Vec<Exposure>,
    /// None: it would take too long to simulate.
    pub healthy: Option<Healthy>,
}

/// One step.
#[derive(Debug, Clone)]
pub struct StepForecast {
    pub weight: Weight,
    pub bake_min: Millis,
    pub bake: Millis,
    pub bake_max: Millis,
    /// The judge uses the constants of a cold start here.
    pub cold: bool,
    /// Least share of failing requests that is found within the bake; None: not even if everything failed.
    pub smallest_visible: Option<f64>,
    /// The same if the calibration showed no bursts: the best there is.
    pub smallest_visible_best: Option<f64>,
    /// Mean time until a release as good as stable is proven safe.
    pub seconds_until_safe: Option<f64>,
    /// Where a release that fails 5 % (more where stable does) would pass unseen: what would see it.
    pub too_small: Option<TooSmall>,
    /// A release that was well before and begins to fail at this step.
    pub exposures: Vec<Exposure>,
}

/// What would see a release that must be seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TooSmall {
    /// Share of its requests that fails.
    pub failing: f64,
    /// Least weight that sees it within the bake.
    pub weight: Option<Weight>,
    /// Bake that sees it at this weight.
    pub bake_seconds: Option<f64>,
}

/// The cost of one release.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exposure {
    /// Share of its requests that fails.
    pub failing: f64,
    /// Share of the walks that ended with a return.
    pub returned: f64,
    /// Seconds until the return; None where it does not return.
    pub seconds: Span<Option<f64>>,
    /// Bad responses until the return, or until the release is where it was to get.
    pub bad: Span<f64>,
    /// 0: closed form.
    pub walks: u64,
}

/// What half of all cases do not exceed, and what 95 of 100 do not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span<T> {
    pub usual: T,
    pub worst: T,
}

/// What becomes of a release as good as stable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Healthy {
    pub walks: u64,
    /// Shares of the walks.
    pub proven: f64,
    pub unproven: f64,
    pub returned: f64,
    /// Until the promotion.
    pub seconds: Span<f64>,
}

/// Predicts a deploy.
pub fn predict(rollout: &RolloutSettings, service: &Service, runner: &Runner, seed: u64) -> Prediction {
    let policy = policy_for(&rollout.judge);
    let rollout = with_look(rollout);
    let mode = service.mode(&policy, &rollout);
    let calibration = service.believed(&rollout.judge.latency.quantiles);
    let path = Path::new(&rollout, &calibration);
    let predictor = Predictor { rollout: &rollout, policy: &policy, service, mode, path, runner, seed };
    let steps = (0..rollout.steps.len()).map(|step| predictor.step(step)).collect();
    let whole = FAILING.iter().map(|&failing| predictor.whole(failing)).collect();
    Prediction { mode, steps, whole, healthy: predictor.healthy() }
}

impl Service {
    /// Says whether failures come in clusters: they do where a calibration has tempered the evidence of errors.
    fn mode(&self, policy: &Policy, rollout: &RolloutSettings) -> Mode {
        let weights = (0..rollout.steps.len()).map(|step| rollout.weight_of(step).share());
        let bursts = weights
            .filter(|weight| self.calibration.is_calibrated(policy, *weight))
            .flat_map(|weight| self.calibration.pairs(policy, weight).errors)
            .any(|pair| pair.eta < ETA_INDEPENDENT);
        if bursts { Mode::Bursts } else { Mode::Independent }
    }

    /// Returns the calibration with the latency thresholds of the simulated requests. Only errors are predicted, so only
    /// the shares above the thresholds matter, and those are the same for every service.
    fn believed(&self, quantiles: &[f64]) -> Calibration {
        let mixture = Mixture::default();
        let mut indexes = [i16::MAX; LATENCIES];
        for (index, quantile) in indexes.iter_mut().zip(quantiles) {
            *index = bucket(mixture.quantile_ms(*quantile)).saturating_add(1);
        }
        let boundaries = Boundaries::at(indexes);
        let slow_rates = boundaries.indexes().map(|index| 1.0 - mixture.share_below(lower_ms(index)));
        let latency = self.calibration.latency.map(|_| Thresholds { boundaries, slow_rates });
        Calibration { latency, error_rate: self.error_rate, ..self.calibration.clone() }
    }
}

/// What all predictions of one deploy share.
struct Predictor<'a> {
    /// With the look.
    rollout: &'a RolloutSettings,
    policy: &'a Policy,
    service: &'a Service,
    mode: Mode,
    path: Path,
    runner: &'a Runner,
    seed: u64,
}

impl Predictor<'_> {
    fn step(&self, step: usize) -> StepForecast {
        let weight = self.rollout.weight_of(step);
        let forecast = self.forecast();
        let pairs = self.pairs(weight.share());
        let bake = self.rollout.bake_of(step);
        let within = seconds(bake);
        let best = Pairs::uniform(Pair { eta: 1.0, cap: self.policy.calibration.cap_errors });
        let smallest_visible = forecast.smallest_visible(weight.share(), &pairs, within);
        let unseen = smallest_visible.is_none_or(|least| least > self.must_be_seen());
        StepForecast {
            weight,
            bake_min: self.rollout.bake_min_of(step),
            bake,
            bake_max: self.rollout.bake_max_of(step),
            cold: !self.service.calibration.is_calibrated(self.policy, weight.share()),
            smallest_visible,
            smallest_visible_best: forecast.smallest_visible(weight.share(), &best, within),
            seconds_until_safe: forecast.seconds_until_safe(weight.share(), &pairs),
            too_small: unseen.then(|| self.too_small(&forecast, weight, &pairs, within)),
            exposures: FAILING.iter().map(|&failing| self.at_step(step, failing)).collect(),
        }
    }

    /// A stable that fails more than that itself needs a release that fails more still.
    fn must_be_seen(&self) -> f64 {
        MUST_BE_SEEN.max(2.0 * self.policy.errors.limit(self.service.error_rate)).min(1.0)
    }

    fn too_small(&self, forecast: &Forecast<'_>, weight: Weight, pairs: &Pairs, within: f64) -> TooSmall {
        let rate = self.must_be_seen();
        let needed = forecast.weight_needed(rate, within, |weight| self.pairs(weight));
        TooSmall {
            failing: rate,
            weight: needed.and_then(|share| Weight::new((share * 100.0).round() as u8).ok()),
            bake_seconds: forecast.seconds(weight.share(), pairs, rate),
        }
    }

    fn at_step(&self, step: usize, failing: f64) -> Exposure {
        let bake_max = seconds(self.rollout.bake_max_of(step));
        let expected = self.expected(step, failing).map_or(bake_max, |found| (1.5 * found).min(bake_max));
        match self.walks(expected) {
            0 => self.closed_form(step, failing, bake_max),
            walks => self.simulated(&self.path.clone().step(step), failing, walks),
        }
    }

    fn whole(&self, failing: f64) -> Exposure {
        let mut expected = 0.0;
        for step in 0..self.rollout.steps.len() {
            let bake_max = seconds(self.rollout.bake_max_of(step));
            let found = self.expected(step, failing).filter(|found| *found < bake_max);
            expected += found.map_or(bake_max, |found| found.min(bake_max));
            if found.is_some() {
                break;
            }
        }
        match self.walks(expected) {
            0 => self.closed_form_of_all(failing),
            walks => self.simulated(&self.path, failing, walks),
        }
    }

    fn healthy(&self) -> Option<Healthy> {
        let longest = |step| seconds(self.rollout.bake_max_of(step));
        let proof = |step| {
            let weight = self.rollout.weight_of(step).share();
            let safe = self.forecast().seconds_until_safe(weight, &self.pairs(weight));
            safe.unwrap_or(f64::INFINITY).clamp(seconds(self.rollout.bake_min_of(step)), longest(step))
        };
        let walks = self.walks((0..self.rollout.steps.len()).map(proof).sum());
        if walks == 0 {
            return None;
        }
        let courses = self.courses(&self.path, Fault::Nothing, walks);
        let share = |wanted: fn(&End) -> bool| {
            courses.iter().filter(|course| wanted(&course.end)).count() as f64 / walks as f64
        };
        let promoted = courses.iter().filter(|course| !matches!(course.end, End::Returned(_)));
        let lasted: Vec<f64> = promoted.map(|course| course.seconds as f64).collect();
        Some(Healthy {
            walks,
            proven: share(|end| matches!(end, End::Promoted { proven: true })),
            unproven: share(|end| matches!(end, End::Promoted { proven: false })),
            returned: share(|end| matches!(end, End::Returned(_))),
            seconds: span(lasted),
        })
    }

    /// Returns how many walks of this length there is time for; 0: too few to say anything.
    fn walks(&self, seconds: f64) -> u64 {
        let dearness = self.service.requests_per_second.min(REQUESTS_DEAREST) / REQUESTS_DEAR;
        let cost = seconds.max(1.0) * (1.0 + dearness);
        if cost * WALKS_MIN as f64 > SECONDS_MAX {
            return 0;
        }
        ((SECONDS_WANTED / cost) as u64).clamp(WALKS_MIN, WALKS_MAX)
    }

    fn courses(&self, path: &Path, fault: Fault, walks: u64) -> Vec<Course> {
        let weight = self.rollout.weight_of(path.from).share();
        let scene = Scene {
            load: Load::Steady(self.service.requests_per_second),
            ..Scene::steady(0.0, weight, self.service.error_rate, self.mode)
        };
        let traffic = Traffic::new(scene.with(fault));
        self.runner.run(walks, |number| path.walk(&traffic, self.seed, number))
    }

    fn simulated(&self, path: &Path, failing: f64, walks: u64) -> Exposure {
        let courses = self.courses(path, Fault::Errors(failing), walks);
        let is_back = |course: &Course| matches!(course.end, End::Returned(_));
        let took = |course: &Course| {
            if is_back(course) { course.seconds as f64 + EDGE_SECONDS } else { f64::INFINITY }
        };
        let late = |course: &Course| {
            let per_second = self.service.requests_per_second * course.weight.share() * failing;
            course.harmed + if is_back(course) { per_second * EDGE_SECONDS } else { 0.0 }
        };
        let seconds = span(courses.iter().map(took).collect());
        let finite = |seconds: f64| Some(seconds).filter(|seconds| seconds.is_finite());
        Exposure {
            failing,
            returned: courses.iter().filter(|course| is_back(course)).count() as f64 / walks as f64,
            seconds: Span { usual: finite(seconds.usual), worst: finite(seconds.worst) },
            bad: span(courses.iter().map(late).collect()),
            walks,
        }
    }

    /// Says what is expected; the worst is that the step sees nothing until it ends.
    fn closed_form(&self, step: usize, failing: f64, bake_max: f64) -> Exposure {
        let weight = self.rollout.weight_of(step).share();
        let found = self.expected(step, failing).filter(|found| *found <= bake_max);
        let forecast = self.forecast();
        Exposure {
            failing,
            returned: if found.is_some() { 1.0 } else { 0.0 },
            seconds: Span { usual: found.map(|found| found + EDGE_SECONDS), worst: None },
            bad: Span {
                usual: forecast.bad_responses(weight, failing, found.unwrap_or(bake_max)),
                worst: forecast.bad_responses(weight, failing, bake_max),
            },
            walks: 0,
        }
    }

    fn closed_form_of_all(&self, failing: f64) -> Exposure {
        let mut sum = Exposure {
            failing,
            returned: 0.0,
            seconds: Span { usual: None, worst: None },
            bad: Span { usual: 0.0, worst: 0.0 },
            walks: 0,
        };
        let mut before = 0.0;
        for step in 0..self.rollout.steps.len() {
            let bake_max = seconds(self.rollout.bake_max_of(step));
            let one = self.closed_form(step, failing, bake_max);
            sum.bad.worst += one.bad.worst;
            if sum.seconds.usual.is_none() {
                sum.bad.usual += one.bad.usual;
                sum.seconds.usual = one.seconds.usual.map(|found| before + found);
                before += bake_max;
            }
            sum.returned = sum.returned.max(one.returned);
        }
        sum
    }

    fn expected(&self, step: usize, failing: f64) -> Option<f64> {
        let weight = self.rollout.weight_of(step).share();
        self.forecast().seconds(weight, &self.pairs(weight), failing)
    }

    fn forecast(&self) -> Forecast<'_> {
        let Service { requests_per_second, error_rate, .. } = self.service;
        Forecast::new(self.policy, Metric::Errors, *requests_per_second, *error_rate)
    }

    fn pairs(&self, weight: f64) -> Pairs {
        let calibration = &self.service.calibration;
        if calibration.is_calibrated(self.policy, weight) {
            return calibration.pairs(self.policy, weight);
        }
        self.policy.uncalibrated(arms(weight))
    }
}

fn seconds(time: Millis) -> f64 {
    time.0 as f64 / 1000.0
}

/// Returns the median and the 95th percentile; 0 of nothing.
pub fn span(mut values: Vec<f64>) -> Span<f64> {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = (values.len() as f64 * share).ceil() as usize;
        values.get(place.saturating_sub(1)).copied().unwrap_or(0.0)
    };
    Span { usual: at(0.5), worst: at(0.95) }
}

#[cfg(test)]
mod tests;
