//! Holds the files that are looked at: path below the root to bytes. Reads none itself; see `medeclipse lint`.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A path below the root, with `/` between its parts.
pub type RelPath = String;

/// Files by path.
pub type Tree = BTreeMap<RelPath, Arc<[u8]>>;

/// Returns the folder of a path: `""` for a file at the root.
pub fn folder(path: &str) -> &str {
    path.rfind('/').map_or("", |at| &path[..at])
}

/// Returns the last part of a path.
pub fn file_name(path: &str) -> &str {
    path.rfind('/').map_or(path, |at| &path[at + 1..])
}

/// Joins a folder and a relative path, resolving `.` and `..`; `None` when it leaves the tree.
pub fn join(folder: &str, relative: &str) -> Option<RelPath> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_is_joined_and_never_leaves_the_tree() {
        assert_eq!(join("a/b", "../c/./d").as_deref(), Some("a/c/d"));
        assert_eq!(join("", "x").as_deref(), Some("x"));
        assert_eq!(join("a", "../../etc/passwd"), None);
    }
}
