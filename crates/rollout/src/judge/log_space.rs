//! Adds numbers that are kept as their logarithms. Refuses to underflow: zero is −∞ here, and `null` in JSON.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// ln 0.
pub(super) const ZERO: f64 = f64::NEG_INFINITY;

/// Returns ln(e^a + e^b).
pub(super) fn add(a: f64, b: f64) -> f64 {
    let larger = a.max(b);
    if larger == ZERO {
        return ZERO;
    }
    larger + libm::log1p(libm::exp(-(a - b).abs()))
}

/// Returns ln Σ e^x; −∞ of nothing.
pub(super) fn sum(terms: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = terms.clone().fold(ZERO, f64::max);
    if largest == ZERO {
        return ZERO;
    }
    largest + libm::log(terms.map(|term| libm::exp(term - largest)).sum::<f64>())
}

/// Writes −∞ as `null`, which JSON has no number for.
pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    (*value != ZERO).then_some(*value).serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_added_to_nothing_is_nothing() {
        assert_eq!(add(ZERO, ZERO), ZERO);
        assert_eq!(sum([ZERO, ZERO].into_iter()), ZERO);
    }

    #[test]
    fn zero_changes_no_sum() {
        assert_eq!(add(ZERO, 1.5), 1.5);
        assert_eq!(sum([1.5, ZERO].into_iter()), 1.5);
    }

    #[test]
    fn what_would_overflow_is_added() {
        assert!((add(1000.0, 1000.0) - 1000.0 - libm::log(2.0)).abs() < 1e-12);
        assert!((sum([900.0; 4].into_iter()) - 900.0 - libm::log(4.0)).abs() < 1e-12);
    }
}
