//! Sets up a process platform in a folder of its own, and sees to it that no process outlives a test.

#![allow(dead_code, reason = "every test file uses its part of it")]

use drivers::artifacts::Store;
use drivers::platform::process::proc::{self, Identity};
use drivers::platform::process::{Groups, ProcessConfig, ProcessPlatform};
use drivers::platform::{Platform, PlatformError};
use rollout::change::{Change, Observed, ObservedReplica, ReplicaState, Task, TaskId, TaskPlace};
use rollout::names::{Generation, Millis, Release, Revision, Target};
use rollout::release::{Health, Placed, ReleaseSpec};
use rustix::process::{Signal, kill_process_group};
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// How long anything in a test may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const GRACE: Millis = Millis(5000);

pub fn target() -> Target {
    Target::new("web", "local")
}

pub fn generation(seq: u64) -> Generation {
    Generation { epoch: 1, seq }
}

/// A state directory that kills what is left of its replicas and tasks when it is dropped.
pub struct State {
    dir: TempDir,
    pub ports: (u16, u16),
}

impl State {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), ports: ports() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn artifacts(&self) -> Store {
        Store::open(self.path().join("artifacts")).unwrap()
    }

    pub fn config(&self) -> ProcessConfig {
        ProcessConfig {
            state_dir: self.path().to_owned(),
            environment: "local".to_owned(),
            host: Ipv4Addr::LOCALHOST.into(),
            ports: self.ports,
            shim: vec![env!("CARGO_BIN_EXE_replica-shim").into()],
            artifacts: self.artifacts(),
            now: Arc::new(wall_clock),
        }
    }

    /// A platform without control groups, so that a test sees what process groups alone do.
    pub fn platform(&self) -> ProcessPlatform {
        ProcessPlatform::with_groups(self.config(), Groups::unavailable("not for this test")).unwrap()
    }

    /// Returns every process that was recorded as a replica, a shim or a command of a task.
    pub fn identities(&self) -> Vec<Identity> {
        let mut found = Vec::new();
        for folder in self.folders() {
            if let Some(claim) = json(&folder.join("claim.json"))
                && let Ok(identity) = serde_json::from_value(claim["runs"].clone())
            {
                found.push(identity);
            }
            if let Some(command) = json(&folder.join("command.json"))
                && let Ok(identity) = serde_json::from_value(command)
            {
                found.push(identity);
            }
        }
        found
    }

    /// Returns the control groups that were recorded.
    fn groups(&self) -> Vec<PathBuf> {
        let records = self.folders().into_iter().filter_map(|folder| json(&folder.join("record.json")));
        records
            .filter_map(|record| {
                serde_json::from_value::<Vec<PathBuf>>(record["cgroup"]["folders"].clone()).ok()
            })
            .flatten()
            .collect()
    }

    fn folders(&self) -> Vec<PathBuf> {
        let kinds = ["replicas", "tasks"].map(|kind| subfolders(&self.path().join(kind)));
        kinds.iter().flatten().flat_map(|target| subfolders(target)).collect()
    }
}

impl Drop for State {
    fn drop(&mut self) {
        for identity in self.identities().into_iter().filter(|identity: &Identity| same_or_gone(identity)) {
            if let Some(group) = proc::as_pid(identity.pid) {
                let _mostly_gone = kill_process_group(group, Signal::KILL);
            }
        }
        for group in self.groups() {
            remove_group(&group);
        }
    }
}

/// Removes a control group once what was killed in it is gone, and the empty ones above it.
fn remove_group(group: &Path) {
    let until = Instant::now() + Duration::from_secs(2);
    while group.exists() && fs::remove_dir(group).is_err() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
    for above in group.ancestors().skip(1).take_while(|above| !above.ends_with("medeclipse")) {
        let _others_are_in_it = fs::remove_dir(above);
    }
}

/// Returns whether the number of the process has not become another's.
fn same_or_gone(identity: &Identity) -> bool {
    !matches!(proc::stat(identity.pid), Ok(Some(stat)) if stat.start != identity.start)
}

