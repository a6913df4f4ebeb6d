//! No user sees a candidate before the copies of requests are compared, and copies are sent to no other one.

use super::Ledger;
use rollout::machine::Phase;
use rollout::names::Weight;
use rollout::routes::RouteTable;

pub const NAME: &str = "copies_come_before_users";

/// Looks at a table the edge takes.
pub fn check(ledger: &Ledger, routes: Option<&RouteTable>) -> Option<String> {
    let routes = routes?;
    let candidate = routes.candidate.as_ref();
    let weight = candidate.map_or(Weight::NONE, |candidate| candidate.weight);
    if routes.mirror.is_some() && (candidate.is_none() || weight > Weight::NONE) {
        return Some(format!("requests are copied, and the candidate has {weight}"));
    }
    let running = ledger.told.deployment.as_ref().filter(|running| running.phase == Phase::Mirroring)?;
    let its = candidate.is_some_and(|candidate| candidate.arm.revision == running.candidate.revision);
    (its && weight > Weight::NONE).then(|| format!("{weight} goes to a candidate that gets copies"))
}
