//! Says what a watch amounts to: the word, the numbers it rests on, and what else an operator should know.
//! Changes nothing; see the parent for how facts are taken in.

use super::{Judge, LEANING_REQUESTS, ROUNDING};
use crate::event::VerdictWord;
use crate::judge::calibration::Calibration;
use crate::judge::evidence::{Evidence, Finding, GROSS_FAILURE, Verdict};
use crate::judge::policy::{LATENCIES, Metric, arms};
use crate::judge::process::Test;
use crate::judge::record::ProbeCounts;
use crate::names::Weight;

/// Where latencies begin to count as slow, in histogram buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowFrom {
    pub stable: [i16; LATENCIES],
    /// Shifted by the margin.
    pub candidate: [i16; LATENCIES],
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

    /// Tells whether the evidence against the candidate is half of what takes it back, or more.
    pub fn suspects(&self) -> bool {
        self.sound().is_some_and(|test| test.log_acting() >= test.threshold() / 2.0)
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
    pub(super) fn gets_too_little(&self) -> bool {
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
        let Some(test) = &self.test else { return evidence };
        evidence.log_m = test.log_acting();
        evidence.threshold = test.threshold();
        if self.gross.is_there() && !test.is_decided() {
            evidence.rule = GROSS_FAILURE.to_owned();
            let margin = self.policy.error_margin(arms(test.weight()));
            evidence.limit = margin.bounded_limit(test.error_rate());
        } else {
            self.add_numbers(test, &mut evidence);
        }
        evidence
    }

    fn add_numbers(&self, test: &Test, evidence: &mut Evidence) {
        let strongest = test.strongest();
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
            evidence.slower_than_ms = slow_from.map(crate::judge::buckets::lower_ms);
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
