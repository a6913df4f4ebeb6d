//! Runs `plan` and `simulate` as operators do: with an engine, without one, and with what they refuse.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "support/fake_engine.rs"]
mod fake_engine;
#[path = "support/place.rs"]
mod place;

use engine::api::wire::{ApiError, LatencyQuantile, TrafficView};
use fake_engine::Reply;
use place::{Place, paths};
use rollout::judge::calibration::{Calibration, History, ShareCalibration};
use rollout::judge::policy::{Pair, Pairs, Policy};
use rollout::names::{Revision, Target};
use serde_json::Value;

const CANARY: &str = "[service.web]\ncommand = [\"sleep\", \"60\"]\n[service.web.rollout]\n\
    strategy = \"canary\"\nsteps = [5, 25, 100]\nbake = \"10m\"\n";

fn canary() -> Place {
    let place = Place::new();
    place.manifest(CANARY);
    place
}

/// What an engine knows of a service that has been calibrated for these weights.
fn traffic(calibrated: &[f64]) -> TrafficView {
    let share = |weight: &f64| ShareCalibration {
        weight: *weight,
        hours: 30.0,
        pairs: Pairs::uniform(Pair { eta: 1.0, cap: 8.5 }),
        insensitive: Vec::new(),
        differing: Vec::new(),
    };
    let history = History {
        requests: 5_000_000,
        errors: 5000,
        errors_once: 5000,
        latencies: &[(200, 4_900_000), (280, 100_000)],
    };
    let known = Calibration::cold(&Policy::default(), history);
    TrafficView {
        target: Target::new("web", "local"),
        stable: Some(Revision(3)),
        requests_per_second: 400.0,
        seconds: 3600,
        error_rate: Some(0.001),
        latency: vec![
            LatencyQuantile { quantile: 0.5, ms: 12.34 },
            LatencyQuantile { quantile: 0.99, ms: 98.7 },
        ],
        hours: 30.0,
        cold: calibrated.is_empty(),
        calibration: Calibration { shares: calibrated.iter().map(share).collect(), hours: 30.0, ..known },
    }
}

#[test]
fn a_plan_of_a_thousand_requests_a_second_reads_like_this() {
    let ran = canary().run(&["plan", "--rps", "1000"]);

    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.out, include_str!("golden/plan.txt"));
    assert!(ran.out.lines().count() < 60);
}

#[test]
fn what_the_manual_shows_of_a_plan_is_what_it_prints() {
    let manual = include_str!("../../../docs/operations.md");
    let (_, shown) = manual.split_once("$ medeclipse plan web --rps 1000\n").unwrap();
    let golden: Vec<&str> = include_str!("golden/plan.txt").lines().collect();
    let shown: Vec<&str> = shown.lines().take_while(|line| *line != "```").collect();

    assert!(shown.len() > 8);
    assert!(shown.iter().all(|line| golden.contains(line)), "{shown:#?}");
}

#[test]
fn the_trace_the_manual_shows_is_read() {
    let manual = include_str!("../../../docs/operations.md");
    let (_, shown) = manual.split_once("```\nmoment,requests\n").unwrap();
    let (rows, _) = shown.split_once("```").unwrap();

    let trace = sim::traffic::Trace::parse(&format!("moment,requests\n{rows}")).unwrap();

    assert_eq!((trace.seconds(), trace.rps(0)), (120, 52.0));
}

#[test]
fn a_plan_asks_the_engine_for_the_weights_of_the_manifest_and_believes_what_it_says() {
    let place = canary();
    let engine = place.engine(|_| Reply::ok(&traffic(&[0.05, 0.25, 0.95])));

    let ran = place.run(&["plan", "web"]);

    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(paths(&engine), ["/v1/traffic/web@local?weights=5,25,95"]);
    let said = "traffic   the last hour: 400 requests/s, 0.1 % failing, p50 12 ms, p99 99 ms";
    assert!(ran.out.contains(said), "{}", ran.out);
    assert!(ran.out.contains("judge     calibrated on 30.0 h of stable's traffic"), "{}", ran.out);
    assert!(!ran.out.contains("cold"), "{}", ran.out);
}

#[test]
fn a_plan_without_a_calibration_says_cold_and_what_follows() {
    let place = canary();
    let _engine = place.engine(|_| Reply::ok(&traffic(&[])));

    let ran = place.run(&["plan"]);

    assert!(ran.out.contains("judge     cold: "), "{}", ran.out);
    assert!(ran.out.contains("small faults are found later"), "{}", ran.out);
}

#[test]
fn without_an_engine_a_plan_names_the_way_that_needs_none() {
    let ran = canary().run(&["plan"]);

    assert_eq!(ran.code, 7, "{}", ran.err);
    assert!(ran.err.contains("`medeclipse plan web --rps N`"), "{}", ran.err);
}

#[test]
fn a_first_release_is_compared_with_nothing() {
    let place = canary();
    let unknown = ApiError { error: "find the service web".into(), cause: None, next: None, exit: 2 };
    let _engine = place.engine(move |_| Reply::Json(400, serde_json::to_string(&unknown).unwrap()));

    let ran = place.run(&["plan"]);

    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("first release: nothing serves yet"), "{}", ran.out);
    assert!(ran.out.contains("  steps     5 %, 25 %, 100 %: watched 2m each, the last 10m"), "{}", ran.out);
}

