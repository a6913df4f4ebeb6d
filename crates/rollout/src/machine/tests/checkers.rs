//! One checker for each promise of the core; each looks at the world itself, not at what the core says of it.
//! A checker only fails; it never changes anything but the state told by the journal.

use super::sim::Sim;
use crate::change::Change;
use crate::event::{Event, Outcome};
use crate::machine::{Phase, State, World};
use crate::names::{Millis, Revision, Weight};
use crate::routes::{Arm, RouteTable};

/// The step before: nothing has happened since but time, if the world is the same.
pub struct Before {
    pub world: World,
    pub at: Millis,
}

/// The checkers that look at a moment.
pub fn all(sim: &Sim) {
    every_deployment_ends(sim);
    stable_runs_until_the_deployment_has_finished(sim);
    at_most_one_revision_is_hot(sim);
}

/// Any prefix of the journal, written and read again, gives the state that lived through it.
pub fn journal_tells_the_state(sim: &mut Sim, event: &Event, seq: u64) {
    let text = serde_json::to_string(event).unwrap();
    let read: Event = serde_json::from_str(&text).unwrap();
    assert_eq!(read, *event, "an event is read as it was written");
    sim.told.apply(&read, seq, sim.now);
    assert_eq!(sim.told, sim.state, "after {event}");
    if !matches!(event, Event::EvidenceAdded { .. }) {
        let kept: State = serde_json::from_str(&serde_json::to_string(&sim.state).unwrap()).unwrap();
        assert_eq!(kept, sim.state, "a state is read as it was written");
    }
}

pub fn stable_changes_only_when_a_deployment_ends(was: &State, is: &State, event: &Event) {
    let ends = matches!(event, Event::DeploymentFinished { .. });
    assert!(ends || was.stable == is.stable, "stable changed by {event}");
}

/// Success, and a safe return, are said only when the edge shows them.
pub fn an_end_is_what_the_edge_shows(sim: &Sim, was: &State, event: &Event) {
    let Event::DeploymentFinished { outcome, served_by, .. } = event else { return };
    let Some(running) = &was.deployment else { return };
    let expected = match outcome {
        Outcome::Promoted | Outcome::PromotedUnproven => Some(running.candidate.revision),
        Outcome::RolledBack | Outcome::Aborted | Outcome::Superseded => {
            was.stable.as_ref().map(|stable| stable.revision)
        }
        Outcome::UnprovenReturn | Outcome::Unchanged => None,
    };
    let Some(expected) = expected else { return };
    let serving = sim.edge.serving().expect("an end is shown by an edge that serves");
    assert_eq!(serving.revision, expected, "{outcome}, but the edge serves another revision\n{}", sim.tell());
    let proof = served_by.as_ref().expect("an end carries its proof");
    assert_eq!(proof.revision, expected, "the proof is of another revision");
    let coming = sim.edge.coming.as_ref().and_then(|(_, _, table)| table.as_ref());
    let back = sim.edge.candidate().is_none() && coming.is_none_or(|table| table.candidate.is_none());
    assert!(back || matches!(outcome, Outcome::Promoted | Outcome::PromotedUnproven), "a share is left");
}

pub fn table_is_safe(sim: &Sim, table: &RouteTable, world: &World) {
    route_is_never_empty(sim, table);
    routed_replicas_are_ready(table, world);
    a_raised_weight_is_carried(sim, table, world);
    traffic_goes_back_to_what_carries_it(sim, table, world);
}

fn route_is_never_empty(sim: &Sim, table: &RouteTable) {
    let stable = table.stable.as_ref().is_some_and(|arm| !arm.replicas.is_empty());
    let candidate = table.candidate.as_ref();
    let full = candidate.is_some_and(|candidate| candidate.weight == Weight::FULL);
    assert!(stable || full, "a share of the requests has nowhere to go\n{}", sim.tell());
    assert!(candidate.is_none_or(|candidate| !candidate.arm.replicas.is_empty()), "an empty candidate");
}

fn routed_replicas_are_ready(table: &RouteTable, world: &World) {
    for arm in table.alive() {
        for endpoint in &arm.replicas {
            let seen = world.presence(arm.revision).replicas.get(&endpoint.replica);
            let seen = seen.expect("a routed replica exists");
            assert!(
                seen.ready && !seen.failing && seen.exited.is_none(),
                "{} is not ready",
                endpoint.replica
            );
            assert_eq!(seen.address, endpoint.address);
        }
    }
}

