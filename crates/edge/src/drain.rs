//! Ends the requests of draining revisions when their time is over, each kind by the policy of its target.
//! Refuses to touch anything of a revision that serves, or that no table speaks of.

use crate::claim::{Flight, Kind, Long};
use crate::clock;
use crate::config::Waits;
use crate::limits;
use crate::route::Routes;
use crate::stop::Stop;
use crate::worker::Worker;
use rollout::names::Millis;
use rollout::routes::{self, Connections, Ending};
use std::rc::Rc;
use std::time::Duration;

/// Watches the drains of one worker for ever.
pub(crate) async fn watch(worker: Rc<Worker>) {
    let mut stop = worker.stop.clone();
    loop {
        let reconsider = worker.reconsider.notified();
        let of_edge = OfEdge { stop: *stop.borrow_and_update(), waits: worker.waits };
        let next = end_due(&worker.routes.borrow(), of_edge, &worker.flights.all(), clock::now());
        let wait = async {
            match next {
                None => std::future::pending().await,
                Some(wait) => tokio::time::sleep(Duration::from_millis(wait.0)).await,
            }
        };
        // Whatever it was, everything is looked at again.
        tokio::select! {
            () = reconsider => {}
            () = wait => {}
            Ok(()) = stop.changed() => {}
        }
    }
}

/// Returns when nothing of a stopping edge's goes on any more; None while it serves.
pub(crate) fn gone_by(worker: &Worker) -> Option<Millis> {
    let drain = millis(worker.waits.stop_drain);
    match *worker.stop.borrow() {
        Stop::No => None,
        Stop::Ending { since } => Some(since.plus(drain)),
        Stop::Replaced { since } => {
            let routes = worker.routes.borrow();
            let kept = routes.targets.iter().filter_map(|target| target.routes().connections.kept()).max();
            Some(since.plus(drain.max(kept.unwrap_or(Millis(0))).plus(millis(limits::FAREWELL))))
        }
    }
}

