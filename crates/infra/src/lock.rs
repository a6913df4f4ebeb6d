//! Tells what people wrote from what was rendered: `render.lock` holds the sha256 of every file as it was written.
//! Reads and writes no file itself. The lock has the form of `sha256sum`, so `sha256sum -c render.lock` checks a folder too.

use crate::render::Files;
use crate::tree::{RelPath, Tree};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Its name in the folder that is rendered to.
pub const NAME: &str = "render.lock";

/// Files as they were written: path to sha256.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock(BTreeMap<RelPath, String>);

/// How a file on disk stands to what would be rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As rendered.
    Same,
    /// Not there.
    Missing,
    /// As it was rendered before; the manifest has changed since.
    Stale,
    /// Not as it was written: somebody's own change, or a file we never wrote.
    Edited,
    /// Rendered before, not any more.
    Obsolete,
    /// Rendered before, not any more, and changed since: it is somebody's now.
    Abandoned,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Standing {
    pub path: RelPath,
    pub state: State,
}

impl Lock {
    /// Reads a lock; a line that is none is an error with its number.
    pub fn read(text: &str) -> Result<Self, usize> {
        let mut entries = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let (hash, path) = line.split_once("  ").ok_or(number)?;
            if hash.len() != 64 || path.is_empty() {
                return Err(number);
            }
            entries.insert(path.to_owned(), hash.to_owned());
        }
        Ok(Self(entries))
    }

    pub fn text(&self) -> String {
        self.0.iter().map(|(path, hash)| format!("{hash}  {path}\n")).collect()
    }

    pub fn wrote(&mut self, path: &str, text: &str) {
        self.0.insert(path.to_owned(), hash(text.as_bytes()));
    }

    pub fn forget(&mut self, path: &str) {
        self.0.remove(path);
    }

    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Compares what would be rendered for an environment with what lies there. `disk` holds at least the files of both.
    pub fn standings(&self, files: &Files, disk: &Tree, environment: &str) -> Vec<Standing> {
        let standing = |path: &str, state| Standing { path: path.to_owned(), state };
        let mut standings: Vec<Standing> = files
            .iter()
            .map(|(path, text)| {
                let state = match (disk.get(path), self.0.get(path)) {
                    (None, _) => State::Missing,
                    (Some(there), _) if there.as_ref() == text.as_bytes() => State::Same,
                    (Some(there), Some(written)) if hash(there) == *written => State::Stale,
                    (Some(_), _) => State::Edited,
                };
                standing(path, state)
            })
            .collect();
        // Other environments have files in this lock too: theirs are not ours to remove.
        let ours = |path: &str| {
            ["bootstrap", "repository", environment].contains(&path.split('/').next().unwrap_or_default())
        };
        for (path, written) in self.0.iter().filter(|(path, _)| ours(path) && !files.contains_key(*path)) {
            if let Some(there) = disk.get(path) {
                let state = if hash(there) == *written { State::Obsolete } else { State::Abandoned };
                standings.push(standing(path, state));
            }
        }
        standings.sort_by(|left, right| left.path.cmp(&right.path));
        standings
    }
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(lock: &Lock, files: &[(&str, &str)], disk: &[(&str, &str)]) -> Vec<(String, State)> {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        let disk = disk.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().into())).collect();
        lock.standings(&files, &disk, "staging").into_iter().map(|it| (it.path, it.state)).collect()
    }

    #[test]
    fn an_edit_is_told_from_an_old_rendering() {
        let mut lock = Lock::default();
        lock.wrote("staging/a.tf", "old");
        lock.wrote("staging/b.tf", "old");
        lock.wrote("staging/gone.tf", "old");
        lock.wrote("staging/kept.tf", "old");
        lock.wrote("production/x.tf", "old");

        let found = states(
            &lock,
            &[
                ("staging/a.tf", "new"),
                ("staging/b.tf", "new"),
                ("staging/c.tf", "new"),
                ("staging/d.tf", "new"),
                ("staging/e.tf", "new"),
            ],
            &[
                ("staging/a.tf", "old"),
                ("staging/b.tf", "mine"),
                ("staging/c.tf", "new"),
                ("staging/e.tf", "never ours"),
                ("staging/gone.tf", "old"),
                ("staging/kept.tf", "mine"),
                ("production/x.tf", "old"),
            ],
        );

        let named = |path: &str, state| (path.to_owned(), state);
        assert_eq!(
            found,
            [
                named("staging/a.tf", State::Stale),
                named("staging/b.tf", State::Edited),
                named("staging/c.tf", State::Same),
                named("staging/d.tf", State::Missing),
                named("staging/e.tf", State::Edited),
                named("staging/gone.tf", State::Obsolete),
                named("staging/kept.tf", State::Abandoned),
            ]
        );
    }

    #[test]
    fn a_lock_reads_back_and_has_the_form_of_sha256sum() {
        let mut lock = Lock::default();
        lock.wrote("a b/c.tf", "text\n");

        assert_eq!(Lock::read(&lock.text()), Ok(lock.clone()));
        assert_eq!(lock.text().lines().next().unwrap().split_once("  ").unwrap().1, "a b/c.tf");
        assert_eq!(Lock::read("nonsense\n"), Err(1));
    }
}
