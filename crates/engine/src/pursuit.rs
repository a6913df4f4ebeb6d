//! Compares what should be with what was seen, and says what to begin now: a list of acts, each already claimed.
//! Begins nothing and reads no clock; `run` has the acts done, the simulation does them in a false world.

use crate::board::{Board, Claim};
use crate::sight::Seen;
use rollout::change::{Change, TaskId, changes};
use rollout::machine::{State, WantedTask, World};
use rollout::names::{Generation, Millis, ReplicaId, Revision};
use rollout::release::Protocol;
use rollout::routes::RouteTable;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// A replica that exited is replaced at once the first time, then after this, doubled by each further exit.
const RELAUNCH_FIRST: Millis = Millis(200);
const RELAUNCH_MAX: Millis = Millis::seconds(30);

/// One thing to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "a handful at a time, each taken apart at once")]
pub enum Act {
    Make {
        change: Change,
        at: Generation,
        claim: Claim,
    },
    Ask {
        id: TaskId,
        address: SocketAddr,
        protocol: Protocol,
        path: String,
        within: Millis,
    },
    Publish {
        routes: Box<RouteTable>,
        at: Generation,
        claim: Claim,
    },
    Withdraw {
        at: Generation,
        claim: Claim,
    },
    /// Nothing now; something then.
    LookAgain {
        at: Millis,
    },
}

/// Returns what to begin.
pub fn pursue(state: &State, seen: &Seen, board: &mut Board, now: Millis) -> Vec<Act> {
    let mut acts = Vec::new();
    if seen.look == 0 {
        return acts;
    }
    let desired = state.desired();
    let mut world = seen.world.clone();
    if seen.table.is_some() && is_older(&world, state) {
        // A table that an earlier leader sent before it ended may still arrive, and route to anything: nothing is stopped
        // until the edge has one of ours and refuses that.
        world.edge = None;
    } else if let Some(edge) = &mut world.edge {
        // A table on its way may route to these before the next look shows it.
        edge.routed.extend_from_slice(board.sent_since(seen.began));
    }
    for change in changes(&desired, &world) {
        match launch_from(state, &change).filter(|from| now < *from) {
            Some(from) => acts.push(Act::LookAgain { at: from }),
            None => {
                if let Some(claim) = board.claim_change(&change, now) {
                    acts.push(Act::Make { change, at: state.generation(), claim });
                }
            }
        }
    }
    ask(state, &desired.tasks, seen, board, &mut acts);
    world.edge.clone_from(&seen.world.edge);
    spare(&mut world, &board.stopping(&seen.world, now));
    route(state, seen, &world, board, now, &mut acts);
    acts
}

/// Takes out of service who was told to stop: wanted again or not, no request may be sent there.
fn spare(world: &mut World, stopping: &BTreeSet<ReplicaId>) {
    for (id, replica) in world.revisions.values_mut().flat_map(|presence| &mut presence.replicas) {
        replica.ready &= !stopping.contains(id);
    }
}

/// Returns from when on a launch may be made: a replica that keeps exiting is replaced ever later.
fn launch_from(state: &State, change: &Change) -> Option<Millis> {
    let Change::Launch { placed, .. } = change else { return None };
    relaunch_from(state, placed.revision)
}

fn relaunch_from(state: &State, revision: Revision) -> Option<Millis> {
    let mut exits = state.lost.iter().filter(|lost| lost.revision == revision).rev();
    let last = exits.next()?;
    let before = exits.count() as u32;
    let wait = match before {
        0 => Millis(0),
        more => Millis(RELAUNCH_FIRST.0.saturating_mul(2u64.saturating_pow(more - 1))).min(RELAUNCH_MAX),
    };
    Some(last.at.plus(wait))
}

fn ask(state: &State, tasks: &[WantedTask], seen: &Seen, board: &mut Board, acts: &mut Vec<Act>) {
    let running = state.deployment.as_ref();
    board.forget(
        |id| running.is_some_and(|running| running.id == id.deployment),
        running.map(|running| running.candidate.revision),
    );
    for task in tasks {
        let WantedTask::Ask { id, revision, path, deadline } = task else { continue };
        let Some((_, replica)) = seen.world.presence(*revision).ready().next() else { continue };
        if board.claim_question(id) {
            let candidate = running.map(|running| &running.candidate);
            let placed = candidate.filter(|placed| placed.revision == *revision);
            let protocol = placed.map(|placed| placed.spec.health.protocol).unwrap_or_default();
            let (address, path) = (replica.address, path.clone());
            acts.push(Act::Ask { id: id.clone(), address, protocol, path, within: *deadline });
        }
    }
}

/// Tells whether what the edge serves from was sent by an earlier leader.
fn is_older(world: &World, state: &State) -> bool {
    world.edge.as_ref().is_some_and(|edge| edge.generation.epoch < state.epoch)
}

fn route(state: &State, seen: &Seen, world: &World, board: &mut Board, now: Millis, acts: &mut Vec<Act>) {
    if world.edge.is_none() {
        return;
    }
    // The same table is sent again by whoever takes over: from then on the edge refuses what an earlier leader, stopped
    // on its way, may still send.
    let is_older = is_older(world, state);
    let withdraws = seen.table.is_some() && state.stable.is_none() && state.deployment.is_none();
    // Also where nothing better is known than what it serves from: else nothing could be stopped.
    let as_it_is = seen.table.as_ref().filter(|_| is_older && !withdraws);
    match state.routes(world, now).or_else(|| as_it_is.cloned()) {
        Some(routes) if is_older || seen.table.as_ref() != Some(&routes) => {
            if let Some(claim) = board.claim_publish(&routes, now) {
                acts.push(Act::Publish { routes: Box::new(routes), at: state.generation(), claim });
            }
        }
        None if withdraws => {
            if let Some(claim) = board.claim_withdraw(now) {
                acts.push(Act::Withdraw { at: state.generation(), claim });
            }
        }
        _ => {}
    }
}
