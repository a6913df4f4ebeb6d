//! Makes the clinic misbehave when its settings ask for it, so that demos, tests and benches have something to catch.
//! Touches no health path but through its own two switches, and nothing at all by default.

use crate::api::problem;
use crate::app::App;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A body larger than this is left unread, and its connection ends with the answer.
const BODY_READ_MAX: usize = 1024 * 1024;
/// Whoever sends a body slower than this gets the answer without it.
const BODY_READ_DEADLINE: Duration = Duration::from_secs(5);

/// What shall go wrong. The default is nothing.
#[derive(Debug, Default)]
pub struct Faults {
    /// Which of the matching requests are answered 500.
    pub fail: Share,
    /// Failing, slowness and the leak start this long after the start.
    pub after: Duration,
    /// They touch only paths with this prefix.
    pub route: String,
    pub slow: Duration,
    /// Which of the matching requests are slow.
    pub slowed: Share,
    pub leak: Leak,
    pub start: Duration,
    pub never_ready: bool,
    pub crash_after: Option<Duration>,
    pub live_fail_after: Option<Duration>,
}

/// A share of the requests that come.
#[derive(Debug, Default)]
pub struct Share {
    /// In hundredths of a percent.
    pub per_10_000: u64,
    /// Draws each request by itself. None: as evenly spread as the share allows, so that ten requests at 10 % are hit
    /// exactly once.
    pub seed: Option<u64>,
    /// Requests seen so far.
    seen: AtomicU64,
}

impl Share {
    pub fn new(per_10_000: u64, seed: Option<u64>) -> Self {
        Self { per_10_000, seed, seen: AtomicU64::new(0) }
    }

    /// Counts one request and says whether it is one of the share.
    fn hits(&self) -> bool {
        if self.per_10_000 == 0 {
            return false;
        }
        let number = self.seen.fetch_add(1, Ordering::Relaxed);
        if let Some(seed) = self.seed {
            return mixed(seed ^ mixed(number)) % 10_000 < self.per_10_000;
        }
        let number = number % 10_000;
        (number + 1) * self.per_10_000 / 10_000 > number * self.per_10_000 / 10_000
    }
}

/// Makes a number that looks drawn out of one that counts: the last step of SplitMix64.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Memory that is never given back.
#[derive(Debug, Default)]
pub struct Leak {
    /// Kept of every matching request.
    pub bytes: usize,
    /// The process ends when it has kept more than this, unless a limit of the machine ends it before.
    pub bytes_max: usize,
    kept: Mutex<Vec<Vec<u8>>>,
}

impl Leak {
    pub fn new(bytes: usize, bytes_max: usize) -> Self {
        Self { bytes, bytes_max, kept: Mutex::default() }
    }

    /// Keeps what one request costs; false when that was too much.
    fn grow(&self) -> bool {
        if self.bytes == 0 {
            return true;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Written to, so that the machine really gives the memory.
        kept.push(vec![1; self.bytes]);
        kept.len().saturating_mul(self.bytes) <= self.bytes_max
    }
}

impl Faults {
    /// Says whether a request to this path is one of those that shall suffer.
    fn touch(&self, path: &str, uptime: Duration) -> bool {
        let health = path == "/api/health" || path.starts_with("/api/health/");
        !health && path.starts_with("/api/") && path.starts_with(&self.route) && uptime >= self.after
    }
}

/// Slows requests down and fails a share of them, before any handler sees them.
pub async fn inject(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let faults = &app.config.faults;
    if !faults.touch(request.uri().path(), app.uptime()) {
        return next.run(request).await;
    }
    if !faults.leak.grow() {
        crate::complain("clinic: out of memory, as CLINIC_LEAK_MAX_MIB says");
        std::process::abort();
    }
    if !faults.slow.is_zero() && faults.slowed.hits() {
        tokio::time::sleep(faults.slow).await;
    }
    if !faults.fail.hits() {
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

    #[test]
    fn failures_are_spread_evenly_and_exactly() {
        for (share, requests, failed) in
            [(0, 100, 0), (1000, 100, 10), (333, 10_000, 333), (1, 20_000, 2), (10_000, 7, 7)]
        {
            let share = Share::new(share, None);
            assert_eq!((0..requests).filter(|_| share.hits()).count(), failed, "{share:?}");
        }
        let half = Share::new(5000, None);
        assert_eq!([(); 6].map(|()| half.hits()), [false, true, false, true, false, true]);
    }

    #[test]
    fn with_a_seed_every_request_is_drawn_and_the_same_seed_draws_the_same() {
        let drawn = |seed| {
            let share = Share::new(500, Some(seed));
            (0..20_000).map(|_| share.hits()).collect::<Vec<_>>()
        };
        let failed = drawn(7).iter().filter(|hit| **hit).count();

        // Five standard deviations around a thousand.
        assert!((846..=1154).contains(&failed), "{failed}");
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
    }

    #[test]
    fn a_leak_grows_with_every_request_until_it_is_too_much() {
        let leak = Leak::new(1024, 3000);

        assert_eq!([(); 3].map(|()| leak.grow()), [true, true, false]);
        assert!(Leak::default().grow());
    }

    #[test]
    fn health_and_pages_outside_the_route_and_the_time_are_spared() {
        let all = || Faults { route: "/api/".into(), ..Faults::default() };
        let faults =
            Faults { route: "/api/appointments".into(), after: Duration::from_secs(2), ..Faults::default() };
        let late = Duration::from_secs(3);

        assert!(faults.touch("/api/appointments/7", late));
        assert!(!faults.touch("/api/appointments", Duration::from_secs(1)));
        assert!(!faults.touch("/api/slots", late));
        for path in ["/api/health", "/api/health/ready", "/", "/assets/app.js"] {
            assert!(!all().touch(path, late), "{path}");
        }
    }
}
