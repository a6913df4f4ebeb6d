//! A release that is good reaches everybody, step by step; its predecessor stays hot for a while.

use super::outside::TaskFate;
use super::sim::{Sim, blue_green};
use crate::change::Ended;
use crate::event::{Event, Outcome};
use crate::machine::OperatorCommand;
use crate::names::Millis;
use crate::plan::{Ask, Check, Hooks, When};

fn check(name: &str, when: When) -> Check {
    Check {
        name: name.to_owned(),
        when,
        deadline: Millis::seconds(30),
        ask: Ask::Command(vec!["./ask.sh".to_owned()]),
    }
}

fn weights(sim: &Sim) -> Vec<u8> {
    let shifts = sim.journal.iter().filter_map(|entry| match entry.event {
        Event::TrafficShifted { weight, .. } => Some(weight.percent()),
        _ => None,
    });
    shifts.collect()
}

fn reason(sim: &Sim) -> String {
    let ended = sim.journal.iter().rev().find_map(|entry| match &entry.event {
        Event::DeploymentFinished { reason, .. } => reason.clone(),
        _ => None,
    });
    ended.unwrap()
}

#[test]
fn a_first_release_is_promoted_at_once() {
    let mut sim = Sim::new();

    let outcome = sim.ship("v1");
    sim.settle();

    assert_eq!(outcome, Outcome::Promoted);
    assert_eq!(sim.answering(), Some("v1"));
    assert!(sim.now.0 < 1_010_000, "it waits for no bake");
    assert_eq!(reason(&sim), "it is the first release; there was none to compare it with");
}

