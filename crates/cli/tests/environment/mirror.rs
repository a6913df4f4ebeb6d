//! Shows a release that is tried with copies of requests before any user sees it.

use crate::harness::{Env, eventually, request};
use crate::load::{Load, nothing_was_lost};

const MIRRORED: &str = "strategy = \"canary\"\nsteps = [50, 100]\nstep_bake = \"1s\"\nbake = \"1s\"\nbake_max = \"2s\"\n\
                        keep_hot = \"0s\"\ndrain = \"2s\"\nmirror = { share = \"50%\", during = \"3s\" }";

fn serving() -> Env {
    let env = Env::clinic(MIRRORED);
    env.up().deploy_clinic("v1", &[], 0);
    env
}

#[test]
fn a_release_that_answers_copies_with_errors_is_held_and_no_user_has_seen_it() {
    let env = serving();
    let load = Load::on(&env);

    env.deploy(&["--detach", "--env-var", "CLINIC_VERSION=v2", "--env-var", "CLINIC_FAIL_PERCENT=100"], 0);

    let held = eventually("the rollout is held", 20, || {
        let service = env.service();
        service["waiting_for"].as_str().filter(|text| text.contains("copied requests")).map(str::to_owned)
    });
    load.goes_on(200);
    assert!(held.contains("otherwise than stable") && held.contains("medeclipse promote"), "{held}");
    assert_eq!(env.service()["phase"], "mirroring");
    assert!((0..50).all(|_| env.version() == "v1"));
    let api = env.status()["api"].as_str().unwrap().replace("http://", "").parse().unwrap();
    let metrics = request(api, "GET", "/metrics", &[], "").unwrap().body;
    let counted = |outcome: &str| {
        let start = format!(
            "medeclipse_mirrored_total{{target=\"web@local\",revision=\"2\",outcome=\"{outcome}\"}} "
        );
        let line = metrics.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_default();
        line.parse::<u64>().unwrap_or_default()
    };
    assert!(counted("status") >= 20, "{metrics}");

    env.ok(&["abort"]);

    env.until_phase("idle");
    nothing_was_lost(&load.end());
    assert_eq!(env.version(), "v1");
}

#[test]
fn a_release_that_answers_copies_as_stable_does_goes_on_to_its_first_step() {
    let env = serving();
    let load = Load::on(&env);

    env.deploy_clinic("v2", &[], 0);

    nothing_was_lost(&load.end());
    assert_eq!(env.version(), "v2");
    let passed = env.events().into_iter().find(|event| event["kind"] == "mirror_passed").unwrap();
    let count = |field: &str| passed["counts"][field].as_u64().unwrap();
    assert!(count("compared") > 50 && count("status") == 0, "{passed}");
    let kinds = env.kinds();
    let place = |kind: &str| kinds.iter().rposition(|each| each == kind).unwrap();
    assert!(place("candidate_verified") < place("mirror_passed"));
}
