//! Keeps appointments in PostgreSQL, through a few connections that are made again when lost. One attempt per request:
//! whether to try again is the client's decision.

use super::{
    Appointment, Depth, Draft, LIST_MAX, MIGRATION_LOCK, Migration, ROWS_MAX, SWEEP_EVERY, StoreError,
};
use crate::trouble::Trouble;
use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, Row};

/// Connections of one replica. PostgreSQL allows 100 by default, for all replicas of two revisions.
const CONNECTIONS: usize = 8;
/// How long a request waits for a free connection.
const WAIT: Duration = Duration::from_secs(2);
const CONNECT: Duration = Duration::from_secs(2);
const STATEMENT: Duration = Duration::from_secs(3);
/// Only one migration at a time, of whatever release: an arbitrary number all of them know.
const MIGRATION_KEY: i64 = 0x636c_696e_6963;

const COLUMNS: &str = "id, slot, practitioner, coalesce(duration_min, 15), created_ms";
const COLUMN_EXISTS: &str = "SELECT 1 FROM information_schema.columns
    WHERE table_schema = current_schema() AND table_name = 'appointments' AND column_name = $1";

pub struct Postgres {
    config: Config,
    requests: Pool,
    probe: Pool,
}

/// Open connections that nobody uses now, and permits for those that may be open.
struct Pool {
    permits: Semaphore,
    idle: Mutex<Vec<Client>>,
}

impl Pool {
    fn new(size: usize) -> Self {
        Self { permits: Semaphore::new(size), idle: Mutex::default() }
    }

    fn take(&self) -> Option<Client> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that the server has ended are dropped on the way.
        while let Some(client) = idle.pop() {
            if !client.is_closed() {
                return Some(client);
            }
        }
        None
    }

    fn put_back(&self, client: Client) {
        if !client.is_closed() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(client);
        }
    }
}

type Parameters<'a> = &'a [(&'a (dyn ToSql + Sync), Type)];

impl Postgres {
    pub fn new(url: &str) -> Result<Self, Trouble> {
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            Trouble::new(
                "use DATABASE_URL",
                chain(&error),
                "write postgres://USER:PASSWORD@HOST:PORT/DATABASE",
            )
        })?;
        config.connect_timeout(CONNECT);
        if config.get_application_name().is_none() {
            config.application_name("clinic");
        }
        if config.get_options().is_none() {
            // The server gives up too, so that what nobody waits for does not go on.
            let ms = STATEMENT.as_millis();
            config.options(format!("-c statement_timeout={ms} -c lock_timeout={ms}"));
        }
        Ok(Self { config, requests: Pool::new(CONNECTIONS), probe: Pool::new(1) })
    }

    pub async fn list(&self) -> Result<Vec<Appointment>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM appointments ORDER BY id DESC LIMIT $1");
        let rows = self.rows(&self.requests, &sql, &[(&LIST_MAX, Type::INT8)]).await?;
        rows.iter().map(appointment).collect()
    }

    pub async fn get(&self, id: i64) -> Result<Option<Appointment>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM appointments WHERE id = $1");
        let rows = self.rows(&self.requests, &sql, &[(&id, Type::INT8)]).await?;
        rows.first().map(appointment).transpose()
    }

    pub async fn create(&self, draft: Draft, created_ms: i64) -> Result<Appointment, StoreError> {
        let sql = format!(
            "INSERT INTO appointments (slot, practitioner, duration_min, created_ms) VALUES ($1, $2, $3, $4) RETURNING {COLUMNS}"
        );
        let Draft { slot, practitioner, duration_min } = &draft;
        let parameters: Parameters<'_> = &[
            (slot, Type::TEXT),
            (practitioner, Type::TEXT),
            (duration_min, Type::INT4),
            (&created_ms, Type::INT8),
        ];
        let rows = self.rows(&self.requests, &sql, parameters).await?;
        let made = appointment(rows.first().expect("BUG: INSERT RETURNING returned no row"))?;
        if made.id % SWEEP_EVERY == 0 {
            let oldest = made.id - ROWS_MAX;
            self.rows(&self.requests, "DELETE FROM appointments WHERE id <= $1", &[(&oldest, Type::INT8)])
                .await?;
        }
        Ok(made)
    }

    pub async fn remove(&self, id: i64) -> Result<bool, StoreError> {
        let sql = "DELETE FROM appointments WHERE id = $1 RETURNING id";
        Ok(!self.rows(&self.requests, sql, &[(&id, Type::INT8)]).await?.is_empty())
    }

    pub async fn check(&self, depth: Depth) -> Result<(), StoreError> {
        match depth {
            Depth::Reachable => {
                self.rows(&self.probe, "SELECT duration_min FROM appointments LIMIT 1", &[]).await.map(|_| ())
            }
            Depth::Working => self.list().await.map(|_| ()),
        }
    }

    /// Runs one statement on a connection of the pool. Dropped half-way, the connection goes with it.
    async fn rows(&self, pool: &Pool, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, StoreError> {
        let _permit = timeout(WAIT, pool.permits.acquire())
            .await
            .map_err(|_| StoreError::Busy(WAIT))?
            .expect("BUG: the semaphore is never closed");
        let client = match pool.take() {
            Some(client) => client,
            None => self.connect().await?,
        };
        let answer = timeout(STATEMENT, client.query_typed(sql, parameters))
            .await
            .map_err(|_| StoreError::Late(STATEMENT))?;
        pool.put_back(client);
        answer.map_err(cause)
    }

    async fn connect(&self) -> Result<Client, StoreError> {
        let (client, connection) = timeout(CONNECT, self.config.connect(NoTls))
            .await
            .map_err(|_| StoreError::Late(CONNECT))?
            .map_err(cause)?;
        // Ends when the client is dropped or the server is gone, which the client then knows.
        tokio::spawn(async { connection.await.unwrap_or(()) });
        Ok(client)
    }

    pub async fn migrate(&self, migration: Migration) -> Result<Vec<&'static str>, StoreError> {
        let mut client = self.connect().await?;
        let transaction = client.transaction().await.map_err(cause)?;
        let lock_ms = MIGRATION_LOCK.as_millis();
        let begin =
            format!("SET LOCAL lock_timeout = {lock_ms}; SELECT pg_advisory_xact_lock({MIGRATION_KEY})");
        transaction.batch_execute(&begin).await.map_err(cause)?;
        let mut did = Vec::new();
        for step in steps(migration) {
            let found = transaction.query_typed(COLUMN_EXISTS, &[(&step.column, Type::TEXT)]).await;
            // Asked first, because even `IF NOT EXISTS` locks the table against everybody.
            if found.map_err(cause)?.is_empty() == (step.when == Column::Missing) {
                transaction.batch_execute(step.sql).await.map_err(cause)?;
                did.push(step.did);
            }
        }
        transaction.commit().await.map_err(cause)?;
        Ok(did)
    }
}

