//! Names every constant of the judge, with the value that was measured. Decides nothing; `process` follows it.
//! Recorded with a deployment, so that a verdict can be computed again when the defaults have changed.

use super::ripr::{Alternative, Arms, Margin};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Latency thresholds: the boundaries nearest stable's p50, p90, p99 and p99.9.
pub const LATENCIES: usize = 4;
/// Routes that are judged on their own, at most. With more each would weigh too little to find anything.
pub const ROUTES_MAX: usize = 8;
/// Components of errors: the odds, then the absolute ones.
pub const ERROR_COMPONENTS: usize = 7;
/// Components of each latency threshold.
pub const LATENCY_COMPONENTS: usize = 4;
/// From this weight on the candidate is alone. Decided from the weight, never from the requests.
const ALONE_FROM: f64 = 0.9999;

/// Returns who answers at a weight, a part of one.
pub fn arms(weight: f64) -> Arms {
    if weight >= ALONE_FROM { Arms::Alone } else { Arms::Both { share: weight } }
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    Errors,
    /// Requests slower than the threshold of this place: p50, p90, p99, p99.9.
    Latency(u8),
    /// Errors of the route of this place.
    Route(u8),
}

/// What dependence between requests leaves of a component's evidence: what is gained is multiplied, then capped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pair {
    /// η, from 0 (off) to 1 (requests are independent).
    pub eta: f64,
    /// c, nats a block can add at most.
    pub cap: f64,
}

/// The pair of every component at one weight.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pairs {
    pub errors: [Pair; ERROR_COMPONENTS],
    pub latency: [[Pair; LATENCY_COMPONENTS]; LATENCIES],
}

impl Pairs {
    /// Returns the same pair for all.
    pub fn uniform(pair: Pair) -> Self {
        Self { errors: [pair; ERROR_COMPONENTS], latency: [[pair; LATENCY_COMPONENTS]; LATENCIES] }
    }
}

/// The constants of the procedure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Policy {
    /// Chance, at most, that a harmless release is taken back by statistics; per deployment, however long it is watched.
    pub alpha: f64,
    /// Weight of the errors of all requests; unused weight stays in the average as a constant.
    pub weight_errors: f64,
    pub weight_latency: f64,
    /// Shared by the routes, an eighth each.
    pub weight_routes: f64,
    /// +20 % and +0.01 points of percent never roll back; 0.1 → 0.2 % still does.
    pub errors: Margin,
    /// Without stable beside it: room for the error of a reference of another time.
    pub errors_alone: Margin,
    /// Beside the two buckets, +4.43 %, by which the candidate's threshold is shifted.
    pub latency: Margin,
    /// Within 10–15 % of the best growth from 1.3 times to everything failing.
    pub error_odds: [f64; 5],
    pub error_absolute: [f64; 2],
    pub latency_odds: [f64; LATENCY_COMPONENTS],
    pub block_seconds: u32,
    /// Nats a record can add at most: a gross failure needs three seconds, so a single bad one never rolls back.
    pub cap_per_record: f64,
    /// Share of the belief that lies on "broken from the start".
    pub start_mass: f64,
    /// Scale, in seconds, at which the belief in a later start falls.
    pub start_seconds: f64,
    /// Requests the reference is worth when stable's rate is estimated; then the half-life of what is seen of stable.
    pub rate_prior_requests: f64,
    pub rate_half_life_seconds: f64,
    /// The same for the share of requests the candidate gets.
    pub share_prior_requests: f64,
    pub share_half_life_seconds: f64,
    /// Seconds of a watch in which latency says nothing; 30 for services that compile or fill caches while they run.
    pub latency_warmup_seconds: u32,
    pub cold: Cold,
    pub calibration: Limits,
    pub safety: SafetyRule,
}

/// What is used without a reference long enough to calibrate on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cold {
    pub eta: f64,
    pub cap: f64,
    pub cap_absolute: f64,
    /// Stable's share of errors where nothing is known of it.
    pub error_rate: f64,
    /// Stable's requests from which latency thresholds may be taken.
    pub latency_requests_min: u64,
}

/// What a calibration may choose at most, and how it weighs what is above zero.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    pub cap_errors: f64,
    /// Of the absolute components, with and without stable.
    pub cap_absolute: f64,
    pub cap_latency: f64,
    pub cap_errors_alone: f64,
    /// κ_s: gains count so many times losses.
    pub strictness_errors: f64,
    pub strictness_latency: f64,
    pub strictness_alone: f64,
    /// Reference below which the cold-start constants stand.
    pub hours_min: f64,
    /// Reference a candidate without stable beside it needs before its rates may take it back.
    pub hours_alone_min: f64,
}

