//! Keeps room in a journal for the end of a deployment: taken on the disk before the deployment is written down, so that
//! a verdict and a return can be written when the disk is full meanwhile. Without the room there is no deployment.

use rusqlite::Connection;

/// Room for some two minutes of evidence, of four pages each, and every event of a return. What else is written meanwhile
/// (the life of a lease) is small beside it.
const BYTES: u32 = 2 << 20;

/// Lengthens the log that SQLite writes ahead by so much: pages of a transaction that is taken back stay allocated behind
/// its end, and are written over by the next ones. Costs two megabytes of writing, no flush.
pub fn take(connection: &Connection) -> Result<(), rusqlite::Error> {
    let taken = connection.execute_batch(&format!(
        "PRAGMA cache_size = 16; BEGIN IMMEDIATE; CREATE TABLE reserve (room BLOB); INSERT INTO reserve VALUES (zeroblob({BYTES}));"
    ));
    // Taken back in any case; without a transaction there is nothing to take back.
    let _nothing_to_take_back = connection.execute_batch("ROLLBACK");
    connection.execute_batch("PRAGMA cache_size = -2000;")?;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_room_and_the_journal_is_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.execute_batch("CREATE TABLE events (seq INTEGER);").unwrap();
        let log = || std::fs::metadata(path.with_extension("db-wal")).unwrap().len();
        let before = log();

        take(&connection).unwrap();

        // A few pages of it have not left the cache.
        assert!(log() >= before + u64::from(BYTES) * 9 / 10, "{} bytes", log());
        let with_room = log();
        connection.execute_batch("INSERT INTO events VALUES (1);").unwrap();
        assert_eq!(log(), with_room, "the next event needs no more room");
        let tables: u32 =
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
        assert_eq!(tables, 1);
    }
}
