//! Counts how each request of a load ended, in bounded memory. Judges nothing; `report` turns it into text.

use meter::histogram::Histogram;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Display};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Bad responses remembered one by one; the oldest are forgotten, their counts are not.
const BAD_MAX: usize = 100_000;
/// Different values of one header counted apart. Far more than a demo deploys.
const LABELS_MAX: usize = 64;
/// Where all further values are counted.
const LABEL_MORE: &str = "(more)";

/// How a request failed. Each failed request is in exactly one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// Nobody listens: the request was never sent.
    ConnectRefused,
    /// No connection for another reason; never sent either.
    Connect,
    /// The connection was reset after the request was begun.
    Reset,
    /// The connection ended before the answer did.
    Eof,
    /// No complete answer within the deadline.
    Timeout,
    /// A complete answer 500–599.
    #[serde(rename = "status_5xx")]
    Status5xx,
    /// A complete answer that is neither 200–299 nor 500–599.
    StatusOther,
    /// An answer that is not HTTP.
    Protocol,
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConnectRefused => "connect refused",
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Eof => "eof",
            Self::Timeout => "timeout",
            Self::Status5xx => "status 5xx",
            Self::StatusOther => "status other",
            Self::Protocol => "protocol",
        })
    }
}

/// The method of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    Get,
    Post,
}

/// Requests that ended, by how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub ok: u64,
    pub failed: u64,
}

/// Complete answers that carried one value of a header, and when. Microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Label {
    pub ok: u64,
    pub failed: u64,
    pub first_us: u64,
    pub last_us: u64,
}

/// What happened to connections. Without loss, `opened` is the number of clients plus `closed_politely`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Connections {
    pub opened: u64,
    /// The server said `Connection: close` with a complete answer.
    pub closed_politely: u64,
    /// Gone when the next request wanted it, before a byte of that was written: no request lost.
    pub lost_idle: u64,
    /// Reset, ended or unusable within a request, which therefore failed.
    pub lost_busy: u64,
}

impl Connections {
    /// Returns how often a client had to connect again without having been asked to.
    pub fn lost(&self) -> u64 {
        self.lost_idle + self.lost_busy
    }
}

/// One request that ended badly. Microseconds since the Unix epoch; the clock behind them never jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BadResponse {
    /// When the request was handed to the connection, or the connection was begun that failed.
    pub start_us: u64,
    pub end_us: u64,
    pub class: Failure,
    pub method: Method,
    /// Of a complete answer.
    pub status: Option<u16>,
}

/// Latency of complete answers, from start to the last byte of the body, in milliseconds. Quantiles are upper
/// boundaries of histogram buckets (2.2 % wide).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// What a load has counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Snapshot {
    pub elapsed_ms: u64,
    /// Requests that ended: `ok` + `failed`.
    pub requests: u64,
    pub ok: u64,
    pub failed: u64,
    /// Answers that stable gave after the candidate had failed, by `X-MedEclipse-Replayed`.
    pub replayed: u64,
    /// Begun and not ended.
    pub in_flight: u64,
    pub by_class: BTreeMap<Failure, u64>,
    pub by_status: BTreeMap<u16, u64>,
    pub by_method: BTreeMap<Method, Tally>,
    /// By `X-MedEclipse-Release`; answers without it are not here.
    pub by_release: BTreeMap<String, Label>,
    /// By `X-Clinic-Version`; answers without it are not here.
    pub by_version: BTreeMap<String, Label>,
    pub connections: Connections,
    pub latency_ms: Latency,
    #[serde(skip)]
    pub latency: Histogram,
    /// Bad responses no longer remembered one by one.
    pub bad_forgotten: u64,
}

/// How a request ended, as its client saw it.
pub(super) struct Ended {
    pub method: Method,
    pub start_us: u64,
    pub end_us: u64,
    pub answer: Result<Answer, Failure>,
}

/// A complete answer.
pub(super) struct Answer {
    pub status: u16,
    pub release: Option<http::HeaderValue>,
    pub version: Option<http::HeaderValue>,
    pub replayed: bool,
}

/// Monotonic time on the scale of the wall clock at its start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    anchor: Instant,
    anchor_us: u64,
}

impl Clock {
    pub fn start() -> Self {
        Self { anchor: Instant::now(), anchor_us: epoch_us(SystemTime::now()) }
    }

    pub fn now_us(&self) -> u64 {
        self.anchor_us + self.anchor.elapsed().as_micros() as u64
    }

    pub fn elapsed_ms(&self) -> u64 {
        self.anchor.elapsed().as_millis() as u64
    }
}

