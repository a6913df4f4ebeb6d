//! Runs replicas as processes of this machine. They outlive the engine: everything needed to find them again is
//! on disk before they start. Restarts nothing by itself and decides nothing; it makes one attempt and tells.
//!
//! `change` makes changes, `look` observes, `tend` watches each process to its end, `shim` is what starts them.

mod cgroup;
mod change;
mod fence;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod launch;
mod listen;
mod logs;
mod look;
mod ports;
pub mod proc;
pub mod reaped;
mod record;
mod recover;
pub mod shim;
mod shutdown;
mod tend;
mod tidy;

pub use cgroup::{Groups, Limits};
pub use launch::INHERITED;
pub use logs::LogTail;
pub use record::has_replicas;

use crate::artifacts::Store;
use crate::files::{as_file_name, hex, is_disk_full, of_file_name};
use crate::platform::{Platform, PlatformError};
use listen::Seen;
use proc::Identity;
use reaped::Notes;
use record::{Folder, Layout, ReplicaRecord, Stopping};
use rollout::change::{Change, Ended, Observed, ObservedReplica};
use rollout::names::{Generation, Millis, ReplicaId, Target};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Tells the wall clock's time.
pub type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// Where and how replicas run.
#[derive(Clone)]
pub struct ProcessConfig {
    /// Absolute. Records, logs and the notes of the supervisor lie below it.
    pub state_dir: PathBuf,
    /// The environment's name; groups its replicas where the system lists them.
    pub environment: String,
    /// Where replicas listen.
    pub host: IpAddr,
    /// First and last port a replica may get.
    pub ports: (u16, u16),
    /// Absolute program and first arguments of the command that calls [`shim::run`] with what follows.
    pub shim: Vec<OsString>,
    pub artifacts: Store,
    pub now: Clock,
}

/// The processes of one environment on this machine.
///
/// Needs a tokio runtime with time and I/O from `new` on. Dropping it leaves every process running; a later one
/// on the same state directory takes them over.
pub struct ProcessPlatform {
    shared: Arc<Shared>,
    keepers: Mutex<JoinSet<()>>,
}

impl ProcessPlatform {
    /// Reads back what runs and watches it from now on.
    pub fn new(config: ProcessConfig) -> Result<Self, PlatformError> {
        let groups = Groups::detect();
        Self::with_groups(config, groups)
    }

    /// Does the same with control groups found, or refused, by the caller.
    pub fn with_groups(config: ProcessConfig, groups: Groups) -> Result<Self, PlatformError> {
        let layout = Layout::new(&config.state_dir);
        let failed = |error| cannot("read back the replicas", &error);
        layout.make().map_err(failed)?;
        let shared = Arc::new(Shared {
            notes: Notes::new(&config.state_dir),
            changed: watch::Sender::new(0),
            live: Mutex::default(),
            next_port: Mutex::new(look::next_port(&layout, config.ports).map_err(failed)?),
            closing: AtomicBool::new(false),
            group: group_name(&config),
            config,
            layout,
            groups,
        });
        // What cannot be recorded again, on a full disk, runs on as it is; the next engine tries again.
        if let Err(error) = recover::from_the_system(&shared.layout, &shared.config.state_dir) {
            crate::repairs::say(&format!("cannot look for replicas without records: {error}"));
        }
        // What cannot be tidied now, on a full or read-only disk, hinders nobody: `housekeep` tries again.
        let _again_later = shared.tidy();
        let platform = Self { shared, keepers: Mutex::default() };
        for target in platform.shared.targets().map_err(failed)? {
            platform.tend(platform.shared.untended(&target).map_err(failed)?);
        }
        Ok(platform)
    }

    /// Counts up at once whenever a replica or a task ends or is forgotten.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// Says which limits this system lets the engine set, for `doctor`.
    pub fn limits(&self) -> Limits {
        self.shared.groups.limits()
    }

    /// Says why the program of a replica could not be started. None: it was started, or nothing is known.
    pub fn failure(&self, target: &Target, replica: &ReplicaId) -> Option<String> {
        self.shared.layout.replica(target, replica).failure()
    }

    /// Lists the replicas that run now; a later platform on the same state directory takes exactly these over.
    pub async fn adoptable(&self) -> Result<Vec<(Target, ObservedReplica)>, PlatformError> {
        let shared = Arc::clone(&self.shared);
        blocking("list the replicas", move || {
            let mut found = Vec::new();
            for target in shared.targets()? {
                let replicas = shared.look(&target)?.replicas.into_iter();
                let running = replicas.filter(|replica| replica.pid.is_some());
                found.extend(running.map(|replica| (target.clone(), replica)));
            }
            Ok(found)
        })
        .await
    }

