//! Regions: what belongs to the edge lies in us-east-1, and files that name a region name the same one.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::At;
use crate::lint::terraform::{Module, Resource};
use crate::lint::value::{Likeness, Value};

pub const RULES: &[Rule] = &[
    Rule {
        id: "region/edge-elsewhere",
        severity: Severity::Critical,
        says: "What CloudFront uses is made in us-east-1.",
        why: "A web ACL of scope CLOUDFRONT, a certificate of a distribution and the metrics of both exist in us-east-1 only: AWS refuses them elsewhere. https://docs.aws.amazon.com/waf/latest/APIReference/API_CreateWebACL.html",
        instead: "`provider = aws.us_east_1`",
        check: edge_elsewhere,
    },
    Rule {
        id: "region/edge-provider-missing",
        severity: Severity::High,
        says: "A folder that makes things of the edge has a provider for us-east-1.",
        why: "With one provider every resource is made in its region; those of CloudFront cannot be.",
        instead: "`provider \"aws\" { alias = \"us_east_1\" region = \"us-east-1\" }`",
        check: edge_provider_missing,
    },
    Rule {
        id: "region/mismatch",
        severity: Severity::High,
        says: "Task definitions, workflows and Terraform name one region.",
        why: "A log group, secret or image is looked for in the region that is named: in another one it is not there.",
        instead: "one region, from one variable",
        check: mismatch,
    },
    Rule {
        id: "region/zone-elsewhere",
        severity: Severity::High,
        says: "Availability zones belong to the region of the provider.",
        why: "A subnet in a zone of another region is refused.",
        instead: "`data \"aws_availability_zones\"`, or zones of the provider's region",
        check: zone_elsewhere,
    },
];

const EDGE: &str = "us-east-1";

/// The region a resource is made in, and where that is written.
fn region_of<'g>(out: &Out<'g>, resource: Resource<'g>) -> Option<(Value, At)> {
    let scope = out.graph.scope(resource.module);
    if let Some(region) = resource.block.get("region") {
        return Some((scope.value(region), region.at));
    }
    let alias = resource.module.provider_alias(resource.block);
    let block = resource.module.provider("aws", alias.as_deref())?;
    let region = block.get("region")?;
    Some((scope.value(region), region.at))
}

/// What has to lie in us-east-1, and why.
fn edge_things<'g>(out: &Out<'g>) -> Vec<(Resource<'g>, &'static str)> {
    let graph = out.graph;
    let mut found = Vec::new();
    for kind in
        ["aws_wafv2_web_acl", "aws_wafv2_ip_set", "aws_wafv2_regex_pattern_set", "aws_wafv2_rule_group"]
    {
        for acl in graph.resources(kind) {
            let scope = acl.block.get("scope").map(|node| graph.scope(acl.module).value(node));
            if scope.as_ref().and_then(Value::known) == Some("CLOUDFRONT") {
                found.push((acl, "its scope is CLOUDFRONT"));
            }
        }
    }
    for distribution in graph.resources("aws_cloudfront_distribution") {
        let certificate =
            distribution.block.block("viewer_certificate").and_then(|block| block.get("acm_certificate_arn"));
        let mut named = certificate.and_then(|node| graph.scope(distribution.module).resource(node));
        // A validation stands for the certificate it names.
        if let Some((validation, _)) = &named
            && validation.kind() == "aws_acm_certificate_validation"
        {
            named = validation
                .block
                .get("certificate_arn")
                .and_then(|node| graph.scope(validation.module).resource(node));
        }
        found.extend(
            named
                .filter(|(named, _)| named.kind() == "aws_acm_certificate")
                .map(|(named, _)| (named, "a CloudFront distribution uses it")),
        );
    }
    for alarm in graph.resources("aws_cloudwatch_metric_alarm") {
        let namespace = alarm.block.get("namespace").and_then(crate::lint::doc::Node::text);
        if matches!(namespace, Some("AWS/CloudFront" | "AWS/Route53")) {
            found.push((alarm, "its metrics are kept in us-east-1"));
        }
    }
    found
}

fn edge_elsewhere(out: &mut Out<'_>) {
    for (resource, why) in edge_things(out) {
        let Some((region, at)) = region_of(out, resource) else {
            if has_own_provider(resource.module) {
                out.say(
                    resource.head(),
                    format!(
                        "`{}` must be made in us-east-1 ({why}), but its provider has no such region",
                        resource.address()
                    ),
                );
            } else {
                out.unknown(resource.head(), "the provider is given from outside this folder");
            }
            continue;
        };
        let alias = resource.module.provider_alias(resource.block);
        let elsewhere = match region.known() {
            Some(known) => known != EDGE,
            // The default provider with a variable for its region: the application's region.
            None => alias.is_none() && resource.block.get("region").is_none(),
        };
        if elsewhere {
            let shown = region.known().map_or_else(|| format!("`{region}`"), |known| format!("`{known}`"));
            let message = format!(
                "`{}` must be made in us-east-1 ({why}), but its provider's region is {shown}",
                resource.address()
            );
            out.say(resource.head(), message).against(at, "the region it would be made in");
        }
    }
}

