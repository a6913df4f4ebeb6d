//! Says what an installation allows: regions, certified hosts, and what each root of the configuration is for.

use crate::config::Root;
use crate::model::Plan;
use manifest::infra::HdsHost;
use serde::Serialize;
use std::collections::BTreeMap;

/// What an environment is for, as rules see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    Production,
    Staging,
    Development,
    /// Shared by all: bootstrap.
    Shared,
}

/// What the manifest allows; without one, the strictest we know.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    pub regions: Vec<String>,
    pub hds_hosts: BTreeMap<String, HdsHost>,
    /// Replicas at most and connections of each, by class of environment.
    pub capacity: BTreeMap<String, Capacity>,
    pub health: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Connections a service may open while a rollout doubles it.
    pub connections: u64,
}

impl Policy {
    /// Without a manifest.
    pub fn strict() -> Self {
        Self {
            regions: ["eu-west-3", "eu-central-1", "eu-west-1", "francecentral"].map(str::to_owned).to_vec(),
            health: true,
            ..Self::default()
        }
    }

    pub fn of(plan: &Plan) -> Self {
        let capacity = plan.sites.iter().map(|site| {
            let open = |service: &crate::model::Service| u64::from(service.max) * 2 * u64::from(service.pool);
            (site.environment.clone(), Capacity { connections: site.services.iter().map(open).sum() })
        });
        Self {
            regions: plan.regions.clone(),
            hds_hosts: plan.hds_hosts.clone(),
            capacity: capacity.collect(),
            health: plan.health(),
        }
    }

    /// Says whether data may lie there. Azure writes `France Central` too.
    pub fn allows(&self, region: &str) -> bool {
        let plain = region.to_lowercase().replace(' ', "");
        self.regions.contains(&plain)
    }
}

impl Class {
    /// Returns what a root is for: by the folder it lies in; what says nothing is held to the most.
    pub fn of(root: &Root) -> Self {
        match root.folder.split('/').next().unwrap_or_default() {
            "staging" => Self::Staging,
            "development" => Self::Development,
            "bootstrap" => Self::Shared,
            _ => Self::Production,
        }
    }
}
