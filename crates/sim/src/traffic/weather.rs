//! Moves what strikes both versions alike: error level, incidents, latency level. Refuses to know the versions.

use crate::chance::Chance;

/// Spread of the logarithm of the error level, and how long it takes to forget.
const ERROR_SIGMA: f64 = 0.5;
const RELAXATION_S: f64 = 120.0;
/// An incident an hour, of 20 s on average, makes errors 20 times as frequent.
const INCIDENT_EVERY_S: f64 = 3600.0;
const INCIDENT_S: f64 = 20.0;
const INCIDENT_TIMES: f64 = 20.0;
/// Spread of the logarithm of the latency level.
const LATENCY_SIGMA: f64 = 0.05;
/// Fine bins of a doubling.
const BINS_PER_DOUBLING: f64 = 128.0;

/// A level that wanders about zero (Ornstein–Uhlenbeck, exact at whole seconds).
#[derive(Debug, Clone, Copy)]
struct Wandering {
    value: f64,
    sigma: f64,
}

impl Wandering {
    fn new(sigma: f64, chance: &mut Chance) -> Self {
        Self { value: sigma * chance.normal(), sigma }
    }

    fn step(&mut self, chance: &mut Chance) -> f64 {
        let kept = libm::exp(-1.0 / RELAXATION_S);
        self.value = self.value * kept + self.sigma * (1.0 - kept * kept).sqrt() * chance.normal();
        self.value
    }
}

/// What both versions go through.
#[derive(Debug, Clone)]
pub struct Weather {
    errors: Wandering,
    latency: Wandering,
    incident_left_s: f64,
}

/// One second of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// Errors are this many times as frequent.
    pub errors_times: f64,
    /// Latencies move by this many fine bins.
    pub latency_shift: i32,
}

impl Conditions {
    pub const CALM: Self = Self { errors_times: 1.0, latency_shift: 0 };
}

impl Weather {
    /// Starts in the middle of things: levels and incidents as they are at any moment.
    pub fn new(chance: &mut Chance) -> Self {
        let errors = Wandering::new(ERROR_SIGMA, chance);
        let latency = Wandering::new(LATENCY_SIGMA, chance);
        let inside = chance.happens(INCIDENT_S / (INCIDENT_EVERY_S + INCIDENT_S));
        let incident_left_s = if inside { chance.exponential(INCIDENT_S) } else { 0.0 };
        Self { errors, latency, incident_left_s }
    }

    pub fn step(&mut self, chance: &mut Chance) -> Conditions {
        self.incident_left_s = (self.incident_left_s - 1.0).max(0.0);
        if self.incident_left_s == 0.0 && chance.happens(1.0 / INCIDENT_EVERY_S) {
            self.incident_left_s = chance.exponential(INCIDENT_S);
        }
        let incident = if self.incident_left_s > 0.0 { INCIDENT_TIMES } else { 1.0 };
        let level = libm::exp(self.errors.step(chance) - 0.5 * ERROR_SIGMA * ERROR_SIGMA);
        let shift = self.latency.step(chance) / std::f64::consts::LN_2 * BINS_PER_DOUBLING;
        Conditions { errors_times: level * incident, latency_shift: shift.round() as i32 }
    }
}
