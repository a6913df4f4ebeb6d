//! Judges one candidate: folds the seconds of its watch and says better or equal, worse, or not enough evidence.
//! Part of the state: what it is follows from the journal alone. See `verdict` for what it says, `process` for the evidence.

mod verdict;

pub use verdict::SlowFrom;

use super::calibration::Calibration;
use super::counts::Counts;
use super::evidence::Finding;
use super::gross::GrossFailure;
use super::policy::{Pair, Pairs, Policy, arms};
use super::process::{Acting, Reference, Test};
use super::record::{FailingRequest, ProbeCounts, Record};
use super::ripr::{Arms, Margin};
use super::share::ShareWatch;
use super::shared::SharedFault;
use super::turned_away::TurnedAway;
use crate::names::{Millis, Weight};
use crate::plan::JudgeSettings;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Failing requests kept for the evidence.
const FAILURES_KEPT: usize = 10;
/// How long the odds of a candidate alone may take it back: a reference of another time grows stale (rollback.md 3.10).
const ALONE_SECONDS: u64 = 1800;
/// Candidate requests that must be seen before anything is said for a candidate that is not proven safe.
const LEANING_REQUESTS: u64 = 14;
/// Reports after a change of weight that may still be of the weight before: counts come late.
const SETTLING: u32 = 3;
/// What rounding may leave of "nothing speaks against it".
const ROUNDING: f64 = 1e-9;

/// What is known of one candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judge {
    policy: Policy,
    /// Of the latency thresholds, for names.
    quantiles: Vec<f64>,
    margin_buckets: u8,
    /// Nothing is said of a deployment that is not judged.
    judged: bool,
    calibration: Option<Calibration>,
    /// None until the candidate gets its first request.
    test: Option<Test>,
    weight: Weight,
    /// The second in which the weight changed, and how many reports up to it may still come.
    changed_in: u64,
    settling: u32,
    /// Requests and errors of stable before that: the reference of a cold start.
    before: (u64, u64),
    shared: SharedFault,
    gross: GrossFailure,
    share: ShareWatch,
    turned_away: TurnedAway,
    silent_seconds: u64,
    shared_seconds: u64,
    alone_seconds: u64,
    seen: Seen,
    probes: ProbeCounts,
    /// Synthetic requests at this weight: how many, and their evidence that no gross failure is there.
    probes_here: u64,
    log_gross_probes: f64,
    failures: VecDeque<FailingRequest>,
}

/// Sums since the candidate's first request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    seconds: u64,
    candidate_requests: u64,
    candidate_errors: u64,
    stable_requests: u64,
    stable_errors: u64,
}

/// Taking facts in.
impl Judge {
    /// Begins to watch with the constants of a cold start.
    pub fn new(settings: &JudgeSettings, judged: bool) -> Self {
        let policy = policy_for(settings);
        Self {
            quantiles: settings.latency.quantiles.clone(),
            margin_buckets: settings.latency.margin_buckets,
            judged,
            calibration: None,
            test: None,
            weight: Weight::NONE,
            changed_in: 0,
            settling: 0,
            before: (0, 0),
            shared: SharedFault::default(),
            gross: GrossFailure::default(),
            share: ShareWatch::default(),
            turned_away: TurnedAway::default(),
            silent_seconds: 0,
            shared_seconds: 0,
            alone_seconds: 0,
            seen: Seen::default(),
            probes: ProbeCounts::default(),
            probes_here: 0,
            log_gross_probes: 0.0,
            failures: VecDeque::new(),
            policy,
        }
    }

    /// Tells whether a calibration says something new: the first, or the first with latency thresholds.
    pub fn takes(&self, calibration: &Calibration) -> bool {
        self.judged
            && calibration.is_sound()
            && self
                .calibration
                .as_ref()
                .is_none_or(|known| known.latency.is_none() && calibration.latency.is_some())
    }

