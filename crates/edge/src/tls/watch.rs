//! Knows where each certificate comes from, and notices when there is a newer one. Remembers the last good one on disk, so
//! that an edge which restarts over a broken file serves as it did before. Says once what is wrong, and keeps serving.

use super::shelf::Certificate;
use super::{Problem, files, self_signed};
use crate::complain::complain;
use crate::limits;
use crate::{clock, store};
use files::Stamp;
use manifest::tls::Tls as Settings;
use rollout::names::Millis;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where one certificate comes from.
#[derive(Debug)]
pub(crate) struct Source {
    origin: Origin,
    /// What was read of it last that was good: certificate and key in one PEM file.
    kept: PathBuf,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
enum Origin {
    Files { cert: PathBuf, key: PathBuf },
    SelfSigned { names: Vec<String> },
}

#[derive(Debug, Default)]
struct Seen {
    stamps: Option<Vec<Stamp>>,
    problem: Option<Problem>,
    not_after: Millis,
}

/// Returns the sources of an environment, in the order of their precedence.
pub(crate) fn sources(settings: &Settings, folder: &Path) -> Result<Vec<Source>, Problem> {
    store::private_folder(folder).map_err(|error| {
        let next = "check the owner, permissions and free space of the state directory";
        Problem::new(format!("open the certificates in {}", folder.display()), error, next)
    })?;
    let source = |origin: Origin, kept: String| Source {
        origin,
        kept: folder.join(kept),
        seen: Mutex::new(Seen::default()),
    };
    Ok(match settings {
        Settings::SelfSigned { names } => {
            let names = self_signed::all_names(names);
            vec![source(Origin::SelfSigned { names }, "self-signed.pem".to_owned())]
        }
        Settings::Files(files) => {
            let kept = |cert: &Path| format!("{}.pem", store::checksum(cert.as_os_str().as_encoded_bytes()));
            let one = |files: &manifest::tls::CertificateFiles| {
                let origin = Origin::Files { cert: files.cert.clone(), key: files.key.clone() };
                source(origin, kept(&files.cert))
            };
            files.iter().map(one).collect()
        }
    })
}

impl Source {
    pub(crate) fn name(&self) -> String {
        match &self.origin {
            Origin::Files { cert, .. } => cert.display().to_string(),
            Origin::SelfSigned { .. } => "self-signed".to_owned(),
        }
    }

    /// Says what is wrong with it, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        let seen = self.seen();
        seen.problem.as_ref().map(Problem::words)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the certificate to begin with: as it is now, else as it was remembered.
    pub(crate) fn first(&self) -> Result<Certificate, Problem> {
        let stamps = self.stamps();
        let certificate = match (self.load(), self.remembered()) {
            (Ok(certificate), _) => certificate,
            (Err(problem), Some(certificate)) => {
                self.complain(&problem);
                self.seen().problem = Some(problem);
                certificate
            }
            (Err(problem), None) => return Err(problem),
        };
        let mut seen = self.seen();
        (seen.stamps, seen.not_after) = (stamps, certificate.not_after);
        Ok(certificate)
    }

    /// Returns the certificate if it has changed and is good.
    pub(crate) fn look(&self) -> Option<Certificate> {
        let stamps = self.stamps();
        {
            let seen = self.seen();
            let over_soon = seen.not_after.since(clock::now()) < limits::SELF_SIGNED_RENEW
                && matches!(self.origin, Origin::SelfSigned { .. });
            // What was wrong is tried again: a key may be written a moment after its certificate.
            if stamps == seen.stamps && stamps.is_some() && seen.problem.is_none() && !over_soon {
                return None;
            }
        }
        let loaded = self.load();
        let mut seen = self.seen();
        seen.stamps = stamps;
        match loaded {
            Ok(certificate) => {
                (seen.problem, seen.not_after) = (None, certificate.not_after);
                complain(format_args!(
                    "serves the certificate {}, valid until {}",
                    self.name(),
                    certificate.not_after.rfc3339()
                ));
                Some(certificate)
            }
            Err(problem) => {
                if seen.problem.as_ref() != Some(&problem) {
                    self.complain(&problem);
                }
                seen.problem = Some(problem);
                None
            }
        }
    }

    fn complain(&self, problem: &Problem) {
        let Problem { what, why, next } = problem;
        complain(format_args!("cannot {what}: {why}; serving the one before; next: {next}"));
    }

    fn stamps(&self) -> Option<Vec<Stamp>> {
        match &self.origin {
            Origin::Files { cert, key } => files::stamps(&[cert, key]),
            Origin::SelfSigned { .. } => files::stamps(&[&self.kept]),
        }
    }

    fn load(&self) -> Result<Certificate, Problem> {
        match &self.origin {
            Origin::Files { cert, key } => {
                let (certificate, cert_pem, key_pem) = files::read(cert, key)?;
                let both = [cert_pem.as_slice(), b"\n", key_pem.as_slice()].concat();
                if let Err(error) = store::write_private(&self.kept, &both) {
                    complain(format_args!(
                        "cannot remember the certificate {} in {}: {error}; it serves, but a restart over a broken file would not find it; free some space",
                        cert.display(),
                        self.kept.display()
                    ));
                }
                Ok(certificate)
            }
            Origin::SelfSigned { names } => self.own(names),
        }
    }

    /// Returns the certificate made before, unless it is for other names or nearly over; makes one then.
    fn own(&self, names: &[String]) -> Result<Certificate, Problem> {
        let fits = |certificate: &Certificate| {
            certificate.names == names
                && certificate.not_after.since(clock::now()) >= limits::SELF_SIGNED_RENEW
        };
        if let Some(certificate) = self.remembered().filter(fits) {
            return Ok(certificate);
        }
        let (cert, key) = self_signed::make(names)?;
        let certificate = files::parse(cert.as_bytes(), key.as_bytes(), "of our own")?;
        store::write_private(&self.kept, format!("{cert}{key}").as_bytes()).map_err(|error: io::Error| {
            let next = "check the owner, permissions and free space of the state directory";
            Problem::new(format!("keep the certificate in {}", self.kept.display()), error, next)
        })?;
        Ok(certificate)
    }

    fn remembered(&self) -> Option<Certificate> {
        let pem = std::fs::read(&self.kept).ok()?;
        files::parse(&pem, &pem, &self.kept.display().to_string()).ok()
    }
}
