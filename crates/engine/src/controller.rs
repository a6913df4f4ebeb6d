//! Holds one target's state and journal: the only writer of its events. A plain struct; `run` is the task around it.
//! Opening it and living on are the same: events are applied.

use crate::journal::{Damage, Disk, DiskError, Journal, JournalError, Sqlite};
use crate::leader::{Standing, Terms};
use crate::lease::Lease;
use crate::views::history::History;
use rollout::event::{Event, EventRecord};
use rollout::machine::{Answer, Fact, OperatorCommand, Refusal, State};
use rollout::names::{Actor, DeploymentId, Generation, Millis, Target};

/// Events that may follow from one fact, beside one for each replica seen. More means that two rules of the core
/// contradict each other.
const FOLLOWING_MAX: usize = 64;

/// Readings of a journal before its lease is given up to somebody who takes it again and again.
const TAKE_MAX: usize = 4;

/// One target: what it is, and how it came to be.
pub struct Controller<D = Sqlite> {
    pub state: State,
    pub history: History,
    journal: Journal<D>,
    owner: String,
    terms: Terms,
    /// The edge may have seen an epoch this journal never recorded (its event was lost with the disk's cache).
    accepted: u64,
    /// The epoch as the journal tells it: that of `state` may not be written yet.
    written: u64,
    /// The lease has been taken. Not yet: nothing could be written since this was opened.
    taken: bool,
    /// The lease that was found to be free when this was opened; None: there was none.
    judged: Option<Lease>,
}

/// A target, or who leads it instead.
pub enum Opened<D = Sqlite> {
    Leads(Box<Controller<D>>),
    /// Another one leads, and may not be passed over before then.
    Held {
        lease: Lease,
        free_at: Millis,
    },
    /// The lease may be taken, but somebody is writing. With the lease of an owner: for longer than any write takes, so
    /// that it may have been stopped in the middle.
    Blocked {
        lease: Option<Lease>,
    },
}

/// Who would lead, and how.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    pub owner: &'a str,
    pub terms: Terms,
    /// What the edge last accepted.
    pub accepted: Option<Generation>,
}

/// Why a lease was not taken.
enum NotTaken {
    Held { lease: Option<Lease>, free_at: Millis },
    Journal(JournalError),
}

/// How a command ended.
#[derive(Debug)]
pub enum Commanded {
    /// These events happened.
    Done(Vec<EventRecord>),
    Known {
        deployment: DeploymentId,
        seq: u64,
        outcome: Option<rollout::event::Outcome>,
    },
    /// A deployment must end first; ask again when it has.
    Wait(Vec<EventRecord>),
}

