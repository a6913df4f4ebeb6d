//! Judges facts: the next event that follows, or none. Asked again after every event until nothing follows.
//! Changes nothing and waits for nothing; time comes in as `now`, and `wake_at` says when to ask again.

use super::state::{AFTER_HOOK, BEFORE_HOOK, Deployment, EXPAND, Phase, State};
use super::world::World;
use crate::change::Ended;
use crate::event::{DeploymentKind, Event, Outcome, ReturnReason, VerdictWord};
use crate::judge::{Evidence, Record};
use crate::names::{Millis, Revision};
use crate::plan::When;
use serde::{Deserialize, Serialize};

/// Something the core is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Fact {
    /// This is what is there.
    World(Box<World>),
    /// This was counted in one second.
    Sample(Record),
}

/// Exits within this window count towards a crash loop (rollback.md 3.8).
const CRASH_WINDOW: Millis = Millis::seconds(300);
/// Exits that make a crash loop, or half the replicas where that is more.
const CRASH_EXITS_MIN: u32 = 3;
/// Exits that make one where a single replica is wanted.
const CRASH_EXITS_SINGLE: u32 = 2;
/// Without counts of a candidate that has weight: doubt, then return (rollback.md 3.8).
const SILENT_HOLD_SECONDS: u64 = 15;
const SILENT_RETURN_SECONDS: u64 = 120;
/// How long the edge may take to show who answers, beyond the time a replica may take to start.
const PROOF_WITHIN: Millis = Millis::seconds(30);
/// How long after its end a kept connection may still hold a revision: the edge cuts it, the count follows.
const DRAIN_SLACK: Millis = Millis::seconds(2);

impl State {
    /// Returns the next event that follows from a fact.
    pub fn decide(&self, fact: &Fact, now: Millis) -> Option<Event> {
        match fact {
            Fact::Sample(record) => self.is_watching().then_some(Event::EvidenceAdded { record: *record }),
            Fact::World(world) => self
                .loss(world)
                .or_else(|| self.progress(world, now))
                .or_else(|| self.successor_failed(world, now))
                .or_else(|| self.departure(world, now)),
        }
    }

    /// Returns when time alone may change the answer.
    pub fn wake_at(&self) -> Option<Millis> {
        let hot = self.hot.iter().map(|hot| hot.until);
        let leaving =
            self.leaving.iter().filter(|leaving| !leaving.drained).map(|leaving| self.gone_by(leaving));
        let running = self.deployment.iter().flat_map(Deployment::moments);
        hot.chain(leaving).chain(running).min()
    }

    /// Tells whether counts are evidence now.
    pub fn is_watching(&self) -> bool {
        match &self.deployment {
            Some(running) => !matches!(running.phase, Phase::Returning { .. } | Phase::Promoting),
            None => self.hot.is_some(),
        }
    }

