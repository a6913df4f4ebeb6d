//! Makes sure that a state directory has one supervisor: a locked file that names it. The lock ends with the
//! process, however it ends; the pid in the file means something only while the lock is held.

use crate::exit::{self, Failure};
use drivers::paths::StatePaths;
use rustix::fs::{FlockOperation, flock};
use rustix::process::Pid;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Held by the supervisor as long as it lives.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock, or says who has it.
    pub fn take(paths: &StatePaths) -> Result<Self, Failure> {
        let path = paths.supervisor_pid();
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(exit::REFUSED, format!("lock {}", path.display()))
                .because(error)
                .then("make the state directory writable, free some disk space, or choose another on a local disk with --state DIR; `medeclipse doctor` looks")
        };
        let mut file = open(&path).map_err(|error| failed(&error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(taken(paths, &mut file)),
            Err(error) => return Err(failed(&error)),
        }
        write_own_pid(&mut file).map_err(|error| failed(&error))?;
        Ok(Self { file, path })
    }

    /// Keeps a lock that this very process took before it became another program: a lock is of the open file.
    pub fn kept(descriptor: OwnedFd, paths: &StatePaths) -> Self {
        Self { file: File::from(descriptor), path: paths.supervisor_pid() }
    }

    /// Writes the file again where somebody changed it, and takes a new one where it is gone: without it nobody would
    /// find this supervisor, and a second one would begin. True: it was not as it was written.
    pub fn keep(&mut self) -> std::io::Result<bool> {
        let there = std::fs::metadata(&self.path).is_ok_and(|found| {
            self.file.metadata().is_ok_and(|held| (held.dev(), held.ino()) == (found.dev(), found.ino()))
        });
        if there && pid_in(&mut self.file) == Some(rustix::process::getpid()) {
            return Ok(false);
        }
        if !there {
            let file = open(&self.path)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            self.file = file;
        }
        write_own_pid(&mut self.file)?;
        Ok(true)
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn write_own_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", rustix::process::getpid().as_raw_nonzero())
}

/// Returns the supervisor that runs for this state directory.
pub fn holder(paths: &StatePaths) -> Option<Pid> {
    let mut file = File::open(paths.supervisor_pid()).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        // Nobody holds it: the pid in it is of the past. Ours ends with `file`.
        Ok(()) => None,
        Err(_) => pid_in(&mut file),
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn pid_in(file: &mut File) -> Option<Pid> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    Pid::from_raw(text.trim().parse().ok()?)
}

fn taken(paths: &StatePaths, file: &mut File) -> Failure {
    let who = pid_in(file)
        .map_or_else(|| "another process".to_owned(), |pid| format!("process {}", pid.as_raw_nonzero()));
    Failure::new(exit::REFUSED, format!("bring {} up", paths.root().display()))
        .because(format!("it is up already: {who} runs it"))
        .then("`medeclipse status` shows it, `medeclipse down` ends it; a second environment needs another --state and other ports")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> (tempfile::TempDir, StatePaths) {
        let folder = tempfile::tempdir().unwrap();
        let paths = StatePaths::new(folder.path(), None).unwrap();
        std::fs::create_dir_all(paths.run()).unwrap();
        (folder, paths)
    }

    #[test]
    fn a_second_supervisor_is_refused_by_the_pid_of_the_first() {
        let (_folder, paths) = paths();
        let _first = Lock::take(&paths).unwrap();

        let refused = Lock::take(&paths).unwrap_err();

        assert_eq!(refused.exit, exit::REFUSED);
        assert!(refused.cause.unwrap().contains(&std::process::id().to_string()));
        assert_eq!(holder(&paths), Some(rustix::process::getpid()));
    }

    #[test]
    fn o10_a_pid_file_that_was_changed_or_removed_names_the_supervisor_again() {
        let (_folder, paths) = paths();
        let mut lock = Lock::take(&paths).unwrap();
        assert!(!lock.keep().unwrap());
        for damage in [
            (|path| std::fs::write(path, "").unwrap()) as fn(&Path),
            |path| std::fs::write(path, "1").unwrap(),
            |path| std::fs::remove_file(path).unwrap(),
        ] {
            damage(&paths.supervisor_pid());

            assert!(lock.keep().unwrap());

            assert_eq!(holder(&paths), Some(rustix::process::getpid()));
        }
    }

    #[test]
    fn a_pidfile_nobody_locks_is_of_the_past() {
        let (_folder, paths) = paths();
        drop(Lock::take(&paths).unwrap());

        assert_eq!(holder(&paths), None);
        assert!(Lock::take(&paths).is_ok());
    }
}
