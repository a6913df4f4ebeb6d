//! Keeps the rows of a journal in one SQLite file, each written with `fsync`, and the lease beside them.
//! Repairs nothing and empties nothing; see `damage`.

use super::damage::Damage;
use super::disk::{Disk, DiskError, StoredRow};
use super::schema;
use crate::killpoint::{self, Side};
use crate::lease::Lease;
use rollout::names::{Millis, Target};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, TransactionBehavior, params};
use std::path::{Path, PathBuf};

const INSERT: &str = "INSERT INTO events (seq, v, at, deployment, actor, kind, body, prev_hash, hash)
  SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9
  WHERE NOT EXISTS (SELECT 1 FROM about WHERE key = 'lease' AND json_extract(value, '$.epoch') <> ?10)";
const LEASE: &str = "SELECT value FROM about WHERE key = 'lease'";
const SWAP: &str = "INSERT INTO about (key, value) VALUES ('lease', ?1) ON CONFLICT (key) DO UPDATE SET value = excluded.value";

/// A journal's file.
pub struct Sqlite {
    connection: Connection,
    path: PathBuf,
}

impl Sqlite {
    /// Opens the file, or makes an empty one, and checks all of it but the rows.
    pub(super) fn open(path: PathBuf, target: &Target) -> Result<Self, Damage> {
        let broken =
            |error: &dyn ToString| Damage::unreadable(&path.display().to_string(), &error.to_string());
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| broken(&error))?;
        }
        let connection = Connection::open(&path).map_err(|error| broken(&error))?;
        schema::prepare(&connection, &path, target)?;
        check(&connection, &path, target)?;
        Ok(Self { connection, path })
    }

    /// See `killpoint`.
    fn reached(&self, row: &StoredRow, side: Side) {
        let target = self.path.file_stem().unwrap_or_default();
        killpoint::journal(&target.display(), row.seq, &row.kind, side);
    }

    fn stored_lease(connection: &Connection) -> Result<Option<Lease>, rusqlite::Error> {
        let text: Option<String> = connection.query_row(LEASE, [], |row| row.get(0)).optional()?;
        let read = |text: String| {
            serde_json::from_str(&text).map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
            })
        };
        text.map(read).transpose()
    }

    /// Replaces the lease where `change` wants that; in one transaction.
    fn change_lease(
        &mut self,
        change: impl FnOnce(Option<Lease>) -> Option<Lease>,
    ) -> Result<bool, DiskError> {
        let change = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let Some(lease) = change(Self::stored_lease(&transaction)?) else { return Ok(false) };
            transaction.execute(SWAP, [text(&lease)])?;
            transaction.commit()?;
            Ok(true)
        };
        change().map_err(said)
    }
}

impl Disk for Sqlite {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn rows(&self, after: u64, each: &mut dyn FnMut(StoredRow) -> Result<(), Damage>) -> Result<(), Damage> {
        let broken = |error: rusqlite::Error| Damage::unreadable(&self.name(), &error.to_string());
        let mut statement = self.connection.prepare(StoredRow::SELECT_ALL_AFTER).map_err(broken)?;
        let mut rows = statement.query([after]).map_err(broken)?;
        while let Some(row) = rows.next().map_err(broken)? {
            each(StoredRow::read(row).map_err(broken)?)?;
        }
        Ok(())
    }

    fn insert(&mut self, row: &StoredRow, epoch: u64) -> Result<(), DiskError> {
        self.reached(row, Side::Before);
        let written = write(&self.connection, row, epoch).map_err(said)?;
        self.reached(row, Side::After);
        if written { Ok(()) } else { Err(DiskError::Lost(self.lease()?)) }
    }

    fn lease(&self) -> Result<Option<Lease>, DiskError> {
        Self::stored_lease(&self.connection).map_err(said)
    }

