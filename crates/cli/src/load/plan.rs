//! Says what load to put where. Checks its own bounds; reads no clock and opens no socket but to look up a name.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Uri};
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// More clients than this need more ports and descriptors than a default Linux gives one process.
const CLIENTS_MAX: usize = 4096;
/// One thread carried 17 000 requests a second beside the service on two cores; more than these only disturb it.
const THREADS_MAX: usize = 16;
/// A user does not wait longer.
const DEADLINE: Duration = Duration::from_secs(10);

/// Makes the body of a POST request from its number; numbers differ within one load.
pub type BodyMaker = Arc<dyn Fn(u64) -> Bytes + Send + Sync>;

/// What load to put where.
#[derive(Clone)]
pub struct LoadPlan {
    pub address: SocketAddr,
    /// The `Host` header.
    pub host: String,
    /// Clients that send only GET requests.
    pub get_clients: usize,
    /// Clients that send only POST requests.
    pub post_clients: usize,
    /// Each client walks these in turn, starting at its own number.
    pub get_paths: Vec<String>,
    pub post_paths: Vec<String>,
    /// JSON for POST requests.
    pub body: BodyMaker,
    /// Sent with every request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Of all clients together. None: every client sends as soon as it has its answer.
    pub rate_per_second: Option<f64>,
    /// Of one request, from its start to the end of its answer.
    pub deadline: Duration,
    pub threads: usize,
}

impl fmt::Debug for LoadPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoadPlan({} GET, {} POST, {})", self.get_clients, self.post_clients, self.address)
    }
}

/// Why a load cannot be put.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error("put load on {url:?}: it is not an address of the form http://HOST[:PORT][/PATH]")]
    Url { url: String },
    #[error("put load on {host:?}: its address was not found")]
    Lookup {
        host: String,
        #[source]
        source: io::Error,
    },
    #[error("put load on the service: {what} must be {wanted}, not {got}")]
    OutOfBounds { what: &'static str, wanted: String, got: String },
    #[error("put load on the service: a thread for the clients did not start")]
    Thread {
        #[source]
        source: io::Error,
    },
}

impl LoadError {
    /// Returns what to do next.
    pub fn next(&self) -> &'static str {
        match self {
            Self::Url { .. } => "write for example http://127.0.0.1:8080/api/appointments",
            Self::Lookup { .. } => "check the name, or write the IP address",
            Self::OutOfBounds { .. } => "change this number or path and start again",
            Self::Thread { .. } => "free memory or raise `ulimit -u`, and start again",
        }
    }
}

impl LoadPlan {
    /// Returns a plan without clients for `/`; the fields say the rest.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            host: address.to_string(),
            get_clients: 0,
            post_clients: 0,
            get_paths: vec!["/".into()],
            post_paths: vec!["/".into()],
            body: Arc::new(|number| Bytes::from(format!("{{\"number\":{number}}}"))),
            headers: Vec::new(),
            rate_per_second: None,
            deadline: DEADLINE,
            threads: 1,
        }
    }

    /// Returns a plan for the path of a URL, for both methods. Looks its host up, which may block for seconds.
    pub fn for_url(url: &str) -> Result<Self, LoadError> {
        let malformed = || LoadError::Url { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| malformed())?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(malformed)?;
        let host = authority.host();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let address = (bare, authority.port_u16().unwrap_or(80))
            .to_socket_addrs()
            .and_then(|mut found| found.next().ok_or_else(|| io::ErrorKind::NotFound.into()))
            .map_err(|source| LoadError::Lookup { host: host.to_owned(), source })?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let port = authority.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
        let host = format!("{host}{port}");
        Ok(Self { host, get_paths: vec![path.clone()], post_paths: vec![path], ..Self::new(address) })
    }

    /// Returns a plan for the reference service: reads its lists, makes appointments.
    pub fn clinic(address: SocketAddr, get_clients: usize, post_clients: usize) -> Self {
        Self {
            get_clients,
            post_clients,
            get_paths: vec!["/api/appointments".into(), "/api/slots".into()],
            post_paths: vec!["/api/appointments".into()],
            body: Arc::new(appointment),
            ..Self::new(address)
        }
    }

    /// Checks every bound; the first that is broken is the error.
    pub(super) fn check(&self) -> Result<(), LoadError> {
        let clients = self.get_clients + self.post_clients;
        bound("the number of clients", clients, 1, CLIENTS_MAX)?;
        bound("the number of threads", self.threads, 1, THREADS_MAX)?;
        if let Some(rate) = self.rate_per_second
            && !(0.001..=1_000_000.0).contains(&rate)
        {
            let wanted = "between 0.001 and 1000000 a second".into();
            return Err(LoadError::OutOfBounds { what: "the rate", wanted, got: rate.to_string() });
        }
        let methods = [(self.get_clients, &self.get_paths), (self.post_clients, &self.post_paths)];
        for (_, paths) in methods.iter().filter(|(clients, _)| *clients > 0) {
            bound("the number of paths", paths.len(), 1, usize::MAX)?;
            for path in paths.iter() {
                check_path(path)?;
            }
        }
        if HeaderValue::from_str(&self.host).is_err() {
            let wanted = "a name as in a Host header".into();
            return Err(LoadError::OutOfBounds { what: "the host", wanted, got: self.host.clone() });
        }
        Ok(())
    }
}

fn bound(what: &'static str, got: usize, min: usize, max: usize) -> Result<(), LoadError> {
    if (min..=max).contains(&got) {
        return Ok(());
    }
    Err(LoadError::OutOfBounds { what, wanted: format!("between {min} and {max}"), got: got.to_string() })
}

fn check_path(path: &str) -> Result<(), LoadError> {
    if path.starts_with('/') && path.parse::<Uri>().is_ok() {
        return Ok(());
    }
    let wanted = "a path that starts with /".into();
    Err(LoadError::OutOfBounds { what: "a path", wanted, got: format!("{path:?}") })
}

/// Makes an appointment from a request's number: quarter hours of a year, a few practitioners.
fn appointment(number: u64) -> Bytes {
    let (minute, hour) = (number % 4 * 15, 8 + number / 4 % 10);
    let (day, month) = (1 + number / 40 % 28, 1 + number / 1120 % 12);
    let practitioner = ["dr-abadie", "dr-benali", "dr-costa"][(number % 3) as usize];
    Bytes::from(format!(
        "{{\"slot\":\"2027-{month:02}-{day:02}T{hour:02}:{minute:02}\",\"practitioner\":\"{practitioner}\"}}"
    ))
}
