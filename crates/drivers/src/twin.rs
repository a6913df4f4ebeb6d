//! Keeps a file twice, so that one that was damaged, or has gone, is written again from the other.
//! For files without which a running process would not be found again. Refuses to choose where neither is whole.

use crate::files::{self, Durable};
use crate::repairs;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};

/// Creates both. False: the first was there before, and both stay.
pub fn create<T: Serialize>(path: &Path, value: &T, durable: Durable) -> io::Result<bool> {
    let created = files::create(path, value, durable)?;
    if created {
        second(path, value);
    }
    Ok(created)
}

/// Replaces both.
pub fn replace<T: Serialize>(path: &Path, value: &T, durable: Durable) -> io::Result<()> {
    files::replace(path, value, durable)?;
    second(path, value);
    Ok(())
}

/// Reads the first, or writes it again from the second where it is not whole. None: neither is there.
pub fn read<T: Serialize + DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let first = files::read(path);
    let why = match &first {
        Ok(Some(_)) => return first,
        Ok(None) => "it was gone".to_owned(),
        // The path is said beside it.
        Err(error) if files::is_damage(error) => {
            error.to_string().rsplit("`: ").next().unwrap_or_default().to_owned()
        }
        Err(_) => return first,
    };
    match files::read::<T>(&of(path)) {
        Ok(Some(value)) => {
            match files::replace(path, &value, Durable::Yes) {
                Ok(()) => repairs::note(path, &format!("{why}; written again from its second copy")),
                // On a full disk the second one is read until there is space.
                Err(error) => repairs::note(path, &format!("{why}; its second copy is used ({error})")),
            }
            Ok(Some(value))
        }
        Ok(None) | Err(_) => first,
    }
}

/// Returns where the second one lies.
pub fn of(path: &Path) -> PathBuf {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    path.with_file_name(format!(".twin-{}", name.trim_start_matches('.')))
}

/// Not flushed: it is there for a damaged first one, which was.
fn second<T: Serialize>(path: &Path, value: &T) {
    let _first_is_whole = files::replace(&of(path), value, Durable::No);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn o10_one_of_both_may_be_cut_changed_or_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("claim.json");
        assert!(create(&path, &vec![4711], Durable::No).unwrap());
        assert!(!create(&path, &vec![1], Durable::No).unwrap());
        for damaged in [&path, &of(&path)] {
            for bytes in [Some(&b""[..]), Some(b"[47"), Some(b"[4712]\n#sha256:00\n"), None] {
                match bytes {
                    Some(bytes) => fs::write(damaged, bytes).unwrap(),
                    None => fs::remove_file(damaged).unwrap(),
                }
                assert_eq!(read(&path).unwrap(), Some(vec![4711]));
                replace(&path, &vec![4711], Durable::No).unwrap();
            }
        }
    }

    #[test]
    fn where_neither_is_whole_the_damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".fence.json");
        assert_eq!(read::<u32>(&path).unwrap(), None);
        replace(&path, &1, Durable::No).unwrap();
        fs::write(&path, "x").unwrap();
        fs::write(of(&path), "").unwrap();

        assert!(files::is_damage(&read::<u32>(&path).unwrap_err()));
    }
}
