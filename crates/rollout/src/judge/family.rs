//! Gathers the evidence of one metric against a small grid of alternatives. Knows no other metric and no time;
//! `process` says when a block begins and averages the families.

use super::counts::{Role, Sample};
use super::log_space;
use super::policy::{Pair, Pairs, Policy};
use super::ripr::{Alternative, Arms, Factors, Margin, factors};
use serde::{Deserialize, Serialize};

/// Rates are believed to lie in here, so that a reference without an error is no certainty.
const RATE_MIN: f64 = 1e-6;
const ERROR_RATE_MAX: f64 = 0.5;
const SLOW_RATE_MAX: f64 = 0.95;

/// Returns a rate of errors as the procedure believes it.
pub(super) fn believable_errors(rate: f64) -> f64 {
    rate.clamp(RATE_MIN, ERROR_RATE_MAX)
}

/// Returns a share of slow requests as the procedure believes it.
pub(super) fn believable_slow(rate: f64) -> f64 {
    rate.clamp(RATE_MIN, SLOW_RATE_MAX)
}

/// One Bernoulli metric with its alternatives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Family {
    pub(super) role: Role,
    /// ln v of each component.
    ln_weight: f64,
    /// Stable's rate before the watch.
    reference: f64,
    /// N and K: stable's requests and hits, the older the less they count.
    stable_requests: f64,
    stable_hits: f64,
    /// Stable's rate as the factors of this block assume it.
    pub(super) rate: f64,
    /// What the evidence since the last change of weight rests on.
    pub(super) seen: Sample,
    components: Vec<Component>,
}

/// The evidence for one alternative.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Component {
    /// R: evidence of the closed blocks, over all starts.
    #[serde(with = "log_space")]
    closed: f64,
    /// S: evidence of the open block.
    open: f64,
    pair: Pair,
    factors: Factors,
}

impl Component {
    fn fold(&mut self) {
        self.closed += self.open.min(self.pair.cap);
        self.open = 0.0;
    }

    fn log_value(&self) -> f64 {
        self.closed + self.open.min(self.pair.cap)
    }
}

/// A component's place, its alternative and how much it says.
pub(super) struct Spoken {
    pub(super) alternative: Alternative,
    pub(super) log_value: f64,
}

impl Family {
    /// Returns a family whose starts so far hold e^`closed` of the belief.
    pub(super) fn new(role: Role, reference: f64, closed: f64, policy: &Policy) -> Self {
        let component = Component { closed, open: 0.0, pair: Pair::default(), factors: Factors::default() };
        Self {
            role,
            ln_weight: libm::log(policy.component_weight(role.metric())),
            reference,
            stable_requests: 0.0,
            stable_hits: 0.0,
            rate: believable(role, reference),
            seen: Sample::default(),
            components: vec![component; role.alternatives(policy).len()],
        }
    }

    /// Loads the pairs of a weight. Routes have the constants of a cold start: their traffic is too small to calibrate on.
    pub(super) fn load(&mut self, pairs: &Pairs, arms: Arms, policy: &Policy) {
        let odds = policy.error_odds.len();
        let routes = policy.uncalibrated(arms).errors;
        let pairs: &[Pair] = match self.role {
            Role::ErrorOdds => &pairs.errors[..odds],
            Role::ErrorAbsolute => &pairs.errors[odds..],
            Role::Latency(j) => &pairs.latency[usize::from(j)],
            Role::Route(_) => &routes,
        };
        for (component, pair) in self.components.iter_mut().zip(pairs) {
            component.pair = *pair;
        }
    }

    /// Begins a block: what the last one said is kept, and starts of the mass e^`ln_mass` join.
    pub(super) fn begin_block(&mut self, ln_mass: f64) {
        for component in &mut self.components {
            component.fold();
            component.closed = log_space::add(component.closed, ln_mass);
        }
    }

    /// Closes the block early, under the caps it was gathered with.
    pub(super) fn close(&mut self) {
        self.components.iter_mut().for_each(Component::fold);
    }

    /// Takes another rate for stable's before the watch. One that is not a number is no rate.
    pub(super) fn believe(&mut self, reference: f64) {
        if reference.is_finite() {
            self.reference = reference;
        }
    }

    /// Closes the block early and forgets what was seen.
    pub(super) fn change_weight(&mut self) {
        self.close();
        self.seen = Sample::default();
    }

    /// Asks anew, from what was seen before. `seasonal` is stable's share of errors at this time of day.
    pub(super) fn refresh(&mut self, arms: Arms, seasonal: Option<f64>, policy: &Policy) {
        let estimate = match (arms, self.role) {
            (Arms::Both { .. }, _) => {
                let prior = policy.rate_prior_requests;
                (prior * self.reference + self.stable_hits) / (prior + self.stable_requests)
            }
            (Arms::Alone, Role::ErrorOdds | Role::ErrorAbsolute) => seasonal.unwrap_or(self.reference),
            (Arms::Alone, Role::Latency(_) | Role::Route(_)) => self.reference,
        };
        self.rate = believable(self.role, estimate);
        let margin = self.margin(arms, policy);
        let alternatives = self.role.alternatives(policy);
        for (component, alternative) in self.components.iter_mut().zip(alternatives) {
            component.factors = factors(alternative, self.rate, margin, arms).1;
        }
    }

    /// Adds what a record says. Returns false, and adds nothing, where that is not a number.
    #[must_use]
    pub(super) fn gather(&mut self, sample: &Sample, cap_per_record: f64) -> bool {
        self.seen.add(sample);
        let answers = sample.answers();
        let mut sound = true;
        for component in &mut self.components {
            let gained = (component.pair.eta * component.factors.log_ratio(&answers)).min(cap_per_record);
            let open = component.open + gained;
            if open.is_finite() {
                component.open = open;
            } else {
                sound = false;
            }
        }
        sound
    }

    /// Counts a record for the estimates of later blocks.
    pub(super) fn learn(&mut self, sample: &Sample, kept: f64) {
        self.stable_requests = self.stable_requests * kept + sample.stable_requests as f64;
        self.stable_hits = self.stable_hits * kept + sample.stable_hits as f64;
    }

    /// Returns ln v + R + min(S, c) of every component.
    pub(super) fn log_values(&self) -> impl Iterator<Item = f64> + Clone + '_ {
        self.components.iter().map(|component| self.ln_weight + component.log_value())
    }

    /// Returns the component that says most.
    pub(super) fn loudest(&self, policy: &Policy) -> Option<Spoken> {
        let spoken = self
            .role
            .alternatives(policy)
            .into_iter()
            .zip(self.log_values())
            .map(|(alternative, log_value)| Spoken { alternative, log_value });
        spoken.reduce(|most, next| if next.log_value > most.log_value { next } else { most })
    }

    pub(super) fn margin(&self, arms: Arms, policy: &Policy) -> Margin {
        match self.role {
            Role::Latency(_) => policy.latency,
            Role::ErrorOdds | Role::ErrorAbsolute | Role::Route(_) => policy.error_margin(arms),
        }
    }
}

fn believable(role: Role, rate: f64) -> f64 {
    match role {
        Role::Latency(_) => believable_slow(rate),
        Role::ErrorOdds | Role::ErrorAbsolute | Role::Route(_) => believable_errors(rate),
    }
}