/// When a candidate counts as proven.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SafetyRule {
    /// A candidate that is worse than this must not be called safe …
    pub margin: Margin,
    /// … in more than one of so many cases.
    pub cases: f64,
    /// Rate from which a failure is gross, …
    pub gross_rate: f64,
    /// … and the rate of errors that is believed at most when that is excluded.
    pub gross_belief_max: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            alpha: 0.01,
            weight_errors: 0.5,
            weight_latency: 0.4,
            weight_routes: 0.1,
            errors: Margin { ratio: 1.2, difference: 0.0001 },
            errors_alone: Margin { ratio: 1.4, difference: 0.0001 },
            latency: Margin { ratio: 1.0, difference: 0.0005 },
            error_odds: [1.25, 1.6, 2.5, 6.0, 20.0],
            error_absolute: [0.30, 0.90],
            latency_odds: [1.12, 1.5, 3.0, 10.0],
            block_seconds: 5,
            cap_per_record: 3.0,
            start_mass: 0.5,
            start_seconds: 60.0,
            rate_prior_requests: 2000.0,
            rate_half_life_seconds: 300.0,
            share_prior_requests: 100.0,
            share_half_life_seconds: 60.0,
            latency_warmup_seconds: 0,
            cold: Cold::default(),
            calibration: Limits::default(),
            safety: SafetyRule::default(),
        }
    }
}

impl Default for Cold {
    fn default() -> Self {
        Self { eta: 0.35, cap: 1.4, cap_absolute: 8.5, error_rate: 0.001, latency_requests_min: 1000 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cap_errors: 8.5,
            cap_absolute: 8.5,
            cap_latency: 2.0,
            cap_errors_alone: 2.0,
            strictness_errors: 1.0,
            strictness_latency: 1.25,
            strictness_alone: 2.0,
            hours_min: 4.0,
            hours_alone_min: 24.0,
        }
    }
}

impl Default for SafetyRule {
    fn default() -> Self {
        Self {
            margin: Margin { ratio: 1.5, difference: 0.005 },
            cases: 20.0,
            gross_rate: 0.2,
            gross_belief_max: 0.1,
        }
    }
}

impl Policy {
    /// Returns what log M must reach: ln(1/α), twice as strict without stable.
    pub fn threshold(&self, arms: Arms) -> f64 {
        match arms {
            Arms::Both { .. } => libm::log(1.0 / self.alpha),
            Arms::Alone => self.threshold_strict(),
        }
    }

    /// Returns ln(2/α).
    pub fn threshold_strict(&self) -> f64 {
        libm::log(2.0 / self.alpha)
    }

    /// Returns the margin of errors.
    pub fn error_margin(&self, arms: Arms) -> Margin {
        match arms {
            Arms::Both { .. } => self.errors,
            Arms::Alone => self.errors_alone,
        }
    }

    /// Returns the alternatives of errors: the odds, then the absolute ones.
    pub fn error_alternatives(&self) -> [Alternative; ERROR_COMPONENTS] {
        let [a, b, c, d, e] = self.error_odds.map(Alternative::Odds);
        let [f, g] = self.error_absolute.map(Alternative::Absolute);
        [a, b, c, d, e, f, g]
    }

    pub fn latency_alternatives(&self) -> [Alternative; LATENCY_COMPONENTS] {
        self.latency_odds.map(Alternative::Odds)
    }

    /// Returns v, the weight of one component in the average.
    pub fn component_weight(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Errors => self.weight_errors / ERROR_COMPONENTS as f64,
            Metric::Latency(_) => self.weight_latency / (LATENCIES * LATENCY_COMPONENTS) as f64,
            Metric::Route(_) => self.weight_routes / (ROUTES_MAX * ERROR_COMPONENTS) as f64,
        }
    }

    /// Returns Γ(t), the belief in a start after `seconds`.
    pub fn later(&self, seconds: u64) -> f64 {
        (1.0 - self.start_mass) / (1.0 + libm::log(1.0 + seconds as f64 / self.start_seconds))
    }

    /// Returns the pairs of a weight that was not calibrated. Without stable only the absolute components count.
    pub fn uncalibrated(&self, arms: Arms) -> Pairs {
        let odds = match arms {
            Arms::Both { .. } => Pair { eta: self.cold.eta, cap: self.cold.cap },
            Arms::Alone => Pair::default(),
        };
        let mut pairs = Pairs::uniform(odds);
        let absolute = Pair { eta: self.cold.eta, cap: self.cold.cap_absolute };
        pairs.errors[self.error_odds.len()..].fill(absolute);
        pairs
    }
}
