//! Lets an edge that was replaced finish its requests: under names of its own, so that the engine can still tell it of new
//! routes, and a supervisor that comes later finds it. Cuts nothing before the edge's own bound.

use super::{child, stop};
use crate::process::{self, Process};
use drivers::paths::{StatePaths, is_replaced_edge_pid};
use rustix::process::{Pid, Signal};
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The longest time connections may be kept that outlive their edge, a day by the manifest, and some.
const RETIRED_MAX: Duration = Duration::from_secs(24 * 3600 + 120);

/// The edges that finish.
#[derive(Debug)]
pub struct Retired {
    edges: Vec<(Pid, JoinHandle<()>)>,
    /// Said when nothing serves any more, which ends what they keep.
    hurry: watch::Sender<bool>,
}

impl Default for Retired {
    fn default() -> Self {
        Self { edges: Vec::new(), hurry: watch::Sender::new(false) }
    }
}

impl Retired {
    /// Looks for those a supervisor before us has left, all but the edge that serves now.
    pub fn find(paths: &StatePaths, serves: Option<Pid>) -> Self {
        let mut retired = Self::default();
        for (pid, process) in named(paths) {
            match process {
                Some(_) if Some(pid) == serves => {}
                Some(process) => retired.add(paths, process),
                None => forget(paths, pid),
            }
        }
        retired
    }

    /// Tells an edge to finish, and follows it to its end.
    pub fn add(&mut self, paths: &StatePaths, edge: Process) {
        self.edges.retain(|(_, task)| !task.is_finished());
        let (pid, paths) = (edge.pid, paths.clone());
        // Told here, so that it ends also when we do before the task below has begun.
        let told = edge.signal(Signal::TERM);
        let mut hurry = self.hurry.subscribe();
        let task = tokio::spawn(async move {
            let ended = tokio::select! {
                ended = edge.ended_within(RETIRED_MAX) => ended,
                // An error means that we end, and nobody waits.
                Ok(_) = hurry.wait_for(|hurry| *hurry) => Ok(false),
            };
            let ended = match ended {
                Ok(false) => edge.end(stop::DRAIN_MAX).await,
                ended => ended,
            };
            if let Err(error) = told.and(ended) {
                crate::output::aside(&format!("cannot end the edge {}: {error}", pid.as_raw_nonzero()));
            }
            forget(&paths, pid);
        });
        self.edges.push((pid, task));
    }

    pub fn pids(&self) -> impl Iterator<Item = Pid> {
        self.edges.iter().map(|(pid, _)| *pid)
    }

    /// Waits until all have ended, which they do soon: nothing serves in their place any more.
    pub async fn ended(&mut self) {
        self.hurry.send_replace(true);
        for (_, task) in self.edges.drain(..) {
            // A panic in it would be the runtime's.
            let _ = task.await;
        }
    }
}

/// Gives the edge's sockets names of its own, before a successor takes the usual ones.
pub fn step_aside(paths: &StatePaths, edge: &Process) -> io::Result<()> {
    let pid = edge.pid.as_raw_nonzero().get();
    process::write_pid_file(&paths.replaced_edge_pid(pid), edge.pid)?;
    rename(&paths.edge_socket(), &paths.replaced_edge_socket(pid))?;
    rename(&paths.handover_socket(), &paths.replaced_handover_socket(pid))
}

/// Gives it the usual names back: it serves on.
pub fn step_back(paths: &StatePaths, edge: &Process) -> io::Result<()> {
    let pid = edge.pid.as_raw_nonzero().get();
    process::write_pid_file(&paths.edge_pid(), edge.pid)?;
    rename(&paths.replaced_edge_socket(pid), &paths.edge_socket())?;
    rename(&paths.replaced_handover_socket(pid), &paths.handover_socket())?;
    child::remove(&paths.replaced_edge_pid(pid))
}

/// Returns the edges that stepped aside: the process, while it runs.
pub fn named(paths: &StatePaths) -> Vec<(Pid, Option<Process>)> {
    let Ok(entries) = std::fs::read_dir(paths.run()) else { return Vec::new() };
    let files = entries.flatten().map(|entry| entry.path()).filter(|path| is_replaced_edge_pid(path));
    files
        .filter_map(|file| {
            let text = std::fs::read_to_string(&file).ok()?;
            let pid = Pid::from_raw(text.split_whitespace().next()?.parse().ok()?)?;
            Some((pid, Process::named_in(&file)))
        })
        .collect()
}

/// Renames a socket; one that is not there has nothing to rename.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn forget(paths: &StatePaths, pid: Pid) {
    let pid = pid.as_raw_nonzero().get();
    let files =
        [paths.replaced_edge_socket(pid), paths.replaced_handover_socket(pid), paths.replaced_edge_pid(pid)];
    for file in files {
        if let Err(error) = child::remove(&file) {
            crate::output::aside(&format!("cannot remove {}: {error}", file.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_that_stepped_aside_is_found_and_gets_its_names_back() {
        let folder = tempfile::tempdir().unwrap();
        let paths = StatePaths::new(folder.path(), None).unwrap();
        std::fs::create_dir_all(paths.run()).unwrap();
        std::fs::write(paths.edge_socket(), "ours").unwrap();
        let edge = Process::of(rustix::process::getpid()).unwrap();

        step_aside(&paths, &edge).unwrap();
        assert!(!paths.edge_socket().exists());
        assert_eq!(named(&paths)[0].1.as_ref().unwrap().pid, edge.pid);

        step_back(&paths, &edge).unwrap();
        assert_eq!(std::fs::read_to_string(paths.edge_socket()).unwrap(), "ours");
        assert!(named(&paths).is_empty());
        assert_eq!(Process::named_in(&paths.edge_pid()).unwrap().pid, edge.pid);
    }
}
