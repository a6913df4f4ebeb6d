//! Writes small files so that a crash leaves the old or the new one, never half of one, and a changed byte is noticed.
//! Refuses to know what is in them; see `platform::process::record` for that, `twin` for those written twice.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a lock is waited for. Its holders write a few small files; longer means a disk that hangs.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);

/// What stands between the JSON of a file and the SHA-256 over it. Files of before have none, and are read too.
const SUM: &str = "\n#sha256:";

/// How the write meets a crash of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durable {
    /// On disk when the call returns.
    Yes,
    /// Of no worth after a crash of the machine: a process id, a liveness mark.
    No,
}

/// Replaces `path` with the JSON of `value`.
pub fn replace<T: Serialize>(path: &Path, value: &T, durable: Durable) -> io::Result<()> {
    let scratch = scratch_beside(path);
    let outcome = write_scratch(&scratch, &to_json(value)?, durable)
        .and_then(|()| fs::rename(&scratch, path))
        .and_then(|()| sync_folder_of(path, durable));
    discard(&scratch);
    outcome
}

/// Creates `path` with the JSON of `value`, whole from the first moment on. False: it was there before, and stays.
pub fn create<T: Serialize>(path: &Path, value: &T, durable: Durable) -> io::Result<bool> {
    let scratch = scratch_beside(path);
    // A hard link, not a rename: it fails when the name exists, so exactly one of two writers wins.
    let outcome = write_scratch(&scratch, &to_json(value)?, durable)
        .and_then(|()| fs::hard_link(&scratch, path))
        .and_then(|()| sync_folder_of(path, durable));
    discard(&scratch);
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads the JSON in `path`. None: there is no such file.
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => from_bytes(&bytes).map(Some).map_err(|error| about(path, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(about(path, error)),
    }
}

/// Returns whether the file is there and its content is not what was written.
pub fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// Adds the path to an error of the system, which names none.
pub fn about(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
}

/// Makes the folder and those above it.
pub fn folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Writes bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Flushes the folder's list of names.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Holds a lock between processes until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock, at most five seconds.
    pub fn take(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        let until = Instant::now() + LOCK_WAIT_MAX;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                    let text = format!("another process holds `{}`", path.display());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }
}

/// Returns whether the disk, or the quota on it, is full.
pub fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Returns `name` as one file name: what is not a letter, a digit or one of `.-_@` becomes `%` and two hex digits.
pub fn as_file_name(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || b"-_@".contains(&byte) || (byte == b'.' && at > 0);
        if plain {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02x}"));
        }
    }
    text
}

/// Returns the name that [`as_file_name`] made into this file name. None: it made no such file name.
pub fn of_file_name(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn to_json<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(value)?;
    let sum = hex(&Sha256::digest(&bytes));
    bytes.extend_from_slice(format!("{SUM}{sum}\n").as_bytes());
    Ok(bytes)
}

fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    let damaged = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
    let (json, sum) = text.split_once(SUM).map_or((text, None), |(json, sum)| (json, Some(sum)));
    if sum.is_some_and(|sum| sum.strip_suffix('\n') != Some(hex(&Sha256::digest(json)).as_str())) {
        return Err(damaged("its checksum does not fit"));
    }
    serde_json::from_str(json).map_err(|error| damaged(&error.to_string()))
}

fn write_scratch(scratch: &Path, bytes: &[u8], durable: Durable) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(scratch)?;
    file.write_all(bytes)?;
    if durable == Durable::Yes {
        file.sync_all()?;
    }
    Ok(())
}

fn sync_folder_of(path: &Path, durable: Durable) -> io::Result<()> {
    match (durable, path.parent()) {
        (Durable::Yes, Some(folder)) => sync_folder(folder),
        _ => Ok(()),
    }
}

/// Removes a scratch file if it is still there; a leftover one is harmless and never read.
fn discard(scratch: &Path) {
    let _gone_or_harmless = fs::remove_file(scratch);
}

fn scratch_beside(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}.{}.{next}", std::process::id()))
}

/// Returns the process that wrote a scratch file, by the file's name. None: it is no scratch file.
pub fn writer_of_scratch(name: &str) -> Option<u32> {
    let (rest, number) = name.strip_prefix('.')?.rsplit_once('.')?;
    let (_, pid) = rest.rsplit_once('.')?;
    number.parse::<u64>().ok()?;
    pid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_creations_the_first_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("claim.json");

        assert!(create(&path, &1, Durable::Yes).unwrap());
        assert!(!create(&path, &2, Durable::No).unwrap());

        assert_eq!(read::<u32>(&path).unwrap(), Some(1));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no scratch file stays");
    }

    #[test]
    fn a_replaced_file_is_the_new_one_and_a_missing_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fence.json");
        assert_eq!(read::<u32>(&path).unwrap(), None);

        replace(&path, &1, Durable::Yes).unwrap();
        replace(&path, &2, Durable::Yes).unwrap();

        assert_eq!(read::<u32>(&path).unwrap(), Some(2));
    }

    #[test]
    fn o10_every_cut_and_every_changed_byte_is_noticed_or_harmless() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("claim.json");
        replace(&path, &(4711, "web"), Durable::No).unwrap();
        let whole = fs::read(&path).unwrap();

        for at in 0..whole.len() {
            for bytes in [whole[..at].to_vec(), flipped(&whole, at)] {
                fs::write(&path, bytes).unwrap();
                match read::<(u32, String)>(&path) {
                    Ok(value) => assert_eq!(value, Some((4711, "web".to_owned())), "at {at}"),
                    Err(error) => assert!(is_damage(&error), "at {at}: {error}"),
                }
            }
        }
        fs::write(&path, "[4711,\"web\"]").unwrap();
        assert_eq!(read::<(u32, String)>(&path).unwrap(), Some((4711, "web".to_owned())), "a file of before");
    }

    fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    }

    #[test]
    fn a_name_becomes_one_file_name_that_leaves_no_folder() {
        assert_eq!(as_file_name("web@local"), "web@local");
        assert_eq!(as_file_name("d-7/before deploy"), "d-7%2fbefore%20deploy");
        assert_eq!(as_file_name(".."), "%2e.");
        for name in ["web@local", "d-7/before deploy", "..", "100 %", "ü"] {
            assert_eq!(of_file_name(&as_file_name(name)).as_deref(), Some(name));
        }
    }

    #[test]
    fn a_scratch_file_names_its_writer_and_no_other_file_does() {
        let scratch = scratch_beside(Path::new("dir/.fence.json"));
        let name = scratch.file_name().unwrap().to_str().unwrap();

        assert_eq!(writer_of_scratch(name), Some(std::process::id()));
        for name in ["record.json", ".fence.json", ".lock", ".port.last", "web-1-1", ".gone-7-web-1-1"] {
            assert_eq!(writer_of_scratch(name), None, "{name}");
        }
    }

    #[test]
    fn a_lock_is_free_again_once_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");

        drop(Lock::take(&path).unwrap());

        assert!(Lock::take(&path).is_ok());
    }
}