fn ready(arm: &Arm, world: &World) -> u32 {
    world.ready(arm.revision)
}

fn a_raised_weight_is_carried(sim: &Sim, table: &RouteTable, world: &World) {
    let Some(candidate) = &table.candidate else { return };
    let now = sim.edge.candidate().filter(|(revision, _)| *revision == candidate.arm.revision);
    if now.is_some_and(|(_, weight)| weight >= candidate.weight) {
        return;
    }
    let running = sim.state.deployment.as_ref().expect("a candidate belongs to a deployment");
    // What was baked and has been lost and found again was carried before.
    if !matches!(running.phase, Phase::Shifting { .. }) {
        return;
    }
    assert!(!running.paused && running.held.is_none(), "a weight was raised while all should stand still");
    let full = sim.state.replicas();
    let share = (full * u32::from(candidate.weight.percent())).div_ceil(100).max(1);
    let needed = match (candidate.weight == Weight::FULL, running.settings.candidate_replicas) {
        (true, _) => full,
        (false, Some(asked)) => asked.clamp(1, full),
        (false, None) => share,
    };
    let ready = ready(&candidate.arm, world);
    assert!(ready >= needed, "{} on {ready} of {needed} replicas\n{}", candidate.weight, sim.tell());
}

fn traffic_goes_back_to_what_carries_it(sim: &Sim, table: &RouteTable, world: &World) {
    let Some(running) = &sim.state.deployment else { return };
    let Phase::Returning { .. } = running.phase else { return };
    let had = sim.edge.candidate().is_some();
    if !had || table.candidate.is_some() {
        return;
    }
    let stable = table.stable.as_ref().expect("traffic goes back to somebody");
    let patience = running.phase_clock.elapsed(sim.now) >= Millis::seconds(5);
    let nothing_else = world.ready(running.candidate.revision) == 0;
    assert!(
        ready(stable, world) >= sim.state.replicas() || patience || nothing_else,
        "traffic went back to too few replicas\n{}",
        sim.tell()
    );
}

pub fn change_is_safe(sim: &Sim, change: &Change, world: &World) {
    let kept: Vec<Revision> = sim
        .state
        .stable
        .iter()
        .chain(sim.state.hot.iter().map(|hot| &hot.placed))
        .chain(sim.state.deployment.iter().map(|running| &running.candidate))
        .map(|placed| placed.revision)
        .collect();
    match change {
        Change::Remove { revision, .. } => {
            assert!(world.edge.is_some(), "removed while the routes are unknown");
            assert!(!kept.contains(revision), "revision {revision} is still needed\n{}", sim.tell());
            for (id, _) in sim.replicas.running(*revision) {
                assert!(
                    !sim.edge.routes_to(id),
                    "{id} was removed with requests on their way\n{}",
                    sim.tell()
                );
            }
        }
        Change::Stop { revision, replicas, .. } => {
            for id in replicas {
                assert!(
                    !sim.edge.routes_to(id),
                    "{id} was stopped with requests on their way\n{}",
                    sim.tell()
                );
            }
            let seen = |id| world.presence(*revision).replicas.get(id);
            let well = replicas.iter().filter(|id| seen(id).is_some_and(|one| one.ready && !one.failing));
            let left = world.ready(*revision) as usize - well.clone().count();
            let wanted = sim.state.wanted_replicas(*revision).unwrap_or(0) as usize;
            assert!(well.count() == 0 || left >= wanted, "a needed replica was stopped\n{}", sim.tell());
        }
        Change::Launch { placed, replicas } => {
            assert!(kept.contains(&placed.revision), "revision {} is not needed", placed.revision);
            assert!(*replicas > 0, "nothing to launch");
        }
        Change::RunTask { task } => {
            let running = sim.state.deployment.as_ref().expect("a task belongs to a deployment");
            assert_eq!(task.id.deployment, running.id);
        }
    }
}

