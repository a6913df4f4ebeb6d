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