/// Why a command did not happen.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl<D: Disk> Controller<D> {
    /// Opens the target on any disk, and takes its lease from whoever has it.
    pub fn open_on(
        disk: D,
        target: &Target,
        accepted: Option<Generation>,
        owner: &str,
        now: Millis,
    ) -> Result<Self, Damage> {
        let candidate = Candidate { owner, terms: Terms::default(), accepted };
        let mut controller = Self::read(disk, target, candidate)?;
        // A journal that cannot be written does not stop what runs: the target is served and refuses commands.
        if controller.take(now, &mut |_| Standing::Free)?.is_err() {
            controller.lead_unwritten();
        }
        Ok(controller)
    }

    /// Opens the target: every event of its journal is applied, and the lease taken where `judge` says that it may be.
    pub fn open_where(
        disk: D,
        target: &Target,
        candidate: Candidate<'_>,
        now: Millis,
        mut judge: impl FnMut(Option<&Lease>) -> Standing,
    ) -> Result<Opened<D>, Damage> {
        let mut controller = Self::read(disk, target, candidate)?;
        match controller.take(now, &mut judge)? {
            Ok(_) => {}
            Err(NotTaken::Held { lease: Some(lease), free_at }) => {
                return Ok(Opened::Held { lease, free_at });
            }
            Err(NotTaken::Journal(JournalError { source: DiskError::Busy(_), .. })) => {
                return Ok(Opened::Blocked { lease: controller.judged });
            }
            Err(NotTaken::Journal(error)) if error.is_loss() => return Ok(Opened::Blocked { lease: None }),
            // As in `open_on`.
            Err(NotTaken::Held { lease: None, .. } | NotTaken::Journal(_)) => controller.lead_unwritten(),
        }
        Ok(Opened::Leads(Box::new(controller)))
    }

    fn read(disk: D, target: &Target, candidate: Candidate<'_>) -> Result<Self, Damage> {
        let mut state = State::new(target.clone());
        let mut history = History::default();
        let journal = Journal::read(disk, target, candidate.accepted, |record| {
            state.apply(&record.event, record.seq, record.at);
            history.add(record);
        })?;
        let accepted = candidate.accepted.map_or(0, |accepted| accepted.epoch);
        let (owner, terms) = (candidate.owner.to_owned(), candidate.terms);
        let written = state.epoch;
        Ok(Self { state, history, journal, owner, terms, accepted, written, taken: false, judged: None })
    }

    /// Goes on with an epoch that is written nowhere yet: what runs is served.
    fn lead_unwritten(&mut self) {
        self.state.epoch = self.state.epoch.max(self.accepted) + 1;
    }

    /// Takes the lease and records that. What another engine wrote before it lost the lease is applied first.
    fn take(
        &mut self,
        now: Millis,
        judge: &mut dyn FnMut(Option<&Lease>) -> Standing,
    ) -> Result<Result<EventRecord, NotTaken>, Damage> {
        let mut tries = 0;
        loop {
            let seen = match self.journal.lease() {
                Ok(seen) => seen,
                Err(error) => return Ok(Err(NotTaken::Journal(error))),
            };
            if let Standing::Held { free_at } = judge(seen.as_ref()) {
                return Ok(Err(NotTaken::Held { lease: seen, free_at }));
            }
            self.judged.clone_from(&seen);
            let (state, history) = (&mut self.state, &mut self.history);
            // What was written meanwhile was written under an epoch that is on disk, not under ours that is not.
            let leads_as = std::mem::replace(&mut state.epoch, self.written);
            let caught_up = self.journal.catch_up(|record| {
                state.apply(&record.event, record.seq, record.at);
                history.add(record);
            });
            self.written = state.epoch;
            state.epoch = state.epoch.max(leads_as);
            caught_up?;
            let known = self.state.epoch.max(self.accepted);
            let lease = Lease::after(seen.as_ref(), known, &self.owner, now.plus(self.terms.ttl));
            tries += 1;
            match self.journal.take(seen.as_ref(), &lease, &engine(), now) {
                Ok(record) => {
                    (self.taken, self.written) = (true, lease.epoch);
                    return Ok(Ok(self.follow(record)));
                }
                Err(JournalError { source: DiskError::Moved, .. }) if tries < TAKE_MAX => {}
                Err(error) => return Ok(Err(NotTaken::Journal(error))),
            }
        }
    }

    /// Returns the lease that was followed when this was opened.
    pub fn judged(&self) -> Option<&Lease> {
        self.judged.as_ref()
    }

    /// Promises to lead for another life of the lease. Returns the record of a taking that was not possible before.
    pub fn renew(&mut self, now: Millis) -> Result<Option<EventRecord>, JournalError> {
        if !self.taken {
            return self.take_late(now).map(Some);
        }
        if self.journal.renew(now.plus(self.terms.ttl))? {
            return Ok(None);
        }
        let path = self.state.target.to_string();
        Err(JournalError { path, source: DiskError::Lost(self.journal.lease()?) })
    }

    /// Takes the lease again, under a newer epoch, when the edge or the platform has `seen` one that is newer than ours: an
    /// engine that took over could write nothing, but fenced them, and they would refuse the owner of the lease for ever.
    /// One that could not write either does not: two of them would outrank each other without end.
    pub fn outrank(&mut self, seen: u64, now: Millis) -> Result<Option<EventRecord>, JournalError> {
        if !self.taken || seen <= self.state.epoch {
            return Ok(None);
        }
        self.accepted = self.accepted.max(seen);
        let (owner, epoch) = (self.owner.clone(), self.written);
        self.take_if(now, |lease| lease.is_some_and(|lease| lease.owner == owner && lease.epoch == epoch))
            .map(Some)
    }

    /// Gives the lease back, so that nobody waits for it. Nothing is written any more after that.
    pub fn release(&mut self) -> Result<(), JournalError> {
        if self.taken { self.journal.release() } else { Ok(()) }
    }

    /// Takes one fact in. Returns what happened because of it, and the error that kept more from happening.
    pub fn step(&mut self, fact: &Fact, now: Millis) -> (Vec<EventRecord>, Option<JournalError>) {
        let now = now.max(self.state.at);
        let mut records = Vec::new();
        let following_max = FOLLOWING_MAX + replicas(fact);
        while let Some(event) = self.state.decide(fact, now) {
            assert!(records.len() < following_max, "BUG: {:?} follows without end", event.kind());
            match self.append(&event, &engine(), now) {
                Ok(record) => records.push(record),
                Err(error) => return (records, Some(error)),
            }
            // One second is evidence once, and so is one answer.
            if !matches!(fact, Fact::World(_)) {
                break;
            }
        }
        (records, None)
    }

    /// Does what an operator asks, or says why not.
    pub fn command(
        &mut self,
        command: &OperatorCommand,
        actor: &Actor,
        now: Millis,
    ) -> Result<Commanded, CommandError> {
        let now = now.max(self.state.at);
        Ok(match self.state.command(command)? {
            Answer::Event(event) => Commanded::Done(vec![self.append(&event, actor, now)?]),
            Answer::Supersede(event) => Commanded::Wait(vec![self.append(&event, actor, now)?]),
            Answer::Wait => Commanded::Wait(Vec::new()),
            Answer::Nothing => Commanded::Done(Vec::new()),
            Answer::Known { deployment, seq, outcome } => Commanded::Known { deployment, seq, outcome },
        })
    }

    /// Records something that happened to the engine itself.
    pub fn note(&mut self, event: &Event, now: Millis) -> Result<EventRecord, JournalError> {
        self.append(event, &engine(), now.max(self.state.at))
    }

    fn append(&mut self, event: &Event, actor: &Actor, now: Millis) -> Result<EventRecord, JournalError> {
        if !self.taken {
            // Its record is part of the state; followers find it in the journal.
            self.take_late(now)?;
        }
        if let Event::DeploymentRequested(_) = event {
            self.journal.reserve()?;
        }
        let deployment = self.state.deployment_of(event);
        let record = self.journal.append(event, deployment.as_ref(), actor, now)?;
        Ok(self.follow(record))
    }

    /// Takes the lease that could not be taken when the target was opened, unless another one has by now.
    fn take_late(&mut self, now: Millis) -> Result<EventRecord, JournalError> {
        let judged = self.judged.clone();
        self.take_if(now, |lease| lease == judged.as_ref())
    }

    /// Takes the lease if it still is as it should be; else another one leads.
    fn take_if(
        &mut self,
        now: Millis,
        may_take: impl Fn(Option<&Lease>) -> bool,
    ) -> Result<EventRecord, JournalError> {
        let path = self.state.target.to_string();
        let broken = |damage: Damage| JournalError {
            path: path.clone(),
            source: DiskError::Other(damage.to_string()),
        };
        let mut judge = |lease: Option<&Lease>| {
            if may_take(lease) { Standing::Free } else { Standing::Held { free_at: now } }
        };
        self.take(now, &mut judge).map_err(broken)?.map_err(|error| match error {
            NotTaken::Held { lease, .. } => JournalError { path, source: DiskError::Lost(lease) },
            NotTaken::Journal(error) => error,
        })
    }

    fn follow(&mut self, record: EventRecord) -> EventRecord {
        self.state.apply(&record.event, record.seq, record.at);
        self.history.add(&record);
        record
    }
}

fn replicas(fact: &Fact) -> usize {
    match fact {
        Fact::World(world) => world.revisions.values().map(|presence| presence.replicas.len()).sum(),
        Fact::Sample(_) | Fact::Calibrated(_) | Fact::Answers(_) => 0,
    }
}

fn engine() -> Actor {
    Actor::from("engine")
}

#[cfg(test)]
#[path = "controller_tests.rs"]
mod tests;
