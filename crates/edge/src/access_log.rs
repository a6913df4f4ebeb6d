//! Writes one JSON line per request, from a thread of its own, and rotates the file by size.
//! Refuses to slow a request down: when the disk is behind, lines are dropped and their number is written later.

use crate::complain::complain;
use crate::guard::Noted;
use crate::{clock, limits};
use rollout::names::Millis;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// What is written about one request. No query string: it may carry what must not be logged.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) time: Millis,
    pub(crate) request_id: http::HeaderValue,
    pub(crate) trace: u128,
    pub(crate) span: u64,
    pub(crate) target: Option<Arc<str>>,
    pub(crate) revision: Option<u64>,
    /// The revision it failed on first.
    pub(crate) replayed: Option<u64>,
    pub(crate) replica: Option<Arc<crate::claim::Replica>>,
    pub(crate) method: http::Method,
    pub(crate) uri: http::Uri,
    pub(crate) status: u16,
    pub(crate) error: Option<&'static str>,
    pub(crate) bytes: u64,
    /// To the answer's head; none when no replica answered.
    pub(crate) head_after: Option<Duration>,
    pub(crate) duration: Duration,
    /// The rule of the guard that had something to say, and what followed.
    pub(crate) guard: Option<(Arc<str>, Noted)>,
    pub(crate) client: std::net::IpAddr,
}

#[derive(Serialize)]
struct Line<'e> {
    time: String,
    request_id: &'e str,
    trace: String,
    span: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replica: Option<&'e str>,
    method: &'e str,
    path: &'e str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'e str>,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    head_ms: Option<f64>,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    guard: Option<String>,
    client: String,
}

impl Entry {
    fn line(&self) -> Line<'_> {
        Line {
            time: self.time.rfc3339(),
            request_id: self.request_id.to_str().unwrap_or_default(),
            trace: format!("{:032x}", self.trace),
            span: format!("{:016x}", self.span),
            target: self.target.as_deref(),
            revision: self.revision,
            replayed: self.replayed,
            replica: self.replica.as_ref().map(|replica| replica.name.as_str()),
            method: self.method.as_str(),
            path: self.uri.path(),
            status: self.status,
            error: self.error,
            bytes: self.bytes,
            head_ms: self.head_after.map(milliseconds),
            duration_ms: milliseconds(self.duration),
            guard: self.guard.as_ref().map(|(rule, noted)| format!("{rule} {}", noted.word())),
            client: self.client.to_canonical().to_string(),
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Takes entries from the workers.
#[derive(Debug, Clone)]
pub(crate) struct AccessLog {
    queue: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

impl AccessLog {
    /// Opens the file and starts the writer. The writer ends when every clone of the log is gone.
    pub(crate) fn start(path: &Path) -> io::Result<(Self, JoinHandle<()>)> {
        let file = LogFile::open(path)?;
        let (queue, entries) = sync_channel(limits::LOG_QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let log = Self { queue, dropped: Arc::clone(&dropped) };
        let thread = std::thread::Builder::new().name("edge-log".into());
        Ok((log, thread.spawn(move || write_all(file, &entries, &dropped))?))
    }

    pub(crate) fn write(&self, entry: Entry) {
        if self.queue.try_send(entry).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

fn write_all(mut file: LogFile, entries: &Receiver<Entry>, dropped: &AtomicU64) {
    loop {
        let outcome = match entries.recv_timeout(Duration::from_millis(200)) {
            Ok(entry) => file.write(&entry.line()),
            Err(RecvTimeoutError::Timeout) => file.flush(),
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if outcome.is_err() {
            dropped.fetch_add(1, Relaxed);
        } else if dropped.load(Relaxed) > 0 {
            let lost = dropped.swap(0, Relaxed);
            let line = serde_json::json!({ "time": clock::now().rfc3339(), "dropped": lost });
            if file.write(&line).is_err() {
                dropped.fetch_add(lost, Relaxed);
            }
        }
    }
    if let Err(error) = file.flush() {
        complain(format_args!("cannot write the end of the access log: {error}"));
    }
}

/// The open file and its size.
struct LogFile {
    path: PathBuf,
    file: BufWriter<File>,
    bytes: u64,
    limit: u64,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file), bytes, limit: limits::LOG_BYTES })
    }

    fn write(&mut self, line: &impl Serialize) -> io::Result<()> {
        if self.bytes >= self.limit {
            self.rotate()?;
        }
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.write_all(&text)?;
        self.bytes += text.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file.flush()?;
        let old = |n: usize| PathBuf::from(format!("{}.{n}", self.path.display()));
        for n in (1..limits::LOG_KEPT).rev() {
            match std::fs::rename(old(n), old(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, old(1))?;
        let limit = self.limit;
        *self = Self { limit, ..Self::open(&self.path)? };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_rotates_by_size_and_keeps_three_old_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut file = LogFile::open(&path).unwrap();
        file.limit = 30;

        for n in 0..20 {
            file.write(&serde_json::json!({ "line": n, "padding": "0123456789" })).unwrap();
        }
        file.flush().unwrap();

        let mut names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["access.log", "access.log.1", "access.log.2", "access.log.3"]);
        assert!(std::fs::read_to_string(&path).unwrap().contains("\"line\":19"));
    }
}
