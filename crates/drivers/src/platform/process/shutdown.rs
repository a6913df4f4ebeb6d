//! Ends a whole environment: every replica and every task, and waits until they are gone.

use super::record::Stopping;
use super::{ProcessPlatform, Shared, blocking, bounded};
use crate::platform::PlatformError;
use rollout::names::Millis;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// What comes on top of the grace: killing, emptying groups, writing it all down.
const MARGIN: Duration = Duration::from_secs(10);

/// How often is counted what is left, beside every time something ends.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub async fn stop_all(platform: &ProcessPlatform, grace: Millis) -> Result<(), PlatformError> {
    const WHAT: &str = "stop the environment";
    platform.shared.closing.store(true, Ordering::Release);
    let mut changed = platform.changed();
    let until = Instant::now() + bounded(grace) + MARGIN;
    loop {
        let shared = Arc::clone(&platform.shared);
        // Asked again each time: a launch that was under way may have come through after the first asking.
        let (untended, left) = blocking(WHAT, move || ask_all(&shared, grace)).await?;
        platform.tend(untended);
        if left == 0 {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(PlatformError::Retry {
                what: WHAT.to_owned(),
                why: format!("{left} of its processes are still there"),
            });
        }
        // Either an end or the time to look again.
        let _either = timeout_at(Instant::now() + LOOK_EVERY, changed.changed()).await;
    }
}

/// Asks everything that is there to stop; returns how much there is.
fn ask_all(shared: &Shared, grace: Millis) -> io::Result<(Vec<super::Untended>, usize)> {
    let mut untended = Vec::new();
    let mut left = 0;
    let stopping = Stopping { since: shared.now(), grace };
    for target in shared.targets()? {
        untended.extend(shared.untended(&target)?);
        let mut folders: Vec<_> =
            shared.layout.replicas(&target)?.into_iter().map(|(folder, _)| folder).collect();
        for (folder, _) in shared.layout.task_records(&target)? {
            // Its end is written a moment before its guard is gone; the keeper stays until then.
            if folder.ended()?.is_none() || shared.live().contains_key(&folder) {
                folders.push(folder);
            }
        }
        for folder in folders {
            left += 1;
            match shared.ask_to_stop(&folder, stopping) {
                // It ended, and was forgotten, since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                asked => asked?,
            }
        }
    }
    Ok((untended, left))
}
