//! Checks a journal from its first row to its last, and says what is wrong with one that cannot be trusted.
//! A damaged target goes on serving what the edge serves; nothing of it is changed until a person has looked.

use super::Head;
use super::chain::{self, GENESIS};
use super::reader::{StoredRow, record};
use rollout::event::EventRecord;
use rollout::names::{Generation, Millis, Target};
use rusqlite::Connection;
use std::path::Path;

/// Why the journal of a target is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Damage {
    pub what: String,
    pub why: String,
    pub next: String,
}

impl Damage {
    fn of(path: &Path, why: String, next: &str) -> Self {
        Self { what: format!("use the journal {}", path.display()), why, next: next.to_owned() }
    }

    pub(super) fn missing(path: &Path, accepted: Option<Generation>) -> Self {
        let known = accepted.unwrap_or_default();
        Self::of(
            path,
            format!("the file is gone or empty, but the edge serves what it wrote at generation {known}"),
            "put the file back from a backup; requests are served meanwhile. To begin anew: `medeclipse down`, remove STATE/edge, `medeclipse up`",
        )
    }

    pub(super) fn behind(path: &Path, head: u64, accepted: Option<Generation>) -> Self {
        let known = accepted.unwrap_or_default();
        Self::of(
            path,
            format!(
                "it ends at event {head}, but the edge has accepted generation {known}: events are missing"
            ),
            "put back a newer copy of the file; requests are served meanwhile",
        )
    }

    pub(super) fn unreadable(path: &Path, why: &str) -> Self {
        Self::of(
            path,
            why.to_owned(),
            "requests are served meanwhile; put the file back from a backup, or move it away and remove the target's file in STATE/edge to begin anew",
        )
    }

    pub(super) fn newer(path: &Path, found: u32, known: u32) -> Self {
        Self::of(
            path,
            format!("it has schema {found}, and this medeclipse knows schemas up to {known}"),
            "use the newer medeclipse that wrote it; requests are served meanwhile",
        )
    }

    pub fn text(&self) -> String {
        format!("cannot {}: {}. {}", self.what, self.why, self.next)
    }
}

/// Checks the whole file and calls `each` with every record. Returns the head.
pub fn verify(
    connection: &Connection,
    path: &Path,
    target: &Target,
    mut each: impl FnMut(&EventRecord),
) -> Result<Head, Damage> {
    let broken = |error: rusqlite::Error| Damage::unreadable(path, &error.to_string());
    let answer: String =
        connection.pragma_query_value(None, "quick_check", |row| row.get(0)).map_err(broken)?;
    if answer != "ok" {
        return Err(Damage::unreadable(path, &format!("its check says: {answer}")));
    }
    let owner: String = connection
        .query_row("SELECT value FROM about WHERE key = 'target'", [], |row| row.get(0))
        .map_err(broken)?;
    if owner != target.to_string() {
        return Err(Damage::unreadable(path, &format!("it belongs to {owner}")));
    }
    let mut head = Head { seq: 0, at: Millis(0), hash: GENESIS.to_owned() };
    let mut statement = connection.prepare(StoredRow::SELECT_ALL).map_err(broken)?;
    let mut rows = statement.query([]).map_err(broken)?;
    while let Some(row) = rows.next().map_err(broken)? {
        let stored = StoredRow::read(row).map_err(broken)?;
        head = follow(&head, &stored, path, target, &mut each)?;
    }
    Ok(head)
}

fn follow(
    head: &Head,
    stored: &StoredRow,
    path: &Path,
    target: &Target,
    each: &mut impl FnMut(&EventRecord),
) -> Result<Head, Damage> {
    let at_fault = |why: String| Damage::unreadable(path, &format!("event {}: {why}", stored.seq));
    if stored.seq != head.seq + 1 {
        return Err(at_fault(format!("event {} should come here", head.seq + 1)));
    }
    if stored.prev_hash != head.hash {
        return Err(at_fault("it is not chained to the event before it".to_owned()));
    }
    let record = record(stored, target).map_err(|error| at_fault(format!("it cannot be read: {error}")))?;
    if chain::hash(&record, &stored.body) != stored.hash {
        return Err(at_fault("its content does not match its hash".to_owned()));
    }
    each(&record);
    Ok(Head { seq: stored.seq, at: record.at, hash: stored.hash.clone() })
}
