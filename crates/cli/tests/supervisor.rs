//! Brings real environments up, kills their parts, and looks whether users noticed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[allow(dead_code, reason = "shared with the tests of the whole path")]
#[path = "whole/harness.rs"]
mod harness;

use harness::{Env, eventually, installed, kill, processes_of};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A service that needs nothing but Debian's Python.
fn python() -> Option<Env> {
    let Some(python) = installed("python3") else {
        eprintln!("skipped: python3 is not installed");
        return None;
    };
    Some(Env::new(&format!(
        "[service.web]\ncommand = [{python:?}, \"-m\", \"http.server\", \"${{PORT}}\", \"--bind\", \"${{HOST}}\"]\n\
         health = {{ ready = \"/\", start = \"30s\" }}\n[service.web.rollout]\nbake = \"1s\"\ndrain = \"2s\"\n"
    )))
}

/// Asks for `/` over connections of its own, one after the other, and counts what comes back.
struct Users {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
    good: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl Users {
    fn of(address: SocketAddr) -> Self {
        let mut users = Self {
            stop: Arc::default(),
            thread: None,
            good: Arc::default(),
            refused: Arc::default(),
            failed: Arc::default(),
        };
        let (stop, good) = (users.stop.clone(), users.good.clone());
        let (refused, failed) = (users.refused.clone(), users.failed.clone());
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                let counter = match harness::request(address, "GET", "/", &[], "") {
                    Ok(answer) if answer.status == 200 => &good,
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => &refused,
                    _ => &failed,
                };
                counter.fetch_add(1, Ordering::SeqCst);
            }
        });
        users.thread = Some(thread);
        users
    }

    /// Waits until so many more requests went well.
    fn await_good(&self, more: u64) {
        let from = self.good.load(Ordering::SeqCst);
        eventually("more requests go well", 20, || {
            (self.good.load(Ordering::SeqCst) >= from + more).then_some(())
        });
    }

    /// Returns how many went well, were refused, and failed.
    fn end(mut self) -> (u64, u64, u64) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
        let read = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        (read(&self.good), read(&self.refused), read(&self.failed))
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn supervisor_pid(env: &Env) -> u32 {
    let text = std::fs::read_to_string(env.state().join("run/supervisor.pid")).unwrap();
    text.trim().parse().unwrap()
}

/// Kills the supervisor, and waits until its lock is gone with it.
fn kill_supervisor(env: &Env) {
    kill(supervisor_pid(env), "KILL");
    let lock = std::fs::File::open(env.state().join("run/supervisor.pid")).unwrap();
    eventually("the supervisor is gone", 20, || lock.try_lock().ok());
}

fn replica_pids(env: &Env) -> Vec<u32> {
    let ours = [supervisor_pid(env), env.pid("engine"), env.pid("edge")];
    let service = |pid: &u32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environ).contains("MEDECLIPSE_REPLICA=")
    };
    let mut pids: Vec<u32> = all_processes().filter(|pid| !ours.contains(pid)).filter(service).collect();
    pids.retain(|pid| {
        let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        cwd.starts_with(env.state())
    });
    pids.sort_unstable();
    pids
}

fn all_processes() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn await_new_pid(env: &Env, of: &str, old: u32) -> u32 {
    eventually("it runs again", 20, || {
        let ran = env.run(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&ran.out).ok()?;
        let pid = u32::try_from(status[of]["pid"].as_u64()?).ok()?;
        (pid != old).then_some(pid)
    })
}

#[test]
fn up_detached_returns_when_it_listens_and_down_leaves_nothing() {
    let Some(env) = python() else { return };
    let started = Instant::now();

    let up = env.ok(&["up", "--detach"]);

    println!("up --detach took {} ms", started.elapsed().as_millis());
    assert!(up.out.contains(&format!("serves  http://{}", env.address)), "{}", up.out);
    assert!(up.out.contains("medeclipse deploy"), "{}", up.out);
    assert_eq!(env.get("/").status, 503);
    env.deploy(&[], 0);
    assert_eq!(env.get("/").status, 200);
    let down = env.ok(&["down"]);
    assert!(down.out.starts_with("down after "), "{}", down.out);
    assert!(TcpStream::connect(env.address).is_err());
    assert_eq!(processes_of(&env.state()), Vec::<u32>::new());
}

#[test]
fn down_then_up_serves_the_same_revision_without_a_deployment() {
    let Some(env) = python() else { return };
    env.up().deploy(&[], 0);
    env.ok(&["down"]);

    env.up();

    eventually("stable serves again", 20, || (env.get("/").status == 200).then_some(()));
    assert_eq!(env.service()["stable"]["revision"], 1);
    let history: serde_json::Value = serde_json::from_str(&env.ok(&["history", "--json"]).out).unwrap();
    assert_eq!(history.as_array().unwrap().len(), 1);
}

