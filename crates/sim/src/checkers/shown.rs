//! An end is what the edge shows: success and a safe return are said only when the edge serves so, and has proven it.

use crate::world::World;
use rollout::event::{Outcome, ServedBy};

pub const NAME: &str = "an_end_is_what_the_edge_shows";

pub fn check(world: &World, outcome: Outcome, served_by: Option<&ServedBy>) -> Option<String> {
    let told = &world.ledger.told;
    let running = told.deployment.as_ref()?;
    let expected = match outcome {
        Outcome::Promoted | Outcome::PromotedUnproven => running.candidate.revision,
        Outcome::RolledBack | Outcome::Aborted | Outcome::Superseded => told.stable.as_ref()?.revision,
        Outcome::UnprovenReturn | Outcome::Unchanged => return None,
    };
    let serving = world.edge.serving().map(|arm| arm.revision);
    if serving != Some(expected) {
        return Some(format!("{outcome}, and the edge serves {serving:?} rather than {expected}"));
    }
    let proven = served_by.is_some_and(|proof| proof.revision == expected);
    (!proven).then(|| format!("{outcome} without a proof of revision {expected}"))
}
