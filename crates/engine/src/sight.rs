//! Puts what the platform, the edge, the probes and the board say into one world, as the core needs to know it.
//! Asks nobody; `watcher` does, and hands the answers in.

use crate::board::Board;
use crate::probe::Answers;
use manifest::edge::EdgeState;
use rollout::change::{Observed, ObservedReplica, ReplicaState};
use rollout::machine::{EdgeWorld, ReplicaWorld, State, World};
use rollout::names::{Millis, ReplicaId, Revision, Target};
use rollout::release::Health;
use rollout::routes::RouteTable;
use std::collections::{BTreeMap, BTreeSet};

/// Between looks while a replica starts: nobody tells when it listens.
const STARTING_EVERY: Millis = Millis(20);
/// Between looks while a deployment runs or something leaves.
const ACTIVE_EVERY: Millis = Millis(100);
/// Between looks while nothing moves: exits and probes report by themselves.
const IDLE_EVERY: Millis = Millis::seconds(1);

/// The world as last seen, and what the edge serves from, whole.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Counts looks from 1; 0: nobody has looked yet.
    pub look: u64,
    /// When the look began; None: nobody has looked yet.
    pub began: Option<Millis>,
    pub world: World,
    pub table: Option<RouteTable>,
}

/// Returns how long nothing needs to be looked at, unless somebody knows better.
pub fn look_every(state: &State, world: &World) -> Millis {
    let wanted = state.wanted_revisions();
    if wanted.iter().any(|(revision, wanted)| world.ready(*revision) < wanted.replicas) {
        return STARTING_EVERY;
    }
    let moves = state.deployment.is_some() || !state.leaving.is_empty() || !state.to_replace.is_empty();
    if moves { ACTIVE_EVERY } else { IDLE_EVERY }
}

/// Returns the world of one target.
pub fn assemble(
    target: &Target,
    observed: Observed,
    edge: Option<&EdgeState>,
    answers: impl Fn(&ReplicaId) -> Answers,
    board: &Board,
) -> World {
    let mut world = World { refused: board.refused(), tasks: board.asked(), ..World::default() };
    for seen in observed.replicas {
        let in_flight = edge.map_or(0, |edge| {
            let mine =
                edge.in_flight.iter().filter(|row| row.target == *target && row.replica == seen.replica);
            mine.map(|row| row.requests).sum()
        });
        let revision = seen.revision;
        let replica = replica(&seen, in_flight, answers(&seen.replica));
        world.revisions.entry(revision).or_default().replicas.insert(seen.replica, replica);
    }
    let ended = observed.tasks.into_iter();
    world.tasks.extend(ended.map(|task| (task.id, task.ended.map(|ended| (ended, task.output)))));
    // While a table of ours is on its way nobody knows what the edge serves from: what it shows may be a table of the leader
    // before, and ours the opposite of it.
    world.edge = edge.filter(|_| !board.is_publishing()).map(|edge| edge_world(target, edge));
    world
}

fn edge_world(target: &Target, edge: &EdgeState) -> EdgeWorld {
    let mut world = EdgeWorld::default();
    for row in edge.in_flight.iter().filter(|row| row.target == *target) {
        *world.in_flight.entry(row.revision).or_default() += row.requests;
    }
    if let Some(table) = edge.tables.iter().find(|table| table.routes.target == *target) {
        world.generation = table.generation;
        world.stable = table.routes.stable.as_ref().map(|arm| arm.revision);
        world.former = table.routes.former.as_ref().map(|arm| arm.revision);
        world.candidate =
            table.routes.candidate.as_ref().map(|candidate| (candidate.arm.revision, candidate.weight));
    }
    world.routed = routed(target, edge);
    world
}

/// Returns the replicas that the edge sends requests of this target to.
pub fn routed(target: &Target, edge: &EdgeState) -> Vec<ReplicaId> {
    let tables = edge.tables.iter().filter(|table| table.routes.target == *target);
    let replicas = tables.flat_map(|table| table.routes.alive()).flat_map(|arm| &arm.replicas);
    replicas.map(|end| end.replica.clone()).collect()
}

fn replica(seen: &ObservedReplica, in_flight: u64, answers: Answers) -> ReplicaWorld {
    let (listening, exited) = match seen.state {
        ReplicaState::Starting => (false, None),
        ReplicaState::Listening => (true, None),
        ReplicaState::Exited(ended) => (false, Some(ended)),
    };
    ReplicaWorld {
        address: seen.address,
        launched_at: seen.launched_at,
        ready: listening && answers.ready,
        faltering: answers.faltering,
        failing: answers.failing,
        in_flight,
        exited,
    }
}

/// Remembers since when replicas have been starting, by the looker's own clock: that of their launch may have been set.
#[derive(Debug, Default)]
pub struct Starting(BTreeMap<ReplicaId, Millis>);

impl Starting {
    /// Returns the replicas of what serves that have not listened within their time: they never will, and are replaced
    /// like those that fail. A candidate's have a rule of their own (`never ready`).
    pub fn late(&mut self, observed: &Observed, state: &State, now: Millis) -> BTreeSet<ReplicaId> {
        let starting = || observed.replicas.iter().filter(|seen| seen.state == ReplicaState::Starting);
        self.0.retain(|id, _| starting().any(|seen| seen.replica == *id));
        let hot = state.hot.iter().map(|hot| &hot.placed);
        let serving: Vec<_> = state.stable.iter().chain(hot).collect();
        let mut late = BTreeSet::new();
        for seen in starting() {
            let since = *self.0.entry(seen.replica.clone()).or_insert(now);
            let placed = serving.iter().find(|placed| placed.revision == seen.revision);
            if placed.is_some_and(|placed| now.since(since) >= placed.spec.health.start) {
                late.insert(seen.replica.clone());
            }
        }
        late
    }
}

/// Returns how the replicas of a revision are asked; None: the revision is none of ours any more.
pub fn health(state: &State, revision: Revision) -> Option<Health> {
    let running = state.deployment.iter().map(|running| &running.candidate);
    let hot = state.hot.iter().map(|hot| &hot.placed);
    let known = state.stable.iter().chain(running).chain(hot);
    let leaving = state.leaving.iter().map(|leaving| &leaving.placed);
    known.chain(leaving).find(|placed| placed.revision == revision).map(|placed| placed.spec.health.clone())
}
