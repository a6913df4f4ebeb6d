//! A release that fails half of its requests beside a stable one that is well is never called good.

use crate::world::World;
use crate::world::operate::number_of;
use rollout::event::{DeploymentKind, Outcome};

pub const NAME: &str = "a_bad_release_is_not_promoted";

/// So much of its requests must fail.
const FAILS: f64 = 0.5;

pub fn check(world: &World, outcome: Outcome) -> Option<String> {
    let ledger = &world.ledger;
    let running = ledger.told.deployment.as_ref()?;
    let stable = number_of(ledger.told.stable.as_ref()?);
    let candidate = ledger.candidate_release();
    let bad = candidate != stable && world.fails(candidate) >= FAILS && world.fails(stable) == 0.0;
    let undisturbed = ledger.requested_at > ledger.disturbed_until;
    let judged = running.of == DeploymentKind::Deploy && !running.hurried;
    let promoted = matches!(outcome, Outcome::Promoted | Outcome::PromotedUnproven);
    (bad && undisturbed && judged && promoted).then(|| format!("{} ended {outcome}", running.id))
}
