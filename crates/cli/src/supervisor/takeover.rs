//! Finds what a supervisor that died left running: an edge that serves, an engine. Takes the edge's listening
//! sockets over, so that they are never closed. Ends nothing; see `life`.

use super::child::Who;
use crate::process::Process;
use drivers::paths::StatePaths;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
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
        let edge = Process::named_in(&Who::Edge.pid_file(paths));
        let engine = Process::named_in(&Who::Engine.pid_file(paths));
        let listeners = if edge.is_some() { take_over(paths).unwrap_or_default() } else { Vec::new() };
        Self { edge, engine, listeners }
    }

    /// Whether nothing of the environment was running: after a start of the machine, or a `down`.
    pub fn is_nothing(&self) -> bool {
        self.edge.is_none() && self.engine.is_none()
    }
}

fn take_over(paths: &StatePaths) -> std::io::Result<Vec<TcpListener>> {
    let stream = UnixStream::connect(paths.handover_socket())?;
    stream.set_read_timeout(Some(HAND_OVER))?;
    stream.set_write_timeout(Some(HAND_OVER))?;
    edge::handover::receive_listeners(&stream)
}
