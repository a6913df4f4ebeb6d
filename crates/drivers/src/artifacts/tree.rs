//! Copies a file or folder and hashes what it copied, in one walk. Follows no link, refuses what leads out.
//! The hash is over a canonical listing, so that it depends on nothing but names, kinds, bits and content.

use super::error::Cause;
use crate::files::{hex, is_disk_full, sync_folder};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

/// First bytes of what is hashed; a new way of listing gets a new one.
const LISTING: &[u8] = b"medeclipse artefact 1\n";

/// Bounds of one artefact.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Files, folders and links. A checkout with all its dependencies has fewer.
    pub entries_max: u64,
    pub bytes_max: u64,
    /// Nested folders; keeps paths within what the system takes.
    pub depth_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { entries_max: 100_000, bytes_max: 16 << 30, depth_max: 64 }
    }
}

/// What a walk saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walked {
    /// Lower-case hex.
    pub digest: String,
    pub bytes: u64,
    pub files: u64,
}

/// Copies `source` into the new folder `to`, its files read-only, flushed to disk. A single file becomes a folder with it.
pub fn copy(source: &Path, to: &Path, bounds: Bounds) -> Result<Walked, Cause> {
    let kind = fs::metadata(source).map_err(|error| missing_or_unreadable(source, error))?;
    let mut walk = Walk::new(source, Some(to), bounds);
    if kind.is_dir() {
        walk.folder(Path::new(""), 0)?;
        return Ok(walk.finish());
    }
    if !kind.is_file() {
        return Err(Cause::Special { path: source.to_owned() });
    }
    let name = PathBuf::from(source.file_name().unwrap_or(source.as_os_str()));
    walk.root = source.parent().map(Path::to_owned).unwrap_or_default();
    walk.make_folder(Path::new(""))?;
    walk.file(&name)?;
    walk.close_folder(Path::new(""))?;
    Ok(walk.finish())
}

/// Hashes the folder `root` as [`copy`] hashed what it wrote there.
pub fn hash(root: &Path, bounds: Bounds) -> Result<Walked, Cause> {
    let mut walk = Walk::new(root, None, bounds);
    walk.folder(Path::new(""), 0)?;
    Ok(walk.finish())
}

/// One walk through a tree, in the order of names.
struct Walk<'a> {
    root: PathBuf,
    to: Option<&'a Path>,
    bounds: Bounds,
    hasher: Sha256,
    entries: u64,
    bytes: u64,
    files: u64,
}

impl<'a> Walk<'a> {
    fn new(root: &Path, to: Option<&'a Path>, bounds: Bounds) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(LISTING);
        Self { root: root.to_owned(), to, bounds, hasher, entries: 0, bytes: 0, files: 0 }
    }

    fn finish(self) -> Walked {
        Walked { digest: hex(&self.hasher.finalize()), bytes: self.bytes, files: self.files }
    }

    fn folder(&mut self, relative: &Path, depth: usize) -> Result<(), Cause> {
        if depth > self.bounds.depth_max {
            return Err(Cause::TooDeep { max: self.bounds.depth_max });
        }
        self.make_folder(relative)?;
        for name in self.names(relative)? {
            let relative = relative.join(name);
            let path = self.root.join(&relative);
            let kind = fs::symlink_metadata(&path).map_err(|source| unreadable(&path, source))?.file_type();
            if kind.is_symlink() {
                self.link(&relative)?;
            } else if kind.is_dir() {
                self.entry(b'd', &relative)?;
                self.folder(&relative, depth + 1)?;
            } else if kind.is_file() {
                self.file(&relative)?;
            } else {
                return Err(Cause::Special { path });
            }
        }
        self.close_folder(relative)
    }

    /// Returns the names in a folder, sorted by bytes.
    fn names(&self, relative: &Path) -> Result<Vec<OsString>, Cause> {
        let path = self.root.join(relative);
        let left = self.bounds.entries_max.saturating_sub(self.entries);
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(|source| unreadable(&path, source))? {
            if names.len() as u64 >= left {
                return Err(Cause::TooMany { max: self.bounds.entries_max });
            }
            names.push(entry.map_err(|source| unreadable(&path, source))?.file_name());
        }
        names.sort();
        Ok(names)
    }

    fn link(&mut self, relative: &Path) -> Result<(), Cause> {
        let path = self.root.join(relative);
        let target = fs::read_link(&path).map_err(|source| unreadable(&path, source))?;
        if !stays_inside(&self.root, relative, &target) {
            return Err(Cause::LinkLeadsOut { path, to: target });
        }
        self.entry(b'l', relative)?;
        self.text(target.as_os_str().as_bytes());
        if let Some(to) = self.to {
            let new = to.join(relative);
            symlink(&target, &new).map_err(|source| store_failed(to, &new, source))?;
        }
        Ok(())
    }

