//! Moves a deployment forward, one phase after the other, as soon as what a phase waits for is there.
//! Assumes that nothing speaks against it: `signals` has been asked before.

use super::decide::finished;
use super::state::{AFTER_HOOK, BEFORE_HOOK, Deployment, EXPAND, Phase, State};
use super::world::World;
use crate::change::Ended;
use crate::event::{DeploymentKind, Event, Outcome, ReturnReason};
use crate::names::{Millis, Weight};
use crate::plan::{Unproven, When};

impl State {
    /// Tells whether the deployment's release is the one that serves.
    pub(super) fn changes_nothing(&self, running: &Deployment) -> bool {
        self.stable.as_ref().is_some_and(|stable| stable.revision == running.candidate.revision)
    }

    pub(super) fn go_on(&self, running: &Deployment, world: &World, now: Millis) -> Option<Event> {
        // What has run has run: its result is recorded also while the clock stands still.
        if let Some(event) = self.task_result(running, world) {
            return Some(event);
        }
        if running.stands_still() {
            // A table that was on its way is what the edge serves from: the judge must know the share it looks at.
            return match running.phase {
                Phase::Shifting { step } => self.shifted(running, step, world),
                _ => None,
            };
        }
        let revision = running.candidate.revision;
        match running.phase {
            Phase::Preparing if !running.release_stored => Some(Event::ReleaseStored {
                release: running.candidate.release.clone(),
                artifact: running.candidate.spec.artifact.clone(),
            }),
            Phase::Preparing => None,
            Phase::Launching => self.launching(running, world),
            Phase::Verifying => running.passed(When::Before).then_some(Event::CandidateVerified { revision }),
            Phase::Mirroring => running.mirrored(now),
            Phase::Shifting { step } => self.shifted(running, step, world),
            Phase::Baking { step } => self.baked(running, step, now),
            Phase::Promoting => self.promoted(running, world, now),
            Phase::Returning { .. } => None,
        }
    }

    fn task_result(&self, running: &Deployment, world: &World) -> Option<Event> {
        let (id, (ended, output)) = world.tasks.iter().find_map(|(id, result)| {
            let open = id.deployment == running.id && !running.done.contains(id);
            result.as_ref().filter(|_| open).map(|result| (id, result))
        })?;
        let output = output.clone();
        Some(match id.name.as_str() {
            BEFORE_HOOK | AFTER_HOOK => Event::HookRan { hook: id.clone(), ended: *ended, output },
            EXPAND if *ended == Ended::Code(0) => Event::MigrationExpanded { task: id.clone() },
            _ => Event::CheckRan { check: id.clone(), ended: *ended, output },
        })
    }

    fn launching(&self, running: &Deployment, world: &World) -> Option<Event> {
        let revision = running.candidate.revision;
        let wanted = self.wanted_replicas(revision)?;
        if !running.launched && world.present(revision) >= wanted {
            return Some(Event::CandidateLaunched { revision, replicas: wanted });
        }
        let ready = world.ready(revision);
        (running.launched && ready >= wanted).then_some(Event::CandidateReady { revision, replicas: ready })
    }

    fn shifted(&self, running: &Deployment, step: usize, world: &World) -> Option<Event> {
        let weight = running.settings.weight_of(step);
        let edge = world.edge.as_ref()?;
        let revision = running.candidate.revision;
        (edge.candidate == Some((revision, weight))).then_some(Event::TrafficShifted {
            revision,
            weight,
            generation: edge.generation,
        })
    }

    /// Returns what follows from the watch of a step: it is over, longer, or nothing yet.
    pub(crate) fn baked(&self, running: &Deployment, step: usize, now: Millis) -> Option<Event> {
        let watched = running.is_judged() && self.stable.is_some();
        let end = if watched { running.end_of_bake(step, now) } else { BakeEnd::Passed { proven: true } };
        match end {
            BakeEnd::NotYet | BakeEnd::Waits => None,
            BakeEnd::Extended { until } => {
                let requests = running.judge.candidate_requests();
                Some(Event::BakeExtended { step, until, requests })
            }
            BakeEnd::Passed { .. } if step < running.last_step() => Some(Event::BakePassed { step }),
            BakeEnd::Passed { proven } => running.passed(When::After).then_some(Event::Promoted {
                revision: running.candidate.revision,
                proven,
                requests: running.judge.candidate_requests(),
                probes: running.judge.probes().asked,
            }),
            BakeEnd::Unproven => {
                let requests = running.judge.candidate_requests();
                Some(Event::ReturnStarted { why: ReturnReason::Unproven { requests } })
            }
        }
    }

