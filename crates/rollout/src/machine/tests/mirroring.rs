//! Copies of requests before the first step: they come first, they hold what differs, and they take nothing back.

use super::sim::Sim;
use crate::event::{Event, Outcome, ReturnReason};
use crate::machine::{DeployIntent, OperatorCommand};
use crate::mirror::{Copies, Differing, Mirror};
use crate::names::{Millis, Weight};

pub fn mirror(differing: Differing) -> Mirror {
    let copies = Copies { share: Weight::new(50).unwrap(), bodies: Vec::new(), never: Vec::new() };
    Mirror { copies, during: Millis::seconds(5), differing, tolerated: 0.01 }
}

/// v1 serves, and v2 is deployed with copies.
fn mirroring(differing: Differing) -> Sim {
    let mut sim = Sim::serving_v1();
    sim.plan.mirror = Some(mirror(differing));
    sim.deploy("v2");
    sim.until_phase("mirroring");
    sim
}

fn held(sim: &Sim) -> bool {
    sim.state.deployment.as_ref().is_some_and(|running| running.held.is_some())
}

fn copies(sim: &Sim) -> bool {
    sim.edge.table.as_ref().is_some_and(|table| table.mirror.is_some())
}

#[test]
fn copies_come_before_the_first_step_and_no_user_sees_the_candidate() {
    let mut sim = mirroring(Differing::Hold);
    sim.until(5, "copies", copies);

    let began = sim.now;
    while sim.phase() == Some("mirroring") {
        assert_eq!(sim.weight(), 0);
        sim.step(100);
    }

    let took = sim.now.since(began);
    assert!((Millis::seconds(4)..=Millis::seconds(6)).contains(&took), "{took}");
    sim.until_weight(5);
    assert!(!copies(&sim), "copies end with the first step");
    assert_eq!(sim.finish(), Outcome::Promoted);
    let counts = sim.journal.iter().find_map(|entry| match &entry.event {
        Event::MirrorPassed { counts } => Some(counts.clone()),
        _ => None,
    });
    assert!(counts.is_some_and(|counts| counts.compared >= 300 && counts.different() == 0), "{}", sim.tell());
}

#[test]
fn answers_that_differ_hold_the_rollout_until_an_operator_goes_on() {
    let mut sim = mirroring(Differing::Hold);
    sim.scripts.errors.insert("v2".into(), 0.3);
    sim.until(5, "a hold", held);

    sim.run(20_000);
    assert_eq!((sim.weight(), sim.phase()), (0, Some("mirroring")));
    let why = sim.state.deployment.as_ref().and_then(|running| running.held.clone()).unwrap();
    assert!(why.contains("copied requests otherwise than stable"), "{why}");

    sim.scripts.errors.clear();
    sim.command(OperatorCommand::Promote { now: false }).unwrap();
    sim.until_weight(5);
    assert!(!held(&sim));
    assert_eq!(sim.finish(), Outcome::Promoted);
}

#[test]
fn a_candidate_that_is_held_is_judged_when_an_operator_goes_on_all_the_same() {
    let mut sim = mirroring(Differing::Hold);
    sim.scripts.errors.insert("v2".into(), 0.3);
    sim.until(5, "a hold", held);

    sim.command(OperatorCommand::Promote { now: false }).unwrap();

    assert_eq!(sim.finish(), Outcome::RolledBack);
    assert_eq!(sim.happened("verdict_reached"), 1);
}

#[test]
fn a_hold_nobody_ends_is_ended_by_the_deadline_and_one_by_abort() {
    let mut sim = Sim::serving_v1();
    sim.plan.mirror = Some(mirror(Differing::Hold));
    sim.plan.deadline = Millis::seconds(60);
    sim.scripts.errors.insert("v2".into(), 1.0);
    assert_eq!(sim.ship("v2"), Outcome::RolledBack);
    let late = |entry: &super::sim::Entry| {
        matches!(&entry.event, Event::ReturnStarted { why: ReturnReason::DeadlinePassed { .. } })
    };
    assert!(sim.journal.iter().any(late), "{}", sim.tell());

    sim.deploy("v2");
    sim.until(30, "a hold", held);
    sim.command(OperatorCommand::Abort).unwrap();
    assert_eq!(sim.finish(), Outcome::Aborted);
}

#[test]
fn a_hold_ends_by_itself_when_fewer_of_all_answers_differ() {
    let mut sim = mirroring(Differing::Hold);
    sim.scripts.errors.insert("v2".into(), 0.3);
    sim.until(5, "a hold", held);

    sim.scripts.errors.clear();

    assert_eq!(sim.finish(), Outcome::Promoted);
    assert_eq!(sim.happened("hold_ended"), 1);
}

#[test]
fn answers_that_differ_are_only_told_where_the_settings_say_so() {
    let mut sim = mirroring(Differing::Report);
    sim.scripts.errors.insert("v2".into(), 0.3);

    sim.until(10, "the first step", |sim| sim.happened("mirror_passed") > 0);

    assert_eq!(sim.happened("held"), 0);
    assert!(sim.tell().contains("answered otherwise"), "{}", sim.tell());
}

#[test]
fn a_first_release_and_a_rollback_have_nothing_to_be_compared_with() {
    let mut sim = Sim::new();
    sim.plan.mirror = Some(mirror(Differing::Hold));
    assert_eq!(sim.ship("v1"), Outcome::Promoted);
    assert_eq!(sim.happened("mirror_passed"), 0);

    assert_eq!(sim.ship("v2"), Outcome::Promoted);
    assert_eq!(sim.happened("mirror_passed"), 1);
    sim.roll_back(None).unwrap();
    sim.finish();
    assert_eq!(sim.happened("mirror_passed"), 1);
}

#[test]
fn promote_now_ends_the_copies_and_every_step() {
    let mut sim = mirroring(Differing::Hold);

    sim.command(OperatorCommand::Promote { now: true }).unwrap();

    sim.until_phase("shifting");
    assert_eq!(sim.happened("mirror_passed"), 0);
    sim.finish();
    assert_eq!(sim.happened("bake_passed"), 0);
}

#[test]
fn a_pause_stops_the_time_of_the_copies() {
    let mut sim = mirroring(Differing::Hold);
    sim.command(OperatorCommand::Pause).unwrap();
    sim.run(20_000);
    assert_eq!(sim.phase(), Some("mirroring"));

    sim.command(OperatorCommand::Resume).unwrap();

    assert_eq!(sim.finish(), Outcome::Promoted);
}

#[test]
fn a_candidate_that_crashes_while_it_gets_copies_goes_back_without_a_verdict() {
    let mut sim = mirroring(Differing::Hold);
    for _ in 0..10 {
        sim.kill("v2");
        sim.run(1_000);
    }

    assert_eq!(sim.finish(), Outcome::RolledBack);
    assert_eq!((sim.happened("verdict_reached"), sim.happened("mirror_passed")), (0, 0), "{}", sim.tell());
}

#[test]
fn the_deadline_of_a_manifest_leaves_time_for_the_copies() {
    let mut sim = Sim::new();
    let DeployIntent { mut settings, .. } = sim.intent("v1");
    let (without, least) = (settings.deadline_enough(), settings.least_time());
    settings.mirror = Some(mirror(Differing::Hold));

    assert_eq!(settings.deadline_enough(), without.plus(Millis::seconds(5)));
    assert_eq!(settings.least_time(), least.plus(Millis::seconds(5)));
}
