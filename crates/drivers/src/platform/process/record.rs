//! Keeps what is known of each replica and task on disk: one folder each, every file in it with one writer.
//! Nothing is read, changed and written back, so a crash or a second engine can never undo what another wrote.
//!
//! | file | written by | means |
//! |---|---|---|
//! | `record.json` | engine, before the launch | this is meant to run |
//! | `claim.json` | shim, or engine after five seconds; the first one wins | it runs as this process, or never will |
//! | `failure.json` | shim | why the program could not be started |
//! | `command.json` | shim of a task | the process group of the command |
//! | `stopping.json` | engine | asked to go, since when, how patiently |
//! | `ended.json` | whoever learns it first | how it ended |
//!
//! `record.json` and `claim.json` are kept twice: without them a running process would not be found again. Of the others, one
//! that cannot be read says no more than that it was there.

use super::cgroup;
use super::proc::Identity;
use crate::files::{self, Durable};
use crate::{repairs, twin};
use rollout::change::{Ended, TaskId};
use rollout::names::{Millis, ReplicaId, Revision, Target};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// How the names of folders begin that are being removed.
pub const GONE: &str = ".gone-";

/// What a replica is meant to be. Holds no environment: values there may be secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplicaRecord {
    pub replica: ReplicaId,
    pub revision: Revision,
    pub address: SocketAddr,
    pub launched_at: Millis,
    pub command: Vec<String>,
    #[serde(default)]
    pub cgroup: Option<cgroup::Place>,
}

impl ReplicaRecord {
    /// What is still known of a replica whose record is lost: it is never ready, so it is replaced, and then stopped.
    fn lost(name: &str) -> Option<Self> {
        Some(Self {
            replica: ReplicaId::new(name),
            revision: revision_of(name)?,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            launched_at: Millis(0),
            command: Vec::new(),
            cgroup: None,
        })
    }
}

/// What a task is meant to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRecord {
    pub id: TaskId,
    pub launched_at: Millis,
    pub command: Vec<String>,
    pub deadline: Millis,
}

/// Decides once whether a launch takes place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    Runs(Identity),
    /// The shim came too late; it must not start anything.
    Withdrawn,
}

/// A stop that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    pub since: Millis,
    pub grace: Millis,
}

/// The folder of one replica or task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Folder(pub PathBuf);

impl Folder {
    /// Makes the folder with its record, on disk when this returns. False: it was there.
    pub fn create<T: Serialize>(&self, record: &T) -> io::Result<bool> {
        files::folder(&self.0)?;
        twin::create(&self.0.join("record.json"), record, Durable::Yes)
    }

    pub fn record<T: Serialize + DeserializeOwned>(&self) -> io::Result<Option<T>> {
        twin::read(&self.0.join("record.json"))
    }

    pub fn claim(&self) -> io::Result<Option<Claim>> {
        // A claim cut short by a crash of the machine speaks of a process of the boot before.
        match twin::read(&self.0.join("claim.json")) {
            Err(error) if files::is_damage(&error) => Ok(Some(Claim::Withdrawn)),
            other => other,
        }
    }

    /// Whether it is certain that nothing was started. A claim that cannot be read says nothing.
    pub fn never_ran(&self) -> bool {
        matches!(twin::read(&self.0.join("claim.json")), Ok(Some(Claim::Withdrawn)))
    }

