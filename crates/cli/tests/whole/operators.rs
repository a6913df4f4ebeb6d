//! Takes the operator's part: rollback, promote, abort, pause, resume, supersede, scale; and reads what is shown.

use crate::UNWATCHED;
use crate::harness::{Env, Running, eventually};
use rollout::event::EventRecord;
use serde_json::Value;
use std::time::Instant;

const LONG_CANARY: &str = "strategy = \"canary\"\nsteps = [10, 50, 100]\nstep_bake = \"60s\"\nbake = \"60s\"\ndrain = \"2s\"\nkeep_hot = \"60s\"";

fn with_v1(rollout: &str) -> Env {
    let env = Env::clinic(rollout);
    env.up().deploy_clinic("v1", &[], 0);
    env
}

fn follow(env: &Env, version: &str, more: &[&str]) -> Running {
    let label = format!("CLINIC_VERSION={version}");
    env.start(&[&["deploy", "--version", version, "--env-var", &label], more].concat())
}

fn weight(env: &Env) -> u64 {
    env.service()["weight"].as_u64().unwrap()
}

#[test]
fn a_rollback_with_a_hot_revision_is_one_flip() {
    let env = with_v1(UNWATCHED);
    env.deploy_clinic("v2", &[], 0);
    let before = env.replicas_of("v1");

    let began = Instant::now();
    let back = env.ok(&["rollback"]);
    println!("rollback to the hot revision: {:?} with the command's own start", began.elapsed());

    assert!(back.out.contains("back on") && back.out.contains("proven by replica"), "{}", back.out);
    assert_eq!(env.version(), "v1");
    assert_eq!(env.replicas_of("v1"), before, "the hot replicas serve; none was started");
    assert_eq!(env.service()["stable"]["revision"], 1);
}

#[test]
fn a_rollback_without_a_hot_revision_launches_the_last_proven_release_again() {
    let env = with_v1("bake = \"0s\"\ndrain = \"1s\"\nkeep_hot = \"0s\"");
    env.deploy_clinic("v2", &[], 0);
    eventually("v1 is gone", 10, || Some(()).filter(|()| env.replicas_of("v1").is_empty()));
    let service = env.service();
    assert_eq!(service["rollback_ready"], true, "{service}");

    env.ok(&["rollback"]);

    assert_eq!(env.version(), "v1");
    assert_eq!(env.service()["stable"]["revision"], 3);
}

#[test]
fn a_rollback_goes_to_the_release_that_is_named() {
    let env = with_v1("bake = \"0s\"\ndrain = \"1s\"\nkeep_hot = \"30s\"");
    env.deploy_clinic("v2", &[], 0);
    env.deploy_clinic("v3", &[], 0);

    env.ok(&["rollback", "--to", "v1"]);
    assert_eq!(env.version(), "v1");

    let unknown = env.run(&["rollback", "--to", "v9"]);
    assert_eq!(unknown.code, 3, "{}", unknown.err);
    assert!(unknown.err.contains("v9") && unknown.err.contains("next:"), "{}", unknown.err);
    assert_eq!(env.version(), "v1");
}

#[test]
fn a_rollback_without_anything_to_go_back_to_is_refused() {
    let env = with_v1(UNWATCHED);

    let refused = env.run(&["rollback"]);

    assert_eq!(refused.code, 3, "{}", refused.err);
    assert!(refused.err.contains("no earlier release has been promoted"), "{}", refused.err);
}

#[test]
fn a_rollback_during_a_deployment_aborts_it() {
    let env = with_v1(LONG_CANARY);
    let follower = follow(&env, "v2", &[]);
    env.wait_for_phase("baking");

    env.ok(&["rollback"]);

    assert_eq!(follower.end(10).code, 6);
    assert_eq!(weight(&env), 0);
    assert_eq!(env.version(), "v1");
}

#[test]
fn promote_ends_one_bake_and_promote_now_all_of_them() {
    let env = with_v1(LONG_CANARY);
    let follower = follow(&env, "v2", &[]);
    env.wait_for_phase("baking");
    assert_eq!(weight(&env), 10);

    env.ok(&["promote"]);
    eventually("the second step is baked", 10, || {
        let service = env.service();
        Some(()).filter(|()| service["weight"] == 50 && service["phase"] == "baking")
    });

    env.ok(&["promote", "--now"]);
    assert_eq!(follower.end(10).code, 0);
    assert_eq!(env.version(), "v2");
}

