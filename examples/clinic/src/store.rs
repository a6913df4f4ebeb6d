//! Keeps appointments: in a SQLite file, or in PostgreSQL when there is one. Knows no HTTP; every call ends within a
//! deadline and says what stood in its way.

mod postgres;
mod sqlite;

use crate::config::StoreConfig;
use crate::trouble::Trouble;
use serde::Serialize;
use std::fmt::{self, Display};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;

/// Appointments a list shows.
const LIST_MAX: i64 = 50;
/// Appointments kept; making one more forgets the oldest. A demonstration under load for days must not fill a disk.
const ROWS_MAX: i64 = 100_000;
/// How often the oldest are forgotten: once in so many new ones.
const SWEEP_EVERY: i64 = 1000;
/// How long a migration waits for others to let go of the tables.
const MIGRATION_LOCK: Duration = Duration::from_secs(2);

/// An appointment. There is no patient in it, and no place where one could be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Appointment {
    pub id: i64,
    pub slot: String,
    pub practitioner: String,
    pub duration_min: i32,
    pub created_ms: i64,
}

/// An appointment that has no id yet.
#[derive(Debug, Clone)]
pub struct Draft {
    pub slot: String,
    pub practitioner: String,
    pub duration_min: i32,
}

/// How hard a check looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// There, and migrated; asked on a connection of its own, so that load is not mistaken for loss.
    Reachable,
    /// Does the work of a request, the way a request does it.
    Working,
}

/// The two halves of a change of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migration {
    Expand,
    Contract,
}

impl Display for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expand => "expand",
            Self::Contract => "contract",
        })
    }
}

/// Why the store did not do it. The text is the cause; it carries no URL and no password.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("all connections were busy for {} ms", .0.as_millis())]
    Busy(Duration),
    #[error("no answer within {} ms", .0.as_millis())]
    Late(Duration),
    #[error("another process holds the lock")]
    Locked,
    #[error("the table of appointments is missing or too old")]
    NotMigrated,
    #[error("not reachable: {0}")]
    Unreachable(String),
    #[error("{0}")]
    Refused(String),
}

impl StoreError {
    /// Returns what to do next.
    pub fn next(&self) -> &'static str {
        match self {
            Self::Busy(_) | Self::Late(_) | Self::Locked => "try again; if it stays so, lower the load",
            Self::NotMigrated => "run `clinic migrate expand`",
            Self::Unreachable(_) => "check that the store runs and that DATABASE_URL or CLINIC_DB names it",
            Self::Refused(_) => "read what the store says, and its own log",
        }
    }
}

/// Where appointments are.
pub enum Store {
    Sqlite(sqlite::Sqlite),
    Postgres(Box<postgres::Postgres>),
}

impl Store {
    /// Makes a store that connects when it is first used.
    pub fn new(config: &StoreConfig) -> Result<Self, Trouble> {
        Ok(match config {
            StoreConfig::Sqlite(path) => Self::Sqlite(sqlite::Sqlite::new(path)),
            StoreConfig::Postgres(url) => Self::Postgres(Box::new(postgres::Postgres::new(url)?)),
        })
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }

    /// Whether it is a file of this service alone.
    pub fn is_file(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }

    /// Changes the tables, and says what it did. Doing it again does nothing.
    pub async fn migrate(&self, migration: Migration) -> Result<Vec<&'static str>, StoreError> {
        match self {
            Self::Sqlite(store) => store.migrate(migration).await,
            Self::Postgres(store) => store.migrate(migration).await,
        }
    }

    /// Returns the newest 50, newest first.
    pub async fn list(&self) -> Result<Vec<Appointment>, StoreError> {
        match self {
            Self::Sqlite(store) => store.list().await,
            Self::Postgres(store) => store.list().await,
        }
    }

    pub async fn get(&self, id: i64) -> Result<Option<Appointment>, StoreError> {
        match self {
            Self::Sqlite(store) => store.get(id).await,
            Self::Postgres(store) => store.get(id).await,
        }
    }

    pub async fn create(&self, draft: Draft) -> Result<Appointment, StoreError> {
        match self {
            Self::Sqlite(store) => store.create(draft, now_ms()).await,
            Self::Postgres(store) => store.create(draft, now_ms()).await,
        }
    }

    /// Removes an appointment; false when there was none.
    pub async fn remove(&self, id: i64) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite(store) => store.remove(id).await,
            Self::Postgres(store) => store.remove(id).await,
        }
    }

    pub async fn check(&self, depth: Depth) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.check(depth).await,
            Self::Postgres(store) => store.check(depth).await,
        }
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
