//! Looks at the world of one target, again and again, and hands on what it sees. Decides nothing.
//! Looks at once when something is known to have changed, else at an interval: short while something moves.

use crate::clock::Clock;
use crate::edge_link::EdgeLink;
use crate::executor::{SharedBoard, locked};
use crate::probe::Probes;
use crate::sight::{Seen, Starting, assemble, health, look_every, routed};
use drivers::platform::Platform;
use manifest::edge::EdgeState;
use rollout::change::Observed;
use rollout::event::ServedBy;
use rollout::machine::{State, World};
use rollout::names::{ReplicaId, Target};
use rollout::routes::RouteTable;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// A platform that takes longer is treated as unknown.
const OBSERVE_WITHIN: Duration = Duration::from_secs(10);

/// Watches one target.
pub struct Watcher<P> {
    pub target: Target,
    pub platform: Arc<P>,
    pub edge: EdgeLink,
    pub board: SharedBoard,
    pub clock: Arc<Clock>,
    pub state: watch::Receiver<Arc<State>>,
    pub seen: watch::Sender<Seen>,
    /// Somebody knows that something changed.
    pub poke: Arc<Notify>,
}

/// What earlier looks have left.
#[derive(Default)]
struct Known {
    observed: Option<Observed>,
    starting: Starting,
}

impl<P: Platform> Watcher<P> {
    /// Looks until nobody wants to know any more.
    pub async fn run(self) {
        let mut probes = Probes::new(self.poke.clone());
        let mut looks = 0;
        let mut known = Known::default();
        while !self.seen.is_closed() {
            let look_began = self.clock.now();
            let sight = self.look(&mut probes, &mut known).await;
            if let Some((world, table)) = sight {
                looks += 1;
                self.seen.send_replace(Seen { look: looks, began: Some(look_began), world, table });
            }
            let every = self.every();
            // The same whether poked or not: look again.
            let _ = timeout(every, self.poke.notified()).await;
        }
    }

    /// Returns how long nothing needs to be looked at, unless somebody knows better.
    fn every(&self) -> Duration {
        Duration::from_millis(look_every(&self.state.borrow(), &self.seen.borrow().world).0)
    }

    /// Returns what the platform says; while it says nothing, what it said last, and true.
    async fn observe(&self, known: &mut Known) -> Option<(Observed, bool)> {
        match timeout(OBSERVE_WITHIN, self.platform.observe(&self.target)).await {
            Ok(Ok(observed)) => {
                known.observed = Some(observed.clone());
                return Some((observed, false));
            }
            Ok(Err(error)) => crate::log(&format!("cannot look at {}: {error}", self.target)),
            Err(_) => {
                crate::log(&format!("cannot look at {}: no answer within {OBSERVE_WITHIN:?}", self.target));
            }
        }
        known.observed.clone().map(|observed| (observed, true))
    }

    /// A platform that does not answer hides neither the edge nor the probes: on what they showed before a table arrived,
    /// its opposite would be sent.
    async fn look(&self, probes: &mut Probes, known: &mut Known) -> Option<(World, Option<RouteTable>)> {
        let (observed, stale) = self.observe(known).await?;
        let state = self.state.borrow().clone();
        let edge = self.edge.state().await.ok();
        // What the edge routes to was ready for the engine before this one: a restart must not make it a lost one.
        let routed = edge.as_ref().map(|edge| routed(&self.target, edge)).unwrap_or_default();
        probes.follow(&observed.replicas, |revision| health(&state, revision), |id| routed.contains(id));
        let late = known.starting.late(&observed, &state, self.clock.now());
        let answers = |replica: &ReplicaId| probes.answers(replica).or_late(late.contains(replica));
        let mut world = assemble(&self.target, observed, edge.as_ref(), answers, &locked(&self.board));
        world.stale = stale;
        if state.wants_proof()
            && let Ok(proof) = self.edge.prove(&self.target).await
            && proof.status < 500
        {
            world.proof = Some(ServedBy {
                release: proof.release,
                revision: proof.revision,
                replica: proof.replica,
                generation: proof.generation,
            });
        }
        Some((world, edge.and_then(|edge| self.table(edge))))
    }

    fn table(&self, edge: EdgeState) -> Option<RouteTable> {
        edge.tables.into_iter().map(|table| table.routes).find(|routes| routes.target == self.target)
    }
}
