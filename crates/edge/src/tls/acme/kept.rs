//! Keeps certificates, their keys, the account and the waits of an ACME server on disk, mode 0600, so that an edge that starts
//! again orders nothing it has. One folder for each server: what one signed is no other's.

use super::pace::Orders;
use crate::complain::complain;
use crate::store;
use crate::tls::shelf::Certificate;
use crate::tls::{Problem, files};
use rollout::names::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What is remembered beside certificates.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Waits {
    /// Names whose last attempt failed.
    pub(super) failed: BTreeMap<String, Wait>,
    /// Orders for names that no service has.
    pub(super) orders: Orders,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Wait {
    pub(super) due: Millis,
    pub(super) failures: u32,
}

/// The folder of one server.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    folder: PathBuf,
}

impl Kept {
    /// Opens the folder of a server, in the one of all servers.
    pub(super) fn open(all: &Path, directory: &str) -> Result<Self, Problem> {
        let of = store::checksum(directory.as_bytes());
        let folder = all.join(&of[..16]);
        let opened = store::private_folder(all).and_then(|()| store::private_folder(&folder));
        opened.map_err(|error| {
            let next = "check the owner, permissions and free space of the state directory";
            Problem::new(format!("open the certificates in {}", folder.display()), error, next)
        })?;
        Ok(Self { folder })
    }

    pub(super) fn account(&self) -> PathBuf {
        self.folder.join("account.json")
    }

    fn waits_file(&self) -> PathBuf {
        self.folder.join("waits.json")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.pem"))
    }

    /// Returns the certificate of a name, also one that is over: it is better than none.
    pub(super) fn certificate(&self, name: &str) -> Option<Certificate> {
        read(&self.file(name))
    }

    /// Returns the certificate another server signed for a name, the one that lasts longest.
    pub(super) fn of_others(&self, name: &str) -> Option<Certificate> {
        let folders = fs::read_dir(self.folder.parent()?).ok()?;
        let others = folders.flatten().map(|entry| entry.path()).filter(|path| *path != self.folder);
        others
            .filter_map(|folder| read(&folder.join(format!("{name}.pem"))))
            .max_by_key(|held| held.not_after)
    }

    /// Returns the names that have a certificate here.
    pub(super) fn names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let name = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_suffix(".pem").map(str::to_owned)
        };
        let mut names: Vec<String> = entries.flatten().filter_map(name).collect();
        names.sort();
        names
    }

    /// Keeps a chain and its key, PEM. It serves also where that fails.
    pub(super) async fn keep(&self, name: &str, chain: &str, key: &str) {
        let path = self.file(name);
        if let Err(error) = write(path.clone(), format!("{chain}\n{key}").into_bytes()).await {
            let path = path.display();
            complain(format_args!(
                "cannot keep the certificate for {name} in {path}: {error}; it serves until the edge starts again; free some space"
            ));
        }
    }

    pub(super) fn forget(&self, name: &str) {
        // It may be gone already.
        let _ = fs::remove_file(self.file(name));
    }

    pub(super) fn waits(&self) -> Waits {
        let read = fs::read(self.waits_file()).ok();
        read.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    pub(super) async fn keep_waits(&self, waits: &Waits) {
        let text = serde_json::to_vec(waits).expect("BUG: numbers under names are JSON");
        if let Err(error) = write(self.waits_file(), text).await {
            complain(format_args!(
                "cannot remember how long to wait for certificates: {error}; an edge that starts again would ask sooner; free some space"
            ));
        }
    }
}

fn read(path: &Path) -> Option<Certificate> {
    let pem = fs::read(path).ok()?;
    match files::parse_any_age(&pem, &pem, &path.display().to_string()) {
        Ok(certificate) => Some(certificate),
        Err(Problem { what, why, .. }) => {
            complain(format_args!("cannot {what}: {why}; another one is ordered"));
            None
        }
    }
}

/// Writes a file whole or not at all, on a thread that may wait for the disk.
pub(super) async fn write(path: PathBuf, bytes: Vec<u8>) -> io::Result<()> {
    let written = tokio::task::spawn_blocking(move || store::write_private(&path, &bytes)).await;
    written.unwrap_or_else(|error| Err(io::Error::other(error)))
}
