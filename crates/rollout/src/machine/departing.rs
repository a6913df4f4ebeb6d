//! Takes things away: the traffic of a candidate that goes back, the hot revision when its time is over, the last processes.
//! Never takes what requests still use, except after the bound that drains have.

use super::decide::finished;
use super::signals::{CRASH_EXITS_MIN, is_lost};
use super::state::{Deployment, Leaving, State};
use super::world::World;
use crate::event::{DeploymentKind, Event, Outcome, ReturnReason, VerdictWord};
use crate::names::Millis;

/// How long after its end a kept connection may still hold a revision: the edge cuts it, the count follows.
const DRAIN_SLACK: Millis = Millis::seconds(2);

impl State {
    pub(super) fn go_back(
        &self,
        running: &Deployment,
        why: &ReturnReason,
        returned: bool,
        world: &World,
        now: Millis,
    ) -> Option<Event> {
        let reason = why.to_string();
        let Some(stable) = &self.stable else {
            let reason = format!("{reason}; nothing served before it");
            let outcome = outcome_of(why, Outcome::UnprovenReturn);
            return Some(finished(outcome, &World::default(), running.candidate.revision, &reason));
        };
        // A table from before the return may still be overtaken by one that was on its way to the edge.
        let back = world.edge.as_ref().filter(|edge| {
            edge.stable == Some(stable.revision)
                && edge.candidate.is_none()
                && edge.generation >= running.routed_at
        });
        if let Some(edge) = back.filter(|_| !returned) {
            return Some(Event::TrafficReturned { revision: stable.revision, generation: edge.generation });
        }
        let proven = running.is_proven(world, stable.revision) && world.ready(stable.revision) > 0;
        if returned && proven {
            return Some(finished(outcome_of(why, Outcome::RolledBack), world, stable.revision, &reason));
        }
        let late = running.phase_clock.elapsed(now) >= self.proof_within();
        late.then(|| {
            let reason = format!("{reason}; stable could not show that it answers");
            finished(Outcome::UnprovenReturn, &World::default(), stable.revision, &reason)
        })
    }

    /// The watch goes on while the former revision is hot: a successor that breaks is flipped back.
    pub(super) fn successor_failed(&self, world: &World, now: Millis) -> Option<Event> {
        let (None, Some(hot), Some(stable)) = (&self.deployment, &self.hot, &self.stable) else {
            return None;
        };
        // Back to what is healthy now: a hot revision that is not ready, or no longer steadily, is no place to go.
        if world.steady(hot.placed.revision) < self.replicas() || now >= hot.until {
            return None;
        }
        let verdict = hot.judge.verdict();
        let exits = self.exits(stable.revision, now);
        let reason = if is_lost(stable.revision, world) {
            ReturnReason::CandidateLost.to_string()
        } else if exits >= CRASH_EXITS_MIN {
            ReturnReason::CrashLoop { exits }.to_string()
        } else if verdict.word == VerdictWord::Worse {
            format!("{}: {}", ReturnReason::Worse, verdict.evidence)
        } else {
            return None;
        };
        Some(self.requested(
            DeploymentKind::Return,
            format!("return-{}", self.seq.saturating_add(1)),
            hot.placed.clone(),
            self.settings_back(),
            &self.stable_folder,
            Some(reason),
        ))
    }

    /// What is on its way out: the hot revision's time, the last requests, the last processes.
    pub(super) fn departure(&self, world: &World, now: Millis) -> Option<Event> {
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
            if leaving.drained {
                // Whoever cannot look cannot say that nothing is left.
                let gone = !world.stale && world.present(revision) == 0;
                return gone.then_some(Event::CandidateRemoved { revision });
            }
            let idle = world.edge.as_ref().is_some_and(|edge| {
                edge.candidate.is_none_or(|(candidate, _)| candidate != revision)
                    && edge.stable != Some(revision)
                    && edge.in_flight.get(&revision).is_none_or(|count| *count == 0)
            });
            (idle || now >= self.gone_by(leaving)).then_some(Event::Drained { revision })
        })
    }

    /// Returns when the edge has cut the last request of a revision that leaves.
    pub(super) fn gone_by(&self, leaving: &Leaving) -> Millis {
        let kept = self.stable_rollout.connections.kept().map(|kept| leaving.since.plus(kept));
        kept.map_or(leaving.until, |kept| kept.max(leaving.until)).plus(DRAIN_SLACK)
    }
}

/// Returns how a deployment that went back ended: as asked, where somebody asked.
fn outcome_of(why: &ReturnReason, by_itself: Outcome) -> Outcome {
    match why {
        ReturnReason::Aborted => Outcome::Aborted,
        ReturnReason::Superseded => Outcome::Superseded,
        _ => by_itself,
    }
}
