//! Breaks releases after users have been sent to them, and looks who serves again, without anybody's hand.

use crate::harness::{Env, eventually, installed, kill};
use crate::traffic::Traffic;
use serde_json::Value;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

fn with_v1(rollout: &str) -> Env {
    let env = Env::clinic(rollout);
    env.up().deploy_clinic("v1", &[], 0);
    env
}

/// Returns when the first event of a kind happened.
fn when(env: &Env, kind: &str) -> SystemTime {
    let events = env.events();
    let event =
        events.iter().rev().find(|event| event["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"));
    SystemTime::UNIX_EPOCH + Duration::from_millis(event["at"].as_u64().unwrap())
}

/// Waits until the last deployment is a return that ended.
fn wait_for_return(env: &Env) -> Value {
    eventually("a return ends", 15, || {
        let last = env.history().pop()?;
        Some(last).filter(|row| row["kind"] == "return" && !row["outcome"].is_null())
    })
}

#[test]
fn e22_a_candidate_that_turns_bad_during_the_bake_is_returned() {
    let env = with_v1("bake = \"20s\"\ndrain = \"2s\"");
    let traffic = Traffic::clinic(&env, 8, 4, Some(400.0));

    let failed = env.deploy_clinic("v2", &["CLINIC_FAIL_PERCENT=100", "CLINIC_FAIL_AFTER_MS=2500"], 4);

    assert!(failed.err.contains("fails more requests than stable does"), "{}", failed.err);
    assert_eq!(env.version(), "v1");
    traffic.more(100);
    let report = traffic.end();
    println!("e22 during the bake: {} bad responses of {}", report.counts.failed, report.counts.requests);
    assert!(report.counts.failed > 0, "{report}");
    assert_eq!(report.counts.connections.lost(), 0, "{report}");
    assert_eq!(report.bad_after(when(&env, "deployment_finished")), 0, "{report}");
}

#[test]
fn e22_a_release_that_turns_bad_after_its_promotion_is_returned_while_the_former_is_hot() {
    let env = with_v1("bake = \"1s\"\ndrain = \"2s\"\nkeep_hot = \"60s\"");
    let traffic = Traffic::clinic(&env, 8, 4, Some(400.0));

    env.deploy_clinic("v2", &["CLINIC_FAIL_PERCENT=100", "CLINIC_FAIL_AFTER_MS=5000"], 0);
    assert_eq!(env.service()["stable"]["label"], "v2");

    let back = wait_for_return(&env);
    assert!(back["reason"].as_str().unwrap().contains("fails more requests"), "{back}");
    assert_eq!(env.version(), "v1");
    traffic.more(100);
    let report = traffic.end();
    println!("e22 while hot: {} bad responses of {}", report.counts.failed, report.counts.requests);
    assert_eq!(report.counts.connections.lost(), 0, "{report}");
    assert_eq!(report.bad_after(when(&env, "deployment_finished")), 0, "{report}");
}

fn kill_all(env: &Env, version: &str) {
    let pids = env.replicas_of(version);
    assert_eq!(pids.len(), 2, "{pids:?}");
    let killed = Command::new("kill").arg("-KILL").args(pids.iter().map(u32::to_string)).status().unwrap();
    assert!(killed.success());
}

#[test]
fn e23_a_candidate_killed_during_the_bake_is_returned() {
    let env = with_v1("bake = \"30s\"\ndrain = \"2s\"");
    let traffic = Traffic::clinic(&env, 8, 4, Some(400.0));
    let follower = env.start(&["deploy", "--version", "v2", "--env-var", "CLINIC_VERSION=v2"]);
    env.wait_for_phase("baking");
    traffic.more(200);

    kill_all(&env, "v2");

    let ran = follower.end(15);
    assert_eq!(ran.code, 4, "{}", ran.err);
    assert!(ran.err.contains("no replica of the candidate is ready any more"), "{}", ran.err);
    assert_eq!(env.version(), "v1");
    traffic.more(100);
    let report = traffic.end();
    println!("e23 during the bake: {} bad responses of {}", report.counts.failed, report.counts.requests);
    assert_eq!(report.bad_after(when(&env, "deployment_finished")), 0, "{report}");
    assert_eq!(
        report.counts.connections.lost(),
        0,
        "the edge answers, also for a replica that died: {report}"
    );
}

