//! Decides whether a key may send another request: the generic cell rate algorithm, a token bucket kept as one moment.
//! Knows no clock and no key; `table` keeps the moments. Source: ITU-T I.371, annex A; virtual scheduling.

use rollout::names::Millis;
use std::time::Duration;

/// How fast a bucket refills and how much it holds, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Time that gives back one request.
    each: u64,
    /// Time that fills an empty bucket.
    whole: u64,
}

/// A request that comes too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Early {
    /// When the next one may come.
    pub(crate) wait: Duration,
}

impl Pace {
    /// Bounds of the manifest keep all of this far below 64 bits; a table that breaks them is only stricter.
    pub(crate) fn new(limit: u32, window: Millis, burst: u32) -> Self {
        let window = window.0.clamp(1, 86_400_000).saturating_mul(1_000_000);
        // Rounded up: never more than the limit.
        let each = window.div_ceil(u64::from(limit.max(1)));
        Self { each, whole: each.saturating_mul(u64::from(burst.max(1))) }
    }

    /// Returns the moment at which the bucket will be full again after this request. `full_at` is that moment before it;
    /// a moment that has passed is a full bucket.
    pub(crate) fn admit(self, full_at: u64, now: u64) -> Result<u64, Early> {
        let next = full_at.max(now).saturating_add(self.each);
        let room = now.saturating_add(self.whole);
        if next <= room {
            return Ok(next);
        }
        Err(Early { wait: Duration::from_nanos(next - room) })
    }

    /// Returns the latest moment a key of this pace can be at.
    pub(crate) fn latest(self, now: u64) -> u64 {
        now.saturating_add(self.whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_passes_then_one_for_each_interval() {
        let pace = Pace::new(10, Millis::seconds(1), 3);
        let mut full_at = 0;

        for _ in 0..3 {
            full_at = pace.admit(full_at, SECOND).unwrap();
        }
        assert_eq!(pace.admit(full_at, SECOND), Err(Early { wait: Duration::from_millis(100) }));
        full_at = pace.admit(full_at, SECOND + SECOND / 10).unwrap();
        assert!(pace.admit(full_at, SECOND + SECOND / 10).is_err());
        assert!(pace.admit(full_at, 2 * SECOND).is_ok());
    }

    #[test]
    fn who_waits_as_long_as_was_said_is_let_in() {
        let pace = Pace::new(7, Millis::seconds(60), 2);
        let full_at = pace.latest(5);

        let early = pace.admit(full_at, 5).unwrap_err();

        let then = 5 + u64::try_from(early.wait.as_nanos()).unwrap();
        assert!(pace.admit(full_at, then - 1).is_err());
        assert!(pace.admit(full_at, then).is_ok());
    }

    proptest! {
        /// The bound of a token bucket, in every window of the sequence and whatever the clock does: a step back gives
        /// nothing, a step forward no more than the time it claims.
        #[test]
        fn never_more_than_the_burst_and_what_the_time_gives_back(
            limit in 1u32..500, window in 1u64..10_000, burst in 1u32..50,
            steps in prop::collection::vec((-2_000_000_000i64..2_000_000_000, 1usize..40), 1..40),
        ) {
            let pace = Pace::new(limit, Millis(window), burst);
            let (mut now, mut full_at) = (3_600 * SECOND, 0);
            let mut admitted: Vec<u64> = Vec::new();
            for (step, requests) in steps {
                now = now.saturating_add_signed(step / i64::from(limit));
                for _ in 0..requests {
                    if let Ok(next) = pace.admit(full_at, now) {
                        full_at = next;
                        admitted.push(now);
                    }
                }
            }
            // The clock as it would have been without steps back: the time that really can have passed.
            let highest: Vec<u64> = admitted
                .iter()
                .scan(0, |high, at| { *high = (*high).max(*at); Some(*high) })
                .collect();
            for from in 0..highest.len() {
                for to in from..highest.len() {
                    let refilled = (highest[to] - highest[from]) / pace.each;
                    prop_assert!((to - from + 1) as u64 <= u64::from(burst) + refilled);
                }
            }
        }
    }
}
