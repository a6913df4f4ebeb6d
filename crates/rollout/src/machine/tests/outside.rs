//! Plays what is outside of the core: replicas, the edge, tasks. Does what it is told, late or never if so scripted.
//! Knows no rule of the core; see `sim` for who asks it.

use crate::change::{Ended, TaskId};
use crate::machine::{EdgeWorld, Presence, ReplicaWorld};
use crate::names::{Generation, Millis, ReplicaId, Revision, Weight};
use crate::release::Placed;
use crate::routes::{Arm, RouteTable};
use std::collections::BTreeMap;

/// What becomes of the replicas of a release.
#[derive(Debug, Clone)]
pub struct Fate {
    /// From launch to ready; None: never.
    pub ready_after: Option<Millis>,
    pub exits_after: Option<Millis>,
    pub liveness_fails_after: Option<Millis>,
}

impl Default for Fate {
    fn default() -> Self {
        Self { ready_after: Some(Millis(300)), exits_after: None, liveness_fails_after: None }
    }
}

#[derive(Debug, Clone)]
pub struct Replica {
    pub revision: Revision,
    pub release: String,
    pub port: u16,
    pub launched_at: Millis,
    pub fate: Fate,
    /// Its ready probe fails although it runs.
    pub unready: bool,
    /// Its ready probe has failed, not yet as often as it may.
    pub faltering: bool,
    pub exited: Option<Ended>,
}

impl Replica {
    pub fn seen(&self, now: Millis) -> ReplicaWorld {
        let age = now.since(self.launched_at);
        let failing = self.fate.liveness_fails_after.is_some_and(|after| age >= after);
        ReplicaWorld {
            address: ([127, 0, 0, 1], self.port).into(),
            launched_at: self.launched_at,
            ready: self.fate.ready_after.is_some_and(|after| age >= after)
                && !self.unready
                && self.exited.is_none(),
            faltering: self.faltering || self.unready,
            failing,
            in_flight: 0,
            exited: self.exited,
        }
    }

    pub fn answers(&self, now: Millis) -> bool {
        let seen = self.seen(now);
        seen.exited.is_none() && !seen.failing
    }
}

/// All replicas there are.
#[derive(Debug, Default)]
pub struct Replicas {
    pub all: BTreeMap<ReplicaId, Replica>,
    launched: u16,
}

impl Replicas {
    pub fn launch(&mut self, placed: &Placed, until: u32, fate: &Fate, now: Millis) {
        let running = self.running(placed.revision).count() as u32;
        for _ in running..until {
            self.launched += 1;
            let id = ReplicaId::new(format!("web-{}-{}", placed.revision, self.launched));
            self.all.insert(
                id,
                Replica {
                    revision: placed.revision,
                    release: placed.release.to_string(),
                    port: self.launched,
                    launched_at: now,
                    fate: fate.clone(),
                    unready: false,
                    faltering: false,
                    exited: None,
                },
            );
        }
    }

    pub fn live(&mut self, now: Millis) {
        for replica in self.all.values_mut() {
            let age = now.since(replica.launched_at);
            if replica.fate.exits_after.is_some_and(|after| age >= after) {
                replica.exited.get_or_insert(Ended::Code(1));
            }
        }
    }

    pub fn running(&self, revision: Revision) -> impl Iterator<Item = (&ReplicaId, &Replica)> {
        self.all.iter().filter(move |(_, replica)| replica.revision == revision && replica.exited.is_none())
    }

    pub fn seen(&self, now: Millis) -> BTreeMap<Revision, Presence> {
        let mut revisions: BTreeMap<Revision, Presence> = BTreeMap::new();
        for (id, replica) in &self.all {
            revisions.entry(replica.revision).or_default().replicas.insert(id.clone(), replica.seen(now));
        }
        revisions
    }
}

