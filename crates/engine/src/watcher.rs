//! Looks at the world of one target, again and again, and hands on what it sees. Decides nothing.
//! Looks at once when something is known to have changed, else at an interval: short while something moves.

use crate::edge_link::EdgeLink;
use crate::executor::Board;
use crate::probe::Probes;
use drivers::platform::Platform;
use manifest::edge::EdgeState;
use rollout::change::{Observed, ObservedReplica, ReplicaState};
use rollout::event::ServedBy;
use rollout::machine::{EdgeWorld, ReplicaWorld, State, World};
use rollout::names::{ReplicaId, Revision, Target};
use rollout::release::Health;
use rollout::routes::RouteTable;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// Between looks while a replica starts: nobody tells when it listens.
const STARTING_EVERY: Duration = Duration::from_millis(20);
/// Between looks while a deployment runs or something leaves.
const ACTIVE_EVERY: Duration = Duration::from_millis(100);
/// Between looks while nothing moves: exits and probes report by themselves.
const IDLE_EVERY: Duration = Duration::from_secs(1);
/// A platform that takes longer is treated as unknown.
const OBSERVE_WITHIN: Duration = Duration::from_secs(10);

/// The world as last seen, and what the edge serves from, whole.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Counts looks from 1; 0: nobody has looked yet.
    pub look: u64,
    /// When the look began; None: nobody has looked yet.
    pub began: Option<Instant>,
    pub world: World,
    pub table: Option<RouteTable>,
}

/// Watches one target.
pub struct Watcher<P> {
    pub target: Target,
    pub platform: Arc<P>,
    pub edge: EdgeLink,
    pub board: Arc<Board>,
    pub state: watch::Receiver<Arc<State>>,
    pub seen: watch::Sender<Seen>,
    /// Somebody knows that something changed.
    pub poke: Arc<Notify>,
}

impl<P: Platform> Watcher<P> {
    /// Looks until nobody wants to know any more.
    pub async fn run(self) {
        let mut probes = Probes::new(self.poke.clone());
        let mut looks = 0;
        while !self.seen.is_closed() {
            let look_began = Instant::now();
            let sight = self.look(&mut probes).await;
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
        let state = self.state.borrow();
        let world = &self.seen.borrow().world;
        let wanted = state.wanted_revisions();
        if wanted.iter().any(|(revision, wanted)| world.ready(*revision) < wanted.replicas) {
            return STARTING_EVERY;
        }
        let moves = state.deployment.is_some() || !state.leaving.is_empty() || !state.to_replace.is_empty();
        if moves { ACTIVE_EVERY } else { IDLE_EVERY }
    }

    async fn look(&self, probes: &mut Probes) -> Option<(World, Option<RouteTable>)> {
        let observed = match timeout(OBSERVE_WITHIN, self.platform.observe(&self.target)).await {
            Ok(Ok(observed)) => observed,
            Ok(Err(error)) => {
                crate::log(&format!("cannot look at {}: {error}", self.target));
                return None;
            }
            Err(_) => {
                crate::log(&format!("cannot look at {}: no answer within {OBSERVE_WITHIN:?}", self.target));
                return None;
            }
        };
        let state = self.state.borrow().clone();
        let edge = self.edge.state().await.ok();
        // What the edge routes to was ready for the engine before this one: a restart must not make it a lost one.
        let routed = edge.as_ref().map(|edge| self.routed(edge)).unwrap_or_default();
        probes.follow(&observed.replicas, |revision| health(&state, revision), |id| routed.contains(id));
        let mut world = self.assemble(observed, edge.as_ref(), probes);
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

    fn assemble(&self, observed: Observed, edge: Option<&EdgeState>, probes: &Probes) -> World {
        let mut world =
            World { refused: self.board.refused(), tasks: self.board.asked(), ..World::default() };
        for seen in observed.replicas {
            let in_flight = edge.map_or(0, |edge| {
                let mine = edge
                    .in_flight
                    .iter()
                    .filter(|row| row.target == self.target && row.replica == seen.replica);
                mine.map(|row| row.requests).sum()
            });
            let (id, replica) = replica(seen.clone(), in_flight, probes);
            world.revisions.entry(seen.revision).or_default().replicas.insert(id, replica);
        }
        world.tasks.extend(
            observed.tasks.into_iter().map(|task| (task.id, task.ended.map(|ended| (ended, task.output)))),
        );
        world.edge = edge.map(|edge| self.edge_world(edge));
        world
    }

    fn edge_world(&self, edge: &EdgeState) -> EdgeWorld {
        let mut world = EdgeWorld::default();
        for row in edge.in_flight.iter().filter(|row| row.target == self.target) {
            *world.in_flight.entry(row.revision).or_default() += row.requests;
        }
        if let Some(table) = edge.tables.iter().find(|table| table.routes.target == self.target) {
            world.generation = table.generation;
            world.stable = table.routes.stable.as_ref().map(|arm| arm.revision);
            world.candidate =
                table.routes.candidate.as_ref().map(|candidate| (candidate.arm.revision, candidate.weight));
        }
        world.routed = self.routed(edge);
        world
    }

    /// Returns the replicas that the edge sends requests of this target to.
    fn routed(&self, edge: &EdgeState) -> Vec<ReplicaId> {
        let tables = edge.tables.iter().filter(|table| table.routes.target == self.target);
        let replicas = tables.flat_map(|table| table.routes.arms()).flat_map(|arm| &arm.replicas);
        replicas.map(|end| end.replica.clone()).collect()
    }

    fn table(&self, edge: EdgeState) -> Option<RouteTable> {
        edge.tables.into_iter().map(|table| table.routes).find(|routes| routes.target == self.target)
    }
}

fn replica(
    seen: ObservedReplica,
    in_flight: u64,
    probes: &Probes,
) -> (rollout::names::ReplicaId, ReplicaWorld) {
    let answers = probes.answers(&seen.replica);
    let (listening, exited) = match seen.state {
        ReplicaState::Starting => (false, None),
        ReplicaState::Listening => (true, None),
        ReplicaState::Exited(ended) => (false, Some(ended)),
    };
    let replica = ReplicaWorld {
        address: seen.address,
        launched_at: seen.launched_at,
        ready: listening && answers.ready,
        faltering: answers.faltering,
        failing: answers.failing,
        in_flight,
        exited,
    };
    (seen.replica, replica)
}

/// Returns how the replicas of a revision are asked; None: the revision is none of ours any more.
fn health(state: &State, revision: Revision) -> Option<Health> {
    let running = state.deployment.iter().map(|running| &running.candidate);
    let hot = state.hot.iter().map(|hot| &hot.placed);
    let known = state.stable.iter().chain(running).chain(hot);
    let leaving = state.leaving.iter().map(|leaving| &leaving.placed);
    known.chain(leaving).find(|placed| placed.revision == revision).map(|placed| placed.spec.health.clone())
}
