//! Never a request routed to a replica that the engine has taken away. One that ended by itself is nobody's fault, as long
//! as its place is kept until nobody routes to it.

use crate::world::World;
use rollout::change::Change;
use rollout::routes::RouteTable;

pub const NAME: &str = "never_a_request_to_a_replica_that_is_gone";

/// Looks at what is stopped.
pub fn stopped(world: &World, change: &Change) -> Option<String> {
    // A disk that has lost what it had promised to keep has lost that the number was taken.
    let forgotten = matches!(change, Change::Remove { revision, .. } if world.is_forgotten(*revision));
    if world.now <= world.ledger.forgetful_until || forgotten {
        return None;
    }
    let routed = |id: &rollout::names::ReplicaId| world.edge.routes_to(id);
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
    if world.now <= world.ledger.forgetful_until {
        return None;
    }
    let ends = routes.into_iter().flat_map(RouteTable::arms).flat_map(|arm| &arm.replicas);
    let gone = ends.into_iter().find(|end| world.machines.find(&end.replica).is_none())?;
    Some(format!("the edge was told to route to {}, which is gone", gone.replica))
}

/// Looks at where the requests of a second go.
pub fn routed(world: &World, routes: &RouteTable) -> Option<String> {
    if world.now <= world.ledger.forgetful_until {
        return None;
    }
    let mut ends = routes.arms().flat_map(|arm| &arm.replicas);
    let gone = ends.find(|end| world.machines.find(&end.replica).is_none())?;
    Some(format!("requests go to {}, which is gone", gone.replica))
}
