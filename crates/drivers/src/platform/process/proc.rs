//! Reads what the system says about processes. Changes nothing.

use rollout::change::Ended;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

/// One process of one boot: a pid alone may be someone else's by now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: u32,
    /// Field 22 of /proc/PID/stat: clock ticks since boot.
    pub start: u64,
    pub boot: String,
}

/// What /proc/PID/stat says, as far as it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Ended, and waits for its parent. A leader that ended before its threads is none.
    pub zombie: bool,
    pub parent: u32,
    pub group: u32,
    pub start: u64,
}

impl Identity {
    /// Identifies the process that calls.
    pub fn own() -> io::Result<Self> {
        Self::of(std::process::id())
    }

    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = stat(pid)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Self { pid, start: stat.start, boot: boot_id()? })
    }

    /// Returns whether this very process still exists, be it as a zombie.
    pub fn exists(&self) -> bool {
        let same_boot = boot_id().is_ok_and(|boot| boot == self.boot);
        same_boot && matches!(stat(self.pid), Ok(Some(stat)) if stat.start == self.start)
    }

    /// Returns whether this very process still runs.
    pub fn runs(&self) -> bool {
        let alive = matches!(stat(self.pid), Ok(Some(stat)) if stat.start == self.start && !stat.zombie);
        alive && boot_id().is_ok_and(|boot| boot == self.boot)
    }

    /// Returns a descriptor that becomes readable when the process ends. None: it is gone.
    pub fn open(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = as_pid(self.pid) else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            // Looked at after the opening: now the descriptor cannot move on to another process.
            Ok(fd) => Ok(self.exists().then_some(fd)),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// What the parent of a process may learn about its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaped {
    Ended(Ended),
    Running,
    /// Somebody else's child.
    NotOurs,
}

/// Takes the exit status of a child, which removes the zombie.
pub fn reap(fd: BorrowedFd<'_>) -> io::Result<Reaped> {
    match waitid(WaitId::PidFd(fd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
        Ok(None) => Ok(Reaped::Running),
        Ok(Some(status)) => Ok(Reaped::Ended(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Ended::Code(code),
            (None, Some(signal)) => Ended::Signal(signal),
            (None, None) => Ended::Unknown,
        })),
        Err(rustix::io::Errno::CHILD) => Ok(Reaped::NotOurs),
        Err(error) => Err(error.into()),
    }
}

/// Returns None when there is no such process.
pub fn stat(pid: u32) -> io::Result<Option<Stat>> {
    match fs::read(format!("/proc/{pid}/stat")) {
        Ok(text) => Ok(parse_stat(&text)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the members of a process group that are not zombies.
pub fn group_members(group: u32) -> io::Result<Vec<u32>> {
    let mut members = Vec::new();
    for pid in pids()? {
        match stat(pid) {
            Ok(Some(stat)) if stat.group == group && !stat.zombie => members.push(pid),
            // Another user's, or gone meanwhile: not one of ours.
            _ => {}
        }
    }
    Ok(members)
}

/// Returns all processes.
pub fn pids() -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        if let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

/// Returns what tells this boot of the machine from the others.
pub fn boot_id() -> io::Result<String> {
    static KNOWN: OnceLock<String> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(known.clone());
    }
    let read = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(KNOWN.get_or_init(|| read.trim().to_owned()).clone())
}

/// Returns None for 0 and for what no process can have.
pub fn as_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

fn parse_stat(text: &[u8]) -> Option<Stat> {
    // The name in parentheses may hold anything, parentheses too: the last one ends it.
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(end + 2..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let threads: u32 = fields.get(17)?.parse().ok()?;
    Some(Stat {
        zombie: matches!(*fields.first()?, "Z" | "X") && threads <= 1,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let text = b"42 (a) S 1 (b) R 7 40 40 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 12345 0 0 0";

        assert_eq!(parse_stat(text), Some(Stat { zombie: false, parent: 7, group: 40, start: 12345 }));
    }

    #[test]
    fn this_process_runs_and_one_of_another_start_does_not() {
        let own = Identity::own().unwrap();

        assert!(own.runs());
        assert!(own.open().unwrap().is_some());
        let other = Identity { start: own.start + 1, ..own.clone() };
        assert!(!other.runs());
        assert!(other.open().unwrap().is_none());
        assert!(!Identity { boot: "other".to_owned(), ..own }.exists());
    }
}
