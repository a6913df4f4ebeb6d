//! Takes in the children that ended: our own, and the orphans a dead engine left. Writes down how an orphan ended
//! before it is reaped, so that a new engine can read what the old one would have been told.

use rollout::change::Ended;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitIdStatus, waitid};
use std::fs;
use std::io;
use std::path::Path;

/// Records kept; the engine reads one within seconds, and forgets replicas of long ago.
const RECORDS_MAX: usize = 1024;

/// What one round of reaping found.
#[derive(Debug, Default)]
pub struct Reaped {
    /// How those among the known ones ended.
    pub ended: Vec<(Pid, Ended)>,
    /// Why something could not be taken in or written down. The rest was, all the same.
    pub error: Option<io::Error>,
}

/// Reaps every child that has ended. Writes down in `folder` how those ended that are not `known`.
pub fn reap(known: &[Pid], folder: &Path) -> Reaped {
    let mut reaped = Reaped::default();
    let pids = match children() {
        Ok(pids) => pids,
        Err(error) => return Reaped { error: Some(error), ..reaped },
    };
    for pid in pids {
        if let Err(error) = reap_one(pid, known, folder, &mut reaped.ended) {
            reaped.error = Some(error);
        }
    }
    reaped
}

fn reap_one(pid: Pid, known: &[Pid], folder: &Path, ended: &mut Vec<(Pid, Ended)>) -> io::Result<()> {
    let Some(how) = look_at(pid)? else { return Ok(()) };
    let recorded = if known.contains(&pid) {
        ended.push((pid, how));
        Ok(())
    } else {
        record(folder, pid, how)
    };
    // Also when the disk is full: "status unknown" is a legal fact, a zombie is none.
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG)?;
    recorded
}

/// Says how a child ended, without reaping it: its start time can still be read.
fn look_at(pid: Pid) -> io::Result<Option<Ended>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(WaitId::Pid(pid), options) {
        Ok(status) => Ok(status.map(|status| ended(&status))),
        // Somebody else has reaped it, or it is not ours any more.
        Err(rustix::io::Errno::CHILD) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn ended(status: &WaitIdStatus) -> Ended {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ended::Code(code),
        (None, Some(signal)) => Ended::Signal(signal),
        (None, None) => Ended::Unknown,
    }
}

/// Writes `PID-START_TIME` with `code N` or `signal N`, whole or not at all.
fn record(folder: &Path, pid: Pid, how: Ended) -> io::Result<()> {
    let start_time = crate::process::start_time_of(pid).unwrap_or_default();
    let text = match how {
        Ended::Code(code) => format!("code {code}\n"),
        Ended::Signal(signal) => format!("signal {signal}\n"),
        Ended::TimedOut | Ended::Unknown => return Ok(()),
    };
    let name = format!("{}-{start_time}", pid.as_raw_nonzero());
    let draft = folder.join(format!(".{name}"));
    fs::write(&draft, text)?;
    fs::rename(&draft, folder.join(name))?;
    forget_the_oldest(folder)
}

fn forget_the_oldest(folder: &Path) -> io::Result<()> {
    let mut records: Vec<_> = fs::read_dir(folder)?
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    if records.len() <= RECORDS_MAX {
        return Ok(());
    }
    records.sort();
    for (_, path) in records.iter().take(records.len() - RECORDS_MAX) {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Returns our children, the adopted ones too, from /proc/self/task/*/children: waitid(2) alone does not say
/// whose status it is before it is reaped.
fn children() -> io::Result<Vec<Pid>> {
    let mut pids = Vec::new();
    for task in fs::read_dir("/proc/self/task")?.flatten() {
        // A thread that ended between the two calls has handed its children to another one.
        let Ok(text) = fs::read_to_string(task.path().join("children")) else { continue };
        pids.extend(text.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)));
    }
    Ok(pids)
}
