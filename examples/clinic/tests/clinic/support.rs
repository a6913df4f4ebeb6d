//! Starts clinics and databases for tests and ends them, also when a test fails. Waits by polling with a deadline.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// Nothing a test waits for takes longer, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A child process that is killed when the test ends, however it ends.
pub struct Process(pub Child);

impl Process {
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Waits for the end of the process; panics when it takes too long.
    pub fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the process did not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Also one that was stopped in its tracks; one that has ended already is no trouble.
        self.0.kill().unwrap_or(());
        drop(self.0.wait());
    }
}

/// A clinic that listens.
pub struct Clinic {
    pub process: Process,
    pub address: SocketAddr,
}

/// Builds a command with no settings but these; in particular none of the machine's own.
pub fn command(settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clinic"));
    command.env_clear().env("PORT", "0").envs(settings.iter().copied()).stdin(Stdio::null());
    command
}

impl Clinic {
    /// Starts one and waits until it listens.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let mut child = command(settings).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let process = Process(child);
        let mut line = String::new();
        // The pipe is closed after this line: a service must outlive whoever reads its log.
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(',').next());
        let address = address.unwrap_or_else(|| panic!("it did not say where it listens: {line:?}"));
        Self { process, address: address.parse().unwrap() }
    }

    /// Starts one with a file of its own.
    pub fn with_file(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let file = folder.join("clinic.db");
        let mut all = vec![("CLINIC_DB", file.to_str().unwrap())];
        all.extend_from_slice(settings);
        Self::start(&all)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "").await
    }

    pub async fn post(&self, path: &str, body: &str) -> Answer {
        self.send("POST", path, body).await
    }

    /// Sends one request on a connection of its own.
    pub async fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        Link::open(self.address).await.unwrap().send(method, path, body).await.unwrap()
    }

    /// Polls a path until it answers with this status.
    pub async fn until(&self, path: &str, status: u16) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.get(path).await;
            if answer.status == status {
                return answer;
            }
            assert!(Instant::now() < deadline, "{path} did not become {status}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A keep-alive connection.
pub struct Link(SendRequest<Full<Bytes>>);

impl Link {
    pub async fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(async { connection.await.unwrap_or(()) });
        Ok(Self(sender))
    }

    pub async fn send(&mut self, method: &str, path: &str, body: &str) -> Result<Answer, hyper::Error> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "clinic.example")
            .header("content-type", "application/json")
            .body(Full::from(body.to_owned()))
            .unwrap();
        let sent = async {
            let response = self.0.send_request(request).await?;
            let (head, body) = response.into_parts();
            let text = String::from_utf8(body.collect().await?.to_bytes().to_vec()).unwrap();
            Ok(Answer { status: head.status, headers: head.headers, text })
        };
        tokio::time::timeout(PATIENCE, sent).await.expect("no answer in time")
    }
}

/// An appointment that passes every check.
pub fn appointment(number: usize) -> String {
    format!(r#"{{"slot":"2027-03-{:02}T09:30","practitioner":"dr-costa"}}"#, 1 + number % 28)
}
