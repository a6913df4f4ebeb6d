//! What must happen happens in time, where an engine can see and write: phases end, what speaks against a release is acted
//! upon, traffic comes back to what can carry it, what was kept is let go. One look a second.

use crate::world::World;
use rollout::event::{DeploymentKind, VerdictWord};
use rollout::machine::{Deployment, Phase};
use rollout::names::{Millis, Revision};
use std::collections::BTreeMap;

pub const NAME: &str = "what_must_happen_happens_in_time";

/// How long the edge may take to show who answers, beside the start of a replica.
const PROOF_WITHIN: Millis = Millis::seconds(30);
/// A hook may take so long.
const HOOK_WITHIN: Millis = Millis::seconds(600);
/// Beyond each bound: looks come every second, and an engine may just have come back.
const SLACK: Millis = Millis::seconds(10);
/// Seconds in a row in which an engine could do everything it must.
const ABLE: u32 = 10;
/// Silence that ends a deployment.
const SILENCE: u64 = 120;

/// How many seconds in a row something has been so.
#[derive(Debug, Default)]
pub struct Streaks(BTreeMap<&'static str, u32>);

impl Streaks {
    fn count(&mut self, what: &'static str, is_so: bool) -> u32 {
        let seconds = self.0.entry(what).or_default();
        *seconds = if is_so { *seconds + 1 } else { 0 };
        *seconds
    }
}

/// Something that may not be so for more than so many seconds in a row.
struct Overdue {
    what: &'static str,
    is_so: bool,
    seconds: u32,
}

impl Overdue {
    fn new(what: &'static str, seconds: u32, is_so: bool) -> Self {
        Self { what, is_so, seconds }
    }
}

impl World {
    /// Looks once a second.
    pub(crate) fn look_for_overdue(&mut self) {
        let mut streaks = std::mem::take(&mut self.ledger.streaks);
        let able = streaks.count("able", self.has_able_owner()) >= ABLE;
        let sees = streaks.count("sees", self.sees_all()) >= ABLE;
        let mut found = Vec::new();
        for overdue in self.overdue(sees) {
            let seconds = streaks.count(overdue.what, overdue.is_so && able);
            if seconds > overdue.seconds {
                found.push(format!("{} for {seconds} s", overdue.what));
            }
        }
        self.ledger.streaks = streaks;
        self.fail(NAME, found.into_iter().next());
    }

    fn overdue(&self, sees: bool) -> Vec<Overdue> {
        let mut all = self.kept_too_long(sees);
        match &self.ledger.told.deployment {
            Some(running) => {
                all.push(Overdue::new("a phase has lasted too long", 0, self.outlasts(running)));
                all.extend(self.against(running, sees));
            }
            None => all.push(Overdue::new(
                "the successor of a hot revision fails and stays",
                4,
                sees && self.successor_fails(),
            )),
        }
        all
    }

    fn now_by_owner(&self) -> Millis {
        self.owner().map_or(self.now, |owner| self.clock(owner))
    }

    fn outlasts(&self, running: &Deployment) -> bool {
        if self.is_set() || self.ledger.follow.paused {
            return false;
        }
        let now = self.now_by_owner();
        let follow = &self.ledger.follow;
        let phase = follow.phase.elapsed(now);
        let proof = |start: Millis| PROOF_WITHIN.plus(start).plus(SLACK);
        let start = running.candidate.spec.health.start;
        match running.phase {
            Phase::Returning { .. } => {
                let stable = self.ledger.told.stable.as_ref();
                phase > proof(stable.map_or(Millis(0), |stable| stable.spec.health.start))
            }
            Phase::Promoting => {
                let hook = running.of != DeploymentKind::Return
                    && !running.settings.hooks.after_deploy.is_empty()
                    && !follow.passed.contains(&running.task("after_deploy"));
                phase > proof(start).plus(if hook { HOOK_WITHIN } else { Millis(0) })
            }
            Phase::Launching if phase > start.plus(SLACK) => true,
            Phase::Mirroring if !follow.held && phase > running.settings.mirrored().plus(SLACK) => true,
            _ => follow.deployment.elapsed(now) > running.settings.deadline.plus(SLACK),
        }
    }

    /// Returns what speaks against a candidate and has not been acted upon.
    fn against(&self, running: &Deployment, sees: bool) -> Vec<Overdue> {
        let follow = &self.ledger.follow;
        let told = &self.ledger.told;
        let candidate = running.candidate.revision;
        let goes = !matches!(running.phase, Phase::Returning { .. });
        let weighs = matches!(running.phase, Phase::Baking { .. } | Phase::Promoting)
            || matches!(running.phase, Phase::Shifting { step } if step > 0);
        let judged = running.of == DeploymentKind::Deploy && told.stable.is_some();
        let replicas = told.wanted_replicas(candidate).unwrap_or(1);
        let loop_from = if replicas == 1 { 2 } else { replicas.max(3) };
        let exits = follow.exits(candidate, self.now_by_owner());
        let worse = judged && weighs && running.judge.verdict().word == VerdictWord::Worse;
        let carries = self.serves_all(told.stable.as_ref().map(|stable| stable.revision));
        let lost = weighs && !follow.held && !self.listens(candidate) && carries;
        let refused = self.refused() == Some(candidate) && !running.launched;
        let returning = matches!(running.phase, Phase::Returning { returned: false, .. });
        vec![
            Overdue::new("the judge has called the candidate worse, and it stays", 3, worse),
            Overdue::new(
                "the candidate crashes again and again, and stays",
                3,
                goes && exits >= loop_from && !self.is_set(),
            ),
            Overdue::new(
                "the candidate has requests and no replica that listens, and stays",
                0,
                sees && lost,
            ),
            Overdue::new(
                "nothing has been counted for two minutes, and the candidate stays",
                3,
                weighs && follow.silent >= SILENCE,
            ),
            Overdue::new("its launch was refused, and the candidate stays", 3, goes && refused),
            Overdue::new(
                "stable is ready, and the traffic does not come back",
                12,
                sees && returning && carries,
            ),
        ]
    }

    /// Returns what should have been let go.
    fn kept_too_long(&self, sees: bool) -> Vec<Overdue> {
        let told = &self.ledger.told;
        let now = self.now_by_owner();
        let hot = told.hot.as_ref().and_then(|hot| self.ledger.follow.hot_until.get(&hot.placed.revision));
        let idle = told.deployment.is_none() && !self.is_set();
        let late = hot.is_some_and(|until| now > until.plus(SLACK));
        let silent = told.stable.as_ref().filter(|_| !self.is_set()).is_some_and(|stable| {
            let bound = stable.spec.health.start.plus(SLACK);
            let mut replicas = self.machines.running(stable.revision);
            replicas.any(|one| !one.listens(self.now) && self.now.since(one.launched_at) > bound)
        });
        // An order to stop it may be on its way for long.
        let arrives = self.now > self.ledger.disturbed_until;
        vec![
            Overdue::new("a former revision is kept beyond its time", 0, idle && late),
            Overdue::new("a replica of stable never listens, and stays", 0, sees && arrives && silent),
        ]
    }

    fn successor_fails(&self) -> bool {
        let told = &self.ledger.told;
        let (Some(hot), Some(stable)) = (&told.hot, &told.stable) else { return false };
        let now = self.now_by_owner();
        let time = self
            .ledger
            .follow
            .hot_until
            .get(&hot.placed.revision)
            .is_some_and(|until| now.plus(Millis(2000)) < *until);
        let fails = self.ledger.follow.exits(stable.revision, now) >= 3
            || hot.judge.verdict().word == VerdictWord::Worse
            || self.ready(stable.revision) == 0;
        time && fails && !self.is_set() && self.serves_all(Some(hot.placed.revision))
    }

    fn ready(&self, revision: Revision) -> usize {
        self.machines.running(revision).filter(|replica| replica.is_ready(self.now)).count()
    }

    fn listens(&self, revision: Revision) -> bool {
        self.machines.running(revision).any(|replica| replica.listens(self.now))
    }

    /// Tells whether all replicas of a revision answer, and have for a while.
    fn serves_all(&self, revision: Option<Revision>) -> bool {
        let Some(revision) = revision else { return false };
        let steady = self.machines.running(revision).filter(|replica| {
            replica.is_ready(self.now)
                && replica.fate.flaps_every.is_none()
                && self.now.since(replica.launched_at)
                    > Millis(u64::from(replica.fate.ready_after.unwrap_or(0)) + 3000)
        });
        steady.count() as u32 >= self.ledger.told.replicas()
    }
}
