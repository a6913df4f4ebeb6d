//! Starts the edge and the engine as children of the supervisor, and says when to start one again.
//! Waits for none of them; `reaper` takes in their ends.

use crate::exit::{self, Failure};
use crate::process::{self, Process};
use crate::supervisor::pulse::Pulse;
use drivers::paths::StatePaths;
use rollout::change::Ended;
use rustix::process::Pid;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A child that lived this long was well: the next end is a first one again.
const WELL_AFTER: Duration = Duration::from_secs(10);
/// The pause before the second start in a row; doubles from there.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// No longer than this: whatever was wrong may be over.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Of a child's log, what is shown when it gave up.
const LOG_TAIL_BYTES: u64 = 2048;
/// A log longer than this is copied to `.1` and emptied.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Edge,
    Engine,
}

impl Who {
    pub const BOTH: [Who; 2] = [Who::Edge, Who::Engine];

    pub const fn name(self) -> &'static str {
        match self {
            Who::Edge => "edge",
            Who::Engine => "engine",
        }
    }

    pub fn pid_file(self, paths: &StatePaths) -> PathBuf {
        match self {
            Who::Edge => paths.edge_pid(),
            Who::Engine => paths.engine_pid(),
        }
    }
}

/// One child, running or about to be started again.
#[derive(Debug)]
pub struct Child {
    pub who: Who,
    /// Told on the command line until one has answered; a restart after that is never fresh.
    fresh: bool,
    pub pid: Option<Pid>,
    pub start_at: Option<Instant>,
    pub ended: Option<Ended>,
    /// Where its signs of life arrive; None: it gives none by itself.
    pub pulse: Option<Pulse>,
    started: Instant,
    ends_in_a_row: u32,
    log_start: u64,
}

impl Child {
    pub fn new(who: Who, fresh: bool) -> Self {
        let now = Instant::now();
        Self {
            who,
            fresh,
            pid: None,
            start_at: Some(now),
            ended: None,
            pulse: None,
            started: now,
            ends_in_a_row: 0,
            log_start: 0,
        }
    }

    /// Starts it: own process group, log for output; over its input the engine gives signs of life.
    pub fn start(&mut self, paths: &StatePaths) -> Result<(), Failure> {
        let name = self.who.name();
        let failed = |error: io::Error| {
            Failure::new(exit::BUG, format!("start the {name}"))
                .because(error)
                .then("the machine may be out of memory, processes or file descriptors: `medeclipse doctor`")
        };
        let log = open_log(&paths.log(name)).map_err(failed)?;
        self.log_start = log.metadata().map_or(0, |log| log.len());
        remove(&paths.failure(name)).map_err(failed)?;
        let mut command = own_program(&format!("medeclipse-{name}"));
        command.arg("internal").arg(name).arg("--state").arg(paths.root());
        if self.fresh {
            command.arg("--fresh");
        }
        command.process_group(0).stdin(self.input().map_err(failed)?);
        command.stdout(log.try_clone().map_err(failed)?).stderr(log);
        // The handle is dropped: the reaper waits for every child alike.
        let pid = Pid::from_child(&command.spawn().map_err(failed)?);
        (self.pid, self.start_at, self.ended, self.started) = (Some(pid), None, None, Instant::now());
        process::write_pid_file(&self.who.pid_file(paths), pid).map_err(failed)
    }

    /// Takes a child for this one that runs already.
    pub fn adopt(&mut self, pid: Pid) {
        (self.pid, self.start_at, self.ended, self.started) = (Some(pid), None, None, Instant::now());
    }

    fn input(&mut self) -> io::Result<Stdio> {
        if self.who == Who::Edge {
            return Ok(Stdio::null());
        }
        let (pulse, input) = Pulse::new()?;
        self.pulse = Some(pulse);
        Ok(input)
    }

    /// Takes in that it has done what only the first of an environment does.
    pub fn is_settled(&mut self) {
        self.fresh = false;
    }

    /// Sets when it is tried again after it could not even be started.
    pub fn has_not_started(&mut self) {
        if self.pid.is_none() {
            self.start_at = Some(Instant::now() + PAUSE_MAX);
        }
    }