    fn loss(&self, world: &World) -> Option<Event> {
        for (revision, presence) in &world.revisions {
            for (replica, seen) in &presence.replicas {
                let known = self.lost.iter().any(|lost| lost.replica == *replica);
                if let Some(ended) = seen.exited.filter(|_| !known) {
                    return Some(Event::ReplicaLost { revision: *revision, replica: replica.clone(), ended });
                }
            }
        }
        let (revision, wanted) = self.to_replace.iter().find_map(|(revision, _)| {
            let wanted = self.wanted_replicas(*revision)?;
            (world.ready(*revision) >= wanted).then_some((*revision, wanted))
        })?;
        let newest = world.presence(revision).ready().max_by_key(|(_, replica)| replica.launched_at)?;
        (wanted > 0).then(|| Event::ReplicaReplaced { revision, replica: newest.0.clone() })
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

    fn changes_nothing(&self, running: &Deployment) -> bool {
        self.stable.as_ref().is_some_and(|stable| stable.revision == running.candidate.revision)
    }

    /// Hard signals and the guard: every reason to go back, the most certain first.
    fn must_return(&self, running: &Deployment, world: &World, now: Millis) -> Option<Event> {
        if let Some(why) = running.condemned.as_ref().or(running.failed.as_ref()) {
            return Some(Event::ReturnStarted { why: why.clone() });
        }
        if running.phase == Phase::Promoting {
            let waited = running.phase_clock.elapsed(now);
            let within = PROOF_WITHIN.plus(running.candidate.spec.health.start);
            return (waited >= within)
                .then_some(Event::ReturnStarted { why: ReturnReason::NotProven { waited } });
        }
        let signal = self.hard_signal(running, world, now);
        if let Some((rule, why)) = signal {
            return Some(if running.has_weight() {
                Event::VerdictReached { verdict: VerdictWord::Worse, evidence: Evidence::signal(rule), why }
            } else {
                Event::ReturnStarted { why }
            });
        }
        let deadline = running.settings.deadline;
        if running.clock.elapsed(now) >= deadline {
            return Some(Event::ReturnStarted { why: ReturnReason::DeadlinePassed { after: deadline } });
        }
        self.guarded(running)
    }

    fn hard_signal(
        &self,
        running: &Deployment,
        world: &World,
        now: Millis,
    ) -> Option<(&'static str, ReturnReason)> {
        let revision = running.candidate.revision;
        if let Some((refused, why)) = &world.refused
            && *refused == revision
            && !running.launched
        {
            return Some(("launch refused", ReturnReason::LaunchRefused { why: why.clone() }));
        }
        let exits = self.exits(revision, now);
        let wanted = self.wanted_replicas(revision).unwrap_or(1);
        let limit = if wanted == 1 { CRASH_EXITS_SINGLE } else { CRASH_EXITS_MIN.max(wanted.div_ceil(2)) };
        if exits >= limit {
            return Some(("crash loop", ReturnReason::CrashLoop { exits }));
        }
        if running.phase == Phase::Launching && !running.paused {
            let waited = running.phase_clock.elapsed(now);
            let late = waited >= running.candidate.spec.health.start;
            return late.then_some(("never ready", ReturnReason::NeverReady { waited }));
        }
        if !running.launched || running.phase == Phase::Launching {
            return None;
        }
        if let Some((replica, _)) = world.presence(revision).running().find(|(_, replica)| replica.failing) {
            return Some(("liveness failing", ReturnReason::LivenessFailing { replica: replica.clone() }));
        }
        if running.has_weight() && world.ready(revision) == 0 && world.revisions.contains_key(&revision) {
            return Some(("candidate lost", ReturnReason::CandidateLost));
        }
        let silent = running.guard.silent_seconds();
        (running.has_weight() && silent >= SILENT_RETURN_SECONDS)
            .then_some(("telemetry lost", ReturnReason::TelemetryLost { silent: Millis::seconds(silent) }))
    }

    fn exits(&self, revision: Revision, now: Millis) -> u32 {
        self.lost.iter().filter(|lost| lost.revision == revision && now.since(lost.at) < CRASH_WINDOW).count()
            as u32
    }

    fn guarded(&self, running: &Deployment) -> Option<Event> {
        if !matches!(running.phase, Phase::Baking { .. } | Phase::Shifting { .. }) || self.stable.is_none() {
            return None;
        }
        let doubt = self.doubt(running);
        match (&running.held, doubt) {
            (None, Some(why)) => return Some(Event::Held { why }),
            (Some(_), None) => return Some(Event::HoldEnded),
            _ => {}
        }
        let verdict = running.guard.verdict(&running.settings.judge);
        (verdict.word == VerdictWord::Worse && running.held.is_none() && judged(running)).then_some(
            Event::VerdictReached {
                verdict: verdict.word,
                evidence: verdict.evidence,
                why: ReturnReason::Worse,
            },
        )
    }

    /// Doubt freezes the weight: a fault both versions share, or counts that do not come.
    fn doubt(&self, running: &Deployment) -> Option<String> {
        if running.has_weight() && running.guard.silent_seconds() >= SILENT_HOLD_SECONDS {
            return Some("the edge reports no counts".to_owned());
        }
        let both = judged(running) && running.guard.stable_fails_too(&running.settings.judge);
        both.then(|| "stable fails as well: this is not the release's fault".to_owned())
    }

    fn go_on(&self, running: &Deployment, world: &World, now: Millis) -> Option<Event> {
        // What has run has run: its result is recorded also while the clock stands still.
        if let Some(event) = self.task_result(running, world) {
            return Some(event);
        }
        if running.paused || running.held.is_some() {
            return None;
        }
        let revision = running.candidate.revision;
        match running.phase {
            Phase::Preparing if !running.release_stored => Some(Event::ReleaseStored {
                release: running.candidate.release.clone(),
                artifact: running.candidate.spec.artifact.clone(),
            }),
            Phase::Preparing => None,
            Phase::Launching => self.launching(running, world),
            Phase::Verifying => {
                let passed = running
                    .checks(When::Before)
                    .all(|check| running.done.contains(&running.task(&check.name)));
                passed.then_some(Event::CandidateVerified { revision })
            }
            Phase::Shifting { step } => self.shifted(running, step, world),
            Phase::Baking { step } => self.baked(running, step, now),
            Phase::Promoting => self.promoted(running, world),
            Phase::Returning { .. } => None,
        }
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
        let weight = *running.settings.steps.get(step)?;
        let edge = world.edge.as_ref()?;
        let revision = running.candidate.revision;
        (edge.candidate == Some((revision, weight))).then_some(Event::TrafficShifted {
            revision,
            weight,
            generation: edge.generation,
        })
    }

    fn baked(&self, running: &Deployment, step: usize, now: Millis) -> Option<Event> {
        let judged = judged(running) && self.stable.is_some();
        let passed =
            !judged || running.hurried || running.phase_clock.elapsed(now) >= running.settings.bake_of(step);
        if !passed {
            return None;
        }
        if step < running.last_step() {
            return Some(Event::BakePassed { step });
        }
        let checked =
            running.checks(When::After).all(|check| running.done.contains(&running.task(&check.name)));
        let requests = running.guard.candidate_requests();
        let verdict = running.guard.verdict(&running.settings.judge).word;
        let proven = !judged || verdict == VerdictWord::BetterOrEqual;
        checked.then_some(Event::Promoted { revision: running.candidate.revision, proven, requests })
    }

    fn promoted(&self, running: &Deployment, world: &World) -> Option<Event> {
        let revision = running.candidate.revision;
        let shown = world.edge.as_ref().and_then(|edge| edge.candidate);
        let all = shown.is_some_and(|(shown, weight)| shown == revision && weight.percent() == 100);
        let proven = world.proof.as_ref().is_some_and(|proof| proof.revision == revision);
        let hook = !running.has_after_hook() || running.done.contains(&running.task(AFTER_HOOK));
        if !(all && proven && hook) {
            return None;
        }
        let outcome = if running.proven { Outcome::Promoted } else { Outcome::PromotedUnproven };
        let reason = running.reason.as_deref().unwrap_or(match outcome {
            Outcome::Promoted => "it served as well as the release before",
            _ => "too few requests came to judge it",
        });
        Some(finished(outcome, world, revision, reason))
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

    fn go_back(
        &self,
        running: &Deployment,
        why: &ReturnReason,
        returned: bool,
        world: &World,
        now: Millis,
    ) -> Option<Event> {
        let reason = why.to_string();
        let Some(stable) = &self.stable else {
            return Some(finished(
                Outcome::UnprovenReturn,
                &World::default(),
                running.candidate.revision,
                &format!("{reason}; nothing served before it"),
            ));
        };
        let edge = world.edge.as_ref();
        if !returned {
            let back = edge.filter(|edge| edge.stable == Some(stable.revision) && edge.candidate.is_none());
            if let Some(edge) = back {
                return Some(Event::TrafficReturned {
                    revision: stable.revision,
                    generation: edge.generation,
                });
            }
        }
        let proven = world.proof.as_ref().is_some_and(|proof| proof.revision == stable.revision);
        if returned && proven && world.ready(stable.revision) > 0 {
            let outcome = match why {
                ReturnReason::Aborted => Outcome::Aborted,
                ReturnReason::Superseded => Outcome::Superseded,
                _ => Outcome::RolledBack,
            };
            return Some(finished(outcome, world, stable.revision, &reason));
        }
        let late = running.phase_clock.elapsed(now) >= PROOF_WITHIN.plus(stable.spec.health.start);
        late.then(|| finished(Outcome::UnprovenReturn, &World::default(), stable.revision, &reason))
    }

    /// The watch goes on while the former revision is hot: a successor that breaks is flipped back.
    fn successor_failed(&self, world: &World, now: Millis) -> Option<Event> {
        let (None, Some(hot), Some(stable)) = (&self.deployment, &self.hot, &self.stable) else {
            return None;
        };
        if world.ready(hot.placed.revision) < self.replicas() || now >= hot.until {
            return None;
        }
        let settings = &self.stable_rollout.judge;
        let verdict = hot.guard.verdict(settings);
        let lost = world.revisions.contains_key(&stable.revision) && world.ready(stable.revision) == 0;
        let looping = self.exits(stable.revision, now) >= CRASH_EXITS_MIN;
        let reason = if lost {
            ReturnReason::CandidateLost.to_string()
        } else if looping {
            ReturnReason::CrashLoop { exits: self.exits(stable.revision, now) }.to_string()
        } else if verdict.word == VerdictWord::Worse {
            format!("{}: {}", ReturnReason::Worse, verdict.evidence)
        } else {
            return None;
        };
        let key = format!("return-{}", self.seq + 1);
        Some(self.requested(
            DeploymentKind::Return,
            key,
            hot.placed.clone(),
            self.settings_back(),
            ".",
            Some(reason),
        ))
    }

    /// What is on its way out: the hot revision's time, the last requests, the last processes.
    fn departure(&self, world: &World, now: Millis) -> Option<Event> {
        if let Some(hot) = &self.hot {
            let wanted = self
                .deployment
                .as_ref()
                .is_some_and(|running| running.candidate.revision == hot.placed.revision);
            let newer = self.deployment.is_some() && !wanted;
            if newer || (!wanted && now >= hot.until) {
                return Some(Event::RevisionRetired { revision: hot.placed.revision });
            }
        }
        self.leaving.iter().find_map(|leaving| {
            let revision = leaving.placed.revision;
            if !leaving.drained {
                let idle = world.edge.as_ref().is_some_and(|edge| {
                    edge.candidate.is_none_or(|(candidate, _)| candidate != revision)
                        && edge.stable != Some(revision)
                        && edge.in_flight.get(&revision).is_none_or(|count| *count == 0)
                });
                return (idle || now >= self.gone_by(leaving)).then_some(Event::Drained { revision });
            }
            (world.present(revision) == 0).then_some(Event::CandidateRemoved { revision })
        })
    }

    fn gone_by(&self, leaving: &super::state::Leaving) -> Millis {
        let kept = leaving.since.plus(self.stable_rollout.connections.ceiling);
        let keeps = self.stable_rollout.connections.keeps_any();
        let end = if keeps { leaving.until.max(kept) } else { leaving.until };
        end.plus(DRAIN_SLACK)
    }
}

impl Deployment {
    /// Tells whether requests may reach the candidate.
    pub fn has_weight(&self) -> bool {
        matches!(self.phase, Phase::Shifting { step } if step > 0)
            || matches!(self.phase, Phase::Baking { .. } | Phase::Promoting)
    }

    fn moments(&self) -> impl Iterator<Item = Millis> {
        let deadline = self.clock.reaches(self.settings.deadline);
        let phase = match &self.phase {
            Phase::Launching => self.phase_clock.reaches(self.candidate.spec.health.start),
            Phase::Baking { step } => self.phase_clock.reaches(self.settings.bake_of(*step)),
            Phase::Promoting | Phase::Returning { .. } => {
                self.phase_clock.reaches(PROOF_WITHIN.plus(self.candidate.spec.health.start))
            }
            Phase::Preparing | Phase::Verifying | Phase::Shifting { .. } => None,
        };
        deadline.into_iter().chain(phase)
    }
}

fn judged(running: &Deployment) -> bool {
    running.of == DeploymentKind::Deploy
}

fn finished(outcome: Outcome, world: &World, revision: Revision, reason: &str) -> Event {
    let served_by = world.proof.clone().filter(|proof| proof.revision == revision);
    Event::DeploymentFinished { outcome, served_by, reason: Some(reason.to_owned()) }
}
