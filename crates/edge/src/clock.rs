//! Reads the wall clock. Decides nothing.

use rollout::names::Millis;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Returns the wall clock; zero for a clock before 1970.
pub(crate) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
