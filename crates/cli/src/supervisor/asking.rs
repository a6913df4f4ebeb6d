//! Takes the question to become another program, over a socket of our own, and carries the answer back. Decides
//! nothing; see `Supervisor::become_another`. Refuses other users, and a second question while one is looked at.

use super::child;
use crate::exit::{self, Failure};
use drivers::paths::StatePaths;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A question is one short line, written at once.
const QUESTION: Duration = Duration::from_secs(2);
/// An asker that does not read its answers is not waited for.
const ANSWER: Duration = Duration::from_secs(1);

/// What is asked for.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// The program to become, absolute.
    pub binary: PathBuf,
}

/// A line of the answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Told {
    /// It goes on.
    Progress { text: String },
    /// The last line: it runs.
    Upgraded { from: String, to: String },
    /// The last line: it does not, and what ran before does.
    Refused { failure: Failure },
}

/// A question and whoever waits for its answer.
#[derive(Debug)]
pub struct Request {
    pub question: Question,
    pub asker: Asker,
}

/// Whoever waits for an answer. Outlives our becoming another program.
#[derive(Debug)]
pub struct Asker(UnixStream);

impl Asker {
    /// Tells it something. One that went away needs to know nothing.
    pub fn tell(&self, told: &Told) {
        let mut line = serde_json::to_vec(told).expect("BUG: an answer has a JSON form");
        line.push(b'\n');
        let _ = (&self.0).write_all(&line);
    }

    pub fn progress(&self, text: impl Into<String>) {
        self.tell(&Told::Progress { text: text.into() });
    }
}

impl AsFd for Asker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Asker {
    fn from(descriptor: OwnedFd) -> Self {
        Self(UnixStream::from(descriptor))
    }
}

/// Takes questions until it is dropped.
#[derive(Debug)]
pub struct Asking {
    requests: mpsc::Receiver<Request>,
    task: JoinHandle<()>,
}

impl Asking {
    pub fn start(paths: &StatePaths) -> Result<Self, Failure> {
        let path = paths.upgrade_socket();
        let failed = |error: io::Error| {
            Failure::new(exit::REFUSED, format!("listen on {}", path.display()))
                .because(error)
                .then("is the state directory writable? `medeclipse doctor`")
        };
        child::remove(&path).map_err(failed)?;
        let socket = UnixListener::bind(&path).map_err(failed)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let (sender, requests) = mpsc::channel(1);
        Ok(Self { requests, task: tokio::spawn(take(socket, sender)) })
    }

    /// Waits for the next question.
    pub async fn next(&mut self) -> Request {
        match self.requests.recv().await {
            Some(request) => request,
            // The task never ends by itself.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(socket: UnixListener, requests: mpsc::Sender<Request>) {
    loop {
        let Ok((stream, _)) = socket.accept().await else {
            // Out of descriptors: asking again at once would only burn the processor.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let own = rustix::process::geteuid().as_raw();
        if !stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0) {
            continue;
        }
        let read = tokio::task::spawn_blocking(move || read(stream.into_std()?)).await;
        let Ok(Ok(request)) = read else { continue };
        if let Err(refused) = requests.try_send(request) {
            let failure = Failure::new(exit::REFUSED, "upgrade")
                .because("another upgrade is under way")
                .then("wait until it has ended: `medeclipse status` says which version runs");
            refused.into_inner().asker.tell(&Told::Refused { failure });
        }
    }
}

fn read(stream: UnixStream) -> io::Result<Request> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(QUESTION))?;
    stream.set_write_timeout(Some(ANSWER))?;
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    Ok(Request { question: serde_json::from_str(&line)?, asker: Asker(stream) })
}