#[test]
fn a_second_up_is_refused_by_the_pid_of_the_first() {
    let Some(env) = python() else { return };
    env.up();

    for args in [&["up"][..], &["up", "--detach"]] {
        let second = env.run(args);

        assert_eq!(second.code, 3, "{}", second.err);
        assert!(second.err.contains(&format!("process {} runs it", supervisor_pid(&env))), "{}", second.err);
    }
    assert_eq!(env.get("/").status, 503);
}

#[test]
fn an_engine_killed_under_load_costs_no_request_and_comes_back() {
    let Some(env) = python() else { return };
    env.up().deploy(&[], 0);
    let replicas = replica_pids(&env);
    let users = Users::of(env.address);
    users.await_good(20);

    let old = env.pid("engine");
    kill(old, "KILL");
    await_new_pid(&env, "engine", old);
    users.await_good(20);

    let (good, refused, failed) = users.end();
    assert_eq!((refused, failed), (0, 0), "{good} went well");
    assert_eq!(replica_pids(&env), replicas);
    assert!(!replicas.is_empty());
}

#[test]
fn an_edge_killed_under_load_refuses_no_connection() {
    let Some(env) = python() else { return };
    env.up().deploy(&[], 0);
    let users = Users::of(env.address);
    users.await_good(20);

    for _ in 0..3 {
        let old = env.pid("edge");
        kill(old, "KILL");
        await_new_pid(&env, "edge", old);
        users.await_good(20);
    }

    let (good, refused, failed) = users.end();
    println!("edge killed 3 times: {good} good, {refused} refused, {failed} lost in flight");
    assert_eq!(refused, 0);
    assert!(failed <= 3, "more than what was in flight was lost: {failed}");
}

#[test]
fn a_killed_supervisor_is_replaced_without_closing_a_listener() {
    let Some(env) = python() else { return };
    env.up().deploy(&[], 0);
    let replicas = replica_pids(&env);
    let (edge, engine) = (env.pid("edge"), env.pid("engine"));
    let users = Users::of(env.address);
    users.await_good(20);

    kill_supervisor(&env);
    users.await_good(20);
    eventually("a new supervisor takes over", 20, || (env.run(&["up", "--detach"]).code == 0).then_some(()));
    users.await_good(20);

    assert_ne!(env.pid("edge"), edge);
    assert_ne!(env.pid("engine"), engine);
    assert_eq!(replica_pids(&env), replicas);
    let (good, refused, failed) = users.end();
    assert_eq!((refused, failed), (0, 0), "{good} went well");
    eventually("the old edge is gone", 45, || (!processes_of(&env.state()).contains(&edge)).then_some(()));
}

#[test]
fn a_new_supervisor_whose_engine_cannot_start_leaves_users_served() {
    let Some(env) = python() else { return };
    env.up().deploy(&[], 0);
    let (edge, engine) = (env.pid("edge"), env.pid("engine"));
    kill_supervisor(&env);
    kill(engine, "KILL");
    eventually("the engine is gone", 20, || (!processes_of(&env.state()).contains(&engine)).then_some(()));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("listen = \"{}\"\n", env.address);
    env.edit(&listen, &format!("{listen}api = \"{}\"\n", taken.local_addr().unwrap()));

    let refused = env.run(&["up", "--detach"]);

    assert_eq!(refused.code, 3, "{}", refused.err);
    assert_eq!(env.get("/").status, 200);
    drop(taken);
    env.up();
    assert_eq!(env.get("/").status, 200);
    eventually("the first edge is gone", 45, || (!processes_of(&env.state()).contains(&edge)).then_some(()));
}

#[test]
fn an_edge_that_hands_nothing_over_is_replaced_all_the_same() {
    let Some(env) = python() else { return };
    env.up().deploy(&[], 0);
    kill_supervisor(&env);
    std::fs::remove_file(env.state().join("run/handover.sock")).unwrap();

    env.up();

    eventually("stable serves again", 20, || (env.get("/").status == 200).then_some(()));
}

#[test]
fn an_environment_goes_on_when_nobody_reads_what_it_tells() {
    let Some(env) = python() else { return };
    let mut up = env.start(&["up"]);
    drop(up.child.stdout.take());
    eventually("it is up", 20, || (env.run(&["status"]).code == 0).then_some(()));

    env.deploy(&[], 0);

    assert_eq!(env.get("/").status, 200);
    assert!(up.child.try_wait().unwrap().is_none());
    up.signal("TERM");
    assert_eq!(up.end(40).code, 0);
}

#[test]
fn down_ends_an_environment_whose_supervisor_died() {
    let Some(env) = python() else { return };
    env.up().deploy(&[], 0);
    kill_supervisor(&env);

    let down = env.ok(&["down"]);

    assert!(down.out.contains("down after"), "{}", down.out);
    assert_eq!(processes_of(&env.state()), Vec::<u32>::new());
}

#[test]
fn down_keep_replicas_leaves_them_and_up_finds_them() {
    let Some(env) = python() else { return };
    env.up().deploy(&[], 0);
    let replicas = replica_pids(&env);

    env.ok(&["down", "--keep-replicas"]);

    assert!(TcpStream::connect(env.address).is_err());
    for pid in &replicas {
        assert!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "replica {pid} is gone");
    }
    env.up();
    eventually("stable serves again", 20, || (env.get("/").status == 200).then_some(()));
    assert_eq!(replica_pids(&env), replicas);
}

