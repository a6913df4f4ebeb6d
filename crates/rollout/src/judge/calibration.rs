//! Holds what the stable version's own traffic says about a service: rates, thresholds, how dependent its requests are.
//! Computed by `calibrate`, recorded with the deployment it is used in, and fixed for its whole watch.

use super::policy::{LATENCIES, Pairs};
use super::process::Reference;
use super::seasons::Seasons;
use crate::names::Weight;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Buckets to a doubling (OpenTelemetry exponential histogram, scale 5).
const PER_DOUBLING: f64 = 32.0;

/// What the judge may assume.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Calibration {
    /// Hours of stable's traffic this rests on; 0: none, constants of a cold start.
    pub hours: f64,
    /// Stable's share of failing requests, and of those counted once a user.
    pub error_rate: f64,
    pub error_rate_once: f64,
    /// Histogram buckets nearest stable's quantiles; None before enough requests were seen.
    pub boundaries: Option<[i16; LATENCIES]>,
    /// Stable's share of requests at or above each of them.
    pub slow_rates: Option<[f64; LATENCIES]>,
    /// Routes judged on their own, and stable's share of failing requests of each.
    #[serde(default)]
    pub route_names: Vec<String>,
    #[serde(default)]
    pub route_error_rates: Vec<f64>,
    /// Errors by the time of day, for a candidate alone.
    #[serde(default)]
    pub seasons: Option<Seasons>,
    /// How much evidence counts, at each planned weight.
    #[serde(default)]
    pub weights: Vec<CalibratedWeight>,
    /// Components that cannot see much on this traffic, for people.
    #[serde(default)]
    pub insensitive: Vec<String>,
}

/// The pairs of one weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CalibratedWeight {
    pub weight: Weight,
    pub pairs: Pairs,
}

/// Where latencies begin to count as slow, in histogram buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boundaries {
    pub stable: [i16; LATENCIES],
    /// Shifted by the margin.
    pub candidate: [i16; LATENCIES],
}

impl Calibration {
    /// Returns the pairs of a planned weight; never those of another one.
    pub fn pairs(&self, weight: Weight) -> Option<Pairs> {
        self.weights.iter().find(|known| known.weight == weight).map(|known| known.pairs)
    }

    /// Tells whether every rate is one: what is no number could not be read from a journal again.
    pub(super) fn is_sound(&self) -> bool {
        let rates = [self.error_rate, self.error_rate_once];
        let slow = self.slow_rates.iter().flatten();
        let all = rates.iter().chain(slow).chain(&self.route_error_rates);
        self.hours.is_finite() && all.into_iter().all(|rate| (0.0..=1.0).contains(rate))
    }

    pub(super) fn reference(&self) -> Reference {
        Reference {
            error_rate: self.error_rate,
            error_rate_once: self.error_rate_once,
            slow_rates: self.slow_rates,
            route_error_rates: self.route_error_rates.clone(),
            seasons: self.seasons.clone(),
        }
    }
}

/// Returns the lower edge of a histogram bucket in milliseconds.
pub fn lower_ms(bucket: i16) -> f64 {
    libm::exp2(f64::from(bucket) / PER_DOUBLING)
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.weights.is_empty() {
            return write!(
                f,
                "the judge starts cold: {:.1} h of this service's traffic are known",
                self.hours
            );
        }
        write!(
            f,
            "the judge is calibrated on {:.1} h of stable's traffic: {:.3} % of its requests fail",
            self.hours,
            self.error_rate * 100.0
        )?;
        if let Some(boundaries) = self.boundaries {
            let [p50, _, p99, _] = boundaries.map(lower_ms);
            write!(f, ", p50 {p50:.1} ms, p99 {p99:.1} ms")?;
        }
        for component in &self.insensitive {
            write!(f, "; {component}")?;
        }
        Ok(())
    }
}
