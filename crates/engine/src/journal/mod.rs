//! Remembers: one SQLite file per target, appended and never changed, every row chained to the one before.
//! Repairs nothing and empties nothing; a file that does not verify is reported as damaged, see `damage`.

mod chain;
mod damage;
mod reader;
mod schema;

pub use chain::GENESIS;
pub use damage::Damage;
pub use reader::Reader;
pub use schema::SCHEMA_VERSION;

use rollout::event::{EVENT_VERSION, Event, EventRecord};
use rollout::names::{Actor, DeploymentId, Generation, Millis, Target};
use rusqlite::{Connection, params};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a write waits for a reader's checkpoint before it gives up.
const BUSY: Duration = Duration::from_secs(5);

/// The journal of one target. One writer: whoever holds this.
pub struct Journal {
    connection: Connection,
    path: PathBuf,
    target: Target,
    head: Head,
}

/// The last row: what the next one is chained to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub seq: u64,
    pub at: Millis,
    pub hash: String,
}

/// The event is not in the journal, and so did not happen.
#[derive(Debug, thiserror::Error)]
#[error("write to the journal {path}")]
pub struct JournalError {
    pub path: String,
    #[source]
    pub source: rusqlite::Error,
}

impl JournalError {
    pub fn next(&self) -> String {
        match self.source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => {
                "free space on the disk of the state directory; serving goes on meanwhile".to_owned()
            }
            Some(rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::CannotOpen) => {
                "make the state directory writable; serving goes on meanwhile".to_owned()
            }
            _ => "see `medeclipse status` and the engine's log in the state directory".to_owned(),
        }
    }
}

impl Journal {
    /// Returns where the journal of a target lies.
    pub fn path(folder: &Path, target: &Target) -> PathBuf {
        folder.join(format!("{target}.db"))
    }

    /// Opens the journal, or makes an empty one, and checks all of it: the file, its schema, the chain, and that
    /// its head is at or past what the edge last accepted. `each` is called with every record, in order.
    pub fn open(
        folder: &Path,
        target: &Target,
        accepted: Option<Generation>,
        each: impl FnMut(&EventRecord),
    ) -> Result<Self, Damage> {
        let path = Self::path(folder, target);
        // An empty file would become an empty journal: it is damage where there was one, and is left as it is.
        let has_content = std::fs::metadata(&path).is_ok_and(|file| file.len() > 0);
        if !has_content && accepted.is_some_and(|accepted| accepted.seq > 0) {
            return Err(Damage::missing(&path, accepted));
        }
        std::fs::create_dir_all(folder).map_err(|error| Damage::unreadable(&path, &error.to_string()))?;
        let connection =
            Connection::open(&path).map_err(|error| Damage::unreadable(&path, &error.to_string()))?;
        schema::prepare(&connection, &path, target)?;
        let head = damage::verify(&connection, &path, target, each)?;
        if accepted.is_some_and(|accepted| accepted.seq > head.seq) {
            return Err(Damage::behind(&path, head.seq, accepted));
        }
        Ok(Self { connection, path, target: target.clone(), head })
    }

    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Appends one event; when it returns, the event is on disk.
    pub fn append(
        &mut self,
        event: &Event,
        deployment: Option<&DeploymentId>,
        actor: &Actor,
        at: Millis,
    ) -> Result<EventRecord, JournalError> {
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
        self.insert(&record, &body)?;
        self.head = Head { seq: record.seq, at: record.at, hash: record.hash.clone() };
        Ok(record)
    }

    fn insert(&self, record: &EventRecord, body: &str) -> Result<(), JournalError> {
        let insert = || {
            let mut statement = self.connection.prepare_cached(
                "INSERT INTO events (seq, v, at, deployment, actor, kind, body, prev_hash, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?;
            statement.execute(params![
                record.seq,
                record.v,
                record.at.0,
                record.deployment.as_ref().map(DeploymentId::as_str),
                record.actor.as_str(),
                record.event.kind(),
                body,
                record.prev_hash,
                record.hash,
            ])
        };
        insert().map(|_| ()).map_err(|source| JournalError { path: self.path.display().to_string(), source })
    }
}

#[cfg(test)]
mod tests;
