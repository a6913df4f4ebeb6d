//! Finds the reasons to go back: failed tasks, hard signals, the deadline, the guard's verdict; and the reasons to hold.
//! Does not go back itself; see `departing`. The numbers are those of rollback.md 3.8.

use super::state::{Deployment, Lost, Phase, State};
use super::world::World;
use crate::event::{Event, ReturnReason, VerdictWord};
use crate::judge::{Evidence, Verdict};
use crate::mirror::Differing;
use crate::names::{Millis, Revision};

/// Exits within this window count towards a crash loop.
const CRASH_WINDOW: Millis = Millis::seconds(300);
/// Exits that make a crash loop, or half the replicas where that is more.
pub(super) const CRASH_EXITS_MIN: u32 = 3;
/// Exits that make one where a single replica is wanted.
const CRASH_EXITS_SINGLE: u32 = 2;
/// Without counts of a candidate that has weight: doubt, then return.
const SILENT_HOLD_SECONDS: u64 = 15;
const SILENT_RETURN_SECONDS: u64 = 120;

impl State {
    /// Returns the most certain reason to go back, as an event.
    pub(super) fn must_return(&self, running: &Deployment, world: &World, now: Millis) -> Option<Event> {
        if let Some(why) = running.condemned.as_ref().or(running.failed.as_ref()) {
            return Some(Event::ReturnStarted { why: why.clone() });
        }
        if let Some((rule, why)) = self.hard_signal(running, world, now) {
            return Some(if running.has_weight() {
                Event::VerdictReached { verdict: VerdictWord::Worse, evidence: Evidence::signal(rule), why }
            } else {
                Event::ReturnStarted { why }
            });
        }
        if let Some(why) = self.out_of_time(running, world, now) {
            return Some(Event::ReturnStarted { why });
        }
        self.guarded(running, world, now)
    }

