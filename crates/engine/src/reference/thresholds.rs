//! Chooses where slow begins: at the histogram buckets nearest the wanted quantiles of stable's latency.
//! Holds on to them, because counts by one boundary cannot be added to counts by another; lets go when the day has moved away.

use super::THRESHOLDS;
use super::periods::Periods;
use meter::histogram::{Histogram, INDEX_MAX};
use serde::{Deserialize, Serialize};

/// Latencies that must be known before thresholds are chosen (rollback.md, 3.6).
const REQUESTS_MIN: u64 = 1000;
/// A quantile this far from its boundary has moved: 9 %, twice the margin.
const DRIFT_BUCKETS: i16 = 4;
/// Requests above a quantile from which on its place is known to within two buckets or so; fewer are noise.
const ABOVE_MIN: f64 = 100.0;
/// The boundary of a threshold nobody asked for: nothing lies there.
const NEVER: i16 = INDEX_MAX + 1;

/// Which thresholds are wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Rising, at most four; what is beyond is ignored. Empty: latency is not looked at.
    pub quantiles: Vec<f64>,
    /// How far the candidate's boundaries lie above stable's.
    pub margin_buckets: i16,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { quantiles: vec![0.5, 0.9, 0.99, 0.999], margin_buckets: 2 }
    }
}

/// The thresholds in use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Boundaries {
    of: Thresholds,
    pub(super) buckets: [i16; THRESHOLDS],
    /// The first block counted by them.
    pub(super) since: u64,
    /// How many latencies were known when they were last compared with the day.
    compared_at: u64,
    compared_in: u64,
}

impl Boundaries {
    pub(super) fn are_of(&self, wanted: &Thresholds) -> bool {
        self.of == *wanted
    }

    /// Whether the boundaries should be compared with the day again: twice as much is known, or a half-hour has passed.
    fn are_due(&self, known: u64, half_hour: u64) -> bool {
        known >= self.compared_at.saturating_mul(2) || half_hour != self.compared_in
    }

    fn have_moved(&self, nearest: &[i16; THRESHOLDS], known: u64) -> bool {
        let far = |(own, now): (&i16, &i16)| (own - now).abs() > DRIFT_BUCKETS;
        let is_known = |quantile: &f64| known as f64 * (1.0 - quantile) >= ABOVE_MIN;
        let places = self.buckets.iter().zip(nearest).zip(&self.of.quantiles);
        places.filter(|(_, quantile)| is_known(quantile)).any(|(places, _)| far(places))
    }
}

/// Chooses boundaries when enough is known, and others when the day has moved away from them: `next` is the first block
/// that will be counted by those.
pub(super) fn review(present: &mut Option<Boundaries>, periods: &Periods, wanted: &Thresholds, next: u64) {
    let (known, half_hour) = (periods.timed(), periods.half_hour());
    let due = present.as_ref().is_none_or(|present| present.are_due(known, half_hour));
    if known < REQUESTS_MIN || !due || wanted.quantiles.is_empty() {
        return;
    }
    let nearest = nearest(&periods.latency(), wanted);
    match present {
        Some(present) if !present.have_moved(&nearest, known) => {
            (present.compared_at, present.compared_in) = (known, half_hour);
        }
        _ => {
            let (compared_at, compared_in) = (known, half_hour);
            *present = Some(Boundaries {
                of: wanted.clone(),
                buckets: nearest,
                since: next,
                compared_at,
                compared_in,
            });
        }
    }
}

/// Returns the bucket above each quantile: the quantile is the upper boundary of the bucket that reaches it, which in
/// thirty-seconds of a doubling is the number of the next one.
fn nearest(latency: &Histogram, wanted: &Thresholds) -> [i16; THRESHOLDS] {
    let bucket = |quantile: &f64| latency.quantile_bucket(*quantile).map_or(NEVER, |bucket| bucket + 1);
    let mut buckets = [NEVER; THRESHOLDS];
    buckets.iter_mut().zip(&wanted.quantiles).for_each(|(place, quantile)| *place = bucket(quantile));
    buckets
}
