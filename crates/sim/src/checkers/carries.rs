//! Never traffic moved to a side that cannot carry it: a raised weight finds its replicas, and so does stable when traffic
//! comes back, unless there is nothing else or it has waited long enough.

use manifest::edge::EdgeTable;
use rollout::machine::{Phase, State, World};
use rollout::names::{Generation, Millis, Weight};
use rollout::routes::RouteTable;

pub const NAME: &str = "never_traffic_to_a_side_that_cannot_carry_it";

/// How long a return waits for all of stable.
const PATIENCE: Millis = Millis::seconds(5);

/// What was so when a table was sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Claimed {
    full: u32,
    /// The settings say how many replicas are enough before full weight.
    asked: Option<u32>,
    shifting: bool,
    stands_still: bool,
    returning: bool,
    waited: Millis,
    candidate_ready: u32,
}

impl Claimed {
    pub fn of(state: &State, world: &World, now: Millis) -> Self {
        let full = state.replicas();
        let Some(running) = &state.deployment else { return Self { full, ..Self::default() } };
        Self {
            full,
            asked: running.settings.candidate_replicas,
            shifting: matches!(running.phase, Phase::Shifting { .. }),
            stands_still: running.paused || running.held.is_some(),
            returning: matches!(running.phase, Phase::Returning { .. }),
            waited: running.phase_clock.elapsed(now),
            candidate_ready: world.ready(running.candidate.revision),
        }
    }

    fn needed(self, weight: Weight) -> u32 {
        let share = (self.full * u32::from(weight.percent())).div_ceil(100).clamp(1, self.full);
        match self.asked {
            _ if weight == Weight::FULL => self.full,
            Some(asked) => asked.clamp(1, self.full),
            None => share,
        }
    }
}

pub fn check(
    before: Option<&EdgeTable>,
    routes: Option<&RouteTable>,
    at: Generation,
    claimed: Claimed,
) -> Option<String> {
    let routes = routes?;
    let was = before.and_then(|table| table.routes.candidate.as_ref());
    // The table of an owner before may arrive after its successor has looked.
    let own = before.is_some_and(|table| table.generation.epoch == at.epoch);
    match (&routes.candidate, was) {
        (Some(candidate), was) => {
            if claimed.returning && own && was.is_none_or(|was| was.weight < candidate.weight) {
                return Some(format!("what goes back gets {}", candidate.weight));
            }
            let had = was
                .filter(|was| was.arm.revision == candidate.arm.revision)
                .map_or(Weight::NONE, |was| was.weight);
            if had >= candidate.weight || !claimed.shifting {
                return None;
            }
            if claimed.stands_still {
                return Some("a weight was raised while all should stand still".to_owned());
            }
            let (there, needed) = (candidate.arm.replicas.len() as u32, claimed.needed(candidate.weight));
            (there < needed).then(|| format!("{} for {there} of {needed} replicas", candidate.weight))
        }
        (None, Some(was)) if claimed.returning => {
            if routes.stable.as_ref().is_some_and(|arm| arm.revision == was.arm.revision) {
                // It has been promoted since: what goes back is another one.
                return None;
            }
            let there = routes.stable.as_ref().map_or(0, |arm| arm.replicas.len() as u32);
            let excused = claimed.waited >= PATIENCE || claimed.candidate_ready == 0;
            (there < claimed.full && !excused)
                .then(|| format!("all comes back to {there} of {} replicas", claimed.full))
        }
        (None, _) => None,
    }
}