#[test]
fn a_service_too_small_for_a_canary_is_told_so() {
    let ran = canary().run(&["plan", "--rps", "2", "--json"]);

    let told: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(told["traffic"]["source"], "assumed");
    let warnings = told["prediction"]["warnings"].as_array().unwrap();
    assert!(
        warnings[0].as_str().unwrap().starts_with("too little traffic: in 2m the step of 5 %"),
        "{warnings:?}"
    );
    assert!(told["prediction"]["steps"][0]["too_small"]["bake_seconds"].as_f64().unwrap() > 600.0);
    assert_eq!(told["prediction"]["steps"][0]["exposures"][0]["seconds_p50"], Value::Null);
}

#[test]
fn every_part_of_a_deploy_is_in_its_plan() {
    let place = Place::new();
    place.manifest(
        "[service.web]\ncommand = [\"sleep\", \"60\"]\n[service.web.rollout]\n\
         hooks = { before_deploy = [\"./migrate\"], after_deploy = [\"./tell\"] }\n\
         checks = [{ name = \"smoke\", url = \"/\", when = \"before\", deadline = \"5s\" }]\n",
    );
    let ran = place.run(&["plan", "--rps", "20"]);

    assert_eq!(ran.code, 0, "{}", ran.err);
    for part in [
        "  hook      before the deployment: ./migrate",
        "  hook      after the deployment: ./tell",
        "smoke (within 5s)",
        "at 100 % nothing is beside the release",
    ] {
        assert!(ran.out.contains(part), "{part} is missing:\n{}", ran.out);
    }
}

fn simulated(args: &[&str]) -> place::Ran {
    canary().run(&[&["simulate", "--hours", "0", "--runs", "4"], args].concat())
}

#[test]
fn a_simulation_is_the_same_for_the_same_seed_only() {
    let one = simulated(&["--rps", "300"]);

    assert_eq!(one.code, 0, "{}", one.err);
    assert!(one.out.lines().count() < 40, "{}", one.out);
    assert!(one.out.contains("the same release  0 of 4"), "{}", one.out);
    assert_eq!(one.out, simulated(&["--rps", "300"]).out);
    assert_ne!(one.out, simulated(&["--rps", "300", "--seed", "2"]).out);
}

#[test]
fn a_recorded_load_is_tried_and_told_to_programs() {
    let place = canary();
    let rows: String =
        (0..60).map(|minute| format!("2026-01-01 00:{minute:02}:00,{}\n", 6000 + minute)).collect();
    std::fs::write(place.0.path().join("load.csv"), format!("moment,requests\n{rows}")).unwrap();

    let ran =
        place.run(&["simulate", "--trace", "load.csv", "--bursts", "--hours", "0", "--runs", "3", "--json"]);

    let told: Value = serde_json::from_str(&ran.out).unwrap();
    assert!((told["traffic"]["requests_per_second"].as_f64().unwrap() - 100.5).abs() < 1.0, "{told}");
    assert_eq!(
        (told["traffic"]["trace"].as_str(), told["traffic"]["bursts"].as_bool()),
        (Some("load.csv"), Some(true))
    );
    let total = told["rows"].as_array().unwrap().iter().find(|row| row["release"] == "100 % fail").unwrap();
    assert_eq!((total["returned"].as_u64(), total["harmless"].as_bool()), (Some(3), Some(false)));
}

#[test]
fn what_cannot_be_simulated_is_refused_with_two() {
    let place = canary();
    std::fs::write(place.0.path().join("load.csv"), "moment,requests\n2026-01-01 00:00:00,5\nyesterday,7\n")
        .unwrap();

    let ran = place.run(&["simulate", "--trace", "load.csv"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.starts_with("error: cannot read the trace load.csv:3\ncause: "), "{}", ran.err);

    for args in [
        &["simulate"][..],
        &["simulate", "--rps", "0"],
        &["simulate", "--rps", "5", "--trace", "load.csv"],
        &["simulate", "--rps", "5", "--runs", "0"],
        &["simulate", "other", "--rps", "5"],
        &["plan", "--rps", "many"],
        &["plan", "--rps", "5", "--error-rate", "1"],
        &["plan", "other", "--rps", "5"],
    ] {
        assert_eq!(place.run(args).code, 2, "{args:?}");
    }
}

#[test]
fn a_simulation_that_is_interrupted_ends_at_once_and_says_how_far_it_came() {
    let place = canary();
    let running = place.start(&["simulate", "--rps", "300", "--hours", "0", "--runs", "100000"]);
    // It can be interrupted from the moment its handler is there; the kernel says so.
    let status = format!("/proc/{}/status", running.0.id());
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let caught = || {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let mask =
            text.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0").trim().to_owned();
        u64::from_str_radix(&mask, 16).unwrap_or(0) & 0b10 != 0
    };
    while !caught() {
        assert!(std::time::Instant::now() < until, "it never listened");
        std::thread::yield_now();
    }
    running.interrupt();

    let ran = running.end();

    assert_eq!(ran.code, 6, "{}", ran.err);
    assert!(ran.err.contains("cause: it was stopped after "), "{}", ran.err);
    assert_eq!(ran.out, "");
}
