//! Never more replicas than wanted beside those that fail, never a needed one stopped (R27).

use crate::world::World;
use crate::world::plans::START;
use rollout::change::Change;
use rollout::names::{Millis, ReplicaId, Revision};

pub const NAME: &str = "never_too_many_never_too_few";

/// So long after the number has changed an engine may still act on the one before.
const CHANGING: Millis = Millis::seconds(15);

pub fn launched(world: &World, revision: Revision, asked: u32) -> Option<String> {
    // Whoever is shown what was does not know better.
    if world.now <= world.ledger.misled_until {
        return None;
    }
    // One that has not listened within its time fails like one whose liveness probe says so.
    let in_time = |since: Millis| world.now.since(since) < START;
    let well = world.machines.running(revision).filter(|replica| {
        replica.is_live(world.now) && (replica.listens(world.now) || in_time(replica.launched_at))
    });
    let well = well.count() as u32;
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
    let well = |id: &ReplicaId| {
        world.machines.find(id).is_some_and(|one| {
            let known = one.mended_at.is_none_or(|at| world.now.since(at) > KNOWN_AFTER);
            one.is_ready(world.now) && known
        })
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

/// Replicas that answer for so long are known to; those that never have are known not to.
const KNOWN_AFTER: Millis = Millis(3000);

/// Looks at what an engine chooses to stop: not one that answers beside one that never has.
pub fn chosen(world: &World, change: &Change) -> Option<String> {
    let Change::Stop { revision, replicas, .. } = change else { return None };
    if world.now <= world.ledger.misled_until || world.is_unready() {
        return None;
    }
    let age = |since: Millis| world.now.since(since);
    let answers = |id: &ReplicaId| {
        world.machines.find(id).is_some_and(|one| {
            let steady = one.fate.flaps_every.is_none() && one.fate.hangs_after.is_none();
            let since = one.fate.ready_after.map(|after| one.launched_at.plus(Millis(u64::from(after))));
            steady && one.exited.is_none() && since.is_some_and(|since| age(since) > KNOWN_AFTER)
        })
    };
    // One that has not listened within its time fails, and goes by another stop.
    let never = world.machines.running(*revision).find(|one| {
        let is_starting = (Millis(51)..START).contains(&age(one.launched_at));
        !replicas.contains(&one.id) && !one.listens(world.now) && is_starting
    });
    let chosen = replicas.iter().find(|id| answers(id))?;
    never.map(|never| format!("{chosen} answers and is stopped, {} never has and stays", never.id))
}
