//! Says when a certificate is renewed, and how long a failed attempt rests. Reads no clock.

use crate::limits;
use crate::random::Random;
use crate::tls::shelf::Certificate;
use rollout::names::Millis;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

const HOUR: Millis = Millis::seconds(3600);

/// Returns when a certificate is renewed: when a third of its time is left, as servers ask, or up to a fifteenth before, so
/// that those got together are not renewed together.
pub(super) fn renewal(certificate: &Certificate, random: &Random) -> Millis {
    let whole = certificate.not_after.since(certificate.not_before).0;
    let early = whole / 3 + random.next() % (whole / 15 + 1);
    Millis(certificate.not_after.0.saturating_sub(early))
}

/// Returns how long to wait after so many failures in a row: the first time so long, doubling, six hours at most; by chance
/// a quarter less or more.
pub(super) fn pause(first: Duration, failures: u32, random: &Random) -> Millis {
    let first = u64::try_from(first.as_millis()).unwrap_or(u64::MAX);
    let whole = first.saturating_mul(1 << failures.saturating_sub(1).min(20));
    let whole = whole.min(limits::ACME_PAUSE_MAX.0);
    Millis(whole * 3 / 4 + random.next() % (whole / 2 + 1))
}

/// The moments of the last orders, the oldest first: no hour has more than so many. Written down, so that it also holds for
/// an edge that starts again and again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Orders(VecDeque<Millis>);

impl Orders {
    /// Notes an order and returns None; the moment of the next one, where the hour has enough.
    pub(super) fn take(&mut self, most: u32, now: Millis) -> Option<Millis> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        while self.0.front().is_some_and(|first| first.plus(HOUR) <= now || self.0.len() > most) {
            self.0.pop_front();
        }
        if self.0.len() >= most {
            return self.0.front().map(|first| first.plus(HOUR));
        }
        self.0.push_back(now);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_wait_ever_longer_up_to_a_bound_and_not_all_the_same_time() {
        let random = Random::seeded();
        for (failures, least, most) in
            [(1, 45, 75), (2, 90, 150), (3, 180, 300), (10, 16_200, 27_000), (u32::MAX, 16_200, 27_000)]
        {
            let pauses: Vec<u64> =
                (0..64).map(|_| pause(limits::ACME_PAUSE, failures, &random).0 / 1000).collect();
            assert!(
                pauses.iter().all(|pause| (least..=most).contains(pause)),
                "{failures} failures: {pauses:?}"
            );
            assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{failures} failures: no chance in it");
        }
    }

    #[test]
    fn e18_no_hour_has_more_orders_than_it_may() {
        let mut orders = Orders::default();
        let minute = |minute: u64| Millis::seconds(60 * minute);

        assert_eq!(orders.take(2, minute(0)), None);
        assert_eq!(orders.take(2, minute(40)), None);
        assert_eq!(orders.take(2, minute(50)), Some(minute(60)));
        assert_eq!(orders.take(2, minute(60)), None);
        assert_eq!(orders.take(2, minute(61)), Some(minute(100)));
        // A smaller bound holds at once.
        assert_eq!(orders.take(1, minute(101)), Some(minute(120)));
    }
}
