//! Names the files of a state directory by what they are for, and damages them in every way a disk or a hand does.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// One thing done to one file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damage {
    Emptied,
    Halved,
    Flipped,
    Removed,
    /// Another file's content is in it.
    Replaced,
    /// It is there a second time, under another name.
    Doubled,
}

impl Damage {
    pub const ALL: [Damage; 6] = [
        Damage::Emptied,
        Damage::Halved,
        Damage::Flipped,
        Damage::Removed,
        Damage::Replaced,
        Damage::Doubled,
    ];

    /// Whether it can happen to this.
    pub fn fits(self, path: &Path) -> bool {
        let Ok(data) = fs::symlink_metadata(path) else { return false };
        // A program that runs cannot be written to.
        let is_busy = !data.is_dir() && fs::File::options().write(true).open(path).is_err();
        let whole_only = data.is_dir() || data.file_type().is_socket() || is_busy;
        match self {
            Damage::Emptied => !whole_only && data.len() > 0,
            Damage::Halved | Damage::Flipped => !whole_only && data.len() > 1,
            Damage::Removed => true,
            Damage::Replaced => !whole_only,
            Damage::Doubled => !data.file_type().is_socket(),
        }
    }

    /// Does it; `random` chooses the byte, `other` is the content put in its place. False: all runs, and the file went
    /// or shrank by itself before the damage reached it.
    pub fn apply(self, path: &Path, random: u64, other: &[u8]) -> bool {
        match self.try_apply(path, random, other) {
            Ok(()) => true,
            Err(error) if [ErrorKind::NotFound, ErrorKind::UnexpectedEof].contains(&error.kind()) => false,
            Err(error) => panic!("{self:?} of {}: {error}", path.display()),
        }
    }

    fn try_apply(self, path: &Path, random: u64, other: &[u8]) -> io::Result<()> {
        let length = fs::symlink_metadata(path)?.len();
        let resize = |length| fs::File::options().write(true).open(path)?.set_len(length);
        match self {
            Damage::Emptied => resize(0),
            Damage::Halved => resize(length / 2),
            Damage::Flipped => flip(path, random % length.max(1)),
            Damage::Removed if path.is_dir() => remove_folder(path),
            Damage::Removed => fs::remove_file(path),
            // Over the file, not in its place: its owner may hold it open.
            Damage::Replaced => fs::write(path, other),
            Damage::Doubled => double(path),
        }
    }
}

/// Changes one bit where it lies: the file stays the same one.
fn flip(path: &Path, at: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let file = fs::File::options().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 0x10], at)
}

/// Removes a folder that somebody may be writing to: what comes meanwhile goes too.
fn remove_folder(path: &Path) -> io::Result<()> {
    loop {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
            ended => return ended,
        }
    }
}

fn double(path: &Path) -> io::Result<()> {
    let name = path.file_name().expect("BUG: a path in the state directory has a name").to_string_lossy();
    copy(path, &path.with_file_name(format!("{name} 2")))
}

/// Copies a file or a folder with its rights. What goes from a folder meanwhile is not in the copy.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let data = fs::symlink_metadata(from)?;
    if !data.is_dir() {
        return if data.is_file() { fs::copy(from, to).map(drop) } else { Ok(()) };
    }
    fs::create_dir(to)?;
    fs::set_permissions(to, data.permissions())?;
    for entry in fs::read_dir(from)?.flatten() {
        match copy(&entry.path(), &to.join(entry.file_name())) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            copied => copied?,
        }
    }
    Ok(())
}

/// Returns the files and folders of a state directory that are `service`'s or everybody's, by what they are for.
pub fn of(state: &Path, service: &str, digest: &str) -> BTreeMap<String, Vec<PathBuf>> {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let mut todo = vec![state.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(state).unwrap().to_string_lossy().into_owned();
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if let Some(kind) = kind(&name, service, digest) {
                found.entry(kind).or_default().push(path.clone());
            }
            if is_dir {
                todo.push(path);
            }
        }
    }
    found.values_mut().for_each(|paths| paths.sort());
    found
}

/// Returns what a file is for. None: it is another service's.
fn kind(name: &str, service: &str, digest: &str) -> Option<String> {
    let target = format!("{service}@local");
    let parts: Vec<&str> = name.split('/').collect();
    let last = *parts.last()?;
    let owner = parts.get(1).copied().unwrap_or_default();
    let is_mine = owner.starts_with(&target) || owner == digest;
    let of_a_target = owner.contains("@local") || (owner.len() == 64);
    if of_a_target && !is_mine {
        return None;
    }
    let end = last.trim_start_matches(&target);
    Some(match parts.as_slice() {
        [folder] if !folder.contains('.') && *folder != "token" => format!("{folder}/"),
        ["journal" | "journal-copy" | "reference" | "edge", _] => format!("{}/TARGET{end}", parts[0]),
        ["replicas" | "tasks" | "logs", owner] if owner.contains('@') => format!("{}/TARGET/", parts[0]),
        ["replicas" | "tasks", _, file] if file.starts_with('.') => format!("{}/TARGET/{file}", parts[0]),
        ["replicas" | "tasks", _, _] => format!("{}/TARGET/ID/", parts[0]),
        ["replicas" | "tasks", _, _, file] => format!("{}/TARGET/ID/{file}", parts[0]),
        ["logs", _, _] => "logs/TARGET/ID".to_owned(),
        ["artifacts", "tmp", ..] => "artifacts/tmp/".to_owned(),
        ["artifacts", _] => "artifacts/DIGEST/".to_owned(),
        ["artifacts", _, ..] => "artifacts/DIGEST/FILE".to_owned(),
        ["run", "reaped", ..] => "run/reaped/".to_owned(),
        _ => name.to_owned(),
    })
}