#[test]
fn a_good_release_walks_all_steps_and_is_promoted() {
    let mut sim = Sim::serving_v1();
    let before = sim.journal.len();

    let outcome = sim.ship("v2");

    let kinds: Vec<_> =
        sim.kinds()[before..].iter().copied().filter(|kind| *kind != "evidence_added").collect();
    assert_eq!(outcome, Outcome::Promoted);
    assert_eq!(sim.answering(), Some("v2"));
    assert_eq!(sim.bad_answers, 0);
    assert_eq!(weights(&sim)[1..], [5, 25, 100]);
    let expected = [
        "deployment_requested",
        "release_stored",
        "candidate_launched",
        "candidate_ready",
        "candidate_verified",
        "traffic_shifted",
        "bake_passed",
        "traffic_shifted",
        "bake_passed",
        "traffic_shifted",
        "promoted",
        "deployment_finished",
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn blue_green_is_one_step_of_everything() {
    let mut sim = Sim::serving_v1();
    sim.plan = blue_green();

    let outcome = sim.ship("v2");

    assert_eq!(outcome, Outcome::Promoted);
    assert_eq!(weights(&sim), [100, 100]);
}

#[test]
fn a_release_nobody_asked_anything_of_is_promoted_unproven() {
    let mut sim = Sim::serving_v1();
    sim.requests_per_second = 0;

    let outcome = sim.ship("v2");

    assert_eq!(outcome, Outcome::PromotedUnproven);
    assert_eq!(reason(&sim), "too little was seen to call it as good as the release before");
}

#[test]
fn r01_a_check_before_traffic_that_fails_keeps_all_traffic_on_stable() {
    let mut sim = Sim::serving_v1();
    sim.plan.checks = vec![check("smoke", When::Before)];
    sim.scripts.tasks.insert("smoke".into(), TaskFate { ended: Ended::Code(1), ..TaskFate::default() });

    let outcome = sim.ship("v2");
    sim.settle();

    assert_eq!(outcome, Outcome::RolledBack);
    assert_eq!(weights(&sim), [100], "only v1 ever got requests");
    assert_eq!(sim.happened("check_ran"), 1);

    sim.scripts.tasks.clear();
    assert_eq!(sim.ship("v2"), Outcome::Promoted, "after a fix the same release may be tried again");
}

#[test]
fn r02_a_check_after_the_last_step_that_fails_brings_stable_back() {
    let mut sim = Sim::serving_v1();
    sim.plan.checks = vec![check("smoke", When::After)];
    sim.scripts.tasks.insert("smoke".into(), TaskFate { ended: Ended::TimedOut, ..TaskFate::default() });

    let outcome = sim.ship("v2");
    sim.settle();

    assert_eq!(outcome, Outcome::RolledBack);
    assert_eq!(weights(&sim), [100, 5, 25, 100]);
    assert_eq!(sim.answering(), Some("v1"));
}

#[test]
fn a_check_that_takes_longer_than_the_bake_is_waited_for() {
    let mut sim = Sim::serving_v1();
    sim.plan.checks = vec![check("smoke", When::After)];
    sim.scripts.tasks.insert("smoke".into(), TaskFate { after: Millis::seconds(20), ended: Ended::Code(0) });

    assert_eq!(sim.ship("v2"), Outcome::Promoted);
    assert_eq!(sim.happened("check_ran"), 1);
}

#[test]
fn a_check_by_url_is_asked_of_the_candidate() {
    let mut sim = Sim::serving_v1();
    let ask = Ask::Url("/api/health/deep".to_owned());
    sim.plan.checks = vec![Check { ask, ..check("deep", When::Before) }];

    assert_eq!(sim.ship("v2"), Outcome::Promoted);
    assert_eq!(sim.happened("check_ran"), 1);
}

#[test]
fn r03_after_an_abort_a_new_release_deploys_normally() {
    let mut sim = Sim::serving_v1();
    sim.deploy("v2");
    sim.until_weight(25);
    sim.command(OperatorCommand::Abort).unwrap();

    assert_eq!(sim.finish(), Outcome::Aborted);
    assert_eq!(sim.ship("v3"), Outcome::Promoted);
    sim.settle();
}

#[test]
fn r06_a_candidate_of_fewer_replicas_grows_before_it_gets_everything() {
    let mut sim = Sim::serving_v1();
    sim.command(OperatorCommand::Scale { replicas: Some(4) }).unwrap();
    sim.run(2_000);
    sim.plan = blue_green();
    sim.plan.candidate_replicas = Some(1);
    sim.deploy("v2");

    sim.until(10, "a replica", |sim| sim.running("v2") > 0);
    assert_eq!(sim.running("v2"), 1);
    sim.until_weight(100);
    assert_eq!(sim.running("v2"), 4);
    assert_eq!(sim.finish(), Outcome::Promoted);
}

#[test]
fn r06_a_candidate_grows_also_when_an_operator_skips_the_rest() {
    let mut sim = Sim::serving_v1();
    sim.command(OperatorCommand::Scale { replicas: Some(4) }).unwrap();
    sim.run(2_000);
    sim.plan.candidate_replicas = Some(1);
    sim.deploy("v2");
    sim.until_phase("baking");
    assert_eq!(sim.running("v2"), 1);

    sim.command(OperatorCommand::Promote { now: true }).unwrap();

    assert!(matches!(sim.finish(), Outcome::Promoted | Outcome::PromotedUnproven));
    assert_eq!(weights(&sim)[1..], [5, 100]);
    assert_eq!(sim.running("v2"), 4);
}

#[test]
fn r07_the_old_revision_is_kept_hot_for_its_time_and_then_retired() {
    let mut sim = Sim::serving_v2();
    let finished = sim.now;

    sim.run(59_000);
    assert_eq!(sim.running("v1"), 2);
    sim.run(10_000);

    assert_eq!(sim.running("v1"), 0);
    assert_eq!(sim.happened("revision_retired"), 1);
    let retired = sim.journal.iter().find(|entry| entry.event.kind() == "revision_retired").unwrap();
    assert!(retired.at.since(finished) >= Millis::seconds(59));
    sim.settle();
}

#[test]
fn r07_a_newer_deployment_retires_what_is_hot() {
    let mut sim = Sim::serving_v2();

    sim.deploy("v3");
    sim.run(4_000);

    assert_eq!(sim.running("v1"), 0);
    assert_eq!(sim.finish(), Outcome::Promoted);
    assert_eq!(sim.running("v2"), 2, "v2 is hot now");
}

#[test]
fn r07_a_rollout_that_keeps_nothing_hot_drains_its_predecessor_at_once() {
    let mut sim = Sim::serving_v1();
    sim.plan.keep_hot = Millis(0);

    sim.ship("v2");
    sim.settle();

    assert_eq!((sim.running("v1"), sim.running("v2")), (0, 2));
}

#[test]
fn r24_hooks_and_the_migration_run_in_order_and_only_once() {
    let mut sim = Sim::serving_v1();
    sim.plan.hooks =
        Hooks { before_deploy: vec!["./before.sh".to_owned()], after_deploy: vec!["./after.sh".to_owned()] };
    sim.plan.checks = vec![check("smoke", When::Before), check("look", When::After)];
    sim.expand = vec!["./migrate".to_owned()];

    assert_eq!(sim.ship("v2"), Outcome::Promoted);

    assert_eq!(
        sim.tasks.order,
        ["d-2/before_deploy", "d-2/expand", "d-2/smoke", "d-2/look", "d-2/after_deploy"]
    );
    assert_eq!((sim.happened("hook_ran"), sim.happened("migration_expanded")), (2, 1));
}

#[test]
fn a_migration_that_fails_launches_nothing() {
    let mut sim = Sim::serving_v1();
    sim.expand = vec!["./migrate".to_owned()];
    sim.scripts.tasks.insert("expand".into(), TaskFate { ended: Ended::Code(3), ..TaskFate::default() });

    let outcome = sim.ship("v2");

    assert_eq!(outcome, Outcome::RolledBack);
    assert_eq!(reason(&sim), "expand failed: exit code 3");
    assert_eq!(sim.happened("candidate_launched"), 1, "that of v1");
}

#[test]
fn a_hook_before_that_fails_ends_the_deployment_before_the_migration() {
    let mut sim = Sim::serving_v1();
    sim.expand = vec!["./migrate".to_owned()];
    sim.plan.hooks.before_deploy = vec!["./before.sh".to_owned()];
    sim.scripts
        .tasks
        .insert("before_deploy".into(), TaskFate { ended: Ended::Signal(9), ..TaskFate::default() });

    assert_eq!(sim.ship("v2"), Outcome::RolledBack);
    assert_eq!(sim.tasks.order, ["d-2/before_deploy"]);
}

#[test]
fn a_hook_after_that_takes_long_or_fails_does_not_take_the_release_back() {
    let mut sim = Sim::serving_v1();
    sim.plan.hooks.after_deploy = vec!["./after.sh".to_owned()];
    let fate = TaskFate { after: Millis::seconds(200), ended: Ended::Code(1) };
    sim.scripts.tasks.insert("after_deploy".into(), fate);
    sim.deploy("v2");
    sim.until_phase("promoting");
    sim.run(199_000);
    sim.edge.reachable = false;
    sim.run(3_000);
    sim.edge.reachable = true;

    assert_eq!(sim.finish(), Outcome::Promoted, "{}", sim.tell());
}

#[test]
fn a_release_that_turns_bad_while_the_hook_after_runs_goes_back() {
    let mut sim = Sim::serving_v1();
    sim.plan.hooks.after_deploy = vec!["./after.sh".to_owned()];
    let fate = TaskFate { after: Millis::seconds(200), ended: Ended::Code(0) };
    sim.scripts.tasks.insert("after_deploy".into(), fate);
    sim.deploy("v2");
    sim.until_phase("promoting");
    sim.scripts.errors.insert("v2".into(), 1.0);

    assert_eq!(sim.finish(), Outcome::RolledBack);
    sim.settle();
}

#[test]
fn r16_deploying_the_release_that_serves_changes_nothing() {
    let mut sim = Sim::serving_v1();
    let launched = sim.replicas.all.clone();

    let outcome = sim.ship("v1");
    sim.run(1_000);

    assert_eq!(outcome, Outcome::Unchanged);
    assert_eq!(launched.len(), sim.replicas.all.len());
    assert_eq!(weights(&sim), [100]);
    sim.settle();
}

#[test]
fn r16_rolling_back_to_the_release_that_serves_changes_nothing() {
    let mut sim = Sim::serving_v2();

    sim.roll_back(Some("v2")).unwrap();

    assert_eq!(sim.finish(), Outcome::Unchanged);
    assert_eq!(sim.running("v1"), 2, "v1 stays hot");
}

#[test]
fn r16_deploying_the_release_that_serves_leaves_the_hot_one_alone() {
    let mut sim = Sim::serving_v2();

    assert_eq!(sim.ship("v2"), Outcome::Unchanged);

    assert_eq!(sim.happened("revision_retired"), 0);
}

#[test]
fn r12_a_deployment_whose_settings_have_no_step_gets_one() {
    let mut sim = Sim::serving_v1();
    sim.plan.steps.clear();

    assert_eq!(sim.ship("v2"), Outcome::Promoted);
}

#[test]
fn r13_settings_and_a_deployment_at_the_same_time_both_happen() {
    let mut sim = Sim::serving_v1();
    let mut settings = sim.state.settings.clone();
    settings.replicas.min = 3;
    settings.hosts = vec!["clinic.example".to_owned()];

    sim.command(OperatorCommand::Settings(settings)).unwrap();
    sim.deploy("v2");
    sim.run(1_000);

    assert_eq!(sim.running("v1"), 3);
    assert_eq!(sim.finish(), Outcome::Promoted);
    assert_eq!(sim.running("v2"), 3);
    assert_eq!(sim.edge.table.as_ref().unwrap().hosts, ["clinic.example"]);
}
