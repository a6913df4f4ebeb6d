//! Remembers what is under way for one target and what came of it: claims, pauses, refusals, questions, the last table.
//! A plain struct that is told the time; `executor` runs what was claimed, `pursuit` claims.

use drivers::platform::PlatformError;
use rollout::change::{Change, Ended, TaskId};
use rollout::machine::World;
use rollout::names::{Millis, ReplicaId, Revision};
use rollout::routes::RouteTable;
use std::collections::{BTreeMap, BTreeSet};

/// First pause after a failure; doubled by each further one.
const BACKOFF_FIRST: Millis = Millis(100);
const BACKOFF_MAX: Millis = Millis::seconds(30);
/// First pause of a change that a newer one overtook.
const OVERTAKEN_FIRST: Millis = Millis(5);
/// What shells answer for a program that cannot be run.
const CANNOT_RUN: i32 = 127;

/// The name under which tables go to the edge, one at a time.
const PUBLISH: &str = "publish";

/// What the tasks of the executor have to tell: shared with the watcher.
#[derive(Debug, Default)]
pub struct Board {
    /// Changes under way, and those that must wait, by name.
    busy: BTreeMap<String, Option<Pause>>,
    refused: Option<(Revision, String)>,
    asked: BTreeMap<TaskId, Option<(Ended, String)>>,
    sent: Sent,
    /// Replicas that were told to stop, by the name of the change.
    stopping: BTreeMap<String, (Vec<ReplicaId>, Stop)>,
    /// The newest epoch in whose name the platform refused a change.
    fenced_by: u64,
}

/// How far a stop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    UnderWay,
    /// They are gone for good; a look may still show them.
    Made,
    /// Nobody knows whether it was made; it may be asked for again from then on.
    Unknown {
        until: Millis,
    },
}

/// The replicas of the table sent last, and when the edge had it (or had refused it).
#[derive(Debug, Default)]
struct Sent {
    replicas: Vec<ReplicaId>,
    done: Option<Millis>,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    until: Millis,
    failures: u32,
}

/// The right to make a change: nobody else makes the same one until it is told how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub name: String,
    failures: u32,
}

impl Board {
    /// Returns the launch that the platform refused for good, and why.
    pub fn refused(&self) -> Option<(Revision, String)> {
        self.refused.clone()
    }

    /// Returns the questions asked of candidates and their answers.
    pub fn asked(&self) -> BTreeMap<TaskId, Option<(Ended, String)>> {
        self.asked.clone()
    }

    /// Returns the replicas of a table that a look begun then cannot have seen.
    pub fn sent_since(&self, look_began: Option<Millis>) -> &[ReplicaId] {
        let seen = self.sent.done.zip(look_began).is_some_and(|(done, began)| done < began);
        if seen { &[] } else { &self.sent.replicas }
    }

    /// Claims a change; None while the same one is under way or has to wait.
    pub fn claim_change(&mut self, change: &Change, now: Millis) -> Option<Claim> {
        let claim = self.claim(name(change), now)?;
        if let Change::Stop { replicas, .. } = change {
            // Asked for again because a stale look still shows them: what is gone is gone, whatever comes of it now.
            let is_made = self.stopping.get(&claim.name).is_some_and(|(known, stop)| {
                *stop == Stop::Made && replicas.iter().all(|replica| known.contains(replica))
            });
            if !is_made {
                self.stopping.insert(claim.name.clone(), (replicas.clone(), Stop::UnderWay));
            }
        }
        Some(claim)
    }

    /// Returns the replicas that were told to stop: they may be gone at any moment, whatever is wanted by now.
    pub fn stopping(&mut self, world: &World, now: Millis) -> BTreeSet<ReplicaId> {
        let is_there =
            |id: &ReplicaId| world.revisions.values().any(|presence| presence.replicas.contains_key(id));
        self.stopping.retain(|_, (replicas, stop)| match stop {
            Stop::UnderWay => true,
            Stop::Made => replicas.iter().any(is_there),
            Stop::Unknown { until } => now < *until,
        });
        self.stopping.values().flat_map(|(replicas, _)| replicas).cloned().collect()
    }

    /// Tells whether a table is on its way to the edge.
    pub fn is_publishing(&self) -> bool {
        matches!(self.busy.get(PUBLISH), Some(None))
    }

    /// Claims the way to the edge for a table; None while another is on its way.
    pub fn claim_publish(&mut self, routes: &RouteTable, now: Millis) -> Option<Claim> {
        let claim = self.claim(PUBLISH.to_owned(), now)?;
        let replicas = routes.alive().flat_map(|arm| &arm.replicas).map(|end| end.replica.clone()).collect();
        self.sent = Sent { replicas, done: None };
        Some(claim)
    }

    /// Claims the way to the edge, to take the target from it.
    pub fn claim_withdraw(&mut self, now: Millis) -> Option<Claim> {
        self.claim(PUBLISH.to_owned(), now)
    }