/// One statement of a migration, run when a column of the table is in the given state.
struct Step {
    column: &'static str,
    when: Column,
    sql: &'static str,
    /// In the past tense, for the operator.
    did: &'static str,
}

#[derive(PartialEq, Eq)]
enum Column {
    Missing,
    Present,
}

fn steps(migration: Migration) -> &'static [Step] {
    match migration {
        Migration::Expand => &[
            Step {
                column: "id",
                when: Column::Missing,
                sql: "CREATE TABLE appointments (
                    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                    slot TEXT NOT NULL, practitioner TEXT NOT NULL, created_ms BIGINT NOT NULL)",
                did: "made the table appointments",
            },
            Step {
                column: "duration_min",
                when: Column::Missing,
                sql: "ALTER TABLE appointments ADD COLUMN duration_min INTEGER",
                did: "added the column duration_min",
            },
        ],
        // The free text of the first releases, where something about a patient could have been written.
        Migration::Contract => &[Step {
            column: "note",
            when: Column::Present,
            sql: "ALTER TABLE appointments DROP COLUMN note",
            did: "removed the column note",
        }],
    }
}

fn appointment(row: &Row) -> Result<Appointment, StoreError> {
    let read = || {
        Ok(Appointment {
            id: row.try_get(0)?,
            slot: row.try_get(1)?,
            practitioner: row.try_get(2)?,
            duration_min: row.try_get(3)?,
            created_ms: row.try_get(4)?,
        })
    };
    read().map_err(cause)
}

fn cause(error: tokio_postgres::Error) -> StoreError {
    match error.code() {
        Some(&SqlState::UNDEFINED_TABLE | &SqlState::UNDEFINED_COLUMN) => StoreError::NotMigrated,
        Some(&SqlState::LOCK_NOT_AVAILABLE) => StoreError::Locked,
        Some(&SqlState::QUERY_CANCELED) => StoreError::Late(STATEMENT),
        Some(
            &SqlState::ADMIN_SHUTDOWN
            | &SqlState::CRASH_SHUTDOWN
            | &SqlState::CANNOT_CONNECT_NOW
            | &SqlState::TOO_MANY_CONNECTIONS,
        )
        | None => StoreError::Unreachable(chain(&error)),
        Some(_) => StoreError::Refused(chain(&error)),
    }
}

/// Joins an error with what lies under it: the outer text alone is only "db error".
fn chain(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut under = error.source();
    while let Some(cause) = under {
        text = format!("{text}: {cause}");
        under = cause.source();
    }
    text
}
