//! Says below which epoch a target must not be led: a journal that begins anew, or was put back, would be refused by the
//! edge and the platform for ever. Changes nothing.

use drivers::platform::process::fenced;
use rollout::names::{Generation, Target};
use std::path::Path;

/// Adds the epoch that the platform has seen to what the edge accepted; `journals` is their folder.
pub fn of(journals: &Path, target: &Target, accepted: Option<Generation>) -> Option<Generation> {
    let state_dir = journals.parent().unwrap_or(journals);
    // Unreadable is as good as never: then the fence begins anew, too.
    let fenced = fenced(state_dir, target).unwrap_or_default();
    let accepted = accepted.unwrap_or_default();
    Some(Generation { epoch: accepted.epoch.max(fenced.epoch), ..accepted })
}
