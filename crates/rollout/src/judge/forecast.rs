//! Says before a deployment what a step can see: how long a fault would stay unseen, and the least one that would be found.
//! Expectations, not promises, and nothing about onset; `process` is what decides. Source: Wald's identity.

use super::family::{believable_errors, believable_slow};
use super::policy::{LATENCIES, Metric, Pair, Pairs, Policy, arms};
use super::process::SAFETY_COMPONENT;
use super::ripr::{Alternative, Arms, Margin, accept_alone, factors, ripr_accept};

/// Halvings of the range in which the least visible rate lies.
const HALVINGS: u32 = 60;
/// Weights that are proposed, in percent. More leaves too little of stable to compare with.
const PERCENT_MAX: u32 = 95;

/// One metric of a service under the traffic it has.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast<'a> {
    policy: &'a Policy,
    metric: Metric,
    requests_per_second: f64,
    stable_rate: f64,
}

impl<'a> Forecast<'a> {
    /// Returns the forecast of a metric whose hits are `stable_rate` of stable's requests. Only a route's own requests
    /// count in its `requests_per_second`.
    pub fn new(policy: &'a Policy, metric: Metric, requests_per_second: f64, stable_rate: f64) -> Self {
        let stable_rate = match metric {
            Metric::Errors | Metric::Route(_) => believable_errors(stable_rate),
            Metric::Latency(_) => believable_slow(stable_rate),
        };
        Self { policy, metric, requests_per_second, stable_rate }
    }

    /// Returns the seconds until a candidate of this rate is taken back, if requests are independent of each other.
    /// None: never.
    pub fn seconds_if_independent(&self, weight: f64, candidate_rate: f64) -> Option<f64> {
        let pairs = Pairs::uniform(Pair { eta: 1.0, cap: self.policy.cap_per_record });
        self.soonest(weight, &pairs, candidate_rate, |pair, gained| gained.min(pair.cap))
    }

    /// Returns the same under calibrated pairs, of which a route has none. None: never.
    pub fn seconds(&self, weight: f64, pairs: &Pairs, candidate_rate: f64) -> Option<f64> {
        let block = f64::from(self.policy.block_seconds);
        self.soonest(weight, pairs, candidate_rate, |pair, gained| {
            (pair.eta * block * gained).min(pair.cap) / block
        })
    }

    /// Returns the least rate that is found within `seconds`. None: not even if everything failed.
    pub fn smallest_visible(&self, weight: f64, pairs: &Pairs, seconds: f64) -> Option<f64> {
        let is_seen = |rate: f64| self.seconds(weight, pairs, rate).is_some_and(|needed| needed <= seconds);
        let (mut unseen, mut seen) = (self.margin(arms(weight)).limit(self.stable_rate), 1.0);
        if !is_seen(seen) {
            return None;
        }
        for _ in 0..HALVINGS {
            let middle = (unseen + seen) / 2.0;
            if is_seen(middle) {
                seen = middle;
            } else {
                unseen = middle;
            }
        }
        Some(seen)
    }

    /// Returns the least weight, a part of one in whole percents, at which this rate is found within `seconds`.
    /// `pairs` tells what a weight was calibrated to. None: no weight that leaves a stable to compare with.
    pub fn weight_needed(
        &self,
        candidate_rate: f64,
        seconds: f64,
        pairs: impl Fn(f64) -> Pairs,
    ) -> Option<f64> {
        (1..=PERCENT_MAX).map(|percent| f64::from(percent) / 100.0).find(|weight| {
            self.seconds(*weight, &pairs(*weight), candidate_rate).is_some_and(|needed| needed <= seconds)
        })
    }

    /// Returns the seconds after which a candidate that fails as often as stable is proven safe. None: never.
    /// Source: rollback.md 3.11, the mean drift of log A; half of all candidates take longer.
    pub fn seconds_until_safe(&self, weight: f64, pairs: &Pairs) -> Option<f64> {
        let rule = self.policy.safety;
        let (share, factors) = match arms(weight) {
            Arms::Both { share } => (share, ripr_accept(self.stable_rate, rule.margin, share)),
            Arms::Alone => (1.0, accept_alone(self.stable_rate, rule.margin)),
        };
        let gained = factors.growth(share, self.stable_rate, self.stable_rate);
        let per_second = pairs.errors[SAFETY_COMPONENT].eta * self.requests_per_second * gained;
        (per_second > 0.0).then(|| libm::log(rule.cases) / per_second)
    }

    /// Returns how many of the candidate's answers are hits until it is taken back.
    pub fn bad_responses(&self, weight: f64, candidate_rate: f64, seconds: f64) -> f64 {
        self.requests_per_second * weight * candidate_rate * seconds
    }

    fn margin(&self, arms: Arms) -> Margin {
        match self.metric {
            Metric::Errors | Metric::Route(_) => self.policy.error_margin(arms),
            Metric::Latency(_) => self.policy.latency,
        }
    }

    /// Returns the seconds the fastest component needs, where `growth` is what a pair leaves of its gain a second.
    fn soonest(
        &self,
        weight: f64,
        pairs: &Pairs,
        candidate_rate: f64,
        growth: impl Fn(Pair, f64) -> f64,
    ) -> Option<f64> {
        let arms = arms(weight);
        let margin = self.margin(arms);
        let share = match arms {
            Arms::Both { share } => share,
            Arms::Alone => 1.0,
        };
        let per_second = |(alternative, pair): (Alternative, Pair)| {
            let (_, factors) = factors(alternative, self.stable_rate, margin, arms);
            growth(pair, self.requests_per_second * factors.growth(share, candidate_rate, self.stable_rate))
        };
        let fastest = self.components(pairs, arms).into_iter().map(per_second).fold(0.0, f64::max);
        (fastest > 0.0).then(|| self.needed(arms) / fastest)
    }

