//! Runs the real binary in an environment of its own, the way a user does, and leaves nothing behind.

use serde_json::Value;
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The binary under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_medeclipse");

/// An environment in a temporary folder. Dropping it stops everything it started.
pub struct Env {
    pub folder: TempDir,
    pub address: SocketAddr,
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// An answer over HTTP.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<String> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

/// Returns the reference service's program, which `cargo build --bins` puts beside ours.
pub fn clinic() -> PathBuf {
    let path = Path::new(PROGRAM).with_file_name("clinic");
    assert!(path.exists(), "{} is missing: run `cargo build --workspace --bins`", path.display());
    path
}

/// Returns a path that a command-line word can name, or None where the program is not installed.
pub fn installed(program: &str) -> Option<PathBuf> {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/bin"].map(|place| Path::new(place).join(program));
    places.into_iter().find(|path| path.exists())
}

/// Returns a port nobody listens on, outside of the range the system takes outgoing connections from: there, any
/// client of any test could have it a moment later.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 9_000) as u16;
    let candidates = (0..9_000).map(|_| 10_000 + (start + NEXT.fetch_add(1, Ordering::SeqCst)) % 9_000);
    let mut free = candidates.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("one of 9,000 ports is free")
}

/// Waits until `holds` returns something, at most `seconds`.
pub fn eventually<T>(what: &str, seconds: u64, mut holds: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(found) = holds() {
            return found;
        }
        assert!(Instant::now() < until, "not within {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Env {
    /// Makes an environment whose manifest is `services` and an `[environment.local]` on free ports.
    pub fn new(services: &str) -> Self {
        let env = Self {
            folder: tempfile::Builder::new().prefix("me-").tempdir().expect("a temporary folder"),
            address: SocketAddr::from(([127, 0, 0, 1], free_port())),
        };
        env.write_manifest(services);
        env
    }

    /// Makes an environment for the clinic; `rollout` holds lines of `[service.web.rollout]`.
    pub fn clinic(rollout: &str) -> Self {
        let env = Self::new("");
        env.write_manifest(&env.clinic_service(rollout));
        env
    }

    /// Returns the clinic's section of a manifest.
    pub fn clinic_service(&self, rollout: &str) -> String {
        format!(
            r#"
[service.web]
artifact = {:?}
command  = ["./clinic"]
replicas = {{ min = 2, max = 4 }}
env      = {{ CLINIC_DB = "{}/clinic.db", CLINIC_DRAIN_MS = "3000" }}
health   = {{ live = "/api/health/live", ready = "/api/health/ready", interval = "200ms", timeout = "800ms", start = "20s" }}
[service.web.rollout]
{rollout}
"#,
            clinic(),
            self.folder.path().display()
        )
    }

    pub fn write_manifest(&self, services: &str) {
        // Ports of tests that run side by side must not meet: each takes a range of its own, by its listening port.
        let first = 20_000 + u32::from(self.address.port()) % 60 * 200;
        let text = format!(
            "{services}\n[environment.local]\nlisten = \"{}\"\nports = \"{first}-{}\"\n",
            self.address,
            first + 99
        );
        std::fs::write(self.manifest(), text).expect("the manifest is written");
    }

    /// Replaces a part of the manifest, as an editor would.
    pub fn edit(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.manifest()).expect("the manifest is read");
        assert!(text.contains(from), "the manifest has no {from:?}");
        std::fs::write(self.manifest(), text.replace(from, to)).expect("the manifest is written");
    }

    /// Writes an executable file beside the manifest.
    pub fn write_program(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("BUG: a file is in a folder"))
            .expect("its folder is made");
        std::fs::write(&path, text).expect("the program is written");
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("it is made executable");
        path
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    pub fn manifest(&self) -> PathBuf {
        self.folder.path().join("medeclipse.toml")
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(args)
            .arg("--manifest")
            .arg(self.manifest())
            .arg("--state")
            .arg(self.state())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .env_remove("MEDECLIPSE_JSON");
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        let output = self.command(args).output().expect("the program starts");
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a command that must end with 0.
    pub fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "medeclipse {args:?}: {}\n{}\n{}", ran.out, ran.err, self.engine_log());
        ran
    }

    /// Starts the environment.
    pub fn up(&self) -> &Self {
        self.ok(&["up", "--detach"]);
        self
    }

    /// Deploys with these arguments and expects this exit code.
    pub fn deploy(&self, args: &[&str], code: i32) -> Ran {
        let all: Vec<&str> = ["deploy"].iter().chain(args).copied().collect();
        let ran = self.run(&all);
        assert_eq!(ran.code, code, "medeclipse {all:?}:\n{}\n{}\n{}", ran.out, ran.err, self.engine_log());
        ran
    }

    /// Deploys a version of the clinic.
    pub fn deploy_clinic(&self, version: &str, faults: &[&str], code: i32) -> Ran {
        let label = format!("CLINIC_VERSION={version}");
        let mut args = vec!["--version", version, "--env-var", label.as_str()];
        args.extend(faults.iter().flat_map(|fault| ["--env-var", fault]));
        self.deploy(&args, code)
    }

    /// Starts a command and returns it, its output piped.
    pub fn start(&self, args: &[&str]) -> Running {
        let child = self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Running { child: child.expect("the program starts") }
    }

    pub fn status(&self) -> Value {
        let ran = self.ok(&["status", "--json"]);
        serde_json::from_str(&ran.out).expect("status is JSON")
    }

    /// Returns the first service's status.
    pub fn service(&self) -> Value {
        self.status()["services"][0].clone()
    }

    /// Waits until the first service is in this phase.
    pub fn wait_for_phase(&self, phase: &str) -> Value {
        eventually(&format!("the phase is {phase}"), 20, || {
            Some(self.service()).filter(|service| service["phase"] == phase)
        })
    }

    /// Returns the deployments, oldest first.
    pub fn history(&self) -> Vec<Value> {
        let ran = self.ok(&["history", "--json", "--limit", "100"]);
        let mut rows: Vec<Value> = serde_json::from_str(&ran.out).expect("history is JSON");
        rows.reverse();
        rows
    }

    /// Returns the outcomes of the deployments, oldest first; those that run have none.
    pub fn outcomes(&self) -> Vec<String> {
        self.history().iter().map(|row| row["outcome"].as_str().unwrap_or("running").to_owned()).collect()
    }

    /// Returns the processes of the clinic's replicas of one version.
    pub fn replicas_of(&self, version: &str) -> Vec<u32> {
        let needle = format!("CLINIC_VERSION={version}\0");
        let is_replica = |pid: &u32| {
            let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            read("cmdline").starts_with(b"./clinic")
                && String::from_utf8_lossy(&read("environ")).contains(&needle)
        };
        processes_of(self.folder.path()).into_iter().filter(is_replica).collect()
    }

    /// Returns every event of the journals, oldest first.
    pub fn events(&self) -> Vec<Value> {
        let api = self.status()["api"].as_str().expect("the API's address").replace("http://", "");
        let mut stream = TcpStream::connect(&api).expect("the API answers");
        stream.set_read_timeout(Some(Duration::from_millis(700))).expect("a timeout is set");
        write!(stream, "GET /v1/events?detail=1 HTTP/1.1\r\nHost: {api}\r\n\r\n")
            .expect("the request is sent");
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        lines.filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
    }

    /// Returns the kinds of all events but evidence, oldest first.
    pub fn kinds(&self) -> Vec<String> {
        let kind = |event: &Value| event["kind"].as_str().unwrap_or_default().to_owned();
        self.events().iter().map(kind).filter(|kind| kind != "evidence_added").collect()
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], "").expect("an answer")
    }

    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> std::io::Result<Answer> {
        request(self.address, method, path, headers, body)
    }

    /// Returns the version of the clinic that answers.
    pub fn version(&self) -> String {
        self.get("/api/health").header("x-clinic-version").unwrap_or_default()
    }

    pub fn engine_log(&self) -> String {
        let read =
            |name: &str| std::fs::read_to_string(self.state().join("logs").join(name)).unwrap_or_default();
        format!("--- engine.log\n{}\n--- edge.log\n{}", read("engine.log"), read("edge.log"))
    }

    /// Returns the pid that `status` names.
    pub fn pid(&self, of: &str) -> u32 {
        self.status()[of]["pid"].as_u64().expect("a pid") as u32
    }
}

