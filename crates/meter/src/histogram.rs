//! Sorts latencies into base-2 exponential buckets, 32 per doubling, and merges by addition.
//! Source: OpenTelemetry exponential histogram, scale 5. Refuses nothing: what is too small or too large lands in the end buckets.

use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// Index of the lowest bucket: everything up to 0.25 ms.
pub const INDEX_MIN: i16 = -64;
/// Index of the highest bucket: about 17 minutes and longer.
pub const INDEX_MAX: i16 = 639;
/// Buckets per doubling.
const PER_DOUBLING: i32 = 32;

/// 2^(k/32) for k = 0..=32: the boundaries inside one doubling, so that no logarithm is taken per request.
static STEPS: LazyLock<[f64; 33]> = LazyLock::new(|| std::array::from_fn(|k| (k as f64 / 32.0).exp2()));

/// Returns the bucket of a latency in milliseconds: ⌈32·log2(x)⌉ − 1, clamped to [-64, 639].
/// Zero, negative and NaN count as the lowest.
pub fn bucket(milliseconds: f64) -> i16 {
    if milliseconds.is_nan() || milliseconds <= 0.25 {
        return INDEX_MIN;
    }
    let exponent = ((milliseconds.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    if exponent >= 20 {
        return INDEX_MAX;
    }
    let mantissa = f64::from_bits((milliseconds.to_bits() & 0x000f_ffff_ffff_ffff) | (1023 << 52));
    // Boundaries are exclusive below and inclusive above, so a power of two belongs to the bucket under it.
    let within = STEPS.partition_point(|step| *step < mantissa) as i32 - 1;
    (exponent * PER_DOUBLING + within).clamp(i32::from(INDEX_MIN), i32::from(INDEX_MAX)) as i16
}

/// Returns the upper boundary of a bucket in milliseconds.
pub fn upper(index: i16) -> f64 {
    ((f64::from(index) + 1.0) / f64::from(PER_DOUBLING)).exp2()
}

/// A sparse histogram: (bucket, count), sorted by bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram(Vec<(i16, u32)>);

impl Histogram {
    /// Counts one latency in milliseconds.
    pub fn record(&mut self, milliseconds: f64) {
        self.add(bucket(milliseconds), 1);
    }

    /// Adds another histogram's counts.
    pub fn merge(&mut self, other: &Histogram) {
        for &(index, count) in &other.0 {
            self.add(index, count);
        }
    }

    fn add(&mut self, index: i16, count: u32) {
        match self.0.binary_search_by_key(&index, |entry| entry.0) {
            Ok(found) => self.0[found].1 = self.0[found].1.saturating_add(count),
            Err(place) => self.0.insert(place, (index, count)),
        }
    }

    pub fn count(&self) -> u64 {
        self.0.iter().map(|entry| u64::from(entry.1)).sum()
    }

    /// Returns how many values lie in buckets at or above `index`.
    pub fn count_from(&self, index: i16) -> u64 {
        self.0.iter().filter(|entry| entry.0 >= index).map(|entry| u64::from(entry.1)).sum()
    }

    /// Returns the filled buckets and their counts, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = (i16, u32)> {
        self.0.iter().copied()
    }

    /// Returns the upper boundary, in milliseconds, of the bucket that reaches the quantile; None when empty.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        self.quantile_bucket(share).map(upper)
    }

    /// Returns the bucket that reaches the quantile; None when empty.
    pub fn quantile_bucket(&self, share: f64) -> Option<i16> {
        let wanted = (share * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for &(index, count) in &self.0 {
            seen += u64::from(count);
            if seen >= wanted {
                return Some(index);
            }
        }
        None
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_buckets_are_those_of_the_specification() {
        let expected =
            [(1.0, -1), (2.0, 31), (80.0, 202), (100.0, 212), (390.6, 275), (128.0, 223), (0.25, -64)];

        for (milliseconds, index) in expected {
            assert_eq!(bucket(milliseconds), index, "{milliseconds} ms");
        }
    }

    #[test]
    fn values_outside_the_range_land_in_the_end_buckets() {
        assert_eq!(bucket(0.0), INDEX_MIN);
        assert_eq!(bucket(f64::NAN), INDEX_MIN);
        assert_eq!(bucket(1e12), INDEX_MAX);
        assert_eq!(bucket(f64::INFINITY), INDEX_MAX);
    }

    proptest! {
        #[test]
        fn a_value_lies_in_its_bucket(milliseconds in 0.26f64..1_000_000.0) {
            let index = bucket(milliseconds);

            prop_assert!(milliseconds <= upper(index) * (1.0 + 1e-12));
            prop_assert!(index == INDEX_MAX || milliseconds > upper(index - 1) * (1.0 - 1e-12));
        }

        #[test]
        fn merging_is_counting_both(left in prop::collection::vec(0.1f64..5000.0, 0..50), right in prop::collection::vec(0.1f64..5000.0, 0..50)) {
            let of = |values: &[f64]| { let mut h = Histogram::default(); values.iter().for_each(|v| h.record(*v)); h };
            let mut merged = of(&left);
            merged.merge(&of(&right));

            prop_assert_eq!(merged, of(&[left, right].concat()));
        }
    }
}
