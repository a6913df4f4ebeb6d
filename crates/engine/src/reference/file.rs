//! Keeps the reference on disk: one SQLite file per target, to which each save adds what is new in one transaction.
//! Repairs nothing: what is missing, damaged or of another version is begun anew with a line in the log, because a day of
//! traffic replaces it and a judge that starts cold is slower, never wrong. The journal is elsewhere; see `journal`.

use super::Known;
use super::blocks::{OpenBlock, Packed, Ring};
use super::periods::{HalfHour, Minute, Periods};
use super::thresholds::Boundaries;
use rollout::names::Revision;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The version this engine reads and writes.
const VERSION: u32 = 1;
/// Marks the file as ours: "MEcr".
const APPLICATION_ID: u32 = 0x4d45_6372;
/// How long a write waits for somebody else's look into the file.
const BUSY: Duration = Duration::from_secs(1);

const TABLES: &str = "
CREATE TABLE blocks (number INTEGER PRIMARY KEY, at INTEGER NOT NULL, body BLOB NOT NULL, checksum INTEGER NOT NULL) STRICT;
CREATE TABLE half_hours (number INTEGER PRIMARY KEY, body TEXT NOT NULL, checksum INTEGER NOT NULL) STRICT;
CREATE TABLE state (number INTEGER PRIMARY KEY CHECK (number = 0), body TEXT NOT NULL, checksum INTEGER NOT NULL) STRICT;
";

/// The open file.
pub(super) struct File {
    connection: Connection,
    path: PathBuf,
    /// The first block that is not in it.
    unsaved: u64,
    complained: bool,
}

/// What is one row only.
#[derive(Serialize, Deserialize)]
struct Row {
    second: u64,
    revision: Revision,
    revision_since: u64,
    boundaries: Option<Boundaries>,
    /// Number of the oldest block.
    first: u64,
    minutes: VecDeque<Minute>,
}

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("{0}")]
    Folder(#[from] std::io::Error),
    #[error("it is not a reference of version {VERSION}")]
    Version,
    #[error("a checksum is wrong")]
    Checksum,
    #[error("{0}")]
    Content(#[from] serde_json::Error),
    #[error("its blocks do not follow each other")]
    Blocks,
}

impl File {
    /// Opens a file and reads all of it; makes an empty one where there is none or it is of no use.
    pub(super) fn open(path: &Path) -> (Option<Self>, Known) {
        let reason = match Self::read(path) {
            Ok((file, known)) => return (Some(file), known),
            Err(reason) => reason,
        };
        crate::log(&format!("cannot read the reference {}: {reason}; it begins anew", path.display()));
        remove(path);
        match Self::read(path) {
            Ok((file, known)) => (Some(file), known),
            Err(reason) => {
                crate::log(&format!(
                    "cannot make the reference {}: {reason}; it ends with this engine",
                    path.display()
                ));
                (None, Known::default())
            }
        }
    }

    fn read(path: &Path) -> Result<(Self, Known), Unusable> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        prepare(&connection)?;
        let known = read_all(&connection)?;
        let unsaved = known.ring.next();
        Ok((Self { connection, path: path.to_owned(), unsaved, complained: false }, known))
    }

    /// Writes what is new since the last time.
    pub(super) fn save(&mut self, known: &mut Known) {
        match self.write(known) {
            Ok(()) => {
                self.unsaved = known.ring.next();
                known.periods.saved();
                self.complained = false;
            }
            Err(error) if !self.complained => {
                self.complained = true;
                crate::log(&format!(
                    "cannot write the reference {}: {error}; it is kept in memory and tried again",
                    self.path.display()
                ));
            }
            Err(_) => {}
        }
    }

    fn write(&mut self, known: &Known) -> Result<(), Unusable> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT OR REPLACE INTO blocks (number, at, body, checksum) VALUES (?1, ?2, ?3, ?4)",
            )?;
            for (number, block) in known.ring.since(self.unsaved) {
                insert.execute(params![number, block.at, &block.bytes, checksum(number, &block.bytes)])?;
            }
            transaction.execute("DELETE FROM blocks WHERE number < ?1", [known.ring.first()])?;
            for (number, half_hour) in known.periods.changed() {
                put(&transaction, "half_hours", number, &serde_json::to_string(half_hour)?)?;
            }
            if let Some((oldest, newest)) = known.periods.span() {
                let old = "DELETE FROM half_hours WHERE number NOT BETWEEN ?1 AND ?2";
                transaction.execute(old, params![oldest, newest])?;
            }
            let row = Row {
                second: known.second,
                revision: known.revision,
                revision_since: known.revision_since,
                boundaries: known.boundaries.clone(),
                first: known.ring.first(),
                minutes: known.periods.minutes().clone(),
            };
            put(&transaction, "state", 0, &serde_json::to_string(&row)?)?;
        }
        Ok(transaction.commit()?)
    }
}

