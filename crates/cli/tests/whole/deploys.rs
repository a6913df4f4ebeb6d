//! Deploys good and bad releases and looks who serves, what is said, and how the command ends.

use crate::UNWATCHED;
use crate::harness::{Env, eventually};
use crate::traffic::Traffic;

/// Lines of a canary under traffic that ends within seconds.
const CANARY: &str = "strategy = \"canary\"\nsteps = [50, 100]\nstep_bake = \"2s\"\nbake = \"2s\"\ndrain = \"2s\"\nkeep_hot = \"60s\"";

/// Returns an environment in which v1 serves.
fn with_v1(rollout: &str) -> Env {
    let env = Env::clinic(rollout);
    env.up().deploy_clinic("v1", &[], 0);
    env
}

fn failing_at_once(env: &Env) {
    env.edit("start = \"20s\"", "start = \"2s\"");
}

#[test]
fn e02_a_deploy_becomes_active_and_the_next_one_replaces_it() {
    let env = Env::clinic(UNWATCHED);
    env.up();
    assert_eq!(env.get("/api/health").status, 503);

    let first = env.deploy_clinic("v1", &[], 0);
    assert!(first.out.contains("(v1)") && first.out.contains("proven by replica"), "{}", first.out);
    assert_eq!(env.version(), "v1");

    env.deploy_clinic("v2", &[], 0);
    assert_eq!(env.version(), "v2");
    let service = env.service();
    assert_eq!(service["stable"]["label"], "v2");
    assert_eq!(service["hot"]["label"], "v1");
    assert_eq!(service["phase"], "idle");
}

#[test]
fn e03_a_candidate_that_is_never_ready_ends_with_4_and_stable_is_untouched() {
    let env = with_v1(UNWATCHED);
    let before = env.replicas_of("v1");
    failing_at_once(&env);

    let failed = env.deploy_clinic("v2", &["CLINIC_NEVER_READY=1"], 4);

    assert!(failed.err.contains("error: cannot promote"), "{}", failed.err);
    assert!(failed.err.contains("not ready within 2"), "{}", failed.err);
    assert!(failed.err.contains("next:"), "{}", failed.err);
    assert_eq!(env.version(), "v1");
    assert_eq!(env.replicas_of("v1"), before);
    eventually("the candidate is removed", 10, || Some(()).filter(|()| env.replicas_of("v2").is_empty()));
}

#[test]
fn e03_a_first_deploy_that_is_never_ready_ends_with_5_and_nothing_serves() {
    let env = Env::clinic(UNWATCHED);
    failing_at_once(&env);

    let failed = env.up().deploy_clinic("v1", &["CLINIC_NEVER_READY=1"], 5);

    assert!(failed.err.contains("nothing served before it"), "{}", failed.err);
    assert_eq!(env.get("/api/health").status, 503);
    eventually("the candidate is removed", 10, || Some(()).filter(|()| env.replicas_of("v1").is_empty()));
    env.edit("start = \"2s\"", "start = \"20s\"");
    env.deploy_clinic("v2", &[], 0);
    assert_eq!(env.version(), "v2");
}

#[test]
fn r01_a_failed_check_before_traffic_stays_on_stable_and_a_repaired_one_promotes() {
    let env = with_v1(UNWATCHED);
    env.edit(
        "[environment.local]",
        "[[service.web.rollout.checks]]\nname = \"smoke\"\ncommand = [\"./smoke.sh\"]\n[environment.local]",
    );
    env.write_program("smoke.sh", "#!/bin/sh\necho \"the page is empty\"\nexit 9\n");

    let failed = env.deploy_clinic("v2", &[], 4);
    assert!(failed.err.contains("smoke failed: exit code 9"), "{}", failed.err);
    assert!(failed.err.contains("the page is empty"), "{}", failed.err);
    assert_eq!(env.version(), "v1");
    let shifts = env.kinds().iter().filter(|kind| *kind == "traffic_shifted").count();
    assert_eq!(shifts, 1, "the candidate got no request: the one shift is that of v1");

    let asks = "#!/usr/bin/python3\nimport os, sys, urllib.request\n\
        answer = urllib.request.urlopen(os.environ['MEDECLIPSE_CANDIDATE_URL'] + '/api/health')\n\
        sys.exit(0 if answer.headers['x-clinic-version'] == 'v2' else 1)\n";
    env.write_program("smoke.sh", asks);
    env.deploy_clinic("v2", &[], 0);
    assert_eq!(env.version(), "v2");
}

#[test]
fn r02_a_failed_check_after_the_last_step_brings_traffic_back() {
    let env = with_v1(UNWATCHED);
    env.edit(
        "[environment.local]",
        "[[service.web.rollout.checks]]\nname = \"after\"\nurl = \"/no/such/page\"\nwhen = \"after\"\n[environment.local]",
    );

    let failed = env.deploy_clinic("v2", &[], 4);

    assert!(failed.err.contains("GET /no/such/page was answered 404"), "{}", failed.err);
    assert_eq!(env.version(), "v1");
    let kinds = env.kinds();
    let shifted = kinds.iter().rposition(|kind| kind == "traffic_shifted");
    let returned = kinds.iter().rposition(|kind| kind == "traffic_returned");
    assert!(shifted.is_some() && returned > shifted, "{kinds:?}");
}

