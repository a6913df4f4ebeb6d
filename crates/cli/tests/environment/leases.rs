//! Lets two engines want the same environment, under load: one leads, the other waits, and one that was stopped and
//! passed over changes nothing when it wakes.

use crate::QUICK;
use crate::harness::{Env, eventually, kill};
use crate::load::{Load, nothing_was_lost};
use crate::says;
use rusqlite::Connection;
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::Duration;

/// A lease of a second and a half, so that nobody waits for twelve.
const SHORT_LEASE: (&str, &str) = ("MEDECLIPSE_LEASE_TTL_MS", "1500");
const CANARY: &str = "strategy = \"canary\"\nsteps = [20, 100]\nstep_bake = \"5s\"\nbake = \"1s\"\nkeep_hot = \"0s\"\ndrain = \"2s\"";

fn serving(rollout: &str) -> Env {
    let env = Env::clinic(rollout);
    let up = env.command(&["up", "--detach"]).env(SHORT_LEASE.0, SHORT_LEASE.1).output().unwrap();
    assert!(up.status.success(), "{up:?}");
    env.deploy_clinic("v1", &[], 0);
    env
}

/// A second engine, started by hand.
struct Engine(Child);

impl Engine {
    fn start(env: &Env) -> Self {
        let log = std::fs::File::create(env.folder.path().join("second.log")).unwrap();
        let mut command = env.command(&["internal", "engine"]);
        command.env(SHORT_LEASE.0, SHORT_LEASE.1).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().unwrap())
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
    }
}

fn until_engine(env: &Env, what: &str, wanted: impl Fn(u64) -> bool) -> u64 {
    eventually(what, 30, || {
        let ran = env.run(&["status", "--json", "--timeout", "1s"]);
        let status: Value = serde_json::from_str(&ran.out).ok()?;
        status["engine"]["pid"].as_u64().filter(|pid| wanted(*pid))
    })
}

