//! What the edge does for TLS, as the manifest says it. Paths are as written until the caller resolves them.
//! Reads no file: a certificate that cannot be read is the edge's to refuse.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where the certificates of the listening addresses come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// Made by the edge itself, for these names and for loopback.
    SelfSigned { names: Vec<String> },
    /// Files; the first serves clients that name no host any of them has.
    Files(Vec<CertificateFiles>),
}

/// One certificate, with what it was signed by, and its key: both PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Where certificates for the hosts of the services are got and renewed (RFC 8555).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Acme {
    /// The URL of the server's directory.
    pub directory: String,
    /// Whom it may write to, as `mailto:ops@clinic.example`.
    pub contact: Vec<String>,
    /// The authority the server's own certificate is signed by; None: one this system trusts.
    pub root: Option<PathBuf>,
    /// How a name is proven; None: by each in turn, from one failure to the next.
    pub challenge: Option<Challenge>,
    /// One certificate for each.
    pub names: Vec<String>,
    /// Certificates for names that are not among them; None: those are not served.
    pub on_demand: Option<OnDemand>,
}

/// How an ACME server sees that a name leads here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Challenge {
    /// In a handshake on port 443 (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// By a request on port 80 (RFC 8555, 8.3).
    #[serde(rename = "http-01")]
    Http01,
}

/// For which other names certificates are got, when the first client asks for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OnDemand {
    /// Asked with `?host=NAME`; only status 200 allows a name.
    pub allow: String,
    /// Orders an hour.
    pub orders: u32,
}

impl Tls {
    /// Returns the files it names, to be resolved.
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let files = match self {
            Self::SelfSigned { .. } => &mut [][..],
            Self::Files(files) => files.as_mut_slice(),
        };
        files.iter_mut().flat_map(|files| [&mut files.cert, &mut files.key])
    }
}
