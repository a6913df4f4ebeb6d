//! Answers on a Unix socket as an engine would, from a function of the request. Ends with its value: every
//! connection is closed, the socket is removed.

#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What was asked.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub body: String,
}

/// What is answered.
#[derive(Debug, Clone)]
pub enum Reply {
    Json(u16, String),
    /// Events with their ids; then the connection stays open or ends.
    Events(Vec<(String, String)>, Then),
    /// Ends the connection without an answer.
    Hangup,
}

/// What follows the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Close,
    Stay,
}

impl Reply {
    pub fn ok(value: &impl serde::Serialize) -> Self {
        Self::Json(200, serde_json::to_string(value).unwrap())
    }
}

/// An engine that is not one.
pub struct FakeEngine {
    socket: PathBuf,
    ended: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl FakeEngine {
    pub fn start(socket: &Path, answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answer: Arc<dyn Fn(&Request) -> Reply + Send + Sync> = Arc::new(answer);
        let engine = Self { socket: socket.to_owned(), ended: ended.clone(), seen: seen.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (ended, seen, answer) = (ended.clone(), seen.clone(), answer.clone());
                std::thread::spawn(move || {
                    // A client that went away is what some tests are about.
                    let _ = serve(stream.unwrap(), &ended, &seen, &*answer);
                });
            }
        });
        engine
    }

    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until a request to this path has come.
    pub fn await_request(&self, path: &str) {
        let until = Instant::now() + Duration::from_secs(20);
        while !self.seen().iter().any(|request| request.path.starts_with(path)) {
            assert!(Instant::now() < until, "nobody asked for {path}");
            std::thread::yield_now();
        }
    }
}

impl Drop for FakeEngine {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, so that the listener closes too.
        let _ = UnixStream::connect(&self.socket);
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn serve(
    stream: UnixStream,
    ended: &AtomicBool,
    seen: &Mutex<Vec<Request>>,
    answer: &dyn Fn(&Request) -> Reply,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let Some(request) = read_request(&mut reader)? else { return Ok(()) };
        seen.lock().unwrap().push(request.clone());
        match answer(&request) {
            Reply::Hangup => return Ok(()),
            Reply::Json(status, body) => write!(
                stream,
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )?,
            Reply::Events(events, then) => {
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
                )?;
                for (id, data) in events {
                    write!(stream, "id: {id}\ndata: {data}\n\n")?;
                }
                stream.flush()?;
                if then == Then::Stay {
                    stay(&stream, ended)?;
                }
                return Ok(());
            }
        }
    }
}

/// Keeps a stream open until the engine or the client ends.
fn stay(stream: &UnixStream, ended: &AtomicBool) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(5)))?;
    let mut byte = [0];
    while !ended.load(Ordering::SeqCst) {
        match (&mut &*stream).read(&mut byte) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            read => drop(read?),
        }
    }
    stream.shutdown(std::net::Shutdown::Both)
}

fn read_request(reader: &mut impl BufRead) -> std::io::Result<Option<Request>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut words = first.split_whitespace().map(str::to_owned);
    Ok(Some(Request {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        body: String::from_utf8(body).unwrap(),
    }))
}
