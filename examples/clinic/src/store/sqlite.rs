//! Keeps appointments in one SQLite file, shared by all replicas of all revisions on the machine. Runs SQLite on
//! blocking threads, never more than it has connections.

use super::{
    Appointment, Depth, Draft, LIST_MAX, MIGRATION_LOCK, Migration, ROWS_MAX, SWEEP_EVERY, StoreError,
};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Connections that read at the same time. SQLite reads in microseconds; more only wait for processors.
const READERS: usize = 3;
/// How long a statement waits for the writer of another process, and a request for a connection of this one.
const BUSY: Duration = Duration::from_secs(5);
/// Pause between two looks at a lock. SQLite's own grow to 100 ms, and two processes that write all the time then starve
/// each other for seconds.
const BUSY_PAUSE: Duration = Duration::from_millis(1);
/// Pause between two attempts to open a file that another process is just changing over to the write-ahead log.
const OPEN_PAUSE: Duration = Duration::from_millis(10);

pub struct Sqlite {
    readers: Pool,
    /// One: SQLite has one writer, and waiting here is fair while waiting for its lock is not.
    writer: Pool,
    probe: Pool,
}

impl Sqlite {
    pub fn new(path: &Path) -> Self {
        let pool = |size| Pool::new(path, size);
        Self { readers: pool(READERS), writer: pool(1), probe: pool(1) }
    }

    pub async fn migrate(&self, migration: Migration) -> Result<Vec<&'static str>, StoreError> {
        self.writer
            .with(move |connection| {
                connection.busy_timeout(MIGRATION_LOCK)?;
                let done = match migration {
                    Migration::Expand => expand(connection),
                    Migration::Contract => contract(connection),
                };
                connection.busy_handler(Some(wait))?;
                done
            })
            .await
    }

    pub async fn list(&self) -> Result<Vec<Appointment>, StoreError> {
        self.readers.with(|connection| list(connection)).await
    }

    pub async fn get(&self, id: i64) -> Result<Option<Appointment>, StoreError> {
        const ONE: &str =
            "SELECT id, slot, practitioner, duration_min, created_ms FROM appointments WHERE id = ?1";
        self.readers
            .with(move |connection| connection.prepare_cached(ONE)?.query_row([id], appointment).optional())
            .await
    }

    pub async fn create(&self, draft: Draft, created_ms: i64) -> Result<Appointment, StoreError> {
        self.writer.with(move |connection| create(connection, draft, created_ms)).await
    }

    pub async fn remove(&self, id: i64) -> Result<bool, StoreError> {
        const REMOVE: &str = "DELETE FROM appointments WHERE id = ?1";
        self.writer.with(move |connection| Ok(connection.prepare_cached(REMOVE)?.execute([id])? > 0)).await
    }

    pub async fn check(&self, depth: Depth) -> Result<(), StoreError> {
        const ANY: &str = "SELECT duration_min FROM appointments LIMIT 1";
        match depth {
            Depth::Reachable => {
                let any = |connection: &mut Connection| {
                    connection.prepare_cached(ANY)?.query_row([], |_| Ok(())).optional()
                };
                self.probe.with(any).await.map(|_| ())
            }
            Depth::Working => self.list().await.map(|_| ()),
        }
    }
}

/// Connections to the file, opened when first needed.
struct Pool {
    path: PathBuf,
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Pool {
    fn new(path: &Path, size: usize) -> Self {
        Self { path: path.into(), permits: Arc::new(Semaphore::new(size)), idle: Arc::default() }
    }

    /// Runs work on a connection. Work that has begun ends even if nobody waits for it any more, and holds its place
    /// until then, so that there are never more threads than connections.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = timeout(BUSY, self.permits.clone().acquire_owned())
            .await
            .map_err(|_| StoreError::Busy(BUSY))?
            .expect("BUG: the semaphore is never closed");
        let (path, idle) = (self.path.clone(), self.idle.clone());
        let working = tokio::task::spawn_blocking(move || {
            let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = kept.map_or_else(|| open(&path), Ok)?;
            let done = work(&mut connection).map_err(cause)?;
            // After an error the connection is closed instead: the next request begins with a fresh one.
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            drop(permit);
            Ok(done)
        });
        working.await.map_err(|error| StoreError::Refused(error.to_string()))?
    }
}