#[test]
fn r03_after_an_abort_a_new_release_deploys_as_ever() {
    let env = with_v1("bake = \"60s\"\ndrain = \"2s\"");
    let follower = env.start(&["deploy", "--version", "v2", "--env-var", "CLINIC_VERSION=v2"]);
    env.wait_for_phase("baking");
    assert_eq!(env.version(), "v2");

    let aborted = env.ok(&["abort"]);
    assert!(aborted.out.contains("aborted"), "{}", aborted.out);
    assert_eq!(follower.end(10).code, 6);
    assert_eq!(env.version(), "v1");

    env.edit("bake = \"60s\"", "bake = \"0s\"");
    env.deploy_clinic("v3", &[], 0);
    assert_eq!(env.version(), "v3");
    // Without requests the second promotion is an unproven one.
    assert_eq!(env.outcomes(), ["promoted", "aborted", "promoted_unproven"]);
}

#[test]
fn r04_the_deadline_ends_a_deployment_that_does_not_get_on() {
    let env = with_v1("bake = \"1s\"\ndeadline = \"3s\"");

    let failed = env.deploy_clinic("v2", &["CLINIC_NEVER_READY=1"], 4);

    assert!(failed.err.contains("within its deadline of 3s"), "{}", failed.err);
    assert_eq!(env.version(), "v1");
}

#[test]
fn r04_a_paused_deployment_does_not_hit_the_deadline() {
    let env = with_v1("bake = \"2s\"\ndeadline = \"6s\"");
    let follower = env.start(&["deploy", "--version", "v2", "--env-var", "CLINIC_VERSION=v2"]);
    env.wait_for_phase("baking");
    env.ok(&["pause"]);
    let paused = std::time::Instant::now();

    // Longer than the whole deadline: the clock that counts it must stand still.
    eventually("the deadline has passed on the wall", 10, || {
        let service = env.service();
        assert_eq!(service["paused"], true, "{service}");
        assert_eq!(service["phase"], "baking", "{service}");
        Some(()).filter(|()| paused.elapsed().as_secs_f64() > 6.5)
    });
    env.ok(&["resume"]);

    assert_eq!(follower.end(20).code, 0);
    assert_eq!(env.version(), "v2");
}

#[test]
fn r05_good_to_bad_to_good_and_bad_to_bad_updates_end_on_the_good_one() {
    let env = with_v1(UNWATCHED);
    failing_at_once(&env);
    let bad = |version: &str, more: &[&str], code| {
        let label = format!("CLINIC_VERSION={version}");
        let args = [&["--version", version, "--env-var", &label, "--env-var", "CLINIC_NEVER_READY=1"], more]
            .concat();
        env.deploy(&args, code)
    };

    bad("bad1", &["--detach"], 0);
    env.deploy(&["--version", "v2", "--env-var", "CLINIC_VERSION=v2", "--supersede"], 0);
    assert_eq!(env.version(), "v2");

    bad("bad2", &["--detach"], 0);
    bad("bad3", &["--supersede"], 4);
    assert_eq!(env.version(), "v2");
    let outcomes: Vec<_> =
        env.outcomes().into_iter().map(|outcome| outcome.replace("_unproven", "")).collect();
    assert_eq!(outcomes, ["promoted", "superseded", "promoted", "superseded", "rolled_back"]);
    eventually("the bad ones are gone", 10, || {
        let left: usize = ["bad1", "bad2", "bad3"].iter().map(|version| env.replicas_of(version).len()).sum();
        Some(()).filter(|()| left == 0)
    });
}

#[test]
fn r06_a_canary_with_fewer_replicas_has_them_all_before_it_gets_all_traffic() {
    r06(&[]);
}

#[test]
fn r06_a_canary_promoted_by_hand_has_all_replicas_too_before_it_gets_all_traffic() {
    r06(&["promote", "--now"]);
}

fn r06(by_hand: &[&str]) {
    let env = with_v1(&format!("{CANARY}\ncandidate_replicas = 1"));
    env.edit("min = 2, max = 4", "min = 3, max = 4");
    if !by_hand.is_empty() {
        env.edit("step_bake = \"2s\"", "step_bake = \"60s\"");
    }
    let follower = env.start(&["deploy", "--version", "v2", "--env-var", "CLINIC_VERSION=v2"]);
    let service = env.wait_for_phase("baking");
    assert_eq!(service["weight"], 50, "{service}");
    assert_eq!(service["candidate"]["replicas"]["wanted"], 1, "{service}");
    assert_eq!(env.replicas_of("v2").len(), 1);
    if !by_hand.is_empty() {
        env.ok(by_hand);
    }

    eventually("all traffic goes to the candidate", 10, || {
        let service = env.service();
        let full = service["weight"] == 100 || service["stable"]["label"] == "v2";
        Some(()).filter(|()| full)
    });
    assert_eq!(env.replicas_of("v2").len(), 3);
    assert_eq!(follower.end(15).code, 0);
    assert_eq!(env.service()["stable"]["replicas"]["ready"], 3);
}

