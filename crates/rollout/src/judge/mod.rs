//! Judges a candidate by the requests both sides answered. Part of the state: folded from the journal, never polled.
//! `watch` is what the machine speaks to; `process` holds the evidence, `calibration` what is known of the service.

pub mod buckets;
pub mod calibrate;
pub mod calibration;
mod counts;
mod evidence;
mod family;
pub mod forecast;
mod gross;
mod log_space;
pub mod policy;
pub mod probes;
pub mod process;
pub mod reading;
mod record;
pub mod ripr;
pub mod safety;
pub mod seasons;
mod share;
mod shared;
#[cfg(test)]
mod tests;
mod turned_away;
mod watch;

pub use calibration::Calibration;
pub use counts::{Counts, RouteCounts, Sample};
pub use evidence::{Evidence, Finding, Verdict};
pub use record::{
    ClientErrorCounts, ClientErrors, FAILURES_MAX, FailingRequest, Once, ProbeCounts, Record, Slow,
};
pub use shared::SAMPLE_MIN;
pub use watch::{Judge, SlowFrom, cold_rate, policy_for};
