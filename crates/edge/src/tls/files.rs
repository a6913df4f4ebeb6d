//! Reads a certificate and its key from PEM. Refuses what would make every handshake fail: a key of another certificate,
//! a certificate that is over, a file without either.

use super::Problem;
use super::shelf::Certificate;
use crate::clock;
use rollout::names::Millis;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::rustls::crypto::aws_lc_rs::sign::any_supported_type;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// A chain of certificates is some kilobytes; what is larger is another file.
const FILE_BYTES: u64 = 1 << 20;

/// What of a file changes when its content does. Following links: certbot and Kubernetes change those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

/// Returns the stamps of some files; None where one cannot be looked at.
pub(crate) fn stamps(paths: &[&Path]) -> Option<Vec<Stamp>> {
    let stamp = |path: &&Path| {
        let file = fs::metadata(path).ok()?;
        // Times of change, not of modification: those may be set back.
        Some(Stamp { inode: file.ino(), bytes: file.len(), changed: (file.ctime(), file.ctime_nsec()) })
    };
    paths.iter().map(stamp).collect()
}

/// Reads a pair of files; returns their bytes too, for whoever remembers them.
pub(crate) fn read(cert: &Path, key: &Path) -> Result<(Certificate, Vec<u8>, Vec<u8>), Problem> {
    let bytes = |path: &Path, what: &str| {
        let read = || {
            let file = fs::metadata(path)?;
            if file.len() > FILE_BYTES {
                return Err(io::Error::other(format!(
                    "it has {} bytes, which no certificate has",
                    file.len()
                )));
            }
            fs::read(path)
        };
        read().map_err(|error| {
            let next =
                "check the path in `tls` of the manifest, and that the user of `medeclipse up` may read it";
            Problem::new(format!("read the {what} {}", path.display()), error, next)
        })
    };
    let (cert_pem, key_pem) = (bytes(cert, "certificate")?, bytes(key, "key")?);
    let certificate = parse(&cert_pem, &key_pem, &cert.display().to_string())?;
    Ok((certificate, cert_pem, key_pem))
}

/// Makes a certificate of PEM texts. `from` says where they are from.
pub(crate) fn parse(cert_pem: &[u8], key_pem: &[u8], from: &str) -> Result<Certificate, Problem> {
    let certificate = parse_any_age(cert_pem, key_pem, from)?;
    let problem = |why: String, next: &str| Problem::new(format!("use the certificate {from}"), why, next);
    let (now, Certificate { not_before, not_after, .. }) = (clock::now(), &certificate);
    if *not_after <= now {
        return Err(problem(format!("it was valid until {}", not_after.rfc3339()), "renew it"));
    }
    if not_before.since(now) > Millis(0) {
        let why = format!("it is valid from {} on", not_before.rfc3339());
        return Err(problem(why, "wait, or check the clock of this machine"));
    }
    Ok(certificate)
}

/// Makes a certificate of PEM texts, whether or not it is over.
pub(crate) fn parse_any_age(cert_pem: &[u8], key_pem: &[u8], from: &str) -> Result<Certificate, Problem> {
    let problem = |why: String, next: &str| Problem::new(format!("use the certificate {from}"), why, next);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert_pem).collect();
    let chain =
        chain.map_err(|error| problem(format!("it is not PEM: {error}"), "write a whole PEM file"))?;
    let Some(first) = chain.first() else {
        let next = "name the file whose first block is BEGIN CERTIFICATE";
        return Err(problem("no certificate is in its file".to_owned(), next));
    };
    let (names, not_before, not_after) = describe(first)
        .ok_or_else(|| problem("its first block is no X.509 certificate".to_owned(), "get a new one"))?;
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| {
        problem(format!("its key is not PEM: {error}"), "name the file with BEGIN PRIVATE KEY")
    })?;
    let signing = any_supported_type(&key).map_err(|error| {
        problem(format!("its key cannot sign: {error}"), "use a key of RSA, ECDSA or Ed25519")
    })?;
    let key = CertifiedKey::new(chain, signing);
    key.keys_match().map_err(|error| {
        problem(format!("its key belongs to another one: {error}"), "name the key it was made with")
    })?;
    Ok(Certificate { key: Arc::new(key), names, not_before, not_after })
}

/// Returns names and validity.
fn describe(certificate: &CertificateDer<'_>) -> Option<(Vec<String>, Millis, Millis)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok().flatten().map(|names| {
        let name = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
            _ => None,
        };
        names.value.general_names.iter().filter_map(name).collect()
    });
    let millis = |seconds: i64| Millis(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000));
    let validity = parsed.validity();
    let (from, until) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    Some((names.unwrap_or_default(), millis(from), millis(until)))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}
