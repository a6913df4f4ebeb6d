//! Ends TLS: one configuration for all workers, so that a client resumes its session on whichever it lands.
//! Refuses TLS 1.1 and older, and early data (a replayed request would be one more). Certificates: `shelf`, `files`.

mod acme;
mod files;
mod self_signed;
mod shelf;
mod watch;

use crate::config::EdgeConfig;
use crate::life::EdgeError;
use crate::limits;
use crate::stop::Stop;
use acme::Acme;
use manifest::edge::{CertificateState, TlsState};
use manifest::tls::Tls as Settings;
use shelf::Shelf;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::net::TcpStream;
use tokio::sync::watch::Receiver;
use tokio_rustls::rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{HandshakeKind, ServerConfig, crypto::aws_lc_rs, version};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};
use watch::Source;

pub(crate) use acme::Challenges;

/// What all workers share of TLS.
#[derive(Debug)]
pub(crate) struct Tls {
    config: Arc<ServerConfig>,
    shelf: Arc<Shelf>,
    sources: Vec<Source>,
    /// The slot of the first of them.
    sources_from: usize,
    acme: Option<Arc<Acme>>,
    /// What names get that are neither served nor allowed: an alert.
    refusing: Arc<ServerConfig>,
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

    /// Words it in one line.
    fn words(&self) -> String {
        let Self { what, why, next } = self;
        format!("cannot {what}: {why}; {next}")
    }
}

impl Tls {
    /// Loads every certificate; None where there is to be no TLS. Those the edge makes, gets and remembers are kept below the
    /// state directory.
    ///
    /// # Errors
    /// A certificate that can be used neither as it is now nor as it was remembered.
    pub(crate) fn start(config: &EdgeConfig) -> Result<Option<Arc<Self>>, EdgeError> {
        if config.tls.is_none() && config.acme.is_none() {
            return Ok(None);
        }
        let started = Self::load(config, &folder(&config.state_dir));
        let refused = |problem: Problem| EdgeError::Tls {
            what: problem.what,
            next: problem.next,
            source: io::Error::other(problem.why),
        };
        started.map(|tls| Some(Arc::new(tls))).map_err(refused)
    }

    fn load(config: &EdgeConfig, folder: &Path) -> Result<Self, Problem> {
        let (settings, acme) = (config.tls.as_ref(), config.acme.as_ref());
        let sources = settings.map_or(Ok(Vec::new()), |settings| watch::sources(settings, folder))?;
        let names = acme.map_or(0, |acme| acme.names.len());
        // Files are what an operator chose; one nobody vouches for stands in where there is no other.
        let self_signed = matches!(settings, Some(Settings::SelfSigned { .. }));
        let (sources_from, acme_from) = if self_signed { (names, 0) } else { (0, sources.len()) };
        let files = if self_signed { 0..0 } else { 0..sources.len() };
        let shelf = Arc::new(Shelf::new(sources.len() + names, files));
        for (slot, source) in sources.iter().enumerate() {
            shelf.put(sources_from + slot, source.first()?);
        }
        let (got, has_http, pause) = (folder.join("acme"), !config.plain.is_empty(), config.waits.acme_pause);
        let open = |acme| Acme::open(acme, &got, acme_from, has_http, pause, &shelf);
        let acme = acme.map(open).transpose()?.map(Arc::new);
        let bug = |error| Problem::new("set TLS up", error, "report this: it is a bug of the edge");
        let config = Arc::new(configure(Arc::clone(&shelf) as _, acme.is_some()).map_err(bug)?);
        let refusing = Arc::new(configure(Arc::new(Nobody), false).map_err(bug)?);
        let zero = || AtomicU64::new(0);
        let (handshakes, resumed, failed) = (zero(), zero(), zero());
        Ok(Self { config, shelf, sources, sources_from, acme, refusing, handshakes, resumed, failed })
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
                self.shelf.put(self.sources_from + slot, certificate);
            }
        }
    }

    /// Gets and renews certificates until the stop; at once where none are to be got.
    pub(crate) async fn renew(self: Arc<Self>, mut stop: Receiver<Stop>) {
        let Some(acme) = self.acme.clone() else { return };
        tokio::select! {
            () = acme.run() => {}
            // Another edge, or none, renews them from now on. An error means that nobody can stop us any more.
            _ = stop.wait_for(|stop| stop.is_asked()) => {}
        }
    }

    /// What is answered to those who check whether a name leads here; None where no certificate is got.
    pub(crate) fn challenges(&self) -> Option<Arc<Challenges>> {
        self.acme.as_ref().map(|_| Arc::clone(self.shelf.challenges()))
    }

    /// Shakes hands with a client. The caller bounds how long.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let demands = self.acme.as_ref().filter(|acme| acme.is_on_demand());
        let accepted = match demands {
            None => TlsAcceptor::from(Arc::clone(&self.config)).accept(stream).await,
            Some(acme) => self.accept_on_demand(stream, acme).await,
        };
        match &accepted {
            Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(acme::PROTOCOL) => {
                // It has seen what it came for (RFC 8737, 3).
                return Err(io::Error::other("only checks a name"));
            }
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

    /// Lets a client wait that asks for a name nobody decided about yet.
    async fn accept_on_demand(&self, stream: TcpStream, acme: &Acme) -> io::Result<TlsStream<TcpStream>> {
        let begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let hello = begun.client_hello();
        let name = hello.server_name().filter(|_| !acme::is_check(&hello)).map(str::to_ascii_lowercase);
        let mut config = &self.config;
        if let Some(name) = name
            && let Some(on_demand) = acme.decides(&name)
        {
            on_demand.decided(&name).await;
            if !self.shelf.has(&name) {
                config = &self.refusing;
            }
        }
        begun.into_stream(Arc::clone(config)).await
    }

    pub(crate) fn note_failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    pub(crate) fn state(&self, listen: Vec<String>) -> TlsState {
        let sources = self.sources.iter().enumerate().map(|(slot, source)| {
            let certificate = self.shelf.get(self.sources_from + slot);
            CertificateState {
                source: source.name(),
                names: certificate.as_ref().map(|held| held.names.clone()).unwrap_or_default(),
                not_after: certificate.map(|held| held.not_after),
                problem: source.problem(),
            }
        });
        let got = self.acme.iter().flat_map(|acme| acme.certificates());
        TlsState {
            listen,
            certificates: sources.chain(got).collect(),
            on_demand: self.acme.as_ref().and_then(|acme| acme.on_demand_state()),
            handshakes: self.handshakes.load(Relaxed),
            resumed: self.resumed.load(Relaxed),
            failed: self.failed.load(Relaxed),
        }
    }
}

/// Tickets are sealed with keys of this process that change every few hours and are never written down: a restarted
/// edge greets every client anew (0.2 ms), and who steals the disk reads no recorded session.
fn configure(
    certificates: Arc<dyn ResolvesServerCert>,
    checks: bool,
) -> Result<ServerConfig, tokio_rustls::rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if checks {
        config.alpn_protocols.push(acme::PROTOCOL.to_vec());
    }
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.ignore_client_order = true;
    Ok(config)
}

/// Has no certificate for anybody: the client is told so by an alert.
#[derive(Debug)]
struct Nobody;

impl ResolvesServerCert for Nobody {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

/// Returns the folder of the certificates the edge makes and remembers.
fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("edge").join("tls")
}
