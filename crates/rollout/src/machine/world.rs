//! Describes what is, as the core needs to know it: replicas, the edge, tasks, who answered.

use crate::change::{Ended, TaskId};
use crate::event::ServedBy;
use crate::names::{Generation, Millis, ReplicaId, Revision, Weight};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What is there now. A missing edge is unknown, not empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct World {
    pub revisions: BTreeMap<Revision, Presence>,
    pub edge: Option<EdgeWorld>,
    /// None: still running.
    pub tasks: BTreeMap<TaskId, Option<(Ended, String)>>,
    /// The platform refused to launch this revision, and why.
    pub refused: Option<(Revision, String)>,
    /// Who answered when the edge was last asked to prove it.
    pub proof: Option<ServedBy>,
    /// The platform does not answer: replicas and tasks are those of an earlier look.
    #[serde(default)]
    pub stale: bool,
}

/// The replicas of one revision, by id.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Presence {
    pub replicas: BTreeMap<ReplicaId, ReplicaWorld>,
}

/// One replica.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplicaWorld {
    pub address: SocketAddr,
    pub launched_at: Millis,
    pub ready: bool,
    /// One of its last readiness probes failed, also while it counts as ready.
    #[serde(default)]
    pub faltering: bool,
    /// Its liveness probe has failed as often as it may.
    pub failing: bool,
    pub in_flight: u64,
    pub exited: Option<Ended>,
}

/// What the edge serves from, for this target.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EdgeWorld {
    pub generation: Generation,
    pub stable: Option<Revision>,
    /// Asked only for files that nobody else has.
    pub former: Option<Revision>,
    pub candidate: Option<(Revision, Weight)>,
    /// Replicas it may send requests to: those of its table, and those of a table that is on its way to it.
    pub routed: Vec<ReplicaId>,
    /// Requests in flight, also on replicas that are gone from the routes.
    pub in_flight: BTreeMap<Revision, u64>,
}

impl World {
    pub fn presence(&self, revision: Revision) -> &Presence {
        const NOBODY: &Presence = &Presence { replicas: BTreeMap::new() };
        self.revisions.get(&revision).unwrap_or(NOBODY)
    }

    pub fn ready(&self, revision: Revision) -> u32 {
        self.presence(revision).ready().count() as u32
    }

    /// Counts replicas whose last probes all succeeded: a fault two revisions share shows, and ends, in one before the
    /// other.
    pub fn steady(&self, revision: Revision) -> u32 {
        self.presence(revision).ready().filter(|(_, replica)| !replica.faltering).count() as u32
    }

    pub fn present(&self, revision: Revision) -> u32 {
        self.presence(revision).running().count() as u32
    }
}

impl Presence {
    pub fn ready(&self) -> impl Iterator<Item = (&ReplicaId, &ReplicaWorld)> {
        self.running().filter(|(_, replica)| replica.ready && !replica.failing)
    }

    pub fn running(&self) -> impl Iterator<Item = (&ReplicaId, &ReplicaWorld)> {
        self.replicas.iter().filter(|(_, replica)| replica.exited.is_none())
    }
}
