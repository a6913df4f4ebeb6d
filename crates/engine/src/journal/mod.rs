//! Remembers: the rows of one target, appended and never changed, every row chained to the one before.
//! What does not verify is repaired where that is certain, see `restore`, else reported as damaged, see `damage`. Where
//! the rows lie is a `disk`'s business.

mod chain;
mod copy;
mod damage;
mod disk;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod reader;
mod reserve;
mod restore;
mod schema;
mod sqlite;

pub use chain::GENESIS;
pub use damage::Damage;
pub use disk::{Disk, DiskError, StoredRow};
pub use reader::Reader;
pub use schema::SCHEMA_VERSION;
pub use sqlite::Sqlite;

use crate::lease::Lease;
use rollout::event::{EVENT_VERSION, Event, EventRecord};
use rollout::names::{Actor, DeploymentId, Generation, Millis, Target};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a write waits for a reader's checkpoint before it gives up.
const BUSY: Duration = Duration::from_secs(5);

/// The journal of one target. One writer: whoever holds the lease.
pub struct Journal<D = Sqlite> {
    disk: D,
    target: Target,
    head: Head,
    /// The epoch of the lease this writes under; 0: none has been taken.
    epoch: u64,
}

/// The last row: what the next one is chained to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub seq: u64,
    pub at: Millis,
    pub hash: String,
}

/// The event is not in the journal, and so did not happen.
#[derive(Debug, Clone, thiserror::Error)]
#[error("write to the journal {path}")]
pub struct JournalError {
    pub path: String,
    #[source]
    pub source: DiskError,
}

impl JournalError {
    /// Whether somebody else leads now.
    pub fn is_loss(&self) -> bool {
        self.source.is_loss()
    }

    pub fn next(&self) -> String {
        self.source.next().to_owned()
    }
}

impl Journal {
    /// Returns the targets that have a journal in this folder, or a copy of one that is gone.
    pub fn targets(folder: &Path) -> Vec<Target> {
        let copies = copy::folder_of(folder);
        let mut found = Vec::new();
        for (folder, ending) in [(folder, ".db"), (copies.as_path(), copy::ENDING)] {
            let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
            found.extend(names.filter_map(|entry| {
                entry.file_name().to_str()?.strip_suffix(ending)?.parse::<Target>().ok()
            }));
        }
        found
    }

    /// Returns where the journal of a target lies.
    pub fn path(folder: &Path, target: &Target) -> PathBuf {
        folder.join(format!("{target}.db"))
    }

    /// Opens the file, or makes an empty one, and checks all of it: the file, its schema, the chain, and that
    /// its head is at or past what the edge last accepted. `each` is called with every record, in order.
    pub fn open(
        folder: &Path,
        target: &Target,
        accepted: Option<Generation>,
        each: impl FnMut(&EventRecord),
    ) -> Result<Self, Damage> {
        Self::read(Self::disk(folder, target, accepted)?, target, accepted, each)
    }

    /// Opens the file of a target.
    pub fn disk(folder: &Path, target: &Target, accepted: Option<Generation>) -> Result<Sqlite, Damage> {
        let path = Self::path(folder, target);
        restore::before_opening(&path, target, accepted)
            .map_err(|why| Damage::unreadable(&path.display().to_string(), &why))?;
        // An empty file would become an empty journal: it is damage where there was one, and is left as it is.
        let has_content = std::fs::metadata(&path).is_ok_and(|file| file.len() > 0);
        if !has_content && accepted.is_some_and(|accepted| accepted.seq > 0) {
            return Err(Damage::missing(&path.display().to_string(), accepted));
        }
        Sqlite::open(path, target)
    }
}

impl<D: Disk> Journal<D> {
    /// Reads all there is, checks the chain, and that its head is at or past what the edge last accepted.
    pub fn read(
        disk: D,
        target: &Target,
        accepted: Option<Generation>,
        each: impl FnMut(&EventRecord),
    ) -> Result<Self, Damage> {
        let head = Head { seq: 0, at: Millis(0), hash: GENESIS.to_owned() };
        let mut journal = Self { disk, target: target.clone(), head, epoch: 0 };
        journal.catch_up(each)?;
        if accepted.is_some_and(|accepted| accepted.seq > journal.head.seq) {
            return Err(Damage::behind(&journal.disk.name(), journal.head.seq, accepted));
        }
        Ok(journal)
    }

