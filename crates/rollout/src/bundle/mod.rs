//! Holds everything the verdicts of a deployment rest on, so that anybody can give them again, later and elsewhere.
//! Reads no journal and writes no file. `collect` picks the events, `redact` hides what is nobody's business, `replay`
//! judges them again.

mod collect;
mod compare;
mod fold;
mod redact;
mod replay;

pub use collect::{Recorder, Search, Start};
pub use redact::HIDDEN;
pub use replay::{Compared, Decision, Difference, Point, Replayed};

use crate::event::{Event, VerdictWord};
use crate::judge::Evidence;
use crate::names::{Actor, DeploymentId, Millis, Target};
use crate::release::Placed;
use serde::{Deserialize, Serialize};

/// The shape of a bundle; a reader refuses another.
pub const FORMAT: u32 = 1;
/// Events of one bundle: a day of seconds, and what happens beside them. Beyond that seconds are cut.
pub const EVENTS_MAX: usize = 100_000;

/// What a deployment was judged on, and what was said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bundle {
    pub format: u32,
    /// Of the program that wrote it.
    pub version: String,
    pub target: Target,
    pub deployment: DeploymentId,
    pub before: Before,
    /// In order, the settings with the first. Of a return the watch opened: from the request of the deployment it watched.
    pub events: Vec<Entry>,
    pub cut: Option<Cut>,
    pub said: Option<Said>,
}

/// What ran before the first event.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Before {
    pub stable: Option<Placed>,
    pub hot: Option<Placed>,
}

/// An event and where it stood in the journal. Without the journal's hashes: what is hidden could be guessed from them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub seq: u64,
    pub at: Millis,
    pub deployment: Option<DeploymentId>,
    pub actor: Actor,
    #[serde(flatten)]
    pub event: Event,
}

/// Seconds that were left out because there were too many. What was decided after the first cannot be given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    pub first_seq: u64,
    pub events: u64,
}

/// What the judge said at the end of the watch, or says so far: every count of the bundle is in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Said {
    pub verdict: VerdictWord,
    pub evidence: Evidence,
}

impl Bundle {
    /// Returns the request of the deployment it is about.
    pub fn requested(&self) -> Option<(&Entry, &crate::event::Requested)> {
        self.events.iter().find_map(|entry| match &entry.event {
            Event::DeploymentRequested(requested) if requested.deployment == self.deployment => {
                Some((entry, &**requested))
            }
            _ => None,
        })
    }

    /// Returns the request of the deployment that was judged: of a return, the one it took back.
    pub fn judged(&self) -> Option<(&Entry, &crate::event::Requested)> {
        let entry = self.events.first()?;
        match &entry.event {
            Event::DeploymentRequested(requested) => Some((entry, &**requested)),
            _ => None,
        }
    }
}