/// A deployment ends by its deadline, and the little that proving and going back may take; pauses do not count.
fn every_deployment_ends(sim: &Sim) {
    let Some(running) = &sim.state.deployment else { return };
    if running.paused {
        return;
    }
    let mut since = sim.now;
    let mut paused_at = None;
    let mut stood = 0;
    for entry in &sim.journal {
        match entry.event {
            Event::DeploymentRequested(_) => {
                since = entry.at;
                stood = 0;
                paused_at = None;
            }
            Event::Paused => paused_at = Some(entry.at),
            Event::Resumed
            | Event::StepPromoted { .. }
            | Event::ReturnStarted { .. }
            | Event::Aborted { .. } => {
                stood += paused_at.take().map_or(0, |at: Millis| entry.at.since(at).0);
            }
            _ => {}
        }
    }
    let starts = running.candidate.spec.health.start.0
        + sim.state.stable.as_ref().map_or(0, |stable| stable.spec.health.start.0);
    let hook = if running.settings.hooks.after_deploy.is_empty() { 0 } else { 600_000 };
    let bound = running.settings.deadline.0 + 2 * 30_000 + starts + hook + 30_000;
    let took = sim.now.since(since).0 - stood;
    assert!(took <= bound, "a deployment has run for {took} ms of at most {bound}\n{}", sim.tell());
}

/// While a deployment runs the old revision runs, as far as it did not end by itself.
fn stable_runs_until_the_deployment_has_finished(sim: &Sim) {
    let hot = sim.state.hot.iter().map(|hot| &hot.placed);
    for placed in sim.state.stable.iter().chain(hot) {
        assert!(
            sim.state.wanted_replicas(placed.revision) == Some(sim.state.replicas()),
            "revision {} should run\n{}",
            placed.revision,
            sim.tell()
        );
    }
}

/// Beside stable, the candidate and what leaves, at most one revision runs; and it retires in time.
fn at_most_one_revision_is_hot(sim: &Sim) {
    let leaves = |revision| sim.state.leaving.iter().any(|leaving| leaving.placed.revision == revision);
    let is =
        |placed: Option<&crate::release::Placed>, revision| placed.is_some_and(|it| it.revision == revision);
    let candidate = sim.state.deployment.as_ref().map(|running| &running.candidate);
    let hot = sim.state.hot.as_ref();
    let wanted = sim.state.desired().revisions;
    let others = wanted.keys().filter(|revision| {
        !is(sim.state.stable.as_ref(), **revision) && !is(candidate, **revision) && !leaves(**revision)
    });
    assert!(others.count() <= 1, "more than one revision is hot");
    let late = hot.filter(|hot| sim.now > hot.until && !is(candidate, hot.placed.revision));
    assert!(late.is_none(), "a revision was kept hot for too long\n{}", sim.tell());
}

/// When everything has settled, only stable and a hot revision run, nobody else is routed to, and stable is complete.
pub fn left_over(sim: &Sim) -> Option<String> {
    let stable = sim.state.stable.as_ref().map(|placed| placed.revision);
    let hot = sim.state.hot.as_ref().map(|hot| hot.placed.revision);
    let kept = |revision| Some(revision) == stable || Some(revision) == hot;
    if let Some((id, _)) = sim.replicas.all.iter().find(|(_, replica)| !kept(replica.revision)) {
        return Some(format!("{id} is left over"));
    }
    if sim.edge.candidate().is_some() || sim.edge.serving().map(|arm| arm.revision) != stable {
        return Some("the edge serves something else".to_owned());
    }
    let running = stable.map(|stable| sim.replicas.running(stable).count() as u32);
    let wanted = stable.map(|_| sim.state.replicas());
    (running != wanted).then(|| format!("{running:?} replicas of stable run, not {wanted:?}"))
}

/// The engine sleeps until `wake_after`; if nothing but time has passed, nothing may change before.
pub fn time_alone_changes_something_only_when_said(sim: &Sim, world: &World) {
    let Some(before) = sim.before.as_ref().filter(|before| before.world == *world) else { return };
    let said = sim.state.wake_after(before.at).is_some_and(|at| at <= sim.now);
    let fact = crate::machine::Fact::World(Box::new(world.clone()));
    let event = sim.state.decide(&fact, sim.now);
    assert!(said || event.is_none(), "nobody would have woken for {event:?}\n{}", sim.tell());
    let routes = sim.state.routes(world, sim.now) != sim.state.routes(world, before.at);
    assert!(said || !routes, "nobody would have woken to publish\n{}", sim.tell());
}
