//! Never more replicas than wanted beside those that fail, never a needed one stopped (R27).

use crate::world::World;
use rollout::change::Change;
use rollout::names::{Millis, Revision};

pub const NAME: &str = "never_too_many_never_too_few";

/// So long after the number has changed an engine may still act on the one before.
const CHANGING: Millis = Millis::seconds(15);

pub fn launched(world: &World, revision: Revision, asked: u32) -> Option<String> {
    // Whoever is shown what was does not know better.
    if world.now <= world.ledger.misled_until {
        return None;
    }
    let well = world.machines.running(revision).filter(|replica| replica.is_live(world.now)).count() as u32;
    // The stop of one that fails may overtake the launch of the one beside it.
    let most = 2 * world.ledger.replicas_most;
    (well > most)
        .then(|| format!("{well} replicas of revision {revision} run, at most {most} may; {asked} asked"))
}

pub fn stopped(world: &World, change: &Change) -> Option<String> {
    let Change::Stop { revision, replicas, .. } = change else { return None };
    let ledger = &world.ledger;
    let changing = world.now.since(ledger.replicas_changed_at) < CHANGING;
    if changing || world.now <= ledger.disturbed_until || !ledger.is_kept(*revision) {
        return None;
    }
    let well = |id: &rollout::names::ReplicaId| {
        world.machines.find(id).is_some_and(|replica| replica.is_ready(world.now))
    };
    if !replicas.iter().any(well) {
        return None;
    }
    let left = world
        .machines
        .running(*revision)
        .filter(|one| !replicas.contains(&one.id) && one.is_ready(world.now));
    let (left, wanted) = (left.count() as u32, ledger.told.wanted_replicas(*revision).unwrap_or(0));
    (left < wanted).then(|| format!("{left} replicas of revision {revision} are left of {wanted}"))
}
