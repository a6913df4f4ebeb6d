//! Folds one event into the state. The only mutator, and so also the recovery: a journal is read by applying it.
//! Judges nothing: an event that makes no sense here (from an older engine, say) changes nothing.

use super::state::{
    Deployment, EXPAND, Hot, KEYS_MAX, KnownKey, LOST_MAX, Leaving, Lost, PROVEN_MAX, Phase, State,
};
use super::stopwatch::Stopwatch;
use crate::change::{Ended, TaskId};
use crate::event::{DeploymentKind, Event, Outcome, Requested, ReturnReason};
use crate::judge::{Guard, Record};
use crate::names::{Millis, Revision};
use crate::routes::Maintenance;
use std::collections::BTreeSet;

impl State {
    /// Folds one event that happened `at`; `seq` is its place in the journal.
    pub fn apply(&mut self, event: &Event, seq: u64, at: Millis) {
        self.seq = seq;
        self.at = self.at.max(at);
        match event {
            Event::DeploymentRequested(requested) => self.begin(requested, seq, at),
            Event::SettingsChanged { settings } => self.settings = settings.clone(),
            Event::MaintenanceChanged { hold } => {
                self.maintenance = hold.map(|hold| Maintenance { hold, since: at });
            }
            Event::Scaled { replicas } => self.replicas_by_hand = *replicas,
            Event::LeaseTaken { epoch, .. } => self.epoch = self.epoch.max(*epoch),
            Event::ReplicaLost { revision, replica, .. } => {
                push_bounded(
                    &mut self.lost,
                    Lost { at, revision: *revision, replica: replica.clone() },
                    LOST_MAX,
                );
                *self.to_replace.entry(*revision).or_default() += 1;
            }
            Event::ReplicaReplaced { revision, .. } => self.replaced(*revision),
            Event::EvidenceAdded { record } => self.watch(record),
            Event::DeploymentFinished { outcome, .. } => self.finish(*outcome, at),
            Event::Drained { revision } => self.drained(*revision),
            Event::CandidateRemoved { revision } => {
                self.leaving.retain(|leaving| leaving.placed.revision != *revision);
            }
            Event::RevisionRetired { .. } => self.retire_hot(at),
            // Nothing of the state follows from it: it is there for those who read the journal.
            Event::ClockStepped { .. } => {}
            _ => {
                if let Some(deployment) = &mut self.deployment {
                    deployment.apply(event, at);
                }
            }
        }
    }

    fn begin(&mut self, requested: &Requested, seq: u64, at: Millis) {
        let flips = requested.of != DeploymentKind::Deploy
            && self.hot.as_ref().is_some_and(|hot| hot.placed.revision == requested.candidate.revision);
        let id = requested.deployment.clone();
        push_bounded(
            &mut self.keys,
            KnownKey { key: requested.key.clone(), deployment: id.clone(), seq, outcome: None },
            KEYS_MAX,
        );
        self.deployment_max += 1;
        self.revision_max = self.revision_max.max(requested.candidate.revision.0);
        self.deployment = Some(Deployment {
            id,
            of: requested.of,
            candidate: requested.candidate.clone(),
            settings: requested.settings.clone(),
            folder: requested.folder.clone(),
            reason: requested.reason.clone(),
            // A revision that is still hot needs neither preparation nor launch: one flip.
            phase: if flips { Phase::Shifting { step: 0 } } else { Phase::Preparing },
            since: at,
            clock: Stopwatch::start(at),
            phase_clock: Stopwatch::start(at),
            paused: false,
            held: None,
            guard: Guard::default(),
            launched: flips,
            release_stored: flips,
            done: BTreeSet::new(),
            failed: None,
            condemned: None,
            verdict: None,
            proven: false,
            hurried: false,
        });
    }

    fn replaced(&mut self, revision: Revision) {
        if let Some(missing) = self.to_replace.get_mut(&revision) {
            *missing = missing.saturating_sub(1);
        }
        self.to_replace.retain(|_, missing| *missing > 0);
    }

