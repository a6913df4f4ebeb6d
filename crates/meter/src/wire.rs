//! Says how counts travel from the edge to whoever judges: one record per closed second, also when nothing came.
//! A gap in `seq` or a new `epoch` is missing data, never zero.

use crate::histogram::Histogram;
use serde::{Deserialize, Serialize};

/// What the edge counted in one closed second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SecondRecord {
    /// Differs for every life of the edge process.
    pub epoch: u64,
    /// Counts closed seconds of this epoch from 0, without holes.
    pub seq: u64,
    /// The second covered, since the Unix epoch.
    pub second: u64,
    pub rows: Vec<CountRow>,
}

/// The counts of one combination of labels. Absent combinations counted nothing, but every arm of every
/// table has at least one row (with `bucket` 0 and an empty route), so that silence can be told from zero.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CountRow {
    /// `service@environment`.
    pub target: String,
    pub revision: u64,
    /// The replica that answered, or was tried last. Empty in a row of zeros.
    pub replica: String,
    /// Arm bucket 0–99 of the split draw, drawn for every request also without a candidate.
    pub bucket: u8,
    /// Whether the request came by the allow list: counted, never judged.
    pub allowed: bool,
    /// Route template, or empty where none matched.
    pub route: String,
    pub requests: u64,
    pub errors: ErrorCounts,
    /// Answers 400–499 other than the aborts.
    pub client_errors: u64,
    /// The client went away first (499). Never an error.
    pub client_aborts: u64,
    /// Requests replayed on stable after failing here.
    pub replayed: u64,
    /// Latency of answered requests: from the request's head read to the answer's head, in milliseconds.
    pub latency: Histogram,
}

/// Failures by class; each request is in at most one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorCounts {
    /// The replica answered 500–599.
    pub status: u64,
    /// No connection could be made, or no replica was ready.
    pub connect: u64,
    /// The connection broke before the answer's head.
    pub reset: u64,
    /// No answer in time.
    pub timeout: u64,
    /// The answer's body ended early.
    pub early_eof: u64,
}

impl CountRow {
    /// Adds another row's counts; the labels stay.
    pub fn add(&mut self, other: &CountRow) {
        self.requests += other.requests;
        self.errors.add(&other.errors);
        self.client_errors += other.client_errors;
        self.client_aborts += other.client_aborts;
        self.replayed += other.replayed;
        self.latency.merge(&other.latency);
    }
}

impl ErrorCounts {
    fn add(&mut self, other: &ErrorCounts) {
        self.status += other.status;
        self.connect += other.connect;
        self.reset += other.reset;
        self.timeout += other.timeout;
        self.early_eof += other.early_eof;
    }

    pub fn total(&self) -> u64 {
        self.status + self.connect + self.reset + self.timeout + self.early_eof
    }
}
