//! Ends a whole environment: every replica and every task, and waits until they are gone.

use super::record::Stopping;
use super::{ProcessPlatform, Shared, blocking, bounded, fence};
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
    let shared = Arc::clone(&platform.shared);
    blocking(WHAT, move || until_launched(&shared)).await?;
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

/// Waits for launches that began before the environment was closing: they hold their target's lock, and look whether
/// it is closing once they have it. What they launch would outlive an end that found nothing.
fn until_launched(shared: &Shared) -> io::Result<()> {
    for target in shared.targets()? {
        drop(fence::lock(&shared.layout.target(&target))?);
    }
    Ok(())
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
            let has_keeper = || shared.live().get(&folder).is_some_and(|live| live.tended);
            if folder.ended()?.is_none() || has_keeper() {
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

#[cfg(test)]
mod tests {
    use super::super::record::TaskRecord;
    use super::super::tests::platform;
    use super::*;
    use rollout::change::{Ended, TaskId};
    use rollout::names::{DeploymentId, Target};

    #[tokio::test]
    async fn an_end_waits_for_a_launch_under_way() {
        let dir = tempfile::tempdir().unwrap();
        let platform = platform(dir.path());
        let launching = fence::lock(&platform.shared.layout.target(&Target::new("web", "local"))).unwrap();

        let mut stopping = Box::pin(stop_all(&platform, Millis(0)));
        let early = tokio::time::timeout(Duration::from_millis(100), &mut stopping).await;
        assert!(early.is_err(), "it ended while something may be launched");
        drop(launching);

        assert!(stopping.await.is_ok());
    }

    #[tokio::test]
    async fn a_task_that_was_over_before_its_start_was_noted_holds_up_no_end() {
        let dir = tempfile::tempdir().unwrap();
        let platform = platform(dir.path());
        let id = TaskId { deployment: DeploymentId::from("d-1"), name: "smoke".to_owned() };
        let folder = platform.shared.layout.task(&Target::new("web", "local"), &id);
        let record = TaskRecord { id, launched_at: Millis(1), command: Vec::new(), deadline: Millis(1) };
        folder.create(&record).unwrap();
        folder.end(Ended::Code(0)).unwrap();
        // What a start leaves that is overtaken by the keeper of what it started.
        platform.shared.live().entry(folder.clone()).or_default();

        let stopped = tokio::time::timeout(MARGIN / 2, stop_all(&platform, Millis(0))).await;

        assert!(stopped.expect("it does not wait").is_ok());
        assert!(!platform.shared.live().contains_key(&folder));
    }
}
