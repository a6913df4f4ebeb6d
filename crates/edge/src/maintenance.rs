//! Keeps requests waiting while their target is in maintenance, up to a bound. Routes them by the table that ends it.
//! Refuses at once beyond the bound, and when the hold is over.

use crate::clock;
use crate::failure::Failure;
use crate::limits;
use crate::route::{Lasting, Place};
use crate::worker::Worker;
use rollout::names::Millis;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// What becomes of a request before it is split.
pub(crate) enum Admission {
    Enter(Place),
    /// The ready probe's path during maintenance: the edge says 200, so that whoever is in front keeps sending.
    Healthy,
}

/// Finds the request's place, waiting while its target is in maintenance. `guard` looks at it before it may wait.
pub(crate) async fn admit(
    worker: &Worker,
    host: &str,
    path: &str,
    guard: impl FnOnce(&Place) -> Result<(), Failure>,
) -> Result<Admission, Failure> {
    let mut guard = Some(guard);
    loop {
        // Registered before the table is read, so that no swap is missed.
        let swapped = worker.swapped.notified();
        let place = find(worker, host, path)?;
        if let Some(guard) = guard.take() {
            guard(&place)?;
        }
        let routes = place.target.routes();
        let Some(maintenance) = &routes.maintenance else { return Ok(Admission::Enter(place)) };
        if place.is_health(path) {
            return Ok(Admission::Healthy);
        }
        let left = maintenance.since.plus(maintenance.hold).since(clock::now());
        if left == Millis(0) {
            return Err(Failure::Maintenance);
        }
        let _seat = Seat::take(&place.target.lasting).ok_or(Failure::QueueFull)?;
        // The loop reads the clock again; a timer that fires early only costs a turn.
        let _ = tokio::time::timeout(Duration::from_millis(left.0), swapped).await;
    }
}

fn find(worker: &Worker, host: &str, path: &str) -> Result<Place, Failure> {
    let routes = worker.routes.borrow();
    match routes.find(host, path) {
        Some(place) => Ok(place),
        None if routes.targets.is_empty() => Err(Failure::NoTable),
        None => Err(Failure::UnknownHost),
    }
}

/// A place in a target's queue.
struct Seat(Arc<Lasting>);

impl Seat {
    fn take(lasting: &Arc<Lasting>) -> Option<Self> {
        let seat = Self(Arc::clone(lasting));
        (lasting.held.fetch_add(1, Relaxed) < limits::HELD_REQUESTS).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_has_a_bound_and_gives_places_back() {
        let held = Arc::new(Lasting::default());
        held.held.store(limits::HELD_REQUESTS - 1, Relaxed);

        let last = Seat::take(&held);
        assert!(last.is_some());
        assert!(Seat::take(&held).is_none());
        drop(last);

        assert!(Seat::take(&held).is_some());
    }
}
