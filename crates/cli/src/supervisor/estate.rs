//! Becomes another program without ending: the process, its children, its lock and its listening sockets stay. What the
//! next program needs waits for it in a socket that is its standard input. Decides nothing; see `Supervisor::become_another`.

use super::asking::Asker;
use super::lock::Lock;
use crate::exit::Failure;
use drivers::paths::StatePaths;
use edge::handover;
use rollout::names::Target;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The hidden option of `up` that says where to look for the rest.
const INHERITS: &str = "--inherits";
/// The bytes are in the socket before anybody reads them; a buffer they do not fit into is noticed after this.
const WRITE: Duration = Duration::from_secs(2);

/// What is not a descriptor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Notes {
    /// The version that ran before.
    pub from: String,
    /// Targets that were damaged then; None: nobody could say.
    pub damaged: Option<Vec<Target>>,
    /// Why the program that was tried gave up; None: this is the one that is tried.
    pub failure: Option<Failure>,
    /// The edge that served then.
    pub edge: Option<i32>,
    /// How the program that ran before was called.
    pub args: Vec<OsString>,
    pub variables: Vec<(OsString, OsString)>,
}

impl Notes {
    /// Returns the notes of this process, to be taken back to.
    pub fn of_this_process(damaged: Option<Vec<Target>>, edge: Option<Pid>) -> Self {
        Self {
            from: env!("CARGO_PKG_VERSION").to_owned(),
            damaged,
            failure: None,
            edge: edge.map(|pid| pid.as_raw_nonzero().get()),
            args: own_args(),
            variables: std::env::vars_os().collect(),
        }
    }
}

/// What one program leaves to the next.
#[derive(Debug)]
pub struct Estate {
    pub lock: Lock,
    pub asker: Asker,
    /// The program that ran before, to go back to; also when it was replaced on disk.
    pub program: File,
    pub listeners: Vec<TcpListener>,
    pub notes: Notes,
}

impl Estate {
    /// Takes what was left to this process.
    pub fn take(paths: &StatePaths) -> io::Result<Self> {
        let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        // Nothing is read from it any more, and nobody else is to read from it.
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        let mut descriptors = handover::receive_descriptors(&stream)?.into_iter();
        let mut next = || descriptors.next().ok_or(io::ErrorKind::UnexpectedEof);
        let (lock, asker, program) = (next()?, next()?, next()?);
        let mut text = Vec::new();
        (&stream).read_to_end(&mut text)?;
        Ok(Self {
            lock: Lock::kept(lock, paths),
            asker: Asker::from(asker),
            program: File::from(program),
            listeners: descriptors.map(TcpListener::from).collect(),
            notes: serde_json::from_slice(&text)?,
        })
    }

    /// Becomes another program. Returns only when that failed.
    pub fn leave(
        keep: &[BorrowedFd<'_>; 3],
        listeners: &[TcpListener],
        notes: &Notes,
        mut command: Command,
    ) -> io::Error {
        let put = || -> io::Result<UnixStream> {
            let (here, there) = UnixStream::pair()?;
            let descriptors: Vec<BorrowedFd<'_>> =
                keep.iter().copied().chain(listeners.iter().map(AsFd::as_fd)).collect();
            handover::send_descriptors(&here, &descriptors)?;
            here.set_write_timeout(Some(WRITE))?;
            (&here).write_all(&serde_json::to_vec(notes)?)?;
            Ok(there)
        };
        match put() {
            Ok(there) => command.stdin(OwnedFd::from(there)).exec(),
            Err(error) => error,
        }
    }
}

/// Returns the call of another program as the supervisor this process is.
pub fn successor(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg0("medeclipse").args(own_args()).arg(INHERITS);
    command
}

/// Returns the call by which the program that ran before goes on, as it was called then.
pub fn predecessor(program: &File, notes: &Notes) -> Command {
    use std::os::fd::AsRawFd;
    // The path is looked up before descriptors are closed on exec.
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    command.arg0("medeclipse").args(&notes.args).arg(INHERITS);
    command.env_clear().envs(notes.variables.iter().cloned());
    command
}

fn own_args() -> Vec<OsString> {
    std::env::args_os().skip(1).filter(|arg| arg != INHERITS).collect()
}
