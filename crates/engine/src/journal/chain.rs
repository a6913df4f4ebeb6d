//! Chains the rows of a journal: each hash covers the row and the hash before it.
//!
//! hash = SHA-256 of the lines `prev_hash`, `v`, `seq`, `at`, `target`, `deployment` (or empty), `actor` and the
//! body exactly as stored, each ended by a line feed; lower-case hex.

use super::disk::StoredRow;
use drivers::files::hex;
use rollout::event::EventRecord;
use rollout::names::Target;
use sha2::{Digest, Sha256};

/// What the first row is chained to.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Returns the hash of a record whose `hash` is not set yet; `body` is its event as stored.
pub fn hash(record: &EventRecord, body: &str) -> String {
    of_fields([
        &record.prev_hash,
        &record.v.to_string(),
        &record.seq.to_string(),
        &record.at.0.to_string(),
        &record.target.to_string(),
        record.deployment.as_ref().map(|id| id.as_str()).unwrap_or_default(),
        record.actor.as_str(),
        body,
    ])
}

/// Returns the same of a row, which need not be read for that.
pub fn hash_of_row(row: &StoredRow, target: &Target) -> String {
    of_fields([
        &row.prev_hash,
        &row.v.to_string(),
        &row.seq.to_string(),
        &row.at.to_string(),
        &target.to_string(),
        row.deployment.as_deref().unwrap_or_default(),
        &row.actor,
        &row.body,
    ])
}

fn of_fields(fields: [&str; 8]) -> String {
    let mut hasher = Sha256::new();
    for field in fields {
        hasher.update(field.as_bytes());
        hasher.update(b"\n");
    }
    hex(&hasher.finalize())
}
