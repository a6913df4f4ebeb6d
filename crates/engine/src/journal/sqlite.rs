//! Keeps the rows of a journal in one SQLite file, each written with `fsync`, and the lease beside them.
//! Repairs nothing and empties nothing; see `damage`.

use super::copy::{self, Copy};
use super::damage::Damage;
use super::disk::{Disk, DiskError, StoredRow};
use super::{reserve, schema};
use crate::killpoint::{self, Side};
use crate::lease::Lease;
use rollout::names::{Millis, Target};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, TransactionBehavior, params};
use std::path::{Path, PathBuf};

const INSERT: &str = "INSERT INTO events (seq, v, at, deployment, actor, kind, body, prev_hash, hash)
  SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 WHERE NOT EXISTS (SELECT 1 FROM lease WHERE epoch <> ?10)";
const LEASE: &str = "SELECT epoch, owner, until FROM lease";
const TAKE: &str = "INSERT INTO lease (one, epoch, owner, until) VALUES (1, ?1, ?2, ?3)
  ON CONFLICT (one) DO UPDATE SET epoch = excluded.epoch, owner = excluded.owner, until = excluded.until";
const RENEW: &str = "UPDATE lease SET until = ?2 WHERE epoch = ?1";

/// A journal's file.
pub struct Sqlite {
    connection: Connection,
    path: PathBuf,
    copy: Copy,
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
        let copy = Copy::of(&path);
        Ok(Self { connection, path, copy })
    }

    /// See `killpoint`.
    fn reached(&self, row: &StoredRow, side: Side) {
        let target = self.path.file_stem().unwrap_or_default();
        killpoint::journal(&target.display(), row.seq, &row.kind, side);
    }

    /// Changes how long the lease of this epoch is promised for. Not flushed to the disk: a renewal that a loss of power
    /// takes back makes the lease look older than it is, and after that its owner has ended anyway. A taking is flushed,
    /// and so is every append, with all that was written before it; the order of what is in the file never changes.
    fn promise(&mut self, epoch: u64, until: Millis) -> Result<bool, rusqlite::Error> {
        self.connection.pragma_update(None, "synchronous", "NORMAL")?;
        let renewed = self.connection.prepare_cached(RENEW)?.execute(params![epoch, until.0]);
        self.connection.pragma_update(None, "synchronous", "FULL")?;
        Ok(renewed? == 1)
    }
}

/// Returns the lease a file holds; a file of an older schema holds none.
pub(super) fn lease_in(connection: &Connection) -> Result<Option<Lease>, rusqlite::Error> {
    let read =
        |row: &Row<'_>| Ok(Lease { epoch: row.get(0)?, owner: row.get(1)?, until: Millis(row.get(2)?) });
    connection.query_row(LEASE, [], read).optional()
}

impl Sqlite {
    /// Adds a row that is in the journal to its copy; the copy is written as a whole where it is not as it was left.
    fn copy_row(&mut self, row: &StoredRow) {
        if self.copy.add(row) {
            return;
        }
        let mut rows = Vec::new();
        let read = self.rows(0, &mut |row| {
            rows.push(row);
            Ok(())
        });
        // A journal that cannot be read is found at the next start, and said there.
        if read.is_ok() && self.copy.write(rows) {
            let text = "it was gone, or changed, while in use; written again from the journal";
            drivers::repairs::note(&copy::path_of(&self.path), text);
        }
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
        if !written {
            return Err(DiskError::Lost(self.lease()?));
        }
        self.copy_row(row);
        Ok(())
    }

    fn reserve(&mut self) -> Result<(), DiskError> {
        reserve::take(&self.connection).map_err(said)
    }

    fn lease(&self) -> Result<Option<Lease>, DiskError> {
        lease_in(&self.connection).map_err(said)
    }

    fn take(&mut self, seen: Option<&Lease>, lease: &Lease, row: &StoredRow) -> Result<(), DiskError> {
        self.reached(row, Side::Before);
        let mut take = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if lease_in(&transaction)?.as_ref() != seen {
                return Ok(false);
            }
            transaction.execute(TAKE, params![lease.epoch, lease.owner, lease.until.0])?;
            write(&transaction, row, lease.epoch)?;
            transaction.commit()?;
            Ok(true)
        };
        let taken = take().map_err(said)?;
        self.reached(row, Side::After);
        if !taken {
            return Err(DiskError::Moved);
        }
        self.copy_row(row);
        Ok(())
    }

    fn renew(&mut self, epoch: u64, until: Millis) -> Result<bool, DiskError> {
        self.promise(epoch, until).map_err(said)
    }

    fn release(&mut self, epoch: u64) -> Result<(), DiskError> {
        self.promise(epoch, Lease::GIVEN_BACK).map(|_| ()).map_err(said)
    }
}

impl StoredRow {
    pub(super) const SELECT_ALL_AFTER: &str = "SELECT v, seq, at, deployment, actor, kind, body, prev_hash, hash FROM events WHERE seq > ?1 ORDER BY seq";
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

/// Inserts one row of a journal that is written anew.
pub(super) fn insert_row(connection: &Connection, row: &StoredRow) -> Result<(), rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO events (seq, v, at, deployment, actor, kind, body, prev_hash, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    statement.execute(params![
        row.seq,
        row.v,
        row.at,
        row.deployment,
        row.actor,
        row.kind,
        row.body,
        row.prev_hash,
        row.hash
    ])?;
    Ok(())
}

fn said(error: rusqlite::Error) -> DiskError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => DiskError::Full(error.to_string()),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen) => DiskError::ReadOnly(error.to_string()),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => DiskError::Busy(error.to_string()),
        Some(ErrorCode::ConstraintViolation) => DiskError::Moved,
        _ => DiskError::Other(error.to_string()),
    }
}