fn subfolders(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}

/// Reads the JSON of a file without its checksum.
pub fn json(path: &Path) -> Option<serde_json::Value> {
    drivers::files::read(path).ok()?
}

pub fn wall_clock() -> Millis {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Millis(u64::try_from(now.as_millis()).unwrap())
}

/// Finds a range of forty ports that are free now and likely to stay so: below those the system hands out.
pub fn ports() -> (u16, u16) {
    let process = u16::try_from(std::process::id() % 350).unwrap();
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    for _ in 0..100 {
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let first = 15_000 + (process.wrapping_mul(7).wrapping_add(next) % 350) * 40;
        if TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), first)).is_ok() {
            return (first, first + 39);
        }
    }
    unreachable!("BUG: a hundred ranges, none free")
}

pub fn spec(command: &[&str]) -> ReleaseSpec {
    ReleaseSpec {
        artifact: None,
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        env: BTreeMap::new(),
        resources: None,
        health: Health::default(),
        expand: Vec::new(),
    }
}

/// A program found on every machine with Python, which listens.
pub fn server() -> ReleaseSpec {
    spec(&["python3", "-m", "http.server", "${PORT}", "--bind", "${HOST}"])
}

pub fn placed(revision: u64, spec: ReleaseSpec) -> Placed {
    Placed { revision: Revision(revision), release: Release::new("0123456789abcdef"), label: None, spec }
}

pub fn launch(revision: u64, replicas: u32, spec: ReleaseSpec) -> Change {
    Change::Launch { placed: placed(revision, spec), replicas }
}

pub fn remove(revision: u64) -> Change {
    Change::Remove { revision: Revision(revision), grace: GRACE }
}

pub fn shell_task(name: &str, script: &str, folder: &Path, deadline: Millis) -> Task {
    Task {
        id: TaskId { deployment: "d-1".into(), name: name.to_owned() },
        command: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()],
        place: TaskPlace::Folder(folder.display().to_string()),
        env: BTreeMap::new(),
        deadline,
    }
}

/// Observes until `wanted` is so; panics with the last observation when it never is.
pub async fn see<P: Platform>(platform: &P, wanted: impl Fn(&Observed) -> bool) -> Observed {
    let until = Instant::now() + PATIENCE;
    loop {
        let observed = platform.observe(&target()).await.unwrap();
        if wanted(&observed) {
            return observed;
        }
        assert!(Instant::now() < until, "never seen; last: {observed:#?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until a condition that nothing observes is so.
pub async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "never so: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Launches and waits until that many listen.
pub async fn up<P: Platform>(
    platform: &P,
    revision: u64,
    replicas: u32,
    spec: ReleaseSpec,
) -> Vec<ObservedReplica> {
    platform.apply(&target(), &launch(revision, replicas, spec), generation(1)).await.unwrap();
    let observed = see(platform, |observed| listening(observed) >= replicas as usize).await;
    observed.replicas
}

pub fn listening(observed: &Observed) -> usize {
    observed.replicas.iter().filter(|replica| replica.state == ReplicaState::Listening).count()
}

pub fn refusal(outcome: Result<(), PlatformError>) -> (String, String, String) {
    match outcome {
        Err(PlatformError::Refused { what, why, next }) => (what, why, next),
        other => panic!("not refused: {other:?}"),
    }
}

/// Returns whether nothing but zombies is left of a process group.
pub fn group_is_empty(pid: u32) -> bool {
    proc::group_members(pid).unwrap().is_empty()
}

/// A file system of one mebibyte, gone when dropped.
pub struct SmallDisk(TempDir);

impl SmallDisk {
    pub fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let status = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(dir.path())
            .stderr(std::process::Stdio::null())
            .status();
        status.is_ok_and(|status| status.success()).then(|| Self(dir))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn fill(&self) {
        use std::io::Write;
        let mut file = fs::File::create(self.0.path().join("ballast")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _reported_by_the_system =
            std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