#[test]
fn the_end_of_an_orphaned_replica_is_written_down() {
    let Some(env) = python() else { return };
    env.up().deploy(&[], 0);
    let replica = replica_pids(&env)[0];
    let old = env.pid("engine");
    kill(old, "KILL");
    await_new_pid(&env, "engine", old);

    kill(replica, "KILL");

    let reaped = env.state().join("run/reaped");
    let text = eventually("its end is written down", 20, || {
        let mut records = std::fs::read_dir(&reaped).ok()?.flatten();
        let record =
            records.find(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{replica}-")))?;
        std::fs::read_to_string(record.path()).ok()
    });
    assert_eq!(text, "signal 9\n");
    eventually("another replica takes its place", 20, || (env.get("/").status == 200).then_some(()));
}

#[test]
fn up_in_the_foreground_tells_what_happens_and_ends_on_sigterm() {
    let Some(env) = python() else { return };
    let up = env.start(&["up"]);
    eventually("it is up", 20, || (env.run(&["status"]).code == 0).then_some(()));
    env.deploy(&[], 0);

    up.signal("TERM");
    let ran = up.end(40);

    assert_eq!(ran.code, 0, "{}", ran.err);
    for part in [
        "local is up\n",
        " web d-1: deploy release ",
        "promoted revision 1\n",
        "stopping the replicas\n",
        "down\n",
    ] {
        assert!(ran.out.contains(part), "`{part}` is missing:\n{}", ran.out);
    }
    assert_eq!(processes_of(&env.state()), Vec::<u32>::new());
}

#[test]
fn an_engine_that_cannot_start_ends_up_with_its_own_words() {
    let Some(env) = python() else { return };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (listen, api) = (format!("listen = \"{}\"\n", env.address), taken.local_addr().unwrap());
    env.edit(&listen, &format!("{listen}api = \"{api}\"\n"));

    for args in [&["up"][..], &["up", "--detach"]] {
        let ran = env.run(args);

        assert_eq!(ran.code, 3, "{}", ran.err);
        assert!(ran.err.contains(&format!("listen on {api} for its API")), "{}", ran.err);
        assert!(ran.err.contains("cause: Address already in use"), "{}", ran.err);
    }
    assert_eq!(processes_of(&env.state()), Vec::<u32>::new());
    assert!(TcpStream::connect(env.address).is_err());
}

#[test]
fn too_long_a_state_path_moves_the_sockets_to_the_runtime_directory() {
    let Some(env) = python() else { return };
    let runtime = tempfile::Builder::new().prefix("me-run-").tempdir().unwrap();
    let state = env.folder.path().join("long-".repeat(25));
    let state = state.to_str().unwrap();
    let manifest = env.manifest();
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(harness::PROGRAM);
        command.args(args).args(["--state", state, "--manifest"]).arg(&manifest);
        command.env("XDG_RUNTIME_DIR", runtime.path()).output().unwrap()
    };

    let up = run(&["up", "--detach"]);
    let status = run(&["status"]);
    let down = run(&["down"]);

    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    assert!(status.status.success() && down.status.success());
    let mut command = std::process::Command::new(harness::PROGRAM);
    let refused = command.args(["status", "--state", state]).env_remove("XDG_RUNTIME_DIR").output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn the_environment_is_closed_to_other_users() {
    use std::os::unix::fs::PermissionsExt;
    let Some(env) = python() else { return };
    env.up();

    let mode = |path: &str| std::fs::metadata(env.state().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(""), 0o700);
    assert_eq!(mode("run"), 0o700);
    for socket in ["run/engine.sock", "run/edge.sock", "run/supervisor.sock", "run/handover.sock"] {
        assert_eq!(mode(socket), 0o600, "{socket}");
    }
}

#[test]
fn supervisor_edge_and_engine_need_less_than_60_mib_when_idle() {
    let Some(env) = python() else { return };
    env.up().deploy(&[], 0);
    let resident = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };

    let parts = [supervisor_pid(&env), env.pid("edge"), env.pid("engine")].map(resident);

    let sum: u64 = parts.iter().sum();
    println!("resident KiB: supervisor {}, edge {}, engine {}, together {sum}", parts[0], parts[1], parts[2]);
    assert!(sum < 60 * 1024, "{sum} KiB");
}

#[test]
fn status_answers_fast() {
    let Some(env) = python() else { return };
    env.up();
    let mut times: Vec<Duration> = (0..11)
        .map(|_| {
            let started = Instant::now();
            env.ok(&["status"]);
            started.elapsed()
        })
        .collect();
    times.sort_unstable();

    println!("status: median {:?}, worst {:?}", times[5], times[10]);
    assert!(times[5] < Duration::from_millis(500), "even a busy machine answers sooner: {times:?}");
}