#[test]
fn without_a_deployment_the_operators_verbs_are_refused_with_3() {
    let env = with_v1(UNWATCHED);

    for verb in ["promote", "abort", "pause", "resume"] {
        let refused = env.run(&[verb]);
        assert_eq!(refused.code, 3, "{verb}: {}", refused.err);
        assert!(refused.err.contains("no deployment is running"), "{verb}: {}", refused.err);
    }
}

#[test]
fn a_second_deploy_is_refused_and_the_same_one_is_followed() {
    let env = with_v1(LONG_CANARY);
    let first = follow(&env, "v2", &[]);
    env.wait_for_phase("baking");

    let refused = env.deploy_clinic("v3", &[], 3);
    assert!(refused.err.contains("d-2") && refused.err.contains("--supersede"), "{}", refused.err);

    let again = follow(&env, "v2", &[]);
    env.ok(&["promote", "--now"]);
    assert_eq!(first.end(10).code, 0);
    assert_eq!(again.end(10).code, 0);
    assert_eq!(env.history().len(), 2);
}

#[test]
fn two_deploys_at_once_are_one_deployment_and_one_refusal() {
    let env = with_v1("bake = \"2s\"\ndrain = \"2s\"");

    let both = [follow(&env, "v2", &[]), follow(&env, "v3", &[])];
    let mut codes = both.map(|running| running.end(20).code);

    codes.sort_unstable();
    assert_eq!(codes, [0, 3]);
    assert_eq!(env.history().len(), 2);
}

#[test]
fn a_superseded_deployment_ends_with_6_and_the_new_one_is_promoted() {
    let env = with_v1(LONG_CANARY);
    let old = follow(&env, "v2", &[]);
    env.wait_for_phase("baking");

    env.edit("step_bake = \"60s\"\nbake = \"60s\"", "step_bake = \"1s\"\nbake = \"1s\"");
    let new = follow(&env, "v3", &["--supersede"]);

    let old = old.end(15);
    assert_eq!(old.code, 6, "{}", old.err);
    assert!(old.err.contains("superseded"), "{}", old.err);
    assert_eq!(new.end(20).code, 0);
    assert_eq!(env.version(), "v3");
    let starts_from: Vec<_> =
        env.events().into_iter().filter(|event| event["kind"] == "traffic_shifted").collect();
    let first_of_d3 = starts_from.iter().find(|event| event["deployment"] == "d-3").unwrap();
    assert_eq!(first_of_d3["weight"], 10, "it starts from stable");
}

#[test]
fn a_follower_that_is_interrupted_or_times_out_ends_with_8_and_the_deployment_goes_on() {
    let env = with_v1("bake = \"3s\"\ndrain = \"2s\"");
    let follower = follow(&env, "v2", &[]);
    env.wait_for_phase("baking");
    follower.signal("INT");
    let left = follower.end(5);
    assert_eq!(left.code, 8, "{}", left.err);
    assert!(left.err.contains("goes on") && left.err.contains("status --watch"), "{}", left.err);

    let timed = env.deploy(&["--version", "v2", "--env-var", "CLINIC_VERSION=v2", "--timeout", "200ms"], 8);
    assert!(timed.err.contains("--timeout passed"), "{}", timed.err);
    eventually("it is promoted all the same", 15, || {
        Some(()).filter(|()| env.service()["stable"]["label"] == "v2")
    });
    assert_eq!(env.history().len(), 2);
}

#[test]
fn a_sticky_client_stays_on_its_side_and_the_allow_list_always_sees_the_candidate() {
    let env = with_v1(LONG_CANARY);
    env.edit(
        "step_bake = \"60s\"",
        "sticky = { cookie = \"me_rev\" }\nallow = { header = \"X-Canary\", values = [\"team\"] }\nstep_bake = \"60s\"",
    );
    env.edit("[10, 50, 100]", "[50, 100]");
    let follower = follow(&env, "v2", &[]);
    env.wait_for_phase("baking");
    let ask = |headers: &[(&str, &str)]| {
        let answer = env.request("GET", "/api/health", headers, "").unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        (answer.header("x-clinic-version").unwrap(), answer.header("set-cookie"))
    };

    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let (version, cookie) = ask(&[]);
        let cookie = cookie.expect("a side is remembered");
        let cookie = cookie.split(';').next().unwrap();
        for _ in 0..5 {
            assert_eq!(ask(&[("Cookie", cookie)]).0, version);
        }
        seen.insert(version);
        assert_eq!(ask(&[("X-Canary", "team")]).0, "v2");
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    env.ok(&["abort"]);
    assert_eq!(follower.end(10).code, 6);
    assert_eq!(ask(&[("X-Canary", "team")]).0, "v1");
}

