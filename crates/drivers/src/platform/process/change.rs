//! Makes one change to a target, on disk first. Returns before a stop is through: the keepers see to it.

use super::fence::{Pass, Shut};
use super::launch::{self, Kind, Start, Words};
use super::proc::Identity;
use super::record::{Folder, ReplicaRecord, Stopping, TaskRecord};
use super::{Shared, cannot, lock};
use crate::files::{self, Lock};
use crate::platform::PlatformError;
use crate::platform::process::ports;
use rollout::change::{Change, Task, TaskPlace};
use rollout::names::{Generation, Millis, ReplicaId, Revision, Target};
use rollout::release::Placed;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

impl Shared {
    /// Blocks on the disk, and on another engine's change for at most five seconds.
    pub(super) fn change(
        &self,
        target: &Target,
        change: &Change,
        at: Generation,
    ) -> Result<(), PlatformError> {
        let mut pass = self.enter(target, at)?;
        let what = describe(target, change);
        match change {
            Change::Launch { placed, replicas } => self.launch(target, placed, *replicas, &mut pass, &what),
            Change::Stop { revision, replicas, grace } => self
                .stop(target, *grace, |record| {
                    record.revision == *revision && replicas.contains(&record.replica)
                })
                .map_err(|error| cannot(&what, &error)),
            Change::Remove { revision, grace } => self
                .stop(target, *grace, |record| record.revision == *revision)
                .map_err(|error| cannot(&what, &error)),
            Change::RunTask { task } => self.run_task(target, task, &what),
        }
    }

    pub(super) fn enter(&self, target: &Target, at: Generation) -> Result<Pass, PlatformError> {
        Pass::enter(&self.layout.target(target), at).map_err(|shut| match shut {
            Shut::Newer(newest) => {
                PlatformError::Stale { what: format!("change {target} as of {at}"), newest }
            }
            Shut::Io(error) => cannot(&format!("change {target}"), &error),
        })
    }

    fn launch(
        &self,
        target: &Target,
        placed: &Placed,
        replicas: u32,
        pass: &mut Pass,
        what: &str,
    ) -> Result<(), PlatformError> {
        let running = self.running(target, placed.revision).map_err(|error| cannot(what, &error))?;
        if running >= replicas as usize {
            return Ok(());
        }
        self.refuse_when_closing(what)?;
        let artifact = self.artifact(placed.spec.artifact.as_deref(), what)?;
        let words = Words::of_task(artifact.as_deref());
        let env = launch::base_env(target, &placed.spec.env, &words);
        let cwd = artifact.clone().unwrap_or_else(|| self.layout.empty());
        refuse_when_unfit(&words.fill_all(&placed.spec.command), &cwd, &env, what)?;
        for _ in running..replicas as usize {
            self.launch_one(target, placed, artifact.as_deref(), pass, what)?;
        }
        Ok(())
    }

    /// Counts the replicas of a revision that neither ended nor were asked to.
    fn running(&self, target: &Target, revision: Revision) -> io::Result<usize> {
        let mut count = 0;
        for (folder, record) in self.layout.replicas(target)? {
            let there =
                record.revision == revision && self.ended(&folder)?.is_none() && folder.stopping()?.is_none();
            count += usize::from(there);
        }
        Ok(count)
    }

    fn launch_one(
        &self,
        target: &Target,
        placed: &Placed,
        artifact: Option<&Path>,
        pass: &mut Pass,
        what: &str,
    ) -> Result<(), PlatformError> {
        let failed = |error: io::Error| cannot(what, &error);
        let number = pass.next_number(placed.revision).map_err(failed)?;
        let replica = ReplicaId::new(format!("{}-{}-{number}", target.service, placed.revision));
        let (folder, record) = self.intend(target, placed, replica, artifact, what)?;
        let words = Words::of_replica(record.address, artifact);
        let (stdout, stderr) = launch::log_files(&self.layout, target, &record.replica);
        let start = Start {
            env: launch::replica_env(target, placed, &record.replica, record.address, &words),
            cwd: artifact.map(Path::to_owned).unwrap_or_else(|| self.layout.empty()),
            folder,
            stdout,
            stderr,
        };
        self.start(Kind::Replica, start, what).inspect_err(|_| {
            if let Some(place) = &record.cgroup {
                // Nothing ever ran in it; an empty group that stays does no harm.
                let _harmless = place.empty();
            }
        })
    }

