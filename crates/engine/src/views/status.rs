//! Says how a target is doing, from its state and what was last seen of the world.

use crate::api::wire::{
    GuardStatus, LeaseStatus, ReplicaCounts, RevisionStatus, ServiceStatus, VerdictStatus,
};
use crate::leader::short;
use crate::lease::Lease;
use crate::readiness::Found;
use crate::tenure::Held;
use manifest::edge::GuardState;
use meter::wire::{FailingRequest, GuardRow};
use rollout::event::VerdictWord;
use rollout::judge::Verdict;
use rollout::machine::{Deployment, Phase, State, World};
use rollout::names::{Millis, Target};
use rollout::release::Placed;

/// Returns the row of a target.
pub fn service(
    state: &State,
    world: &World,
    found: &Found,
    now: Millis,
    lease: LeaseStatus,
) -> ServiceStatus {
    let running = state.deployment.as_ref();
    let (rollback_ready, rollback_reason) = rollback(state, world, found, now);
    let candidate = world.edge.as_ref().and_then(|edge| edge.candidate);
    ServiceStatus {
        service: state.target.service.to_string(),
        target: state.target.clone(),
        phase: running.map_or("idle", |running| running.phase.word()).to_owned(),
        waiting_for: running.map(|running| waiting_for(state, running, world, now)),
        paused: running.is_some_and(|running| running.paused),
        held: running.and_then(|running| running.held.clone()),
        maintenance: state.maintenance.is_some(),
        deployment: running.map(|running| running.id.clone()),
        weight: candidate.map_or(0, |(_, weight)| weight.percent()),
        stable: state.stable.as_ref().map(|placed| revision(state, placed, world)),
        candidate: running.map(|running| revision(state, &running.candidate, world)),
        hot: state.hot.as_ref().map(|hot| revision(state, &hot.placed, world)),
        verdict: verdict(state),
        rollback_ready,
        rollback_reason,
        rollback_checked_at: state
            .rollback_target()
            .and_then(|placed| found.of(&placed.release))
            .map(|checked| checked.at),
        alarms: alarms(state, found),
        damage: None,
        guard: Vec::new(),
        lease: Some(lease),
    }
}

/// Returns the row of a target that another engine leads.
pub fn held(target: &Target, held: &Held) -> ServiceStatus {
    let Lease { epoch, owner, until } = held.lease.clone();
    ServiceStatus {
        phase: "waiting".to_owned(),
        waiting_for: Some(format!(
            "{} to give up its lease, which ends at {}",
            short(&owner),
            until.rfc3339()
        )),
        rollback_reason: "another engine leads the target".to_owned(),
        damage: None,
        lease: Some(LeaseStatus { epoch, owner, until, ours: false }),
        ..damaged(target, String::new())
    }
}

/// Returns the row of a target whose journal cannot be used.
pub fn damaged(target: &Target, damage: String) -> ServiceStatus {
    ServiceStatus {
        service: target.service.to_string(),
        target: target.clone(),
        phase: "damaged".to_owned(),
        waiting_for: None,
        paused: false,
        held: None,
        maintenance: false,
        deployment: None,
        weight: 0,
        stable: None,
        candidate: None,
        hot: None,
        verdict: None,
        rollback_ready: false,
        rollback_reason: "the target's journal is damaged".to_owned(),
        rollback_checked_at: None,
        alarms: Vec::new(),
        damage: Some(damage),
        guard: Vec::new(),
        lease: None,
    }
}

/// Returns the row of a guard's rule.
pub fn guard(rule: &GuardState, said: GuardRow) -> GuardStatus {
    let example =
        |request: &FailingRequest| format!("{} {} ({})", request.method, request.path, request.status);
    GuardStatus {
        rule: rule.rule.clone(),
        mode: rule.mode,
        counted: said.counted,
        blocked: said.blocked,
        unknown: said.unknown,
        trouble: rule.trouble.clone(),
        examples: said.examples.iter().map(example).collect(),
    }
}