/// Sends one request to the edge's own socket, as engines do.
fn tell_edge(env: &Env, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(env.state().join("run/edge.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: edge\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    let body = text.split_once("\r\n\r\n").unwrap().1;
    (
        status,
        serde_json::from_str(&body[body.find('{').unwrap_or(0)..=body.rfind('}').unwrap_or(0)])
            .unwrap_or_default(),
    )
}

fn has_ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

#[test]
fn o11_a_zombie_engine_is_passed_over_and_what_it_writes_is_refused_everywhere() {
    let env = serving(CANARY);
    let load = Load::on(&env);
    env.ok(&["deploy", "--detach", "--version", "v2", "--env-var", "CLINIC_VERSION=v2"]);
    env.until_phase("baking");
    let (supervisor, zombie) = (env.supervisor(), env.pid("engine"));
    let before = env.service()["lease"]["epoch"].as_u64().unwrap();

    // The supervisor would replace it; here, another engine is to be faster.
    kill(supervisor, "STOP");
    kill(zombie, "STOP");
    let doctor = eventually("the doctor finds it silent", 20, || {
        let ran = env.run(&["doctor"]);
        ran.out.contains("should have renewed its lease").then_some(ran)
    });
    assert!(doctor.out.contains(&format!("process {zombie} on")), "{doctor:?}");
    let unreachable = env.run(&["status", "--timeout", "1s"]);
    says(&unreachable, 7, &[&format!("process {zombie} on"), "leads until"]);
    let mut second = Engine::start(&env);
    let leader = until_engine(&env, "the second engine leads", |pid| pid != u64::from(zombie));

    assert_eq!(leader, u64::from(second.0.id()));
    let log = env.read("second.log");
    assert!(
        log.contains(&format!("waiting for process {zombie} on")) && log.contains("at the earliest"),
        "{log}"
    );
    let epoch = eventually("it leads the target", 20, || {
        let lease = env.service()["lease"].clone();
        (lease["ours"] == true && lease["owner"].as_str()?.contains(&format!("process {leader} on")))
            .then(|| lease["epoch"].as_u64())?
    });
    assert!(epoch > before);
    // Refused at the edge, however late in its own journal the zombie was.
    let table = eventually("the edge knows the new leader", 20, || {
        let (_, state) = tell_edge(&env, "GET", "/v1/state", "");
        let table = state["tables"][0].clone();
        (table["generation"]["epoch"] == epoch).then_some(table)
    });
    let mut old = table.clone();
    old["generation"] = serde_json::json!({ "epoch": before, "seq": 1_000_000 });
    assert_eq!(tell_edge(&env, "PUT", "/v1/table", &old.to_string()).0, 409);
    // And where replicas are started and stopped.
    let fence = fence_of(&env);
    assert_eq!(fence["generation"]["epoch"], epoch, "{fence}");
    load.goes_on(100);

    kill(zombie, "CONT");
    eventually("the zombie ends by itself", 20, || has_ended(zombie).then_some(()));
    let log = env.read("state/logs/engine.log");
    assert!(log.contains("lease_lost"), "{log}");
    assert_eq!(env.status()["engine"]["pid"], leader, "the zombie took the socket with it");
    eventually("the rollout ends", 40, || env.outcomes().last()?.starts_with("promoted").then_some(()));
    assert_eq!(env.version(), "v2");
    env.write_manifest(&env.clinic_service(QUICK));
    env.deploy_clinic("v3", &[], 0);

    // The supervisor starts an engine again: it waits behind the one that leads, and follows it at once.
    kill(supervisor, "CONT");
    eventually("the next engine waits", 30, || {
        env.read("state/logs/engine.log").contains(&format!("waiting for process {leader} on")).then_some(())
    });
    assert_eq!(env.status()["engine"]["pid"], leader);
    second.end();
    until_engine(&env, "the supervisor's engine leads", |pid| pid != leader);
    env.deploy_clinic("v4", &[], 0);

    nothing_was_lost(&load.end());
    let taken = env.kinds().iter().filter(|kind| *kind == "lease_taken").count();
    assert!(taken >= 3, "{:?}", env.kinds());
}

/// Returns what the process platform keeps of the newest generation.
fn fence_of(env: &Env) -> Value {
    let text = std::fs::read_to_string(env.state().join("replicas/web@local/.fence.json")).unwrap();
    // A checksum follows.
    let (fence, _) = text.split_once("\n#sha256:").unwrap();
    serde_json::from_str(fence).unwrap()
}

#[test]
fn r25_a_target_another_one_leads_is_shown_is_refused_and_is_followed_when_that_one_falls_silent() {
    let env = serving(QUICK);
    let journal = Connection::open(env.state().join("journal/web@local.db")).unwrap();
    journal.busy_timeout(Duration::from_secs(5)).unwrap();
    let foreign = "a runner on build-7";
    let taken =
        journal.execute("UPDATE lease SET epoch = epoch + 1, owner = ?1, until = until + 5000", [foreign]);
    assert_eq!(taken.unwrap(), 1);
    let renew = || journal.execute("UPDATE lease SET until = until + 1 WHERE owner = ?1", [foreign]).unwrap();

    // Shown, by who asks the engine and by who reads its log.
    let service = eventually("the engine steps back", 20, || {
        renew();
        Some(env.service()).filter(|service| service["phase"] == "waiting")
    });
    assert_eq!((&service["lease"]["owner"], &service["lease"]["ours"]), (&foreign.into(), &false.into()));
    let text = env.ok(&["status"]).out;
    assert!(text.contains(&format!("led by {foreign} until")), "{text}");
    assert!(
        env.engine_log().contains("lease_lost web@local: lease lost to a runner on build-7"),
        "{}",
        env.engine_log()
    );

    // Refused, for as long as that one renews: three lives of a lease.
    for _ in 0..15 {
        renew();
        std::thread::sleep(Duration::from_millis(300));
        renew();
        says(
            &env.run(&["deploy", "--version", "v2", "--env-var", "CLINIC_VERSION=v2"]),
            3,
            &[foreign, "epoch", "until"],
        );
        assert_eq!(env.version(), "v1");
    }

    // Followed by itself once it is silent; at once when it gives back.
    eventually("the engine leads again", 20, || (env.service()["lease"]["ours"] == true).then_some(()));
    env.deploy_clinic("v2", &[], 0);
    assert_eq!(env.version(), "v2");
    let released = "UPDATE lease SET epoch = epoch + 1, owner = ?1, until = 0";
    journal.execute(released, [foreign]).unwrap();
    eventually("it leads again after a release", 20, || {
        let service = env.service();
        (service["lease"]["ours"] == true && service["lease"]["epoch"].as_u64()? >= 5).then_some(())
    });
    env.deploy_clinic("v3", &[], 0);
}
