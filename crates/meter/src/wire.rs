//! Says how counts travel from the edge to whoever judges: one record per closed second, also when nothing came.
//! A gap in `seq` or a new `epoch` is missing data, never zero. Fields are only added, and what is new may be absent: edge
//! and engine may be of different releases.

use crate::histogram::Histogram;
use serde::{Deserialize, Serialize};

/// What the edge counted in one closed second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SecondRecord {
    /// Differs for every life of the edge process.
    pub epoch: u64,
    /// Counts closed seconds of this epoch from 0, without holes.
    pub seq: u64,
    /// The second covered, since the Unix epoch.
    pub second: u64,
    pub rows: Vec<CountRow>,
    /// The judged requests by arm bucket: those of `rows` without the allow list and without the aborts.
    /// Apart from `rows`, because a row for every bucket, route and replica is ten times as long.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arms: Vec<ArmRow>,
    /// Some of the failing requests, drawn evenly: at most three of each target and revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<FailingRequest>,
    /// What the guard's rules said. Requests they refused are in no row above: they belong to no revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guard: Vec<GuardRow>,
    /// What copies of requests showed of candidates. They are in no row above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirror: Vec<MirrorRow>,
}

/// Differences told with the copies of one second; more say nothing more.
pub const MIRROR_DIFFERENCES_MAX: usize = 3;

/// What the copies of requests to one candidate showed. One that nothing was copied to has no row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MirrorRow {
    /// `service@environment`.
    pub target: String,
    pub revision: u64,
    /// Copies with two answers.
    pub compared: u64,
    /// Of these: another status, or none.
    pub status: u64,
    /// Of these: the same status with another body.
    pub body: u64,
    /// Of these: the same answer, later than twice stable's time and ten milliseconds.
    pub slower: u64,
    /// The same with stable the slower one.
    pub faster: u64,
    /// Not compared: stable does not repeat its own answer.
    pub unsteady: u64,
    /// Not compared: there were no two answers.
    pub dropped: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<MirrorDifference>,
}

/// One request that two versions answered differently, without anything that could name a person.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MirrorDifference {
    pub method: String,
    /// The route template; without one the path, each segment that is not a plain word replaced by `{…}`.
    pub route: String,
    pub stable: u16,
    /// None: there was no answer.
    pub candidate: Option<u16>,
}

/// What one rule of a target's guard said in one second. A rule that said nothing has no row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GuardRow {
    /// `service@environment`.
    pub target: String,
    pub rule: String,
    /// Requests that matched and went on.
    pub counted: u64,
    /// Requests that were refused.
    pub blocked: u64,
    /// Requests the rule could not know about: addresses without a country.
    #[serde(default)]
    pub unknown: u64,
    /// Some of those that matched, drawn evenly, at most three; `class` is what the client was told or would have been.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<FailingRequest>,
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
    /// Always 0 beside `SecondRecord::arms`. An edge without those writes a row for every arm bucket.
    pub bucket: u8,
    /// Whether the request came by the allow list: counted, never judged.
    pub allowed: bool,
    /// Route template, or empty where none matched.
    pub route: String,
    pub requests: u64,
    pub errors: ErrorCounts,
    /// Answers 400–499 other than the aborts and what is `limited`.
    pub client_errors: u64,
    /// Of those: 401 and 403.
    #[serde(default)]
    pub unauthorized: u64,
    /// Of those: 404 and 410.
    #[serde(default)]
    pub not_found: u64,
    /// The client went away first (499). Never an error.
    pub client_aborts: u64,
    /// Requests replayed on stable after failing here.
    pub replayed: u64,
    /// Errors of a user who had another one on this endpoint less than ten seconds before; zero where users are not
    /// told apart.
    #[serde(default)]
    pub errors_repeated: u64,
    /// Latency of requests without an error: from the request's head read to the answer's head, in milliseconds.
    pub latency: Histogram,
}

/// The judged requests of one revision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ArmRow {
    /// `service@environment`.
    pub target: String,
    pub revision: u64,
    /// Sorted; buckets without a request are absent.
    pub buckets: Vec<BucketRow>,
}

/// The judged requests of one revision in one arm bucket.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BucketRow {
    /// 0–99 of the split draw, drawn for every request also without a candidate: gives the pseudo-arms of calibration.
    pub bucket: u8,
    pub requests: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub errors: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub errors_repeated: u64,
    #[serde(default, skip_serializing_if = "Histogram::is_empty")]
    pub latency: Histogram,
}

/// One failing request, without anything that could name a person or open a door: no header, no body, no value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FailingRequest {
    /// `service@environment`.
    pub target: String,
    pub revision: u64,
    /// The replica that answered, or was tried last; empty when none was.
    pub replica: String,
    /// When the request came, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// A method of RFC 9110, PATCH, or OTHER.
    pub method: String,
    /// The route template; without one the path, each segment that is not a plain word replaced by `{…}`.
    pub path: String,
    /// Names of the query's parameters that are plain words. Never a value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<String>,
    /// The status the client got.
    pub status: u16,
    /// What went wrong: a class of `ErrorCounts`, or what the edge calls it more exactly.
    pub class: String,
    /// From the request's head to its end.
    pub latency_ms: f64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Failures by class; each request is in at most one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorCounts {
    /// The replica answered 500–599, or a gRPC status that means the same.
    pub status: u64,
    /// The replica answered 408 or 429: it could not keep up.
    #[serde(default)]
    pub limited: u64,
    /// No connection could be made, or no replica was ready.
    pub connect: u64,
    /// The connection broke before the answer's head.
    pub reset: u64,
    /// No answer in time.
    pub timeout: u64,
    /// The answer's body ended early.
    pub early_eof: u64,
}

