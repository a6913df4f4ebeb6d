//! Says what is there: folders on disk, processes in /proc. Changes nothing but what it remembers of listeners.

use super::record::{Claim, Folder, Layout, ReplicaRecord};
use super::{Shared, listen, logs, proc};
use crate::files;
use rollout::change::{Ended, Observed, ObservedReplica, ObservedTask, ReplicaState};
use rollout::names::Target;
use std::io;

/// How much of a task's output is told.
const OUTPUT_MAX: u64 = 2 << 10;

impl Shared {
    /// Reads a few small files for each replica and task. Blocks on the disk.
    pub(super) fn look(&self, target: &Target) -> io::Result<Observed> {
        let mut observed = Observed::default();
        for (folder, record) in self.layout.replicas(target)? {
            observed.replicas.extend(self.replica(&folder, record)?);
        }
        for (folder, record) in self.layout.task_records(target)? {
            observed.tasks.push(ObservedTask {
                id: record.id,
                ended: folder.ended()?,
                output: logs::last_bytes(&folder.0.join("output"), OUTPUT_MAX)?,
            });
        }
        Ok(observed)
    }

    /// Returns how the process ended, as far as it is known by now.
    pub(super) fn ended(&self, folder: &Folder) -> io::Result<Option<Ended>> {
        // What could not be written, on a full disk, is still known here.
        let known = self.live().get(folder).and_then(|live| live.ended);
        known.map_or_else(|| folder.ended(), |ended| Ok(Some(ended)))
    }

    /// Returns None for a replica that was asked to go and has gone.
    fn replica(&self, folder: &Folder, record: ReplicaRecord) -> io::Result<Option<ObservedReplica>> {
        let stopping = folder.stopping()?.is_some();
        let tell = |pid, state| ObservedReplica {
            replica: record.replica.clone(),
            revision: record.revision,
            address: record.address,
            pid,
            launched_at: record.launched_at,
            state,
        };
        if let Some(ended) = self.ended(folder)? {
            return Ok((!stopping).then(|| tell(None, ReplicaState::Exited(ended))));
        }
        let Some(Claim::Runs(identity)) = folder.claim()? else {
            return Ok((!stopping).then(|| tell(None, ReplicaState::Starting)));
        };
        if !identity.runs() && !stopping {
            // It has just ended; its keeper is about to say how.
            return Ok(Some(tell(None, ReplicaState::Starting)));
        }
        // A wrapper goes first; what it started may still be finishing its requests.
        if !identity.runs() && proc::group_members(identity.pid)?.is_empty() {
            return Ok(None);
        }
        let state = match self.listens(folder, &record, identity.pid)? {
            true => ReplicaState::Listening,
            false => ReplicaState::Starting,
        };
        Ok(Some(tell(Some(identity.pid), state)))
    }

    fn listens(&self, folder: &Folder, record: &ReplicaRecord, group: u32) -> io::Result<bool> {
        let seen = self.live().get(folder).and_then(|live| live.seen.clone());
        if seen.is_some_and(|seen| seen.holds()) {
            return Ok(true);
        }
        let seen = listen::find(record.address, group)?;
        let listens = seen.is_some();
        if let Some(live) = self.live().get_mut(folder) {
            live.seen = seen;
        }
        Ok(listens)
    }
}

/// Returns where the search for a port begins: behind the one given last, also when its replica is long forgotten.
/// An edge that has just been started may still know its address, and must not find somebody else there.
pub(super) fn next_port(layout: &Layout, (first, _): (u16, u16)) -> io::Result<u16> {
    // Unreadable is as good as unknown: the ports of replicas that exist are skipped all the same.
    let last: Option<u16> = files::read(&layout.port_last()).unwrap_or_default();
    Ok(last.map_or(first, |port| port.saturating_add(1)))
}
