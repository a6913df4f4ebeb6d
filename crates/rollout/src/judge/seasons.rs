//! Remembers stable's share of errors by the time of day, for a candidate with no stable beside it.
//! Forgets nothing by itself: who keeps the last seven days adds them here; see `process` for its use.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Half-hours of a UTC day.
const BINS: usize = 48;
const BIN_SECONDS: u64 = 1800;
const HOUR_SECONDS: u64 = 3600;
/// The last hour is compared with its season minute by minute: it need not begin with a half-hour.
const MINUTE_SECONDS: u64 = 60;
/// How far a switch may move the whole season.
const RATIO_MIN: f64 = 0.5;
const RATIO_MAX: f64 = 2.0;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
struct Bin {
    requests: u64,
    errors: u64,
}

/// Requests and errors of stable in every half-hour of the day, and how the last hour compared with them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Seasons {
    bins: Vec<Bin>,
    ratio: f64,
}

impl Default for Seasons {
    fn default() -> Self {
        Self { bins: vec![Bin::default(); BINS], ratio: 1.0 }
    }
}

impl Seasons {
    /// Counts requests of the half-hour `second` (since the Unix epoch) lies in.
    pub fn add(&mut self, second: u64, requests: u64, errors: u64) {
        if let Some(bin) = self.bins.get_mut(place(second)) {
            bin.requests = bin.requests.saturating_add(requests);
            bin.errors = bin.errors.saturating_add(errors.min(requests));
        }
    }

    /// Fixes how the hour before the switch at `second` compares with its season, within [0.5, 2];
    /// 1 where either has nothing to compare.
    pub fn freeze(&mut self, second: u64, requests: u64, errors: u64) {
        let minutes =
            (1..=HOUR_SECONDS / MINUTE_SECONDS).map(|back| second.saturating_sub(back * MINUTE_SECONDS));
        let rates: Vec<f64> = minutes.filter_map(|minute| self.season(minute)).collect();
        let season = rates.iter().sum::<f64>() / rates.len() as f64;
        self.ratio = if requests > 0 && season > 0.0 {
            (errors.min(requests) as f64 / requests as f64 / season).clamp(RATIO_MIN, RATIO_MAX)
        } else {
            1.0
        };
    }

    /// Returns stable's share of errors to expect at `second`; None where its half-hour was never seen.
    pub fn rate(&self, second: u64) -> Option<f64> {
        self.season(second).map(|season| season * self.ratio)
    }

    fn season(&self, second: u64) -> Option<f64> {
        let bin = self.bins.get(place(second))?;
        (bin.requests > 0).then(|| bin.errors as f64 / bin.requests as f64)
    }
}

fn place(second: u64) -> usize {
    (second / BIN_SECONDS % BINS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn seen() -> Seasons {
        let mut seasons = Seasons::default();
        for day in 0..7 {
            seasons.add(day * DAY + 600, 1000, 10);
            seasons.add(day * DAY + 2400, 1000, 30);
        }
        seasons
    }

    #[test]
    fn a_half_hour_is_the_same_every_day() {
        assert_eq!(seen().rate(100 * DAY), Some(0.01));
        assert_eq!(seen().rate(100 * DAY + 1800), Some(0.03));
        assert_eq!(seen().rate(100 * DAY + 3600), None);
    }

    #[test]
    fn the_last_hour_moves_the_season_within_bounds() {
        let frozen = |requests, errors| {
            let mut seasons = seen();
            seasons.freeze(3600, requests, errors);
            seasons.rate(0).unwrap()
        };

        assert!((frozen(1000, 30) - 0.015).abs() < 1e-12);
        assert!((frozen(1000, 500) - 0.02).abs() < 1e-12);
        assert!((frozen(1000, 0) - 0.005).abs() < 1e-12);
    }

    #[test]
    fn nothing_to_compare_moves_nothing() {
        let mut seasons = seen();
        seasons.freeze(3600, 0, 0);
        assert_eq!(seasons.rate(0), Some(0.01));

        seasons.freeze(12 * 3600, 1000, 100);
        assert_eq!(seasons.rate(0), Some(0.01));
    }
}
