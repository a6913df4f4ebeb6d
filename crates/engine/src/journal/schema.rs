//! Knows the tables of a journal and the version they are written in. Older ones are brought up to date, newer refused.

use super::damage::Damage;
use rollout::names::Target;
use rusqlite::Connection;
use std::path::Path;

/// The schema this engine writes. Each released one has a fixture in tests/fixtures.
pub const SCHEMA_VERSION: u32 = 2;
/// Marks the file as ours: "MEcl".
const APPLICATION_ID: u32 = 0x4d45_636c;

/// Since schema 2. Kept by the rows themselves, too: whoever holds an older token cannot put it back.
const LEASE: &str = "
CREATE TABLE IF NOT EXISTS lease (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  epoch INTEGER NOT NULL CHECK (epoch > 0),
  owner TEXT NOT NULL,
  until INTEGER NOT NULL
) STRICT;
CREATE TRIGGER IF NOT EXISTS lease_epochs_only_grow BEFORE UPDATE ON lease
  WHEN NEW.epoch < OLD.epoch OR (NEW.epoch = OLD.epoch AND NEW.owner <> OLD.owner)
  BEGIN SELECT RAISE(ABORT, 'the lease has a newer owner'); END;
CREATE TRIGGER IF NOT EXISTS lease_is_never_removed BEFORE DELETE ON lease BEGIN SELECT RAISE(ABORT, 'a lease is given back, not removed'); END;
";

const TABLES: &str = "
CREATE TABLE events (
  seq INTEGER PRIMARY KEY CHECK (seq > 0),
  v INTEGER NOT NULL,
  at INTEGER NOT NULL,
  deployment TEXT,
  actor TEXT NOT NULL,
  kind TEXT NOT NULL,
  body TEXT NOT NULL,
  prev_hash TEXT NOT NULL,
  hash TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER events_are_never_removed BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
";

/// Makes the file ready for use: durable settings, and the tables when it is empty.
pub fn prepare(connection: &Connection, path: &Path, target: &Target) -> Result<(), Damage> {
    let broken = |error: rusqlite::Error| Damage::unreadable(&path.display().to_string(), &error.to_string());
    connection.busy_timeout(super::BUSY).map_err(broken)?;
    let version: u32 = pragma(connection, "user_version").map_err(broken)?;
    let tables: u32 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(broken)?;
    if version > SCHEMA_VERSION {
        return Err(Damage::newer(&path.display().to_string(), version, SCHEMA_VERSION));
    }
    connection.pragma_update(None, "journal_mode", "WAL").map_err(broken)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(broken)?;
    connection.pragma_update(None, "foreign_keys", "ON").map_err(broken)?;
    match (version, tables) {
        (0, 0) => create(connection, target).map_err(broken),
        (0, _) => Err(Damage::unreadable(
            &path.display().to_string(),
            "the file holds tables that are not a journal's",
        )),
        (1, _) => upgrade(connection).map_err(broken),
        _ => Ok(()),
    }
}

/// Brings schema 1 up to date. Twice is once: two engines may find the same old file.
fn upgrade(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection
        .execute_batch(&format!("BEGIN IMMEDIATE; {LEASE} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"))
}

fn create(connection: &Connection, target: &Target) -> Result<(), rusqlite::Error> {
    let script = format!(
        "BEGIN IMMEDIATE; {TABLES} {LEASE} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
    );
    connection.execute_batch(&script)?;
    connection.execute("INSERT INTO about (key, value) VALUES ('target', ?1)", [target.to_string()])?;
    Ok(())
}

fn pragma(connection: &Connection, name: &str) -> Result<u32, rusqlite::Error> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}
