//! An event says what is so: nothing goes on while all should stand still, before its time, before what it waits for has
//! passed, or while the world shows otherwise.

use crate::checkers::Ledger;
use crate::world::World;
use rollout::event::{DeploymentKind, Event, ReturnReason};
use rollout::machine::{Deployment, Phase, State};
use rollout::mirror::Differing;
use rollout::names::Millis;
use rollout::plan::When;

pub const NAME: &str = "an_event_says_what_is_so";

/// Looks at an event before it is folded; `at`: by the clock of who wrote it.
pub fn check(world: &World, event: &Event, at: Millis) -> Option<String> {
    let ledger = &world.ledger;
    asked_twice(ledger, event)
        .or_else(|| moves_while_still(ledger, event))
        .or_else(|| not_passed(ledger, event))
        .or_else(|| differs(ledger, event))
        .or_else(|| too_early(world, event, at))
        .or_else(|| shown_otherwise(world, event, at))
}

/// Looks at what the state has become.
pub fn after(ledger: &Ledger) -> Option<String> {
    let told = &ledger.told;
    let hot = told.hot.as_ref().map(|hot| hot.placed.revision);
    let candidate = told.deployment.as_ref().map(|running| running.candidate.revision);
    // One that is just going back is given up when its deployment ends.
    if let Some(hot) = hot.filter(|hot| Some(*hot) != candidate && ledger.follow.given_back.contains(hot)) {
        return Some(format!("revision {hot} was given up and is kept to go back to"));
    }
    let running = told.deployment.as_ref()?;
    let (said, is) = ((ledger.follow.paused, ledger.follow.held), (running.paused, running.held.is_some()));
    (said != is).then(|| format!("paused and held are {said:?} by the journal, and {is:?} in the state"))
}

fn asked_twice(ledger: &Ledger, event: &Event) -> Option<String> {
    let Event::DeploymentRequested(requested) = event else { return None };
    ledger.follow.knows(&requested.key).then(|| format!("`{}` was carried out before", requested.key))
}

fn moves_while_still(ledger: &Ledger, event: &Event) -> Option<String> {
    let moves = matches!(
        event,
        Event::CandidateLaunched { .. }
            | Event::CandidateReady { .. }
            | Event::CandidateVerified { .. }
            | Event::MirrorPassed { .. }
            | Event::BakeExtended { .. }
            | Event::BakePassed { .. }
            | Event::Promoted { .. }
    );
    let still = ledger.follow.paused || ledger.follow.held;
    (moves && still).then(|| format!("{event}, while all should stand still"))
}

fn not_passed(ledger: &Ledger, event: &Event) -> Option<String> {
    let running = ledger.told.deployment.as_ref()?;
    let mut wanted = Vec::new();
    match event {
        Event::CandidateLaunched { .. } => {
            let hook = !running.settings.hooks.before_deploy.is_empty();
            let expand = !running.candidate.spec.expand.is_empty();
            if hook && running.of != DeploymentKind::Return {
                wanted.push(running.task("before_deploy"));
            }
            if expand && running.of == DeploymentKind::Deploy {
                wanted.push(running.task("expand"));
            }
        }
        Event::CandidateVerified { .. } => wanted.extend(checks(running, When::Before)),
        Event::Promoted { .. } => wanted.extend(checks(running, When::After)),
        _ => {}
    }
    let open = wanted.into_iter().find(|task| !ledger.follow.passed.contains(task))?;
    Some(format!("{event}, and {open} has not passed"))
}

/// Copies that were answered otherwise are held, and pass by an operator's word alone.
fn differs(ledger: &Ledger, event: &Event) -> Option<String> {
    let Event::MirrorPassed { counts } = event else { return None };
    let mirror = ledger.told.deployment.as_ref()?.settings.mirror.as_ref()?;
    let most = mirror.tolerated * counts.compared as f64;
    let holds = mirror.differing == Differing::Hold;
    if holds && (counts.status + counts.body) as f64 > most {
        return Some(format!("{event}, and went on"));
    }
    let told = (counts.compared, counts.status + counts.body);
    let counted = ledger.follow.copies;
    (told != counted).then(|| format!("{event}, and {counted:?} were counted"))
}

