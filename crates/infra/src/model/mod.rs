//! Holds the one model everything is drawn from: each name, port, path and secret once. Made by [`resolve`], which refuses
//! what a cloud would refuse, with its limit. Draws nothing itself; see `render`.

pub mod cidr;
pub mod class;
mod limits;
mod names;
mod refusal;
mod service;
mod site;

pub use class::Class;
pub use refusal::{Refusal, Refusals};
pub use service::{Build, Check, Service, Traffic};
pub use site::{Azure, Backup, Cache, Database, Site, State, Zone};

use manifest::infra::{Compliance, Github, HdsHost};
use manifest::service::Manifest;
use serde::Serialize;
use std::collections::BTreeMap;

/// Regions of the European Economic Area that AWS and Azure offer: where health data may lie without another basis
/// (HDS 2.0, EXI 28). London and Zurich are not in it.
pub const EEA: [&str; 17] = [
    "eu-west-1",
    "eu-west-3",
    "eu-central-1",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "francecentral",
    "francesouth",
    "westeurope",
    "northeurope",
    "germanywestcentral",
    "germanynorth",
    "swedencentral",
    "italynorth",
    "polandcentral",
    "spaincentral",
    "norwayeast",
];

/// Where data may lie when the manifest does not say.
const REGIONS: [&str; 4] = ["eu-west-3", "eu-central-1", "eu-west-1", "francecentral"];

/// Everything one manifest says about infrastructure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    pub project: String,
    pub title: String,
    /// The domain users reach.
    pub domain: Option<String>,
    pub zone_id: Option<String>,
    /// Classes of personal data.
    pub data: Vec<String>,
    /// The environment whose account owns the registry.
    pub registry: String,
    pub github: Option<Pipeline>,
    pub regions: Vec<String>,
    pub hds_hosts: BTreeMap<String, HdsHost>,
    pub cloudflare: String,
    /// Folders of rules of one's own.
    pub rego: Vec<String>,
    pub zone_authority: String,
    /// In the order production, staging, development; then as in the manifest.
    pub sites: Vec<Site>,
    /// As compose runs them.
    pub local: Vec<Service>,
    pub has_database: bool,
    pub has_cache: bool,
    pub database_version: String,
    pub cache_version: String,
}

/// The rendered workflow.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pipeline {
    pub repository: String,
    pub test: Vec<String>,
    pub tool: Option<manifest::infra::Tool>,
    pub stages: Vec<Stage>,
}

/// One environment of the workflow.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stage {
    pub environment: String,
    pub branch: String,
    /// The environment whose digest is taken; None: an image is built.
    pub promote: Option<String>,
    pub account: String,
    pub region: String,
}

impl Plan {
    pub fn site(&self, environment: &str) -> Option<&Site> {
        self.sites.iter().find(|site| site.environment == environment)
    }

    /// Says whether it holds health data, which calls for certified hosts.
    pub fn health(&self) -> bool {
        self.data.iter().any(|class| class == "health")
    }
}

/// Makes the model of a manifest, read for all its environments. All refusals are told at once.
pub fn resolve(manifests: &[Manifest]) -> Result<Plan, Vec<Refusal>> {
    let mut refusals = Refusals::default();
    let Some(project) = manifests.first().and_then(|first| first.infra.project.clone()) else {
        let next = "write `[project]` and under it `name = \"clinic\"`, the prefix of every name";
        return Err(vec![Refusal::new("draw infrastructure", "the manifest has no section `project`", next)]);
    };
    let first = &manifests[0].infra;
    let compliance = &first.compliance;
    let ecs = manifests.iter().filter(|manifest| manifest.infra.place.platform.as_deref() == Some("ecs"));
    let mut sites: Vec<Site> =
        ecs.filter_map(|manifest| site::resolve(&project, manifest, &mut refusals)).collect();
    sites.sort_by_key(|site| site.class as u8);
    let local = manifests.iter().find(|manifest| manifest.infra.place.platform.is_none());
    let local = local.unwrap_or(&manifests[0]);
    let whole = sites.first();
    let plan = Plan {
        title: project.title.clone().unwrap_or_else(|| project.name.clone()),
        domain: project.domain.clone(),
        zone_id: project.zone_id.clone(),
        data: project.data.clone(),
        registry: project.registry.clone().unwrap_or_else(|| registry(&sites)),
        github: first.github.as_ref().map(|github| pipeline(github, &sites, &mut refusals)),
        regions: regions(compliance),
        hds_hosts: compliance.hds_hosts.clone(),
        cloudflare: compliance.cloudflare.clone().unwrap_or_else(|| "refuse".to_owned()),
        rego: compliance.rego.clone(),
        zone_authority: project.zone_authority.clone().unwrap_or_else(|| "route53".to_owned()),
        local: service::resolve_all(&project.name, "local", local, 2, &mut Refusals::default()),
        has_database: whole.is_none_or(|site| site.database.is_some()),
        has_cache: whole.is_none_or(|site| site.cache.is_some()),
        database_version: whole
            .and_then(|site| site.database.as_ref())
            .map_or("17".to_owned(), |it| it.version.clone()),
        cache_version: whole
            .and_then(|site| site.cache.as_ref())
            .map_or("7.1".to_owned(), |it| it.version.clone()),
        project: project.name,
        sites,
    };
    limits::check(&plan, &mut refusals);
    refusals.into_result(plan)
}

fn registry(sites: &[Site]) -> String {
    sites.first().map_or("production".to_owned(), |site| site.environment.clone())
}

fn regions(compliance: &Compliance) -> Vec<String> {
    match compliance.regions.is_empty() {
        true => REGIONS.map(str::to_owned).to_vec(),
        false => compliance.regions.clone(),
    }
}

fn pipeline(github: &Github, sites: &[Site], refusals: &mut Refusals) -> Pipeline {
    for named in github.branches.keys().chain(github.promote.keys()).chain(github.promote.values()) {
        if !sites.iter().any(|site| site.environment == *named) {
            let known: Vec<&str> = sites.iter().map(|site| site.environment.as_str()).collect();
            refusals.note(
                format!("draw the workflow for the environment `{named}`"),
                "`ci.github` names it and the manifest has no such environment on ECS",
                format!("use one of: {}", known.join(", ")),
            );
        }
    }
    let stages = sites.iter().map(|site| {
        let branch = github.branches.get(&site.environment).cloned();
        let branch = branch.unwrap_or_else(|| site.class.defaults().branch.to_owned());
        if !branch.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte)) {
            refusals.note(
                format!("draw the workflow for the branch `{branch}`"),
                "a branch here has letters, digits, `.`, `_`, `/`, `-`",
                "write another name",
            );
        }
        Stage {
            environment: site.environment.clone(),
            branch,
            promote: github.promote.get(&site.environment).cloned(),
            account: site.account.clone(),
            region: site.region.clone(),
        }
    });
    Pipeline {
        stages: stages.collect(),
        repository: github.repository.clone(),
        test: github.test.clone(),
        tool: github.tool.clone(),
    }
}
