//! Looks each second whether what the supervisor wrote into `run/` is as it was written, and writes it again where it is
//! not: without those files an engine could not start again, and nobody would find the processes. Reads a few small files.

use super::Supervisor;
use super::child::{self, Child};
use drivers::paths::StatePaths;
use drivers::platform::process::reaped::Notes;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// What was written at the start and must stay.
#[derive(Debug)]
pub struct Kept {
    pub due: Instant,
    environment: Vec<u8>,
    complained: bool,
}

impl Kept {
    pub fn new(environment: Vec<u8>) -> Self {
        Self { due: Instant::now() + LOOK, environment, complained: false }
    }
}

impl Supervisor {
    /// Writes again what is not as it was written, when that is due.
    pub(super) fn keep_files(&mut self) {
        let now = Instant::now();
        if now < self.kept.due || self.stopping {
            return;
        }
        self.kept.due = now + LOOK;
        let say = self.say;
        let mut complain = |error: &io::Error| {
            // A full or read-only disk: said once, tried again every second.
            if !std::mem::replace(&mut self.kept.complained, true) {
                say(&format!("cannot write {} again: {error}", self.paths.run().display()));
            }
        };
        let prepared =
            drivers::files::folder(&self.paths.run()).and_then(|()| Notes::new(self.paths.root()).open());
        if let Err(error) = prepared {
            return complain(&error);
        }
        let mut repaired = Vec::new();
        let mut look = |file: &Path, outcome: io::Result<bool>| match outcome {
            Ok(true) => repaired.push(file.display().to_string()),
            Ok(false) => {}
            Err(error) => complain(&error),
        };
        look(&self.paths.supervisor_pid(), self.lock.keep());
        look(&self.paths.supervisor_socket(), self.giving.keep());
        look(&self.paths.environment(), keep(&self.paths.environment(), &self.kept.environment));
        for child in [&self.edge, &self.engine] {
            look(&child.who.pid_file(&self.paths), keep_pid(&self.paths, child));
        }
        for file in repaired {
            (self.say)(&format!("{file} was not as it was written: written again"));
        }
    }
}

/// Writes a file again that differs. True: it did.
pub fn keep(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    if std::fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(false);
    }
    let draft = path.with_extension("draft");
    child::remove(&draft)?;
    std::fs::write(&draft, bytes)?;
    std::fs::rename(&draft, path)?;
    Ok(true)
}

fn keep_pid(paths: &StatePaths, child: &Child) -> io::Result<bool> {
    let Some(pid) = child.pid else { return Ok(false) };
    keep(&child.who.pid_file(paths), crate::process::pid_text(pid).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::keep;

    #[test]
    fn o10_a_file_that_differs_is_written_again_and_one_that_does_not_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("environment.json");
        assert!(keep(&path, b"{}").unwrap());
        assert!(!keep(&path, b"{}").unwrap());
        std::fs::write(&path, "{").unwrap();

        assert!(keep(&path, b"{}").unwrap());

        assert_eq!(std::fs::read(&path).unwrap(), b"{}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
