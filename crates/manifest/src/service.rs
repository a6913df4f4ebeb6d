//! What a manifest says, checked and complete: every default filled in, every path resolved by the caller.
//! The shape in which intent travels from the command line to the engine; `parse` makes it from text.

use crate::infra::Infra;
use rollout::plan::{RolloutSettings, TargetSettings};
use rollout::release::{Health, Resources};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
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
}
