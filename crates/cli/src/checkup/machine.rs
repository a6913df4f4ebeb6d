//! Looks at the machine itself: disk, descriptors, kernel. Needs no manifest.

use super::Finding;
use crate::units;
use drivers::paths::StatePaths;
use engine::leader::{Fate, Owner, short};
use rustix::process::{PidfdFlags, Resource, getpid, getrlimit, pidfd_open};
use std::path::Path;

/// Artefacts of some releases, logs and the journal.
const DISK_BYTES_MIN: u64 = 1 << 30;
/// Each request in flight takes two descriptors.
const DESCRIPTORS_MIN: u64 = 4096;

/// The state directory can be made, or written to.
pub fn state_directory(paths: &StatePaths) -> Finding {
    const CHECK: &str = "state directory";
    let folder = existing(paths.root());
    let probe = tempfile::Builder::new().prefix(".medeclipse-doctor-").tempfile_in(folder);
    match probe {
        Ok(_) => Finding::fine(CHECK, format!("{} is writable", paths.root().display())),
        Err(error) => Finding::missing(
            CHECK,
            format!("cannot write to {}: {error}", folder.display()),
            "make it writable for this user, or choose another with --state DIR",
        ),
    }
}

/// There is room for artefacts, logs and the journal.
pub fn disk(paths: &StatePaths) -> Finding {
    const CHECK: &str = "disk";
    let folder = existing(paths.root());
    match rustix::fs::statvfs(folder) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let text = format!("{} MiB free for {}", free >> 20, paths.root().display());
            if free < DISK_BYTES_MIN {
                return Finding::missing(
                    CHECK,
                    text,
                    "free some space (1 GiB is wanted), or move it with --state DIR",
                );
            }
            Finding::fine(CHECK, text)
        }
        Err(error) => Finding::not_checked(CHECK, format!("cannot ask for the free space: {error}")),
    }
}

/// Enough connections are possible.
pub fn descriptors() -> Finding {
    const CHECK: &str = "file descriptors";
    let most = getrlimit(Resource::Nofile).maximum;
    let text = most.map_or_else(|| "without limit".to_owned(), |most| format!("at most {most} per process"));
    if most.is_some_and(|most| most < DESCRIPTORS_MIN) {
        return Finding::missing(
            CHECK,
            text,
            "raise the hard limit: `nofile` in /etc/security/limits.conf, or LimitNOFILE= of the systemd unit",
        );
    }
    Finding::fine(CHECK, text)
}

/// The kernel has what re-adopting replicas stands on.
pub fn kernel() -> Finding {
    const CHECK: &str = "kernel";
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    match pidfd_open(getpid(), PidfdFlags::empty()) {
        Ok(_) => Finding::fine(CHECK, format!("Linux {}", release.trim())),
        Err(error) => Finding::missing(
            CHECK,
            format!("Linux {} has no pidfd: {error}", release.trim()),
            "Linux 5.3 or newer is needed, with /proc mounted; in a sandbox, allow pidfd_open",
        ),
    }
}

/// Returns the folder itself, or the nearest one above it that exists.
/// Says which engine leads the state directory, and finds one that is silent.
pub fn leader(paths: &StatePaths) -> Finding {
    let Some(lease) = engine::who_leads(&paths.run()) else {
        return Finding::fine("leader", "no engine leads the state directory");
    };
    let (owner, until) = (short(&lease.owner), units::date_time(lease.until));
    match Owner::fate_of(&lease.owner) {
        Fate::Ended => Finding::fine("leader", format!("{owner} has ended; the next engine follows at once")),
        Fate::Runs | Fate::Unknown if lease.until >= units::now() => Finding::fine(
            "leader",
            format!("{owner}, until {until} UTC (epoch {}), renewed as long as it is well", lease.epoch),
        ),
        Fate::Runs | Fate::Unknown => Finding::missing(
            "leader",
            format!("{owner} should have renewed its lease by {until} UTC, and has not"),
            "an engine that hangs is replaced by its supervisor within 17 s; where none runs, `medeclipse up` replaces it",
        ),
    }
}

fn existing(path: &Path) -> &Path {
    path.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkup::Result;

    #[test]
    fn a_state_directory_that_does_not_exist_yet_is_judged_by_the_folder_it_would_lie_in() {
        let folder = tempfile::tempdir().unwrap();
        let paths = StatePaths::new(&folder.path().join("a/b"), None).unwrap();

        assert_eq!(state_directory(&paths).result, Result::Fine);
        assert!(!paths.root().exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
