//! Never a request routed to a replica that the engine has taken away. One that ended by itself is nobody's fault, as long
//! as its place is kept until nobody routes to it.

use crate::world::World;
use rollout::change::Change;
use rollout::names::ReplicaId;
use rollout::routes::RouteTable;

pub const NAME: &str = "never_a_request_to_a_replica_that_is_gone";

/// Looks at what is stopped.
pub fn stopped(world: &World, change: &Change) -> Option<String> {
    // A disk that has lost what it had promised to keep has lost that the number was taken.
    let forgotten = matches!(change, Change::Remove { revision, .. } if world.is_forgotten(*revision));
    if world.now <= world.ledger.forgetful_until || forgotten {
        return None;
    }
    let routed = |id: &ReplicaId| world.edge.routes_to(id);
    match change {
        Change::Stop { replicas, .. } => replicas
            .iter()
            .find(|id| routed(id))
            .map(|id| format!("{id} was stopped while the edge routes to it")),
        Change::Remove { revision, .. } => {
            let mut mine = world.machines.replicas.iter().filter(|replica| replica.revision == *revision);
            let found = mine.find(|replica| routed(&replica.id))?;
            Some(format!("{} was removed while the edge routes to it", found.id))
        }
        Change::Launch { .. } | Change::RunTask { .. } => None,
    }
}

/// Looks at a table the edge has taken.
pub fn accepted(world: &World, routes: Option<&RouteTable>) -> Option<String> {
    let gone = gone_of(world, routes?)?;
    Some(format!("the edge was told to route to {gone}, which is gone"))
}

/// Looks at where the requests of a second go.
pub fn routed(world: &World, routes: &RouteTable) -> Option<String> {
    let gone = gone_of(world, routes)?;
    Some(format!("requests go to {gone}, which is gone"))
}

/// Returns a replica of the table that does not exist.
fn gone_of<'a>(world: &World, routes: &'a RouteTable) -> Option<&'a ReplicaId> {
    if world.now <= world.ledger.forgetful_until {
        return None;
    }
    let mut ends = routes.alive().flat_map(|arm| &arm.replicas).map(|end| &end.replica);
    ends.find(|id| world.machines.find(id).is_none())
}