    fn watch(&mut self, record: &Record) {
        if let Some(deployment) = &mut self.deployment {
            deployment.guard.add(record);
        } else if let Some(hot) = &mut self.hot {
            hot.guard.add(record);
        }
    }

    fn finish(&mut self, outcome: Outcome, at: Millis) {
        let Some(deployment) = self.deployment.take() else { return };
        if let Some(known) = self.keys.iter_mut().find(|known| known.deployment == deployment.id) {
            known.outcome = Some(outcome);
        }
        self.last_outcome = Some((deployment.id.clone(), outcome));
        match outcome {
            Outcome::Promoted | Outcome::PromotedUnproven => self.promote(deployment, at),
            // Nothing was launched for it.
            Outcome::Unchanged => {}
            Outcome::RolledBack | Outcome::UnprovenReturn | Outcome::Aborted | Outcome::Superseded => {
                self.give_up(deployment, at);
            }
        }
    }

    /// The candidate becomes stable. Its predecessor stays hot, unless the deployment went back because of it.
    fn promote(&mut self, deployment: Deployment, at: Millis) {
        let settings = deployment.settings;
        let flipped = self.hot.take_if(|hot| hot.placed.revision == deployment.candidate.revision).is_some();
        if !flipped {
            self.retire_hot(at);
        }
        self.proven.retain(|placed| placed.release != deployment.candidate.release);
        let before = self.stable.replace(deployment.candidate);
        let drain = settings.drain;
        let keep_hot = settings.keep_hot;
        self.stable_rollout = settings;
        let Some(before) = before else { return };
        if deployment.of != DeploymentKind::Deploy {
            self.leaving.push(leaving(before, at, drain));
            return;
        }
        self.proven.retain(|placed| placed.release != before.release);
        self.proven.push(before.clone());
        if self.proven.len() > PROVEN_MAX {
            self.proven.remove(0);
        }
        if keep_hot == Millis(0) {
            self.leaving.push(leaving(before, at, drain));
        } else {
            self.hot =
                Some(Hot { placed: before, until: at.plus(keep_hot), guard: deployment.guard.promoted() });
        }
    }

    /// The candidate leaves; stable was never anything but what it is.
    fn give_up(&mut self, deployment: Deployment, at: Millis) {
        let mut gone = leaving(deployment.candidate, at, deployment.settings.drain);
        if let Phase::Returning { returned: true, .. } = deployment.phase {
            // Its requests have been draining since the phase began.
            gone.since = deployment.since;
            gone.until = deployment.since.plus(deployment.settings.drain);
        }
        // A revision that was hot before an operator's rollback failed goes the same way.
        self.hot.take_if(|hot| hot.placed.revision == gone.placed.revision);
        gone.candidate_of = Some(deployment.id);
        self.leaving.push(gone);
    }

    fn drained(&mut self, revision: Revision) {
        for leaving in &mut self.leaving {
            leaving.drained |= leaving.placed.revision == revision;
        }
        // A retired revision is forgotten here: nothing that runs of it is wanted any more.
        self.leaving.retain(|leaving| !leaving.drained || leaving.candidate_of.is_some());
    }

    fn retire_hot(&mut self, at: Millis) {
        if let Some(hot) = self.hot.take() {
            self.leaving.push(leaving(hot.placed, at, self.stable_rollout.drain));
        }
    }
}

