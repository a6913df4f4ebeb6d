//! Finds replicas that run and whose records are gone, by what the system says about their processes, and writes the
//! records again. Touches no process; what is recorded is left as it is. See `twin` for the nearer remedy.

use super::proc::{self, Identity};
use super::record::{Claim, Folder, Layout, ReplicaRecord};
use crate::repairs;
use rollout::names::{Millis, ReplicaId, Revision, Target};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Records every process that was started as a replica of this state directory and has no record.
pub fn from_the_system(layout: &Layout, state_dir: &Path) -> io::Result<()> {
    // What /proc says of a working folder has no symbolic links in it.
    let state_dir = state_dir.canonicalize()?;
    for pid in proc::pids()? {
        if let Some((target, record, identity)) = replica(pid, &state_dir) {
            let folder = layout.replica(&target, &record.replica);
            record_again(&folder, &record, &identity)?;
        }
    }
    Ok(())
}

/// Writes the record and the claim of a process that runs, where they are not.
pub fn record_again(folder: &Folder, record: &ReplicaRecord, identity: &Identity) -> io::Result<()> {
    let is_recorded = folder.record::<ReplicaRecord>().is_ok_and(|found| found.is_some());
    let is_claimed = matches!(folder.claim(), Ok(Some(_)));
    if is_recorded && is_claimed {
        return Ok(());
    }
    if !is_recorded {
        // Where a damaged one is in the way, its name still says enough to replace the replica.
        folder.create(record)?;
    }
    folder.decide(&Claim::Runs(identity.clone()))?;
    let text = format!("its record was gone; written again, because process {} runs", identity.pid);
    repairs::note(&folder.0, &text);
    Ok(())
}

/// Returns what a process was started as. None: it is no replica of this state directory.
fn replica(pid: u32, state_dir: &Path) -> Option<(Target, ReplicaRecord, Identity)> {
    let stat = proc::stat(pid).ok()??;
    // What a replica started itself has its environment too; the leader of the group is the replica.
    if stat.group != pid || stat.zombie {
        return None;
    }
    let cwd = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    if !cwd.starts_with(state_dir) {
        return None;
    }
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let environ = String::from_utf8_lossy(&environ);
    let env: BTreeMap<&str, &str> = environ.split('\0').filter_map(|line| line.split_once('=')).collect();
    let host: IpAddr = env.get("HOST")?.parse().ok()?;
    let record = ReplicaRecord {
        replica: ReplicaId::new(*env.get("MEDECLIPSE_REPLICA")?),
        revision: Revision(env.get("MEDECLIPSE_REVISION")?.parse().ok()?),
        address: SocketAddr::new(host, env.get("PORT")?.parse().ok()?),
        launched_at: Millis(0),
        command: Vec::new(),
        cgroup: None,
    };
    let target = Target::new(*env.get("MEDECLIPSE_SERVICE")?, *env.get("MEDECLIPSE_ENVIRONMENT")?);
    Some((target, record, Identity::of(pid).ok()?))
}
