//! Works out what templates need beyond the model: which keys there are, which sides a service has, who owns the registry.

use crate::model::{Class, Plan, Service, Site, Traffic, Zone};
use serde::Serialize;
use std::collections::BTreeSet;

/// What the templates of one environment see.
#[derive(Serialize)]
pub struct Context<'m> {
    plan: &'m Plan,
    site: &'m Site,
    services: Vec<View<'m>>,
    production: bool,
    cloudfront: bool,
    /// Of the firewall.
    scope: &'static str,
    /// Whether ECS itself moves the traffic of any service.
    native: bool,
    nat_zones: &'m [Zone],
    keys: Vec<Key>,
    secret_keys: BTreeSet<&'m str>,
    registry: Registry<'m>,
    /// Seconds until a failing check of the balancer may end a task.
    grace: u64,
    health_prefix: String,
    /// Threshold of the alarm.
    db_connections: u64,
    backup_days: u32,
    sites: &'m [Site],
}

#[derive(Serialize)]
struct View<'m> {
    #[serde(flatten)]
    service: &'m Service,
    native: bool,
    sides: Vec<Side>,
    patterns: Vec<String>,
}

/// One ECS service: native traffic needs one, weights need two.
#[derive(Serialize)]
struct Side {
    letter: &'static str,
    label: String,
    name: String,
}

#[derive(Serialize)]
struct Registry<'m> {
    environment: &'m str,
    account: &'m str,
    region: &'m str,
}

/// A key of KMS and who besides the account may use it.
#[derive(Serialize)]
struct Key {
    label: &'static str,
    alias: &'static str,
    description: &'static str,
    logs: bool,
    alarms: bool,
    fargate: bool,
    /// Set where it is not the environment's.
    region: Option<&'static str>,
}

const fn key(label: &'static str, alias: &'static str, description: &'static str) -> Key {
    Key { label, alias, description, logs: false, alarms: false, fargate: false, region: None }
}

pub fn context<'m>(plan: &'m Plan, site: &'m Site) -> Context<'m> {
    let cloudfront = site.cdn == "cloudfront";
    let registry = plan.site(&plan.registry).unwrap_or(site);
    let services: Vec<View> = site.services.iter().map(view).collect();
    let start =
        site.services.iter().filter_map(|service| service.liveness.as_ref()).map(|check| check.start).max();
    let database = site.database.as_ref();
    let nat = match site.nat.as_str() {
        "per-zone" => site.zones.len(),
        "single" => 1,
        _ => 0,
    };
    Context {
        production: site.class == Class::Production,
        cloudfront,
        scope: if cloudfront { "CLOUDFRONT" } else { "REGIONAL" },
        native: services.iter().any(|service| service.native),
        nat_zones: &site.zones[..nat.min(site.zones.len())],
        keys: keys(site, cloudfront),
        secret_keys: site.services.iter().flat_map(|service| &service.secrets).map(String::as_str).collect(),
        registry: Registry {
            environment: &registry.environment,
            account: &registry.account,
            region: &registry.region,
        },
        grace: start.unwrap_or(60),
        health_prefix: health_prefix(site),
        // 80 %; for a class that is not in our table, of the smallest that production would use.
        db_connections: database
            .and_then(|database| database.max_connections)
            .map_or(360, |most| most * 8 / 10),
        backup_days: match site.class {
            Class::Production => site.backup.min_days,
            Class::Staging | Class::Development => database.map_or(7, |database| database.backup_days),
        },
        services,
        plan,
        site,
        sites: &plan.sites,
    }
}

fn view(service: &Service) -> View<'_> {
    let native = service.traffic != Traffic::Weights;
    let side = |letter| match native {
        true => Side { letter, label: service.label.clone(), name: service.full.clone() },
        false => Side {
            letter,
            label: format!("{}_{letter}", service.label),
            name: format!("{}-{letter}", service.full),
        },
    };
    let sides = if native { vec![side("a")] } else { vec![side("a"), side("b")] };
    let patterns = match service.paths.is_empty() {
        true => vec!["/*".to_owned()],
        false => service.paths.iter().map(|path| format!("{}/*", path.trim_end_matches('/'))).collect(),
    };
    View { service, native, sides, patterns }
}

fn keys(site: &Site, cloudfront: bool) -> Vec<Key> {
    let mut keys = Vec::new();
    keys.extend(site.database.as_ref().map(|_| key("database", "database", "The database")));
    keys.extend(site.cache.as_ref().map(|_| key("cache", "cache", "The cache")));
    keys.push(key("secrets", "secrets", "Secrets"));
    keys.push(Key { logs: true, ..key("logs", "logs", "Logs") });
    keys.push(Key { alarms: true, ..key("alerts", "alerts", "Alerts") });
    keys.push(Key { fargate: true, ..key("tasks", "tasks", "Disks of tasks") });
    if site.database.is_some() && site.class != Class::Development {
        keys.push(key("backup", "backup", "Backups"));
    }
    if cloudfront {
        let edge = key("edge_logs", "edge-logs", "Redacted logs of the edge");
        keys.push(Key { logs: true, region: Some("us-east-1"), ..edge });
    }
    keys
}

/// Returns the longest prefix all health paths share, ending in `/`: `/api/health/`.
fn health_prefix(site: &Site) -> String {
    let mut paths = site.services.iter().flat_map(|service| [&service.balancer_path, &service.deep]);
    let Some(first) = paths.next() else { return "/health/".to_owned() };
    let shared = paths.fold(first.as_str(), |shared, path| {
        let length = shared.bytes().zip(path.bytes()).take_while(|(left, right)| left == right).count();
        &shared[..length]
    });
    match shared.rfind('/') {
        // The root alone would let everything pass: the path itself then.
        None | Some(0) => first.clone(),
        Some(at) => shared[..=at].to_owned(),
    }
}