    fn promoted(&self, running: &Deployment, world: &World, now: Millis) -> Option<Event> {
        let hook_is_over =
            !running.waits_for_after_hook() || running.phase_clock.elapsed(now) >= self.proof_within();
        if !(running.shown(world) && hook_is_over) {
            return None;
        }
        let outcome = if running.proven { Outcome::Promoted } else { Outcome::PromotedUnproven };
        Some(finished(outcome, world, running.candidate.revision, self.why_promoted(running)))
    }

    fn why_promoted<'a>(&self, running: &'a Deployment) -> &'a str {
        match &running.reason {
            Some(reason) => reason,
            None if self.stable.is_none() => "it is the first release; there was none to compare it with",
            None if !running.proven => "too little was seen to call it as good as the release before",
            None => "it served as well as the release before",
        }
    }
}

/// How a bake stands (rollback.md 3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BakeEnd {
    NotYet,
    Extended {
        until: Millis,
    },
    Passed {
        proven: bool,
    },
    /// Nothing is proven, and nobody wants to go on without.
    Waits,
    Unproven,
}

impl Deployment {
    /// Asked when what the copies showed does not speak against the candidate.
    fn mirrored(&self, now: Millis) -> Option<Event> {
        let over = self.phase_clock.elapsed(now) >= self.settings.mirrored();
        over.then(|| Event::MirrorPassed { counts: self.mirrored.clone() })
    }

    fn end_of_bake(&self, step: usize, now: Millis) -> BakeEnd {
        let settings = &self.settings;
        let watched = self.phase_clock.elapsed(now);
        if self.hurried {
            // An operator's word is no proof.
            return BakeEnd::Passed { proven: self.judge.is_safe() || self.judge.leans_well() };
        }
        if self.judge.begins_to_fail() {
            return BakeEnd::NotYet;
        }
        if watched >= settings.bake_min_of(step) && self.judge.is_safe() {
            return BakeEnd::Passed { proven: true };
        }
        if watched < settings.bake_of(step) {
            return BakeEnd::NotYet;
        }
        let until = settings.bake_max_of(step);
        // A larger weight is no answer to evidence against the candidate: before one, it gets more time to become clear.
        let suspected = step < self.last_step() && self.judge.suspects();
        let waits = suspected && watched < settings.bake_suspected_of(step);
        if !waits && (watched >= until || self.judge.has_seen_nothing()) {
            return self.end_of_doubt(step);
        }
        if self.extended { BakeEnd::NotYet } else { BakeEnd::Extended { until } }
    }

    /// The step cannot be watched any longer. A look and an early step go on with little seen, as long as nothing speaks
    /// against it: the next one sees more.
    fn end_of_doubt(&self, step: usize) -> BakeEnd {
        let early = step < self.last_step() && self.judge.leans_no_worse();
        if early || self.judge.leans_well() {
            return BakeEnd::Passed { proven: true };
        }
        match self.settings.unproven {
            Unproven::Promote => BakeEnd::Passed { proven: false },
            Unproven::Hold => BakeEnd::Waits,
            Unproven::Return => BakeEnd::Unproven,
        }
    }

    /// Tells whether the bake is over, nothing is proven, and the settings say to wait for proof.
    pub(super) fn waits_for_proof(&self, now: Millis) -> bool {
        let Phase::Baking { step } = self.phase else { return false };
        self.is_judged() && self.end_of_bake(step, now) == BakeEnd::Waits
    }

    /// Tells whether requests may reach the candidate.
    pub fn has_weight(&self) -> bool {
        matches!(self.phase, Phase::Shifting { step } if step > 0)
            || matches!(self.phase, Phase::Baking { .. } | Phase::Promoting)
    }

    /// Tells whether the candidate is compared with stable; what goes back is not.
    pub fn is_judged(&self) -> bool {
        self.of == DeploymentKind::Deploy
    }

    /// Tells whether an operator or doubt keeps the deployment where it is.
    pub fn stands_still(&self) -> bool {
        self.paused || self.held.is_some()
    }

    pub(super) fn passed(&self, when: When) -> bool {
        self.checks(when).all(|check| self.done.contains(&self.task(&check.name)))
    }

    pub(super) fn waits_for_after_hook(&self) -> bool {
        self.phase == Phase::Promoting && self.has_after_hook() && !self.done.contains(&self.task(AFTER_HOOK))
    }

    /// Tells whether the edge sends every request to the candidate and has proven it since.
    pub(super) fn shown(&self, world: &World) -> bool {
        let revision = self.candidate.revision;
        let edge = world.edge.as_ref();
        let all = edge.is_some_and(|edge| edge.candidate == Some((revision, Weight::FULL)));
        all && self.is_proven(world, revision)
    }

    /// Tells whether this revision has answered since the routes last changed. An older proof may be of another time.
    pub(super) fn is_proven(&self, world: &World, revision: crate::names::Revision) -> bool {
        world
            .proof
            .as_ref()
            .is_some_and(|proof| proof.revision == revision && proof.generation >= self.routed_at)
    }
}
