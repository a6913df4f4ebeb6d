//! Follows a target by its journal alone, without the machine: clocks, what has passed, who was lost, what may be returned to.
//! What is folded here is said once more, in other words, so that the core's own fold is looked at and not believed.

use crate::world::operate::number_of;
use rollout::change::{Ended, TaskId};
use rollout::event::{DeploymentKind, Event, Outcome};
use rollout::machine::{Phase, State};
use rollout::names::{Generation, Millis, Revision};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Former stable releases an operator can go back to.
const SERVED_MAX: usize = 5;
/// Keys within which the same order is known again.
const KEYS_MAX: usize = 64;
/// Exits of this long ago still count.
const EXITS_WITHIN: Millis = Millis::seconds(300);

/// Time that can stand still, added up piece by piece.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    ran: Millis,
    since: Option<Millis>,
}

impl Clock {
    fn start(at: Millis) -> Self {
        Self { ran: Millis(0), since: Some(at) }
    }

    fn set(&mut self, runs: bool, at: Millis) {
        self.ran = self.elapsed(at);
        self.since = runs.then_some(at);
    }

    pub fn elapsed(&self, now: Millis) -> Millis {
        self.ran.plus(self.since.map_or(Millis(0), |since| now.since(since)))
    }
}

#[derive(Debug, Default)]
pub struct Follow {
    pub deployment: Clock,
    pub phase: Clock,
    pub paused: bool,
    pub held: bool,
    /// What has run for the deployment and passed.
    pub passed: BTreeSet<TaskId>,
    /// Where the traffic last changed its direction.
    pub turned_at: Generation,
    /// Seconds in a row of which nothing was counted.
    pub silent: u64,
    exits: VecDeque<(Revision, Millis)>,
    keys: VecDeque<String>,
    served: Vec<u8>,
    /// Copies of requests of the running deployment that were compared, and those of them answered otherwise.
    pub copies: (u64, u64),
    /// Until when a former stable revision was promised to stay.
    pub hot_until: BTreeMap<Revision, Millis>,
    /// Revisions whose requests have been taken away for good.
    pub given_back: BTreeSet<Revision>,
}

impl Follow {
    /// Tells whether this order has been carried out before.
    pub fn knows(&self, key: &str) -> bool {
        self.keys.iter().any(|known| known == key)
    }

    /// Tells whether an operator may go back to this release (None: to the last).
    pub fn was_served(&self, release: Option<u8>) -> bool {
        release.map_or(!self.served.is_empty(), |release| self.served.contains(&release))
    }

    /// Returns how many replicas of a revision have ended by themselves lately.
    pub fn exits(&self, revision: Revision, now: Millis) -> u32 {
        let lately = |(of, at): &&(Revision, Millis)| *of == revision && now.since(*at) < EXITS_WITHIN;
        self.exits.iter().filter(lately).count() as u32
    }