/// Opens the file, making it and its folder when missing.
fn open(path: &Path) -> Result<Connection, StoreError> {
    let unreachable = |why: String| StoreError::Unreachable(format!("{}: {why}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| unreachable(error.to_string()))?;
    }
    let deadline = Instant::now() + BUSY;
    loop {
        match prepare(path) {
            // Changing over to the write-ahead log does not wait for locks by itself.
            Err(error) if is_busy(&error) && Instant::now() < deadline => std::thread::sleep(OPEN_PAUSE),
            Err(error) if is_busy(&error) => return Err(StoreError::Locked),
            Err(error) => return Err(unreachable(error.to_string())),
            Ok(connection) => return Ok(connection),
        }
    }
}

fn prepare(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_handler(Some(wait))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // Safe against a crash of the process; a power failure may cost the last moments but never the file.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
    Ok(connection)
}

/// Waits for a lock; false after `BUSY`, whatever the clock does.
fn wait(times: i32) -> bool {
    std::thread::sleep(BUSY_PAUSE);
    u128::from(times.unsigned_abs()) < BUSY.as_millis() / BUSY_PAUSE.as_millis()
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn cause(error: rusqlite::Error) -> StoreError {
    if is_busy(&error) {
        return StoreError::Locked;
    }
    let text = error.to_string();
    if text.contains("no such table") || text.contains("no such column") {
        return StoreError::NotMigrated;
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure | ErrorCode::NotADatabase) => {
            StoreError::Unreachable(text)
        }
        _ => StoreError::Refused(text),
    }
}

fn list(connection: &Connection) -> rusqlite::Result<Vec<Appointment>> {
    const NEWEST: &str =
        "SELECT id, slot, practitioner, duration_min, created_ms FROM appointments ORDER BY id DESC LIMIT ?1";
    let mut statement = connection.prepare_cached(NEWEST)?;
    statement.query_map([LIST_MAX], appointment)?.collect()
}

fn create(connection: &Connection, draft: Draft, created_ms: i64) -> rusqlite::Result<Appointment> {
    const CREATE: &str =
        "INSERT INTO appointments (slot, practitioner, duration_min, created_ms) VALUES (?1, ?2, ?3, ?4)";
    let Draft { slot, practitioner, duration_min } = draft;
    connection.prepare_cached(CREATE)?.execute(params![slot, practitioner, duration_min, created_ms])?;
    let id = connection.last_insert_rowid();
    if id % SWEEP_EVERY == 0 {
        connection.execute("DELETE FROM appointments WHERE id <= ?1", [id - ROWS_MAX])?;
    }
    Ok(Appointment { id, slot, practitioner, duration_min, created_ms })
}

fn appointment(row: &Row<'_>) -> rusqlite::Result<Appointment> {
    Ok(Appointment {
        id: row.get(0)?,
        slot: row.get(1)?,
        practitioner: row.get(2)?,
        // Rows of the first releases have none.
        duration_min: row.get::<_, Option<i32>>(3)?.unwrap_or(15),
        created_ms: row.get(4)?,
    })
}

/// Begins a transaction that nobody else can write in, with fresh eyes.
fn lock(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // `table_exists` asks what the connection remembers, which may be older than the lock. A query makes it look again:
    // without this, six migrations at once failed with "table already exists".
    transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(transaction)
}

/// Makes the table of the first release, then adds what came later. Old releases go on working with the result.
fn expand(connection: &mut Connection) -> rusqlite::Result<Vec<&'static str>> {
    const FIRST: &str = "CREATE TABLE appointments (
        id INTEGER PRIMARY KEY AUTOINCREMENT, slot TEXT NOT NULL, practitioner TEXT NOT NULL, created_ms INTEGER NOT NULL)";
    let transaction = lock(connection)?;
    let mut did = Vec::new();
    if !transaction.table_exists(None, "appointments")? {
        transaction.execute_batch(FIRST)?;
        did.push("made the table appointments");
    }
    if !transaction.column_exists(None, "appointments", "duration_min")? {
        transaction.execute_batch("ALTER TABLE appointments ADD COLUMN duration_min INTEGER")?;
        did.push("added the column duration_min");
    }
    transaction.commit()?;
    Ok(did)
}

/// Removes the free text of the first releases, where something about a patient could have been written.
fn contract(connection: &mut Connection) -> rusqlite::Result<Vec<&'static str>> {
    let transaction = lock(connection)?;
    let mut did = Vec::new();
    if transaction.table_exists(None, "appointments")?
        && transaction.column_exists(None, "appointments", "note")?
    {
        transaction.execute_batch("ALTER TABLE appointments DROP COLUMN note")?;
        did.push("removed the column note");
    }
    transaction.commit()?;
    Ok(did)
}
