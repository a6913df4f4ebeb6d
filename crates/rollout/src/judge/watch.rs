//! Judges one candidate: folds the seconds of its watch and says better or equal, worse, or not enough evidence.
//! Part of the state: what it is follows from the journal alone. See `process` for the evidence itself.

use super::calibration::Calibration;
use super::counts::Counts;
use super::evidence::GROSS_FAILURE;
use super::evidence::{Evidence, Finding, Verdict};
use super::gross::GrossFailure;
use super::policy::{LATENCIES, Metric, Pair, Pairs, Policy, arms};
use super::process::{Acting, Reference, Test};
use super::record::{FailingRequest, ProbeCounts, Record};
use super::ripr::{Arms, Margin};
use super::share::ShareWatch;
use super::shared::SharedFault;
use super::turned_away::TurnedAway;
use crate::event::VerdictWord;
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

/// Where latencies begin to count as slow, in histogram buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowFrom {
    pub stable: [i16; LATENCIES],
    /// Shifted by the margin.
    pub candidate: [i16; LATENCIES],
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

    /// Learns what the service's own traffic says. Thresholds stay for the whole watch; pairs count from the next weight on.
    pub fn calibrate(&mut self, calibration: &Calibration) {
        if !self.takes(calibration) {
            return;
        }
        self.calibration = Some(calibration.clone());
        let pairs = self.pairs(self.weight);
        if let (Some(test), Some(known)) = (&mut self.test, calibration.latency) {
            test.watch_latency(known.slow_rates, &pairs);
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

/// What it says.
impl Judge {
    /// Returns the verdict, with the numbers it rests on.
    pub fn verdict(&self) -> Verdict {
        let decided = self.gross.is_there() || self.test.as_ref().is_some_and(Test::is_decided);
        let word = if self.judged && decided {
            VerdictWord::Worse
        } else if self.is_safe() || self.leans_well() {
            VerdictWord::BetterOrEqual
        } else {
            VerdictWord::NotEnoughEvidence
        };
        Verdict { word, evidence: self.evidence() }
    }

    /// Tells whether the present weight is proven safe.
    pub fn is_safe(&self) -> bool {
        self.sound().is_some_and(|test| test.safety().is_safe())
    }

    /// Tells whether nothing speaks against the candidate and a gross failure is excluded: enough to go on when the bake
    /// cannot be longer.
    pub fn leans_well(&self) -> bool {
        self.sound().is_some_and(|test| {
            let requests = test.safety().candidate_requests().saturating_add(self.probes_here);
            let log_gross = test.safety().log_gross() + self.log_gross_probes;
            let excluded = log_gross >= libm::log(self.policy.safety.cases);
            test.log_acting() <= ROUNDING && requests >= LEANING_REQUESTS && excluded
        })
    }

    /// Tells whether nothing speaks against the candidate so far.
    pub fn leans_no_worse(&self) -> bool {
        self.sound().is_some_and(|test| test.log_acting() <= ROUNDING)
    }

    /// Tells whether nothing at all came to the candidate at this weight.
    pub fn has_seen_nothing(&self) -> bool {
        let requests = self.test.as_ref().map_or(0, |test| test.safety().candidate_requests());
        requests == 0 && self.probes_here == 0
    }

    fn sound(&self) -> Option<&Test> {
        self.test.as_ref().filter(|test| !test.is_broken())
    }

    /// Tells whether a number was none: a bug, and a reason to hold.
    pub fn is_broken(&self) -> bool {
        self.test.as_ref().is_some_and(Test::is_broken)
    }

    /// Tells whether the candidate failed most of the last second: no moment to end a bake.
    pub fn begins_to_fail(&self) -> bool {
        self.gross.begins()
    }

    /// Tells whether both versions fail now.
    pub fn shared_fault(&self) -> bool {
        self.shared.is_on()
    }

    /// Tells whether a second of the last few said nothing because stable was not well either.
    pub fn is_excused(&self) -> bool {
        self.shared.is_excused()
    }

    /// Tells whether the candidate gets less than half or more than twice the requests its weight says.
    pub fn share_mismatch(&self) -> bool {
        self.weight != Weight::FULL && self.share.is_off(self.weight.share())
    }

    /// Tells whether the candidate gets so little of its share that it cannot be compared.
    fn gets_too_little(&self) -> bool {
        self.weight != Weight::FULL && self.share.is_short(self.weight.share())
    }

    /// Returns a jump of answers 400–499 nobody has been told of.
    pub fn finding(&self) -> Option<Finding> {
        self.turned_away.finding()
    }

    /// Returns how many seconds the last reports have been missing.
    pub fn silent_seconds(&self) -> u64 {
        self.silent_seconds
    }

    pub fn candidate_requests(&self) -> u64 {
        self.seen.candidate_requests
    }

    pub fn candidate_errors(&self) -> u64 {
        self.seen.candidate_errors
    }

    pub fn stable_requests(&self) -> u64 {
        self.seen.stable_requests
    }

    pub fn stable_errors(&self) -> u64 {
        self.seen.stable_errors
    }

    pub fn probes(&self) -> ProbeCounts {
        self.probes
    }

    pub fn calibration(&self) -> Option<&Calibration> {
        self.calibration.as_ref()
    }

    /// Returns the histogram buckets from which on a request counts as slow.
    pub fn slow_from(&self) -> Option<SlowFrom> {
        let stable = self.calibration.as_ref()?.latency?.boundaries.indexes();
        let shift = i16::from(self.margin_buckets);
        Some(SlowFrom { stable, candidate: stable.map(|boundary| boundary.saturating_add(shift)) })
    }

    /// Returns the templates of the routes that are judged on their own.
    pub fn routes(&self) -> impl Iterator<Item = &str> {
        self.calibration.iter().flat_map(|known| &known.routes).map(|route| route.template.as_str())
    }

    fn evidence(&self) -> Evidence {
        let seen = self.seen;
        let mut evidence = Evidence {
            rule: "sequential test".to_owned(),
            metric: "errors".to_owned(),
            window_seconds: seen.seconds,
            candidate_requests: seen.candidate_requests,
            candidate_errors: seen.candidate_errors,
            stable_requests: seen.stable_requests,
            stable_errors: seen.stable_errors,
            weight: Some(self.weight),
            cold: self
                .calibration
                .as_ref()
                .is_none_or(|known| !known.is_calibrated(&self.policy, self.weight.share())),
            warm_up_seconds: u64::from(self.policy.latency_warmup_seconds).min(seen.seconds),
            shared_seconds: self.shared_seconds,
            probes: self.probes,
            failures: self.failures.iter().cloned().collect(),
            ..Evidence::default()
        };
        if let Some(test) = &self.test {
            self.add_numbers(test, &mut evidence);
        }
        if self.gross.is_there() && !self.test.as_ref().is_some_and(Test::is_decided) {
            evidence.rule = GROSS_FAILURE.to_owned();
            evidence.p_value = None;
        }
        evidence
    }

    fn add_numbers(&self, test: &Test, evidence: &mut Evidence) {
        let strongest = test.strongest();
        evidence.log_m = test.log_acting();
        evidence.threshold = test.threshold();
        evidence.p_value = Some(test.p_value());
        evidence.alternative = Some(strongest.candidate_rate);
        let arms = arms(test.weight());
        let margin = match strongest.metric {
            Metric::Latency(_) => self.policy.latency,
            Metric::Errors | Metric::Route(_) => self.policy.error_margin(arms),
        };
        evidence.limit = margin.bounded_limit(strongest.stable_rate);
        evidence.metric = self.name(strongest.metric);
        if strongest.metric != Metric::Errors {
            // Of a part of the requests, at the present weight.
            evidence.candidate_requests = strongest.seen.candidate_requests;
            evidence.candidate_errors = strongest.seen.candidate_hits;
            evidence.stable_requests = strongest.seen.stable_requests;
            evidence.stable_errors = strongest.seen.stable_hits;
        }
        if let Metric::Latency(threshold) = strongest.metric {
            let slow_from = self.slow_from().map(|slow| slow.candidate[usize::from(threshold)]);
            evidence.slower_than_ms = slow_from.map(super::buckets::lower_ms);
        }
    }

    fn name(&self, metric: Metric) -> String {
        match metric {
            Metric::Errors => "errors".to_owned(),
            Metric::Latency(threshold) => {
                let quantile = self.quantiles.get(usize::from(threshold)).copied().unwrap_or_default();
                format!("latency p{}", quantile * 100.0)
            }
            Metric::Route(route) => {
                format!("errors of {}", self.routes().nth(usize::from(route)).unwrap_or("a route"))
            }
        }
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
pub(super) fn cold_rate(belief: f64, seen: (u64, u64)) -> f64 {
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
