//! Says what the caller decides about an edge: sockets, places on disk, workers, waits. Reads no file itself.

use crate::limits;
use manifest::tls::{Acme, Tls};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

/// Everything an edge is started with.
#[derive(Debug)]
pub struct EdgeConfig {
    /// Tables are kept in `state_dir/edge/`.
    pub state_dir: PathBuf,
    /// Where the engine is served, see `manifest::edge`.
    pub admin_socket: PathBuf,
    /// Where a new supervisor fetches the listening sockets; see `handover`.
    pub handover_socket: PathBuf,
    /// Sockets already listening. Whoever made them keeps a descriptor, so that their queues outlive this process.
    pub listeners: Vec<TcpListener>,
    /// Certificates of the listeners; None: all speak without TLS.
    pub tls: Option<Tls>,
    /// Certificates got from a server, beside those.
    pub acme: Option<Acme>,
    /// Addresses of listeners without TLS, where there is `tls`.
    pub plain: Vec<SocketAddr>,
    /// Whether those only send clients to the others.
    pub redirect: bool,
    /// Proxies whose connections begin with a PROXY header; nobody else's may.
    pub proxies: Vec<IpAddr>,
    /// Worker threads; at least one.
    pub workers: usize,
    /// JSON lines, one per request; none when absent.
    pub access_log: Option<PathBuf>,
    /// What inbound `X-Forwarded-*` headers are worth.
    pub forwarded: Forwarded,
    pub waits: Waits,
}

/// What inbound `X-Forwarded-*` headers are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// Nothing: they are replaced by what the edge sees.
    Replaced,
    /// Everything: a proxy in front wrote them. The address it came from is appended.
    Believed,
}

/// How long the edge waits; the defaults are those of [`limits`].
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    pub client_handshake: Duration,
    pub client_head: Duration,
    pub client_idle: Duration,
    pub client_stall: Duration,
    pub upstream_connect: Duration,
    pub upstream_head: Duration,
    pub upstream_silence: Duration,
    pub stop_idle: Duration,
    pub stop_drain: Duration,
    /// After the first failure to get a certificate.
    pub acme_pause: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            client_handshake: limits::CLIENT_HANDSHAKE,
            client_head: limits::CLIENT_HEAD,
            client_idle: limits::CLIENT_IDLE,
            client_stall: limits::CLIENT_STALL,
            upstream_connect: limits::UPSTREAM_CONNECT,
            upstream_head: limits::UPSTREAM_HEAD,
            upstream_silence: limits::UPSTREAM_SILENCE,
            stop_idle: limits::STOP_IDLE,
            stop_drain: limits::STOP_DRAIN,
            acme_pause: limits::ACME_PAUSE,
        }
    }
}

impl EdgeConfig {
    /// Returns a configuration with the default waits, one worker per CPU, no access log, and the sockets
    /// `edge.sock` and `handover.sock` in the state directory.
    pub fn new(state_dir: impl Into<PathBuf>, listeners: Vec<TcpListener>) -> Self {
        let state_dir = state_dir.into();
        Self {
            admin_socket: state_dir.join("edge.sock"),
            handover_socket: state_dir.join("handover.sock"),
            state_dir,
            listeners,
            tls: None,
            acme: None,
            plain: Vec::new(),
            redirect: true,
            proxies: Vec::new(),
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            access_log: None,
            forwarded: Forwarded::Replaced,
            waits: Waits::default(),
        }
    }
}
