//! Decides as a CloudWatch alarm on errors and one on p99 do: period 60 s, two of two datapoints above a constant,
//! a minute without data is not evaluated. Without the metric's own delay of about a minute, in its favour.

use super::Decider;
use crate::traffic::{Minute, Scene, Second};

const DATAPOINTS: u32 = 2;
/// What somebody who tunes an alarm allows above the reference.
const TUNED_ERRORS: (f64, f64) = (1.5, 0.0005);
const TUNED_P99: f64 = 1.3;

/// The constants of the two alarms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    pub error_rate_max: f64,
    pub p99_ms_max: f64,
}

impl Limits {
    /// 1 % and 500 ms, whatever the service is like.
    pub const STATIC: Self = Self { error_rate_max: 0.01, p99_ms_max: 500.0 };

    /// The best case: somebody knew the service and wrote its own figures in.
    pub fn tuned(scene: &Scene) -> Self {
        Self {
            error_rate_max: TUNED_ERRORS.0 * scene.error_rate + TUNED_ERRORS.1,
            p99_ms_max: TUNED_P99 * scene.latency.quantile_ms(0.99),
        }
    }
}

/// Two alarms that stop a deployment.
#[derive(Debug, Clone)]
pub struct Alarm {
    limits: Limits,
    errors_high: u32,
    p99_high: u32,
}

impl Alarm {
    pub fn new(limits: Limits) -> Self {
        Self { limits, errors_high: 0, p99_high: 0 }
    }

    fn datapoint(&mut self, minute: &Minute) -> bool {
        let count = |value: Option<f64>, limit: f64, before: u32| match value {
            Some(value) if value > limit => before + 1,
            Some(_) => 0,
            None => before,
        };
        self.errors_high = count(minute.all.error_rate(), self.limits.error_rate_max, self.errors_high);
        self.p99_high = count(minute.p99_ms, self.limits.p99_ms_max, self.p99_high);
        self.errors_high >= DATAPOINTS || self.p99_high >= DATAPOINTS
    }
}

impl Decider for Alarm {
    fn rolls_back(&mut self, second: &Second) -> bool {
        second.minute.is_some_and(|minutes| self.datapoint(&minutes.candidate))
    }
}