impl Drop for Env {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.engine_log());
        }
        let down = self.run(&["down"]);
        if down.code != 0 && !std::thread::panicking() {
            panic!("`medeclipse down` failed: {} {}\n{}", down.out, down.err, self.engine_log());
        }
        let left = processes_of(self.folder.path());
        for pid in &left {
            kill(*pid, "KILL");
        }
        if !left.is_empty() && !std::thread::panicking() {
            panic!("processes were left running: {left:?}");
        }
    }
}

/// Returns the processes that have this folder in their environment or arguments, or run in it.
pub fn processes_of(folder: &Path) -> Vec<u32> {
    let needle = folder.to_string_lossy().into_owned();
    let pids = std::fs::read_dir("/proc").expect("/proc is there").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            let all = [read("cmdline"), read("environ")].concat();
            let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            String::from_utf8_lossy(&all).contains(&needle) || cwd.starts_with(folder)
        })
        .collect()
}

pub fn kill(pid: u32, signal: &str) {
    Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status().expect("kill runs");
}

/// A command that runs beside the test; killed when dropped.
pub struct Running {
    pub child: Child,
}

impl Running {
    pub fn signal(&self, signal: &str) {
        kill(self.child.id(), signal);
    }

    /// Waits for its end, at most `seconds`.
    pub fn end(mut self, seconds: u64) -> Ran {
        let status =
            eventually("the command ends", seconds, || self.child.try_wait().expect("it can be waited for"));
        let mut ran = Ran { code: status.code().unwrap_or(-1), out: String::new(), err: String::new() };
        if let Some(mut out) = self.child.stdout.take() {
            out.read_to_string(&mut ran.out).expect("its output can be read");
        }
        if let Some(mut err) = self.child.stderr.take() {
            err.read_to_string(&mut ran.err).expect("its errors can be read");
        }
        ran
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends one request over a connection of its own.
pub fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str(&format!("Host: {address}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    write!(stream, "{head}\r\n{body}")?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}
