//! Refuses what does not go together: regions, addresses, certificates, capacities. Each refusal cites the limit.

use super::cidr::Cidr;
use super::site::Site;
use super::{Plan, Refusals};

/// Sizes of a Fargate task: units of processor, least and most memory in MiB, and its step. [Amazon ECS, task size]
const FARGATE: [(u64, u64, u64, u64); 7] = [
    (256, 512, 2048, 512),
    (512, 1024, 4096, 1024),
    (1024, 2048, 8192, 1024),
    (2048, 4096, 16384, 1024),
    (4096, 8192, 30720, 1024),
    (8192, 16384, 61440, 4096),
    (16384, 32768, 122_880, 8192),
];

pub(super) fn check(plan: &Plan, refusals: &mut Refusals) {
    for site in &plan.sites {
        regions(plan, site, refusals);
        network(site, refusals);
        certificate(site, refusals);
        tasks(site, refusals);
        data(site, refusals);
        edge(plan, site, refusals);
        standby(site, refusals);
        state(site, refusals);
    }
    overlaps(plan, refusals);
    accounts(plan, refusals);
}

fn regions(plan: &Plan, site: &Site, refusals: &mut Refusals) {
    let mut asked = vec![("region", &site.region), ("backup.region", &site.backup.region)];
    asked.extend(site.azure.as_ref().map(|azure| ("azure.region", &azure.region)));
    for (key, region) in asked {
        if !plan.regions.contains(region) {
            refusals.note(
                format!("place {} in {region}", site.environment),
                format!("`compliance.regions` allows {}", plan.regions.join(", ")),
                format!(
                    "write another `{key}` under [environment.{}], or add it to `compliance.regions`",
                    site.environment
                ),
            );
        }
        if plan.health() && !super::EEA.contains(&region.as_str()) {
            refusals.note(
                format!("place health data of {} in {region}", site.environment),
                "it is not in the European Economic Area (HDS 2.0, EXI 28)",
                "choose a region inside, as eu-west-3, eu-central-1 or francecentral",
            );
        }
    }
    if site.backup.region == site.region {
        refusals.note(
            format!("copy the backups of {} to {}", site.environment, site.region),
            "that is where the data lies: one event would take both",
            format!("write another `region` under [environment.{}.backup]", site.environment),
        );
    }
}

fn network(site: &Site, refusals: &mut Refusals) {
    let Some(cidr) = Cidr::read(&site.cidr) else { return };
    if !(16..=20).contains(&cidr.prefix()) {
        refusals.note(
            format!("divide {} into subnets", site.cidr),
            "a VPC takes /16 to /28, a subnet /16 to /28, and each zone gets three of its 256th part",
            "write a range from /16 to /20",
        );
        return;
    }
    let tasks: u64 = site.services.iter().map(|service| 2 * u64::from(service.max)).sum();
    // Interface endpoints have one address a zone, an ALB at least eight free ones in each.
    let zones = site.zones.len() as u64;
    let others = site.endpoints.len() as u64 * zones + 8 * zones;
    let (needs, has) = (tasks + others, site.private_addresses());
    if needs > has {
        refusals.note(
            format!("run up to {} tasks in the private subnets of {}", tasks / 2, site.environment),
            format!("a rollout doubles them; with {others} addresses for endpoints and balancer {needs} are needed, and {} leaves {has} (AWS keeps 5 of each subnet)", site.cidr),
            "write fewer `replicas`, or a larger `network.cidr`",
        );
    }
}

fn overlaps(plan: &Plan, refusals: &mut Refusals) {
    let mut ranges: Vec<(String, &str)> = Vec::new();
    for site in &plan.sites {
        ranges.push((site.environment.clone(), &site.cidr));
        ranges.extend(
            site.azure.as_ref().map(|azure| (format!("{}'s standby", site.environment), azure.cidr.as_str())),
        );
    }
    for (at, (name, range)) in ranges.iter().enumerate() {
        for (other, theirs) in &ranges[..at] {
            let (Some(left), Some(right)) = (Cidr::read(range), Cidr::read(theirs)) else { continue };
            if left.overlaps(right) {
                refusals.note(
                    format!("give {name} the addresses {range}"),
                    format!("{other} has {theirs}: they could never be joined, by VPN or peering"),
                    "write ranges that do not overlap, as 10.0.0.0/16, 10.1.0.0/16, 10.2.0.0/16, 10.8.0.0/16",
                );
            }
        }
    }
}

fn certificate(site: &Site, refusals: &mut Refusals) {
    let Some(arn) = &site.certificate else { return };
    let region = arn.split(':').nth(3).unwrap_or_default();
    let wanted = if site.cdn == "cloudfront" { "us-east-1" } else { site.region.as_str() };
    if region != wanted {
        let by = if site.cdn == "cloudfront" { "CloudFront" } else { "the balancer" };
        refusals.note(
            format!("use the certificate of {} in {region}", site.environment),
            format!("{by} takes certificates of {wanted} only"),
            format!("name one of {wanted}, or remove `edge.certificate`: one is made there"),
        );
    }
}

