//! Knows the country of an address from a database in MaxMind's format, and reads the file again when it changes.
//! Refuses to guess: without a file, or with one that cannot be read, it says so, and no address has a country.

use crate::complain::complain;
use maxminddb::{PathElement, Reader};
use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock, Weak};

/// A database of all countries has some 10 MB, one of all cities 60 MB; what is larger is another file.
const BYTES_MAX: u64 = 512 * 1024 * 1024;
const ISO_CODE: [PathElement<'static>; 2] = [PathElement::Key("country"), PathElement::Key("iso_code")];

/// Two upper-case letters of ISO 3166-1.
pub(crate) type Code = [u8; 2];

/// What is known of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Country(Code),
    /// The database has no country for it.
    Nowhere,
    /// There is no database to ask.
    NotAsked,
}

/// One file. Shared by all tables that name it.
#[derive(Debug)]
pub(crate) struct Database {
    path: PathBuf,
    current: RwLock<Current>,
}

#[derive(Debug, Default)]
struct Current {
    reader: Option<Reader<Vec<u8>>>,
    /// Of the file last looked at, read or not.
    stamp: Option<Stamp>,
    trouble: Option<String>,
}

/// Tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self { inode: file.ino(), bytes: file.len(), changed: (file.mtime(), file.mtime_nsec()) }
    }
}

impl Database {
    fn open(path: &Path) -> Self {
        let database = Self { path: path.to_owned(), current: RwLock::default() };
        database.refresh();
        database
    }

    /// Returns what is known of an address.
    pub(crate) fn place(&self, address: IpAddr) -> Place {
        let Ok(current) = self.current.read() else { return Place::NotAsked };
        let Some(reader) = &current.reader else { return Place::NotAsked };
        // A damaged entry is no country.
        let found = reader.lookup(address).and_then(|found| found.decode_path::<&str>(&ISO_CODE));
        match found.ok().flatten().map(str::as_bytes) {
            Some([first, second]) => {
                Place::Country([first.to_ascii_uppercase(), second.to_ascii_uppercase()])
            }
            _ => Place::Nowhere,
        }
    }

    /// Says what is wrong with the file; None when it is in use as it is.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.current.read().ok()?.trouble.clone()
    }

    /// Reads the file if it is another than the last time. One that cannot be read leaves what was read before in use.
    pub(crate) fn refresh(&self) {
        let stamp = fs::metadata(&self.path).ok().map(|file| Stamp::of(&file));
        let Ok(known) = self.current.read().map(|current| (current.stamp, current.trouble.is_some())) else {
            return;
        };
        // A file that is not there is looked for again; one that is broken is not read again until it changes.
        if stamp.is_some() && known.0 == stamp {
            return;
        }
        let read = self.read();
        let Ok(mut current) = self.current.write() else { return };
        current.stamp = stamp;
        match read {
            Ok(reader) => (current.reader, current.trouble) = (Some(reader), None),
            Err(why) => {
                let kept = if current.reader.is_some() { "; the one read before stays in use" } else { "" };
                let trouble = format!("cannot read {}: {why}{kept}", self.path.display());
                if !known.1 {
                    complain(format_args!("{trouble}"));
                }
                current.trouble = Some(trouble);
            }
        }
    }

    fn read(&self) -> Result<Reader<Vec<u8>>, String> {
        let file = fs::metadata(&self.path).map_err(|error| error.to_string())?;
        if file.len() > BYTES_MAX {
            return Err(format!("it has {} bytes, {BYTES_MAX} are possible", file.len()));
        }
        let bytes = fs::read(&self.path).map_err(|error| error.to_string())?;
        Reader::from_source(bytes).map_err(|error| format!("it is no database in MaxMind's format: {error}"))
    }
}

/// The databases that tables name.
#[derive(Debug, Default)]
pub(crate) struct Databases(HashMap<PathBuf, Weak<Database>>);

impl Databases {
    /// Returns the database of this path; the same one as long as any table holds it.
    pub(crate) fn of(&mut self, path: &Path) -> Arc<Database> {
        if let Some(known) = self.0.get(path).and_then(Weak::upgrade) {
            return known;
        }
        self.0.retain(|_, database| database.strong_count() > 0);
        let database = Arc::new(Database::open(path));
        self.0.insert(path.to_owned(), Arc::downgrade(&database));
        database
    }

    pub(crate) fn all(&self) -> Vec<Arc<Database>> {
        self.0.values().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests;