    /// Decides the launch; returns the decision that holds.
    pub fn decide(&self, claim: &Claim) -> io::Result<Claim> {
        if twin::create(&self.0.join("claim.json"), claim, Durable::No)? {
            return Ok(claim.clone());
        }
        self.claim()?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    pub fn failure(&self) -> Option<String> {
        files::read(&self.0.join("failure.json")).ok().flatten()
    }

    pub fn set_failure(&self, text: &str) -> io::Result<()> {
        files::replace(&self.0.join("failure.json"), &text, Durable::No)
    }

    pub fn command(&self) -> io::Result<Option<Identity>> {
        self.readable("command.json", "the command of the task is not known any more", None)
    }

    pub fn set_command(&self, command: &Identity) -> io::Result<()> {
        files::replace(&self.0.join("command.json"), command, Durable::No)
    }

    pub fn stopping(&self) -> io::Result<Option<Stopping>> {
        self.readable(
            "stopping.json",
            "it was asked to stop, when and how patiently is not known: at once",
            Some(Stopping { since: Millis(0), grace: Millis(0) }),
        )
    }

    /// Asks for the stop; the first asking holds.
    pub fn stop(&self, stopping: &Stopping) -> io::Result<()> {
        files::create(&self.0.join("stopping.json"), stopping, Durable::Yes).map(|_| ())
    }

    pub fn ended(&self) -> io::Result<Option<Ended>> {
        self.readable("ended.json", "it has ended, how is not known any more", Some(Ended::Unknown))
    }

    /// Reads a file of which little is lost when it cannot be read: `instead` is what its being there says.
    fn readable<T: DeserializeOwned>(
        &self,
        name: &str,
        says: &str,
        instead: Option<T>,
    ) -> io::Result<Option<T>> {
        let path = self.0.join(name);
        match files::read(&path) {
            Err(error) if files::is_damage(&error) => {
                repairs::note(&path, &format!("it cannot be read ({error}): {says}"));
                Ok(instead)
            }
            other => other,
        }
    }

    /// Records the end; returns the end that holds.
    pub fn end(&self, ended: Ended) -> io::Result<Ended> {
        if files::create(&self.0.join("ended.json"), &ended, Durable::Yes)? {
            return Ok(ended);
        }
        Ok(self.ended()?.unwrap_or(ended))
    }

    /// Forgets it all. Renamed first, so that a half-removed folder is never read as a record.
    pub fn remove(&self) -> io::Result<()> {
        let name = self.0.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let gone = self.0.with_file_name(format!("{GONE}{}-{name}", std::process::id()));
        match fs::rename(&self.0, &gone) {
            Ok(()) => fs::remove_dir_all(gone),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub fn exists(&self) -> bool {
        self.0.is_dir()
    }

    /// Whether it has a record. Without one, the engine died before it meant anything by the folder.
    pub fn is_meant(&self) -> bool {
        self.0.join("record.json").exists()
    }
}

/// Whether replicas or tasks are recorded in a state directory: those that were stopped are not.
pub fn has_replicas(state: &Path) -> bool {
    let layout = Layout::new(state);
    [layout.replicas_dir(), layout.tasks_dir()].iter().any(|dir| {
        let targets = folders(dir).unwrap_or_default();
        targets.iter().any(|Folder(target)| folders(target).is_ok_and(|launched| !launched.is_empty()))
    })
}

/// Where everything lies below the state directory.
#[derive(Debug, Clone)]
pub struct Layout {
    state: PathBuf,
}

impl Layout {
    pub fn new(state: &Path) -> Self {
        Self { state: state.to_owned() }
    }

    /// Makes the folders that are always there.
    pub fn make(&self) -> io::Result<()> {
        for folder in [self.replicas_dir(), self.tasks_dir(), self.logs_dir(), self.empty()] {
            // What services write is nobody else's to read.
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        Ok(())
    }

    /// Where a program without an artefact starts.
    pub fn empty(&self) -> PathBuf {
        self.state.join("empty")
    }

    pub fn ports_lock(&self) -> PathBuf {
        self.replicas_dir().join(".ports.lock")
    }

    /// Where the port given last is kept.
    pub fn port_last(&self) -> PathBuf {
        self.replicas_dir().join(".port.last")
    }

    pub fn target(&self, target: &Target) -> PathBuf {
        self.replicas_dir().join(files::as_file_name(&target.to_string()))
    }

    pub fn replica(&self, target: &Target, replica: &ReplicaId) -> Folder {
        Folder(self.target(target).join(files::as_file_name(replica.as_str())))
    }

    pub fn tasks(&self, target: &Target) -> PathBuf {
        self.tasks_dir().join(files::as_file_name(&target.to_string()))
    }

    pub fn task(&self, target: &Target, id: &TaskId) -> Folder {
        Folder(self.tasks(target).join(files::as_file_name(&id.to_string())))
    }

    pub fn logs(&self, target: &Target) -> PathBuf {
        self.logs_dir().join(files::as_file_name(&target.to_string()))
    }

    pub fn replicas_dir(&self) -> PathBuf {
        self.state.join("replicas")
    }

    pub fn tasks_dir(&self) -> PathBuf {
        self.state.join("tasks")
    }

    pub fn logs_dir(&self) -> PathBuf {
        self.state.join("logs")
    }

    /// Returns the targets that have a folder below `dir`.
    pub fn targets(&self, dir: &Path) -> io::Result<Vec<Target>> {
        let names = folders(dir)?
            .into_iter()
            .filter_map(|Folder(path)| files::of_file_name(path.file_name()?.to_str()?)?.parse().ok());
        Ok(names.collect())
    }

    /// Returns every replica's folder and record of a target, in the order of their launches.
    pub fn replicas(&self, target: &Target) -> io::Result<Vec<(Folder, ReplicaRecord)>> {
        let mut replicas: Vec<(Folder, ReplicaRecord)> =
            with_records(&self.target(target), ReplicaRecord::lost)?;
        replicas.sort_by_key(|(_, record)| (record.revision, number(&record.replica)));
        Ok(replicas)
    }

    /// Returns every task's folder and record of a target, in the order of their launches.
    pub fn task_records(&self, target: &Target) -> io::Result<Vec<(Folder, TaskRecord)>> {
        let mut tasks: Vec<(Folder, TaskRecord)> = with_records(&self.tasks(target), |_| None)?;
        tasks.sort_by(|(_, one), (_, two)| (one.launched_at, &one.id).cmp(&(two.launched_at, &two.id)));
        Ok(tasks)
    }
}

/// Returns the number at the end of a replica's name: `web-3-1` is number 1.
pub fn number(replica: &ReplicaId) -> u32 {
    replica.as_str().rsplit('-').next().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Returns the revision in a replica's name: `web-3-1` is of revision 3.
pub fn revision_of(replica: &str) -> Option<Revision> {
    replica.rsplit('-').nth(1)?.parse().ok().map(Revision)
}

/// Returns the folders with their records. One that cannot be read says no more than `lost` makes of the folder's name:
/// it must not keep the others from being found.
fn with_records<T: Serialize + DeserializeOwned>(
    dir: &Path,
    lost: impl Fn(&str) -> Option<T>,
) -> io::Result<Vec<(Folder, T)>> {
    let mut found = Vec::new();
    for folder in folders(dir)? {
        let record = match folder.record() {
            Err(error) if files::is_damage(&error) => {
                repairs::note(
                    &folder.0.join("record.json"),
                    &format!("{error}, and so is its second copy: it is replaced"),
                );
                super::name_of(&folder.0).and_then(|name| lost(&name))
            }
            // Without a record the engine died before it meant anything by the folder.
            other => other?,
        };
        found.extend(record.map(|record| (folder, record)));
    }
    Ok(found)
}

/// Returns the folders in `dir`, sorted; those whose name begins with a dot are on their way out.
pub fn folders(dir: &Path) -> io::Result<Vec<Folder>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !hidden && entry.file_type()?.is_dir() {
            found.push(Folder(entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_that_comes_after_the_withdrawal_learns_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder(dir.path().to_owned());

        assert_eq!(folder.decide(&Claim::Withdrawn).unwrap(), Claim::Withdrawn);

        let late = Claim::Runs(Identity::own().unwrap());
        assert_eq!(folder.decide(&late).unwrap(), Claim::Withdrawn);
    }

    #[test]
    fn an_engine_that_withdraws_too_late_learns_who_runs() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder(dir.path().to_owned());
        let runs = Claim::Runs(Identity::own().unwrap());

        assert_eq!(folder.decide(&runs).unwrap(), runs);

        assert_eq!(folder.decide(&Claim::Withdrawn).unwrap(), runs);
    }

    #[test]
    fn a_claim_cut_short_by_a_crash_counts_as_withdrawn() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder(dir.path().to_owned());
        fs::write(dir.path().join("claim.json"), "").unwrap();

        assert_eq!(folder.claim().unwrap(), Some(Claim::Withdrawn));
        assert!(!folder.never_ran());
    }

    #[test]
    fn o10_a_replica_whose_record_is_lost_twice_is_still_listed_and_disturbs_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (layout, web) = (Layout::new(dir.path()), Target::new("web", "local"));
        for name in ["web-3-1", "web-3-2"] {
            let record =
                ReplicaRecord { command: vec!["./web".to_owned()], ..ReplicaRecord::lost(name).unwrap() };
            layout.replica(&web, &record.replica).create(&record).unwrap();
        }
        let folder = layout.replica(&web, &ReplicaId::new("web-3-1"));
        fs::write(folder.0.join("record.json"), "{").unwrap();
        assert_eq!(layout.replicas(&web).unwrap()[0].1.command, ["./web"], "from the second copy");

        for name in ["record.json", ".twin-record.json"] {
            fs::write(folder.0.join(name), "{").unwrap();
        }

        let found = layout.replicas(&web).unwrap();
        let of = |at: usize| {
            (found[at].1.replica.as_str().to_owned(), found[at].1.revision, found[at].1.command.len())
        };
        assert_eq!(
            [of(0), of(1)],
            [("web-3-1".to_owned(), Revision(3), 0), ("web-3-2".to_owned(), Revision(3), 1)]
        );
    }

    #[test]
    fn the_first_end_holds() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder(dir.path().to_owned());

        assert_eq!(folder.end(Ended::Code(3)).unwrap(), Ended::Code(3));
        assert_eq!(folder.end(Ended::Unknown).unwrap(), Ended::Code(3));
    }

    #[test]
    fn names_of_replicas_tell_revision_and_number_also_when_the_service_has_dashes() {
        assert_eq!(revision_of("back-office-12-3"), Some(Revision(12)));
        assert_eq!(number(&ReplicaId::new("back-office-12-3")), 3);
        assert_eq!(revision_of("web"), None);
    }
}