/// The edge: takes one table at a time, after a while.
#[derive(Debug)]
pub struct Edge {
    pub table: Option<RouteTable>,
    pub generation: Generation,
    /// On its way: when it arrives, its generation, the table (None: a withdrawal).
    pub coming: Option<(Millis, Generation, Option<RouteTable>)>,
    pub lag: Millis,
    /// Whether the engine can speak to it. It serves all the same.
    pub reachable: bool,
    /// Whether it proves who answers.
    pub proves: bool,
    pub in_flight: BTreeMap<Revision, u64>,
}

impl Default for Edge {
    fn default() -> Self {
        Self {
            table: None,
            generation: Generation::default(),
            coming: None,
            lag: Millis(20),
            reachable: true,
            proves: true,
            in_flight: BTreeMap::new(),
        }
    }
}

impl Edge {
    pub fn live(&mut self, now: Millis) {
        if let Some((_, generation, table)) = self.coming.take_if(|(at, ..)| *at <= now)
            && generation >= self.generation
        {
            self.generation = generation;
            self.table = table;
        }
    }

    pub fn send(&mut self, generation: Generation, table: Option<RouteTable>, now: Millis) {
        if self.reachable && self.coming.is_none() {
            self.coming = Some((now.plus(self.lag), generation, table));
        }
    }

    pub fn seen(&self) -> Option<EdgeWorld> {
        let mut world = EdgeWorld { generation: self.generation, ..EdgeWorld::default() };
        world.in_flight = self.in_flight.clone();
        if let Some(table) = &self.table {
            world.stable = table.stable.as_ref().map(|arm| arm.revision);
            world.candidate = self.candidate();
        }
        world.routed = self.tables().flat_map(routed).cloned().collect();
        self.reachable.then_some(world)
    }

    pub fn candidate(&self) -> Option<(Revision, Weight)> {
        let candidate = self.table.as_ref()?.candidate.as_ref()?;
        Some((candidate.arm.revision, candidate.weight))
    }

    /// Returns the arm that answers most users.
    pub fn serving(&self) -> Option<&Arm> {
        let table = self.table.as_ref()?;
        let full = table.candidate.as_ref().filter(|candidate| candidate.weight == Weight::FULL);
        full.map(|candidate| &candidate.arm).or(table.stable.as_ref())
    }

    /// Tells whether requests reach this replica, now or when the next table has arrived.
    pub fn routes_to(&self, id: &ReplicaId) -> bool {
        self.tables().any(|table| routed(table).any(|routed| routed == id))
    }

    fn tables(&self) -> impl Iterator<Item = &RouteTable> {
        self.table.iter().chain(self.coming.iter().filter_map(|(_, _, table)| table.as_ref()))
    }
}

fn routed(table: &RouteTable) -> impl Iterator<Item = &ReplicaId> {
    table.alive().flat_map(|arm| &arm.replicas).map(|endpoint| &endpoint.replica)
}

/// How a task will end, and after how long.
#[derive(Debug, Clone, Copy)]
pub struct TaskFate {
    pub after: Millis,
    pub ended: Ended,
}

impl Default for TaskFate {
    fn default() -> Self {
        Self { after: Millis(100), ended: Ended::Code(0) }
    }
}

/// Commands and questions that were begun, each once.
#[derive(Debug, Default)]
pub struct Tasks {
    pub begun: BTreeMap<TaskId, (Millis, TaskFate)>,
    pub order: Vec<String>,
}

impl Tasks {
    pub fn begin(&mut self, id: &TaskId, fate: TaskFate, now: Millis) {
        if !self.begun.contains_key(id) {
            self.order.push(id.to_string());
            self.begun.insert(id.clone(), (now, fate));
        }
    }

    pub fn seen(&self, now: Millis) -> BTreeMap<TaskId, Option<(Ended, String)>> {
        let result = |at: &Millis, fate: &TaskFate| {
            (now.since(*at) >= fate.after).then(|| (fate.ended, "output".to_owned()))
        };
        self.begun.iter().map(|(id, (at, fate))| (id.clone(), result(at, fate))).collect()
    }
}
