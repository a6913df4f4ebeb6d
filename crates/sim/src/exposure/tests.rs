use super::*;
use crate::ours::Known;
use rollout::plan::Strategy;

fn canary() -> RolloutSettings {
    let weights = [5, 25, 100].map(|percent| Weight::new(percent).unwrap());
    RolloutSettings::with_bakes(Strategy::Canary, weights.into(), Millis::seconds(600), Millis::seconds(120))
}

fn cold(requests_per_second: f64) -> Service {
    let latency = Thresholds { boundaries: Boundaries::at([0; 4]), slow_rates: [0.0; 4] };
    let calibration = Calibration { latency: Some(latency), error_rate: 0.001, ..Calibration::default() };
    Service { requests_per_second, error_rate: 0.001, calibration }
}

fn predicted(service: &Service) -> Prediction {
    predict(&canary(), service, &Runner::new(2), 1)
}

#[test]
fn the_same_seed_predicts_the_same_whatever_the_threads() {
    let one = predict(&canary(), &cold(1000.0), &Runner::new(1), 3);
    let two = predict(&canary(), &cold(1000.0), &Runner::new(2), 3);

    assert_eq!(one.whole, two.whole);
    assert_eq!(one.healthy, two.healthy);
}

#[test]
fn total_failure_costs_what_was_measured() {
    let prediction = predicted(&cold(100.0));
    let total = prediction.whole[3];

    assert_eq!((total.failing, total.returned), (1.0, 1.0));
    assert!((2.0..=4.1).contains(&total.seconds.usual.unwrap()), "{total:?}");
    assert!((10.0..=25.0).contains(&total.bad.usual), "{total:?}");
    assert!(total.bad.worst >= total.bad.usual && total.bad.worst < 40.0, "{total:?}");
}

#[test]
fn more_weight_sees_less_and_costs_more() {
    let prediction = predicted(&cold(100.0));
    let [five, quarter, last] = &prediction.steps[..] else { panic!("three steps") };

    assert_eq!(last.weight.percent(), 95);
    assert!(five.smallest_visible > quarter.smallest_visible);
    assert!(five.smallest_visible_best < five.smallest_visible);
    assert!(five.exposures[3].bad.usual < last.exposures[3].bad.usual);
    assert!(prediction.healthy.unwrap().proven > 0.9);
}

#[test]
fn a_small_service_is_told_the_weight_and_the_bake_that_would_do() {
    let prediction = predicted(&cold(2.0));
    let first = &prediction.steps[0];
    let needed = first.too_small.unwrap();

    assert!(first.smallest_visible.is_none_or(|least| least > 0.05));
    assert!(needed.weight.is_none_or(|weight| weight.percent() > 5), "{needed:?}");
    assert!(needed.bake_seconds.unwrap() > 120.0);
    assert!(first.cold && first.seconds_until_safe.unwrap() > 360.0);
    assert!(first.exposures[0].returned < 0.5, "{:?}", first.exposures[0]);
    assert_eq!(first.exposures[0].seconds.usual, None);
}

#[test]
fn what_would_take_too_long_is_said_in_closed_form() {
    let long =
        RolloutSettings { step_bake: Millis::seconds(36_000), bake: Millis::seconds(36_000), ..canary() };
    let long = RolloutSettings { deadline: long.deadline_enough(), ..long };
    let prediction = predict(&long, &cold(2.0), &Runner::new(2), 1);
    let first = prediction.steps[0].exposures[0];

    assert_eq!((first.walks, prediction.healthy), (0, None));
    assert!(first.bad.worst >= first.bad.usual && first.bad.usual > 0.0, "{first:?}");
    assert!(prediction.whole[0].bad.worst > first.bad.worst);
}

#[test]
fn nobody_is_predicted_without_traffic() {
    let prediction = predicted(&cold(0.0));

    assert!(prediction.steps.iter().all(|step| step.smallest_visible.is_none()));
    assert!(prediction.whole.iter().all(|whole| whole.returned == 0.0 && whole.bad.worst == 0.0));
    assert_eq!(prediction.healthy.unwrap().unproven, 1.0);
}

#[test]
fn bursts_are_believed_where_the_calibration_has_seen_them() {
    let scene = Scene::steady(200.0, 0.05, 0.005, Mode::Bursts);
    let known = |scene: &Scene| Known::calibrated(&canary().judge, scene, 4, 1, 0).calibration;
    let service = |calibration| Service { requests_per_second: 200.0, error_rate: 0.005, calibration };
    let rollout = canary();
    let policy = policy_for(&rollout.judge);

    assert_eq!(service(known(&scene)).mode(&policy, &rollout), Mode::Bursts);
    let calm = Scene { mode: Mode::Independent, ..scene };
    assert_eq!(service(known(&calm)).mode(&policy, &rollout), Mode::Independent);
}
