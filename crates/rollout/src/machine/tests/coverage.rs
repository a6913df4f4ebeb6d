//! The small world is only worth its checkers if everything happens in it: every event and every outcome.

use super::outside::{Fate, TaskFate};
use super::sim::Sim;
use crate::change::Ended;
use crate::event::{Event, Outcome};
use crate::machine::OperatorCommand;
use crate::mirror::Differing;
use crate::names::Millis;
use std::collections::BTreeSet;

/// Every kind of event there is. A new one is missing here until a simulation makes it happen.
const KINDS: [&str; 37] = [
    "aborted",
    "bake_extended",
    "bake_passed",
    "candidate_launched",
    "candidate_ready",
    "candidate_removed",
    "candidate_verified",
    "check_ran",
    "checks_answered",
    "clock_stepped",
    "deployment_finished",
    "deployment_requested",
    "drained",
    "evidence_added",
    "finding_reported",
    "held",
    "hold_ended",
    "hook_ran",
    "judge_calibrated",
    "lease_taken",
    "maintenance_changed",
    "migration_expanded",
    "mirror_passed",
    "paused",
    "promoted",
    "release_stored",
    "replica_lost",
    "replica_replaced",
    "resumed",
    "return_started",
    "revision_retired",
    "scaled",
    "settings_changed",
    "step_promoted",
    "traffic_returned",
    "traffic_shifted",
    "verdict_reached",
];

/// A life with a bit of everything.
fn eventful() -> Sim {
    let mut sim = Sim::serving_v1();
    sim.expand = vec!["./migrate".to_owned()];
    sim.plan.hooks.before_deploy = vec!["./before.sh".to_owned()];
    sim.plan.checks = vec![crate::plan::Check {
        name: "smoke".to_owned(),
        when: crate::plan::When::After,
        deadline: Millis::seconds(30),
        ask: crate::plan::Ask::Url("/".to_owned()),
    }];
    sim.plan.mirror = Some(super::mirroring::mirror(Differing::Hold));
    sim.ship("v2");
    sim.plan.mirror = None;
    sim.append(Event::ClockStepped { by_ms: 1500 });
    sim.command(OperatorCommand::Maintenance { hold: Some(Millis(0)) }).unwrap();
    sim.command(OperatorCommand::Scale { replicas: Some(3) }).unwrap();
    sim.ship("v2");
    sim.deploy("v3");
    sim.until_phase("baking");
    sim.command(OperatorCommand::Pause).unwrap();
    sim.command(OperatorCommand::Resume).unwrap();
    sim.command(OperatorCommand::Promote { now: false }).unwrap();
    sim.until_phase("baking");
    sim.scripts.errors.insert("v2".into(), 0.5);
    sim.scripts.errors.insert("v3".into(), 0.5);
    sim.until(20, "a hold", |sim| sim.happened("held") > 0);
    sim.scripts.errors.clear();
    sim.until(60, "the end of the hold", |sim| sim.happened("hold_ended") > 0);
    sim.scripts.errors.insert("v3".into(), 0.5);
    assert_eq!(sim.finish(), Outcome::RolledBack);
    sim.deploy("v4");
    sim.until_phase("baking");
    sim.kill("v2");
    sim.command(OperatorCommand::Abort).unwrap();
    assert_eq!(sim.finish(), Outcome::Aborted);
    sim.requests_per_second = 0;
    sim.deploy("v5");
    let mut newer = sim.intent("v6");
    newer.supersede = true;
    sim.command(OperatorCommand::Deploy(Box::new(newer))).unwrap();
    assert_eq!(sim.finish(), Outcome::Superseded);
    sim.plan.hooks.before_deploy.clear();
    assert_eq!(sim.ship("v7"), Outcome::PromotedUnproven);
    sim.requests_per_second = 2;
    sim.plan.bake_max = None;
    sim.plan.monitor = Some(super::proving::monitor(2, 3, true));
    sim.scripts.not_found.insert("v8".into(), 1.0);
    sim.deploy("v8");
    sim.calibrate(super::proving::calibration());
    sim.until_phase("baking");
    sim.requests_per_second = 60;
    sim.until(60, "a finding", |sim| sim.happened("finding_reported") > 0);
    sim.until(60, "a longer bake", |sim| sim.happened("bake_extended") > 0);
    sim.edge.reachable = false;
    assert_eq!(sim.finish(), Outcome::UnprovenReturn);
    sim.edge.reachable = true;
    sim.settle();
    sim
}

#[test]
fn every_event_and_every_outcome_occurs() {
    let sim = eventful();

    let seen: BTreeSet<_> = sim.kinds().into_iter().collect();
    let missing: Vec<_> = KINDS.iter().filter(|kind| !seen.contains(*kind)).collect();
    let outcomes: Vec<_> = sim
        .journal
        .iter()
        .filter_map(|entry| match entry.event {
            Event::DeploymentFinished { outcome, .. } => Some(outcome),
            _ => None,
        })
        .collect();

    assert!(missing.is_empty(), "never happened: {missing:?}");
    assert_eq!(seen.len(), KINDS.len(), "a kind is missing in the list");
    for outcome in Outcome::ALL {
        assert!(outcomes.contains(&outcome), "{outcome} never happened:\n{}", sim.tell());
    }
}

#[test]
fn every_event_says_something_to_people_in_one_line() {
    for entry in eventful().journal {
        let line = entry.event.to_string();
        assert!(!line.is_empty() && !line.contains('\n') && !line.contains('{'), "{line}");
    }
}

#[test]
fn the_same_script_gives_the_same_journal() {
    assert_eq!(eventful().journal, eventful().journal);
}

#[test]
fn every_prefix_of_a_journal_replays_and_goes_on_to_an_end() {
    let whole = eventful().journal;
    for end in (1..whole.len()).step_by(5) {
        let mut sim = Sim::new();
        sim.relive(&whole[..end]);

        // Nothing of it runs any more: as after a restart of the machine.
        if sim.state.deployment.as_ref().is_some_and(|running| running.paused) {
            sim.command(OperatorCommand::Resume).unwrap();
        }
        sim.until(3000, "an end", |sim| sim.state.deployment.is_none());
        sim.settle();
    }
}

#[test]
fn a_task_that_nobody_saw_end_counts_as_failed() {
    let mut sim = Sim::serving_v1();
    sim.expand = vec!["./migrate".to_owned()];
    sim.scripts.tasks.insert("expand".into(), TaskFate { ended: Ended::Unknown, ..TaskFate::default() });
    sim.scripts.fates.insert("v9".into(), Fate::default());

    assert_eq!(sim.ship("v2"), Outcome::RolledBack);
}