    fn take(&mut self, seen: Option<&Lease>, lease: &Lease, row: &StoredRow) -> Result<(), DiskError> {
        self.reached(row, Side::Before);
        let mut take = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if Self::stored_lease(&transaction)?.as_ref() != seen {
                return Ok(false);
            }
            transaction.execute(SWAP, [text(lease)])?;
            write(&transaction, row, lease.epoch)?;
            transaction.commit()?;
            Ok(true)
        };
        let taken = take().map_err(said)?;
        self.reached(row, Side::After);
        if taken { Ok(()) } else { Err(DiskError::Moved) }
    }

    fn renew(&mut self, epoch: u64, until: Millis) -> Result<bool, DiskError> {
        self.change_lease(|lease| {
            lease.filter(|lease| lease.epoch == epoch).map(|lease| Lease { until, ..lease })
        })
    }

    fn release(&mut self, epoch: u64) -> Result<(), DiskError> {
        let until = Millis(0);
        self.renew(epoch, until).map(|_| ())
    }
}

impl StoredRow {
    const SELECT_ALL_AFTER: &str = "SELECT v, seq, at, deployment, actor, kind, body, prev_hash, hash FROM events WHERE seq > ?1 ORDER BY seq";
    pub(super) const SELECT_AFTER: &str = "SELECT v, seq, at, deployment, actor, kind, body, prev_hash, hash FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    pub(super) const SELECT_OF_DEPLOYMENT: &str = "SELECT v, seq, at, deployment, actor, kind, body, prev_hash, hash FROM events WHERE seq > ?1 AND deployment = ?3 ORDER BY seq LIMIT ?2";
    pub(super) const SELECT_WITHOUT_EVIDENCE: &str = "SELECT v, seq, at, deployment, actor, kind, body, prev_hash, hash FROM events WHERE seq > ?1 AND kind <> 'evidence_added' ORDER BY seq LIMIT ?2";

    pub(super) fn read(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            v: row.get(0)?,
            seq: row.get(1)?,
            at: row.get(2)?,
            deployment: row.get(3)?,
            actor: row.get(4)?,
            kind: row.get(5)?,
            body: row.get(6)?,
            prev_hash: row.get(7)?,
            hash: row.get(8)?,
        })
    }
}

/// Checks the file itself and whose it is.
fn check(connection: &Connection, path: &Path, target: &Target) -> Result<(), Damage> {
    let name = path.display().to_string();
    let broken = |error: rusqlite::Error| Damage::unreadable(&name, &error.to_string());
    let answer: String =
        connection.pragma_query_value(None, "quick_check", |row| row.get(0)).map_err(broken)?;
    if answer != "ok" {
        return Err(Damage::unreadable(&name, &format!("its check says: {answer}")));
    }
    let owner: String = connection
        .query_row("SELECT value FROM about WHERE key = 'target'", [], |row| row.get(0))
        .map_err(broken)?;
    if owner != target.to_string() {
        return Err(Damage::unreadable(&name, &format!("it belongs to {owner}")));
    }
    Ok(())
}

/// Inserts one row. False: a lease of another epoch is there.
fn write(connection: &Connection, row: &StoredRow, epoch: u64) -> Result<bool, rusqlite::Error> {
    let mut statement = connection.prepare_cached(INSERT)?;
    let written = statement.execute(params![
        row.seq,
        row.v,
        row.at,
        row.deployment,
        row.actor,
        row.kind,
        row.body,
        row.prev_hash,
        row.hash,
        epoch,
    ])?;
    Ok(written == 1)
}

fn text(lease: &Lease) -> String {
    serde_json::to_string(lease).expect("BUG: every lease can be written as JSON")
}

fn said(error: rusqlite::Error) -> DiskError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => DiskError::Full(error.to_string()),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen) => DiskError::ReadOnly(error.to_string()),
        Some(ErrorCode::ConstraintViolation) => DiskError::Moved,
        _ => DiskError::Other(error.to_string()),
    }
}
