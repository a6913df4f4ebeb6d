//! Recognises and signals processes that are not our children: by pid and start time, held by a pidfd, so that a
//! reused pid is never taken for the process that had it.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two looks whether a process has ended.
const LOOK: Duration = Duration::from_millis(5);

/// A process that was alive when it was looked up.
#[derive(Debug)]
pub struct Process {
    pub pid: Pid,
    handle: OwnedFd,
}

impl Process {
    /// Returns the process with this pid if it is the one that started at `start_time`.
    pub fn find(pid: Pid, start_time: u64) -> Option<Self> {
        let found = Self::of(pid)?;
        // One that has ended, and that nobody has taken in yet, does not run any more.
        let runs = start_time_of(pid) == Some(start_time) && !found.has_ended().unwrap_or(true);
        runs.then_some(found)
    }

    /// Returns the process that has this pid now.
    pub fn of(pid: Pid) -> Option<Self> {
        let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        Some(Self { pid, handle })
    }

    /// Returns the process a pid file names, if it still runs.
    pub fn named_in(file: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(file).ok()?;
        let (pid, start_time) = text.trim().split_once(' ')?;
        Self::find(Pid::from_raw(pid.parse().ok()?)?, start_time.parse().ok()?)
    }

    /// Sends a signal; a process that is gone already has what it would have got.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.handle, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            sent => sent.map_err(io::Error::from),
        }
    }

    /// Waits until the process has ended, at most this long. True: it has. Leaves its status to its parent.
    pub async fn ended_within(&self, limit: Duration) -> io::Result<bool> {
        let until = Instant::now() + limit;
        while !self.has_ended()? {
            if Instant::now() >= until {
                return Ok(false);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(true)
    }

    /// A pidfd becomes readable when its process ends: pidfd_open(2).
    pub fn has_ended(&self) -> io::Result<bool> {
        let mut handle = [PollFd::new(&self.handle, PollFlags::IN)];
        match poll(&mut handle, Some(&Timespec::default())) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks the process to end, and makes it end when it has not done so in time. True: it ended by itself.
    pub async fn end(&self, limit: Duration) -> io::Result<bool> {
        self.signal(Signal::TERM)?;
        if self.ended_within(limit).await? {
            return Ok(true);
        }
        self.signal(Signal::KILL)?;
        self.ended_within(Duration::from_secs(5)).await?;
        Ok(false)
    }
}

/// Writes the pid file by which [`Process::named_in`] finds a process again.
pub fn write_pid_file(file: &Path, pid: Pid) -> io::Result<()> {
    std::fs::write(file, pid_text(pid))
}

/// Returns what a pid file says of a process.
pub fn pid_text(pid: Pid) -> String {
    format!("{} {}\n", pid.as_raw_nonzero(), start_time_of(pid).unwrap_or_default())
}

/// Returns when a process started, in clock ticks since boot: field 22 of /proc/PID/stat. Also of a zombie.
pub fn start_time_of(pid: Pid) -> Option<u64> {
    stat_field(pid, 22)
}

/// Returns the processor time a process has used, all threads together, in clock ticks: fields 14 and 15.
pub fn cpu_time_of(pid: Pid) -> Option<u64> {
    Some(stat_field(pid, 14)? + stat_field(pid, 15)?)
}

/// Returns a field of /proc/PID/stat, numbered as in proc(5), from 3 on.
fn stat_field(pid: Pid, number: usize) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name (field 2) may contain spaces and parentheses: count from behind the last one.
    let after_name = &stat[stat.rfind(')')? + 1..];
    after_name.split_whitespace().nth(number - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    struct Killed(Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn sleeper() -> (Killed, Pid) {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_child(&child);
        (Killed(child), pid)
    }

    #[test]
    fn a_process_is_found_again_by_its_pid_file() {
        let (_child, pid) = sleeper();
        let file = tempfile::NamedTempFile::new().unwrap();

        write_pid_file(file.path(), pid).unwrap();

        assert_eq!(Process::named_in(file.path()).unwrap().pid, pid);
    }

    #[test]
    fn a_reused_pid_is_not_taken_for_the_process_that_had_it() {
        let (_child, pid) = sleeper();
        let started = start_time_of(pid).unwrap();

        assert!(Process::find(pid, started - 1).is_none());
    }

    #[test]
    fn ending_waits_for_the_end() {
        let (_child, pid) = sleeper();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

        let by_itself = runtime.block_on(Process::of(pid).unwrap().end(Duration::from_secs(10)));

        assert!(by_itself.unwrap());
    }
}