fn checks(running: &Deployment, when: When) -> Vec<rollout::change::TaskId> {
    let judged = running.of == DeploymentKind::Deploy;
    let mine = running.settings.checks.iter().filter(|check| judged && check.when == when);
    mine.map(|check| running.task(&check.name)).collect()
}

fn too_early(world: &World, event: &Event, at: Millis) -> Option<String> {
    // Two clocks have measured this, and one of them was set.
    if world.is_set() {
        return None;
    }
    let told = &world.ledger.told;
    let running = told.deployment.as_ref()?;
    let follow = &world.ledger.follow;
    let (took, least) = match (event, &running.phase) {
        (Event::BakePassed { .. } | Event::Promoted { .. }, Phase::Baking { step }) => {
            (follow.phase.elapsed(at), least_bake(told, running, *step)?)
        }
        (Event::MirrorPassed { .. }, Phase::Mirroring) => {
            (follow.phase.elapsed(at), running.settings.mirror.as_ref()?.during)
        }
        (Event::ReturnStarted { why: ReturnReason::DeadlinePassed { .. } }, _) => {
            (follow.deployment.elapsed(at), running.settings.deadline)
        }
        (Event::ReturnStarted { why: ReturnReason::NeverReady { .. } }, _) => {
            (follow.phase.elapsed(at), running.candidate.spec.health.start)
        }
        _ => return None,
    };
    (took < least).then(|| format!("{event} after {took}, and not before {least}"))
}

/// Returns how long a step is watched at least; None: it need not be.
fn least_bake(told: &State, running: &Deployment, step: usize) -> Option<Millis> {
    let watched = running.of == DeploymentKind::Deploy && told.stable.is_some() && !running.hurried;
    let settings = &running.settings;
    let least = if running.judge.is_safe() { settings.bake_min_of(step) } else { settings.bake_of(step) };
    watched.then_some(least)
}

fn shown_otherwise(world: &World, event: &Event, at: Millis) -> Option<String> {
    let ledger = &world.ledger;
    let misled = world.now <= ledger.misled_until;
    match event {
        Event::TrafficReturned { .. } if world.now > ledger.forgetful_until => {
            let (revision, weight) = world.edge.candidate()?;
            Some(format!("{event}, and the edge gives {weight} to revision {revision}"))
        }
        Event::TrafficShifted { revision, weight, .. } if world.now > ledger.forgetful_until => {
            let has = world.edge.candidate();
            (has != Some((*revision, *weight))).then(|| format!("{event}, and the edge has {has:?}"))
        }
        Event::Drained { revision } => {
            let leaving = ledger.told.leaving.iter().find(|leaving| leaving.placed.revision == *revision)?;
            let uses = world.edge.busy.is_some_and(|(busy, count)| busy == *revision && count > 0);
            (uses && at < leaving.until && !world.is_set())
                .then(|| format!("{event}, and requests use it, and may until {}", leaving.until))
        }
        Event::CandidateRemoved { revision } if !misled => {
            let left = world.machines.running(*revision).count();
            (left > 0).then(|| format!("{event}, and {left} of its replicas run"))
        }
        Event::DeploymentRequested(requested) if requested.of == DeploymentKind::Return && !misled => {
            let runs = world.machines.running(requested.candidate.revision);
            let (runs, wanted) =
                (runs.filter(|replica| replica.listens(world.now)).count() as u32, ledger.told.replicas());
            (runs < wanted).then(|| format!("{event}, and {runs} of its {wanted} replicas listen"))
        }
        Event::DeploymentFinished { served_by: Some(proof), outcome, .. } => {
            let turned_at = ledger.follow.turned_at;
            (proof.generation < turned_at).then(|| {
                format!(
                    "{outcome}, proven by generation {}, and the traffic turned at {turned_at}",
                    proof.generation
                )
            })
        }
        _ => None,
    }
}
