//! Names what is wrong with a candidate, and what it does to error share and latency. Refuses to touch stable.

use super::latency::Mixture;

/// What is wrong with the candidate. Rates and shares are fractions of its requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// The same version once more.
    Nothing,
    /// This share fails from the first second.
    Errors(f64),
    /// Everything fails from this second on.
    Crash { second: u64 },
    /// Fails so many times as often as stable.
    ErrorsTimes(f64),
    /// The share that fails grows in a line.
    Leak { from: f64, to: f64, seconds: u64 },
    /// The slow part takes this many times as long: at 1.5 the 99th percentile is 1.45 times stable's.
    SlowPartTimes(f64),
    /// The slow part is slower, so that the 99th percentile is this many times stable's.
    P99Times(f64),
    /// Everything takes this many times as long.
    AllTimes(f64),
    /// This share of requests takes so much longer.
    Delayed { share: f64, ms: f64 },
    /// One route with this share of the traffic fails this often.
    Route { traffic: f64, errors: f64 },
}

impl Fault {
    /// Returns the second the fault begins.
    pub fn onset(&self) -> u64 {
        match self {
            Self::Crash { second } => *second,
            _ => 0,
        }
    }

    /// Returns the share of the candidate's requests that fails at this second, when `stable` of stable's do.
    /// The struck route of `Route` is not in it.
    pub fn error_rate(&self, stable: f64, second: u64) -> f64 {
        match *self {
            Self::Errors(rate) => rate,
            Self::Crash { second: onset } if second >= onset => 1.0,
            Self::ErrorsTimes(times) => stable * times,
            Self::Leak { from, to, seconds } => {
                from + (to - from) * ((second as f64 + 0.5) / seconds as f64).min(1.0)
            }
            _ => stable,
        }
    }

    /// Returns the candidate's latency when `stable` is stable's.
    pub fn latency(&self, stable: Mixture) -> Mixture {
        match *self {
            Self::SlowPartTimes(times) => stable.slow_part_times(times),
            Self::P99Times(times) => stable.p99_times(times),
            Self::AllTimes(times) => stable.times(times),
            Self::Delayed { share, ms } => stable.delayed(share, ms),
            _ => stable,
        }
    }

    /// Returns the share of answered requests that are slower because of the fault; None where errors are the harm.
    pub fn slow_share(&self, stable: Mixture) -> Option<f64> {
        match *self {
            Self::SlowPartTimes(_) | Self::P99Times(_) => Some(stable.slow_share),
            Self::AllTimes(_) => Some(1.0),
            Self::Delayed { share, .. } => Some(share),
            _ => None,
        }
    }

    /// Says whether taking this candidate back is wrong.
    pub fn is_harmless(&self) -> bool {
        match *self {
            Self::Nothing => true,
            Self::ErrorsTimes(times) => times <= 1.1,
            Self::AllTimes(times) => times <= 1.02,
            _ => false,
        }
    }
}