fn millis(duration: Duration) -> Millis {
    Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// How the edge itself ends.
#[derive(Clone, Copy)]
struct OfEdge {
    stop: Stop,
    waits: Waits,
}

/// Cancels what is due and returns how long to wait for the next one.
fn end_due(routes: &Routes, of_edge: OfEdge, flights: &[Rc<Flight>], now: Millis) -> Option<Millis> {
    let mut next: Option<Millis> = None;
    for flight in flights {
        let by_table = due(routes, flight);
        let Some(due) = by_table.into_iter().chain(due_with_the_edge(routes, of_edge, flight)).min() else {
            continue;
        };
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
    Some(end_of(drain.since, drain.until, flight.kind(), flight.long(), &target.connections))
}

/// Returns when a request in flight is ended because the edge ends. Plain ones of an edge that nobody follows end with it.
fn due_with_the_edge(routes: &Routes, of_edge: OfEdge, flight: &Flight) -> Option<Millis> {
    let drain = of_edge.waits.stop_drain;
    let default = Connections::default();
    let target = routes.target(&flight.replica.target);
    let policy = target.map_or(&default, |target| &target.routes().connections);
    match of_edge.stop {
        Stop::No => None,
        Stop::Replaced { since } => {
            Some(end_of(since, since.plus(millis(drain)), flight.kind(), flight.long(), policy))
        }
        Stop::Ending { since } => {
            let long = flight.long()?;
            // Time for the last farewell.
            let until = since.plus(millis(drain.saturating_sub(limits::FAREWELL)));
            let by_policy = end_of(since, until, flight.kind(), Some(long), policy);
            Some(by_policy.min(between(since, until, long.turn)))
        }
    }
}

/// Returns when a connection of this kind ends.
fn end_of(since: Millis, until: Millis, kind: Kind, long: Option<&Long>, policy: &Connections) -> Millis {
    let route = long.and_then(|long| long.route.as_deref());
    let (ending, ceiling) = match kind {
        Kind::Plain => return until,
        Kind::Sse => policy.sse_of(route),
        Kind::WebSocket => policy.websocket_of(route),
    };
    let turn = long.map_or(1.0, |long| long.turn);
    match ending {
        Ending::Keep => {
            let kept = since.plus(ceiling);
            between(kept, kept.plus(routes::spread_after(ceiling)), turn)
        }
        Ending::Drain => between(since, until, turn),
        Ending::Cut => since,
    }
}

fn between(from: Millis, to: Millis, turn: f64) -> Millis {
    from.plus(Millis((to.since(from).0 as f64 * turn) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollout::routes::RouteConnections;

    const SINCE: Millis = Millis(1_000);
    const UNTIL: Millis = Millis(4_000);

    fn policy() -> Connections {
        let chat = RouteConnections {
            template: "/chat/{room}".to_owned(),
            websocket: Ending::Drain,
            sse: Ending::Keep,
            ceiling: Millis::seconds(20),
        };
        let ceiling = Millis::seconds(600);
        Connections { websocket: Ending::Keep, sse: Ending::Cut, ceiling, routes: vec![chat] }
    }

    fn long(route: Option<&str>, turn: f64) -> Long {
        Long { route: route.map(Into::into), turn }
    }

    #[test]
    fn e11_each_kind_ends_by_its_policy() {
        let end = |kind, long: &Long| end_of(SINCE, UNTIL, kind, Some(long), &policy());

        assert_eq!(end_of(SINCE, UNTIL, Kind::Plain, None, &policy()), UNTIL);
        assert_eq!(end(Kind::Sse, &long(None, 0.5)), SINCE);
        assert_eq!(end(Kind::WebSocket, &long(None, 0.0)), Millis(601_000));
    }

    #[test]
    fn o6_a_route_has_a_policy_of_its_own() {
        let end = |kind, route| end_of(SINCE, UNTIL, kind, Some(&long(Some(route), 0.5)), &policy());

        assert_eq!(end(Kind::WebSocket, "/chat/{room}"), Millis(2_500));
        assert_eq!(end(Kind::Sse, "/chat/{room}"), Millis(22_000));
        assert_eq!(end(Kind::Sse, "/other"), SINCE);
    }

    #[test]
    fn o6_connections_that_end_together_are_spread_and_none_ends_before_its_ceiling() {
        let registry = &mut crate::claim::Registry::default();
        let target = rollout::names::Target::new("web", "local");
        let at = rollout::routes::Endpoint {
            replica: rollout::names::ReplicaId::new("r"),
            address: ([127, 0, 0, 1], 1).into(),
        };
        let replica = registry.replica(&target, rollout::names::Revision(1), Default::default(), &at);
        let flights = Rc::new(crate::claim::Flights::default());
        let claims: Vec<_> = (0..500).map(|_| flights.claim(&replica)).collect();
        claims.iter().for_each(|claim| claim.lengthen(Kind::WebSocket, None));

        let ends = |policy: &Connections| -> Vec<u64> {
            let all = flights.all();
            let end =
                |flight: &Rc<Flight>| end_of(SINCE, Millis(31_000), flight.kind(), flight.long(), policy).0;
            let mut ends: Vec<u64> = all.iter().map(end).collect();
            ends.sort_unstable();
            ends
        };
        // How many end within one second, at most.
        let crowd = |ends: &[u64]| {
            (0..ends.len())
                .map(|at| ends[at..].iter().take_while(|end| **end < ends[at] + 1_000).count())
                .max()
        };

        let kept = ends(&policy());
        assert!(kept[0] >= 601_000, "{}", kept[0]);
        assert!(crowd(&kept).unwrap() <= 60, "{:?}", crowd(&kept));
        let drained = ends(&Connections { websocket: Ending::Drain, ..policy() });
        assert!(drained[0] >= SINCE.0 && drained[499] <= 31_000);
        assert!(crowd(&drained).unwrap() <= 25, "{:?}", crowd(&drained));
    }
}
