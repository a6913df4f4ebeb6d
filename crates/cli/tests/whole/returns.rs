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

    assert!(failed.err.contains("serves worse than stable does"), "{}", failed.err);
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
    assert!(back["reason"].as_str().unwrap().contains("serves worse"), "{back}");
    assert_eq!(env.version(), "v1");
    traffic.more(100);
    let report = traffic.end();
    println!("e22 while hot: {} bad responses of {}", report.counts.failed, report.counts.requests);
    assert_eq!(report.counts.connections.lost(), 0, "{report}");
    assert_eq!(report.bad_after(when(&env, "deployment_finished")), 0, "{report}");
}

#[test]
fn r15_after_a_canary_that_was_promoted_one_forced_to_answer_500_fails_and_has_no_weight() {
    let env = with_v1(
        "strategy = \"canary\"\nsteps = [20, 100]\nstep_bake = \"2s\"\nbake = \"2s\"\ndrain = \"2s\"",
    );
    let traffic = Traffic::clinic(&env, 8, 4, Some(400.0));
    env.deploy_clinic("v2", &[], 0);
    assert_eq!(env.version(), "v2");
    env.edit("step_bake = \"2s\"", "step_bake = \"30s\"");

    let failed = env.deploy_clinic("v3", &["CLINIC_FAIL_PERCENT=100"], 4);

    assert!(failed.err.contains("serves worse than stable does"), "{}", failed.err);
    assert_eq!(env.outcomes().last().map(String::as_str), Some("rolled_back"));
    let service = env.service();
    assert!(service["candidate"].is_null(), "{service}");
    assert!(service["weight"].is_null() || service["weight"] == 0, "{service}");
    assert_eq!(service["stable"]["label"], "v2");
    traffic.more(200);
    let report = traffic.end();
    println!("r15: {} bad responses of {}", report.counts.failed, report.counts.requests);
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

/// A service every release of which needs the same thing: while there is a file `outage`, nothing works.
const NEEDY: &str = r#"#!/usr/bin/python3
import http.server, os

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        works = not os.path.exists(os.environ["OUTAGE"])
        body = os.environ["MEDECLIPSE_REVISION"].encode()
        self.send_response(200 if works else 503 if self.path == "/ready" else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Page).serve_forever()
"#;

/// Returns an environment in which the needy service serves.
fn needy(rollout: &str) -> Env {
    let env = Env::new("");
    env.write_program("needy.py", NEEDY);
    let outage = env.folder.path().join("outage");
    env.write_manifest(&format!(
        "[service.web]\nartifact = \"needy.py\"\ncommand = [\"./needy.py\"]\nreplicas = 2\nenv = {{ OUTAGE = {outage:?} }}\n\
         health = {{ ready = \"/ready\" }}\n[service.web.rollout]\n{rollout}\n"
    ));
    env.up().deploy(&["--version", "v1"], 0);
    env
}

fn begin_outage(env: &Env) {
    std::fs::write(env.folder.path().join("outage"), "").unwrap();
}

fn end_outage(env: &Env) {
    std::fs::remove_file(env.folder.path().join("outage")).unwrap();
}

/// Breaks what both versions need while v2 has this share, repairs it, and expects v2 to be promoted.
fn an_outage_at(steps: &str) {
    let bakes = "step_bake = \"4s\"\nbake = \"4s\"\nbake_max = \"4s\"\nhold_back = \"off\"";
    let env = needy(&format!("strategy = \"canary\"\nsteps = {steps}\n{bakes}"));
    let traffic = Traffic::gets(&env, "/", 4, 200.0);
    let follower = env.start(&["deploy", "--version", "v2", "--env-var", "NEW=1"]);
    env.wait_for_phase("baking");
    traffic.more(200);

    begin_outage(&env);
    let held =
        eventually("it is held", 8, || Some(env.service()).filter(|service| !service["held"].is_null()));
    println!("held: {}", held["held"]);
    traffic.more(200);
    end_outage(&env);

    let ran = follower.end(30);
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    assert_eq!(env.get("/").body, "2");
    println!("an outage at {steps}: {}", traffic.end());
}

#[test]
fn an_outage_of_what_both_versions_need_holds_a_canary() {
    an_outage_at("[50, 100]");
}

#[test]
fn an_outage_of_what_both_versions_need_holds_a_candidate_that_has_all_traffic() {
    an_outage_at("[100]");
}

#[test]
fn an_outage_of_what_both_versions_need_returns_nothing_that_was_promoted() {
    let env = needy("bake = \"2s\"\nkeep_hot = \"60s\"");
    let traffic = Traffic::gets(&env, "/", 4, 200.0);
    env.deploy(&["--version", "v2", "--env-var", "NEW=1"], 0);

    begin_outage(&env);
    traffic.more(600);
    end_outage(&env);
    eventually("it answers again", 10, || Some(()).filter(|()| env.get("/").status == 200));
    traffic.more(200);

    assert_eq!(env.get("/").body, "2");
    assert_eq!(env.history().len(), 2, "{:?}", env.history());
    println!("an outage while hot: {}", traffic.end());
}
