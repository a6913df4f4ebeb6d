//! Keeps each target's accepted table on disk: one checksummed file per target, and the last good one beside it.
//! Refuses a file whose bytes are not those it wrote, and then only that file: other targets never notice.

use crate::complain::complain;
use manifest::edge::EdgeTable;
use rollout::names::{Generation, Target};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What the first line of a file begins with; the checksum of the rest follows.
pub(crate) const FORMAT: &str = "medeclipse-edge-table 1 sha256:";
const LAST: &str = "last";
const UNFINISHED: &str = ".unfinished";

/// What is remembered of a target. A withdrawn one keeps its generation, so that a stale engine cannot bring it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) target: Target,
    pub(crate) generation: Generation,
    pub(crate) table: Option<EdgeTable>,
}

/// The folder of tables.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    folder: PathBuf,
}

impl Store {
    /// Opens the folder, making it where it is missing.
    pub(crate) fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// Reads every table that is whole. Says on standard error which are not.
    pub(crate) fn load(&self) -> io::Result<Vec<Record>> {
        let mut found: BTreeMap<PathBuf, Record> = BTreeMap::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes()))
            {
                // A write that a crash cut short; it was never acknowledged.
                fs::remove_file(&path)?;
                continue;
            }
            let current = path.with_extension("table");
            let known = path.extension().is_some_and(|extension| extension == "table" || extension == LAST);
            if !known || found.contains_key(&current) {
                continue;
            }
            match read(&current).or_else(|error| {
                complain(format_args!("cannot read {}: {error}; trying the one before", current.display()));
                read(&current.with_extension(LAST))
            }) {
                Ok(record) => drop(found.insert(current, record)),
                Err(error) => complain(format_args!(
                    "cannot restore {}: {error}; it stays unserved until the engine sends it again",
                    current.display()
                )),
            }
        }
        Ok(found.into_values().collect())
    }

    /// Writes a record: on return it survives a power cut, and the one before is kept as the last good.
    pub(crate) fn save(&self, record: &Record) -> io::Result<()> {
        let path = self.folder.join(file_name(&record.target));
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.folder)?;
        file.write_all(&encode(record)?)?;
        file.as_file().sync_data()?;
        // Only a whole file may become the last good one.
        if read(&path).is_ok() {
            fs::rename(&path, path.with_extension(LAST))?;
        }
        file.persist(&path)?;
        File::open(&self.folder)?.sync_all()
    }
}

pub(crate) fn encode(record: &Record) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(record)?;
    let mut bytes = format!("{FORMAT}{}\n", checksum(&body)).into_bytes();
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

fn read(path: &Path) -> io::Result<Record> {
    decode(&fs::read(path)?)
}

/// Reads a file that is whole.
pub(crate) fn decode(bytes: &[u8]) -> io::Result<Record> {
    let broken = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let text = std::str::from_utf8(bytes).map_err(|_| broken("it is not text"))?;
    let (head, body) = text.split_once('\n').ok_or_else(|| broken("it is cut short"))?;
    let sum = head.strip_prefix(FORMAT).ok_or_else(|| broken("its format is unknown"))?;
    if sum != checksum(body.as_bytes()) {
        return Err(broken("its checksum does not fit"));
    }
    Ok(serde_json::from_str(body)?)
}

/// Makes a folder only its owner may enter, and closes one that was open.
pub(crate) fn private_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

/// Writes a file only its owner may read: all of it, or nothing.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("it has no folder"))?;
    // Made with the mode 0600.
    let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_data()?;
    file.persist(path)?;
    File::open(folder)?.sync_all()
}

/// Returns the SHA-256 of some bytes, hex.
pub(crate) fn checksum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Names a target's file. Everything but letters, digits, `-` and `@` is written as hex, so that two targets never share
/// one and none leaves the folder.
fn file_name(target: &Target) -> String {
    let mut name = String::new();
    for byte in target.to_string().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'@' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    name + ".table"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(service: &str, seq: u64) -> Record {
        let target = Target::new(service, "local");
        Record { target, generation: Generation { epoch: 1, seq }, table: None }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("edge")).unwrap();
        (folder, store)
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let (_folder, store) = store();
        store.save(&record("web", 1)).unwrap();
        store.save(&record("web", 2)).unwrap();
        store.save(&record("a.p/i", 7)).unwrap();

        assert_eq!(store.load().unwrap(), [record("a.p/i", 7), record("web", 2)]);
    }

    #[test]
    fn e24_any_damage_to_one_file_leaves_the_others_and_falls_back_to_the_last_good() {
        let (_folder, store) = store();
        store.save(&record("web", 1)).unwrap();
        store.save(&record("web", 2)).unwrap();
        store.save(&record("api", 5)).unwrap();
        let path = store.folder.join(file_name(&Target::new("web", "local")));
        let whole = fs::read(&path).unwrap();

        for at in 0..whole.len() {
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(store.load().unwrap(), [record("api", 5), record("web", 1)], "cut at {at}");
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&path, flipped).unwrap();
            assert_eq!(store.load().unwrap(), [record("api", 5), record("web", 1)], "flipped at {at}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(store.load().unwrap(), [record("api", 5), record("web", 1)]);
    }

    #[test]
    fn an_unfinished_write_is_cleared_away() {
        let (_folder, store) = store();
        store.save(&record("web", 1)).unwrap();
        let unfinished = store.folder.join(".unfinishedAbC");
        fs::write(&unfinished, b"half").unwrap();

        assert_eq!(store.load().unwrap(), [record("web", 1)]);
        assert!(!unfinished.exists());
    }

    #[test]
    fn a_damaged_file_never_becomes_the_last_good_one() {
        let (_folder, store) = store();
        store.save(&record("web", 1)).unwrap();
        store.save(&record("web", 2)).unwrap();
        let path = store.folder.join(file_name(&Target::new("web", "local")));
        fs::write(&path, b"noise").unwrap();

        store.save(&record("web", 3)).unwrap();
        fs::write(&path, b"noise").unwrap();

        assert_eq!(store.load().unwrap(), [record("web", 1)]);
    }
}