    /// Finds a port and records what is about to be launched, both under one lock.
    fn intend(
        &self,
        target: &Target,
        placed: &Placed,
        replica: ReplicaId,
        artifact: Option<&Path>,
        what: &str,
    ) -> Result<(Folder, ReplicaRecord), PlatformError> {
        let failed = |error: io::Error| cannot(what, &error);
        let _lock = Lock::take(&self.layout.ports_lock()).map_err(failed)?;
        let address = SocketAddr::new(self.config.host, self.port(what)?);
        let group = PathBuf::from(&self.group)
            .join(files::as_file_name(&target.to_string()))
            .join(files::as_file_name(replica.as_str()));
        let cgroup = self.groups.make(&group, placed.spec.resources).map_err(failed)?;
        let record = ReplicaRecord {
            revision: placed.revision,
            address,
            launched_at: self.now(),
            command: Words::of_replica(address, artifact).fill_all(&placed.spec.command),
            cgroup,
            replica,
        };
        let folder = self.layout.replica(target, &record.replica);
        folder.create(&record).map_err(failed)?;
        Ok((folder, record))
    }

    fn port(&self, what: &str) -> Result<u16, PlatformError> {
        let failed = |error: io::Error| cannot(what, &error);
        let held = self.held_ports().map_err(failed)?;
        let (first, last) = self.config.ports;
        let mut next = lock(&self.next_port);
        match ports::free(self.config.ports, self.config.host, &held, *next).map_err(failed)? {
            Some(port) => {
                // The next replica gets the next port: one just freed may still be somebody's old connection.
                *next = port.saturating_add(1);
                files::replace(&self.layout.port_last(), &port, files::Durable::Yes).map_err(failed)?;
                Ok(port)
            }
            None => Err(PlatformError::Retry {
                what: what.to_owned(),
                why: format!(
                    "every port from {first} to {last} is taken ({} by replicas); free some, or widen `ports`",
                    held.len()
                ),
            }),
        }
    }

    fn held_ports(&self) -> io::Result<BTreeSet<u16>> {
        let mut held = BTreeSet::new();
        for target in self.layout.targets(&self.layout.replicas_dir())? {
            held.extend(self.layout.replicas(&target)?.iter().map(|(_, record)| record.address.port()));
        }
        Ok(held)
    }

    fn stop(
        &self,
        target: &Target,
        grace: Millis,
        chosen: impl Fn(&ReplicaRecord) -> bool,
    ) -> io::Result<()> {
        let stopping = Stopping { since: self.now(), grace };
        for (folder, record) in self.layout.replicas(target)? {
            if chosen(&record) {
                self.ask_to_stop(&folder, stopping)?;
            }
        }
        Ok(())
    }