    /// Reads what somebody else has written since.
    pub fn catch_up(&mut self, mut each: impl FnMut(&EventRecord)) -> Result<(), Damage> {
        let (name, mut head) = (self.disk.name(), self.head.clone());
        self.disk.rows(self.head.seq, &mut |stored| {
            head = damage::follow(&head, &stored, &name, &self.target, &mut each)?;
            Ok(())
        })?;
        self.head = head;
        Ok(())
    }

    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Returns the epoch this writes under.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub fn lease(&self) -> Result<Option<Lease>, JournalError> {
        self.disk.lease().map_err(|source| self.error(source))
    }

    /// Takes the lease from the one that was `seen`, and records that: from here on nobody else writes.
    pub fn take(
        &mut self,
        seen: Option<&Lease>,
        lease: &Lease,
        actor: &Actor,
        at: Millis,
    ) -> Result<EventRecord, JournalError> {
        let event = Event::LeaseTaken { epoch: lease.epoch, owner: lease.owner.clone() };
        let (record, row) = self.next(&event, None, actor, at);
        self.disk.take(seen, lease, &row).map_err(|source| self.error(source))?;
        self.epoch = lease.epoch;
        Ok(self.follow(record))
    }

    /// Promises to hold the lease until then. False: it has been taken.
    pub fn renew(&mut self, until: Millis) -> Result<bool, JournalError> {
        self.disk.renew(self.epoch, until).map_err(|source| self.error(source))
    }

    /// Gives the lease back.
    pub fn release(&mut self) -> Result<(), JournalError> {
        self.disk.release(self.epoch).map_err(|source| self.error(source))
    }

    /// Takes the room that the end of a deployment needs.
    pub fn reserve(&mut self) -> Result<(), JournalError> {
        self.disk.reserve().map_err(|source| self.error(source))
    }

    /// Appends one event; when it returns, the event is on disk. Refused when the lease has been taken.
    pub fn append(
        &mut self,
        event: &Event,
        deployment: Option<&DeploymentId>,
        actor: &Actor,
        at: Millis,
    ) -> Result<EventRecord, JournalError> {
        let (record, row) = self.next(event, deployment, actor, at);
        self.disk.insert(&row, self.epoch).map_err(|source| self.error(source))?;
        Ok(self.follow(record))
    }

    /// Returns the record that would follow on the head, and its row.
    fn next(
        &self,
        event: &Event,
        deployment: Option<&DeploymentId>,
        actor: &Actor,
        at: Millis,
    ) -> (EventRecord, StoredRow) {
        let mut record = EventRecord {
            v: EVENT_VERSION,
            seq: self.head.seq + 1,
            at: at.max(self.head.at),
            target: self.target.clone(),
            deployment: deployment.cloned(),
            actor: actor.clone(),
            event: event.clone(),
            prev_hash: self.head.hash.clone(),
            hash: String::new(),
        };
        let body = serde_json::to_string(event).expect("BUG: every event can be written as JSON");
        record.hash = chain::hash(&record, &body);
        let row = StoredRow {
            v: record.v,
            seq: record.seq,
            at: record.at.0,
            deployment: deployment.map(|id| id.as_str().to_owned()),
            actor: actor.as_str().to_owned(),
            kind: event.kind().to_owned(),
            body,
            prev_hash: record.prev_hash.clone(),
            hash: record.hash.clone(),
        };
        (record, row)
    }

    fn follow(&mut self, record: EventRecord) -> EventRecord {
        self.head = Head { seq: record.seq, at: record.at, hash: record.hash.clone() };
        record
    }

    fn error(&self, source: DiskError) -> JournalError {
        JournalError { path: self.disk.name(), source }
    }
}

#[cfg(test)]
mod tests;