#[test]
fn logs_shows_what_the_replicas_wrote() {
    let env = Env::new("");
    env.write_program("dist/serve.sh", "#!/bin/sh\necho \"hello from $MEDECLIPSE_REPLICA\"\necho oops >&2\nexec python3 -m http.server $PORT --bind $HOST\n");
    env.write_manifest("[service.web]\nartifact = \"dist\"\ncommand = [\"./serve.sh\"]\n[service.web.rollout]\nbake = \"0s\"\n");
    env.up().deploy(&[], 0);

    let logs = env.ok(&["logs", "web"]);

    assert!(logs.out.contains("hello from web-1-"), "{}", logs.out);
    assert!(logs.out.contains("oops"), "{}", logs.out);
    let json: Value = serde_json::from_str(&env.ok(&["logs", "--json"]).out).unwrap();
    assert_eq!(json[0]["revision"], 1, "{json}");
}

#[test]
fn status_and_history_in_json_have_every_field_that_was_promised() {
    let env = with_v1("bake = \"60s\"\ndrain = \"2s\"");
    let empty = env.status();
    assert!(
        empty["services"][0]["candidate"].is_null() && empty["services"][0]["verdict"].is_null(),
        "{empty}"
    );
    let follower = follow(&env, "v2", &[]);
    env.wait_for_phase("baking");

    let status = env.status();
    for path in [
        "/environment",
        "/engine/pid",
        "/engine/lease_until",
        "/api",
        "/edge/pid",
        "/edge/listen/0",
        "/services/0/service",
        "/services/0/target",
        "/services/0/phase",
        "/services/0/deployment",
        "/services/0/weight",
        "/services/0/stable/revision",
        "/services/0/stable/release",
        "/services/0/stable/label",
        "/services/0/stable/replicas/wanted",
        "/services/0/stable/replicas/ready",
        "/services/0/candidate/revision",
        "/services/0/candidate/replicas/ready",
        "/services/0/hot",
        "/services/0/verdict/state",
        "/services/0/verdict/metric",
        "/services/0/verdict/requests",
        "/services/0/verdict/p_value",
        "/services/0/rollback_ready",
        "/services/0/rollback_reason",
        "/services/0/alarms",
    ] {
        assert!(status.pointer(path).is_some(), "{path} is missing in {status}");
    }
    env.ok(&["abort"]);
    assert_eq!(follower.end(10).code, 6);
    let rows = env.history();
    for key in [
        "deployment",
        "kind",
        "release",
        "label",
        "revision",
        "actor",
        "requested_at",
        "finished_at",
        "outcome",
        "reason",
    ] {
        assert!(rows.iter().all(|row| row.get(key).is_some()), "{key} is missing in {rows:?}");
    }
}

#[test]
fn the_events_of_a_followed_deploy_are_the_records_of_the_journal() {
    let env = with_v1(UNWATCHED);

    let ran = env.deploy(&["--json", "--version", "v2", "--env-var", "CLINIC_VERSION=v2"], 0);

    let records: Vec<EventRecord> =
        ran.out.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let kinds: Vec<_> = records.iter().map(|record| record.event.kind()).collect();
    assert_eq!(kinds.first(), Some(&"deployment_requested"));
    assert_eq!(kinds.last(), Some(&"deployment_finished"));
    for kind in [
        "release_stored",
        "candidate_launched",
        "candidate_ready",
        "candidate_verified",
        "traffic_shifted",
        "promoted",
    ] {
        assert!(kinds.contains(&kind), "{kind} is missing in {kinds:?}");
    }
    assert!(records.iter().all(|record| record.deployment.as_ref().is_some_and(|id| id.as_str() == "d-2")));
    assert!(
        records.windows(2).all(|pair| pair[0].hash == pair[1].prev_hash || pair[0].seq + 1 < pair[1].seq)
    );
    let lines: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for key in ["seq", "time", "target", "deployment", "kind", "actor", "v", "hash", "prev_hash"] {
        assert!(lines.iter().all(|line| line.get(key).is_some()), "{key} is missing in {}", lines[0]);
    }
    assert!(lines.last().unwrap()["served_by"]["release"].is_string(), "{:?}", lines.last());
}
