//! Kills every process of an environment, one kind at a time, under load: who depends on it notices nothing.

use crate::harness::{self, Env, eventually, kill, request};
use crate::load::{Load, nothing_was_lost};
use crate::{LONG, QUICK, says};
use medeclipse::load::Failure;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Brings an environment up that serves v1 of the clinic.
fn serving(rollout: &str) -> Env {
    let env = Env::clinic(rollout);
    env.up().deploy_clinic("v1", &[], 0);
    env
}

/// Kills the process that `status` names as this and waits until another one has its place.
fn replaced(env: &Env, of: &str) {
    let before = env.pid(of);
    kill(before, "KILL");
    eventually(&format!("another {of}"), 20, || {
        let ran = env.run(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&ran.out).ok()?;
        let pid = status[of]["pid"].as_u64()?;
        (pid != u64::from(before)).then_some(())
    });
}

#[test]
fn o9_an_engine_killed_under_load_drops_nothing_and_keeps_the_replicas() {
    let env = serving(QUICK);
    let replicas = env.replicas();
    let load = Load::on(&env);

    replaced(&env, "engine");
    load.goes_on(100);

    nothing_was_lost(&load.end());
    env.until_ready(2);
    assert_eq!(env.replicas(), replicas);
}

#[test]
fn o9_an_engine_killed_in_a_rollout_goes_on_with_it_and_the_deploy_that_follows_ends() {
    let env = serving(
        "strategy = \"canary\"\nsteps = [20, 100]\nstep_bake = \"2s\"\nbake = \"1s\"\nkeep_hot = \"0s\"\ndrain = \"2s\"",
    );
    let load = Load::on(&env);
    let deploy = env.start(&["deploy", "--version", "v2", "--env-var", "CLINIC_VERSION=v2"]);
    env.until_phase("baking");

    (0..3).for_each(|_| replaced(&env, "engine"));
    let ran = deploy.end(40);

    assert_eq!(ran.code, 0, "{ran:?}\n{}", env.engine_log());
    nothing_was_lost(&load.end());
    assert_eq!(env.version(), "v2");
    eventually("the old revision is gone", 20, || (env.replicas().len() == 2).then_some(()));
}

#[test]
fn o8_an_edge_killed_under_load_refuses_no_connection_and_loses_only_what_was_in_it() {
    let env = serving(QUICK);
    let load = Load::full(&env);

    replaced(&env, "edge");
    load.goes_on(100);
    let report = load.end();

    let lost = |class: Failure| report.counts.by_class.get(&class).copied().unwrap_or(0);
    println!("edge killed under load: {report}");
    assert_eq!(
        lost(Failure::ConnectRefused) + lost(Failure::Connect) + lost(Failure::Timeout),
        0,
        "{report}"
    );
    assert_eq!(report.counts.failed, lost(Failure::Reset) + lost(Failure::Eof), "{report}");
    // A client has one request at a time: no more can have been in the edge.
    assert!(report.counts.failed <= 8, "{report}");
}

#[test]
fn o8_a_supervisor_killed_under_load_is_followed_by_another_that_takes_the_sockets_over() {
    let env = serving(QUICK);
    let replicas = env.replicas();
    let load = Load::on(&env);

    kill(env.supervisor(), "KILL");
    load.goes_on(100);
    env.up();
    load.goes_on(100);
    let report = load.end();

    println!("supervisor killed and replaced under load: {report}");
    nothing_was_lost(&report);
    env.until_ready(2);
    assert_eq!(env.replicas(), replicas);
    env.deploy_clinic("v2", &[], 0);
    assert_eq!(env.version(), "v2");
}

#[test]
fn up_is_refused_while_something_else_has_the_lock_of_the_engine_and_says_which_file() {
    let env = Env::clinic(QUICK);
    let run = env.state().join("run");
    std::fs::create_dir_all(&run).unwrap();
    let lock = std::fs::File::create(run.join("engine.lock")).unwrap();
    lock.lock().unwrap();

    let refused = env.run(&["up", "--detach"]);

    assert_eq!(refused.code, 3, "{refused:?}");
    says(&refused, 3, &["another process holds", "run/engine.lock", "fuser"]);
    assert_eq!(harness::processes_of(&env.state()), [0_u32; 0]);
    drop(lock);
    env.up();
}

