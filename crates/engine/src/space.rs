//! Watches the room on the disk of the state directory. A rollout does not go on for long where nothing more can be
//! written: it is taken back while that still can be.

use crate::targets::{Targets, Wakes};
use drivers::platform::Platform;
use rollout::machine::{OperatorCommand, Phase};
use rollout::names::Actor;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Less than this is full: a few events, a table of the edge, records of replicas.
const BYTES_MIN: u64 = 64 << 10;
/// How long the disk may be full before a rollout is taken back; half of what the room kept for it lasts
/// (`journal::reserve`). A disk that is full for a moment, and is cleared, disturbs nobody.
const FULL_MAX: Duration = Duration::from_secs(60);

/// The disk of one state directory.
#[derive(Debug)]
pub struct Space {
    path: PathBuf,
    full_since: Option<Instant>,
}

impl Space {
    pub fn of(state_dir: &Path) -> Self {
        Self { path: state_dir.to_owned(), full_since: None }
    }

    /// Looks. True: it has been full for too long for a rollout to go on.
    pub fn is_gone(&mut self) -> bool {
        // A disk that cannot be asked is not known to be full.
        let free = rustix::fs::statvfs(&self.path)
            .map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        self.look(free, Instant::now())
    }

    fn look(&mut self, free: u64, now: Instant) -> bool {
        if free >= BYTES_MIN {
            self.full_since = None;
            return false;
        }
        let since = *self.full_since.get_or_insert(now);
        now.duration_since(since) >= FULL_MAX
    }
}

/// Takes back what is being rolled out: soon neither a verdict nor a return could be written any more.
pub async fn take_back<P: Platform + Wakes>(targets: &Targets<P>) {
    for (target, handle) in targets.all() {
        let Ok(handle) = handle else { continue };
        let goes_on = {
            let state = handle.state.borrow();
            let phase = state.deployment.as_ref().map(|running| &running.phase);
            phase.is_some_and(|phase| !matches!(phase, Phase::Returning { .. } | Phase::Promoting))
        };
        if !goes_on {
            continue;
        }
        crate::log(&format!(
            "the disk is full for too long: what is being rolled out on {target} is taken back"
        ));
        if let Err(error) = targets.command(&handle, OperatorCommand::Abort, &Actor::from("engine")).await {
            let cause = error.cause.clone().unwrap_or_default();
            crate::log(&format!("cannot take back what is being rolled out on {target}: {error}: {cause}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_counts_as_full_only_after_a_while_and_begins_anew_when_there_is_room() {
        let mut space = Space::of(Path::new("."));
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);

        assert!(!space.look(0, after(0)));
        assert!(!space.look(0, after(59)));
        assert!(space.look(1000, after(60)));
        assert!(!space.look(1 << 30, after(61)));
        assert!(!space.look(0, after(62)));
        assert!(!space.look(0, after(121)));
        assert!(space.look(0, after(122)));
    }
}