    /// Learns what the service's own traffic says, also when the candidate was faster than whoever knows: what was gathered
    /// till then stays. Thresholds and routes stay for the whole watch.
    pub fn calibrate(&mut self, calibration: &Calibration) {
        if !self.takes(calibration) {
            return;
        }
        let before = self.calibration.take();
        let mut known = calibration.clone();
        if let Some(routes) = before.map(|before| before.routes).filter(|routes| !routes.is_empty()) {
            known.routes = routes;
        }
        self.calibration = Some(known);
        let (reference, pairs) = (self.reference(), self.pairs(self.weight));
        if let Some(test) = &mut self.test {
            test.learn(reference, &pairs);
            self.choose_who_acts();
        }
    }

    /// The candidate has another share from here on; the first one begins the watch.
    pub fn set_weight(&mut self, weight: Weight, at: Millis) {
        self.weight = weight;
        (self.changed_in, self.settling) = (at.0 / 1000, SETTLING);
        self.share = ShareWatch::default();
        (self.probes_here, self.log_gross_probes, self.alone_seconds) = (0, 0.0, 0);
        let pairs = self.pairs(weight);
        match &mut self.test {
            Some(test) => test.set_weight(weight.share(), &pairs),
            None => {
                let reference = self.reference();
                self.turned_away.begin(&self.policy, weight.share());
                self.test = Some(Test::new(self.policy.clone(), reference, weight.share(), &pairs));
            }
        }
        self.turned_away.set_weight(weight.share(), &self.policy);
        self.choose_who_acts();
    }

    /// Folds one second. Whether it is evidence is decided before what it says is looked at; else the bound would not hold.
    pub fn add(&mut self, record: &Record) {
        if record.missing {
            self.silent_seconds = self.silent_seconds.saturating_add(1);
            return;
        }
        self.silent_seconds = 0;
        let settles = self.settles(record.second);
        let after_a_fault = self.shared.silences();
        // Without the share that is assumed, stable's own luck would be evidence.
        let says_nothing = settles || after_a_fault || self.gets_too_little();
        let excused = self.shared.add(record);
        let Some(test) = &mut self.test else {
            self.before.0 = self.before.0.saturating_add(record.stable_requests);
            self.before.1 = self.before.1.saturating_add(record.stable_errors);
            self.turned_away.learn(record);
            return;
        };
        let counts = counts(record);
        if says_nothing || excused {
            test.skip(&counts);
        } else {
            test.add(&counts);
            self.turned_away.add(record);
        }
        if after_a_fault || excused {
            self.gross.forget();
            self.shared_seconds += 1;
        } else {
            self.gross.add(record);
        }
        if !settles {
            self.share.add(record);
        }
        self.sum(record);
        self.probed(record.probes.unwrap_or_default());
        if self.weight == Weight::FULL {
            self.alone_seconds += 1;
            self.choose_who_acts();
        }
    }

    /// Remembers that operators know of a finding.
    pub fn reported(&mut self, finding: &Finding) {
        self.turned_away.reported(finding);
    }

    /// Tells whether a second may be of the weight before, in whole or in part.
    fn settles(&mut self, second: u64) -> bool {
        let settles = self.settling > 0 && second <= self.changed_in;
        self.settling = if settles { self.settling - 1 } else { 0 };
        settles
    }

    fn sum(&mut self, record: &Record) {
        let seen = &mut self.seen;
        seen.seconds = seen.seconds.saturating_add(1);
        seen.candidate_requests = seen.candidate_requests.saturating_add(record.candidate_requests);
        seen.candidate_errors = seen.candidate_errors.saturating_add(record.candidate_errors);
        seen.stable_requests = seen.stable_requests.saturating_add(record.stable_requests);
        seen.stable_errors = seen.stable_errors.saturating_add(record.stable_errors);
        for failure in &record.failures {
            if self.failures.len() == FAILURES_KEPT {
                self.failures.pop_front();
            }
            self.failures.push_back(failure.clone());
        }
    }

