use super::*;
use crate::traffic::Trace;
use rollout::names::Weight;
use rollout::plan::Strategy;
use std::sync::Arc;

fn canary() -> RolloutSettings {
    let weights = [5, 25, 100].map(|percent| Weight::new(percent).unwrap());
    RolloutSettings::with_bakes(Strategy::Canary, weights.into(), Millis::seconds(600), Millis::seconds(120))
}

fn trial(requests_per_second: f64) -> Trial {
    let load = Load::Steady(requests_per_second);
    Trial { load, error_rate: 0.001, mode: Mode::Independent, hours: 0, runs: 10, seed: 1 }
}

fn row(trial: &Trial, fault: Fault) -> Row {
    let rollout = canary();
    trial.row(&rollout, &trial.learn(&rollout), &("it".to_owned(), fault), &Runner::new(2))
}

#[test]
fn what_is_harmless_is_promoted_and_what_is_not_is_returned() {
    let well = row(&trial(300.0), Fault::Nothing);
    assert_eq!((well.harmless, well.returned, well.proven), (true, 0, 10));
    assert!(well.promoted_seconds.usual >= 360.0);

    let ill = row(&trial(300.0), Fault::Errors(0.2));
    assert_eq!((ill.harmless, ill.returned), (false, 10));
    assert!(ill.seconds.worst.unwrap() < 15.0 && ill.bad.worst >= ill.bad.usual, "{ill:?}");
}

#[test]
fn a_crash_is_counted_from_its_second() {
    let rollout = canary();
    let crash = releases(&rollout, 0.001).into_iter().find(|(name, _)| name.starts_with("crash")).unwrap();
    assert_eq!((crash.0.as_str(), crash.1), ("crash after 1m", Fault::Crash { second: 60 }));

    let row = row(&trial(300.0), crash.1);

    assert_eq!(row.returned, 10);
    assert!(row.seconds.worst.unwrap() < 10.0, "{row:?}");
}

#[test]
fn faults_a_stable_like_this_has_itself_are_not_tried() {
    let names: Vec<String> = releases(&canary(), 0.05).into_iter().map(|(name, _)| name).collect();

    assert!(!names.contains(&"5 % fail".to_owned()) && names.contains(&"10 % fail".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("leak")));
}

#[test]
fn every_run_begins_at_another_place_of_a_trace() {
    let rows: String =
        (0..60).map(|minute| format!("2026-01-01 00:{minute:02}:00,{}\n", minute * 60)).collect();
    let trace = Arc::new(Trace::parse(&format!("moment,requests\n{rows}")).unwrap());
    let load = Load::Recorded { trace, times: 1.0, from_second: 0 };
    let trial = Trial { load, ..trial(0.0) };

    let begins: Vec<f64> = (0..8).map(|number| trial.load_of(number).at(0)).collect();

    assert!(begins.iter().any(|rps| *rps != begins[0]), "{begins:?}");
    assert_eq!(row(&trial, Fault::Errors(1.0)), row(&trial, Fault::Errors(1.0)));
}

#[test]
fn no_hit_in_two_hundred_runs_is_under_one_and_a_half_percent() {
    assert!((at_most(0, 200) - 0.0133).abs() < 0.001);
    assert!((at_most(10, 10) - 1.0).abs() < 1e-12);
    assert!(at_most(0, 1) > 0.5);
}
