//! Never two writers: a row is accepted only from the holder of the lease, and epochs only grow.

use rollout::event::Event;
use rollout::machine::State;

pub const NAME: &str = "never_two_writers";

/// `written`: who wrote the row, under which epoch, and the epoch of the lease at that moment.
pub fn check(written: Option<(usize, u64, Option<u64>)>, event: &Event, told: &State) -> Option<String> {
    let (writer, epoch, lease) = written?;
    if lease.is_some_and(|lease| lease != epoch) {
        return Some(format!("engine {writer} wrote under epoch {epoch}, and the lease has {lease:?}"));
    }
    match event {
        Event::LeaseTaken { epoch, .. } if *epoch <= told.epoch => {
            Some(format!("epoch {epoch} was taken after {}", told.epoch))
        }
        _ if epoch > 0 && epoch < told.epoch => {
            Some(format!("engine {writer} wrote under epoch {epoch} after {}", told.epoch))
        }
        _ => None,
    }
}
