//! Gives the edge its listening sockets, over a socket of our own. Gives them to no other user.

use crate::exit::{self, Failure};
use drivers::paths::StatePaths;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

/// How long an edge may take to read what it asked for.
const GIVE: Duration = Duration::from_secs(5);

/// Answers every connection with the listeners, until the task is dropped.
pub fn start(paths: &StatePaths, listeners: Arc<Vec<TcpListener>>) -> Result<Giving, Failure> {
    let path = paths.supervisor_socket();
    let failed = |error: io::Error| {
        Failure::new(exit::REFUSED, format!("listen on {}", path.display()))
            .because(error)
            .then("is the state directory writable? `medeclipse doctor`")
    };
    let socket = bind(&path).map_err(failed)?;
    Ok(Giving { path, task: tokio::spawn(give(socket, Arc::clone(&listeners))), listeners })
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    super::child::remove(path)?;
    let socket = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(socket)
}

/// Ends with its owner.
#[derive(Debug)]
pub struct Giving {
    path: PathBuf,
    listeners: Arc<Vec<TcpListener>>,
    task: JoinHandle<()>,
}

impl Giving {
    /// Listens again where somebody removed the socket's file: the next edge would get no listeners. True: it was gone.
    pub fn keep(&mut self) -> io::Result<bool> {
        if self.path.exists() {
            return Ok(false);
        }
        let socket = bind(&self.path)?;
        self.task.abort();
        self.task = tokio::spawn(give(socket, Arc::clone(&self.listeners)));
        Ok(true)
    }
}

impl Drop for Giving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn give(socket: UnixListener, listeners: Arc<Vec<TcpListener>>) {
    loop {
        let given = match socket.accept().await {
            Ok((stream, _)) => hand_out(stream, &listeners),
            Err(error) => Err(error),
        };
        if let Err(error) = given {
            crate::output::aside(&format!("could not give the listening sockets away: {error}"));
            // Out of descriptors: asking again at once would only burn the processor.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn hand_out(stream: tokio::net::UnixStream, listeners: &[TcpListener]) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    let own = rustix::process::geteuid().as_raw();
    if peer != own && peer != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("user {peer} asked for them")));
    }
    let stream = stream.into_std()?;
    // Some bytes and descriptors: they fit the socket's buffer, so this does not wait for the reader.
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(GIVE))?;
    edge::handover::send_listeners(&stream, listeners)
}
