//! Limits what a replica may use, and finds every process it left behind. Does nothing where the system does not
//! let it; `limits` says so. The two back ends differ only in how a group is made: see `v1` and `v2`.

mod v1;
mod v2;

use rollout::release::Resources;
use rustix::process::{Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long processes that were killed may take to be gone; the system needs milliseconds.
const EMPTYING_MAX: Duration = Duration::from_secs(2);

/// How often a group is made again whose parents were removed meanwhile.
const TRIES_MAX: u32 = 3;

/// The top of the groups of all environments.
const TOP: &str = "medeclipse";

/// The control groups this engine can make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groups {
    V1(v1::V1),
    V2(v2::V2),
    /// None, for this reason.
    Unavailable {
        why: String,
    },
}

/// What can be limited, for `doctor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub cpu: bool,
    pub memory: bool,
    /// Which back end, or why there is none.
    pub detail: String,
}

/// The control groups of one replica: one folder under version 2, one for each controller under version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub folders: Vec<PathBuf>,
    /// Whether limits were asked for: then running outside is worse than not running.
    pub limited: bool,
}

impl Groups {
    /// Finds out what this system offers to this process.
    pub fn detect() -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self::unavailable("limits need the superuser");
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        if let Some(found) = v2::V2::detect(&mounts) {
            return Self::V2(found);
        }
        match v1::V1::detect(&mounts, &own) {
            Some(found) => Self::V1(found),
            None => Self::unavailable("no writable control groups are mounted"),
        }
    }

    pub fn unavailable(why: &str) -> Self {
        Self::Unavailable { why: why.to_owned() }
    }

    pub fn limits(&self) -> Limits {
        match self {
            Groups::V1(v1) => v1.limits(),
            Groups::V2(v2) => v2.limits(),
            Groups::Unavailable { why } => Limits { cpu: false, memory: false, detail: why.clone() },
        }
    }

    /// Makes the group `name` with these limits. None: there are no groups here.
    pub fn make(&self, name: &Path, resources: Option<Resources>) -> io::Result<Option<Place>> {
        let resources = resources.unwrap_or(Resources { cpu: None, memory_bytes: None });
        let limited = resources.cpu.is_some() || resources.memory_bytes.is_some();
        let mut tries = 0;
        loop {
            let made = match self {
                Groups::V1(v1) => v1.make(name, resources),
                Groups::V2(v2) => v2.make(name, resources),
                Groups::Unavailable { .. } => return Ok(None),
            };
            match made {
                Ok(folders) => return Ok(Some(Place { folders, limited })),
                // The last replica before this one has just taken the empty folders above along.
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES_MAX => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes the groups below `name` that are not in `keep` and have neither processes nor groups in them.
    pub fn sweep(&self, name: &Path, keep: &BTreeSet<PathBuf>) {
        let bases = match self {
            Groups::V1(v1) => v1.bases(),
            Groups::V2(v2) => vec![v2.base()],
            Groups::Unavailable { .. } => Vec::new(),
        };
        bases.iter().for_each(|base| remove_empty(&base.join(name), keep));
    }
}

/// The system refuses to remove a group that is not empty.
fn remove_empty(folder: &Path, keep: &BTreeSet<PathBuf>) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_empty(&entry.path(), keep);
    }
    if !keep.contains(folder) {
        let _is_used = fs::remove_dir(folder);
    }
}

impl Place {
    /// Moves the process that calls into the group.
    pub fn join(&self) -> io::Result<()> {
        for folder in &self.folders {
            write(&folder.join("cgroup.procs"), "0")?;
        }
        Ok(())
    }

    /// Kills every process in the group, also those that left the process group, and removes it. Blocks for at
    /// most two seconds.
    pub fn empty(&self) -> io::Result<()> {
        let until = Instant::now() + EMPTYING_MAX;
        for folder in &self.folders {
            loop {
                kill_all(folder)?;
                match fs::remove_dir(folder) {
                    Ok(()) => break,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                    Err(error) if Instant::now() >= until => return Err(error),
                    Err(_busy) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
            prune(folder);
        }
        Ok(())
    }
}

/// Removes the folders above that hold no group any more.
fn prune(folder: &Path) {
    for above in folder.ancestors().skip(1).take_while(|above| !above.ends_with(TOP)) {
        if fs::remove_dir(above).is_err() {
            // Another group is in it: as it should be.
            return;
        }
    }
}

fn kill_all(folder: &Path) -> io::Result<()> {
    let pids = match fs::read_to_string(folder.join("cgroup.procs")) {
        Ok(pids) => pids,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for pid in pids.lines().filter_map(|line| super::proc::as_pid(line.parse().ok()?)) {
        match kill_process(pid, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Writes a control file, naming it when that fails.
fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text).map_err(|error| crate::files::about(path, error))
}

/// Returns how many microseconds of every 100 ms the group may run, for units of which 1024 are one core.
fn quota_us(cpu: u64) -> u64 {
    // The kernel takes no quota under one millisecond.
    (cpu.saturating_mul(PERIOD_US) / 1024).max(1000)
}

/// The period quotas are counted in; the kernel's default.
const PERIOD_US: u64 = 100_000;

/// One line of /proc/self/mounts.
struct Mount<'a> {
    folder: &'a str,
    kind: &'a str,
    options: &'a str,
}

fn mounts(text: &str) -> impl Iterator<Item = Mount<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some(Mount { folder: fields.next()?, kind: fields.next()?, options: fields.next()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_a_share_of_the_period_and_never_under_a_millisecond() {
        assert_eq!(quota_us(1024), 100_000);
        assert_eq!(quota_us(256), 25_000);
        assert_eq!(quota_us(4096), 400_000);
        assert_eq!(quota_us(1), 1000);
    }

    #[test]
    fn groups_nobody_has_are_swept_and_those_of_replicas_stay() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join(TOP);
        fs::create_dir_all(&base).unwrap();
        fs::write(base.join("cgroup.procs"), "").unwrap();
        let mounted = format!("cgroup {} cgroup rw,pids 0 0\n", dir.path().display());
        let groups = Groups::V1(v1::V1::detect(&mounted, "").unwrap());
        let kept = groups.make(Path::new("env/web@local/web-1-1"), None).unwrap().unwrap().folders;
        let left = groups.make(Path::new("env/web@local/web-1-2"), None).unwrap().unwrap().folders;
        let alone = groups.make(Path::new("env/api@local/api-1-1"), None).unwrap().unwrap().folders;

        groups.sweep(Path::new("env"), &kept.iter().cloned().collect());

        assert!(kept[0].exists());
        assert!(!left[0].exists() && !alone[0].parent().unwrap().exists());
        groups.sweep(Path::new("env"), &BTreeSet::new());
        assert!(!base.join("env").exists());
    }

    #[test]
    fn without_groups_nothing_is_made_and_the_reason_is_told() {
        let groups = Groups::unavailable("limits need the superuser");

        assert_eq!(groups.make(Path::new("web"), None).unwrap(), None);
        assert_eq!(groups.limits().detail, "limits need the superuser");
    }
}
