//! Reads a journal beside its writer, for those who follow or look back. Changes nothing.

use super::disk::StoredRow;
use super::sqlite::lease_in;
use super::{BUSY, Journal};
use crate::lease::Lease;
use rollout::event::{Event, EventRecord};
use rollout::names::{Actor, DeploymentId, Millis, Target};
use rusqlite::{Connection, OpenFlags, Params, params};
use std::path::Path;

/// A second connection to a journal.
pub struct Reader {
    connection: Connection,
    target: Target,
}

impl Reader {
    pub fn open(folder: &Path, target: &Target) -> Result<Self, rusqlite::Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(Journal::path(folder, target), flags)?;
        connection.busy_timeout(BUSY)?;
        Ok(Self { connection, target: target.clone() })
    }

    /// Returns who leads the target; None: nobody ever has, or an engine that knew no leases.
    pub fn lease(&self) -> Result<Option<Lease>, rusqlite::Error> {
        let has_leases = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'lease'";
        let tables: u32 = self.connection.query_row(has_leases, [], |row| row.get(0))?;
        if tables == 0 { Ok(None) } else { lease_in(&self.connection) }
    }

    /// Returns at most `limit` records after `seq`, oldest first.
    pub fn after(&self, seq: u64, limit: u32) -> Result<Vec<EventRecord>, rusqlite::Error> {
        self.select(StoredRow::SELECT_AFTER, params![seq, limit])
    }

    /// Returns at most `limit` records after `seq` that name a deployment.
    pub fn of_deployment_after(
        &self,
        deployment: &DeploymentId,
        seq: u64,
        limit: u32,
    ) -> Result<Vec<EventRecord>, rusqlite::Error> {
        self.select(StoredRow::SELECT_OF_DEPLOYMENT, params![seq, limit, deployment.as_str()])
    }

    /// Returns at most `limit` records after `seq` that are no seconds of evidence.
    pub fn without_evidence_after(&self, seq: u64, limit: u32) -> Result<Vec<EventRecord>, rusqlite::Error> {
        self.select(StoredRow::SELECT_WITHOUT_EVIDENCE, params![seq, limit])
    }

    fn select(&self, sql: &str, bounds: impl Params) -> Result<Vec<EventRecord>, rusqlite::Error> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(bounds, StoredRow::read)?;
        let mut records = Vec::new();
        for row in rows {
            let row = row?;
            // A row that cannot be read was reported when the journal was opened; following goes on behind it.
            if let Ok(record) = record(&row, &self.target) {
                records.push(record);
            }
        }
        Ok(records)
    }
}

/// Turns a stored row into a record; its hash is not checked here.
pub(super) fn record(row: &StoredRow, target: &Target) -> Result<EventRecord, serde_json::Error> {
    Ok(EventRecord {
        v: row.v,
        seq: row.seq,
        at: Millis(row.at),
        target: target.clone(),
        deployment: row.deployment.clone().map(DeploymentId::new),
        actor: Actor::new(row.actor.clone()),
        event: serde_json::from_str::<Event>(&row.body)?,
        prev_hash: row.prev_hash.clone(),
        hash: row.hash.clone(),
    })
}
