//! Keeps artefacts by the hash of their content, so that a release can be started again exactly as it was.
//! Never changes what it stored, and removes only what nobody may still want; see `tree` for what is hashed.

mod error;
mod mark;
mod tree;

pub use error::{ArtifactError, Cause};
pub use mark::Mark;
pub use tree::Bounds;

use crate::files::{self, Lock};
use crate::repairs;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// A folder of artefacts, each a folder of read-only files named after its digest. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    bounds: Bounds,
    /// What was found when an artefact was last read as a whole; None: it is what it was.
    read: Arc<Mutex<BTreeMap<String, Option<String>>>>,
}

/// An artefact in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// SHA-256 over the canonical listing, lower-case hex.
    pub digest: String,
    pub bytes: u64,
    pub files: u64,
}

impl Store {
    /// Opens the store, making its folders when they are not there.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, ArtifactError> {
        Self::open_with(dir, Bounds::default())
    }

    /// Opens the store with other bounds on one artefact.
    pub fn open_with(dir: impl Into<PathBuf>, bounds: Bounds) -> Result<Self, ArtifactError> {
        let dir = dir.into();
        let store = Self { dir, bounds, read: Arc::default() };
        files::folder(&store.scratch())
            .map_err(|source| store.failed("open the artefact store", &store.dir.display(), source))?;
        Ok(store)
    }

    /// Stores a file or folder. Storing the same content again changes nothing but its age.
    /// Blocks on the disk; on any error nothing is left behind.
    pub fn put(&self, path: &Path) -> Result<Stored, ArtifactError> {
        const VERB: &str = "store the artefact";
        let scratch =
            Scratch::new(&self.scratch()).map_err(|source| self.failed(VERB, &path.display(), source))?;
        let copy = scratch.0.join("tree");
        let walked = tree::copy(path, &copy, self.bounds).map_err(|cause| ArtifactError {
            verb: VERB,
            subject: path.display().to_string(),
            cause: self.of_the_store(cause),
        })?;
        self.take_in(&copy, &walked.digest).map_err(|source| self.failed(VERB, &path.display(), source))?;
        Ok(Stored { digest: walked.digest, bytes: walked.bytes, files: walked.files })
    }

    /// Returns where the artefact lies, whether or not it is stored.
    pub fn path(&self, digest: &str) -> PathBuf {
        self.dir.join(files::as_file_name(digest))
    }

    /// Returns whether an artefact of this digest is stored. Does not read it; see [`Store::verify`].
    pub fn contains(&self, digest: &str) -> bool {
        is_digest(digest) && self.path(digest).is_dir()
    }

    /// Reads the artefact again and compares its hash with its name.
    pub fn verify(&self, digest: &str) -> Result<(), ArtifactError> {
        let error = |cause| ArtifactError { verb: "verify the artefact", subject: digest.to_owned(), cause };
        if !self.contains(digest) {
            return Err(error(Cause::NotStored));
        }
        let found = tree::hash(&self.path(digest), self.bounds).map_err(error)?.digest;
        if found == digest { Ok(()) } else { Err(error(Cause::Damaged { found })) }
    }

    /// Looks at the artefact without reading it: another mark than before means that somebody touched it.
    pub fn mark(&self, digest: &str) -> Result<Mark, ArtifactError> {
        let error = |cause| ArtifactError { verb: "look at the artefact", subject: digest.to_owned(), cause };
        if !self.contains(digest) {
            return Err(error(Cause::NotStored));
        }
        let path = self.path(digest);
        mark::of(&path, self.bounds).map_err(|source| error(Cause::Unreadable { path, source }))
    }

    /// Returns why nothing may be started from an artefact: it is gone, or not what was stored. Read as a whole once in the
    /// life of a store: before the first start from it.
    pub fn objection(&self, digest: &str) -> Option<String> {
        let short = digest.get(..12).unwrap_or(digest);
        if !self.contains(digest) {
            return Some(format!("its artefact {short} is no longer stored"));
        }
        let known = self.known().get(digest).cloned();
        known.unwrap_or_else(|| {
            let why = self.verify(digest).err().map(|error| {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                format!("its artefact {short} is damaged ({cause})")
            });
            self.known().insert(digest.to_owned(), why.clone());
            why
        })
    }

    /// Returns the same as far as it is known without reading the artefact.
    pub fn known_objection(&self, digest: &str) -> Option<String> {
        if self.contains(digest) {
            self.known().get(digest).cloned().flatten()
        } else {
            self.objection(digest)
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Option<String>>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what is not in `keep` and was not stored, or stored again, within `age_min`; also what a crash
    /// left half written. Returns the digests removed.
    pub fn collect_garbage(
        &self,
        keep: &BTreeSet<String>,
        age_min: Duration,
    ) -> Result<Vec<String>, ArtifactError> {
        let failed = |source| self.failed("clean the artefact store", &self.dir.display(), source);
        let _lock = self.lock().map_err(failed)?;
        let now = SystemTime::now();
        let mut removed = Vec::new();
        for name in names(&self.dir).map_err(failed)? {
            let path = self.dir.join(&name);
            if !is_digest(&name) || keep.contains(&name) || age(&path, now) < age_min {
                continue;
            }
            // Renamed first: a half-removed tree must never look like a stored one.
            let scratch = Scratch::new(&self.scratch()).map_err(failed)?;
            fs::rename(&path, scratch.0.join("tree")).map_err(failed)?;
            removed.push(name);
        }
        for name in names(&self.scratch()).map_err(failed)? {
            let path = self.scratch().join(name);
            if age(&path, now) >= age_min {
                remove_tree(&path).map_err(failed)?;
            }
        }
        Ok(removed)
    }

    /// Renames a finished copy to its place, unless the same is there already.
    fn take_in(&self, copy: &Path, digest: &str) -> io::Result<()> {
        let _lock = self.lock()?;
        let place = self.path(digest);
        let is_whole =
            place.is_dir() && tree::hash(&place, self.bounds).is_ok_and(|found| found.digest == digest);
        if place.is_dir() && !is_whole {
            let aside = Scratch::new(&self.scratch())?;
            fs::rename(&place, aside.0.join("tree"))?;
            repairs::note(&place, "it was not what had been stored: stored again by this deploy");
        }
        self.known().insert(digest.to_owned(), None);
        if is_whole {
            // Young again, so that a collection that runs now lets it live.
            return File::open(&place)?.set_modified(SystemTime::now());
        }
        fs::rename(copy, &place)?;
        files::sync_folder(&self.dir)
    }

    fn lock(&self) -> io::Result<Lock> {
        Lock::take(&self.scratch().join(".lock"))
    }

    fn scratch(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    /// Names the store rather than a scratch folder in it.
    fn of_the_store(&self, cause: Cause) -> Cause {
        match cause {
            Cause::DiskFull { .. } => Cause::DiskFull { store: self.dir.clone() },
            cause => cause,
        }
    }

    fn failed(
        &self,
        verb: &'static str,
        subject: &dyn std::fmt::Display,
        source: io::Error,
    ) -> ArtifactError {
        let cause = if files::is_disk_full(&source) {
            Cause::DiskFull { store: self.dir.clone() }
        } else {
            Cause::Store { path: self.dir.clone(), source }
        };
        ArtifactError { verb, subject: subject.to_string(), cause }
    }
}

/// A folder for work in progress, removed on drop with what is still in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(parent: &Path) -> io::Result<Self> {
        Ok(Self(tempfile::Builder::new().prefix("work-").tempdir_in(parent)?.keep()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next collection.
        let _retried = remove_tree(&self.0);
    }
}

/// Returns the names in a folder, without hidden ones.
fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn age(path: &Path, now: SystemTime) -> Duration {
    // A time in the future, or none, counts as young: better one artefact too many.
    let modified = fs::symlink_metadata(path).and_then(|data| data.modified());
    modified.ok().and_then(|at| now.duration_since(at).ok()).unwrap_or(Duration::ZERO)
}

fn remove_tree(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

fn is_digest(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
