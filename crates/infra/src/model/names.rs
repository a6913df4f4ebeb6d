//! Refuses names a cloud would refuse: too long, or with signs it does not take. Never shortens one, for a short name may be
//! somebody else's.

use super::Refusals;
use super::site::Site;
use manifest::infra::Project;

/// What is named, the longest it may be, and who says so.
struct Limit {
    what: &'static str,
    name: String,
    max: usize,
    source: &'static str,
}

pub(super) fn check(project: &Project, site: &Site, refusals: &mut Refusals) {
    for limit in limits(project, site) {
        let length = limit.name.chars().count();
        if length > limit.max {
            refusals.note(
                format!("name {} `{}`", limit.what, limit.name),
                format!("it has {length} characters, {} takes {}", limit.source, limit.max),
                "shorten `project.name`, the service's or the environment's name",
            );
        }
    }
}

fn limits(project: &Project, site: &Site) -> Vec<Limit> {
    let full = &site.full;
    let limit = |what, name: String, max, source| Limit { what, name, max, source };
    let mut limits = vec![
        limit("the balancer", full.clone(), 32, "an ALB"),
        limit("the cache", full.clone(), 40, "ElastiCache"),
        limit("the database", full.clone(), 63, "RDS"),
        limit("the state bucket", site.state.bucket.clone(), 63, "S3"),
        limit("the log bucket", format!("{full}-access-logs-{}", site.account), 63, "S3"),
        limit("the deployment role", format!("{}-deploy-{}", project.name, site.environment), 64, "IAM"),
    ];
    for service in &site.services {
        limits.push(limit("the target group", format!("{}-b", service.full), 32, "a target group"));
        limits.push(limit("the execution role", format!("{}-execution", service.full), 64, "IAM"));
        if site.azure.is_some() {
            limits.push(limit("the container app", service.full.clone(), 32, "a Container App"));
        }
    }
    if let Some(azure) = &site.azure {
        limits.push(limit("the key vault", format!("{}kv", azure.compact), 24, "a Key Vault"));
        limits.push(limit("the registry", format!("{}acr", azure.compact), 50, "a container registry"));
    }
    limits
}
