//! Passes on how orphans ended: the supervisor, which inherits them, writes it down; the engine reads it.
//! Reaps no child it was not told to leave out; see `cli` for the loop that calls `reap_orphans`.

use super::proc::{self, Identity, Reaped};
use crate::files;
use rollout::change::Ended;
use rustix::process::{Signal, kill_process_group};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long a note is kept for an engine that may be down.
const NOTE_AGE_MAX: Duration = Duration::from_secs(3600);

/// The folder the supervisor and the engine share: `STATE/run/reaped`.
#[derive(Debug, Clone)]
pub struct Notes {
    dir: PathBuf,
}

impl Notes {
    pub fn new(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("run").join("reaped") }
    }

    /// Makes the folder: from now on somebody writes notes. Called by the supervisor when it starts.
    pub fn open(&self) -> io::Result<()> {
        files::folder(&self.dir)
    }

    /// Returns whether anybody writes notes here.
    pub fn are_kept(&self) -> bool {
        self.dir.is_dir()
    }

    /// Writes how a process ended.
    pub fn write(&self, pid: u32, start: u64, ended: Ended) -> io::Result<()> {
        let text = match ended {
            Ended::Code(code) => format!("code {code}"),
            Ended::Signal(signal) => format!("signal {signal}"),
            Ended::TimedOut | Ended::Unknown => return Ok(()),
        };
        let path = self.path(pid, start);
        let scratch = path.with_extension("new");
        fs::write(&scratch, text)?;
        fs::rename(scratch, path)
    }

    /// Returns how the process ended, if that is written.
    pub fn read(&self, identity: &Identity) -> Option<Ended> {
        let text = fs::read_to_string(self.path(identity.pid, identity.start)).ok()?;
        let (kind, number) = text.trim().split_once(' ')?;
        let number = number.parse().ok()?;
        match kind {
            "code" => Some(Ended::Code(number)),
            "signal" => Some(Ended::Signal(number)),
            _ => None,
        }
    }

    /// Removes the note of a process whose end is recorded elsewhere by now.
    pub fn forget(&self, identity: &Identity) {
        // One that stays is removed when it is an hour old.
        let _swept_later = fs::remove_file(self.path(identity.pid, identity.start));
    }

    /// Removes notes nobody came for.
    pub fn sweep(&self) -> io::Result<()> {
        if !self.are_kept() {
            return Ok(());
        }
        let now = SystemTime::now();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let age = entry
                .metadata()
                .and_then(|data| data.modified())
                .ok()
                .and_then(|at| now.duration_since(at).ok());
            if age.is_some_and(|age| age > NOTE_AGE_MAX) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Reaps the ended children of this process, apart from those `spare` names, and writes how they ended.
    /// What is left of an ended leader's process group is killed first, while its number cannot be anyone else's.
    /// For the supervisor, at every SIGCHLD. Returns how many it reaped.
    pub fn reap_orphans(&self, spare: impl Fn(u32) -> bool) -> io::Result<usize> {
        let own = std::process::id();
        let mut count = 0;
        for pid in proc::pids()? {
            let Ok(Some(stat)) = proc::stat(pid) else { continue };
            if stat.parent != own || !stat.zombie || spare(pid) {
                continue;
            }
            if stat.group == pid
                && let Some(group) = proc::as_pid(pid)
            {
                // No such group, or nobody in it: as it should be.
                let _mostly_empty = kill_process_group(group, Signal::KILL);
            }
            if self.reap(pid, stat.start)? {
                count += 1;
            }
        }
        Ok(count)
    }

    fn reap(&self, pid: u32, start: u64) -> io::Result<bool> {
        let identity = Identity { pid, start, boot: proc::boot_id()? };
        let Some(fd) = identity.open()? else { return Ok(false) };
        let Reaped::Ended(ended) = proc::reap(std::os::fd::AsFd::as_fd(&fd))? else { return Ok(false) };
        self.write(pid, start, ended)?;
        Ok(true)
    }

    fn path(&self, pid: u32, start: u64) -> PathBuf {
        self.dir.join(format!("{pid}-{start}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_by_the_same_process_only() {
        let dir = tempfile::tempdir().unwrap();
        let notes = Notes::new(dir.path());
        let identity = Identity { pid: 42, start: 7, boot: String::new() };
        assert!(!notes.are_kept());
        notes.open().unwrap();

        notes.write(42, 7, Ended::Signal(9)).unwrap();

        assert_eq!(notes.read(&identity), Some(Ended::Signal(9)));
        assert_eq!(notes.read(&Identity { start: 8, ..identity.clone() }), None);
        notes.forget(&identity);
        assert_eq!(notes.read(&identity), None);
    }
}
