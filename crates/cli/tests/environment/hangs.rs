//! Stops processes of an environment so that they hang, under load: the supervisor replaces them by itself, and takes
//! nobody for hanging who is only slow.

use crate::QUICK;
use crate::harness::{Env, eventually, kill, request};
use crate::load::{Load, nothing_was_lost};
use std::time::{Duration, Instant};

/// A lease of one second: an engine is replaced after six of silence.
const SHORT_LEASE: (&str, &str) = ("MEDECLIPSE_LEASE_TTL_MS", "1000");

/// Brings an environment up that serves v1 of the clinic and whose leases are short.
fn serving(rollout: &str) -> Env {
    let env = Env::clinic(rollout);
    let up = env.command(&["up", "--detach"]).env(SHORT_LEASE.0, SHORT_LEASE.1).output().unwrap();
    assert!(up.status.success(), "{up:?}");
    env.deploy_clinic("v1", &[], 0);
    env
}

/// Waits until the pid file of this process names another one.
fn until_replaced(env: &Env, of: &str, before: u32) {
    let file = format!("state/run/{of}.pid");
    eventually(&format!("another {of}"), 40, || {
        let pid: u32 = env.read(&file).split(' ').next()?.parse().ok()?;
        (pid != before).then_some(())
    });
}

fn supervisor_log(env: &Env) -> String {
    env.read("state/logs/supervisor.log")
}

#[test]
fn o11_an_engine_that_hangs_in_a_rollout_is_replaced_and_the_rollout_ends_well() {
    let env = serving(
        "strategy = \"canary\"\nsteps = [20, 100]\nstep_bake = \"2s\"\nbake = \"1s\"\nkeep_hot = \"0s\"\ndrain = \"2s\"",
    );
    let load = Load::on(&env);
    env.ok(&["deploy", "--detach", "--version", "v2", "--env-var", "CLINIC_VERSION=v2"]);
    env.until_phase("baking");
    let engine = env.pid("engine");

    kill(engine, "STOP");
    until_replaced(&env, "engine", engine);
    let outcome = eventually("the rollout ends", 40, || {
        let ran = env.run(&["history", "--json", "--limit", "1"]);
        let rows: serde_json::Value = serde_json::from_str(&ran.out).ok()?;
        rows[0]["outcome"].as_str().map(str::to_owned)
    });

    nothing_was_lost(&load.end());
    assert!(outcome.starts_with("promoted"), "{outcome}\n{}", env.engine_log());
    assert_eq!(env.version(), "v2");
    let log = supervisor_log(&env);
    assert!(log.contains(&format!("the engine hangs: no sign of life from process {engine}")), "{log}");
}

#[test]
fn an_edge_that_hangs_is_replaced_and_who_waits_for_it_is_answered() {
    let env = serving(QUICK);
    let edge = env.pid("edge");

    kill(edge, "STOP");
    let stopped = Instant::now();
    let address = env.address;
    // Accepted by no one, they wait in the socket's queue.
    let asking: Vec<_> =
        (0..8).map(|_| std::thread::spawn(move || request(address, "GET", "/api/health", &[], ""))).collect();
    until_replaced(&env, "edge", edge);
    let answers: Vec<_> = asking.into_iter().map(|asked| asked.join().unwrap()).collect();

    println!("an edge that hung was replaced after {:?}", stopped.elapsed());
    assert!(
        answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.status == 200)),
        "{answers:?}"
    );
    let log = supervisor_log(&env);
    assert!(log.contains(&format!("the edge hangs: no sign of life from process {edge}")), "{log}");
}

#[test]
fn processes_that_were_only_held_up_are_not_replaced() {
    let env = serving(QUICK);
    let before = [env.pid("engine"), env.pid("edge")];

    for pid in before {
        kill(pid, "STOP");
    }
    // Half of what an engine may be silent, and less of what an edge may.
    std::thread::sleep(Duration::from_secs(3));
    for pid in before {
        kill(pid, "CONT");
    }
    env.deploy_clinic("v2", &[], 0);

    assert_eq!([env.pid("engine"), env.pid("edge")], before);
    assert!(!supervisor_log(&env).contains("hangs"), "{}", supervisor_log(&env));
}
