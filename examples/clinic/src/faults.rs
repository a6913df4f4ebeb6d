//! Makes the clinic misbehave when its settings ask for it, so that demos and tests have something to catch.
//! Touches no health path but through its own two switches, and nothing at all by default.

use crate::api::problem;
use crate::app::App;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A body larger than this is left unread, and its connection ends with the answer.
const BODY_READ_MAX: usize = 1024 * 1024;
/// Whoever sends a body slower than this gets the answer without it.
const BODY_READ_DEADLINE: Duration = Duration::from_secs(5);

/// What shall go wrong. The default is nothing.
#[derive(Debug, Default)]
pub struct Faults {
    /// Share of the matching requests answered 500, in hundredths of a percent.
    pub fail_per_10_000: u64,
    /// Failing and slowness start this long after the start.
    pub after: Duration,
    /// Failing and slowness touch only paths with this prefix.
    pub route: String,
    pub slow: Duration,
    pub start: Duration,
    pub never_ready: bool,
    pub crash_after: Option<Duration>,
    pub live_fail_after: Option<Duration>,
    /// Matching requests seen since failing started.
    pub seen: AtomicU64,
}

impl Faults {
    /// Says whether a request to this path is one of those that shall suffer.
    fn touch(&self, path: &str, uptime: Duration) -> bool {
        let health = path == "/api/health" || path.starts_with("/api/health/");
        !health && path.starts_with("/api/") && path.starts_with(&self.route) && uptime >= self.after
    }

    /// Counts one matching request and says whether it fails: as evenly spread as the share allows, so that
    /// ten requests at 10 % fail exactly once.
    fn fails(&self) -> bool {
        if self.fail_per_10_000 == 0 {
            return false;
        }
        let number = self.seen.fetch_add(1, Ordering::Relaxed) % 10_000;
        (number + 1) * self.fail_per_10_000 / 10_000 > number * self.fail_per_10_000 / 10_000
    }
}

/// Slows requests down and fails a share of them, before any handler sees them.
pub async fn inject(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let faults = &app.config.faults;
    if !faults.touch(request.uri().path(), app.uptime()) {
        return next.run(request).await;
    }
    if !faults.slow.is_zero() {
        tokio::time::sleep(faults.slow).await;
    }
    if !faults.fails() {
        return next.run(request).await;
    }
    read_whole(request.into_body()).await;
    problem::failing()
}

/// Reads the body as a handler would have: a connection with an unread body ends with a reset, and a service
/// that answers 500 is not one that resets.
async fn read_whole(body: Body) {
    // Too large or too slow: the answer goes out all the same.
    drop(tokio::time::timeout(BODY_READ_DEADLINE, to_bytes(body, BODY_READ_MAX)).await);
}

/// Ends the process without a word to anybody, as a crash does.
pub async fn crash_later(after: Duration) {
    tokio::time::sleep(after).await;
    crate::complain("clinic: crashing, as CLINIC_CRASH_AFTER_MS says");
    std::process::exit(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(fail_per_10_000: u64) -> Faults {
        Faults { fail_per_10_000, route: "/api/".into(), ..Faults::default() }
    }

    #[test]
    fn failures_are_spread_evenly_and_exactly() {
        for (share, requests, failed) in
            [(0, 100, 0), (1000, 100, 10), (333, 10_000, 333), (1, 20_000, 2), (10_000, 7, 7)]
        {
            let faults = failing(share);
            assert_eq!((0..requests).filter(|_| faults.fails()).count(), failed, "{share} of 10 000");
        }
        let faults = failing(5000);
        assert_eq!([(); 6].map(|()| faults.fails()), [false, true, false, true, false, true]);
    }

    #[test]
    fn health_and_pages_outside_the_route_and_the_time_are_spared() {
        let faults =
            Faults { route: "/api/appointments".into(), after: Duration::from_secs(2), ..failing(10_000) };
        let late = Duration::from_secs(3);

        assert!(faults.touch("/api/appointments/7", late));
        assert!(!faults.touch("/api/appointments", Duration::from_secs(1)));
        assert!(!faults.touch("/api/slots", late));
        for path in ["/api/health", "/api/health/ready", "/", "/assets/app.js"] {
            assert!(!failing(10_000).touch(path, late), "{path}");
        }
    }
}