fn tasks(site: &Site, refusals: &mut Refusals) {
    for service in &site.services {
        let fits = FARGATE.iter().find(|(cpu, ..)| *cpu == service.cpu);
        let memory = service.memory_mib;
        let holds = fits.is_some_and(|(cpu, least, most, step)| {
            (*least..=*most).contains(&memory)
                && ((memory - least).is_multiple_of(*step) || (*cpu == 256 && memory == 1024))
        });
        if !holds {
            let next = match fits {
                Some((_, least, most, step)) => {
                    format!("write {least} MiB to {most} MiB in steps of {step} MiB")
                }
                None => "write cpu = 256, 512, 1024, 2048, 4096, 8192 or 16384".to_owned(),
            };
            let what =
                format!("run {} with {} units of processor and {memory} MiB", service.name, service.cpu);
            refusals.note(what, "Fargate has no task of that size (ECS, task size)", next);
        }
    }
}

fn data(site: &Site, refusals: &mut Refusals) {
    if let Some(database) = &site.database {
        let most: u64 =
            site.services.iter().map(|service| u64::from(service.max) * 2 * u64::from(service.pool)).sum();
        if let Some(limit) = database.max_connections.filter(|limit| most * 10 > limit * 8) {
            refusals.note(
                format!("open up to {most} connections to the database of {}", site.environment),
                format!("{} allows {limit} (RDS, max_connections), a rollout doubles the replicas, and a fifth stays free", database.class),
                "write a smaller `container.pool`, fewer `replicas`, or a larger `database.class`",
            );
        }
        if database.storage_max_gib * 10 < database.storage_gib * 11 {
            refusals.note(
                format!(
                    "let the storage of {} grow from {} to {} GiB",
                    site.environment, database.storage_gib, database.storage_max_gib
                ),
                "RDS wants `max_allocated_storage` at least 10 % above `allocated_storage`",
                format!("write `storage_max = \"{}GiB\"` or more", (database.storage_gib * 11).div_ceil(10)),
            );
        }
    }
    if ![10, 30].contains(&site.check_interval) {
        refusals.note(
            format!("check {} every {} s", site.environment, site.check_interval),
            "Route 53 asks every 10 s or every 30 s (RequestInterval)",
            "write `check = { interval = \"10s\" }` or \"30s\"",
        );
    }
    if site.check_expect.chars().count() > 255 {
        refusals.note(
            "look for a text of more than 255 characters",
            "Route 53 takes 255 (SearchString)",
            "write a shorter `dns.check.expect`",
        );
    }
    let backup = &site.backup;
    if backup.min_days > backup.max_days {
        refusals.note(
            format!(
                "lock the backups of {} for {} to {} days",
                site.environment, backup.min_days, backup.max_days
            ),
            "the least is above the most (AWS Backup, vault lock)",
            "write `lock = { min_days = 35, max_days = 365 }`",
        );
    }
}

fn edge(plan: &Plan, site: &Site, refusals: &mut Refusals) {
    if site.cdn == "cloudflare" && plan.cloudflare != "allow" {
        refusals.note(
            format!("put Cloudflare before {}", site.environment),
            format!("it decrypts what it proxies, and `compliance.cloudflare` is \"{}\" (R-02)", plan.cloudflare),
            "write `edge.cdn = \"cloudfront\"`, or `compliance.cloudflare = \"allow\"` with a certificate in `hds_hosts`",
        );
    }
}

fn standby(site: &Site, refusals: &mut Refusals) {
    if let Some(azure) = &site.azure
        && azure.link == "vpn"
        && !site.vpn
    {
        refusals.note(
            format!("link the standby of {} by VPN", site.environment),
            "`azure.link` is \"vpn\" and the network has no VPN gateway",
            format!(
                "write `vpn = true` under [environment.{}.network], or `link = \"tls-allowlist\"`",
                site.environment
            ),
        );
    }
}

/// One state for two environments is how an apply of staging destroys production.
fn state(site: &Site, refusals: &mut Refusals) {
    if !site.state.key.contains(&site.environment) {
        refusals.note(
            format!("keep the state of {} under `{}`", site.environment, site.state.key),
            "the key does not name the environment: two would share one state",
            "write `key = \"{env}/terraform.tfstate\"`",
        );
    }
}

fn accounts(plan: &Plan, refusals: &mut Refusals) {
    let production: Vec<&Site> =
        plan.sites.iter().filter(|site| site.class == super::Class::Production).collect();
    for site in &plan.sites {
        let shared = production
            .iter()
            .find(|other| other.environment != site.environment && other.account == site.account);
        if let Some(other) = shared.filter(|_| plan.health()) {
            refusals.note(
                format!("run {} in the account of {}", site.environment, other.environment),
                "environments with health data are apart (PGSSI-S 6.5.2.4, R-14)",
                format!("write another `account` under [environment.{}.aws]", site.environment),
            );
        }
    }
    if !plan.sites.is_empty() && plan.site(&plan.registry).is_none() {
        refusals.note(
            format!("keep images in the registry of `{}`", plan.registry),
            "`project.registry` names no environment on ECS",
            "name one that has an account",
        );
    }
}
