//! Stable is never removed, nor its predecessor before the keep_hot window ends; and no candidate while it is one.

use super::Ledger;
use crate::world::World;
use rollout::change::Change;
use rollout::names::{Millis, Revision};

pub const NAME: &str = "stable_stays_until_keep_hot_ends";

pub fn check(world: &World, change: &Change) -> Option<String> {
    let Change::Remove { revision, .. } = change else { return None };
    // A disk that has lost what it had promised to keep has lost why this was asked for.
    let knows = world.now > world.ledger.forgetful_until && !world.is_forgotten(*revision);
    let is_kept = knows && world.ledger.is_kept(*revision);
    is_kept.then(|| format!("revision {revision} was removed and is needed"))
}

/// Looks at a hot revision that is given up.
pub fn retired(ledger: &Ledger, revision: Revision, at: Millis, actor: &str) -> Option<String> {
    let until = *ledger.follow.hot_until.get(&revision)?;
    // A newer deployment needs its place; an operator may end everything.
    let excused = ledger.told.deployment.is_some() || actor != "engine";
    (at < until && !excused)
        .then(|| format!("revision {revision} was given up {} before its time", Millis(until.since(at).0)))
}
