//! Ends the requests of draining revisions when their time is over, each kind by the policy of its target.
//! Refuses to touch anything of a revision that serves, or that no table speaks of.

use crate::claim::{Flight, Kind};
use crate::clock;
use crate::route::Routes;
use crate::worker::Worker;
use rollout::names::Millis;
use rollout::routes::{Connections, Draining, Ending};
use std::rc::Rc;
use std::time::Duration;

/// Watches the drains of one worker for ever.
pub(crate) async fn watch(worker: Rc<Worker>) {
    loop {
        let reconsider = worker.reconsider.notified();
        let next = end_due(&worker.routes.borrow(), &worker.flights.all(), clock::now());
        match next {
            None => reconsider.await,
            Some(wait) => {
                let wait = Duration::from_millis(wait.0);
                // Either way everything is looked at again.
                let _ = tokio::time::timeout(wait, reconsider).await;
            }
        }
    }
}

/// Cancels what is due and returns how long to wait for the next one.
fn end_due(routes: &Routes, flights: &[Rc<Flight>], now: Millis) -> Option<Millis> {
    let mut next: Option<Millis> = None;
    for flight in flights {
        let Some(due) = due(routes, flight) else { continue };
        let left = due.since(now);
        if left == Millis(0) {
            flight.cancel();
        } else {
            next = Some(next.map_or(left, |next| next.min(left)));
        }
    }
    next
}

/// Returns when a request in flight is ended; None when its revision does not drain.
fn due(routes: &Routes, flight: &Flight) -> Option<Millis> {
    let target = routes.target(&flight.replica.target)?.routes();
    let drain = target.draining.iter().find(|drain| drain.revision == flight.replica.revision)?;
    Some(end_of(drain, flight.kind(), &target.connections))
}

/// Returns when a connection of this kind ends.
fn end_of(drain: &Draining, kind: Kind, policy: &Connections) -> Millis {
    let ending = match kind {
        Kind::Plain => Ending::Drain,
        Kind::Sse => policy.sse,
        Kind::WebSocket => policy.websocket,
    };
    match ending {
        Ending::Keep => drain.since.plus(policy.ceiling),
        Ending::Drain => drain.until,
        Ending::Cut => drain.since,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollout::names::Revision;

    #[test]
    fn e11_each_kind_ends_by_its_policy() {
        let drain = Draining { revision: Revision(1), since: Millis(1_000), until: Millis(4_000) };
        let policy = Connections { websocket: Ending::Keep, sse: Ending::Cut, ceiling: Millis::seconds(600) };

        assert_eq!(end_of(&drain, Kind::Plain, &policy), Millis(4_000));
        assert_eq!(end_of(&drain, Kind::Sse, &policy), Millis(1_000));
        assert_eq!(end_of(&drain, Kind::WebSocket, &policy), Millis(601_000));
    }
}
