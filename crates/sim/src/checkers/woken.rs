//! Time alone changes something only when the engine has said that it will: it sleeps until then, and nobody else wakes it.

use rollout::machine::{Fact, Phase, State, World};
use rollout::names::Millis;

pub const NAME: &str = "time_alone_changes_only_what_was_announced";

/// The world as an engine last saw it, with nothing left to decide.
#[derive(Debug)]
pub struct Before {
    pub world: World,
    pub at: Millis,
    pub seq: u64,
}

pub fn check(before: &Before, state: &State, fact: &Fact, now: Millis) -> Option<String> {
    let Fact::World(world) = fact else { return None };
    if state.seq != before.seq || before.world != **world {
        return None;
    }
    if state.wake_after(before.at).is_some_and(|at| at <= now) {
        return None;
    }
    if let Some(event) = state.decide(fact, now)
        && state.decide(fact, before.at).is_none()
    {
        return Some(format!("nobody would have woken for {event}"));
    }
    let returning =
        state.deployment.as_ref().is_some_and(|running| matches!(running.phase, Phase::Returning { .. }));
    let moved = returning && state.routes(world, now) != state.routes(world, before.at);
    moved.then(|| "nobody would have woken to publish".to_owned())
}
