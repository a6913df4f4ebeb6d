//! Holds one target's state and journal: the only writer of its events. A plain struct; `run` is the task around it.
//! Opening it and living on are the same: events are applied.

use crate::journal::{Damage, Disk, DiskError, Journal, JournalError, Sqlite};
use crate::lease::Lease;
use crate::views::history::History;
use rollout::event::{Event, EventRecord};
use rollout::machine::{Answer, Fact, OperatorCommand, Refusal, State};
use rollout::names::{Actor, DeploymentId, Generation, Millis, Target};
use std::path::Path;

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
    /// The edge may have seen an epoch this journal never recorded (its event was lost with the disk's cache).
    accepted: u64,
    /// The lease has been taken. Not yet: nothing could be written since this was opened.
    taken: bool,
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

impl Controller {
    /// Opens the target's file: every event of its journal is applied, and the lease taken.
    pub fn open(
        folder: &Path,
        target: &Target,
        accepted: Option<Generation>,
        owner: &str,
        now: Millis,
    ) -> Result<Self, Damage> {
        Self::open_on(Journal::disk(folder, target, accepted)?, target, accepted, owner, now)
    }
}

impl<D: Disk> Controller<D> {
    /// The same on any disk.
    pub fn open_on(
        disk: D,
        target: &Target,
        accepted: Option<Generation>,
        owner: &str,
        now: Millis,
    ) -> Result<Self, Damage> {
        let mut state = State::new(target.clone());
        let mut history = History::default();
        let journal = Journal::read(disk, target, accepted, |record| {
            state.apply(&record.event, record.seq, record.at);
            history.add(record);
        })?;
        let accepted = accepted.map_or(0, |accepted| accepted.epoch);
        let owner = owner.to_owned();
        let mut controller = Self { state, history, journal, owner, accepted, taken: false };
        // A journal that cannot be written does not stop what runs: the target is served and refuses commands.
        if controller.take(now)?.is_err() {
            controller.state.epoch = controller.state.epoch.max(accepted) + 1;
        }
        Ok(controller)
    }

    /// Takes the lease and records that. What another engine wrote before it lost the lease is applied first.
    fn take(&mut self, now: Millis) -> Result<Result<EventRecord, JournalError>, Damage> {
        let mut tries = 0;
        loop {
            let seen = match self.journal.lease() {
                Ok(seen) => seen,
                Err(error) => return Ok(Err(error)),
            };
            let (state, history) = (&mut self.state, &mut self.history);
            self.journal.catch_up(|record| {
                state.apply(&record.event, record.seq, record.at);
                history.add(record);
            })?;
            let known = self.state.epoch.max(self.accepted);
            let lease = Lease::after(seen.as_ref(), known, &self.owner, now);
            tries += 1;
            match self.journal.take(seen.as_ref(), &lease, &engine(), now) {
                Ok(record) => {
                    self.taken = true;
                    return Ok(Ok(self.follow(record)));
                }
                Err(JournalError { source: DiskError::Moved, .. }) if tries < TAKE_MAX => {}
                Err(error) => return Ok(Err(error)),
            }
        }
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
            self.take_late(now)?;
        }
        let deployment = self.state.deployment_of(event);
        let record = self.journal.append(event, deployment.as_ref(), actor, now)?;
        Ok(self.follow(record))
    }

    /// Takes the lease that could not be taken when the target was opened.
    fn take_late(&mut self, now: Millis) -> Result<(), JournalError> {
        let path = self.state.target.to_string();
        let broken = |damage: Damage| JournalError { path, source: DiskError::Other(damage.to_string()) };
        self.take(now).map_err(broken)?.map(drop)
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