#[test]
fn r07_one_former_revision_is_kept_hot_and_retired_when_its_time_is_over() {
    let env = with_v1("bake = \"0s\"\ndrain = \"1s\"\nkeep_hot = \"4s\"");
    env.deploy_clinic("v2", &[], 0);
    assert_eq!(env.replicas_of("v1").len(), 2);

    env.deploy_clinic("v3", &[], 0);
    let service = env.service();
    assert_eq!(
        (service["stable"]["label"].as_str(), service["hot"]["label"].as_str()),
        (Some("v3"), Some("v2"))
    );
    eventually("the older one is retired at once", 4, || {
        Some(()).filter(|()| env.replicas_of("v1").is_empty())
    });

    eventually("the hot one is retired in its time", 10, || {
        Some(()).filter(|()| env.service()["hot"].is_null() && env.replicas_of("v2").is_empty())
    });
    assert_eq!(env.replicas_of("v3").len(), 2);
    assert!(env.kinds().iter().filter(|kind| *kind == "revision_retired").count() == 2);
}

#[test]
fn r12_a_malformed_manifest_is_refused_and_repairing_it_recovers() {
    let env = with_v1(UNWATCHED);
    env.edit("replicas = { min = 2", "replicaz = { min = 2");

    let refused = env.deploy_clinic("v2", &[], 2);
    assert!(refused.err.contains("replicaz") && refused.err.contains("replicas"), "{}", refused.err);
    assert!(refused.err.contains("medeclipse.toml:"), "{}", refused.err);
    assert_eq!(env.version(), "v1");
    assert_eq!(env.history().len(), 1);

    env.edit("replicaz", "replicas");
    env.deploy_clinic("v2", &[], 0);
    assert_eq!(env.version(), "v2");
}

#[test]
fn r13_a_new_release_and_a_new_number_of_replicas_at_the_same_time() {
    let env = with_v1(UNWATCHED);
    env.edit("min = 2, max = 4", "min = 3, max = 4");

    env.deploy_clinic("v2", &[], 0);

    assert_eq!(env.version(), "v2");
    assert_eq!(env.replicas_of("v2").len(), 3);
    env.edit("min = 3, max = 4", "min = 1, max = 4");
    env.deploy_clinic("v3", &[], 0);
    eventually("one replica is left", 10, || Some(()).filter(|()| env.replicas_of("v3").len() == 1));
    assert_eq!(env.service()["stable"]["replicas"]["wanted"], 1);
}

#[test]
fn r16_a_failing_canary_rolls_back_the_serving_release_is_unchanged_and_a_good_one_promotes() {
    let env = with_v1(CANARY);
    let traffic = Traffic::clinic(&env, 6, 2, Some(300.0));

    let failed = env.deploy_clinic("v2", &["CLINIC_FAIL_PERCENT=50"], 4);
    assert!(failed.err.contains("serves worse than stable does"), "{}", failed.err);
    assert_eq!(env.version(), "v1");

    let before = env.kinds();
    let unchanged = env.deploy_clinic("v1", &[], 0);
    assert!(unchanged.out.contains("unchanged"), "{}", unchanged.out);
    let after = env.kinds();
    assert!(
        !after[before.len()..].contains(&"candidate_launched".to_owned()),
        "{:?}",
        &after[before.len()..]
    );

    let promoted = env.deploy_clinic("v3", &[], 0);
    assert!(promoted.out.contains("promoted"), "{}", promoted.out);
    assert_eq!(env.version(), "v3");
    assert_eq!(env.outcomes()[1..], ["rolled_back", "unchanged", "promoted"]);
    let report = traffic.end();
    assert_eq!(report.counts.connections.lost(), 0, "{report}");
}

#[test]
fn r23_an_artefact_that_exits_at_once_leaves_stable_serving_and_shows_what_it_said() {
    let env = with_v1(UNWATCHED);
    env.write_program("broken/clinic", "#!/bin/sh\necho \"cannot read the licence file\" >&2\nexit 3\n");
    let artifact = env.folder.path().join("broken");

    let failed = env.deploy(&["--version", "v2", "--artifact", artifact.to_str().unwrap()], 4);

    assert!(failed.err.contains("cannot read the licence file"), "{}", failed.err);
    assert!(failed.err.contains("exited"), "{}", failed.err);
    assert_eq!(env.version(), "v1");
    let logs = env.ok(&["logs", "--revision", "2"]);
    assert!(logs.out.contains("cannot read the licence file") || logs.out.is_empty(), "{}", logs.out);
}
