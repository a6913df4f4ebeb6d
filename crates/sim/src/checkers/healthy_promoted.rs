//! A healthy release is promoted: where nothing disturbs, neither the judge nor the machine takes it back.

use crate::world::World;
use rollout::event::{DeploymentKind, Outcome};
use rollout::plan::Unproven;

pub const NAME: &str = "a_healthy_release_is_promoted";

pub fn check(world: &World, outcome: Outcome) -> Option<String> {
    let ledger = &world.ledger;
    let running = ledger.told.deployment.as_ref()?;
    let undisturbed = ledger.requested_at > ledger.disturbed_until;
    let releases =
        [ledger.candidate_release(), ledger.told.stable.as_ref().map_or(0, crate::world::operate::number_of)];
    let well = releases.iter().all(|release| !ledger.odd.contains(release));
    let wants_proof = running.settings.unproven != Unproven::Promote;
    if !undisturbed || !well || wants_proof || running.of != DeploymentKind::Deploy {
        return None;
    }
    let good = matches!(outcome, Outcome::Promoted | Outcome::PromotedUnproven | Outcome::Unchanged);
    (!good).then(|| format!("{} ended {outcome}: {:?}", running.id, running.phase))
}
