//! Checks a journal row by row, and says what is wrong with one that cannot be trusted.
//! A damaged target goes on serving what the edge serves; nothing of it is changed until a person has looked.

use super::Head;
use super::chain;
use super::disk::StoredRow;
use super::reader::record;
use rollout::event::EventRecord;
use rollout::names::{Generation, Target};

/// What to do where neither the file nor its copy can be used.
const ANEW: &str = "requests are served meanwhile, while replicas run. Put the file back from a backup, without the `-wal` and `-shm` beside it, then `medeclipse down --keep-replicas` and `medeclipse up`. To begin anew: `medeclipse down`, move the target's files in STATE/journal, STATE/journal-copy and STATE/edge away, `medeclipse up`, `medeclipse deploy`";

/// Why the journal of a target is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Damage {
    pub what: String,
    pub why: String,
    pub next: String,
}

impl Damage {
    fn of(name: &str, why: String, next: &str) -> Self {
        Self { what: format!("use the journal {name}"), why, next: next.to_owned() }
    }

    pub(super) fn missing(name: &str, accepted: Option<Generation>) -> Self {
        let known = accepted.unwrap_or_default();
        Self::of(
            name,
            format!("the file is gone or empty, but the edge serves what it wrote at generation {known}"),
            ANEW,
        )
    }

    pub(super) fn behind(name: &str, head: u64, accepted: Option<Generation>) -> Self {
        let known = accepted.unwrap_or_default();
        Self::of(
            name,
            format!(
                "it ends at event {head}, but the edge has accepted generation {known}: events are missing"
            ),
            ANEW,
        )
    }

    /// What is stored cannot be what was written.
    pub fn unreadable(name: &str, why: &str) -> Self {
        Self::of(name, why.to_owned(), ANEW)
    }

    pub(super) fn newer(name: &str, found: u32, known: u32) -> Self {
        Self::of(
            name,
            format!("it has schema {found}, and this medeclipse knows schemas up to {known}"),
            "use the newer medeclipse that wrote it; requests are served meanwhile",
        )
    }

    pub fn text(&self) -> String {
        format!("cannot {}: {}. {}", self.what, self.why, self.next)
    }
}

/// Takes one row in: it must follow on `head` and be what was written. Returns the new head.
pub(super) fn follow(
    head: &Head,
    stored: &StoredRow,
    name: &str,
    target: &Target,
    each: &mut impl FnMut(&EventRecord),
) -> Result<Head, Damage> {
    let at_fault = |why: String| Damage::unreadable(name, &format!("event {}: {why}", stored.seq));
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
