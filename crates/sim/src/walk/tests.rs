use super::*;
use crate::ours::Known;
use crate::traffic::{Mode, Scene};
use rollout::plan::{Strategy, Unproven};

fn canary() -> RolloutSettings {
    let weights = [5, 25, 100].map(|percent| Weight::new(percent).unwrap());
    RolloutSettings::with_bakes(Strategy::Canary, weights.into(), Millis::seconds(600), Millis::seconds(120))
}

fn scene(rps: f64, fault: Fault) -> Scene {
    Scene::steady(rps, 0.05, 0.001, Mode::Independent).with(fault)
}

/// Walks it so many times after a cold start.
fn walks(rollout: &RolloutSettings, scene: Scene, count: u64) -> Vec<Course> {
    let known = Known::cold(&rollout.judge, &scene, 1, 0);
    let path = Path::new(rollout, &known.calibration);
    let traffic = Traffic::new(scene);
    Runner::new(2).run(count, |number| path.walk(&traffic, 1, number))
}

#[test]
fn a_healthy_release_is_promoted_and_proven() {
    for course in walks(&canary(), scene(300.0, Fault::Nothing), 20) {
        assert_eq!(course.end, End::Promoted { proven: true });
        // Three bakes, none shorter than two minutes.
        assert!((360..1000).contains(&course.seconds), "{}", course.seconds);
        assert_eq!(course.weight, Weight::new(95).unwrap());
    }
}

#[test]
fn total_failure_ends_in_the_first_step_within_the_seconds_that_were_measured() {
    for course in walks(&canary(), scene(100.0, Fault::Errors(1.0)), 40) {
        assert_eq!(course.end, End::Returned(ReturnReason::Worse));
        assert!((2..=6).contains(&course.seconds), "{}", course.seconds);
        assert!(course.harmed <= 50.0, "{}", course.harmed);
        assert_eq!(course.weight, Weight::FIVE);
    }
}

#[test]
fn the_same_number_walks_the_same_way_whoever_else_walks() {
    let crash = scene(50.0, Fault::Crash { second: 100 });
    let together = walks(&canary(), crash.clone(), 6);
    let fewer = walks(&canary(), crash, 3);

    assert_eq!(together[..3], fewer[..]);
    assert!(together.iter().all(|course| (101..130).contains(&course.seconds)), "{together:?}");
}

#[test]
fn doubt_extends_and_what_is_unproven_ends_as_the_settings_say() {
    // Fewer than fourteen requests in half an hour: nothing can be known.
    let nobody = |unproven| RolloutSettings { unproven, ..canary() };
    let thin = scene(0.002, Fault::Nothing);

    for course in walks(&nobody(Unproven::Promote), thin.clone(), 5) {
        assert_eq!(course.end, End::Promoted { proven: false });
    }
    for course in walks(&nobody(Unproven::Return), thin, 5) {
        assert!(matches!(course.end, End::Returned(ReturnReason::Unproven { .. })), "{course:?}");
    }
}

#[test]
fn synthetic_requests_exclude_a_gross_failure_where_users_send_too_little() {
    let mut rollout = canary();
    rollout.judge.probes = Some(rollout::plan::Probes { path: "/".to_owned(), every: Millis::seconds(5) });

    let courses = walks(&rollout, scene(0.2, Fault::Nothing), 10);

    assert!(courses.iter().all(|course| course.end == End::Promoted { proven: true }), "{courses:?}");
}

#[test]
fn one_step_is_walked_alone() {
    let rollout = canary();
    let known = Known::cold(&rollout.judge, &scene(50.0, Fault::Nothing), 1, 0);
    let second = Path::new(&rollout, &known.calibration).step(1);

    let well = second.walk(&Traffic::new(scene(200.0, Fault::Nothing)), 1, 0);
    assert_eq!((well.end, well.weight), (End::Passed, Weight::new(25).unwrap()));
    assert!((120..=360).contains(&well.seconds));

    let ill = second.walk(&Traffic::new(scene(200.0, Fault::Errors(0.2))), 1, 0);
    assert_eq!(ill.end, End::Returned(ReturnReason::Worse));
    assert!(ill.seconds < 20);
}

#[test]
fn a_look_is_the_first_step() {
    let mut rollout = canary();
    rollout.judge.first_look = Some(Millis::seconds(10));
    assert_eq!(with_look(&rollout).steps[0], Weight::ONE);

    let course = &walks(&rollout, scene(3000.0, Fault::Errors(1.0)), 1)[0];

    assert_eq!((course.weight, course.end.clone()), (Weight::ONE, End::Returned(ReturnReason::Worse)));
}
