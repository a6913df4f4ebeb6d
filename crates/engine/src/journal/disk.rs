//! Says what a journal needs of what it is stored on: rows that stay, and one lease that is compared and swapped.
//! Knows no event and no hash; `sqlite` is the disk that ships, the simulation has one that loses and tears.

use super::damage::Damage;
use crate::leader::short;
use crate::lease::Lease;
use rollout::names::Millis;
use serde::{Deserialize, Serialize};

/// A row as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRow {
    pub v: u32,
    pub seq: u64,
    pub at: u64,
    pub deployment: Option<String>,
    pub actor: String,
    pub kind: String,
    pub body: String,
    pub prev_hash: String,
    pub hash: String,
}

/// Where the rows of one target lie, and who may write them. Every write is durable when it returns, or has not happened.
pub trait Disk {
    /// Names it, for people.
    fn name(&self) -> String;

    /// Hands on every row after `after`, in order.
    fn rows(&self, after: u64, each: &mut dyn FnMut(StoredRow) -> Result<(), Damage>) -> Result<(), Damage>;

    /// Writes one row, unless a lease of another epoch has been taken.
    fn insert(&mut self, row: &StoredRow, epoch: u64) -> Result<(), DiskError>;

    /// Takes room for what a deployment will write to its end. Disks that cannot be full have it.
    fn reserve(&mut self) -> Result<(), DiskError> {
        Ok(())
    }

    fn lease(&self) -> Result<Option<Lease>, DiskError>;

    /// Puts `lease` in the place of the one that was `seen` and writes the row that says so, both or neither. Nothing
    /// happens where another lease is there by now, or the row's place is taken.
    fn take(&mut self, seen: Option<&Lease>, lease: &Lease, row: &StoredRow) -> Result<(), DiskError>;

    /// Promises to hold the lease of this epoch for longer; need not be durable. False: it has been taken.
    fn renew(&mut self, epoch: u64, until: Millis) -> Result<bool, DiskError>;

    /// Gives the lease of this epoch back: nobody has to wait for it. One that has been taken stays as it is.
    fn release(&mut self, epoch: u64) -> Result<(), DiskError>;
}

/// Why something is not on the disk.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DiskError {
    #[error("no space is left on the disk ({0})")]
    Full(String),
    #[error("it may not be written ({0})")]
    ReadOnly(String),
    /// Another one has been writing for longer than any write takes.
    #[error("another engine is in the middle of a write ({0})")]
    Busy(String),
    #[error("{}", lost(.0))]
    Lost(Option<Lease>),
    /// Somebody else has written meanwhile: read again.
    #[error("another engine has written meanwhile")]
    Moved,
    #[error("{0}")]
    Other(String),
}

impl DiskError {
    /// Whether somebody else leads now: whoever is told this decides nothing more.
    pub fn is_loss(&self) -> bool {
        matches!(self, DiskError::Lost(_) | DiskError::Moved)
    }

    pub fn next(&self) -> &'static str {
        match self {
            DiskError::Full(_) => "free space on the disk of the state directory; serving goes on meanwhile",
            DiskError::ReadOnly(_) => "make the state directory writable; serving goes on meanwhile",
            DiskError::Lost(_) | DiskError::Moved => {
                "use the engine that took over: see `medeclipse status`; this one changes nothing any more"
            }
            DiskError::Busy(_) => "try again; `medeclipse status` says who leads",
            DiskError::Other(_) => "see `medeclipse status` and the engine's log in the state directory",
        }
    }
}

fn lost(lease: &Option<Lease>) -> String {
    match lease {
        Some(lease) => format!("lease lost to {} (epoch {})", short(&lease.owner), lease.epoch),
        None => "the lease is gone".to_owned(),
    }
}
