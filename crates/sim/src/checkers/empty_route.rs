//! Never an empty route: whatever share of the requests there is, somebody takes it.

use rollout::machine::State;
use rollout::names::Weight;
use rollout::routes::RouteTable;

pub const NAME: &str = "never_an_empty_route";

pub fn check(routes: Option<&RouteTable>, told: &State) -> Option<String> {
    let Some(routes) = routes else {
        return told
            .stable
            .as_ref()
            .map(|stable| format!("withdrawn while revision {} serves", stable.revision));
    };
    let stable = routes.stable.as_ref().is_some_and(|arm| !arm.replicas.is_empty());
    let full = routes.candidate.as_ref().is_some_and(|candidate| candidate.weight == Weight::FULL);
    if !stable && !full {
        return Some("a share of the requests has nowhere to go".to_owned());
    }
    let empty = routes.candidate.as_ref().is_some_and(|candidate| candidate.arm.replicas.is_empty());
    empty.then(|| "the candidate has a share and no replica".to_owned())
}