#[test]
fn an_environment_whose_supervisor_died_can_be_brought_down() {
    let env = serving(QUICK);

    kill(env.supervisor(), "KILL");
    env.ok(&["down"]);

    assert_eq!(harness::processes_of(&env.state()), [0_u32; 0]);
}

#[test]
fn o8_a_supervisor_killed_while_down_waits_for_it_leaves_the_rest_to_down() {
    let env = serving(QUICK);
    let supervisor = env.supervisor();
    // Stopped, it cannot follow the SIGTERM: down waits.
    kill(supervisor, "STOP");
    eventually("it is stopped", 20, || {
        let stat = std::fs::read_to_string(format!("/proc/{supervisor}/stat")).unwrap();
        stat.contains(") T ").then_some(())
    });

    let ran = std::thread::scope(|scope| {
        let down = scope.spawn(|| env.run(&["down"]));
        eventually("down has asked it to end", 20, || was_terminated(supervisor).then_some(()));
        kill(supervisor, "KILL");
        down.join().unwrap()
    });

    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(harness::processes_of(env.folder.path()), [0_u32; 0]);
}

#[test]
fn down_stops_the_replicas_of_an_environment_of_which_nothing_else_is_left() {
    let env = serving(QUICK);
    for pid in [env.supervisor(), env.pid("engine"), env.pid("edge")] {
        kill(pid, "KILL");
        eventually("it is dead", 20, || is_dead(pid).then_some(()));
    }
    assert_eq!(env.replicas().len(), 2);

    env.ok(&["down"]);

    assert_eq!(harness::processes_of(env.folder.path()), [0_u32; 0]);
    let again = env.ok(&["down"]);
    assert!(again.out.contains("nothing runs here"), "{again:?}");
}

#[test]
fn a_replica_that_is_killed_is_replaced_and_the_journal_says_so() {
    let env = serving(QUICK);
    let before = env.replicas();
    let load = Load::on(&env);

    kill(before[0], "KILL");
    eventually("a new replica", 20, || {
        let now = env.replicas();
        (now.len() == 2 && !now.contains(&before[0])).then_some(())
    });
    env.until_ready(2);
    eventually("both events", 20, || {
        let kinds = env.kinds();
        let has = |kind: &str| kinds.iter().any(|found| found == kind);
        (has("replica_lost") && has("replica_replaced")).then_some(())
    });

    let report = load.end();
    println!("replica killed under load: {report}");
    // What was in the replica is lost; what came after went to the other one.
    assert!(report.counts.failed <= 8, "{report}");
}

#[test]
fn down_then_up_brings_the_same_revision_back_without_a_deployment() {
    let env = serving(QUICK);
    let before = (env.service()["stable"]["revision"].clone(), env.service()["stable"]["release"].clone());

    env.ok(&["down"]);
    assert_eq!(harness::processes_of(env.folder.path()), [0_u32; 0]);
    env.up();

    eventually("it serves", 20, || (env.version() == "v1").then_some(()));
    assert_eq!(
        (env.service()["stable"]["revision"].clone(), env.service()["stable"]["release"].clone()),
        before
    );
    let requested = env.kinds().iter().filter(|kind| *kind == "deployment_requested").count();
    assert_eq!(requested, 1);
}

#[test]
fn a_deployment_that_down_interrupts_is_returned_and_leaks_nothing() {
    let env = serving(LONG.replace("60s", "1s").as_str());
    env.write_manifest(&env.clinic_service(LONG));
    env.ok(&["deploy", "--detach", "--version", "v2", "--env-var", "CLINIC_VERSION=v2"]);
    env.until_phase("baking");

    env.ok(&["down"]);
    assert_eq!(harness::processes_of(env.folder.path()), [0_u32; 0]);
    env.up();

    eventually("v1 serves", 20, || (env.version() == "v1").then_some(()));
    let view = eventually("the outcome is written", 20, || {
        Some(env.last_deployment()).filter(|view| !view["outcome"].is_null())
    });
    assert_eq!(view["outcome"], "rolled_back", "{view}");
    assert!(view["reason"].as_str().unwrap_or_default().contains("environment was stopped"), "{view}");
    eventually("only stable's replicas", 20, || (env.replicas().len() == 2).then_some(()));
    assert_eq!(env.service()["candidate"], serde_json::Value::Null);
}

