//! What a manifest says about infrastructure, as it is written: nothing is filled in, because the class of an environment decides.
//! Defaults, limits and refusals are the room `infra`'s; reading and places are `sections/infra`'s.

use rollout::names::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything beside the services themselves, for one environment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Infra {
    pub project: Option<Project>,
    pub github: Option<Github>,
    pub compliance: Compliance,
    pub waivers: Vec<Waiver>,
    /// By service.
    pub containers: BTreeMap<String, Container>,
    pub place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    pub name: String,
    pub title: Option<String>,
    pub domain: Option<String>,
    pub zone_id: Option<String>,
    pub data: Vec<String>,
    /// Environment whose account owns the registry of images.
    pub registry: Option<String>,
    pub zone_authority: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Container {
    pub port: Option<u16>,
    pub toolchain: Option<String>,
    pub build: Vec<String>,
    pub builder: Option<String>,
    pub base: Option<String>,
    pub user: Option<(u32, u32)>,
    pub probe: Vec<String>,
    pub liveness: Liveness,
    pub balancer: Balancer,
    pub deep: Option<String>,
    pub pool: Option<u32>,
    pub uploads: Vec<String>,
    pub target_cpu: Option<u32>,
    /// Names of `service.NAME.secrets`.
    pub secrets: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Liveness {
    pub interval: Option<Millis>,
    pub timeout: Option<Millis>,
    pub retries: Option<u32>,
    pub start: Option<Millis>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balancer {
    pub path: Option<String>,
    pub interval: Option<Millis>,
    pub timeout: Option<Millis>,
    pub healthy: Option<u32>,
    pub unhealthy: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Github {
    pub repository: String,
    /// Environment to branch.
    pub branches: BTreeMap<String, String>,
    /// Environment to the environment whose digest it takes.
    pub promote: BTreeMap<String, String>,
    pub test: Vec<String>,
    pub tool: Option<Tool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    pub url: String,
    pub sha256: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Compliance {
    pub regions: Vec<String>,
    pub hds_hosts: BTreeMap<String, HdsHost>,
    pub cloudflare: Option<String>,
    pub rego: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HdsHost {
    pub certificate: String,
    pub expires: String,
    pub covers: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiver {
    pub rule: String,
    pub path: Option<String>,
    pub reason: String,
    pub by: String,
    pub until: String,
}

/// Where an environment stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    pub platform: Option<String>,
    pub class: Option<String>,
    pub region: Option<String>,
    pub standby: Option<String>,
    pub aws: Option<Aws>,
    pub network: Network,
    pub database: Option<Database>,
    pub cache: Option<Cache>,
    pub edge: Edge,
    pub dns: Dns,
    pub backup: Backup,
    pub logs: Logs,
    pub alerts: Vec<String>,
    pub azure: Option<Azure>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aws {
    pub account: String,
    pub state_bucket: Option<String>,
    pub state_key: Option<String>,
    pub traffic: Option<String>,
    pub exec: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub cidr: Option<String>,
    pub zones: Option<u32>,
    pub nat: Option<String>,
    pub endpoints: Option<Vec<String>>,
    pub vpn: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    pub version: Option<String>,
    pub class: Option<String>,
    pub storage: Option<u64>,
    pub storage_max: Option<u64>,
    pub name: Option<String>,
    pub multi_az: Option<bool>,
    pub port: Option<u16>,
    pub backup_days: Option<u32>,
    pub backup_window: Option<String>,
    pub maintenance: Option<String>,
    pub protect: Option<bool>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    pub node: Option<String>,
    pub nodes: Option<u32>,
    pub version: Option<String>,
    pub snapshots: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    pub cdn: Option<String>,
    pub certificate: Option<String>,
    pub bots: Option<String>,
    pub allow_ips: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    pub interval: Option<Millis>,
    pub failures: Option<u32>,
    pub expect: Option<String>,
    pub ttl: Option<Millis>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    pub account: Option<String>,
    pub region: Option<String>,
    pub lock: Option<Lock>,
    pub restore_test: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    pub min_days: Option<u32>,
    pub max_days: Option<u32>,
    pub grace_days: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    pub security_days: Option<u32>,
    pub debug_days: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Azure {
    pub subscription: String,
    pub tenant: String,
    pub region: Option<String>,
    pub cidr: Option<String>,
    pub replicas: Option<(u32, u32)>,
    pub database_sku: Option<String>,
    pub database_storage: Option<u64>,
    pub cache_sku: Option<String>,
    pub link: Option<String>,
}
