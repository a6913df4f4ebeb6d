//! What it takes to be promoted: proof of safety, or time and honesty about what was not seen. And what named checks,
//! calibrations and findings do on the way.

use super::sim::{Sim, blue_green, canary};
use crate::event::{Event, Outcome, ReturnReason};
use crate::judge::Calibration;
use crate::judge::buckets::Boundaries;
use crate::judge::calibration::Thresholds;
use crate::names::{Millis, Weight};
use crate::plan::{Monitor, MonitorAsk, MonitorCheck, RolloutSettings, Unproven};

/// A canary over one step of half the traffic, watched for 20 to 60 seconds at the end.
fn patient() -> RolloutSettings {
    let mut plan = canary(&[50, 100]);
    plan.bake = Millis::seconds(20);
    plan.bake_max = Some(Millis::seconds(60));
    plan.deadline = Millis::seconds(600);
    plan
}

/// Promoted after how many seconds of the last bake, with what proof, on how many requests.
fn promoted(sim: &Sim) -> (u64, bool, u64) {
    let baked = sim.journal.iter().rev().find(|entry| entry.event.kind() == "traffic_shifted").unwrap().at;
    let found = sim.journal.iter().rev().find_map(|entry| match entry.event {
        Event::Promoted { proven, requests, .. } => Some((entry.at.since(baked).0 / 1000, proven, requests)),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("nothing was promoted:\n{}", sim.tell()))
}

/// Ships a second release to a service that gets so many requests a second from its last step on.
fn shipped(plan: RolloutSettings, per_second: u64) -> (Sim, Outcome) {
    let mut sim = Sim::serving_v1();
    sim.plan = plan;
    sim.deploy("v2");
    sim.requests_per_second = per_second;
    let outcome = sim.finish();
    (sim, outcome)
}

#[test]
fn o3_no_request_at_all_is_promoted_unproven_at_the_end_of_the_bake_with_its_sample_of_nothing() {
    let (sim, outcome) = shipped(RolloutSettings { bake_max: None, ..blue_green() }, 0);

    assert_eq!(outcome, Outcome::PromotedUnproven);
    assert_eq!(promoted(&sim), (10, false, 0));
    assert_eq!(sim.happened("bake_extended"), 0);
}

#[test]
fn o3_one_request_extends_the_bake_and_is_promoted_unproven() {
    let mut sim = Sim::serving_v1();
    sim.plan = RolloutSettings { bake_max: None, ..blue_green() };
    sim.deploy("v2");
    sim.requests_per_second = 1;
    sim.until_phase("baking");
    sim.run(1_000);
    sim.requests_per_second = 0;

    assert_eq!(sim.finish(), Outcome::PromotedUnproven);
    let (seconds, proven, requests) = promoted(&sim);
    assert_eq!((seconds, proven), (30, false));
    assert!((1..=2).contains(&requests), "{requests} requests");
    assert_eq!(sim.happened("bake_extended"), 1);
}

#[test]
fn o3_twenty_requests_without_an_error_exclude_a_gross_failure_and_are_promoted_after_a_longer_bake() {
    let mut sim = Sim::serving_v1();
    sim.plan = RolloutSettings { bake_max: None, ..blue_green() };
    sim.deploy("v2");
    sim.requests_per_second = 2;
    sim.until_phase("baking");
    sim.run(10_000);
    sim.requests_per_second = 0;

    assert_eq!(sim.finish(), Outcome::Promoted, "{}", sim.tell());
    let (seconds, proven, requests) = promoted(&sim);
    assert_eq!((seconds, proven), (30, true));
    assert!((20..=22).contains(&requests), "{requests} requests");
}

#[test]
fn o3_synthetic_requests_exclude_a_gross_failure_where_users_send_nothing_and_are_told_apart() {
    let mut sim = Sim::serving_v1();
    sim.plan = RolloutSettings { bake_max: None, ..blue_green() };
    sim.deploy("v2");
    (sim.requests_per_second, sim.probes) = (0, 1);

    assert_eq!(sim.finish(), Outcome::Promoted);
    let told = sim.journal.iter().rev().find_map(|entry| match entry.event {
        Event::Promoted { requests, probes, .. } => Some((requests, probes)),
        _ => None,
    });
    assert!(matches!(told, Some((0, 29..=31))), "{told:?}");
}

#[test]
fn what_is_not_proven_is_held_where_the_manifest_says_so_until_it_is() {
    let plan = RolloutSettings { unproven: Unproven::Hold, deadline: Millis::seconds(600), ..blue_green() };
    let mut sim = Sim::serving_v1();
    sim.plan = plan;
    sim.deploy("v2");
    sim.requests_per_second = 0;
    sim.until(60, "a hold", |sim| sim.happened("held") == 1);
    sim.run(60_000);
    assert_eq!(sim.happened("promoted"), 1, "{}", sim.tell());

    sim.requests_per_second = 20;
    assert_eq!(sim.finish(), Outcome::Promoted, "{}", sim.tell());
    assert_eq!((sim.happened("held"), sim.happened("hold_ended")), (1, 1));
}

#[test]
fn what_is_not_proven_goes_back_where_the_manifest_says_so() {
    let (sim, outcome) = shipped(RolloutSettings { unproven: Unproven::Return, ..blue_green() }, 0);

    assert_eq!(outcome, Outcome::RolledBack);
    let why = sim.journal.iter().find_map(|entry| match &entry.event {
        Event::ReturnStarted { why } => Some(why.clone()),
        _ => None,
    });
    assert_eq!(why, Some(ReturnReason::Unproven { requests: 0 }));
}

#[test]
fn a_candidate_proven_safe_need_not_wait_for_the_end_of_its_bake() {
    let mut plan = patient();
    plan.bake = Millis::seconds(40);
    plan.bake_min = Some(Millis::seconds(8));
    plan.hold_back = Weight::FIVE;
    let (sim, outcome) = shipped(plan, 2000);

    assert_eq!(outcome, Outcome::Promoted);
    let (seconds, proven, _) = promoted(&sim);
    assert!(proven && (8..=20).contains(&seconds), "{seconds} s\n{}", sim.tell());
}

#[test]
fn the_hold_back_stays_on_stable_for_the_last_bake_and_moves_with_the_promotion() {
    let mut sim = Sim::serving_v1();
    sim.plan = RolloutSettings { hold_back: Weight::FIVE, ..patient() };
    sim.deploy("v2");
    sim.until_weight(95);
    sim.until_phase("baking");
    assert_eq!(sim.weight(), 95);
    assert_eq!(sim.running("v2"), 2, "all replicas of full weight run before it");

    sim.until_phase("promoting");
    sim.until_weight(100);
    assert_eq!(sim.finish(), Outcome::Promoted);
}

#[test]
fn the_first_release_has_nothing_to_be_held_back_on() {
    let mut sim = Sim::new();
    sim.plan = RolloutSettings { hold_back: Weight::FIVE, ..patient() };

    assert_eq!(sim.ship("v1"), Outcome::Promoted);
    assert_eq!(sim.happened("traffic_shifted"), 1);
}

#[test]
fn a_look_at_one_percent_comes_before_the_first_step_where_it_is_asked_for() {
    let mut sim = Sim::serving_v1();
    sim.plan = patient();
    sim.plan.judge.first_look = Some(Millis::seconds(3));
    sim.deploy("v2");
    sim.until_weight(1);
    let began = sim.now;
    sim.until_weight(50);

    let took = sim.now.since(began).0;
    assert!((3_000..=4_000).contains(&took), "{took} ms");
    assert_eq!(sim.finish(), Outcome::Promoted);
}

#[test]
fn a_step_does_not_end_while_much_speaks_against_the_candidate() {
    let mut sim = Sim::serving_v1();
    sim.plan = canary(&[5, 25, 100]);
    sim.plan.step_bake = Millis::seconds(2);
    sim.plan.bake_max = Some(sim.plan.bake);
    sim.scripts.errors.insert("v2".into(), 0.3);

    assert_eq!(sim.ship("v2"), Outcome::RolledBack, "{}", sim.tell());
    let shifts = sim.happened("traffic_shifted");
    assert!(shifts <= 2, "{}", sim.tell());
}

#[test]
fn a_bake_does_not_end_in_the_second_in_which_the_candidate_begins_to_fail() {
    let mut sim = Sim::serving_v1();
    sim.plan = blue_green();
    sim.deploy("v2");
    sim.until_phase("baking");
    sim.run(8_500);
    sim.scripts.errors.insert("v2".into(), 1.0);

    assert_eq!(sim.finish(), Outcome::RolledBack, "{}", sim.tell());
}

#[test]
fn slower_answers_alone_take_a_candidate_back_once_there_are_thresholds() {
    let mut sim = Sim::serving_v1();
    sim.plan = RolloutSettings { hold_back: Weight::FIVE, ..patient() };
    sim.scripts.slowness.insert("v2".into(), 2.0);
    sim.deploy("v2");
    sim.calibrate(calibration());

    assert_eq!(sim.finish(), Outcome::RolledBack, "{}", sim.tell());
    let metric = sim.journal.iter().find_map(|entry| match &entry.event {
        Event::VerdictReached { evidence, .. } => Some(evidence.metric.clone()),
        _ => None,
    });
    assert!(metric.as_ref().is_some_and(|metric| metric.starts_with("latency p")), "{metric:?}");
}

#[test]
fn a_calibration_is_taken_once_and_thresholds_that_come_later_too() {
    let mut sim = Sim::serving_v1();
    sim.plan = patient();
    sim.deploy("v2");
    let blind = Calibration { latency: None, ..calibration() };

    for _ in 0..3 {
        sim.calibrate(blind.clone());
        sim.run(100);
    }
    for _ in 0..3 {
        sim.calibrate(calibration());
        sim.run(100);
    }

    assert_eq!(sim.happened("judge_calibrated"), 2);
}

#[test]
fn a_jump_of_404_on_the_candidate_alone_is_a_finding_and_takes_nothing_back() {
    let mut sim = Sim::serving_v1();
    sim.plan = patient();
    sim.scripts.not_found.insert("v2".into(), 0.2);

    assert_eq!(sim.ship("v2"), Outcome::Promoted, "{}", sim.tell());
    assert_eq!(sim.happened("finding_reported"), 1);
}

#[test]
fn answers_404_of_both_are_no_finding() {
    let mut sim = Sim::serving_v1();
    sim.plan = patient();
    sim.scripts.not_found.insert("v1".into(), 0.2);
    sim.scripts.not_found.insert("v2".into(), 0.2);

    assert_eq!(sim.ship("v2"), Outcome::Promoted);
    assert_eq!(sim.happened("finding_reported"), 0, "{}", sim.tell());
}

pub fn calibration() -> Calibration {
    Calibration {
        latency: Some(Thresholds {
            boundaries: Boundaries::at([200, 220, 260, 300]),
            slow_rates: [0.5, 0.1, 0.01, 0.001],
        }),
        error_rate: 0.001,
        error_rate_once: 0.001,
        ..Calibration::default()
    }
}

/// The strategy's four checks; `failing` of them at the same time take a release back.
pub fn monitor(failing: u32, failures: u32, attribute: bool) -> Monitor {
    let check =
        |name: &str, ask| MonitorCheck { name: name.to_owned(), ask, deadline: Millis::seconds(5), failures };
    Monitor {
        every: Millis::seconds(2),
        during: Some(Millis::seconds(600)),
        failing,
        attribute,
        checks: vec![
            check("database", MonitorAsk::Url("/api/health/database".to_owned())),
            check("redis", MonitorAsk::Url("/api/health/redis".to_owned())),
            check("api", MonitorAsk::Url("/api/health".to_owned())),
            check("error_rate", MonitorAsk::ErrorRate(0.05)),
        ],
    }
}

fn fails(sim: &mut Sim, check: &str, release: &str) {
    sim.scripts.failing_checks.insert((check.to_owned(), release.to_owned()));
}

fn watched(monitor: Monitor) -> Sim {
    let mut sim = Sim::serving_v1();
    sim.plan = RolloutSettings { monitor: Some(monitor), ..patient() };
    sim.deploy("v2");
    sim.until_phase("baking");
    sim
}

#[test]
fn r09_a_check_that_keeps_failing_on_the_candidate_alone_takes_it_back() {
    let mut sim = watched(monitor(1, 3, true));
    fails(&mut sim, "database", "v2");

    assert_eq!(sim.finish(), Outcome::RolledBack);
    let why = sim.journal.iter().find_map(|entry| match &entry.event {
        Event::VerdictReached { why, .. } => Some(why.to_string()),
        _ => None,
    });
    assert_eq!(why.as_deref(), Some("the candidate fails database"));
}

#[test]
fn r09_a_check_that_fails_now_and_then_takes_nothing_back() {
    let mut sim = watched(monitor(1, 3, true));
    for _ in 0..5 {
        fails(&mut sim, "database", "v2");
        sim.run(4_000);
        sim.scripts.failing_checks.clear();
        sim.run(2_000);
    }

    assert_eq!(sim.finish(), Outcome::Promoted, "{}", sim.tell());
}

#[test]
fn r09_an_inconclusive_check_is_neither_a_failure_nor_health() {
    let mut sim = watched(monitor(1, 3, true));
    sim.scripts.unasked_checks.insert("database".into());
    sim.run(10_000);
    assert_eq!((sim.happened("verdict_reached"), sim.happened("held")), (0, 0), "{}", sim.tell());

    sim.scripts.unasked_checks.clear();
    fails(&mut sim, "database", "v2");
    let before = sim.happened("checks_answered");
    sim.until(10, "the first failure", |sim| sim.happened("checks_answered") > before);
    sim.scripts.unasked_checks.insert("database".into());
    sim.run(4_000);
    assert_eq!(sim.happened("verdict_reached"), 0, "{}", sim.tell());

    sim.scripts.unasked_checks.clear();
    let before = sim.happened("checks_answered");
    assert_eq!(sim.finish(), Outcome::RolledBack, "{}", sim.tell());
    assert_eq!(sim.happened("checks_answered") - before, 2, "the first failure still counts");
}

#[test]
fn r09_of_several_checks_one_that_fails_is_enough_and_it_alone_is_named() {
    let mut sim = watched(monitor(1, 2, true));
    fails(&mut sim, "redis", "v2");

    assert_eq!(sim.finish(), Outcome::RolledBack);
    let why = sim.journal.iter().find_map(|entry| match &entry.event {
        Event::VerdictReached { why, .. } => Some(why.to_string()),
        _ => None,
    });
    assert_eq!(why.as_deref(), Some("the candidate fails redis"));
}

#[test]
fn o2_a_check_that_fails_on_both_is_held_and_not_blamed_on_the_release() {
    let mut sim = watched(monitor(1, 3, true));
    fails(&mut sim, "redis", "v1");
    fails(&mut sim, "redis", "v2");
    sim.run(30_000);
    assert_eq!((sim.happened("held"), sim.happened("verdict_reached")), (1, 0), "{}", sim.tell());

    sim.scripts.failing_checks.clear();
    assert_eq!(sim.finish(), Outcome::Promoted);
}

#[test]
fn the_strategys_rule_takes_back_at_two_of_four_and_not_at_one() {
    let mut sim = watched(monitor(2, 1, false));
    fails(&mut sim, "database", "v2");
    sim.run(8_000);
    assert_eq!(sim.happened("verdict_reached"), 0);

    fails(&mut sim, "redis", "v2");
    assert_eq!(sim.finish(), Outcome::RolledBack);
}

#[test]
fn the_strategys_rule_as_it_stands_blames_the_release_for_what_both_lack() {
    let mut sim = watched(monitor(2, 1, false));
    for check in ["database", "redis"] {
        fails(&mut sim, check, "v1");
        fails(&mut sim, check, "v2");
    }

    assert_eq!(sim.finish(), Outcome::RolledBack, "its defect, kept for who asks for it");
}

#[test]
fn the_named_error_rate_is_that_of_the_last_minute() {
    let mut sim = watched(Monitor { failing: 1, ..monitor(1, 2, true) });
    sim.plan.judge.error_margin = 10.0;
    sim.scripts.errors.insert("v2".into(), 0.2);

    assert_eq!(sim.finish(), Outcome::RolledBack);
}
