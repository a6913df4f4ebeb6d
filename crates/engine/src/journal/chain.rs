//! Chains the rows of a journal: each hash covers the row and the hash before it.
//!
//! hash = SHA-256 of the lines `prev_hash`, `v`, `seq`, `at`, `target`, `deployment` (or empty), `actor` and the
//! body exactly as stored, each ended by a line feed; lower-case hex.

use drivers::files::hex;
use rollout::event::EventRecord;
use sha2::{Digest, Sha256};

/// What the first row is chained to.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Returns the hash of a record whose `hash` is not set yet; `body` is its event as stored.
pub fn hash(record: &EventRecord, body: &str) -> String {
    let deployment = record.deployment.as_ref().map(|id| id.as_str()).unwrap_or_default();
    let fields = [
        record.prev_hash.clone(),
        record.v.to_string(),
        record.seq.to_string(),
        record.at.0.to_string(),
        record.target.to_string(),
        deployment.to_owned(),
        record.actor.to_string(),
        body.to_owned(),
    ];
    let mut hasher = Sha256::new();
    for field in fields {
        hasher.update(field.as_bytes());
        hasher.update(b"\n");
    }
    hex(&hasher.finalize())
}