fn prepare(connection: &Connection) -> Result<(), Unusable> {
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    // A power cut may cost the last minutes, never the file: the write-ahead log is checked when it is read.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    if tables == 0 {
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT;"
        ))?;
    }
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, u32>(0));
    let ours = pragma("application_id")? == APPLICATION_ID && pragma("user_version")? == VERSION;
    if ours { Ok(()) } else { Err(Unusable::Version) }
}

fn read_all(connection: &Connection) -> Result<Known, Unusable> {
    let states = texts(connection, "state")?;
    let mut half_hours: BTreeMap<u64, HalfHour> = BTreeMap::new();
    for (number, text) in texts(connection, "half_hours")? {
        half_hours.insert(number, serde_json::from_str(&text)?);
    }
    let blocks = blocks(connection)?;
    let Some((_, state)) = states.first() else {
        return if blocks.is_empty() { Ok(Known::default()) } else { Err(Unusable::Blocks) };
    };
    let row: Row = serde_json::from_str(state)?;
    let follow = (row.first..).zip(&blocks).all(|(wanted, (number, _))| wanted == *number);
    let packed = blocks.into_iter().map(|(_, block)| block).collect();
    let ring = Ring::restore(row.first, packed).filter(|_| follow).ok_or(Unusable::Blocks)?;
    Ok(Known {
        second: row.second,
        revision: row.revision,
        revision_since: row.revision_since,
        boundaries: row.boundaries,
        ring,
        periods: Periods::restore(half_hours, row.minutes),
        open: OpenBlock::default(),
    })
}

fn blocks(connection: &Connection) -> Result<Vec<(u64, Packed)>, Unusable> {
    let mut select = connection.prepare("SELECT number, at, body, checksum FROM blocks ORDER BY number")?;
    let mut rows = select.query([])?;
    let mut blocks = Vec::new();
    while let Some(row) = rows.next()? {
        let (number, bytes): (u64, Vec<u8>) = (row.get(0)?, row.get(2)?);
        if row.get::<_, i64>(3)? != checksum(number, &bytes) {
            return Err(Unusable::Checksum);
        }
        blocks.push((number, Packed { at: row.get(1)?, bytes: bytes.into() }));
    }
    Ok(blocks)
}

fn texts(connection: &Connection, table: &str) -> Result<Vec<(u64, String)>, Unusable> {
    let mut select =
        connection.prepare(&format!("SELECT number, body, checksum FROM {table} ORDER BY number"))?;
    let mut rows = select.query([])?;
    let mut texts = Vec::new();
    while let Some(row) = rows.next()? {
        let (number, body): (u64, String) = (row.get(0)?, row.get(1)?);
        if row.get::<_, i64>(2)? != checksum(number, body.as_bytes()) {
            return Err(Unusable::Checksum);
        }
        texts.push((number, body));
    }
    Ok(texts)
}

fn put(connection: &Connection, table: &str, number: u64, body: &str) -> Result<(), rusqlite::Error> {
    let insert = format!("INSERT OR REPLACE INTO {table} (number, body, checksum) VALUES (?1, ?2, ?3)");
    connection.execute(&insert, params![number, body, checksum(number, body.as_bytes())])?;
    Ok(())
}

/// Returns the first eight bytes of the SHA-256 of a row.
fn checksum(number: u64, body: &[u8]) -> i64 {
    let digest = Sha256::new().chain_update(number.to_le_bytes()).chain_update(body).finalize();
    i64::from_le_bytes(digest[..8].try_into().expect("BUG: a digest has 32 bytes"))
}

/// Removes a file and what SQLite put beside it.
fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                crate::log(&format!("cannot remove {}: {error}", Path::new(&name).display()));
            }
            _ => {}
        }
    }
}
