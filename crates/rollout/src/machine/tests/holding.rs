//! Doubt: a fault both versions share, or counts that do not come, freezes the weight and takes nothing back at once.

use super::sim::{Sim, blue_green};
use crate::event::{Event, Outcome, ReturnReason};
use crate::names::Millis;

fn held(sim: &Sim) -> bool {
    sim.state.deployment.as_ref().is_some_and(|running| running.held.is_some())
}

#[test]
fn a_fault_of_both_versions_holds_and_the_rollout_goes_on_when_it_is_over() {
    let mut sim = Sim::serving_v1();
    sim.plan.deadline = Millis::seconds(900);
    sim.deploy("v2");
    sim.until_weight(25);
    sim.until_phase("baking");
    sim.scripts.errors.insert("v1".into(), 0.7);
    sim.scripts.errors.insert("v2".into(), 0.7);

    sim.until(10, "a hold", held);
    sim.run(30_000);
    assert_eq!((sim.weight(), sim.happened("verdict_reached")), (25, 0));

    sim.scripts.errors.clear();
    assert_eq!(sim.finish(), Outcome::Promoted, "{}", sim.tell());
    assert_eq!(sim.happened("held"), sim.happened("hold_ended"));
}

#[test]
fn a_version_that_recovers_two_seconds_later_is_not_blamed() {
    let mut sim = Sim::serving_v1();
    sim.plan.deadline = Millis::seconds(900);
    sim.deploy("v2");
    sim.until_weight(25);
    sim.until_phase("baking");
    sim.scripts.errors.insert("v1".into(), 1.0);
    sim.scripts.errors.insert("v2".into(), 1.0);
    sim.run(20_000);

    sim.scripts.errors.remove("v1");
    sim.run(2_000);
    sim.scripts.errors.remove("v2");

    assert_eq!(sim.finish(), Outcome::Promoted, "{}", sim.tell());
}

#[test]
fn lost_counts_hold_the_rollout_and_take_it_back_in_the_end() {
    let mut sim = Sim::serving_v1();
    sim.plan.deadline = Millis::seconds(900);
    sim.deploy("v2");
    sim.until_weight(5);
    sim.until_phase("baking");
    sim.plan.step_bake = Millis::seconds(5);
    sim.silent = true;

    sim.until(20, "a hold", held);
    assert_eq!(sim.finish(), Outcome::RolledBack);
    let why = sim.journal.iter().rev().find_map(|entry| match &entry.event {
        Event::ReturnStarted { why } => Some(why.clone()),
        _ => None,
    });
    assert_eq!(why, Some(ReturnReason::TelemetryLost { silent: Millis::seconds(120) }));
}

#[test]
fn counts_that_come_back_end_the_hold() {
    let mut sim = Sim::serving_v1();
    sim.plan.deadline = Millis::seconds(900);
    sim.deploy("v2");
    sim.until_weight(5);
    sim.until_phase("baking");
    sim.silent = true;
    sim.until(20, "a hold", held);
    let weight = sim.weight();
    sim.run(60_000);
    assert_eq!(sim.weight(), weight, "the weight is frozen");

    sim.silent = false;
    assert_eq!(sim.finish(), Outcome::Promoted);
}

#[test]
fn versions_of_which_neither_is_ready_hold_and_go_on() {
    let mut sim = Sim::serving_v1();
    sim.plan = blue_green();
    sim.plan.deadline = Millis::seconds(900);
    sim.deploy("v2");
    sim.until_phase("baking");
    sim.set_ready("v1", false);
    sim.set_ready("v2", false);

    sim.run(30_000);
    assert!(held(&sim), "{}", sim.tell());
    assert_eq!(sim.happened("return_started"), 0);

    sim.set_ready("v1", true);
    sim.run(5_000);
    assert!(held(&sim), "one comes back before the other: {}", sim.tell());
    assert_eq!(sim.happened("return_started"), 0);
    sim.set_ready("v2", true);
    assert_eq!(sim.finish(), Outcome::Promoted);
}

#[test]
fn a_fault_that_shows_in_the_candidate_before_it_shows_in_stable_is_not_blamed_on_it() {
    let mut sim = Sim::serving_v1();
    sim.plan = blue_green();
    sim.plan.deadline = Millis::seconds(900);
    sim.deploy("v2");
    sim.until_phase("baking");
    sim.set_faltering("v1", true);
    sim.set_ready("v2", false);

    sim.until(5, "a hold", held);
    assert_eq!(sim.happened("return_started"), 0);

    sim.set_ready("v1", false);
    sim.run(5_000);
    sim.set_ready("v1", true);
    sim.set_faltering("v1", false);
    sim.set_ready("v2", true);
    assert_eq!(sim.finish(), Outcome::Promoted);
}

#[test]
fn a_candidate_alone_that_fails_while_stable_is_not_well_is_held_and_goes_on() {
    let mut sim = Sim::serving_v1();
    sim.plan = blue_green();
    sim.plan.deadline = Millis::seconds(900);
    sim.deploy("v2");
    sim.until_phase("baking");
    sim.unwell = true;
    sim.scripts.errors.insert("v2".into(), 1.0);

    sim.until(3, "a hold", held);
    sim.run(30_000);
    assert!(held(&sim), "{}", sim.tell());
    assert_eq!(sim.happened("return_started"), 0);

    sim.unwell = false;
    sim.scripts.errors.remove("v2");
    assert_eq!(sim.finish(), Outcome::Promoted);
}

#[test]
fn a_hot_revision_that_falters_is_no_place_to_go() {
    let mut sim = Sim::serving_v2();
    sim.set_faltering("v1", true);
    sim.set_ready("v2", false);

    sim.run(5_000);
    assert_eq!(sim.happened("deployment_requested"), 2, "what fails both is not v2's fault");

    sim.set_faltering("v1", false);
    sim.until(10, "a return", |sim| sim.answering() == Some("v1"));
    sim.finish();
}

#[test]
fn a_hold_ends_with_a_return_at_the_deadline() {
    let mut sim = Sim::serving_v1();
    sim.deploy("v2");
    sim.until_phase("baking");
    sim.scripts.errors.insert("v1".into(), 0.7);
    sim.scripts.errors.insert("v2".into(), 0.7);

    assert_eq!(sim.finish(), Outcome::RolledBack);
    sim.settle();
}

#[test]
fn a_hot_revision_that_is_not_ready_is_no_place_to_go() {
    let mut sim = Sim::serving_v2();
    sim.set_ready("v1", false);
    sim.scripts.errors.insert("v2".into(), 1.0);
    sim.run(20_000);
    assert_eq!(sim.answering(), Some("v2"), "v1 would answer nobody");
    assert_eq!(sim.happened("deployment_requested"), 2, "and nothing is begun");

    sim.set_ready("v1", true);
    sim.until(10, "a return", |sim| sim.answering() == Some("v1"));
    sim.finish();
}

#[test]
fn a_candidate_that_does_not_get_its_share_is_held() {
    let mut sim = Sim::serving_v1();
    sim.plan.deadline = Millis::seconds(900);
    sim.plan.step_bake = Millis::seconds(30);
    sim.deploy("v2");
    sim.until_weight(25);
    sim.until_phase("baking");
    sim.misrouted = true;

    sim.until(40, "a hold", held);
    assert_eq!(sim.weight(), 25);
    sim.misrouted = false;
    assert_eq!(sim.finish(), Outcome::Promoted, "{}", sim.tell());
}
