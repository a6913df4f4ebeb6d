//! Makes one environment of the model: the class fills in what the manifest leaves out.

use super::class::{Class, ENDPOINTS, max_connections, memory_mib};
use super::service::{Service, resolve_all};
use super::{Refusals, cidr::Cidr, names};
use manifest::infra::{Place, Project};
use manifest::service::Manifest;
use serde::Serialize;
use std::collections::BTreeMap;

/// One environment on AWS, and its standby.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Site {
    pub environment: String,
    /// `{project}-{env}`.
    pub full: String,
    pub class: Class,
    pub region: String,
    pub account: String,
    pub state: State,
    pub exec: bool,
    pub cidr: String,
    pub zones: Vec<Zone>,
    pub nat: String,
    /// Interface endpoints; the gateway of S3 is always there.
    pub endpoints: Vec<String>,
    pub vpn: bool,
    pub services: Vec<Service>,
    pub database: Option<Database>,
    pub cache: Option<Cache>,
    pub cdn: String,
    pub certificate: Option<String>,
    pub bots: String,
    pub allow_ips: BTreeMap<String, Vec<String>>,
    pub check_interval: u64,
    pub check_failures: u32,
    pub check_expect: String,
    pub ttl: u64,
    pub backup: Backup,
    pub security_days: u32,
    pub debug_days: u32,
    pub email: Vec<String>,
    pub azure: Option<Azure>,
    /// Where health data is, a container may not be looked into.
    pub uploads: Vec<String>,
    /// Shared by all services: what decides a failover.
    pub deep: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct State {
    pub bucket: String,
    pub key: String,
}