    fn out_of_time(&self, running: &Deployment, world: &World, now: Millis) -> Option<ReturnReason> {
        if running.phase == Phase::Promoting {
            let waited = running.phase_clock.elapsed(now);
            let late = waited >= self.proof_within() && !running.shown(world);
            return late.then_some(ReturnReason::NotProven { waited });
        }
        let deadline = running.settings.deadline;
        (running.clock.elapsed(now) >= deadline).then_some(ReturnReason::DeadlinePassed { after: deadline })
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
        if exits >= self.crash_loop_from(revision) {
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
        let excused = self.neither_is_ready(running, world) || running.recovers(world);
        if running.has_weight() && is_lost(revision, world) && !excused {
            return Some(("candidate lost", ReturnReason::CandidateLost));
        }
        let silent = running.judge.silent_seconds();
        (running.has_weight() && silent >= SILENT_RETURN_SECONDS)
            .then_some(("telemetry lost", ReturnReason::TelemetryLost { silent: Millis::seconds(silent) }))
    }

    /// Returns how many replicas of a revision have ended by themselves lately. Of a candidate, since its deployment began:
    /// what became of it when it served before is no reason not to go back to it.
    pub(super) fn exits(&self, revision: Revision, now: Millis) -> u32 {
        let running = self.deployment.as_ref().filter(|running| running.candidate.revision == revision);
        let from = running.map_or(Millis(0), |running| running.clock.started());
        let lately =
            |lost: &&Lost| lost.revision == revision && lost.at >= from && now.since(lost.at) < CRASH_WINDOW;
        self.lost.iter().filter(lately).count() as u32
    }

    fn crash_loop_from(&self, revision: Revision) -> u32 {
        let wanted = self.wanted_replicas(revision).unwrap_or(1);
        if wanted == 1 { CRASH_EXITS_SINGLE } else { CRASH_EXITS_MIN.max(wanted.div_ceil(2)) }
    }

    /// Returns what the judge and the named checks say: back, or hold, or that a hold is over.
    fn guarded(&self, running: &Deployment, world: &World, now: Millis) -> Option<Event> {
        if running.phase == Phase::Mirroring {
            return running.mirror_speaks(now);
        }
        let steps = matches!(running.phase, Phase::Baking { .. } | Phase::Shifting { .. });
        if self.stable.is_none() || !(steps || running.phase == Phase::Promoting) {
            return None;
        }
        let doubt = self.doubt(running, world, now).filter(|_| steps);
        if running.held.is_some() && doubt.is_none() {
            return Some(Event::HoldEnded);
        }
        if let Some((verdict, why)) = running.worse() {
            return Some(Event::VerdictReached { verdict: verdict.word, evidence: verdict.evidence, why });
        }
        if let Some(finding) = running.judge.finding().filter(|_| running.is_judged()) {
            return Some(Event::FindingReported { finding });
        }
        let why = doubt.filter(|_| running.held.is_none())?;
        Some(Event::Held { why })
    }

    /// Doubt freezes the weight: a fault both versions share, or counts that do not come. An operator may overrule it.
    fn doubt(&self, running: &Deployment, world: &World, now: Millis) -> Option<String> {
        if running.hurried {
            return None;
        }
        let judge = &running.judge;
        if running.has_weight() && judge.silent_seconds() >= SILENT_HOLD_SECONDS {
            return Some("the edge reports no counts".to_owned());
        }
        if running.is_judged() && judge.shared_fault() {
            return Some("stable fails as well: this is not the release's fault".to_owned());
        }
        if running.is_judged() && judge.is_excused() {
            return Some("stable is not well either: this is not the release's fault".to_owned());
        }
        if let Some(check) = running.check_both_fail() {
            return Some(format!("{check} fails on stable as well: this is not the release's fault"));
        }
        // A sticky client keeps its side with all its requests: then the share is one of clients.
        let drawn = running.is_judged() && running.settings.sticky.is_none();
        if drawn && running.has_weight() && judge.share_mismatch() {
            return Some("the candidate does not get the share of the requests it should".to_owned());
        }
        if running.has_weight() && running.recovers(world) {
            return Some("the candidate is not ready again yet".to_owned());
        }
        if running.has_weight() && self.neither_is_ready(running, world) {
            return Some("stable is not ready either: this is not the release's fault".to_owned());
        }
        running.waits_for_proof(now).then(|| {
            let requests = judge.candidate_requests();
            format!("too little is known after {requests} request(s): send some, or `medeclipse promote`")
        })
    }

    /// Tells whether both versions run and neither is ready: something they share has failed. Their probes are not asked
    /// in the same moment, so stable need not have failed as often as it may.
    fn neither_is_ready(&self, running: &Deployment, world: &World) -> bool {
        let Some(stable) = &self.stable else { return false };
        let candidate = running.candidate.revision;
        let stuck = world.present(candidate) > 0 && world.ready(candidate) == 0;
        stuck && world.present(stable.revision) > 0 && world.steady(stable.revision) == 0
    }
}

impl Deployment {
    /// Returns the hold that copied requests ask for, or its end: more of them came, and fewer of all differ.
    fn mirror_speaks(&self, now: Millis) -> Option<Event> {
        let mirror = self.settings.mirror.as_ref().filter(|mirror| mirror.differing == Differing::Hold)?;
        let over = self.phase_clock.elapsed(now) >= mirror.during;
        match self.mirrored.objection(mirror, over) {
            Some(why) if self.held.is_none() => Some(Event::Held { why }),
            None if self.held.is_some() => Some(Event::HoldEnded),
            _ => None,
        }
    }

    /// Returns the verdict against the candidate, and why, if there is one.
    pub(crate) fn worse(&self) -> Option<(Verdict, ReturnReason)> {
        if !self.is_judged() {
            return None;
        }
        let verdict = self.judge.verdict();
        if verdict.word == VerdictWord::Worse {
            return Some((verdict, ReturnReason::Worse));
        }
        let why = self.checks_failing()?;
        let evidence = Evidence { rule: "named checks".to_owned(), ..verdict.evidence };
        Some((Verdict { word: VerdictWord::Worse, evidence }, why))
    }

    /// Tells whether a candidate that is held runs and is not ready again yet. What both versions lacked comes back for
    /// one before the other: that is no fault. Meanwhile its requests go to stable; the deadline bounds the wait.
    fn recovers(&self, world: &World) -> bool {
        let revision = self.candidate.revision;
        self.held.is_some() && world.present(revision) > 0 && world.ready(revision) == 0
    }
}

/// Tells whether a revision that was looked for has no ready replica.
pub(super) fn is_lost(revision: Revision, world: &World) -> bool {
    world.revisions.contains_key(&revision) && world.ready(revision) == 0
}