    /// Synthetic requests count for one thing only: that the candidate does not fail grossly.
    fn probed(&mut self, probes: ProbeCounts) {
        let Some(test) = &self.test else { return };
        let failed = probes.failed.min(probes.asked);
        let rule = self.policy.safety;
        let believed = test.error_rate().min(rule.gross_belief_max);
        let of_failure = libm::log(believed / rule.gross_rate);
        let of_answer = libm::log((1.0 - believed) / (1.0 - rule.gross_rate));
        self.log_gross_probes += failed as f64 * of_failure + (probes.asked - failed) as f64 * of_answer;
        self.probes_here = self.probes_here.saturating_add(probes.asked);
        self.probes.asked = self.probes.asked.saturating_add(probes.asked);
        self.probes.failed = self.probes.failed.saturating_add(failed);
    }

    /// A candidate alone is compared with another time: that is trusted only when much of it is known, and not for long.
    fn choose_who_acts(&mut self) {
        let Some(test) = &mut self.test else { return };
        let known = self.calibration.as_ref();
        let grown_stale = self.weight == Weight::FULL && self.alone_seconds >= ALONE_SECONDS;
        test.set_acting(match (known, arms(self.weight.share())) {
            (Some(known), _) if !grown_stale => known.acting(&self.policy, self.weight.share()),
            (_, Arms::Alone) => Acting::Absolute,
            (_, Arms::Both { .. }) => Acting::All,
        });
    }

    fn pairs(&self, weight: Weight) -> Pairs {
        let share = weight.share();
        let known = self.calibration.as_ref().map(|known| known.pairs(&self.policy, share));
        let mut pairs = known.unwrap_or_else(|| self.policy.uncalibrated(arms(share)));
        for unused in pairs.latency.iter_mut().skip(self.quantiles.len()) {
            *unused = [Pair::default(); 4];
        }
        pairs
    }

    fn reference(&self) -> Reference {
        let known = self.calibration.as_ref().map(Calibration::reference);
        known.unwrap_or_else(|| Reference::errors(cold_rate(self.policy.cold.error_rate, self.before)))
    }
}

/// Returns the constants of the procedure with what the manifest says.
pub fn policy_for(settings: &JudgeSettings) -> Policy {
    let otherwise = Policy::default();
    let wider = otherwise.errors_alone.ratio - otherwise.errors.ratio;
    let margin = |ratio: f64| Margin { ratio, difference: settings.error_floor };
    Policy {
        alpha: settings.false_rollback,
        errors: margin(1.0 + settings.error_margin),
        errors_alone: margin(1.0 + settings.error_margin + wider),
        latency_warmup_seconds: u32::try_from(settings.latency.warm_up.0 / 1000).unwrap_or(u32::MAX),
        ..otherwise
    }
}

/// Returns what a rate is believed to be after `seen` requests and hits. A handful of requests is no reason to believe
/// that half of them fail: the belief is worth some too.
pub fn cold_rate(belief: f64, seen: (u64, u64)) -> f64 {
    const WORTH: f64 = 10.0;
    (belief * WORTH + seen.1 as f64) / (WORTH + seen.0 as f64)
}

fn counts(record: &Record) -> Counts {
    let once = record.once;
    let slow = record.slow.unwrap_or_default();
    Counts {
        second: record.second,
        length: 1,
        candidate_requests: record.candidate_requests,
        candidate_errors: record.candidate_errors,
        candidate_errors_once: once.map_or(record.candidate_errors, |once| once.candidate),
        stable_requests: record.stable_requests,
        stable_errors: record.stable_errors,
        stable_errors_once: once.map_or(record.stable_errors, |once| once.stable),
        candidate_slow: slow.candidate,
        stable_slow: slow.stable,
        routes: record.routes.clone(),
    }
}