    /// Stops every replica and task of the environment and waits for it; afterwards nothing is launched any more.
    pub async fn stop_all(&self, grace: Millis) -> Result<(), PlatformError> {
        shutdown::stop_all(self, grace).await
    }

    /// Rotates logs that have grown and forgets what is too old to be asked for. Call it every few seconds.
    pub async fn housekeep(&self) -> Result<(), PlatformError> {
        let shared = Arc::clone(&self.shared);
        blocking("tidy the state directory", move || {
            shared.tidy()?;
            logs::housekeep(&shared.layout)?;
            shared.notes.sweep()
        })
        .await
    }

    /// Returns the last lines of the replicas of a target, also of ended ones; at most `lines` of each file.
    pub async fn logs(
        &self,
        target: &Target,
        revision: Option<rollout::names::Revision>,
        replica: Option<ReplicaId>,
        lines: usize,
    ) -> Result<Vec<LogTail>, PlatformError> {
        let (shared, target) = (Arc::clone(&self.shared), target.clone());
        blocking("read the logs", move || {
            logs::tails(&shared.layout, &target, revision, replica.as_ref(), lines)
        })
        .await
    }

    /// Starts a keeper for each of these.
    fn tend(&self, untended: Vec<Untended>) {
        let mut keepers = lock(&self.keepers);
        while keepers.try_join_next().is_some() {}
        for one in untended {
            let shared = Arc::clone(&self.shared);
            match one {
                Untended::Replica(folder, record) => {
                    keepers.spawn(tend::keep_replica(shared, folder, record));
                }
                Untended::Task(folder) => {
                    keepers.spawn(tend::keep_task(shared, folder));
                }
            }
        }
    }
}

impl Platform for ProcessPlatform {
    async fn observe(&self, target: &Target) -> Result<Observed, PlatformError> {
        let (shared, of) = (Arc::clone(&self.shared), target.clone());
        let (observed, untended) = blocking(&format!("observe {target}"), move || {
            // Another engine may have launched something since: it is watched from now on.
            let untended = shared.untended(&of)?;
            Ok((shared.look(&of)?, untended))
        })
        .await?;
        self.tend(untended);
        Ok(observed)
    }

    async fn fence(&self, target: &Target, at: Generation) -> Result<(), PlatformError> {
        let (shared, of) = (Arc::clone(&self.shared), target.clone());
        let entered = tokio::task::spawn_blocking(move || shared.enter(&of, at).map(drop)).await;
        entered.map_err(|error| crashed(&format!("change {target}"), &error))?
    }

    async fn apply(&self, target: &Target, change: &Change, at: Generation) -> Result<(), PlatformError> {
        let (shared, of, change) = (Arc::clone(&self.shared), target.clone(), change.clone());
        let outcome = tokio::task::spawn_blocking(move || {
            let outcome = shared.change(&of, &change, at);
            // Also after a failure: what was launched before it needs its keeper.
            (outcome, shared.untended(&of))
        });
        let (outcome, untended) =
            outcome.await.map_err(|error| crashed(&format!("change {target}"), &error))?;
        self.tend(untended.map_err(|error| cannot(&format!("change {target}"), &error))?);
        outcome
    }
}

impl fmt::Debug for ProcessPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPlatform")
            .field("state_dir", &self.shared.config.state_dir)
            .finish_non_exhaustive()
    }
}

/// Returns the generation as of which a target of this state directory was changed last; none: never.
pub fn fenced(state_dir: &std::path::Path, target: &Target) -> io::Result<Generation> {
    fence::generation(&Layout::new(state_dir).target(target))
}

/// What the platform and the keepers of its processes have in common. The truth is on disk; here is what only
/// this engine knows.
struct Shared {
    config: ProcessConfig,
    layout: Layout,
    groups: Groups,
    /// Under this name the environment's control groups lie.
    group: String,
    notes: Notes,
    changed: watch::Sender<u64>,
    live: Mutex<BTreeMap<Folder, Live>>,
    next_port: Mutex<u16>,
    closing: AtomicBool,
}

/// What this engine knows of a process beyond its folder.
struct Live {
    stop: watch::Sender<Option<Stopping>>,
    /// The shim, when this engine started it.
    spawned: Option<Identity>,
    tended: bool,
    ended: Option<Ended>,
    /// The listener that was seen last.
    seen: Option<Seen>,
    /// What this engine knows to run: its folder is made again when it vanishes.
    runs: Option<(ReplicaRecord, Identity)>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            stop: watch::Sender::new(None),
            spawned: None,
            tended: false,
            ended: None,
            seen: None,
            runs: None,
        }
    }
}