fn revision(state: &State, placed: &Placed, world: &World) -> RevisionStatus {
    RevisionStatus {
        revision: placed.revision,
        release: placed.release.clone(),
        label: placed.label.clone(),
        replicas: ReplicaCounts {
            wanted: state.wanted_replicas(placed.revision).unwrap_or(0),
            ready: world.ready(placed.revision),
        },
    }
}

fn waiting_for(state: &State, running: &Deployment, world: &World, now: Millis) -> String {
    if running.paused {
        return "an operator: `medeclipse resume`".to_owned();
    }
    if let Some(why) = &running.held {
        return format!("doubt to end: {why}");
    }
    match &running.phase {
        Phase::Preparing => "hooks and migrations".to_owned(),
        Phase::Launching => format!(
            "replicas to become ready: {} of {}",
            world.ready(running.candidate.revision),
            state.wanted_replicas(running.candidate.revision).unwrap_or(0)
        ),
        Phase::Verifying => "checks".to_owned(),
        Phase::Mirroring => {
            let left = running.settings.mirrored().0.saturating_sub(running.phase_clock.elapsed(now).0);
            format!("copies of requests to be compared, for {}: {}", Millis(left), running.mirrored)
        }
        Phase::Shifting { step } => format!("the edge to give the candidate {}", percent(running, *step)),
        Phase::Baking { step } => {
            let settings = &running.settings;
            let end = if running.extended { settings.bake_max_of(*step) } else { settings.bake_of(*step) };
            let left = Millis(end.0.saturating_sub(running.phase_clock.elapsed(now).0));
            let more = if running.extended { ", or proof" } else { "" };
            format!("the bake at {} to end, in {left}{more}", percent(running, *step))
        }
        Phase::Promoting => "the edge to prove who answers".to_owned(),
        Phase::Returning { .. } => "stable to be proven healthy".to_owned(),
    }
}

fn percent(running: &Deployment, step: usize) -> String {
    running.settings.weight_of(step).to_string()
}

fn verdict(state: &State) -> Option<VerdictStatus> {
    let judge = state.judge()?;
    let condemned = state.deployment.as_ref().and_then(|running| running.verdict.clone());
    let Verdict { word, evidence } = match condemned {
        Some(evidence) => Verdict { word: VerdictWord::Worse, evidence },
        None => judge.verdict(),
    };
    Some(VerdictStatus {
        state: word.to_string(),
        metric: evidence.metric,
        requests: judge.candidate_requests(),
        errors: judge.candidate_errors(),
        stable_requests: judge.stable_requests(),
        stable_errors: judge.stable_errors(),
        p_value: evidence.p_value,
        probes: judge.probes().asked,
        cold: evidence.cold,
    })
}

/// Says what is wrong though nobody notices yet: a replica of stable that is lost could not be replaced.
fn alarms(state: &State, found: &Found) -> Vec<String> {
    let of = |placed: &Placed| {
        let why = found.objection(placed)?;
        Some(format!("stable release {} could not be started again: {why}", placed.release.short()))
    };
    state.stable.iter().filter_map(of).collect()
}

/// Says whether `medeclipse rollback` would go well now. What runs is one flip away whatever became of its artefact.
pub fn rollback(state: &State, world: &World, found: &Found, now: Millis) -> (bool, String) {
    let but = |placed: &Placed| {
        found
            .objection(placed)
            .map_or(String::new(), |why| format!("; but a lost replica cannot be replaced: {why}"))
    };
    if let (Some(_), Some(stable)) = (&state.deployment, &state.stable) {
        let (revision, ready) = (stable.revision, world.ready(stable.revision));
        let text = format!("stable revision {revision} runs on {ready} ready replica(s){}", but(stable));
        return (ready > 0, text);
    }
    if let Some(hot) = &state.hot {
        let ready = world.ready(hot.placed.revision);
        let text = format!("revision {} is hot: one flip{}", hot.placed.revision, but(&hot.placed));
        return (ready > 0, text);
    }
    let Some(placed) = state.proven.last() else {
        return (false, "no earlier release has been promoted".to_owned());
    };
    match found.objection(placed) {
        Some(why) => (false, format!("release {}: {why}", placed.release.short())),
        None => (true, found.assurance(placed, now)),
    }
}