    /// Takes in that it ended; sets when it starts again: at once the first time, later and later after that.
    pub fn has_ended(&mut self, how: Ended) {
        let now = Instant::now();
        if now.duration_since(self.started) >= WELL_AFTER {
            self.ends_in_a_row = 0;
        }
        (self.pid, self.ended, self.start_at) = (None, Some(how), Some(now + pause(self.ends_in_a_row)));
        self.ends_in_a_row += 1;
    }

    /// Whether it ended so often in a row that starting it again is of no use to somebody who waits for it. One
    /// that exits by itself says why at once; one that was killed may have been unlucky.
    pub fn gave_up(&self, attempts: u32) -> bool {
        self.pid.is_none()
            && match self.ended {
                Some(Ended::Code(_)) => true,
                Some(_) => self.ends_in_a_row >= attempts,
                None => false,
            }
    }

    pub fn process(&self) -> Option<Process> {
        Process::of(self.pid?)
    }

    /// Says why it gave up: what it left in its failure file, or the last lines of its log.
    pub fn reason(&self, paths: &StatePaths) -> Failure {
        let name = self.who.name();
        let told = std::fs::read(paths.failure(name)).ok();
        if let Some(failure) = told.and_then(|bytes| serde_json::from_slice::<Failure>(&bytes).ok()) {
            return failure;
        }
        let log = paths.log(name);
        let how = self.ended.map_or_else(|| "it ended".to_owned(), |how| format!("it ended: {how}"));
        let tail = log_tail(&log, self.log_start).unwrap_or_default();
        let cause = if tail.is_empty() { how } else { format!("{how}; its last lines:\n{tail}") };
        Failure::new(exit::BUG, format!("keep the {name} running"))
            .because(cause)
            .then(format!("the whole log is {}; `medeclipse doctor` looks at the machine", log.display()))
    }
}

/// Returns how long to wait before a start after so many ends in a row.
fn pause(ends_in_a_row: u32) -> Duration {
    match ends_in_a_row {
        0 => Duration::ZERO,
        more => PAUSE_FIRST.saturating_mul(1 << (more - 1).min(10)).min(PAUSE_MAX),
    }
}

/// Returns a command that runs the very file this process runs, also when it was replaced on disk meanwhile: the
/// processes of an environment are of one version.
pub fn own_program(arg0: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(arg0);
    command
}

pub fn open_log(path: &std::path::Path) -> io::Result<File> {
    // Its folder too: without a log nothing could be started.
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().append(true).create(true).open(path)
}

/// Removes a file; that it is not there is as good.
pub fn remove(path: &std::path::Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Keeps a log from growing without bound. Copied and emptied rather than renamed: its writers keep it open.
pub fn rotate(path: &std::path::Path) -> io::Result<()> {
    if std::fs::metadata(path).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
        std::fs::copy(path, path.with_extension("log.1"))?;
        OpenOptions::new().write(true).open(path)?.set_len(0)?;
    }
    Ok(())
}

fn log_tail(path: &std::path::Path, start: u64) -> io::Result<String> {
    let mut log = File::open(path)?;
    let length = log.metadata()?.len();
    log.seek(SeekFrom::Start(start.max(length.saturating_sub(LOG_TAIL_BYTES)).min(length)))?;
    let mut bytes = Vec::new();
    log.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_child_starts_again_at_once_and_a_broken_one_ever_later() {
        let pauses: Vec<u64> = (0..10).map(|ends| u64::try_from(pause(ends).as_millis()).unwrap()).collect();

        assert_eq!(pauses, [0, 50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(pause(u32::MAX), PAUSE_MAX);
    }

    #[test]
    fn a_long_log_is_copied_and_emptied() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("edge.log");
        File::create(&log).unwrap().set_len(LOG_BYTES_MAX + 1).unwrap();

        rotate(&log).unwrap();

        assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
        assert_eq!(std::fs::metadata(folder.path().join("edge.log.1")).unwrap().len(), LOG_BYTES_MAX + 1);
    }
}