impl SecondRecord {
    /// Returns what the record says of one target.
    pub fn of(&self, target: &str) -> SecondRecord {
        SecondRecord {
            rows: self.rows.iter().filter(|row| row.target == target).cloned().collect(),
            arms: self.arms.iter().filter(|arm| arm.target == target).cloned().collect(),
            failures: self.failures.iter().filter(|failure| failure.target == target).cloned().collect(),
            guard: self.guard.iter().filter(|row| row.target == target).cloned().collect(),
            mirror: self.mirror.iter().filter(|row| row.target == target).cloned().collect(),
            ..*self
        }
    }
}

impl MirrorRow {
    /// Adds another row's counts; the labels stay.
    pub fn add(&mut self, other: &MirrorRow) {
        self.compared += other.compared;
        self.status += other.status;
        self.body += other.body;
        self.slower += other.slower;
        self.faster += other.faster;
        self.unsteady += other.unsteady;
        self.dropped += other.dropped;
        let room = MIRROR_DIFFERENCES_MAX.saturating_sub(self.differences.len());
        self.differences.extend(other.differences.iter().take(room).cloned());
    }
}

impl CountRow {
    /// Adds another row's counts; the labels stay.
    pub fn add(&mut self, other: &CountRow) {
        self.requests += other.requests;
        self.errors.add(&other.errors);
        self.client_errors += other.client_errors;
        self.unauthorized += other.unauthorized;
        self.not_found += other.not_found;
        self.client_aborts += other.client_aborts;
        self.replayed += other.replayed;
        self.errors_repeated += other.errors_repeated;
        self.latency.merge(&other.latency);
    }

    /// Returns the errors, those of one user on one endpoint within ten seconds counted once.
    pub fn errors_once(&self) -> u64 {
        self.errors.total().saturating_sub(self.errors_repeated)
    }
}

impl BucketRow {
    /// Adds another row's counts; the bucket stays.
    pub fn add(&mut self, other: &BucketRow) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.errors_repeated += other.errors_repeated;
        self.latency.merge(&other.latency);
    }

    /// Returns the errors, those of one user on one endpoint within ten seconds counted once.
    pub fn errors_once(&self) -> u64 {
        self.errors.saturating_sub(self.errors_repeated)
    }
}

impl ErrorCounts {
    fn add(&mut self, other: &ErrorCounts) {
        self.status += other.status;
        self.limited += other.limited;
        self.connect += other.connect;
        self.reset += other.reset;
        self.timeout += other.timeout;
        self.early_eof += other.early_eof;
    }

    pub fn total(&self) -> u64 {
        self.status + self.limited + self.connect + self.reset + self.timeout + self.early_eof
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the first release wrote it.
    const OLD: &str = r#"{"epoch":1,"seq":2,"second":3,"rows":[{"target":"web@local","revision":1,"replica":"r-1",
        "bucket":37,"allowed":false,"route":"/a","requests":2,"errors":{"status":1,"connect":0,"reset":0,"timeout":0,
        "early_eof":0},"client_errors":1,"client_aborts":0,"replayed":0,"latency":[[212,1]]}]}"#;

    #[test]
    fn a_record_of_an_older_edge_is_read() {
        let record: SecondRecord = serde_json::from_str(OLD).unwrap();

        let row = &record.rows[0];
        assert_eq!((row.bucket, row.errors.total(), row.errors_once(), row.unauthorized), (37, 1, 1, 0));
        assert!(record.arms.is_empty() && record.failures.is_empty());
    }

    #[test]
    fn an_older_engine_finds_every_field_it_knows() {
        let zeros = SecondRecord { rows: vec![CountRow::default()], ..SecondRecord::default() };

        let (old, new) = (serde_json::from_str(OLD).unwrap(), serde_json::to_value(zeros).unwrap());

        assert_eq!(missing(&old, &new), Vec::<String>::new());
    }

    fn missing(old: &serde_json::Value, new: &serde_json::Value) -> Vec<String> {
        let fields = |value: &serde_json::Value| value.as_object().cloned().unwrap_or_default();
        let lacks = |place: &str, old: &serde_json::Value, new: &serde_json::Value| {
            let lost: Vec<String> =
                fields(old).keys().filter(|key| new.get(key).is_none()).cloned().collect();
            lost.iter().map(|key| format!("{place}.{key}")).collect::<Vec<_>>()
        };
        let (old_row, new_row) = (&old["rows"][0], &new["rows"][0]);
        let errors = lacks("errors", &old_row["errors"], &new_row["errors"]);
        [lacks("record", old, new), lacks("row", old_row, new_row), errors].concat()
    }
}