/// A process nobody watches yet.
enum Untended {
    Replica(Folder, ReplicaRecord),
    Task(Folder),
}

impl Untended {
    fn folder(&self) -> &Folder {
        match self {
            Untended::Replica(folder, _) | Untended::Task(folder) => folder,
        }
    }
}

impl Shared {
    fn live(&self) -> MutexGuard<'_, BTreeMap<Folder, Live>> {
        lock(&self.live)
    }

    fn now(&self) -> Millis {
        (self.config.now)()
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Removes what killed writers left.
    fn tidy(&self) -> io::Result<()> {
        tidy::sweep(&self.layout, &self.groups, std::path::Path::new(&self.group))
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Returns every target that has, or had, a replica or a task.
    fn targets(&self) -> io::Result<Vec<Target>> {
        let mut targets = self.layout.targets(&self.layout.replicas_dir())?;
        targets.extend(self.layout.targets(&self.layout.tasks_dir())?);
        targets.sort();
        targets.dedup();
        Ok(targets)
    }

    /// Returns what has a record and no keeper, and counts it as tended: the caller starts the keepers.
    fn untended(&self, target: &Target) -> io::Result<Vec<Untended>> {
        self.restore_folders(target)?;
        let mut found = Vec::new();
        for (folder, record) in self.layout.replicas(target)? {
            found.push(Untended::Replica(folder, record));
        }
        let mut over = Vec::new();
        for (folder, _) in self.layout.task_records(target)? {
            match folder.ended()? {
                None => found.push(Untended::Task(folder)),
                Some(_) => over.push(folder),
            }
        }
        let mut live = self.live();
        // A task can be over before whoever started it has noted that it did.
        live.retain(|folder, live| live.tended || !over.contains(folder));
        found.retain(|one| {
            !std::mem::replace(&mut live.entry(one.folder().clone()).or_default().tended, true)
        });
        Ok(found)
    }
}

impl Shared {
    /// Makes the folders of replicas again that somebody removed while they run.
    fn restore_folders(&self, target: &Target) -> io::Result<()> {
        let dir = self.layout.target(target);
        let live = self.live();
        let mine =
            live.iter().filter(|(folder, live)| folder.0.starts_with(&dir) && live.stop.borrow().is_none());
        for (folder, live) in mine {
            let Some((record, identity)) = &live.runs else { continue };
            if !folder.is_meant() && identity.runs() {
                recover::record_again(folder, record, identity)?;
            }
        }
        Ok(())
    }
}

/// Two environments of one name on one machine must never empty each other's groups.
fn group_name(config: &ProcessConfig) -> String {
    use std::os::unix::ffi::OsStrExt;
    let digest = Sha256::digest(config.state_dir.as_os_str().as_bytes());
    let short = hex(&digest[..6]);
    as_file_name(&format!("{}-{short}", config.environment))
}

/// Runs what reads or writes files where it holds up nothing else.
async fn blocking<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, PlatformError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(|error| cannot(what, &error)),
        Err(error) => Err(crashed(what, &error)),
    }
}

fn crashed(what: &str, error: &tokio::task::JoinError) -> PlatformError {
    PlatformError::Retry { what: what.to_owned(), why: format!("the work was not finished: {error}") }
}

/// The system did not do it; it may another time.
fn cannot(what: &str, error: &io::Error) -> PlatformError {
    let why = if is_disk_full(error) {
        format!("the disk is full ({error}); it goes on by itself once there is space")
    } else {
        error.to_string()
    };
    PlatformError::Retry { what: what.to_owned(), why }
}

/// Returns the duration, at most a day: what is longer is a slip, and would overflow the system's clocks.
fn bounded(duration: Millis) -> Duration {
    Duration::from_millis(duration.0.min(86_400_000))
}

/// A panic elsewhere leaves these maps whole: they are changed in single steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the name behind a folder or file of the state directory.
fn name_of(path: &std::path::Path) -> Option<String> {
    of_file_name(path.file_name()?.to_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A platform that never starts anything.
    pub fn platform(dir: &std::path::Path) -> ProcessPlatform {
        let config = ProcessConfig {
            state_dir: dir.to_owned(),
            environment: "local".to_owned(),
            host: std::net::Ipv4Addr::LOCALHOST.into(),
            ports: (20_000, 20_001),
            shim: Vec::new(),
            artifacts: Store::open(dir.join("artifacts")).unwrap(),
            now: Arc::new(|| Millis(1)),
        };
        ProcessPlatform::with_groups(config, Groups::unavailable("not for this test")).unwrap()
    }
}
