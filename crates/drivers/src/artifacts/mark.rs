//! Looks at a stored artefact from outside: names, sizes and times of its files, without reading them.
//! Proves nothing about the content; tells that somebody touched it since it was read.

use super::tree::Bounds;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};

/// How an artefact looks from outside. Writing one byte of it makes another mark: the system stamps each change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub bytes: u64,
    seen: [u8; 32],
}

/// Looks at every file of a folder.
pub(super) fn of(root: &Path, bounds: Bounds) -> io::Result<Mark> {
    let mut hasher = Sha256::new();
    let (mut bytes, mut entries) = (0_u64, 0_u64);
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let mut paths: Vec<_> =
            fs::read_dir(&folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
        paths.sort();
        for path in paths {
            entries += 1;
            if entries > bounds.entries_max {
                return Err(io::Error::other(format!("it holds more than {} entries", bounds.entries_max)));
            }
            let data = fs::symlink_metadata(&path)?;
            hasher.update(path.as_os_str().as_bytes());
            let times = [data.mtime(), data.mtime_nsec(), data.ctime(), data.ctime_nsec()];
            // A folder's own times change when something is renamed past it; what is in it is looked at anyway.
            let numbers = [data.ino(), u64::from(data.mode()), if data.is_dir() { 0 } else { data.len() }];
            numbers.iter().for_each(|number| hasher.update(number.to_be_bytes()));
            if data.is_dir() {
                folders.push(path);
            } else {
                times.iter().for_each(|time| hasher.update(time.to_be_bytes()));
                bytes = bytes.saturating_add(data.len());
            }
        }
    }
    Ok(Mark { bytes, seen: hasher.finalize().into() })
}
