//! Folds one event into the state. The only mutator, and so also the recovery: a journal is read by applying it.
//! Judges nothing: an event that makes no sense here (from an older engine, say) changes nothing.

use super::monitor::MonitorState;
use super::state::{
    AFTER_HOOK, Deployment, EXPAND, Hot, KEYS_MAX, KnownKey, LOST_MAX, Leaving, Lost, PROVEN_MAX, Phase,
    State,
};
use super::stopwatch::Stopwatch;
use crate::change::{Ended, TaskId};
use crate::event::{DeploymentKind, Event, Outcome, Requested, ReturnReason};
use crate::judge::{Judge, Record};
use crate::mirror::MirrorCounts;
use crate::names::{Generation, Millis, ReplicaId, Revision, Weight};
use crate::routes::Maintenance;
use std::collections::BTreeSet;

impl State {
    /// Folds one event that happened `at`; `seq` is its place in the journal.
    pub fn apply(&mut self, event: &Event, seq: u64, at: Millis) {
        self.seq = seq;
        self.at = self.at.max(at);
        match event {
            Event::DeploymentRequested(requested) if self.deployment.is_none() => {
                self.begin(requested, seq, at)
            }
            Event::SettingsChanged { settings } => self.settings = settings.clone(),
            Event::MaintenanceChanged { hold } => {
                self.maintenance = hold.map(|hold| Maintenance { hold, since: at });
            }
            Event::Scaled { replicas } => self.replicas_by_hand = *replicas,
            Event::LeaseTaken { epoch, .. } => self.epoch = self.epoch.max(*epoch),
            Event::ReplicaLost { revision, replica, .. } => self.lose(*revision, replica, at),
            Event::ReplicaReplaced { revision, .. } => self.replaced(*revision),
            Event::EvidenceAdded { record } => self.watch(record),
            Event::DeploymentFinished { outcome, .. } => self.finish(*outcome, at),
            Event::Drained { revision } => self.drained(*revision),
            Event::CandidateRemoved { revision } => {
                self.leaving.retain(|leaving| leaving.placed.revision != *revision);
            }
            Event::RevisionRetired { revision } if self.is_hot(*revision) => self.retire_hot(at),
            // Nothing of the state follows from it: it is there for those who read the journal.
            Event::ClockStepped { .. } => {}
            // What is left happens to a deployment, if one runs.
            _ => {
                let generation = self.generation();
                if let Some(deployment) = &mut self.deployment {
                    deployment.apply(event, at, generation);
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
        self.deployment_max = self.deployment_max.saturating_add(1);
        self.revision_max = self.revision_max.max(requested.candidate.revision.0);
        let mut settings = requested.settings.clone();
        if self.stable.is_none() || settings.steps.is_empty() {
            // Nobody else could take the rest of the requests.
            settings.steps = vec![Weight::FULL];
            settings.hold_back = Weight::NONE;
        } else if requested.of == DeploymentKind::Deploy {
            settings.look_first();
        }
        if self.stable.is_none() || requested.of != DeploymentKind::Deploy {
            // There is nothing to compare it with, or no time for it.
            settings.mirror = None;
        }
        let judge = Judge::new(&settings.judge, requested.of == DeploymentKind::Deploy);
        self.deployment = Some(Deployment {
            id,
            of: requested.of,
            candidate: requested.candidate.clone(),
            settings,
            folder: requested.folder.clone(),
            reason: requested.reason.clone(),
            // A revision that is still hot needs neither preparation nor launch: one flip.
            phase: if flips { Phase::Shifting { step: 0 } } else { Phase::Preparing },
            since: at,
            clock: Stopwatch::start(at),
            phase_clock: Stopwatch::start(at),
            paused: false,
            held: None,
            judge,
            monitor: MonitorState::default(),
            mirrored: MirrorCounts::default(),
            extended: false,
            launched: flips,
            routed_at: Generation::default(),
            release_stored: flips,
            done: BTreeSet::new(),
            failed: None,
            condemned: None,
            verdict: None,
            proven: false,
            hurried: false,
        });
    }

    fn lose(&mut self, revision: Revision, replica: &ReplicaId, at: Millis) {
        if self.knows_lost(replica) {
            return;
        }
        push_bounded(&mut self.lost, Lost { at, revision, replica: replica.clone() }, LOST_MAX);
        let missing = self.to_replace.entry(revision).or_default();
        *missing = missing.saturating_add(1);
        self.forget_places();
    }

    /// What leaves is not replaced.
    fn forget_places(&mut self) {
        let candidate = self.deployment.iter().map(|running| running.candidate.revision);
        let hot = self.hot.iter().map(|hot| hot.placed.revision);
        let stable = self.stable.iter().map(|stable| stable.revision);
        let kept: BTreeSet<_> = candidate.chain(hot).chain(stable).collect();
        self.to_replace.retain(|revision, _| kept.contains(revision));
    }

    fn replaced(&mut self, revision: Revision) {
        if let Some(missing) = self.to_replace.get_mut(&revision) {
            *missing = missing.saturating_sub(1);
        }
        self.to_replace.retain(|_, missing| *missing > 0);
    }

    fn watch(&mut self, record: &Record) {
        if let Some(deployment) = &mut self.deployment {
            deployment.judge.add(record);
            deployment.monitor.count(record);
            deployment.mirrored.add(&record.mirror);
        } else if let Some(hot) = &mut self.hot {
            hot.judge.add(record);
        }
    }

    fn finish(&mut self, outcome: Outcome, at: Millis) {
        let Some(deployment) = self.deployment.take_if(|running| running.may_end(outcome)) else { return };
        if let Some(known) = self.keys.iter_mut().find(|known| known.deployment == deployment.id) {
            known.outcome = Some(outcome);
        }
        match outcome {
            Outcome::Promoted | Outcome::PromotedUnproven => self.promote(deployment, at),
            // Nothing was launched for it.
            _ if self
                .stable
                .as_ref()
                .is_some_and(|stable| stable.revision == deployment.candidate.revision) => {}
            Outcome::Unchanged
            | Outcome::RolledBack
            | Outcome::UnprovenReturn
            | Outcome::Aborted
            | Outcome::Superseded => {
                self.give_up(deployment, at);
            }
        }
        self.forget_places();
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
        self.stable_folder = deployment.folder;
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
            self.hot = Some(Hot { placed: before, until: at.plus(keep_hot), judge: deployment.judge });
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

    fn is_hot(&self, revision: Revision) -> bool {
        self.hot.as_ref().is_some_and(|hot| hot.placed.revision == revision)
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
            self.forget_places();
        }
    }
}

impl Deployment {
    fn apply(&mut self, event: &Event, at: Millis, generation: Generation) {
        match event {
            Event::ReleaseStored { .. } => self.release_stored = true,
            Event::HookRan { hook, ended, .. } => self.hook_ended(hook, *ended, at),
            Event::MigrationExpanded { .. } => {
                let id = self.task(EXPAND);
                self.task_ended(&id, Ended::Code(0));
            }
            Event::CheckRan { check, ended, .. } => self.task_ended(check, *ended),
            Event::CandidateLaunched { .. } => self.launched = true,
            Event::EvidenceAdded { .. } => {}
            Event::JudgeCalibrated { calibration } => self.judge.calibrate(calibration),
            Event::FindingReported { finding } => self.judge.reported(finding),
            Event::ChecksAnswered { round } => {
                if let Some(monitor) = &self.settings.monitor {
                    self.monitor.answered(round, monitor);
                }
            }
            Event::BakeExtended { .. } => self.extended = true,
            Event::Paused if !self.is_ending() => {
                self.paused = true;
                self.clock.stop(at);
                self.phase_clock.stop(at);
            }
            Event::Resumed => self.resume(at),
            Event::Held { why } if !self.is_ending() => {
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
            Event::ReturnStarted { why } => self.turn_back(why.clone(), at, generation),
            Event::Aborted { superseded: true } => self.turn_back(ReturnReason::Superseded, at, generation),
            Event::Aborted { superseded: false } => self.turn_back(ReturnReason::Aborted, at, generation),
            _ => self.walk(event, at),
        }
        if self.phase == Phase::Preparing && self.failed.is_none() && self.prepared() {
            self.enter(Phase::Launching, at);
        }
    }

    /// Goes from one phase to the next; what does not follow on the phase it is in changes nothing.
    fn walk(&mut self, event: &Event, at: Millis) {
        match (event, &self.phase) {
            (Event::CandidateReady { .. }, Phase::Launching) => self.enter(Phase::Verifying, at),
            (Event::CandidateVerified { .. }, Phase::Verifying) if self.settings.mirror.is_some() => {
                self.enter(Phase::Mirroring, at)
            }
            (Event::CandidateVerified { .. }, Phase::Verifying)
            | (Event::MirrorPassed { .. }, Phase::Mirroring) => self.enter(Phase::Shifting { step: 0 }, at),
            (Event::TrafficShifted { generation, weight, .. }, Phase::Shifting { step }) => {
                let step = *step;
                self.routed_at = *generation;
                self.watch_from(*weight, at);
                self.enter(Phase::Baking { step }, at);
            }
            (Event::BakePassed { step }, Phase::Baking { step: baked })
                if step == baked && *step < self.last_step() =>
            {
                self.enter(Phase::Shifting { step: step + 1 }, at);
            }
            (Event::StepPromoted { now }, Phase::Baking { step }) => {
                let step = *step;
                self.hurry(Some(step), *now, at);
            }
            (Event::StepPromoted { now }, Phase::Mirroring) => self.hurry(None, *now, at),
            (Event::Promoted { proven, .. }, Phase::Baking { .. }) => {
                self.proven = *proven;
                // The hold-back moves with the promotion.
                self.judge.set_weight(Weight::FULL, at);
                self.enter(Phase::Promoting, at);
            }
            (Event::TrafficReturned { generation, .. }, Phase::Returning { why, .. }) => {
                // The phase's clocks go on: the drain of the candidate began with it.
                self.routed_at = *generation;
                self.phase = Phase::Returning { why: why.clone(), returned: true };
            }
            // The rest belongs to the target and was handled there, or to another phase.
            _ => {}
        }
    }

    /// The candidate's share has changed: what is counted from here on is counted at that share.
    fn watch_from(&mut self, weight: Weight, at: Millis) {
        self.judge.set_weight(weight, at);
        self.monitor.since.get_or_insert(at);
    }

    /// Tells whether this is an end of the phase the deployment is in.
    fn may_end(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Promoted | Outcome::PromotedUnproven => self.phase == Phase::Promoting,
            Outcome::Unchanged => true,
            Outcome::RolledBack | Outcome::UnprovenReturn | Outcome::Aborted | Outcome::Superseded => {
                matches!(self.phase, Phase::Returning { .. })
            }
        }
    }

    fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Promoting | Phase::Returning { .. })
    }

    fn enter(&mut self, phase: Phase, at: Millis) {
        self.phase = phase;
        self.since = at;
        self.extended = false;
        self.phase_clock = Stopwatch::start(at);
        if self.paused || self.held.is_some() {
            self.phase_clock.stop(at);
        }
    }

    /// Goes back; neither a pause nor a hold outlives that. Twice is once.
    fn turn_back(&mut self, why: ReturnReason, at: Millis, generation: Generation) {
        if matches!(self.phase, Phase::Returning { .. }) {
            return;
        }
        self.paused = false;
        self.held = None;
        self.clock.go(at);
        self.routed_at = generation;
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
    /// No step: none has begun, and copies end without what they would show, or in spite of it.
    fn hurry(&mut self, step: Option<usize>, now: bool, at: Millis) {
        self.held = None;
        self.resume(at);
        let (last, next) = (self.last_step(), step.map_or(0, |step| step + 1));
        self.hurried |= now || next > last;
        if next <= last {
            self.enter(Phase::Shifting { step: if now { last } else { next } }, at);
        }
    }

    fn hook_ended(&mut self, hook: &TaskId, ended: Ended, at: Millis) {
        if hook.name != AFTER_HOOK {
            return self.task_ended(hook, ended);
        }
        // Too late to matter for the release: recorded, and done. The edge has its full time to prove who answers.
        self.done.insert(hook.clone());
        if self.phase == Phase::Promoting {
            self.phase_clock = Stopwatch::start(at);
        }
    }

    fn task_ended(&mut self, task: &TaskId, ended: Ended) {
        if ended == Ended::Code(0) {
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
