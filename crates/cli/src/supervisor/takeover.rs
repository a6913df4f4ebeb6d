//! Finds what a supervisor that died left running: an edge that serves, an engine. Takes the edge's listening
//! sockets over, so that they are never closed. Ends nothing; see `life`.

use super::child::Who;
use super::retire;
use crate::process::Process;
use drivers::paths::StatePaths;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long the running edge may take to hand its sockets over.
const HAND_OVER: Duration = Duration::from_secs(5);

/// What was found.
#[derive(Debug, Default)]
pub struct Left {
    pub edge: Option<Process>,
    pub engine: Option<Process>,
    pub listeners: Vec<TcpListener>,
}

impl Left {
    /// Looks for them. An edge that hands nothing over is of no use, and is ended like any other.
    pub fn find(paths: &StatePaths) -> Self {
        let mut left = Self::processes(paths);
        if left.edge.is_some() {
            left.listeners = take_over(&paths.handover_socket()).unwrap_or_default();
        }
        // A supervisor that died while it replaced an edge: the one before still has the sockets.
        for (pid, process) in retire::named(paths) {
            if left.listeners.is_empty() && process.is_some() {
                let socket = paths.replaced_handover_socket(pid.as_raw_nonzero().get());
                left.listeners = take_over(&socket).unwrap_or_default();
            }
        }
        left
    }

    /// Looks for the processes alone.
    pub fn processes(paths: &StatePaths) -> Self {
        let edge = Process::named_in(&Who::Edge.pid_file(paths));
        let engine = Process::named_in(&Who::Engine.pid_file(paths));
        Self { edge, engine, listeners: Vec::new() }
    }

    /// Whether nothing of the environment was running: after a start of the machine, or a `down`.
    pub fn is_nothing(&self) -> bool {
        self.edge.is_none() && self.engine.is_none()
    }
}

fn take_over(socket: &Path) -> std::io::Result<Vec<TcpListener>> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(HAND_OVER))?;
    stream.set_write_timeout(Some(HAND_OVER))?;
    edge::handover::receive_listeners(&stream)
}