impl Deployment {
    fn apply(&mut self, event: &Event, at: Millis) {
        match event {
            Event::ReleaseStored { .. } => self.release_stored = true,
            Event::HookRan { hook, ended, .. } => self.task_ended(hook, *ended),
            Event::MigrationExpanded { .. } => {
                let id = self.task(EXPAND);
                self.task_ended(&id, Ended::Code(0));
            }
            Event::CheckRan { check, ended, .. } => self.task_ended(check, *ended),
            Event::CandidateLaunched { .. } => self.launched = true,
            Event::CandidateReady { .. } => self.enter(Phase::Verifying, at),
            Event::CandidateVerified { .. } => self.enter(Phase::Shifting { step: 0 }, at),
            Event::TrafficShifted { .. } => {
                if let Phase::Shifting { step } = self.phase {
                    self.enter(Phase::Baking { step }, at);
                }
            }
            Event::BakePassed { step } => self.enter(Phase::Shifting { step: step + 1 }, at),
            Event::StepPromoted { now } => self.hurry(*now, at),
            Event::Paused => {
                self.paused = true;
                self.clock.stop(at);
                self.phase_clock.stop(at);
            }
            Event::Resumed => self.resume(at),
            Event::Held { why } => {
                self.held = Some(why.clone());
                self.phase_clock.stop(at);
            }
            Event::HoldEnded => {
                self.held = None;
                self.run_again(at);
            }
            Event::VerdictReached { evidence, why, .. } => {
                self.verdict = Some(evidence.clone());
                self.condemned = Some(why.clone());
            }
            Event::ReturnStarted { why } => self.turn_back(why.clone(), at),
            Event::Aborted { superseded } => {
                let why = if *superseded { ReturnReason::Superseded } else { ReturnReason::Aborted };
                self.turn_back(why, at);
            }
            Event::TrafficReturned { .. } => {
                if let Phase::Returning { returned, .. } = &mut self.phase {
                    *returned = true;
                }
            }
            Event::Promoted { proven, .. } => {
                self.proven = *proven;
                self.enter(Phase::Promoting, at);
            }
            // The rest belongs to the target and was handled there.
            _ => {}
        }
        if self.phase == Phase::Preparing && self.failed.is_none() && self.prepared() {
            self.enter(Phase::Launching, at);
        }
    }

    fn enter(&mut self, phase: Phase, at: Millis) {
        self.phase = phase;
        self.since = at;
        self.phase_clock = Stopwatch::start(at);
        if self.paused || self.held.is_some() {
            self.phase_clock.stop(at);
        }
    }

    /// Goes back; neither a pause nor a hold outlives that.
    fn turn_back(&mut self, why: ReturnReason, at: Millis) {
        self.paused = false;
        self.held = None;
        self.clock.go(at);
        self.enter(Phase::Returning { why, returned: false }, at);
    }

    fn resume(&mut self, at: Millis) {
        self.paused = false;
        self.clock.go(at);
        self.run_again(at);
    }

    fn run_again(&mut self, at: Millis) {
        if !self.paused && self.held.is_none() {
            self.phase_clock.go(at);
        }
    }

    /// An operator's promote ends doubt and pause as well: what is promoted must not stay stopped.
    fn hurry(&mut self, now: bool, at: Millis) {
        self.held = None;
        self.resume(at);
        self.hurried |= now;
        if let Phase::Baking { step } = self.phase
            && step < self.last_step()
        {
            let next = if now { self.last_step() } else { step + 1 };
            self.enter(Phase::Shifting { step: next }, at);
        } else {
            self.hurried = true;
        }
    }

    fn task_ended(&mut self, task: &TaskId, ended: Ended) {
        if ended == Ended::Code(0) {
            self.done.insert(task.clone());
        } else if task.name == super::state::AFTER_HOOK {
            // Too late to matter for the release: recorded, and done.
            self.done.insert(task.clone());
        } else {
            self.failed = Some(ReturnReason::TaskFailed { task: task.clone(), ended });
        }
    }
}

fn leaving(placed: crate::release::Placed, at: Millis, drain: Millis) -> Leaving {
    Leaving { placed, since: at, until: at.plus(drain), drained: false, candidate_of: None }
}

fn push_bounded<T>(queue: &mut std::collections::VecDeque<T>, item: T, bound: usize) {
    if queue.len() >= bound {
        queue.pop_front();
    }
    queue.push_back(item);
}