    /// Returns the nats one component needs to decide alone.
    fn needed(&self, arms: Arms) -> f64 {
        let weight = self.policy.component_weight(self.metric);
        self.policy.threshold(arms) + libm::log(1.0 / (self.policy.start_mass * weight))
    }

    fn components(&self, pairs: &Pairs, arms: Arms) -> Vec<(Alternative, Pair)> {
        let errors = self.policy.error_alternatives().into_iter();
        match self.metric {
            Metric::Errors => errors.zip(pairs.errors).collect(),
            Metric::Route(_) => errors.zip(self.policy.uncalibrated(arms).errors).collect(),
            Metric::Latency(threshold) => {
                let pairs = pairs.latency[usize::from(threshold).min(LATENCIES - 1)];
                self.policy.latency_alternatives().into_iter().zip(pairs).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEPENDENT: Pair = Pair { eta: 1.0, cap: 8.5 };

    #[test]
    fn the_nats_needed_are_those_of_the_specification() {
        let policy = Policy::default();
        let both = arms(0.05);

        assert!((Forecast::new(&policy, Metric::Errors, 1.0, 0.001).needed(both) - 7.937).abs() < 0.001);
        assert!((Forecast::new(&policy, Metric::Latency(0), 1.0, 0.5).needed(both) - 8.987).abs() < 0.001);
    }

    #[test]
    fn what_was_measured_is_foretold_within_a_half() {
        let policy = Policy::default();
        let pairs = Pairs::uniform(INDEPENDENT);
        // Medians of section 5.4 of the specification: rate of stable, of the candidate, requests a second, seconds.
        for (stable, candidate, rate, measured) in
            [(0.001, 0.01, 1000.0, 16.0), (0.005, 0.05, 100.0, 27.0), (0.01, 0.02, 1000.0, 69.0)]
        {
            let forecast = Forecast::new(&policy, Metric::Errors, rate, stable);
            let seconds = forecast.seconds(0.05, &pairs, candidate).unwrap();
            assert!((seconds / measured - 1.0).abs() < 0.5, "{seconds} s instead of {measured}");
            let independent = forecast.seconds_if_independent(0.05, candidate).unwrap();
            assert!((independent / seconds - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn the_least_visible_rate_takes_just_as_long_as_there_is() {
        let policy = Policy::default();
        let pairs = policy.uncalibrated(arms(0.05));
        let forecast = Forecast::new(&policy, Metric::Errors, 50.0, 0.001);
        let least = forecast.smallest_visible(0.05, &pairs, 600.0).unwrap();

        assert!((forecast.seconds(0.05, &pairs, least).unwrap() - 600.0).abs() < 1e-3);
        assert!(least > policy.errors.limit(0.001));
    }

    #[test]
    fn proof_takes_as_long_as_was_measured() {
        let policy = Policy::default();
        let pairs = Pairs::uniform(INDEPENDENT);
        // Medians of section 5.6: rate, weight, requests a second, seconds.
        for (rate, weight, per_second, measured) in [
            (0.001, 0.01, 1000.0, 59.0),
            (0.001, 0.1, 100.0, 64.0),
            (0.01, 0.5, 10.0, 314.0),
            (0.01, 0.1, 100.0, 94.0),
        ] {
            let forecast = Forecast::new(&policy, Metric::Errors, per_second, rate);
            let seconds = forecast.seconds_until_safe(weight, &pairs).unwrap();
            assert!((seconds / measured - 1.0).abs() < 0.5, "{seconds} s instead of {measured}");
        }
        let nothing = Pairs::uniform(Pair::default());
        assert_eq!(Forecast::new(&policy, Metric::Errors, 1.0, 0.01).seconds_until_safe(0.5, &nothing), None);
    }

    #[test]
    fn a_harmless_candidate_is_never_taken_back_and_no_traffic_shows_nothing() {
        let policy = Policy::default();
        let pairs = Pairs::uniform(INDEPENDENT);

        assert_eq!(Forecast::new(&policy, Metric::Errors, 100.0, 0.01).seconds(0.5, &pairs, 0.011), None);
        assert_eq!(
            Forecast::new(&policy, Metric::Errors, 0.0, 0.01).smallest_visible(0.5, &pairs, 1e6),
            None
        );
    }

    #[test]
    fn more_weight_is_proposed_where_a_step_sees_too_little() {
        let policy = Policy::default();
        let forecast = Forecast::new(&policy, Metric::Errors, 10.0, 0.001);
        let pairs = |_| Pairs::uniform(INDEPENDENT);
        let weight = forecast.weight_needed(0.02, 600.0, pairs).unwrap();

        assert!(weight > 0.02);
        assert!(forecast.seconds(weight - 0.01, &pairs(0.0), 0.02).unwrap() > 600.0);
        assert_eq!(forecast.weight_needed(0.02, 1.0, pairs), None);
    }

    #[test]
    fn alone_only_what_is_absolute_is_found_without_a_calibration() {
        let policy = Policy::default();
        let pairs = policy.uncalibrated(Arms::Alone);
        let forecast = Forecast::new(&policy, Metric::Errors, 100.0, 0.001);

        assert_eq!(forecast.seconds(1.0, &pairs, 0.01), None);
        assert!(forecast.seconds(1.0, &pairs, 1.0).unwrap() < 10.0);
    }
}