#[test]
fn e23_a_release_killed_after_its_promotion_is_returned_while_the_former_is_hot() {
    let env = with_v1("bake = \"0s\"\ndrain = \"2s\"\nkeep_hot = \"60s\"");
    let traffic = Traffic::clinic(&env, 8, 4, Some(400.0));
    env.deploy_clinic("v2", &[], 0);
    traffic.more(200);

    kill_all(&env, "v2");
    let killed = std::time::Instant::now();

    let back = wait_for_return(&env);
    println!("e23 while hot: returned {:?} after the kill", killed.elapsed());
    assert!(back["reason"].as_str().unwrap().contains("no replica of the candidate"), "{back}");
    assert_eq!(env.version(), "v1");
    traffic.more(100);
    let report = traffic.end();
    println!("e23 while hot: {} bad responses of {}", report.counts.failed, report.counts.requests);
    assert_eq!(report.bad_after(when(&env, "deployment_finished")), 0, "{report}");
    assert_eq!(report.counts.connections.lost(), 0, "{report}");
}

#[test]
fn e23_one_killed_replica_of_several_is_replaced_and_nothing_is_returned() {
    let env = with_v1("bake = \"3s\"\ndrain = \"2s\"");
    let traffic = Traffic::clinic(&env, 8, 0, Some(200.0));
    let follower = env.start(&["deploy", "--version", "v2", "--env-var", "CLINIC_VERSION=v2"]);
    env.wait_for_phase("baking");

    kill(env.replicas_of("v2")[0], "KILL");

    let ran = follower.end(20);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(env.version(), "v2");
    eventually("the replica is replaced", 10, || Some(()).filter(|()| env.replicas_of("v2").len() == 2));
    let kinds = env.kinds();
    assert!(
        kinds.contains(&"replica_lost".to_owned()) && kinds.contains(&"replica_replaced".to_owned()),
        "{kinds:?}"
    );
    println!("e23 one replica: {}", traffic.end());
}

/// A Redis of the test's own; killed when dropped.
struct Redis(Child);

impl Redis {
    fn start(env: &Env) -> Option<Self> {
        let program = installed("redis-server")?;
        let socket = env.folder.path().join("redis.sock");
        let child = Command::new(program)
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .current_dir(env.folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let redis = Self(child);
        eventually("redis listens", 10, || std::os::unix::net::UnixStream::connect(&socket).ok());
        Some(redis)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Already ended is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_shared_dependency_that_fails_holds_the_rollout_and_blames_nobody() {
    let env = Env::new("");
    let Some(redis) = Redis::start(&env) else {
        println!("skipped: redis-server is not installed");
        return;
    };
    let rollout =
        "strategy = \"canary\"\nsteps = [50, 100]\nstep_bake = \"8s\"\nbake = \"1s\"\ndrain = \"2s\"";
    let service = env.clinic_service(rollout);
    let url = format!("REDIS_URL = \"redis+unix://{}/redis.sock\", CLINIC_DB", env.folder.path().display());
    env.write_manifest(&service.replace("CLINIC_DB", &url));
    env.up().deploy_clinic("v1", &[], 0);
    let traffic = Traffic::clinic(&env, 4, 2, Some(200.0));
    let follower = env.start(&["deploy", "--version", "v2", "--env-var", "CLINIC_VERSION=v2"]);
    env.wait_for_phase("baking");

    drop(redis);
    let held = eventually("it is held", 10, || {
        let service = env.service();
        assert_ne!(service["phase"], "returning", "{service}");
        Some(service).filter(|service| !service["held"].is_null())
    });
    assert!(held["held"].as_str().unwrap().contains("not the release's fault"), "{held}");

    let redis = Redis::start(&env).unwrap();
    let ran = follower.end(30);
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    assert_eq!(env.version(), "v2");
    println!("shared dependency: {}", traffic.end());
    drop(redis);
}