    /// Takes an event in; `before`: the state until now.
    pub fn fold(&mut self, event: &Event, at: Millis, before: &State) {
        let ending = before
            .deployment
            .as_ref()
            .is_some_and(|running| matches!(running.phase, Phase::Promoting | Phase::Returning { .. }));
        match event {
            Event::DeploymentRequested(requested) if before.deployment.is_none() => {
                self.deployment = Clock::start(at);
                self.phase = Clock::start(at);
                (self.paused, self.held, self.silent) = (false, false, 0);
                self.turned_at = Generation::default();
                self.copies = (0, 0);
                self.passed.clear();
                self.exits.retain(|(revision, _)| *revision != requested.candidate.revision);
                self.keys.push_back(requested.key.clone());
                self.keys.drain(..self.keys.len().saturating_sub(KEYS_MAX));
            }
            Event::Paused => self.paused |= !ending && before.deployment.is_some(),
            Event::Resumed => self.paused = false,
            Event::Held { .. } => self.held |= !ending && before.deployment.is_some(),
            Event::HoldEnded => self.held = false,
            Event::StepPromoted { .. } if is_promotable(before) => (self.paused, self.held) = (false, false),
            Event::ReturnStarted { .. } | Event::Aborted { .. } => (self.paused, self.held) = (false, false),
            Event::HookRan { hook, .. } if ending => {
                self.passed.insert(hook.clone());
                self.phase = Clock::start(at);
            }
            Event::HookRan { hook: task, ended: Ended::Code(0), .. }
            | Event::MigrationExpanded { task }
            | Event::CheckRan { check: task, ended: Ended::Code(0), .. } => {
                self.passed.insert(task.clone());
            }
            Event::TrafficShifted { generation, .. } => self.turned_at = *generation,
            Event::TrafficReturned { generation, .. } => {
                self.turned_at = *generation;
                self.given_back.extend(before.deployment.iter().map(|running| running.candidate.revision));
            }
            Event::ReplicaLost { revision, .. } => self.exits.push_back((*revision, at)),
            Event::EvidenceAdded { record } => {
                self.silent = if record.missing { self.silent + 1 } else { 0 };
                let mirror = &record.mirror;
                self.copies.0 += mirror.compared;
                self.copies.1 += mirror.status + mirror.body;
            }
            Event::RevisionRetired { revision } => drop(self.hot_until.remove(revision)),
            Event::DeploymentFinished { outcome, .. } => self.finish(*outcome, at, before),
            _ => {}
        }
    }

    /// Sets the clocks as they run from here on.
    pub fn go_on(&mut self, at: Millis, before: Option<(u8, usize)>, after: &State) {
        if before != stage(after) && before.is_some() {
            self.phase = Clock::start(at);
        }
        self.deployment.set(!self.paused, at);
        self.phase.set(!self.paused && !self.held, at);
    }

    fn finish(&mut self, outcome: Outcome, at: Millis, before: &State) {
        let Some(running) = &before.deployment else { return };
        let candidate = &running.candidate;
        let release = number_of(candidate);
        match outcome {
            Outcome::Promoted | Outcome::PromotedUnproven => {
                self.hot_until.clear();
                self.served.retain(|served| *served != release);
                let replaced = before.stable.as_ref().filter(|_| running.of == DeploymentKind::Deploy);
                let Some(replaced) = replaced else { return };
                let number = number_of(replaced);
                self.served.retain(|served| *served != number);
                self.served.push(number);
                self.served.drain(..self.served.len().saturating_sub(SERVED_MAX));
                let keep = running.settings.keep_hot;
                if keep > Millis(0) {
                    self.hot_until.insert(replaced.revision, at.plus(keep));
                }
            }
            Outcome::Unchanged => {}
            Outcome::RolledBack | Outcome::UnprovenReturn | Outcome::Aborted | Outcome::Superseded => {
                if before.stable.as_ref().is_none_or(|stable| stable.revision != candidate.revision) {
                    self.given_back.insert(candidate.revision);
                    self.hot_until.remove(&candidate.revision);
                }
            }
        }
    }
}

/// Tells whether an operator may end what goes on.
fn is_promotable(state: &State) -> bool {
    state
        .deployment
        .as_ref()
        .is_some_and(|running| matches!(running.phase, Phase::Baking { .. } | Phase::Mirroring))
}

/// Returns where a deployment is: its phase and step. That traffic has come back is no new phase.
pub fn stage(state: &State) -> Option<(u8, usize)> {
    let running = state.deployment.as_ref()?;
    Some(match running.phase {
        Phase::Preparing => (0, 0),
        Phase::Launching => (1, 0),
        Phase::Verifying => (2, 0),
        Phase::Mirroring => (3, 0),
        Phase::Shifting { step } => (4, step),
        Phase::Baking { step } => (5, step),
        Phase::Promoting => (6, 0),
        Phase::Returning { .. } => (7, 0),
    })
}
