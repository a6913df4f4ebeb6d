//! Tests the clinic on real PostgreSQL and Redis, started here in temporary folders on Unix sockets. Says aloud when
//! a machine has them not; script/test installs both.

use super::support::{Clinic, PATIENCE, Process, appointment, command};
use rustix::process::{Signal, geteuid};
use std::io::Write;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::{TempDir, tempdir};

/// Says aloud that a test did not run. Not by `eprintln!`, which the test harness keeps to itself.
fn skipped(why: &str) {
    std::io::stderr().write_all(format!("skipped: {why}\n").as_bytes()).unwrap();
}

/// PostgreSQL refuses to run as root, so then it runs as the user its package made.
struct Postgres {
    folder: TempDir,
    binaries: PathBuf,
    user: Option<(u32, u32)>,
    process: Option<Process>,
}

impl Postgres {
    /// Returns None, having said so, when it is not installed.
    fn start() -> Option<Self> {
        let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().join("bin"))
            .filter(|binaries| binaries.join("postgres").exists())
            .collect();
        versions.sort();
        let Some(binaries) = versions.pop() else {
            skipped("PostgreSQL is not installed (apt-get install postgresql)");
            return None;
        };
        let user = geteuid().is_root().then(|| (id("-u"), id("-g")));
        let folder = tempdir().unwrap();
        if let Some((user, group)) = user {
            chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        let mut postgres = Self { folder, binaries, user, process: None };
        postgres.make();
        postgres.run();
        Some(postgres)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command.current_dir(self.folder.path()).env_clear().env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    fn make(&self) {
        let arguments = ["-D", "data", "-A", "trust", "-U", "clinic", "--no-sync", "-E", "UTF8"];
        let output = self.command("initdb").args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Starts it, without any TCP port.
    fn run(&mut self) {
        let socket = self.folder.path().to_str().unwrap();
        let child = self
            .command("postgres")
            .args(["-D", "data", "-k", socket, "-c", "listen_addresses=", "-c", "fsync=off"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(Process(child));
    }

    fn url(&self) -> String {
        let socket = self.folder.path().to_str().unwrap().replace('/', "%2F");
        format!("postgresql://clinic@{socket}/postgres")
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Fast shutdown: ends the connections and takes its shared memory with it.
            process.signal(Signal::INT);
            process.ended();
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

fn id(which: &str) -> u32 {
    let output = Command::new("id").args([which, "postgres"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().expect("there is no user postgres")
}

/// Starts Redis on a Unix socket in the folder; None, having said so, when it is not installed.
fn redis(folder: &Path) -> Option<Process> {
    let started = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--dir"])
        .arg(folder)
        .arg("--unixsocket")
        .arg(folder.join("redis.sock"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    match started {
        Ok(child) => Some(Process(child)),
        Err(error) => {
            skipped(&format!("Redis cannot be started (apt-get install redis-server): {error}"));
            None
        }
    }
}

fn redis_url(folder: &Path) -> String {
    format!("redis+unix://{}", folder.join("redis.sock").display())
}

/// Runs a migration until the database has come up.
fn migrate(url: &str, half: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = command(&[("DATABASE_URL", url)]).args(["migrate", half]).output().unwrap();
        if output.status.success() {
            return String::from_utf8(output.stdout).unwrap();
        }
        assert!(Instant::now() < deadline, "{output:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test]
async fn two_replicas_share_postgres_and_readiness_follows_it() {
    let Some(mut postgres) = Postgres::start() else { return };
    let url = postgres.url();
    let settings = [("DATABASE_URL", url.as_str())];
    let one = Clinic::start(&settings);
    let early = one.until("/api/health/ready", 503).await;
    assert_eq!(early.json()["checks"][0]["name"], "postgres");

    assert!(migrate(&url, "expand").contains("made the table appointments, added the column duration_min"));
    assert!(migrate(&url, "expand").contains("nothing to do"));
    one.until("/api/health/ready", 200).await;
    let two = Clinic::start(&settings);
    let made = one.post("/api/appointments", &appointment(3)).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(two.get(made.header("location")).await.json(), made.json());
    assert_eq!(two.get("/api/appointments").await.json()["appointments"][0], made.json());
    assert_eq!(two.get("/api/health/deep").await.status, 200);

    postgres.stop();
    let lost = one.until("/api/health/ready", 503).await;
    assert!(lost.json()["checks"][0]["cause"].as_str().unwrap().starts_with("not reachable"), "{lost:?}");
    assert_eq!(one.get("/api/health/deep").await.status, 503);
    assert_eq!(one.get("/api/appointments").await.status, 503);
    assert_eq!(one.get("/api/health/live").await.status, 200, "a lost database is no reason to be restarted");

    postgres.run();
    one.until("/api/health/ready", 200).await;
    assert_eq!(two.until("/api/appointments", 200).await.json()["appointments"][0], made.json());
    assert_eq!(one.send("DELETE", made.header("location"), "").await.status, 204);
    assert!(migrate(&url, "contract").contains("nothing to do"));
}

#[tokio::test]
async fn a_silent_database_is_found_out_within_the_deadline() {
    let Some(postgres) = Postgres::start() else { return };
    let url = postgres.url();
    migrate(&url, "expand");
    let clinic = Clinic::start(&[("DATABASE_URL", &url)]);
    clinic.until("/api/health/ready", 200).await;
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(async { connection.await.unwrap_or(()) });

    client.batch_execute("BEGIN; LOCK TABLE appointments IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let begun = Instant::now();
    let silent = clinic.get("/api/health/ready").await;
    let took = begun.elapsed();

    assert_eq!(silent.status, 503);
    assert_eq!(silent.json()["checks"][0]["cause"], "no answer within 400 ms");
    assert!(took >= Duration::from_millis(400) && took < Duration::from_secs(3), "{took:?}");
    assert_eq!(clinic.get("/api/health/deep").await.status, 503);
    let refused = command(&[("DATABASE_URL", &url)]).args(["migrate", "expand"]).output().unwrap();
    assert!(refused.status.success(), "a migration that has nothing to do locks nothing: {refused:?}");

    client.batch_execute("COMMIT").await.unwrap();
    clinic.until("/api/health/ready", 200).await;
}

#[tokio::test]
async fn contract_removes_the_free_text_of_the_first_releases_and_yields_to_readers() {
    let Some(postgres) = Postgres::start() else { return };
    let url = postgres.url();
    migrate(&url, "expand");
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(async { connection.await.unwrap_or(()) });
    client.batch_execute("ALTER TABLE appointments ADD COLUMN note TEXT").await.unwrap();
    client.batch_execute("BEGIN; SELECT 1 FROM appointments").await.unwrap();

    let refused = command(&[("DATABASE_URL", &url)]).args(["migrate", "contract"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(stderr.contains("cause: another process holds the lock"), "{stderr}");

    client.batch_execute("COMMIT").await.unwrap();
    assert!(migrate(&url, "contract").contains("removed the column note"));
}

#[tokio::test]
async fn redis_keeps_the_list_and_its_loss_costs_readiness_but_no_request() {
    let folder = tempdir().unwrap();
    let Some(server) = redis(folder.path()) else { return };
    let url = redis_url(folder.path());
    let one = Clinic::with_file(folder.path(), &[("REDIS_URL", &url)]);
    let two = Clinic::with_file(folder.path(), &[("REDIS_URL", &url)]);
    one.until("/api/health/ready", 200).await;
    one.until("/api/health/deep", 200).await;

    let deadline = Instant::now() + PATIENCE;
    while two.get("/api/appointments").await.header("x-cache") != "hit" {
        assert!(Instant::now() < deadline, "the list was never kept");
    }
    let made = one.post("/api/appointments", &appointment(5)).await;
    assert_eq!(
        two.get("/api/appointments").await.json()["appointments"][0],
        made.json(),
        "an old list was kept"
    );
    while one.get("/api/health").await.json()["requests_per_s"].as_u64() == Some(0) {
        assert!(Instant::now() < deadline, "nothing was counted");
        one.get("/api/appointments").await;
    }

    server.signal(Signal::STOP);
    let begun = Instant::now();
    let silent = one.get("/api/health/ready").await;
    assert_eq!((silent.status.as_u16(), silent.json()["checks"][1]["name"].as_str()), (503, Some("redis")));
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert_eq!(one.get("/api/appointments").await.json()["appointments"][0], made.json());
    server.signal(Signal::CONT);
    one.until("/api/health/ready", 200).await;

    drop(server);
    let lost = one.until("/api/health/deep", 503).await;
    assert_eq!(
        (&lost.json()["checks"][0]["ok"], &lost.json()["checks"][1]["ok"]),
        (&true.into(), &false.into())
    );
    assert_eq!(one.post("/api/appointments", &appointment(6)).await.status, 201);

    let _server = redis(folder.path());
    one.until("/api/health/ready", 200).await;
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named_and_its_password_is_not() {
    let folder = tempdir().unwrap();
    let redis = redis_url(folder.path());
    let url = "postgres://clinic:hunter2@127.0.0.1:1/clinic";
    let clinic = Clinic::start(&[("DATABASE_URL", url), ("REDIS_URL", &redis)]);

    let ready = clinic.get("/api/health/ready").await;

    assert_eq!(ready.status, 503);
    assert!(ready.json()["checks"].as_array().unwrap().iter().all(|check| check["ok"] == false), "{ready:?}");
    let answers = [ready, clinic.get("/api/health").await, clinic.get("/api/appointments").await];
    assert!(answers.iter().all(|answer| !answer.text.contains("hunter2")));
    let output = command(&[("DATABASE_URL", url)]).args(["migrate", "expand"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(!String::from_utf8(output.stderr).unwrap().contains("hunter2"));
}
