//! Refuses the changes of a stale engine, and numbers replicas so that no number comes twice.
//! One small file per target, kept twice, flushed before a change is made; read and written under the target's lock.
//! Where both are lost, the present engine goes on: the state directory has one, and numbers go on from the folders.

use crate::files::{self, Durable, Lock};
use crate::{repairs, twin};
use rollout::names::{Generation, Revision};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// How many revisions' last numbers are remembered. Far more than can still run or have logs.
const REVISIONS_MAX: usize = 200;

/// What the file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    generation: Generation,
    /// The last number given to a replica of the revision.
    #[serde(default)]
    numbers: BTreeMap<Revision, u32>,
}

/// The right to change a target, until dropped.
#[derive(Debug)]
pub struct Pass {
    path: PathBuf,
    kept: Kept,
    _lock: Lock,
}

/// Why the gate stays shut.
#[derive(Debug)]
pub enum Shut {
    /// A newer engine was here.
    Newer(Generation),
    Io(io::Error),
}

impl From<io::Error> for Shut {
    fn from(error: io::Error) -> Self {
        Shut::Io(error)
    }
}

/// Keeps everybody from changing the target until dropped.
pub fn lock(target_dir: &Path) -> io::Result<Lock> {
    files::folder(target_dir)?;
    Lock::take(&target_dir.join(".lock"))
}

impl Pass {
    /// Takes the target's lock and records `at` as the newest generation, or refuses an older one.
    pub fn enter(target_dir: &Path, at: Generation) -> Result<Self, Shut> {
        let lock = lock(target_dir)?;
        let path = target_dir.join(".fence.json");
        let mut kept = read(&path)?;
        if at < kept.generation {
            return Err(Shut::Newer(kept.generation));
        }
        if at > kept.generation {
            kept.generation = at;
            twin::replace(&path, &kept, Durable::Yes)?;
        }
        Ok(Self { path, kept, _lock: lock })
    }

    /// Returns a number no replica of the revision has had.
    pub fn next_number(&mut self, revision: Revision) -> io::Result<u32> {
        let number = self.kept.numbers.get(&revision).copied().unwrap_or(0) + 1;
        self.kept.numbers.insert(revision, number);
        while self.kept.numbers.len() > REVISIONS_MAX {
            self.kept.numbers.pop_first();
        }
        twin::replace(&self.path, &self.kept, Durable::Yes)?;
        Ok(number)
    }
}

/// Returns the generation that changed a target last.
pub fn generation(target_dir: &Path) -> io::Result<Generation> {
    Ok(read(&target_dir.join(".fence.json"))?.generation)
}

/// A file that is lost twice begins anew: refusing every change for ever would help nobody.
fn read(path: &Path) -> io::Result<Kept> {
    match twin::read(path) {
        Ok(kept) => Ok(kept.unwrap_or_default()),
        Err(error) if files::is_damage(&error) => {
            repairs::note(
                path,
                &format!("{error}, and so is its second copy: it begins anew with this engine"),
            );
            Ok(Kept::default())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(epoch: u64, seq: u64) -> Generation {
        Generation { epoch, seq }
    }

    #[test]
    fn the_same_and_a_newer_generation_enter_and_an_older_does_not() {
        let dir = tempfile::tempdir().unwrap();
        drop(Pass::enter(dir.path(), generation(2, 5)).unwrap());

        assert!(Pass::enter(dir.path(), generation(2, 5)).is_ok());
        assert!(Pass::enter(dir.path(), generation(3, 0)).is_ok());

        let shut = Pass::enter(dir.path(), generation(2, 9)).unwrap_err();
        assert!(matches!(shut, Shut::Newer(newest) if newest == generation(3, 0)), "{shut:?}");
    }

    #[test]
    fn numbers_go_on_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut pass = Pass::enter(dir.path(), generation(1, 1)).unwrap();
        assert_eq!(pass.next_number(Revision(3)).unwrap(), 1);
        assert_eq!(pass.next_number(Revision(3)).unwrap(), 2);
        drop(pass);

        let mut pass = Pass::enter(dir.path(), generation(1, 1)).unwrap();

        assert_eq!(pass.next_number(Revision(3)).unwrap(), 3);
        assert_eq!(pass.next_number(Revision(4)).unwrap(), 1);
    }
}