fn has_own_provider(module: &Module) -> bool {
    module.named("provider").next().is_some()
}

fn edge_provider_missing(out: &mut Out<'_>) {
    let things = edge_things(out);
    for module in out.graph.modules() {
        let Some(default) = module.provider("aws", None) else { continue };
        let scope = out.graph.scope(module);
        let is_edge = |block: &crate::lint::read::hcl::Block| {
            block.get("region").is_some_and(|region| scope.value(region).known() == Some(EDGE))
        };
        if module.named("provider").any(is_edge) {
            continue;
        }
        let needs = things.iter().find(|(resource, _)| {
            resource.module.folder == module.folder && resource.block.get("region").is_none()
        });
        if let Some((resource, why)) = needs {
            let message = format!(
                "no provider of this folder is in us-east-1, but `{}` needs one ({why})",
                resource.address()
            );
            out.say(default.head, message).against(resource.head(), "made by it");
        }
    }
}

/// Every region a file names for the application, with what it is for.
fn named(out: &Out<'_>) -> Vec<(Value, At, &'static str)> {
    let graph = out.graph;
    let mut found = Vec::new();
    for (_, container) in graph.task_containers() {
        if let Some(log) = &container.log
            && let Some((region, at)) = &log.region
        {
            found.push((region.clone(), *at, "logs"));
        }
        if let Some((image, at)) = &container.image
            && let Some(region) = part(&image.to_string(), ".dkr.ecr.", ".")
        {
            found.push((region, *at, "image"));
        }
        for secret in &container.secrets {
            for service in ["arn:aws:secretsmanager:", "arn:aws:ssm:"] {
                if let Some(region) = part(&secret.value.to_string(), service, ":") {
                    found.push((region, secret.node.at, "secret"));
                }
            }
        }
    }
    for workflow in &graph.workflows {
        let envs = std::iter::once(&workflow.node).chain(workflow.jobs.iter().map(|job| &job.node));
        for node in envs.filter_map(|node| {
            node.path(&["env", "AWS_REGION"]).or_else(|| node.path(&["env", "AWS_DEFAULT_REGION"]))
        }) {
            found.push((
                crate::lint::facts::text::value(&node.scalar().unwrap_or_default()),
                node.at,
                "pipeline",
            ));
        }
        for (_, step) in workflow.steps() {
            if let Some(node) = step.with("aws-region") {
                found.push((
                    crate::lint::facts::text::value(&node.scalar().unwrap_or_default()),
                    node.at,
                    "pipeline",
                ));
            }
        }
    }
    found
}

fn part(text: &str, before: &str, after: &str) -> Option<Value> {
    let at = text.find(before)? + before.len();
    let rest = &text[at..];
    // A hole may contain the mark.
    if rest.starts_with("${") {
        return None;
    }
    let end = rest.find(after)?;
    (end > 0).then(|| crate::lint::facts::text::value(&rest[..end]))
}

fn mismatch(out: &mut Out<'_>) {
    // The regions of default providers; several environments may have several.
    let mut homes = Vec::new();
    for module in out.graph.modules() {
        if let Some(region) = module.provider("aws", None).and_then(|block| block.get("region")) {
            homes.push((out.graph.scope(module).value(region), region.at));
        }
    }
    let named = named(out);
    let known = |value: &Value| value.known().is_some_and(|text| text.matches('-').count() >= 2);
    for (region, at, what) in named.iter().filter(|named| known(&named.0)) {
        if homes.iter().any(|(home, _)| home.likeness(region) != Likeness::Different) {
            continue;
        }
        let first = homes.iter().find(|(home, _)| known(home)).cloned();
        // Without Terraform, the task's own files are compared.
        let first = first.or_else(|| {
            if homes.is_empty() {
                named.iter().find(|other| known(&other.0)).map(|other| (other.0.clone(), other.1))
            } else {
                None
            }
        });
        let Some((home, home_at)) = first else { continue };
        if home != *region {
            out.say(*at, format!("region `{region}` for the {what}, but everything else is in `{home}`"))
                .against(home_at, format!("`{home}`"))
                .instead(format!("`{home}`"));
        }
    }
}

fn zone_elsewhere(out: &mut Out<'_>) {
    for module in out.graph.modules() {
        let Some(region) = module.provider("aws", None).and_then(|block| block.get("region")) else {
            continue;
        };
        let home = out.graph.scope(module).value(region);
        let Some(home) = home.known() else { continue };
        for block in &module.blocks {
            if block.kind == "provider" || block.get("provider").is_some() || block.get("region").is_some() {
                continue;
            }
            for entry in &block.attrs {
                if !matches!(entry.key.as_str(), "azs" | "availability_zones" | "availability_zone") {
                    continue;
                }
                for node in entry.value.one_or_many() {
                    let Some(zone) = node.text() else { continue };
                    let of = zone.trim_end_matches(|c: char| c.is_ascii_lowercase());
                    if of.matches('-').count() == 2 && zone.len() == of.len() + 1 && of != home {
                        out.say(node.at, format!("zone `{zone}` is not in `{home}`"))
                            .against(region.at, format!("the provider's region is `{home}`"));
                    }
                }
            }
        }
    }
}
