//! A returned deployment leaves nothing behind: in the end only stable and a hot revision run, complete, and nobody else
//! gets a request.

use crate::world::World;

pub const NAME: &str = "nothing_is_left_behind";

/// Looks at a world in which nothing moves any more.
pub fn check(world: &World) -> Option<String> {
    let told = &world.ledger.told;
    let stable = told.stable.as_ref().map(|placed| placed.revision);
    let hot = told.hot.as_ref().map(|hot| hot.placed.revision);
    let kept = |revision| Some(revision) == stable || Some(revision) == hot;
    if let Some(replica) = world.machines.replicas.iter().find(|replica| !kept(replica.revision)) {
        return Some(format!("{} is left over", replica.id));
    }
    if world.edge.candidate().is_some() || world.edge.serving().map(|arm| arm.revision) != stable {
        return Some(format!("the edge serves something else than {stable:?}"));
    }
    let running = stable.map(|stable| world.machines.running(stable).count() as u32);
    let wanted = stable.map(|_| told.replicas());
    (running != wanted).then(|| format!("{running:?} replicas of stable run, not {wanted:?}"))
}
