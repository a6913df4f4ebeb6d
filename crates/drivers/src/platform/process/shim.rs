//! Stands between the engine and a program it starts: claims the launch, then becomes the replica, or waits for
//! the task. Needs no engine, and starts nothing whose intent was withdrawn. Called by a hidden command.

use super::proc::{self, Identity, Reaped};
use super::record::{Claim, Folder, ReplicaRecord, TaskRecord};
use crate::repairs::say;
use rollout::change::Ended;
use rollout::names::Millis;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, kill_process_group};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// What shells answer for a program that cannot be started.
const CANNOT_START: u8 = 127;

/// How often the last of a killed process group is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How long a killed process group may take to be gone.
const KILLED_WAIT_MAX: Duration = Duration::from_secs(2);

/// Runs `replica FOLDER` or `task FOLDER`. A replica that starts never returns from here.
pub fn run(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let (Some(kind), Some(folder), None) = (args.next(), args.next(), args.next()) else {
        say("error: cannot start a replica: this command takes two arguments and is meant for the engine");
        return ExitCode::from(2);
    };
    let folder = Folder(PathBuf::from(folder));
    let outcome = match kind.to_str() {
        Some("replica") => run_replica(&folder),
        Some("task") => run_task(&folder),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "neither `replica` nor `task` was asked for")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // stderr is the replica's log: whoever reads why it did not come up finds it there.
            say(&format!("medeclipse: cannot start: {error}"));
            if let Err(unsaved) = folder.set_failure(&error.to_string()) {
                say(&format!("medeclipse: cannot record it: {unsaved}"));
            }
            ExitCode::from(CANNOT_START)
        }
    }
}

/// Becomes the replica. Returns only when it does not start.
fn run_replica(folder: &Folder) -> io::Result<()> {
    let record: ReplicaRecord = folder.record()?.ok_or_else(|| gone(folder))?;
    if let Some(place) = &record.cgroup
        && let Err(error) = place.join()
        && place.limited
    {
        return Err(io::Error::new(error.kind(), format!("its limits cannot be set: {error}")));
    }
    if !claim(folder)? {
        return Ok(());
    }
    // `exec` gives the program an empty signal mask and the default SIGPIPE.
    let error = command(&record.command)?.exec();
    Err(explained(&record.command, &error))
}

/// Runs the task's command and records how it ended, whether or not an engine is there.
fn run_task(folder: &Folder) -> io::Result<()> {
    let started = Instant::now();
    let record: TaskRecord = folder.record()?.ok_or_else(|| gone(folder))?;
    if !claim(folder)? {
        return Ok(());
    }
    // A group of its own, so that the deadline kills the command and not its guard.
    let child = match command(&record.command)?.process_group(0).spawn() {
        Ok(child) => child,
        Err(error) => {
            folder.end(Ended::Code(CANNOT_START.into()))?;
            return Err(explained(&record.command, &error));
        }
    };
    let identity = Identity::of(child.id())?;
    folder.set_command(&identity)?;
    let fd = identity.open()?.ok_or_else(|| gone(folder))?;
    let in_time = wait(&fd, started + super::bounded(record.deadline))?;
    // The task is over when its command is: nothing of it goes on in the background.
    kill_group(&identity)?;
    wait(&fd, Instant::now() + KILLED_WAIT_MAX)?;
    let ended = match proc::reap(fd.as_fd())? {
        _ if !in_time => timed_out(record.deadline),
        Reaped::Ended(ended) => ended,
        Reaped::Running | Reaped::NotOurs => Ended::Unknown,
    };
    folder.end(ended)?;
    Ok(())
}

fn timed_out(deadline: Millis) -> Ended {
    say(&format!("medeclipse: killed: its deadline of {deadline} passed"));
    Ended::TimedOut
}

/// Returns false when the launch was withdrawn.
fn claim(folder: &Folder) -> io::Result<bool> {
    let own = Claim::Runs(Identity::own()?);
    Ok(folder.decide(&own)? == own)
}

fn command(words: &[String]) -> io::Result<Command> {
    let [program, args @ ..] = words else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "its command is empty"));
    };
    let mut command = Command::new(program);
    command.args(args);
    Ok(command)
}

/// Returns whether the process ended before `until`.
fn wait(fd: &OwnedFd, until: Instant) -> io::Result<bool> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&left)) {
            Ok(count) => return Ok(count > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Kills what is in the group and waits until only zombies are left. The leader is not reaped yet, so that the
/// group's number is nobody else's.
fn kill_group(leader: &Identity) -> io::Result<()> {
    let until = Instant::now() + KILLED_WAIT_MAX;
    while !proc::group_members(leader.pid)?.is_empty() && Instant::now() < until {
        if let Some(group) = proc::as_pid(leader.pid) {
            match kill_process_group(group, Signal::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

fn explained(words: &[String], error: &io::Error) -> io::Error {
    let program = words.first().map(String::as_str).unwrap_or_default();
    let why = match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::NOENT) if program.contains('/') => {
            "there is no such file, or what it is to be run by is missing".to_owned()
        }
        Some(rustix::io::Errno::NOENT) => "there is no such program on the PATH".to_owned(),
        Some(rustix::io::Errno::ACCESS) => "it is not executable".to_owned(),
        Some(rustix::io::Errno::NOEXEC) => "it is no program this machine can run".to_owned(),
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("`{program}`: {why}"))
}

fn gone(folder: &Folder) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("`{}` is gone", folder.0.display()))
}