#[test]
fn o9_a_down_whose_engine_is_killed_starts_another_and_leaves_nothing() {
    let env = serving(QUICK);
    let (engine, edge) = (env.pid("engine"), env.pid("edge"));
    // Stopped, it cannot have done it before it is killed.
    kill(engine, "STOP");
    let down = env.start(&["down"]);
    eventually("the edge has drained", 20, || is_dead(edge).then_some(()));

    kill(engine, "KILL");
    let ran = down.end(30);

    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(harness::processes_of(env.folder.path()), [0_u32; 0]);
}

#[test]
fn replicas_that_down_keeps_are_adopted_again_by_up() {
    let env = serving(QUICK);
    let before = env.replicas();
    assert_eq!(before.len(), 2);

    env.ok(&["down", "--keep-replicas"]);
    assert_eq!(env.replicas(), before);
    env.up();

    eventually("it serves", 20, || (env.version() == "v1").then_some(()));
    env.until_ready(2);
    assert_eq!(env.replicas(), before);

    env.ok(&["down", "--keep-replicas"]);
    env.ok(&["down"]);
    assert_eq!(env.replicas(), [0_u32; 0]);
}

#[test]
fn a_second_up_is_refused_by_the_pid_of_the_first() {
    let env = Env::clinic(QUICK);
    let up = env.ok(&["up", "--detach"]);
    assert!(up.out.contains(&format!("http://{}", env.address)), "{up:?}");
    let pid = env.supervisor().to_string();

    says(&env.run(&["up", "--detach"]), 3, &["up already", &pid, "medeclipse down"]);
    says(&env.run(&["up"]), 3, &["up already", &pid, "medeclipse down"]);

    assert_eq!(env.supervisor().to_string(), pid);
}

#[test]
fn an_environment_with_nothing_deployed_answers_503_and_says_the_next_step() {
    let env = Env::clinic(QUICK);
    let up = env.ok(&["up", "--detach"]);

    let answer = env.get("/");

    assert!(up.out.contains("medeclipse deploy"), "{up:?}");
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("medeclipse deploy"), "{answer:?}");
}

#[test]
fn an_up_in_the_foreground_ends_cleanly_when_interrupted_or_terminated() {
    for signal in ["INT", "TERM"] {
        let env = Env::clinic(QUICK);
        let up = env.start(&["up"]);
        eventually("it is up", 20, || env.state().join("run/ready").exists().then_some(()));
        env.deploy_clinic("v1", &[], 0);

        up.signal(signal);
        let ran = up.end(20);

        assert_eq!(ran.code, 0, "{signal}: {ran:?}");
        assert!(ran.out.contains("is up") && ran.out.contains("down"), "{ran:?}");
        assert_eq!(harness::processes_of(env.folder.path()), [0_u32; 0], "{signal}");
        assert!(request(env.address, "GET", "/", &[], "").is_err());
    }
}

#[test]
fn an_engine_that_is_killed_again_and_again_comes_back_each_time() {
    let env = serving(QUICK);
    let load = Load::on(&env);

    (0..4).for_each(|_| replaced(&env, "engine"));
    load.goes_on(20);

    nothing_was_lost(&load.end());
    env.until_ready(2);
}

#[test]
fn o8_connections_wait_in_the_backlog_until_there_is_an_edge_again() {
    let env = serving(QUICK);
    let (supervisor, edge) = (env.supervisor(), env.pid("edge"));
    // Stopped, it cannot start another edge before the connections were tried.
    kill(supervisor, "STOP");
    kill(edge, "KILL");
    eventually("the edge is dead", 20, || is_dead(edge).then_some(()));

    let address = env.address;
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let stream = TcpStream::connect(address).expect("the connection is not refused");
            std::thread::spawn(move || over(stream))
        })
        .collect();
    kill(supervisor, "CONT");
    let answers: Vec<String> = asking.into_iter().map(|asked| asked.join().unwrap()).collect();

    assert!(answers.iter().all(|answer| answer.starts_with("HTTP/1.1 200")), "{answers:?}");
}

/// Whether a process has ended, taken in by its parent or not.
/// Whether a stopped process has been sent SIGTERM: bit 14 of its pending signals, proc(5).
fn was_terminated(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).unwrap();
    u64::from_str_radix(pending.trim(), 16).unwrap() & (1 << 14) != 0
}

fn is_dead(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

/// Sends a request over a connection and returns the answer's head and body.
fn over(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET /api/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
