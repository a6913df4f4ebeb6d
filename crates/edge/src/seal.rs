//! Signs what a client brings back, so that nobody chooses a side by inventing a cookie. Its secret lies beside the tables,
//! so that every edge of the environment, also a successor, knows what the others signed.
//! Refuses no start: a secret that cannot be read is made anew, and clients are drawn again, once; one that cannot be kept
//! (a full disk) lives as long as this edge.

use crate::complain::complain;
use hmac::{Hmac, KeyInit, Mac};
use rollout::names::Target;
use sha2::Sha256;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const FILE: &str = "cookies.secret";
const SECRET_BYTES: usize = 32;
/// Bytes of a signature that travel: nobody guesses 2⁶⁴ over a network.
const SIGNATURE_BYTES: usize = 8;

/// The secret of an environment.
pub(crate) struct Seal([u8; SECRET_BYTES]);

impl Seal {
    /// Reads the secret of a folder, or makes one.
    pub(crate) fn open(folder: &Path) -> Self {
        let path = folder.join(FILE);
        let fresh = match read(&path) {
            Ok(secret) => return Self(secret),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                complain(format_args!("cannot read {}: {error}; making it anew", path.display()));
                fs::remove_file(&path)
            }
        };
        let secret = random();
        match fresh.and_then(|()| keep(&path, secret)) {
            Ok(kept) => Self(kept),
            Err(error) => {
                complain(format_args!(
                    "cannot write {}: {error}; sticky clients are drawn again after a restart",
                    path.display()
                ));
                Self(secret)
            }
        }
    }

    /// Returns what a client is given for a key of ours: short, and of no use elsewhere.
    pub(crate) fn sign(&self, target: &Target, key: &str) -> String {
        let mac = self.mac(target, key.as_bytes()).finalize().into_bytes();
        let mut signed = String::with_capacity(key.len() + 1 + 2 * SIGNATURE_BYTES);
        signed.push_str(key);
        signed.push('.');
        signed.extend(mac.iter().take(SIGNATURE_BYTES).map(|byte| format!("{byte:02x}")));
        signed
    }

    /// Returns the key in what a client brings back; None when we did not sign it.
    pub(crate) fn verified<'v>(&self, target: &Target, value: &'v [u8]) -> Option<&'v [u8]> {
        let (key, signature) = value.split_at_checked(value.len().checked_sub(2 * SIGNATURE_BYTES + 1)?)?;
        let digits = std::str::from_utf8(signature.strip_prefix(b".")?).ok()?;
        let byte = |at: usize| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok();
        let signature: Vec<u8> = (0..SIGNATURE_BYTES).map(byte).collect::<Option<_>>()?;
        // Compared in constant time.
        self.mac(target, key).verify_truncated_left(&signature).ok()?;
        Some(key)
    }

    fn mac(&self, target: &Target, key: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("BUG: HMAC takes keys of any length");
        mac.update(target.to_string().as_bytes());
        mac.update(b"=");
        mac.update(key);
        mac
    }
}

fn read(path: &Path) -> io::Result<[u8; SECRET_BYTES]> {
    let secret = fs::read(path)?;
    let wrong = |_| io::Error::new(io::ErrorKind::InvalidData, "it is no secret of ours");
    secret.try_into().map_err(wrong)
}

/// Draws a secret: from the system, and where that has no device (a bare chroot) from the seeds of hash maps.
fn random() -> [u8; SECRET_BYTES] {
    let mut secret = [0; SECRET_BYTES];
    let drawn = File::open("/dev/urandom").and_then(|mut device| device.read_exact(&mut secret));
    if drawn.is_err() {
        for chunk in secret.chunks_mut(8) {
            chunk.copy_from_slice(&RandomState::new().build_hasher().finish().to_le_bytes());
        }
    }
    secret
}

/// Keeps a secret in one step. Another edge that starts in this moment does the same: one of them wins, and both have its.
fn keep(path: &Path, secret: [u8; SECRET_BYTES]) -> io::Result<[u8; SECRET_BYTES]> {
    let unfinished = path.with_extension(format!("{}.unfinished", std::process::id()));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    let written = file.write_all(&secret).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&unfinished, path));
    fs::remove_file(&unfinished)?;
    match linked {
        Ok(()) => Ok(secret),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read(path),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
impl Seal {
    pub(crate) fn known() -> Self {
        Self([7; SECRET_BYTES])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn every_edge_of_a_folder_knows_what_the_others_signed() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::new("web", "local");
        let signed = Seal::open(folder.path()).sign(&target, "4f3c2a1b");

        let key = Seal::open(folder.path());

        assert_eq!(key.verified(&target, signed.as_bytes()), Some(&b"4f3c2a1b"[..]));
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_secret_that_is_damaged_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "short").unwrap();
        let target = Target::new("web", "local");

        let signed = Seal::open(folder.path()).sign(&target, "a");

        assert!(Seal::open(folder.path()).verified(&target, signed.as_bytes()).is_some());
    }

    #[test]
    fn what_was_not_signed_or_for_another_service_is_nobodys() {
        let (seal, target) = (Seal::known(), Target::new("web", "local"));
        let signed = seal.sign(&target, "4f3c2a1b");
        let forged = signed.replace("4f3c", "4f3d");

        for value in [
            "",
            ".",
            "4f3c2a1b",
            "4f3c2a1b.",
            "4f3c2a1b.0000000000000000",
            forged.as_str(),
            "é.0000000000000000",
        ] {
            assert_eq!(seal.verified(&target, value.as_bytes()), None, "{value}");
        }
        assert_eq!(seal.verified(&Target::new("api", "local"), signed.as_bytes()), None);
    }
}