    /// Asks once; a second asking changes nothing.
    pub(super) fn ask_to_stop(&self, folder: &Folder, stopping: Stopping) -> io::Result<()> {
        match folder.stop(&stopping) {
            // Forgotten since it was listed: it has stopped.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        }
        let asked = folder.stopping()?.unwrap_or(stopping);
        // Without an entry there is no keeper yet; the one to come reads the mark just written.
        if let Some(live) = self.live().get_mut(folder) {
            live.stop.send_if_modified(|stop| {
                let first = stop.is_none();
                stop.get_or_insert(asked);
                first
            });
        }
        Ok(())
    }

    fn run_task(&self, target: &Target, task: &Task, what: &str) -> Result<(), PlatformError> {
        let failed = |error: io::Error| cannot(what, &error);
        let folder = self.layout.task(target, &task.id);
        if folder.record::<TaskRecord>().map_err(failed)?.is_some() {
            return Ok(());
        }
        self.refuse_when_closing(what)?;
        let (cwd, words) = match &task.place {
            TaskPlace::Artifact(digest) => {
                let cwd = self.artifact(Some(digest), what)?.unwrap_or_default();
                let words = Words::of_task(Some(&cwd));
                (cwd, words)
            }
            TaskPlace::Folder(path) => (PathBuf::from(path), Words::of_task(None)),
        };
        if !cwd.is_dir() {
            return Err(PlatformError::Refused {
                what: what.to_owned(),
                why: format!("there is no folder `{}`", cwd.display()),
                next: "deploy from the folder the manifest lies in".to_owned(),
            });
        }
        let output = folder.0.join("output");
        let record = TaskRecord {
            id: task.id.clone(),
            launched_at: self.now(),
            command: words.fill_all(&task.command),
            deadline: task.deadline,
        };
        let env = launch::base_env(target, &task.env, &words);
        refuse_when_unfit(&record.command, &cwd, &env, what)?;
        folder.create(&record).map_err(failed)?;
        self.start(Kind::Task, Start { folder, cwd, env, stdout: output.clone(), stderr: output }, what)
    }

    /// Starts the shim for a recorded intent; takes the record back when that is in vain, and only then: what was started
    /// may be over, and reaped by whoever looked meanwhile, before this returns, and has run all the same.
    fn start(&self, kind: Kind, start: Start, what: &str) -> Result<(), PlatformError> {
        let spawned = start.stdout.parent().map_or(Ok(()), files::folder);
        match spawned.and_then(|()| launch::spawn(&self.config.shim, kind, &start)) {
            Ok(pid) => {
                self.started(start.folder, pid);
                Ok(())
            }
            Err(error) => {
                start.folder.remove().map_err(|error| cannot(what, &error))?;
                Err(cannot(what, &error))
            }
        }
    }

    /// Keeps who the shim is, as long as it is there. One that nobody looked at is not reaped, so the number is its own.
    fn started(&self, folder: Folder, pid: u32) {
        if let Ok(identity) = Identity::of(pid) {
            self.live().entry(folder).or_default().spawned = Some(identity);
        }
    }

    fn artifact(&self, digest: Option<&str>, what: &str) -> Result<Option<PathBuf>, PlatformError> {
        let Some(digest) = digest else { return Ok(None) };
        match self.config.artifacts.objection(digest) {
            None => Ok(Some(self.config.artifacts.path(digest))),
            Some(why) => Err(PlatformError::Refused {
                what: what.to_owned(),
                why,
                next: "deploy the release again, which stores it".to_owned(),
            }),
        }
    }

    fn refuse_when_closing(&self, what: &str) -> Result<(), PlatformError> {
        if self.is_closing() {
            return Err(PlatformError::Retry {
                what: what.to_owned(),
                why: "the environment is being stopped".to_owned(),
            });
        }
        Ok(())
    }
}

/// Refuses a program that cannot run, before anything is written down.
fn refuse_when_unfit(
    command: &[String],
    cwd: &Path,
    env: &BTreeMap<String, OsString>,
    what: &str,
) -> Result<(), PlatformError> {
    let program = command.first().map(String::as_str).unwrap_or_default();
    match launch::objection(program, cwd, env) {
        None => Ok(()),
        Some(why) => Err(PlatformError::Refused {
            what: what.to_owned(),
            why,
            next: "correct the command or the artefact, then deploy again".to_owned(),
        }),
    }
}

fn describe(target: &Target, change: &Change) -> String {
    match change {
        Change::Launch { placed, .. } => format!("launch revision {} of {target}", placed.revision),
        Change::Stop { revision, .. } => format!("stop replicas of revision {revision} of {target}"),
        Change::Remove { revision, .. } => format!("remove revision {revision} of {target}"),
        Change::RunTask { task } => format!("run `{}` of {target}", task.id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::process::tests::platform;
    use rollout::change::TaskId;
    use rollout::names::DeploymentId;
    use std::process::Command;

    #[test]
    fn o9_what_was_over_and_reaped_before_its_start_was_noted_keeps_its_record() {
        let dir = tempfile::tempdir().unwrap();
        let platform = platform(dir.path());
        let id = TaskId { deployment: DeploymentId::from("d-1"), name: "expand".to_owned() };
        let folder = platform.shared.layout.task(&Target::new("web", "local"), &id);
        let record = TaskRecord { id, launched_at: Millis(1), command: Vec::new(), deadline: Millis(1) };
        folder.create(&record).unwrap();
        let mut over = Command::new("true").spawn().unwrap();
        over.wait().unwrap();

        platform.shared.started(folder.clone(), over.id());

        assert!(folder.exists(), "it ran: it must never be asked for again");
    }
}
