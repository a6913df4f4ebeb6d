//! What a manifest says, checked and complete: every default filled in, every path resolved by the caller.
//! The shape in which intent travels from the command line to the engine; `parse` makes it from text.

use crate::infra::Infra;
use crate::tls::{Acme, Tls};
use rollout::plan::{RolloutSettings, TargetSettings};
use rollout::release::{Health, Resources};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// A manifest, read for one environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub environment: EnvironmentConfig,
    /// In the order of the file.
    pub services: Vec<ServiceConfig>,
    /// What `medeclipse infra` draws around them.
    #[serde(default)]
    pub infra: Infra,
}

/// Where the services of a manifest run on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvironmentConfig {
    pub name: String,
    /// Where the edge listens.
    pub listen: Vec<SocketAddr>,
    /// First and last port replicas may get.
    pub ports: (u16, u16),
    /// Where the read-only API listens; port 0: any.
    pub api: SocketAddr,
    /// Absent: every address is one without TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Certificates got from a server; `tls` may be absent then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acme: Option<Acme>,
    /// Addresses without TLS beside those of `listen`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listen_http: Vec<SocketAddr>,
    /// Whether those only send clients to the others.
    #[serde(default = "yes")]
    pub redirect: bool,
    /// Proxies in front that say whose connection it is by the PROXY protocol.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proxy_protocol: Vec<IpAddr>,
}

const fn yes() -> bool {
    true
}

impl EnvironmentConfig {
    /// Returns every address users are served at. Those whose port is known go first, so that one of any port takes
    /// none of theirs from a predecessor.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let mut all: Vec<SocketAddr> = self.listen.iter().chain(&self.listen_http).copied().collect();
        all.sort_by_key(|address| address.port() == 0);
        all
    }
}

/// One service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceConfig {
    pub name: String,
    /// A file or folder, as written (relative to the manifest) until the caller resolves it.
    pub artifact: Option<PathBuf>,
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub resources: Option<Resources>,
    pub health: Health,
    pub expand: Vec<String>,
    pub target: TargetSettings,
    pub rollout: RolloutSettings,
    /// Where the pages of `target` lie; the caller reads them.
    #[serde(default)]
    pub pages: PageFiles,
}

/// Files of a service's pages, as written (relative to the manifest).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PageFiles {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<PathBuf>,
}