    /// Claims a question; false: it has been asked already.
    pub fn claim_question(&mut self, id: &TaskId) -> bool {
        if self.asked.contains_key(id) {
            return false;
        }
        self.asked.insert(id.clone(), None);
        true
    }

    fn claim(&mut self, name: String, now: Millis) -> Option<Claim> {
        let failures = match self.busy.get(&name) {
            None => 0,
            Some(Some(pause)) if pause.until <= now => pause.failures,
            Some(_) => return None,
        };
        self.busy.insert(name.clone(), None);
        Some(Claim { name, failures })
    }

    /// Takes in how a change ended. Returns how long it has to wait before it is made again.
    pub fn changed(
        &mut self,
        claim: Claim,
        change: &Change,
        result: &Result<(), PlatformError>,
        now: Millis,
    ) -> Option<Millis> {
        let Err(error) = result else {
            self.busy.remove(&claim.name);
            self.stop_ended(&claim.name, Some(Stop::Made));
            return None;
        };
        if let PlatformError::Refused { what, why, .. } = error {
            self.refuse(change, what, why);
        }
        // Two changes of this engine may overtake each other; the one left behind is asked for again, as of now.
        let overtaken = matches!(error, PlatformError::Stale { .. });
        self.fenced(error);
        let name = claim.name.clone();
        let pause = self.failed(claim, if overtaken { OVERTAKEN_FIRST } else { BACKOFF_FIRST }, now);
        let unknown = matches!(error, PlatformError::Unreachable { .. });
        self.stop_ended(&name, unknown.then_some(Stop::Unknown { until: now.plus(pause) }));
        Some(pause)
    }

    /// Takes in for whom the platform refused something.
    pub fn fenced(&mut self, error: &PlatformError) {
        if let PlatformError::Stale { newest, .. } = error {
            self.fenced_by = self.fenced_by.max(newest.epoch);
        }
    }

    /// Returns the newest epoch in whose name the platform refused a change; 0: never.
    pub fn fenced_by(&self) -> u64 {
        self.fenced_by
    }

    /// None: it was not made.
    fn stop_ended(&mut self, name: &str, how: Option<Stop>) {
        match (self.stopping.get_mut(name), how) {
            (Some((_, Stop::Made)), _) => {}
            (Some((_, stop)), Some(how)) => *stop = how,
            (Some(_), None) => drop(self.stopping.remove(name)),
            (None, _) => {}
        }
    }

    /// Takes in that the edge has a table, or has been left by the target; or that it has refused.
    pub fn published(&mut self, claim: Claim, accepted: bool, now: Millis) -> Option<Millis> {
        self.sent.done = Some(now);
        if accepted {
            self.busy.remove(&claim.name);
            return None;
        }
        Some(self.failed(claim, BACKOFF_FIRST, now))
    }

    pub fn answered(&mut self, id: TaskId, answer: (Ended, String)) {
        self.asked.insert(id, Some(answer));
    }

    /// Forgets the answers of other deployments and a refusal of another revision.
    pub fn forget(&mut self, keep: impl Fn(&TaskId) -> bool, revision: Option<Revision>) {
        self.asked.retain(|id, _| keep(id));
        self.refused.take_if(|(refused, _)| Some(*refused) != revision);
    }

    /// Takes in that the platform will never make this change: a launch is refused, a task has failed.
    fn refuse(&mut self, change: &Change, what: &str, why: &str) {
        match change {
            Change::Launch { placed, .. } => self.refused = Some((placed.revision, why.to_owned())),
            Change::RunTask { task } => {
                let answer = (Ended::Code(CANNOT_RUN), format!("cannot {what}: {why}"));
                self.answered(task.id.clone(), answer);
            }
            // Nobody waits for these: asked for again, ever later.
            Change::Stop { .. } | Change::Remove { .. } => {}
        }
    }

    /// Returns how long the change has to wait.
    fn failed(&mut self, claim: Claim, first: Millis, now: Millis) -> Millis {
        let times = 2u64.saturating_pow(claim.failures.min(16));
        let pause = Millis(first.0.saturating_mul(times)).min(BACKOFF_MAX);
        let after = Pause { until: now.plus(pause), failures: claim.failures + 1 };
        self.busy.insert(claim.name, Some(after));
        pause
    }
}

/// Names a change so that the same one is not made twice at a time.
fn name(change: &Change) -> String {
    match change {
        Change::Launch { placed, .. } => format!("launch of revision {}", placed.revision),
        Change::Stop { replicas, .. } => {
            let ids: Vec<_> = replicas.iter().map(|id| id.as_str()).collect();
            format!("stop of {}", ids.join(" "))
        }
        Change::Remove { revision, .. } => format!("removal of revision {revision}"),
        Change::RunTask { task } => format!("task {}", task.id),
    }
}
