//! Picks the replica with the fewest requests in flight; on ties, takes turns. Knows no socket.

use crate::claim::Replica;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

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

    /// Returns the least busy replica that is not in `tried`; None when all are.
    pub(crate) fn pick(&self, tried: &[u64]) -> Option<&Arc<Replica>> {
        let count = self.replicas.len();
        if count == 0 {
            return None;
        }
        let start = self.turn.fetch_add(1, Relaxed) % count;
        let (before, from) = self.replicas.split_at(start);
        // `min_by_key` returns the first of equals, which is the one whose turn it is.
        from.iter()
            .chain(before)
            .filter(|replica| !tried.contains(&replica.id))
            .min_by_key(|replica| replica.in_flight())
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

    #[test]
    fn e05_equal_replicas_take_turns() {
        let balance = three();

        let picked: Vec<u64> = (0..6).filter_map(|_| balance.pick(&[])).map(|replica| replica.id).collect();

        assert_eq!(picked, [1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn e05_a_busy_replica_is_passed_over() {
        let (balance, flights) = (three(), Rc::new(Flights::default()));
        let _claim = flights.claim(&balance.replicas()[0]);

        let picked: Vec<u64> = (0..4).filter_map(|_| balance.pick(&[])).map(|replica| replica.id).collect();

        assert!(!picked.contains(&1), "{picked:?}");
    }

    #[test]
    fn replicas_tried_before_are_not_picked_again() {
        let balance = three();

        assert_eq!(balance.pick(&[1, 3]).map(|replica| replica.id), Some(2));
        assert!(balance.pick(&[1, 2, 3]).is_none());
    }
}
