use super::*;
use crate::traffic::{Fault, Mode, Scene, Traffic};

/// Returns the seconds after which a rival takes the candidate back.
fn decided(rival: Rival, scene: Scene, seconds: u64) -> Option<u64> {
    let traffic = Traffic::new(scene);
    let mut decider = rival.decider(&traffic);
    let mut stream = traffic.stream(1, 1);
    (1..=seconds).find(|_| decider.rolls_back(stream.advance()))
}

fn scene(fault: Fault) -> Scene {
    Scene::steady(100.0, 0.05, 0.0, Mode::Independent).with(fault)
}

#[test]
fn a_release_that_fails_completely_is_found_when_each_rival_first_can() {
    let expected = [
        (Rival::HealthMonitor, Some(30)),
        (Rival::AlarmStatic, Some(120)),
        (Rival::AlarmTuned, Some(120)),
        (Rival::ArgoStep, Some(60)),
        (Rival::ArgoBackground, None),
        (Rival::Flagger, Some(360)),
        (Rival::KayentaOnce, Some(600)),
        (Rival::Sequential, Some(2)),
        (Rival::Oracle, Some(1)),
    ];

    for (rival, seconds) in expected {
        assert_eq!(decided(rival, scene(Fault::Errors(1.0)), 600), seconds, "{}", rival.name());
    }
    assert_eq!(decided(Rival::ArgoBackground, scene(Fault::Errors(1.0)), 1800), Some(1200));
}

#[test]
fn a_crash_in_the_middle_costs_each_its_whole_period() {
    let crash = || Scene::steady(1000.0, 0.5, 0.0, Mode::Independent).with(Fault::Crash { second: 180 });

    assert_eq!(decided(Rival::HealthMonitor, crash(), 600), Some(210));
    assert_eq!(decided(Rival::ArgoStep, crash(), 600), Some(240));
    assert_eq!(decided(Rival::AlarmStatic, crash(), 600), Some(300));
    assert_eq!(decided(Rival::Flagger, crash(), 600), Some(540));
    assert_eq!(decided(Rival::Oracle, crash(), 600), Some(181));
}

#[test]
fn without_requests_flagger_fails_and_argo_errs_and_an_alarm_is_silent() {
    let silent = || Scene { weight: 0.0, ..scene(Fault::Nothing) };

    assert_eq!(decided(Rival::Flagger, silent(), 600), Some(360));
    assert_eq!(decided(Rival::ArgoStep, silent(), 600), Some(300));
    assert_eq!(decided(Rival::AlarmStatic, silent(), 600), None);
    // No latency of the candidate at all: two metrics of three have no data.
    assert_eq!(decided(Rival::KayentaOnce, silent(), 600), Some(600));
}

#[test]
fn a_harmless_difference_is_taken_back_by_kayenta() {
    // The tolerance is a part of the difference: +2 % latency fails in the end.
    let slower = Scene::steady(1000.0, 0.5, 0.0, Mode::Independent).with(Fault::AllTimes(1.02));

    assert_eq!(decided(Rival::KayentaOnce, slower, 600), Some(600));
}

#[test]
fn error_rate_alone_never_moves_two_checks_of_the_monitor() {
    // Every fiftieth request fails: five times the limit, but the probe has to be one of them as well.
    let traffic = Traffic::new(scene(Fault::Errors(0.02)));
    let found = (0..50).filter(|&watch| {
        let mut decider = Rival::HealthMonitor.decider(&traffic);
        let mut stream = traffic.stream(2, watch);
        (0..600).any(|_| decider.rolls_back(stream.advance()))
    });

    assert!((5..30).contains(&found.count()));
}
