//! Finds the latency thresholds in a histogram and counts what lies above them. Splits no bucket and takes no logarithm of
//! a boundary: everything is arithmetic on indexes. A histogram is a list of (bucket, count), in any order.
//! Source: OpenTelemetry exponential histogram, scale 5; bucket i covers (2^(i/32), 2^((i+1)/32)] milliseconds.

use super::policy::LATENCIES;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Buckets per doubling.
const PER_DOUBLING: f64 = 32.0;
/// Index of the lowest bucket, up to 0.25 ms, and of the highest, from 17 minutes.
const INDEX_MIN: i32 = -64;
const INDEX_MAX: i32 = 639;
/// Buckets the candidate's threshold lies above stable's: +4.43 % are harmless.
const SHIFT: i16 = 2;
/// The quantiles watched, in thousandths, which unlike shares of one add up without rounding.
const PER_MILLE: [u64; LATENCIES] = [500, 900, 990, 999];

/// Returns the bucket of a latency in milliseconds as the formula has it: ⌈32·log2(x)⌉ − 1.
pub fn formula(milliseconds: f64) -> i32 {
    libm::ceil(PER_DOUBLING * libm::log2(milliseconds)) as i32 - 1
}

/// Returns the bucket a latency in milliseconds is counted in: within [-64, 639], the lowest for what is no latency.
pub fn bucket(milliseconds: f64) -> i16 {
    if milliseconds > 0.0 { clamped(formula(milliseconds)) } else { clamped(INDEX_MIN) }
}

fn clamped(index: i32) -> i16 {
    index.clamp(INDEX_MIN, INDEX_MAX) as i16
}

/// The boundaries nearest stable's p50, p90, p99 and p99.9: requests in a bucket of this index or above are slow.
/// Fixed for a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Boundaries([i16; LATENCIES]);

impl Boundaries {
    /// Returns the boundaries of a histogram of stable's; None of an empty one.
    pub fn of(stable: &[(i16, u64)]) -> Option<Self> {
        let mut sorted = stable.to_vec();
        sorted.sort_unstable_by_key(|entry| entry.0);
        let mut boundaries = [0; LATENCIES];
        for (boundary, per_mille) in boundaries.iter_mut().zip(PER_MILLE) {
            // A quantile is the upper boundary of its bucket, and that is the lower one of the next.
            *boundary = clamped(i32::from(quantile(&sorted, per_mille)?) + 1);
        }
        Some(Self(boundaries))
    }

    /// Returns boundaries somebody else has found.
    pub fn at(indexes: [i16; LATENCIES]) -> Self {
        Self(indexes.map(|index| clamped(i32::from(index))))
    }

    /// Returns the indexes themselves.
    pub fn indexes(&self) -> [i16; LATENCIES] {
        self.0
    }

    /// Returns how many of stable's requests are slow, by threshold.
    pub fn slow_of_stable(&self, histogram: &[(i16, u64)]) -> [u64; LATENCIES] {
        self.0.map(|boundary| count_from(histogram, boundary))
    }

    /// Returns how many of the candidate's are, above the shifted boundaries.
    pub fn slow_of_candidate(&self, histogram: &[(i16, u64)]) -> [u64; LATENCIES] {
        self.0.map(|boundary| count_from(histogram, boundary + SHIFT))
    }

    /// Returns the thresholds in milliseconds, for people.
    pub fn milliseconds(&self) -> [f64; LATENCIES] {
        self.0.map(lower_ms)
    }
}

/// Returns the lower end of a bucket in milliseconds.
pub fn lower_ms(bucket: i16) -> f64 {
    libm::exp2(f64::from(bucket) / PER_DOUBLING)
}

/// Returns the bucket that reaches the quantile, of a histogram sorted by bucket.
fn quantile(sorted: &[(i16, u64)], per_mille: u64) -> Option<i16> {
    let count: u128 = sorted.iter().map(|entry| u128::from(entry.1)).sum();
    let wanted = (count * u128::from(per_mille)).div_ceil(1000).max(1);
    let mut seen = 0;
    sorted.iter().find_map(|&(index, count)| {
        seen += u128::from(count);
        (seen >= wanted).then_some(index)
    })
}

fn count_from(histogram: &[(i16, u64)], index: i16) -> u64 {
    histogram.iter().filter(|entry| entry.0 >= index).fold(0, |sum, entry| sum.saturating_add(entry.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boundary_is_the_upper_end_of_the_bucket_that_reaches_the_quantile() {
        let stable = [(300, 1), (202, 40), (180, 50), (250, 9)];
        let boundaries = Boundaries::of(&stable).unwrap();

        assert_eq!(boundaries.indexes(), [181, 203, 251, 301]);
        assert_eq!(boundaries.slow_of_stable(&stable), [50, 10, 1, 0]);
        assert!((boundaries.milliseconds()[1] - 81.2).abs() < 0.1);
    }

    #[test]
    fn two_buckets_slower_are_harmless() {
        let boundaries = Boundaries::of(&[(180, 50), (202, 50)]).unwrap();

        assert_eq!(boundaries.slow_of_candidate(&[(182, 50), (204, 50)])[1], 0);
        assert_eq!(boundaries.slow_of_candidate(&[(183, 50), (205, 50)])[1], 50);
    }

    #[test]
    fn an_empty_histogram_has_no_boundaries() {
        assert_eq!(Boundaries::of(&[]), None);
        assert_eq!(Boundaries::of(&[(7, 0)]), None);
    }

    #[test]
    fn what_is_outside_the_range_is_counted_at_its_ends() {
        assert_eq!(bucket(0.25), -64);
        assert_eq!(bucket(0.0), -64);
        assert_eq!(bucket(f64::NAN), -64);
        assert_eq!(bucket(f64::INFINITY), 639);
        assert_eq!(Boundaries::of(&[(639, 5)]).unwrap().indexes(), [639; 4]);
    }
}
