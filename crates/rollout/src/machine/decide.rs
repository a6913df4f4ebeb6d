//! Judges facts: the next event that follows, or none. Asked again after every event until nothing follows.
//! Changes nothing and waits for nothing; time comes in as `now`, and `wake_after` says when to ask again.

use super::monitor::MonitorRound;
use super::state::{HOOK_DEADLINE, Phase, State};
use super::world::World;
use crate::event::{Event, Outcome};
use crate::judge::{Calibration, Record};
use crate::names::{Millis, ReplicaId, Revision};
use serde::{Deserialize, Serialize};

/// Something the core is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Fact {
    /// This is what is there.
    World(Box<World>),
    /// This was counted in one second.
    Sample(Box<Record>),
    /// This is what the service's own traffic says about it.
    Calibrated(Box<Calibration>),
    /// The named checks answered this.
    Answers(MonitorRound),
}

/// How long the edge may take to show who answers, beyond the time a replica may take to start.
const PROOF_WITHIN: Millis = Millis::seconds(30);
/// How long a return waits for stable to have all its replicas before it makes do with one.
pub(super) const RETURN_PATIENCE: Millis = Millis::seconds(5);

impl State {
    /// Returns the next event that follows from a fact.
    pub fn decide(&self, fact: &Fact, now: Millis) -> Option<Event> {
        match fact {
            Fact::Sample(record) => {
                self.is_watching().then(|| Event::EvidenceAdded { record: (**record).clone() })
            }
            Fact::Calibrated(calibration) => {
                let takes = |running: &super::Deployment| running.judge.takes(calibration);
                let taken = self.deployment.as_ref().is_some_and(takes);
                taken.then(|| Event::JudgeCalibrated { calibration: calibration.clone() })
            }
            Fact::Answers(round) => {
                let asked = self.deployment.as_ref().is_some_and(|running| running.monitor(now).is_some());
                asked.then(|| Event::ChecksAnswered { round: round.clone() })
            }
            Fact::World(world) => self
                .loss(world)
                .or_else(|| self.progress(world, now))
                .or_else(|| self.successor_failed(world, now))
                .or_else(|| self.departure(world, now)),
        }
    }

    /// Returns when time alone may change the answer; a moment that has passed stays until an event ends it.
    pub fn wake_at(&self) -> Option<Millis> {
        self.moments().into_iter().min()
    }

    /// Returns when time alone may change the answer next: nothing follows from a moment that has passed.
    pub fn wake_after(&self, now: Millis) -> Option<Millis> {
        self.moments().into_iter().filter(|at| *at > now).min()
    }

    fn moments(&self) -> Vec<Millis> {
        let hot = self.hot.iter().map(|hot| hot.until);
        let leaving = self.leaving.iter().filter(|leaving| !leaving.drained);
        let mut moments: Vec<_> = hot.chain(leaving.map(|leaving| self.gone_by(leaving))).collect();
        let Some(running) = &self.deployment else { return moments };
        let proof = running.phase_clock.reaches(self.proof_within());
        let deadline = running.clock.reaches(running.settings.deadline);
        match &running.phase {
            Phase::Launching => {
                moments.extend(running.phase_clock.reaches(running.candidate.spec.health.start));
                moments.extend(deadline);
            }
            Phase::Baking { step } => {
                let settings = &running.settings;
                let ends = [
                    settings.bake_min_of(*step),
                    settings.bake_of(*step),
                    settings.bake_max_of(*step),
                    settings.bake_suspected_of(*step),
                ];
                moments.extend(ends.iter().filter_map(|end| running.phase_clock.reaches(*end)));
                moments.extend(deadline);
            }
            Phase::Preparing | Phase::Verifying | Phase::Shifting { .. } => moments.extend(deadline),
            Phase::Mirroring => {
                moments.extend(running.phase_clock.reaches(running.settings.mirrored()));
                moments.extend(deadline);
            }
            Phase::Promoting => moments.extend(proof),
            Phase::Returning { .. } => {
                moments.extend(proof);
                moments.extend(running.phase_clock.reaches(RETURN_PATIENCE));
            }
        }
        moments
    }

    /// Tells whether counts are evidence now.
    pub fn is_watching(&self) -> bool {
        match &self.deployment {
            Some(running) => !matches!(running.phase, Phase::Returning { .. }),
            None => self.hot.is_some(),
        }
    }

    fn loss(&self, world: &World) -> Option<Event> {
        for (revision, presence) in &world.revisions {
            for (replica, seen) in &presence.replicas {
                if let Some(ended) = seen.exited.filter(|_| !self.knows_lost(replica)) {
                    return Some(Event::ReplicaLost { revision: *revision, replica: replica.clone(), ended });
                }
            }
        }
        self.to_replace.iter().find_map(|(revision, missing)| {
            let wanted = self.wanted_replicas(*revision).filter(|wanted| *wanted > 0)?;
            if world.ready(*revision) < wanted {
                return None;
            }
            let mut newest: Vec<_> = world.presence(*revision).ready().collect();
            newest.sort_by_key(|(_, replica)| std::cmp::Reverse(replica.launched_at));
            // Of two that took the places of two, each is named once.
            let place = (*missing as usize).clamp(1, newest.len().max(1)) - 1;
            let (replica, _) = newest.get(place)?;
            Some(Event::ReplicaReplaced { revision: *revision, replica: (*replica).clone() })
        })
    }

    pub(super) fn knows_lost(&self, replica: &ReplicaId) -> bool {
        self.lost.iter().any(|lost| lost.replica == *replica)
    }

    fn progress(&self, world: &World, now: Millis) -> Option<Event> {
        let running = self.deployment.as_ref()?;
        if self.changes_nothing(running) {
            return Some(finished(
                Outcome::Unchanged,
                world,
                running.candidate.revision,
                "this release already serves",
            ));
        }
        if let Phase::Returning { why, returned } = &running.phase {
            return self.go_back(running, why, *returned, world, now);
        }
        self.must_return(running, world, now).or_else(|| self.go_on(running, world, now))
    }

    /// Returns how long the edge may take to prove who answers, in the phases that end with that proof.
    pub(super) fn proof_within(&self) -> Millis {
        let Some(running) = &self.deployment else { return PROOF_WITHIN };
        let answers = match (&running.phase, &self.stable) {
            (Phase::Returning { .. }, Some(stable)) => stable,
            _ => &running.candidate,
        };
        let within = PROOF_WITHIN.plus(answers.spec.health.start);
        // The hook may take its time; that says nothing about the edge.
        if running.waits_for_after_hook() { within.plus(HOOK_DEADLINE) } else { within }
    }
}

pub(super) fn finished(outcome: Outcome, world: &World, revision: Revision, reason: &str) -> Event {
    let served_by = world.proof.clone().filter(|proof| proof.revision == revision);
    Event::DeploymentFinished { outcome, served_by, reason: Some(reason.to_owned()) }
}
