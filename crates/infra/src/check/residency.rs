//! where data lies, who decrypts it on the way, what the edge keeps.

use super::{Input, Seen};
use crate::config::{Resource, Root, Value};

/// Types that hold data. What is stateless (CloudFront, its firewall, its certificates) is not among them.
const STATEFUL: [&str; 22] = [
    "aws_db_instance",
    "aws_rds_cluster",
    "aws_db_snapshot",
    "aws_elasticache_replication_group",
    "aws_elasticache_cluster",
    "aws_s3_bucket",
    "aws_cloudwatch_log_group",
    "aws_ecr_repository",
    "aws_backup_vault",
    "aws_secretsmanager_secret",
    "aws_dynamodb_table",
    "aws_efs_file_system",
    "aws_sqs_queue",
    "aws_sns_topic",
    "aws_instance",
    "aws_ssm_parameter",
    "azurerm_postgresql_flexible_server",
    "azurerm_managed_redis",
    "azurerm_storage_account",
    "azurerm_log_analytics_workspace",
    "azurerm_container_registry",
    "azurerm_key_vault",
];

pub fn regions(input: &Input<'_>, seen: &mut Seen) {
    for root in input.roots {
        for resource in
            root.resources.iter().filter(|it| !it.is_data() && STATEFUL.contains(&it.kind.as_str()))
        {
            located(input, root, resource, seen);
        }
        backend(input, root, seen);
        let replicas = root.of("aws_ecr_replication_configuration").chain(root.of("aws_kms_replica_key"));
        for resource in replicas {
            seen.breaks(
                resource,
                "",
                "copies data or keys to another region by itself",
                "remove it, or name allowed regions in a reviewed change",
            );
        }
    }
}

fn located(input: &Input<'_>, root: &Root, resource: &Resource, seen: &mut Seen) {
    let location = azure_location(root, resource);
    let Some(region) = location.as_deref().or_else(|| root.region(resource)) else {
        return seen.note(format!("{}: its region is not known here", resource.address));
    };
    if input.policy.allows(region) {
        return seen.holds(resource, region);
    }
    if resource.kind == "aws_cloudwatch_log_group" && region == "us-east-1" && is_redacted(root, resource) {
        return seen
            .holds(resource, "us-east-1, as CloudFront's firewall writes nowhere else; redacted (R-03)");
    }
    let what = format!("lies in {region}, which is not allowed");
    seen.breaks(resource, "region", what, format!("place it in one of: {}", input.policy.regions.join(", ")));
}

/// Azure places things by `location`; that of the resource group where it refers to it.
fn azure_location(root: &Root, resource: &Resource) -> Option<String> {
    let known = |resource: &Resource| resource.text("location").map(str::to_owned);
    if !resource.kind.starts_with("azurerm_") {
        return None;
    }
    known(resource).or_else(|| root.of("azurerm_resource_group").find_map(known))
}

fn is_redacted(root: &Root, group: &Resource) -> bool {
    let mut configurations = root.of("aws_wafv2_web_acl_logging_configuration");
    configurations.any(|it| it.refers("log_destination_configs", group) && missing_redactions(it).is_empty())
}

fn backend(input: &Input<'_>, root: &Root, seen: &mut Seen) {
    let Some(backend) = root.backend.as_ref().filter(|backend| backend.kind == "s3") else { return };
    match backend.text("region") {
        Some(region) if input.policy.allows(region) => {
            seen.note(format!("state of {}: {region}", root.folder))
        }
        Some(region) => seen.breaks(
            backend,
            "region",
            format!("the state lies in {region}"),
            "place it in an allowed region",
        ),
        None => {}
    }
}

pub fn intermediaries(input: &Input<'_>, seen: &mut Seen) {
    let covered = |host: &str, service: &str| {
        input
            .policy
            .hds_hosts
            .get(host)
            .is_some_and(|host| host.covers.iter().any(|covered| covered == service))
    };
    for root in input.roots {
        for distribution in root.of("aws_cloudfront_distribution") {
            let instead = "write `hds_hosts = { aws = { certificate = \"…\", expires = \"…\", covers = [\"cloudfront\"] } }` under [compliance]";
            seen.require(
                covered("aws", "cloudfront"),
                distribution,
                "",
                "CloudFront, covered by the certificate of AWS in `hds_hosts`",
                instead,
            );
        }
        let proxied = root
            .of("cloudflare_dns_record")
            .filter(|record| record.get("proxied").is_some_and(|it| it.as_bool() != Some(false)));
        for record in proxied {
            let instead =
                "write `proxied = false`; Cloudflare decrypts what it proxies, and is in no `hds_hosts`";
            seen.require(
                input.policy.hds_hosts.contains_key("cloudflare"),
                record,
                "proxied",
                "proxied by a certified host",
                instead,
            );
        }
    }
}

pub fn edge(input: &Input<'_>, seen: &mut Seen) {
    for root in input.roots {
        for distribution in root.of("aws_cloudfront_distribution") {
            caching(root, distribution, seen);
            if distribution.get("logging_config").is_some() {
                seen.breaks(
                    distribution,
                    "logging_config",
                    "logs whole URIs outside the region",
                    "remove it: the redacted log of the firewall stands in",
                );
            }
        }
        for acl in root.of("aws_wafv2_web_acl") {
            let mut samples = false;
            acl.values.walk(&mut |value| {
                samples |= value.at("sampled_requests_enabled").and_then(Value::as_bool) == Some(true)
            });
            seen.require(
                !samples,
                acl,
                "rule",
                "keeps no samples of requests",
                "write `sampled_requests_enabled = false`: samples hold queries and cookies",
            );
        }
        for logging in root.of("aws_wafv2_web_acl_logging_configuration") {
            let missing = missing_redactions(logging);
            let instead = "add a block `redacted_fields` for each of them";
            let said = "redacts query, cookie and authorization";
            seen.require(missing.is_empty(), logging, "redacted_fields", said, instead);
        }
        for log in root.of("aws_route53_query_log") {
            seen.breaks(
                log,
                "",
                "records who asks for which name, in us-east-1, without redaction",
                "remove it",
            );
        }
    }
}

fn missing_redactions(logging: &Resource) -> Vec<&'static str> {
    let fields = logging.blocks("redacted_fields");
    let header = |wanted: &str| {
        fields.iter().any(|field| field.at("single_header.name").and_then(Value::as_text) == Some(wanted))
    };
    let mut missing = Vec::new();
    if !fields.iter().any(|field| field.at("query_string").is_some()) {
        missing.push("query_string");
    }
    if !header("cookie") {
        missing.push("cookie");
    }
    if !header("authorization") {
        missing.push("authorization");
    }
    missing
}

/// CachingDisabled, by its name or its id.
fn caching(root: &Root, distribution: &Resource, seen: &mut Seen) {
    let disabled = |policy: &Value| {
        let by_name = |resource: &Resource| {
            resource.kind == "aws_cloudfront_cache_policy"
                && policy.mentions(&resource.address)
                && resource.text("name") == Some("Managed-CachingDisabled")
        };
        policy.as_text() == Some("4135ea2d-6df8-44a3-9df3-4b5a84be39ad") || root.resources.iter().any(by_name)
    };
    let behaviour = distribution.get("default_cache_behavior.cache_policy_id");
    let instead = "write `cache_policy_id` of the policy Managed-CachingDisabled: answers are about patients";
    seen.require(
        behaviour.is_some_and(disabled),
        distribution,
        "default_cache_behavior",
        "caches nothing by default",
        instead,
    );
}
