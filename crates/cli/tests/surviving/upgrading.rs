//! Replaces medeclipse itself while users are served: by itself, in the middle of a rollout, and by programs that fail.

use crate::QUICK;
use crate::harness::{Env, PROGRAM, Ran, eventually, request};
use crate::havoc::{answered, refused, replicas, supervisor};
use crate::web_socket::Socket;
use medeclipse::load::{self, LoadHandle, LoadPlan, LoadReport};
use std::path::PathBuf;

/// Keep-alive clients, four that GET and four that POST.
pub fn load(env: &Env, rate_per_second: Option<f64>) -> LoadHandle {
    let load = load::run(LoadPlan { rate_per_second, ..LoadPlan::clinic(env.address, 4, 4) }).unwrap();
    answered(&load, 50);
    load
}

pub fn stopped(load: LoadHandle) -> LoadReport {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(load.stop())
}

#[track_caller]
pub fn nothing_was_lost(report: &LoadReport) {
    let lost = report.counts.connections.lost_busy;
    assert!(report.counts.failed == 0 && lost == 0 && refused(&report.counts) == 0, "{report}");
}

fn supervisor_log(env: &Env) -> String {
    std::fs::read_to_string(env.state().join("logs/supervisor.log")).unwrap_or_default()
}

fn upgrade(env: &Env) {
    let ran = env.run(&["upgrade"]);
    assert_eq!(ran.code, 0, "{ran:?}\n{}\n{}", supervisor_log(env), env.engine_log());
}

fn says(ran: &Ran, code: i32, parts: &[&str]) {
    assert_eq!(ran.code, code, "{ran:?}");
    parts.iter().for_each(|part| assert!(ran.err.contains(part), "`{part}` is missing: {ran:?}"));
}

#[test]
fn o8_five_upgrades_under_get_and_post_keep_alive_load_lose_nothing() {
    let env = Env::clinic(QUICK);
    env.up().deploy_clinic("v1", &[], 0);
    let (before, first) = (replicas(&env), supervisor(&env));
    let load = load(&env, None);
    let address = env.address;

    for _ in 0..5 {
        let (edge, engine) = (env.pid("edge"), env.pid("engine"));
        let mut socket = Socket::open(address).unwrap();
        assert_eq!(socket.echo("before").unwrap(), "before");
        let slow = std::thread::spawn(move || request(address, "GET", "/api/slow?ms=1500", &[], ""));
        upgrade(&env);
        assert_ne!((env.pid("edge"), env.pid("engine")), (edge, engine));
        // Both were in the edge that was replaced: it finishes them.
        assert_eq!(socket.echo("after").unwrap(), "after");
        assert_eq!(slow.join().unwrap().unwrap().status, 200);
    }
    answered(&load, 100);
    let report = stopped(load);

    println!("five upgrades: {report}");
    nothing_was_lost(&report);
    assert_eq!((replicas(&env), supervisor(&env)), (before, first), "replicas and the supervisor's pid stay");
    env.deploy_clinic("v2", &[], 0);
    assert_eq!(env.version(), "v2");
}

#[test]
fn o8_a_canary_goes_on_to_its_end_when_medeclipse_is_upgraded_in_its_middle() {
    let env = Env::clinic(
        "strategy = \"canary\"\nsteps = [20, 100]\nstep_bake = \"4s\"\nbake = \"2s\"\nkeep_hot = \"0s\"\ndrain = \"2s\"\nsticky = { cookie = \"me_rev\" }",
    );
    env.up().deploy_clinic("v1", &[], 0);
    let load = load(&env, Some(300.0));
    let deploy = env.start(&["deploy", "--version", "v2", "--env-var", "CLINIC_VERSION=v2"]);
    env.wait_for_phase("baking");
    let on_candidate = eventually("a user gets the candidate", 20, || {
        let answer = env.get("/api/health");
        let cookie = answer.header("set-cookie")?.split(';').next()?.to_owned();
        (answer.header("x-clinic-version")? == "v2").then_some(cookie)
    });

    upgrade(&env);
    for _ in 0..20 {
        let answer = env.request("GET", "/api/health", &[("Cookie", &on_candidate)], "").unwrap();
        assert_eq!(answer.header("x-clinic-version").unwrap(), "v2", "a sticky user stays");
    }
    let ran = deploy.end(60);

    assert_eq!(ran.code, 0, "{ran:?}\n{}", env.engine_log());
    nothing_was_lost(&stopped(load));
    assert_eq!(env.version(), "v2");
    eventually("the old revision is gone", 20, || (replicas(&env).len() == 2).then_some(()));
}