/// Returns microseconds since the Unix epoch, 0 for moments before it.
pub fn epoch_us(moment: SystemTime) -> u64 {
    moment.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// The counts of one thread. Locked for microseconds by its clients and by whoever reads.
#[derive(Debug)]
pub(super) struct Shard(Mutex<Counts>);

#[derive(Debug)]
struct Counts {
    begun: u64,
    seen: Snapshot,
    max_us: u64,
    bad: VecDeque<BadResponse>,
    bad_max: usize,
}

impl Shard {
    /// Makes the counts of one of `threads` threads; together they stay within the bounds.
    pub fn new(threads: usize) -> Self {
        let bad_max = BAD_MAX / threads.max(1);
        Self(Mutex::new(Counts {
            begun: 0,
            seen: Snapshot::default(),
            max_us: 0,
            bad: VecDeque::new(),
            bad_max,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Counts are whole after every statement, so those of a thread that panicked are still true.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn begun(&self) {
        self.lock().begun += 1;
    }

    pub fn connection(&self, change: impl FnOnce(&mut Connections)) {
        change(&mut self.lock().seen.connections);
    }

    pub fn ended(&self, ended: &Ended) {
        self.lock().end(ended);
    }

    pub fn bad(&self) -> Vec<BadResponse> {
        self.lock().bad.iter().copied().collect()
    }

    /// Adds this thread's counts.
    pub fn add_to(&self, merged: &mut Snapshot) {
        let counts = self.lock();
        let seen = &counts.seen;
        merged.requests += seen.requests;
        merged.ok += seen.ok;
        merged.failed += seen.failed;
        merged.replayed += seen.replayed;
        merged.in_flight += counts.begun - seen.requests;
        merged.bad_forgotten += seen.bad_forgotten;
        merged.latency.merge(&seen.latency);
        merged.latency_ms.max = merged.latency_ms.max.max(counts.max_us as f64 / 1000.0);
        seen.by_class.iter().for_each(|(class, count)| *merged.by_class.entry(*class).or_default() += count);
        seen.by_status
            .iter()
            .for_each(|(status, count)| *merged.by_status.entry(*status).or_default() += count);
        for (method, tally) in &seen.by_method {
            let sum = merged.by_method.entry(*method).or_default();
            sum.ok += tally.ok;
            sum.failed += tally.failed;
        }
        add_labels(&mut merged.by_release, &seen.by_release);
        add_labels(&mut merged.by_version, &seen.by_version);
        merged.connections.opened += seen.connections.opened;
        merged.connections.closed_politely += seen.connections.closed_politely;
        merged.connections.lost_idle += seen.connections.lost_idle;
        merged.connections.lost_busy += seen.connections.lost_busy;
    }
}

impl Snapshot {
    /// Fills the quantiles in from the histogram.
    pub(super) fn summarise(&mut self) {
        // An upper boundary may lie beyond the largest value seen.
        let max = self.latency_ms.max;
        let at = |share| self.latency.quantile(share).map_or(0.0, |upper| upper.min(max));
        self.latency_ms = Latency { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max };
    }

    /// Returns the value of `X-Clinic-Version` seen last.
    pub fn version_last(&self) -> Option<&str> {
        last(&self.by_version)
    }

    /// Returns the value of `X-MedEclipse-Release` seen last.
    pub fn release_last(&self) -> Option<&str> {
        last(&self.by_release)
    }
}

fn last(labels: &BTreeMap<String, Label>) -> Option<&str> {
    labels.iter().max_by_key(|(_, label)| label.last_us).map(|(value, _)| value.as_str())
}

impl Counts {
    fn end(&mut self, ended: &Ended) {
        let failure = ended.failure();
        let seen = &mut self.seen;
        seen.requests += 1;
        let tally = seen.by_method.entry(ended.method).or_default();
        if failure.is_some() {
            seen.failed += 1;
            tally.failed += 1;
        } else {
            seen.ok += 1;
            tally.ok += 1;
        }
        if let Ok(answer) = &ended.answer {
            let latency_us = ended.end_us.saturating_sub(ended.start_us);
            seen.latency.record(latency_us as f64 / 1000.0);
            self.max_us = self.max_us.max(latency_us);
            seen.replayed += u64::from(answer.replayed);
            *seen.by_status.entry(answer.status).or_default() += 1;
            count_label(&mut seen.by_release, answer.release.as_ref(), failure, ended.end_us);
            count_label(&mut seen.by_version, answer.version.as_ref(), failure, ended.end_us);
        }
        if let Some(class) = failure {
            *seen.by_class.entry(class).or_default() += 1;
            self.remember(ended, class);
        }
    }

    fn remember(&mut self, ended: &Ended, class: Failure) {
        if self.bad.len() >= self.bad_max {
            self.bad.pop_front();
            self.seen.bad_forgotten += 1;
        }
        let status = ended.answer.as_ref().ok().map(|answer| answer.status);
        let Ended { method, start_us, end_us, .. } = *ended;
        self.bad.push_back(BadResponse { start_us, end_us, class, method, status });
    }
}

impl Ended {
    fn failure(&self) -> Option<Failure> {
        match &self.answer {
            Err(failure) => Some(*failure),
            Ok(answer) => match answer.status {
                200..=299 => None,
                500..=599 => Some(Failure::Status5xx),
                _ => Some(Failure::StatusOther),
            },
        }
    }
}

fn count_label(
    labels: &mut BTreeMap<String, Label>,
    value: Option<&http::HeaderValue>,
    failure: Option<Failure>,
    at_us: u64,
) {
    let Some(value) = value.and_then(|value| value.to_str().ok()) else { return };
    let seen = match failure {
        None => Label { ok: 1, failed: 0, first_us: at_us, last_us: at_us },
        Some(_) => Label { ok: 0, failed: 1, first_us: at_us, last_us: at_us },
    };
    add_label(labels, value, &seen);
}

fn add_labels(labels: &mut BTreeMap<String, Label>, more: &BTreeMap<String, Label>) {
    more.iter().for_each(|(value, label)| add_label(labels, value, label));
}

fn add_label(labels: &mut BTreeMap<String, Label>, value: &str, more: &Label) {
    if let Some(label) = labels.get_mut(value) {
        label.ok += more.ok;
        label.failed += more.failed;
        label.first_us = label.first_us.min(more.first_us);
        label.last_us = label.last_us.max(more.last_us);
        return;
    }
    let named = labels.len() - usize::from(labels.contains_key(LABEL_MORE));
    if named < LABELS_MAX || value == LABEL_MORE {
        labels.insert(value.to_owned(), *more);
        return;
    }
    add_label(labels, LABEL_MORE, more);
}
