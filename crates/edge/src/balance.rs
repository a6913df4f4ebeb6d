//! Picks the replica with the fewest requests in flight; on ties, takes turns. Knows no socket. Passes over outliers, and
//! refuses where all carry as much as they may.

use crate::claim::Replica;
use rollout::names::Millis;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Why no replica is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoneLeft {
    /// There is none, or none that has not been tried.
    Tried,
    /// Every one carries as much as it may.
    Full,
}

/// The replicas of one arm and whose turn it is, over all workers.
#[derive(Debug)]
pub(crate) struct Balance {
    replicas: Vec<Arc<Replica>>,
    turn: AtomicUsize,
}

impl Balance {
    pub(crate) fn new(replicas: Vec<Arc<Replica>>) -> Self {
        Self { replicas, turn: AtomicUsize::new(0) }
    }

    pub(crate) fn replicas(&self) -> &[Arc<Replica>] {
        &self.replicas
    }

    /// Returns the least busy replica that is not in `tried`, of those that carry fewer than `most` requests.
    pub(crate) fn pick(
        &self,
        tried: &[u64],
        most: u64,
        now: impl Fn() -> Millis,
    ) -> Result<&Arc<Replica>, NoneLeft> {
        let count = self.replicas.len();
        if count == 0 {
            return Err(NoneLeft::Tried);
        }
        let start = self.turn.fetch_add(1, Relaxed) % count;
        let (before, from) = self.replicas.split_at(start);
        // `min_by_key` returns the first of equals, which is the one whose turn it is.
        let rest = || from.iter().chain(before).filter(|replica| !tried.contains(&replica.id));
        let sound = rest().filter(|replica| !replica.outlier.is_out(&now));
        let least = sound.min_by_key(|replica| replica.in_flight());
        let least = least.or_else(|| rest().min_by_key(|replica| replica.in_flight()));
        let least = least.ok_or(NoneLeft::Tried)?;
        if least.working() < most { Ok(least) } else { Err(NoneLeft::Full) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::{Flights, Registry};
    use rollout::names::{ReplicaId, Revision, Target};
    use rollout::release::Protocol;
    use rollout::routes::Endpoint;
    use std::rc::Rc;

    fn three() -> Balance {
        let (mut registry, target) = (Registry::default(), Target::new("web", "local"));
        let endpoint = |n: u16| Endpoint {
            replica: ReplicaId::new(format!("web-1-{n}")),
            address: ([127, 0, 0, 1], n).into(),
        };
        Balance::new(
            (1..=3).map(|n| registry.replica(&target, Revision(1), Protocol::Http1, &endpoint(n))).collect(),
        )
    }

    fn pick<'b>(balance: &'b Balance, tried: &[u64]) -> Option<&'b Arc<Replica>> {
        balance.pick(tried, u64::MAX, || Millis(1_000)).ok()
    }

    #[test]
    fn e05_equal_replicas_take_turns() {
        let balance = three();

        let picked: Vec<u64> = (0..6).filter_map(|_| pick(&balance, &[])).map(|replica| replica.id).collect();

        assert_eq!(picked, [1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn e05_a_busy_replica_is_passed_over() {
        let (balance, flights) = (three(), Rc::new(Flights::default()));
        let _claim = flights.claim(&balance.replicas()[0]);

        let picked: Vec<u64> = (0..4).filter_map(|_| pick(&balance, &[])).map(|replica| replica.id).collect();

        assert!(!picked.contains(&1), "{picked:?}");
    }

    #[test]
    fn replicas_tried_before_are_not_picked_again() {
        let balance = three();

        assert_eq!(pick(&balance, &[1, 3]).map(|replica| replica.id), Some(2));
        assert!(pick(&balance, &[1, 2, 3]).is_none());
    }

    #[test]
    fn an_outlier_is_passed_over_unless_all_are_outliers() {
        let balance = three();
        let fail = |replica: &Replica| (0..9).for_each(|_| replica.outlier.failed(Millis(1_000)));
        fail(&balance.replicas()[0]);

        let picked: Vec<u64> = (0..4).filter_map(|_| pick(&balance, &[])).map(|replica| replica.id).collect();
        assert!(!picked.contains(&1), "{picked:?}");

        balance.replicas().iter().for_each(|replica| fail(replica));
        let picked: Vec<u64> = (0..3).filter_map(|_| pick(&balance, &[])).map(|replica| replica.id).collect();
        assert_eq!(picked.len(), 3);
    }

    #[test]
    fn a_replica_carries_no_more_than_it_may() {
        let (balance, flights) = (three(), Rc::new(Flights::default()));
        let _claims: Vec<_> = balance.replicas().iter().map(|replica| flights.claim(replica)).collect();

        assert_eq!(balance.pick(&[], 1, || Millis(0)).err(), Some(NoneLeft::Full));
        assert!(balance.pick(&[], 2, || Millis(0)).is_ok());
    }
}