/// One availability zone and its three subnets, as Terraform's `cidrsubnet` numbers them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Zone {
    pub letter: String,
    pub name: String,
    pub private: u32,
    pub public: u32,
    pub data: u32,
    /// Bits added to the network's prefix.
    pub bits: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Database {
    pub version: String,
    pub class: String,
    pub storage_gib: u64,
    pub storage_max_gib: u64,
    pub name: String,
    pub multi_az: bool,
    pub port: u16,
    pub backup_days: u32,
    pub backup_window: String,
    pub maintenance: String,
    pub protect: bool,
    /// None: the class is not in our table.
    pub max_connections: Option<u64>,
    pub memory_mib: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cache {
    pub node: String,
    pub nodes: u32,
    pub version: String,
    pub family: String,
    pub snapshots: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Backup {
    pub account: Option<String>,
    pub region: String,
    pub min_days: u32,
    pub max_days: u32,
    pub grace_days: u32,
    pub restore_test: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Azure {
    pub subscription: String,
    pub tenant: String,
    pub region: String,
    pub cidr: String,
    pub min: u32,
    pub max: u32,
    pub database_sku: String,
    pub database_mib: u64,
    pub cache_sku: String,
    pub link: String,
    /// `{project}{env}` without hyphens, for names that are unique in the world.
    pub compact: String,
}

/// Bits from a /16 to the /24 of a zone; smaller networks get smaller subnets.
const SUBNET_BITS: u32 = 8;

pub(super) fn resolve(project: &Project, manifest: &Manifest, refusals: &mut Refusals) -> Option<Site> {
    let environment = manifest.environment.name.clone();
    let place = &manifest.infra.place;
    let class = Class::of(place.class.as_deref(), &environment);
    let defaults = class.defaults();
    let Some(aws) = &place.aws else {
        refusals.note(
            format!("draw the environment {environment}"),
            "its platform is ECS and it names no account",
            format!("write `[environment.{environment}.aws]` and under it `account = \"111111111111\"`"),
        );
        return None;
    };
    let zones = place.network.zones.unwrap_or(defaults.zones);
    let region = place.region.clone().unwrap_or_else(|| "eu-west-3".to_owned());
    let services = resolve_all(&project.name, &environment, manifest, zones, refusals);
    let fill = |template: &str| {
        let named = template.replace("{project}", &project.name).replace("{env}", &environment);
        named.replace("{account}", &aws.account)
    };
    let site = Site {
        full: format!("{}-{environment}", project.name),
        state: State {
            bucket: fill(aws.state_bucket.as_deref().unwrap_or("{project}-terraform-state-{account}")),
            key: fill(aws.state_key.as_deref().unwrap_or("{env}/terraform.tfstate")),
        },
        account: aws.account.clone(),
        exec: aws.exec,
        cidr: place.network.cidr.clone().unwrap_or_else(|| defaults.cidr.to_owned()),
        zones: (0..zones).map(|at| zone(&region, at)).collect(),
        nat: place.network.nat.clone().unwrap_or_else(|| defaults.nat.to_owned()),
        endpoints: endpoints(place),
        vpn: place.network.vpn,
        database: place.database.as_ref().map(|_| database(project, place, class)),
        cache: place.cache.as_ref().map(|_| cache(place, class)),
        cdn: place.edge.cdn.clone().unwrap_or_else(|| defaults.cdn.to_owned()),
        certificate: place.edge.certificate.clone(),
        bots: place.edge.bots.clone().unwrap_or_else(|| "count".to_owned()),
        allow_ips: place.edge.allow_ips.clone(),
        check_interval: place.dns.interval.map_or(10, |it| it.0 / 1000),
        check_failures: place.dns.failures.unwrap_or(3),
        check_expect: place.dns.expect.clone().unwrap_or_else(|| "\"writer\":\"aws\"".to_owned()),
        ttl: place.dns.ttl.map_or(60, |it| it.0 / 1000),
        backup: backup(place, class),
        security_days: place.logs.security_days.unwrap_or(365),
        debug_days: place.logs.debug_days.unwrap_or(30),
        email: place.alerts.clone(),
        azure: azure(project, &environment, place, refusals),
        uploads: services.iter().flat_map(|service| service.uploads.clone()).collect(),
        deep: services.first().map_or("/".to_owned(), |service| service.deep.clone()),
        services,
        environment,
        class,
        region,
    };
    names::check(project, &site, refusals);
    Some(site)
}

fn zone(region: &str, at: u32) -> Zone {
    let letter = char::from(b'a' + at as u8).to_string();
    Zone {
        name: format!("{region}{letter}"),
        letter,
        private: at + 1,
        public: at + 101,
        data: at + 201,
        bits: SUBNET_BITS,
    }
}

impl Site {
    /// Returns how many addresses a private subnet leaves: AWS keeps five of each.
    pub fn private_addresses(&self) -> u64 {
        let network = Cidr::read(&self.cidr);
        let prefix = network.map_or(32, |network| network.prefix() + SUBNET_BITS).min(32);
        let each = (1u64 << (32 - prefix)).saturating_sub(5);
        each * self.zones.len() as u64
    }
}

fn endpoints(place: &Place) -> Vec<String> {
    match &place.network.endpoints {
        Some(endpoints) => endpoints.iter().filter(|name| *name != "s3").cloned().collect(),
        None => ENDPOINTS.iter().filter(|name| **name != "s3").map(|name| (*name).to_owned()).collect(),
    }
}

fn database(project: &Project, place: &Place, class: Class) -> Database {
    let defaults = class.defaults();
    let written = place.database.clone().unwrap_or_default();
    let instance = written.class.unwrap_or_else(|| defaults.database.to_owned());
    let gib = |bytes: Option<u64>, otherwise: u64| bytes.map_or(otherwise, |bytes| bytes >> 30);
    Database {
        version: written.version.unwrap_or_else(|| "17".to_owned()),
        storage_gib: gib(written.storage, defaults.storage_gib.0),
        storage_max_gib: gib(written.storage_max, defaults.storage_gib.1),
        name: written.name.unwrap_or_else(|| project.name.replace('-', "_")),
        multi_az: written.multi_az.unwrap_or(defaults.multi_az),
        port: written.port.unwrap_or(5433),
        backup_days: written.backup_days.unwrap_or(defaults.backup_days),
        backup_window: written.backup_window.unwrap_or_else(|| "03:00-04:00".to_owned()),
        maintenance: written.maintenance.unwrap_or_else(|| "Sun:04:00-Sun:05:00".to_owned()),
        protect: written.protect.unwrap_or(defaults.protect),
        max_connections: max_connections(&instance),
        memory_mib: memory_mib(&instance),
        class: instance,
    }
}

fn cache(place: &Place, class: Class) -> Cache {
    let defaults = class.defaults();
    let written = place.cache.clone().unwrap_or_default();
    let version = written.version.unwrap_or_else(|| "7.1".to_owned());
    Cache {
        node: written.node.unwrap_or_else(|| defaults.node.to_owned()),
        nodes: written.nodes.unwrap_or(defaults.nodes),
        family: format!("redis{}", version.split('.').next().unwrap_or("7")),
        version,
        snapshots: written.snapshots.unwrap_or(defaults.snapshots),
    }
}

fn backup(place: &Place, class: Class) -> Backup {
    let lock = place.backup.lock.clone().unwrap_or_default();
    Backup {
        account: place.backup.account.clone(),
        region: place.backup.region.clone().unwrap_or_else(|| "eu-central-1".to_owned()),
        min_days: lock.min_days.unwrap_or(35),
        max_days: lock.max_days.unwrap_or(365),
        grace_days: lock.grace_days.unwrap_or(3),
        restore_test: place
            .backup
            .restore_test
            .clone()
            .unwrap_or_else(|| class.defaults().restore_test.to_owned()),
    }
}

fn azure(project: &Project, environment: &str, place: &Place, refusals: &mut Refusals) -> Option<Azure> {
    if place.standby.as_deref() != Some("azure") {
        return None;
    }
    let Some(written) = &place.azure else {
        refusals.note(
            format!("draw the standby of {environment}"),
            "its `standby` is \"azure\" and no subscription is named",
            format!("write `[environment.{environment}.azure]` with `subscription` and `tenant`"),
        );
        return None;
    };
    let (min, max) = written.replicas.unwrap_or((2, 6));
    Some(Azure {
        subscription: written.subscription.clone(),
        tenant: written.tenant.clone(),
        region: written.region.clone().unwrap_or_else(|| "francecentral".to_owned()),
        cidr: written.cidr.clone().unwrap_or_else(|| "10.8.0.0/16".to_owned()),
        min,
        max: max.max(min),
        database_sku: written.database_sku.clone().unwrap_or_else(|| "GP_Standard_D2ds_v5".to_owned()),
        database_mib: written.database_storage.map_or(131_072, |bytes| bytes >> 20),
        cache_sku: written.cache_sku.clone().unwrap_or_else(|| "Balanced_B1".to_owned()),
        link: written.link.clone().unwrap_or_else(|| "tls-allowlist".to_owned()),
        compact: format!("{}{environment}", project.name).replace('-', ""),
    })
}
