//! Ends TLS: one configuration for all workers, so that a client resumes its session on whichever it lands.
//! Refuses TLS 1.1 and older, and early data (a replayed request would be one more). Certificates: `shelf`, `files`.

mod files;
mod self_signed;
mod shelf;
mod watch;

use crate::life::EdgeError;
use crate::limits;
use manifest::edge::{CertificateState, TlsState};
use manifest::tls::Tls as Settings;
use shelf::Shelf;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{HandshakeKind, ServerConfig, crypto::aws_lc_rs, version};
use tokio_rustls::server::TlsStream;
use watch::Source;

/// What all workers share of TLS.
#[derive(Debug)]
pub(crate) struct Tls {
    config: Arc<ServerConfig>,
    shelf: Arc<Shelf>,
    sources: Vec<Source>,
    handshakes: AtomicU64,
    resumed: AtomicU64,
    failed: AtomicU64,
}

/// Why a certificate cannot be used, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Fits after "cannot ".
    pub(crate) what: String,
    pub(crate) why: String,
    pub(crate) next: String,
}

impl Problem {
    fn new(what: impl Into<String>, why: impl ToString, next: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.to_string(), next: next.into() }
    }
}

impl Tls {
    /// Loads every certificate. `folder` is where those the edge makes and remembers are kept.
    ///
    /// # Errors
    /// A certificate that can be used neither as it is now nor as it was remembered.
    pub(crate) fn start(settings: &Settings, folder: &Path) -> Result<Arc<Self>, EdgeError> {
        let refused = |problem: Problem| EdgeError::Tls {
            what: problem.what,
            next: problem.next,
            source: io::Error::other(problem.why),
        };
        let sources = watch::sources(settings, folder).map_err(refused)?;
        let shelf = Arc::new(Shelf::new(sources.len()));
        for (slot, source) in sources.iter().enumerate() {
            shelf.put(slot, source.first().map_err(refused)?);
        }
        let config = configure(&shelf).map_err(|error| {
            refused(Problem::new("set TLS up", error, "report this: it is a bug of the edge"))
        })?;
        let zero = || AtomicU64::new(0);
        let (handshakes, resumed, failed) = (zero(), zero(), zero());
        Ok(Arc::new(Self { config: Arc::new(config), shelf, sources, handshakes, resumed, failed }))
    }

    /// Looks for changed certificates, for ever. Runs beside the requests: files may lie on a slow disk.
    pub(crate) async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(limits::CERTIFICATE_LOOK).await;
            let tls = Arc::clone(&self);
            // A panic in it has been printed; the next look may go well.
            let _ = tokio::task::spawn_blocking(move || tls.look()).await;
        }
    }

    fn look(&self) {
        for (slot, source) in self.sources.iter().enumerate() {
            if let Some(certificate) = source.look() {
                self.shelf.put(slot, certificate);
            }
        }
    }

    /// Shakes hands with a client. The caller bounds how long.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let accepted = TlsAcceptor::from(Arc::clone(&self.config)).accept(stream).await;
        match &accepted {
            Ok(stream) => {
                self.handshakes.fetch_add(1, Relaxed);
                if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
                    self.resumed.fetch_add(1, Relaxed);
                }
            }
            Err(_) => self.note_failed(),
        }
        accepted
    }

    pub(crate) fn note_failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    pub(crate) fn state(&self, listen: Vec<String>) -> TlsState {
        let certificates = self.sources.iter().enumerate().map(|(slot, source)| {
            let certificate = self.shelf.get(slot);
            CertificateState {
                source: source.name(),
                names: certificate.as_ref().map(|held| held.names.clone()).unwrap_or_default(),
                not_after: certificate.map(|held| held.not_after),
                problem: source.problem(),
            }
        });
        TlsState {
            listen,
            certificates: certificates.collect(),
            handshakes: self.handshakes.load(Relaxed),
            resumed: self.resumed.load(Relaxed),
            failed: self.failed.load(Relaxed),
        }
    }
}

/// Tickets are sealed with keys of this process that change every few hours and are never written down: a restarted
/// edge greets every client anew (0.2 ms), and who steals the disk reads no recorded session.
fn configure(shelf: &Arc<Shelf>) -> Result<ServerConfig, tokio_rustls::rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(shelf) as _);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.ignore_client_order = true;
    Ok(config)
}

/// Returns the folder of the certificates the edge makes and remembers.
pub(crate) fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("edge").join("tls")
}
