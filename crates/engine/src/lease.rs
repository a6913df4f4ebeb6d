//! Names who may write to a target: one owner, numbered by an epoch that only grows. Holds the words, not the clock:
//! `journal::Disk` compares and swaps it, `controller` takes it when a target is opened.

use rollout::names::Millis;
use serde::{Deserialize, Serialize};

/// The right to write to one target. A newer epoch ends every older one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The fencing token: the journal, the platform and the edge refuse an older one.
    pub epoch: u64,
    pub owner: String,
    /// What the owner last promised, by its own clock; for people. Whoever waits for silence measures it by its own.
    pub until: Millis,
}

impl Lease {
    /// `until` of a lease that nobody holds any more.
    pub const GIVEN_BACK: Millis = Millis(0);

    pub fn is_given_back(&self) -> bool {
        self.until == Self::GIVEN_BACK
    }

    /// Returns the lease that follows: newer than the one that was seen and than every epoch known elsewhere.
    pub fn after(seen: Option<&Lease>, known: u64, owner: &str, until: Millis) -> Self {
        let epoch = seen.map_or(0, |lease| lease.epoch).max(known).saturating_add(1);
        Self { epoch, owner: owner.to_owned(), until }
    }
}
