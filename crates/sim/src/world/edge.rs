//! Pretends to be the edge: serves from the last table it accepted, also when nobody can reach it, and refuses older ones.

use manifest::edge::{EdgeState, EdgeTable, InFlight};
use rollout::names::{Generation, ReplicaId, Revision, Target, Weight};
use rollout::routes::{Arm, RouteTable};

#[derive(Debug, Default)]
pub struct Edge {
    /// What it serves from, and has stored.
    pub table: Option<EdgeTable>,
    /// The newest it has accepted; a withdrawal leaves it behind.
    pub generation: Generation,
    /// Counts its lives.
    pub epoch: u64,
    /// Requests that do not end, by revision.
    pub busy: Option<(Revision, u64)>,
}

impl Edge {
    /// Takes a table (None: a withdrawal), unless it is older.
    pub fn accept(&mut self, generation: Generation, routes: Option<RouteTable>) -> bool {
        if generation < self.generation {
            return false;
        }
        self.generation = generation;
        self.table = routes.map(|routes| EdgeTable { generation, routes });
        true
    }

    pub fn state(&self, target: &Target) -> EdgeState {
        let busy = self.busy.iter().flat_map(|(revision, requests)| {
            let arms = self.table.iter().flat_map(|table| table.routes.arms());
            let replica = arms.filter(|arm| arm.revision == *revision).flat_map(|arm| &arm.replicas).next();
            let name = replica.map_or_else(|| ReplicaId::new("gone"), |end| end.replica.clone());
            Some(InFlight {
                target: target.clone(),
                revision: *revision,
                replica: name,
                requests: *requests,
                long: 0,
            })
        });
        EdgeState {
            epoch: self.epoch,
            pid: 1,
            version: String::new(),
            listen: Vec::new(),
            tables: self.table.iter().cloned().collect(),
            in_flight: busy.collect(),
            tls: None,
            guard: Vec::new(),
        }
    }

    pub fn routes(&self) -> Option<&RouteTable> {
        self.table.as_ref().map(|table| &table.routes)
    }

    /// Returns the candidate and its share.
    pub fn candidate(&self) -> Option<(Revision, Weight)> {
        let candidate = self.routes()?.candidate.as_ref()?;
        Some((candidate.arm.revision, candidate.weight))
    }

    /// Returns the arm that answers most users.
    pub fn serving(&self) -> Option<&Arm> {
        let table = self.routes()?;
        let full = table.candidate.as_ref().filter(|candidate| candidate.weight == Weight::FULL);
        full.map(|candidate| &candidate.arm).or(table.stable.as_ref())
    }

    pub fn routes_to(&self, id: &ReplicaId) -> bool {
        let ends = self.routes().into_iter().flat_map(RouteTable::arms).flat_map(|arm| &arm.replicas);
        ends.into_iter().any(|end| end.replica == *id)
    }
}