#[test]
fn o8_a_release_that_fails_is_still_returned_when_medeclipse_is_upgraded_while_it_is_watched() {
    let env = Env::clinic(
        "strategy = \"canary\"\nsteps = [20, 100]\nstep_bake = \"20s\"\nbake = \"2s\"\nkeep_hot = \"0s\"\ndrain = \"2s\"",
    );
    env.up().deploy_clinic("v1", &[], 0);
    let load = load(&env, Some(300.0));
    let fails_later = ["CLINIC_VERSION=v2", "CLINIC_FAIL_PERCENT=100", "CLINIC_FAIL_AFTER_MS=6000"];
    let mut args = vec!["deploy", "--version", "v2"];
    args.extend(fails_later.iter().flat_map(|fault| ["--env-var", fault]));
    let deploy = env.start(&args);
    env.wait_for_phase("baking");

    upgrade(&env);
    let ran = deploy.end(60);

    assert_eq!(ran.code, 4, "{ran:?}\n{}", env.engine_log());
    drop(load);
    assert_eq!(env.version(), "v1");
}

#[test]
fn o8_an_upgrade_to_a_program_that_fails_leaves_users_served_by_the_one_before() {
    let env = Env::clinic(QUICK);
    env.up().deploy_clinic("v1", &[], 0);
    let (before, first, edge) = (replicas(&env), supervisor(&env), env.pid("edge"));
    let load = load(&env, Some(400.0));
    let named = |path: PathBuf| env.run(&["upgrade", "--binary", path.to_str().unwrap()]);

    // One that cannot say its version: nothing is touched.
    says(&named("/bin/false".into()), 3, &["cannot upgrade to ", "/bin/false", "nothing has changed"]);
    says(&named("/bin/true".into()), 3, &["no medeclipse that can take over"]);
    says(&named(env.write_program("text", "no program")), 3, &["does not start"]);
    says(&named("/nowhere".into()), 2, &["cannot find /nowhere"]);
    assert_eq!(env.pid("edge"), edge);

    let blind =
        env.write_program("blind", &format!("#!/bin/sh\nMEDECLIPSE_TIMEOUT=broken exec {PROGRAM} \"$@\"\n"));
    says(&named(blind), 3, &["ended: exit status: 2", "nothing has changed"]);
    assert_eq!(env.pid("edge"), edge);

    // One whose supervisor runs, and whose edge does not: gone back to the one before, whose edge has served on.
    let log = env.state().join("logs/access.log");
    std::fs::rename(&log, log.with_extension("kept")).unwrap();
    std::fs::create_dir(&log).unwrap();
    says(&env.run(&["upgrade"]), 3, &["does not work here", "access.log", "goes on"]);
    std::fs::remove_dir(&log).unwrap();
    assert_eq!(env.pid("edge"), edge);
    answered(&load, 100);
    assert_eq!((replicas(&env), supervisor(&env)), (before, first));

    upgrade(&env);
    let report = stopped(load);
    println!("failed upgrades: {report}");
    nothing_was_lost(&report);
    assert_eq!(env.version(), "v1");
}

#[test]
fn o8_an_environment_in_the_foreground_is_upgraded_in_its_place() {
    let env = Env::clinic(QUICK);
    let up = env.start(&["up"]);
    eventually("it is up", 20, || env.state().join("run/ready").exists().then_some(()));
    env.deploy_clinic("v1", &[], 0);

    upgrade(&env);
    assert_eq!(supervisor(&env), up.child.id());
    assert_eq!(env.version(), "v1");
    up.signal("TERM");
    let ran = up.end(60);

    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("upgraded from") && ran.out.contains("down"), "{ran:?}");
}

#[test]
fn an_upgrade_is_refused_where_nothing_runs_and_while_another_is_under_way() {
    let env = Env::clinic(QUICK);
    says(&env.run(&["upgrade"]), 3, &["nothing runs", "medeclipse up"]);
    env.up();

    let lock = std::fs::File::create(env.state().join("run/upgrade.lock")).unwrap();
    lock.lock().unwrap();
    says(&env.run(&["upgrade"]), 3, &["another upgrade is under way"]);
    drop(lock);

    let ran = env.ok(&["upgrade", "--json"]);
    assert!(ran.out.lines().last().unwrap().contains("\"kind\":\"upgraded\""), "{ran:?}");
    let status = env.status();
    assert_eq!(status["engine"]["version"], status["edge"]["version"]);
}
