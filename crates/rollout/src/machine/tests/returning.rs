//! A release that is bad goes back by itself, whatever is bad about it, and leaves nothing behind.

use super::outside::Fate;
use super::sim::{Sim, blue_green};
use crate::event::{DeploymentKind, Event, Outcome, ReturnReason};
use crate::machine::{OperatorCommand, Phase};
use crate::names::Millis;

fn why(sim: &Sim) -> ReturnReason {
    let found = sim.journal.iter().rev().find_map(|entry| match &entry.event {
        Event::ReturnStarted { why } => Some(why.clone()),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("nothing went back:\n{}", sim.tell()))
}

/// How long users got bad answers, from the first event of this kind to the end of the deployment.
fn took(sim: &Sim, from: &str, to: &str) -> u64 {
    let at = |kind| sim.journal.iter().rev().find(|entry| entry.event.kind() == kind).map(|entry| entry.at);
    at(to).unwrap().since(at(from).unwrap()).0
}

#[test]
fn r05_a_bad_release_after_a_good_one_goes_back() {
    let mut sim = Sim::serving_v1();
    sim.scripts.errors.insert("v2".into(), 0.5);

    let outcome = sim.ship("v2");
    sim.settle();

    assert_eq!(outcome, Outcome::RolledBack);
    assert_eq!(why(&sim), ReturnReason::Worse);
    assert_eq!(sim.answering(), Some("v1"));
    assert_eq!(sim.running("v2"), 0);
    assert!(took(&sim, "traffic_shifted", "verdict_reached") <= 4_000, "{}", sim.tell());
}

#[test]
fn r05_a_good_release_after_a_bad_one_is_promoted() {
    let mut sim = Sim::serving_v1();
    sim.scripts.errors.insert("v1".into(), 0.6);

    let outcome = sim.ship("v2");

    assert_eq!(outcome, Outcome::Promoted, "{}", sim.tell());
    assert_eq!(sim.happened("held"), 0);
}

#[test]
fn r05_a_bad_release_after_a_bad_one_is_held_and_goes_back_at_the_deadline() {
    let mut sim = Sim::serving_v1();
    sim.scripts.errors.insert("v1".into(), 0.6);
    sim.scripts.errors.insert("v2".into(), 0.6);

    let outcome = sim.ship("v2");
    sim.settle();

    assert_eq!(outcome, Outcome::RolledBack);
    assert_eq!(why(&sim), ReturnReason::DeadlinePassed { after: Millis::seconds(120) });
    assert!(sim.happened("held") > 0);
    assert_eq!(sim.happened("verdict_reached"), 0);
}

#[test]
fn a_release_that_fails_everything_goes_back_although_stable_fails_a_little_too() {
    let mut sim = Sim::serving_v1();
    sim.scripts.errors.insert("v1".into(), 0.12);
    sim.scripts.errors.insert("v2".into(), 1.0);

    let outcome = sim.ship("v2");

    assert_eq!(outcome, Outcome::RolledBack);
    assert_eq!(why(&sim), ReturnReason::Worse);
}

#[test]
fn e22_a_release_that_turns_bad_after_the_switch_goes_back_by_itself() {
    let mut sim = Sim::serving_v1();
    sim.plan = blue_green();
    sim.deploy("v2");
    sim.until_phase("baking");
    sim.run(2_000);
    sim.scripts.errors.insert("v2".into(), 1.0);

    let outcome = sim.finish();
    sim.settle();

    assert_eq!(outcome, Outcome::RolledBack);
    assert_eq!(sim.answering(), Some("v1"));
    assert!(sim.bad_answers <= 600, "{} bad answers", sim.bad_answers);
}

#[test]
fn e22_a_release_that_turns_bad_while_its_predecessor_is_hot_is_flipped_back() {
    let mut sim = Sim::serving_v2();
    sim.run(5_000);
    let launched = sim.running("v1");
    sim.scripts.errors.insert("v2".into(), 0.5);

    sim.until(10, "a return", |sim| sim.answering() == Some("v1"));
    let outcome = sim.finish();
    sim.settle();

    assert_eq!(outcome, Outcome::Promoted);
    assert_eq!((launched, sim.running("v1"), sim.running("v2")), (2, 2, 0));
    let requested = sim.journal.iter().rev().find_map(|entry| match &entry.event {
        Event::DeploymentRequested(requested) => Some(requested.of),
        _ => None,
    });
    assert_eq!(requested, Some(DeploymentKind::Return));
    assert!(sim.state.hot.is_none(), "what was bad is not kept hot");
}

#[test]
fn e23_a_candidate_killed_after_the_switch_gives_the_traffic_back() {
    let mut sim = Sim::serving_v1();
    sim.plan = blue_green();
    sim.deploy("v2");
    sim.until_phase("baking");

    sim.kill("v2");
    sim.run(200);

    assert_eq!(sim.answering(), Some("v1"), "at once");
    assert_eq!(sim.finish(), Outcome::RolledBack);
    assert!(sim.happened("replica_lost") >= 2);
    sim.settle();
}

#[test]
fn e23_a_stable_revision_killed_while_its_predecessor_is_hot_is_flipped_back() {
    let mut sim = Sim::serving_v2();
    sim.scripts.fates.insert("v2".into(), Fate { ready_after: None, ..Fate::default() });

    sim.kill("v2");
    sim.run(300);

    assert_eq!(sim.answering(), Some("v1"), "although nothing of v2 is left\n{}", sim.tell());
    sim.finish();
    sim.settle();
}

#[test]
fn a_candidate_that_is_killed_while_it_is_promoted_gives_the_traffic_back() {
    let mut sim = Sim::serving_v1();
    sim.deploy("v2");
    sim.edge.proves = false;
    sim.until_phase("promoting");

    sim.kill("v2");
    sim.run(300);
    sim.edge.proves = true;

    assert_eq!(sim.answering(), Some("v1"), "{}", sim.tell());
    assert_eq!(sim.finish(), Outcome::RolledBack);
}

#[test]
fn hole_a_candidate_that_never_became_ready_leaves_nothing_behind() {
    let mut sim = Sim::serving_v1();
    sim.scripts.fates.insert("v2".into(), Fate { ready_after: None, ..Fate::default() });

    let outcome = sim.ship("v2");
    sim.settle();

    assert_eq!(outcome, Outcome::RolledBack);
    assert!(matches!(why(&sim), ReturnReason::NeverReady { .. }));
    assert_eq!(sim.running("v2"), 0);
    assert_eq!(sim.happened("candidate_removed"), 1);
}

#[test]
fn r23_a_launch_that_is_refused_leaves_stable_untouched() {
    let mut sim = Sim::serving_v1();
    sim.scripts.refused.insert("v2".into());

    let outcome = sim.ship("v2");
    sim.settle();

    assert_eq!(outcome, Outcome::RolledBack);
    assert!(matches!(why(&sim), ReturnReason::LaunchRefused { .. }));
}

#[test]
fn a_candidate_that_exits_again_and_again_is_a_crash_loop() {
    let mut sim = Sim::serving_v1();
    let fate = Fate { exits_after: Some(Millis(100)), ..Fate::default() };
    sim.scripts.fates.insert("v2".into(), fate);

    let outcome = sim.ship("v2");
    sim.settle();

    assert_eq!(outcome, Outcome::RolledBack);
    assert_eq!(why(&sim), ReturnReason::CrashLoop { exits: 2 });
}

#[test]
fn a_candidate_whose_liveness_fails_goes_back() {
    let mut sim = Sim::serving_v1();
    let fate = Fate { liveness_fails_after: Some(Millis::seconds(4)), ..Fate::default() };
    sim.scripts.fates.insert("v2".into(), fate);

    let outcome = sim.ship("v2");
    sim.settle();

    assert_eq!(outcome, Outcome::RolledBack);
    assert!(matches!(why(&sim), ReturnReason::LivenessFailing { .. }));
}

#[test]
fn a_candidate_that_is_not_ready_any_more_goes_back() {
    let mut sim = Sim::serving_v1();
    sim.deploy("v2");
    sim.until_weight(25);

    sim.set_ready("v2", false);

    assert_eq!(sim.finish(), Outcome::RolledBack);
    assert_eq!(why(&sim), ReturnReason::CandidateLost);
    sim.settle();
}

#[test]
fn r20_a_deployment_that_stands_still_goes_back_at_its_deadline() {
    let mut sim = Sim::serving_v1();
    sim.deploy("v2");
    sim.until_weight(5);
    sim.edge.lag = Millis::seconds(1_000);

    sim.until_phase("returning");
    sim.edge.lag = Millis(20);

    assert_eq!(why(&sim), ReturnReason::DeadlinePassed { after: Millis::seconds(120) });
}

#[test]
fn r20_with_the_edge_out_of_reach_the_end_is_said_to_be_unproven() {
    let mut sim = Sim::serving_v1();
    sim.deploy("v2");
    sim.until_weight(5);
    sim.edge.reachable = false;

    let outcome = sim.finish();
    assert_eq!(outcome, Outcome::UnprovenReturn);
    assert!(sim.running("v2") > 0, "what the edge may still route to is not stopped");

    sim.edge.reachable = true;
    sim.settle();
    assert_eq!(sim.running("v2"), 0);
}

#[test]
fn a_switch_that_the_edge_cannot_prove_goes_back() {
    let mut sim = Sim::serving_v1();
    sim.deploy("v2");
    sim.until_phase("promoting");
    sim.edge.proves = false;
    sim.until_phase("returning");
    sim.edge.proves = true;

    assert_eq!(sim.finish(), Outcome::RolledBack);
    assert!(matches!(why(&sim), ReturnReason::NotProven { .. }));
    sim.settle();
}

#[test]
fn an_old_proof_of_stable_does_not_prove_a_return() {
    let mut sim = Sim::serving_v1();
    sim.scripts.errors.insert("v2".into(), 1.0);
    sim.deploy("v2");
    sim.edge.proves = false;

    assert_eq!(sim.finish(), Outcome::UnprovenReturn, "{}", sim.tell());
}

#[test]
fn r20_a_first_release_that_fails_ends_unproven_and_is_withdrawn() {
    let mut sim = Sim::new();
    sim.deploy("v1");
    sim.edge.proves = false;
    sim.until_phase("promoting");

    sim.kill("v1");
    let outcome = sim.finish();
    sim.settle();

    assert_eq!(outcome, Outcome::UnprovenReturn);
    assert_eq!(sim.answering(), None);
}

#[test]
fn a_first_release_that_never_gets_ready_ends_unproven() {
    let mut sim = Sim::new();
    sim.scripts.fates.insert("v1".into(), Fate { ready_after: None, ..Fate::default() });

    assert_eq!(sim.ship("v1"), Outcome::UnprovenReturn);
    sim.settle();
}

#[test]
fn a_first_release_gets_all_requests_whatever_its_steps() {
    let mut sim = Sim::new();
    sim.deploy("v1");

    sim.until(30, "traffic", |sim| sim.edge.candidate().is_some());

    assert_eq!(sim.weight(), 100, "the rest would go nowhere");
}

#[test]
fn r15_r16_after_a_bad_release_the_next_good_one_is_promoted() {
    let mut sim = Sim::serving_v1();
    sim.scripts.errors.insert("v2".into(), 1.0);

    assert_eq!(sim.ship("v2"), Outcome::RolledBack);
    assert_eq!(sim.weight(), 0);
    assert_eq!(sim.ship("v3"), Outcome::Promoted);
    assert_eq!(sim.answering(), Some("v3"));
}

#[test]
fn a_table_on_its_way_when_the_return_begins_reaches_no_stopped_replica() {
    let mut sim = Sim::serving_v1();
    sim.edge.lag = Millis::seconds(3);
    sim.deploy("v2");
    sim.until(60, "the first weight on its way", |sim| {
        sim.edge
            .coming
            .as_ref()
            .is_some_and(|(_, _, table)| table.as_ref().is_some_and(|table| table.candidate.is_some()))
    });

    sim.command(OperatorCommand::Abort).unwrap();

    assert_eq!(sim.finish(), Outcome::Aborted);
    sim.settle();
    assert!(!matches!(sim.state.deployment.as_ref().map(|it| &it.phase), Some(Phase::Returning { .. })));
}

#[test]
fn stable_takes_the_traffic_back_only_when_it_can_carry_it_or_after_a_while() {
    let mut sim = Sim::serving_v1();
    sim.plan = blue_green();
    sim.scripts.fates.insert("v1".into(), Fate { ready_after: None, ..Fate::default() });
    sim.deploy("v2");
    sim.until_phase("baking");
    let one = sim.replicas.all.iter_mut().find(|(_, replica)| replica.release == "v1").unwrap();
    one.1.exited = Some(crate::change::Ended::Code(1));
    sim.run(300);

    sim.command(OperatorCommand::Abort).unwrap();
    sim.run(4_000);
    assert_eq!(sim.answering(), Some("v2"), "one of two replicas cannot carry it all");
    sim.run(2_000);
    assert_eq!(sim.answering(), Some("v1"), "waiting for ever would be worse");
    assert_eq!(sim.finish(), Outcome::Aborted);
}
