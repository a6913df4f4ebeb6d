//! Reads and writes the files of a folder that is rendered to. Follows no link; refuses what is too large to be a configuration.

use crate::exit::{self, Failure};
use infra::tree::Tree;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// A file of Terraform is written by people or by us; what is larger is something else.
const FILE_MAX: u64 = 10 << 20;
const TREE_MAX: u64 = 512 << 20;
/// Folders of providers and modules are not ours to read.
const SKIPPED: [&str; 3] = [".terraform", ".git", "node_modules"];

/// Reads the files named, as far as they exist.
pub fn read(folder: &Path, paths: impl IntoIterator<Item = String>) -> Result<Tree, Failure> {
    let mut tree = Tree::new();
    for path in paths {
        let file = folder.join(&path);
        match std::fs::symlink_metadata(&file) {
            Ok(meta) if meta.is_file() => {
                tree.insert(path, std::fs::read(&file).map_err(|error| unreadable(&file, error))?.into());
            }
            Ok(_) => return Err(unreadable(&file, "it is a folder or a link, not a file")),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(unreadable(&file, error)),
        }
    }
    Ok(tree)
}

/// Reads every file below a folder whose name `wanted` takes.
pub fn walk(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<Tree, Failure> {
    let mut tree = Tree::new();
    let mut total = 0;
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(here) = folders.pop() {
        for entry in std::fs::read_dir(&here).map_err(|error| unreadable(&here, error))? {
            let entry = entry.map_err(|error| unreadable(&here, error))?;
            let kind = entry.file_type().map_err(|error| unreadable(&entry.path(), error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                folders.push(entry.path());
            }
            if !kind.is_file() || !wanted(&name) {
                continue;
            }
            let size = entry.metadata().map_err(|error| unreadable(&entry.path(), error))?.len();
            total += size;
            if size > FILE_MAX || total > TREE_MAX {
                return Err(unreadable(
                    &entry.path(),
                    format!("a file has at most {FILE_MAX} bytes, all together {TREE_MAX}"),
                ));
            }
            let bytes = std::fs::read(entry.path()).map_err(|error| unreadable(&entry.path(), error))?;
            let path = entry.path();
            let below = path.strip_prefix(folder).expect("BUG: a walk stays below its folder");
            tree.insert(below.to_string_lossy().into_owned(), bytes.into());
        }
    }
    Ok(tree)
}

/// Writes a file whole or not at all.
pub fn write(folder: &Path, path: &str, text: &str) -> Result<(), Failure> {
    let file = folder.join(path);
    let failed = |error: std::io::Error| {
        Failure::new(exit::REFUSED, format!("write {}", file.display()))
            .because(error)
            .then("check that the folder can be written to and the disk is not full; run the command again")
    };
    let parent = file.parent().unwrap_or(folder);
    std::fs::create_dir_all(parent).map_err(failed)?;
    let mut whole = tempfile::NamedTempFile::new_in(parent).map_err(failed)?;
    whole.write_all(text.as_bytes()).map_err(failed)?;
    // Readable like any file of a repository: a temporary one is not.
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    whole.as_file().set_permissions(permissions).map_err(failed)?;
    whole.persist(&file).map_err(|error| failed(error.error))?;
    Ok(())
}

pub fn remove(folder: &Path, path: &str) -> Result<(), Failure> {
    let file = folder.join(path);
    std::fs::remove_file(&file).map_err(|error| unreadable(&file, error))
}

pub fn unreadable(path: &Path, cause: impl std::fmt::Display) -> Failure {
    Failure::new(exit::COULD_NOT_CHECK, format!("read {}", path.display()))
        .because(cause)
        .then("correct it and run the command again")
}