    fn file(&mut self, relative: &Path) -> Result<(), Cause> {
        let path = self.root.join(relative);
        let mut from = File::open(&path).map_err(|source| unreadable(&path, source))?;
        let mode = from.metadata().map_err(|source| unreadable(&path, source))?.permissions().mode();
        let executable = mode & 0o111 != 0;
        self.entry(if executable { b'x' } else { b'f' }, relative)?;
        self.files += 1;
        let mut copy = self.new_file(relative, if executable { 0o555 } else { 0o444 })?;
        let mut content = Sha256::new();
        let mut buffer = vec![0_u8; 128 << 10];
        loop {
            let count = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(unreadable(&path, source)),
            };
            self.bytes += count as u64;
            if self.bytes > self.bounds.bytes_max {
                return Err(Cause::TooLarge { max: self.bounds.bytes_max });
            }
            content.update(&buffer[..count]);
            if let (Some((new, file)), Some(to)) = (&mut copy, self.to) {
                file.write_all(&buffer[..count]).map_err(|source| store_failed(to, new, source))?;
            }
        }
        self.hasher.update(content.finalize());
        if let (Some((new, file)), Some(to)) = (copy, self.to) {
            file.sync_all().map_err(|source| store_failed(to, &new, source))?;
        }
        Ok(())
    }

    /// Opens the copy of a file. None: nothing is copied.
    fn new_file(&self, relative: &Path, mode: u32) -> Result<Option<(PathBuf, File)>, Cause> {
        let Some(to) = self.to else { return Ok(None) };
        let new = to.join(relative);
        let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new);
        // The mode is set again: the process's mask may have taken bits away.
        let file = opened
            .and_then(|file| file.set_permissions(fs::Permissions::from_mode(mode)).map(|()| file))
            .map_err(|source| store_failed(to, &new, source))?;
        Ok(Some((new, file)))
    }

    fn make_folder(&self, relative: &Path) -> Result<(), Cause> {
        let Some(to) = self.to else { return Ok(()) };
        let new = to.join(relative);
        fs::create_dir(&new).map_err(|source| store_failed(to, &new, source))
    }

    /// Flushes a copied folder, once everything is in it. It stays writable, so that the state directory can be
    /// removed like any other.
    fn close_folder(&self, relative: &Path) -> Result<(), Cause> {
        let Some(to) = self.to else { return Ok(()) };
        let new = to.join(relative);
        sync_folder(&new).map_err(|source| store_failed(to, &new, source))
    }

    /// Puts an entry's kind and path into the listing, and counts it.
    fn entry(&mut self, kind: u8, relative: &Path) -> Result<(), Cause> {
        self.entries += 1;
        if self.entries > self.bounds.entries_max {
            return Err(Cause::TooMany { max: self.bounds.entries_max });
        }
        self.hasher.update([kind]);
        self.text(relative.as_os_str().as_bytes());
        Ok(())
    }

    /// Puts bytes and their length into the listing, so that no two listings read the same.
    fn text(&mut self, bytes: &[u8]) {
        self.hasher.update((bytes.len() as u64).to_be_bytes());
        self.hasher.update(bytes);
    }
}

/// Returns whether a link at `relative` that points to `target` can only lead to something below `root`.
fn stays_inside(root: &Path, relative: &Path, target: &Path) -> bool {
    let mut depth = relative.components().count().saturating_sub(1);
    let mut climbing = true;
    for component in target.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if climbing && depth > 0 => depth -= 1,
            // A `..` behind a name may climb out of wherever a link of that name leads: ask the system.
            Component::ParentDir if !climbing => return resolves_inside(root, relative, target),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
            Component::Normal(_) => climbing = false,
        }
    }
    true
}

fn resolves_inside(root: &Path, relative: &Path, target: &Path) -> bool {
    let folder = root.join(relative).parent().map(Path::to_owned).unwrap_or_default();
    match (root.canonicalize(), folder.join(target).canonicalize()) {
        (Ok(root), Ok(resolved)) => resolved.starts_with(root),
        _ => false,
    }
}

fn missing_or_unreadable(path: &Path, source: io::Error) -> Cause {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Cause::Missing,
        _ => unreadable(path, source),
    }
}

fn unreadable(path: &Path, source: io::Error) -> Cause {
    Cause::Unreadable { path: path.to_owned(), source }
}

/// Says what is wrong with the store; `to` is the scratch folder in it.
fn store_failed(to: &Path, path: &Path, source: io::Error) -> Cause {
    if is_disk_full(&source) {
        return Cause::DiskFull { store: to.parent().unwrap_or(to).to_owned() };
    }
    Cause::Store { path: path.to_owned(), source }
}
