//! Removes what an engine or a shim left behind that was killed in the middle of something: half-written files, folders
//! without a record, half-removed ones, empty control groups. Touches nothing that has a record, or a writer that lives.

use super::record::{self, Folder, Layout};
use super::{Groups, fence, proc};
use crate::files::{self, Lock};
use rollout::names::Target;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Tidies everything. Safe at any time, also beside another engine: launches are kept out while it looks.
pub fn sweep(layout: &Layout, groups: &Groups, group: &Path) -> io::Result<()> {
    files_in(&layout.replicas_dir())?;
    for target in layout.targets(&layout.replicas_dir())? {
        files_in(&layout.target(&target))?;
        folders_in(layout, &target, &layout.target(&target))?;
    }
    for target in layout.targets(&layout.tasks_dir())? {
        files_in(&layout.tasks(&target))?;
        folders_in(layout, &target, &layout.tasks(&target))?;
    }
    control_groups(layout, groups, group)
}

/// Removes the scratch files of writers that are gone, and the rest of folders whose removal was cut short.
fn files_in(dir: &Path) -> io::Result<()> {
    for entry in entries(dir)? {
        let name = entry.file_name().to_string_lossy().into_owned();
        let removed = if name.starts_with(record::GONE) {
            fs::remove_dir_all(entry.path())
        } else if files::writer_of_scratch(&name).is_some_and(is_gone) {
            fs::remove_file(entry.path())
        } else {
            continue;
        };
        gone_is_fine(removed)?;
    }
    Ok(())
}

/// Tidies the folders of replicas or tasks, and removes those that were made and never meant anything.
fn folders_in(layout: &Layout, target: &Target, dir: &Path) -> io::Result<()> {
    let mut unmeant = Vec::new();
    for folder in record::folders(dir)? {
        files_in(&folder.0)?;
        if !folder.is_meant() {
            unmeant.push(folder);
        }
    }
    if unmeant.is_empty() {
        return Ok(());
    }
    // Who launches holds this lock from before the folder is made until its record is written.
    let _lock = fence::lock(&layout.target(target))?;
    for Folder(path) in unmeant.into_iter().filter(|folder| !folder.is_meant()) {
        match fs::remove_dir(path) {
            // A scratch file whose writer just died: it goes first, the next time.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            removed => gone_is_fine(removed)?,
        }
    }
    Ok(())
}

/// Removes the environment's groups that no replica has.
fn control_groups(layout: &Layout, groups: &Groups, group: &Path) -> io::Result<()> {
    // Groups are made under this lock, and recorded before it is let go.
    let _lock = Lock::take(&layout.ports_lock())?;
    let mut keep: BTreeSet<PathBuf> = BTreeSet::new();
    for target in layout.targets(&layout.replicas_dir())? {
        let places = layout.replicas(&target)?.into_iter().filter_map(|(_, record)| record.cgroup);
        keep.extend(places.flat_map(|place| place.folders));
    }
    groups.sweep(group, &keep);
    Ok(())
}

fn is_gone(pid: u32) -> bool {
    matches!(proc::stat(pid), Ok(None))
}

fn entries(dir: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// What is just being removed by somebody else may vanish under this.
fn gone_is_fine(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Durable;

    fn nobody() -> Groups {
        Groups::unavailable("not for this test")
    }

    #[test]
    fn what_killed_writers_left_goes_and_what_means_something_stays() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        layout.make().unwrap();
        let target = Target::new("web", "local");
        let replica = layout.target(&target).join("web-1-1");
        fs::create_dir_all(&replica).unwrap();
        let record = record::ReplicaRecord {
            replica: rollout::names::ReplicaId::new("web-1-1"),
            revision: rollout::names::Revision(1),
            address: ([127, 0, 0, 1], 20_000).into(),
            launched_at: rollout::names::Millis(0),
            command: Vec::new(),
            cgroup: None,
        };
        files::create(&replica.join("record.json"), &record, Durable::No).unwrap();
        let own = std::process::id();
        // No process has the highest number there can be.
        let dead = u32::MAX >> 1;
        let goes = [
            layout.target(&target).join(format!("..fence.json.{dead}.7")),
            replica.join(format!(".claim.json.{dead}.0")),
            layout.replicas_dir().join(format!("..port.last.{dead}.3")),
        ];
        let stays =
            [replica.join(format!(".claim.json.{own}.0")), layout.target(&target).join(".fence.json")];
        goes.iter().chain(&stays).for_each(|path| fs::write(path, "").unwrap());
        let unmeant = layout.tasks(&target).join("d-1%2fsmoke");
        let half_removed = layout.target(&target).join(".gone-7-web-1-2");
        for folder in [&unmeant, &half_removed] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(unmeant.join(format!(".record.json.{dead}.1")), "").unwrap();
        fs::write(half_removed.join("record.json"), "").unwrap();

        sweep(&layout, &nobody(), Path::new("local")).unwrap();

        assert!(goes.iter().chain([&unmeant, &half_removed]).all(|path| !path.exists()));
        assert!(stays.iter().all(|path| path.exists()));
        assert!(replica.join("record.json").exists());
    }
}
