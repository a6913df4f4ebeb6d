//! every access leaves a trace, nobody changes it, it is kept long enough and not longer, and names no patient.

use super::{Class, Input, Seen, containers};
use crate::config::{Resource, Root, Value};

/// Least and most days a trace of accesses is kept: six months to a year (PGSSI-S 7.2.2.5, CNIL 2021-122).
const DAYS: (f64, f64) = (180.0, 365.0);

/// Log groups that record no access, by a part of their name: figures of containers, upgrades, slow commands.
const DEBUG: [&str; 3] = ["containerinsights", "/upgrade", "/elasticache/"];

/// Dimensions of metrics that cannot hold a person.
const DIMENSIONS: [&str; 14] = [
    "ClusterName",
    "ServiceName",
    "LoadBalancer",
    "TargetGroup",
    "DBInstanceIdentifier",
    "CacheClusterId",
    "CacheNodeId",
    "FunctionName",
    "QueueName",
    "WebACL",
    "Rule",
    "Region",
    "HealthCheckId",
    "ReplicationGroupId",
];

pub fn sources(input: &Input<'_>, seen: &mut Seen) {
    for root in input.roots {
        for vpc in root.of("aws_vpc") {
            let logged = root
                .of("aws_flow_log")
                .any(|log| log.refers("vpc_id", vpc) && log.text("traffic_type") == Some("ALL"));
            seen.require(
                logged,
                vpc,
                "",
                "flow logs of all traffic",
                "add aws_flow_log with `traffic_type = \"ALL\"`",
            );
        }
        for balancer in root.of("aws_lb") {
            let on = balancer.get("access_logs.enabled").and_then(Value::as_bool) == Some(true);
            seen.require(
                on,
                balancer,
                "access_logs",
                "access log",
                "add a block `access_logs` with `enabled = true`",
            );
        }
        for acl in root.of("aws_wafv2_web_acl") {
            let logged =
                root.of("aws_wafv2_web_acl_logging_configuration").any(|log| log.refers("resource_arn", acl));
            seen.require(logged, acl, "", "logged", "add aws_wafv2_web_acl_logging_configuration");
        }
        for database in root.of("aws_db_instance") {
            database_logs(root, database, seen);
        }
        for trail in root.of("aws_cloudtrail") {
            seen.require(
                trail.is("is_multi_region_trail", true),
                trail,
                "is_multi_region_trail",
                "all regions",
                "write `is_multi_region_trail = true`",
            );
        }
        if Class::of(root) == Class::Shared
            && root.folder.ends_with("aws")
            && root.of("aws_cloudtrail").next().is_none()
        {
            seen.broken(
                "aws_cloudtrail",
                &root.folder,
                "who changes the account leaves no trace",
                "add aws_cloudtrail",
            );
        }
        for task in root.of("aws_ecs_task_definition") {
            task_logs(root, task, seen);
        }
        for cluster in root.of("azurerm_container_app_environment") {
            seen.require(
                cluster.get("log_analytics_workspace_id").is_some(),
                cluster,
                "log_analytics_workspace_id",
                "logs",
                "write `log_analytics_workspace_id`",
            );
        }
    }
}

fn database_logs(root: &Root, database: &Resource, seen: &mut Seen) {
    let exports = database.get("enabled_cloudwatch_logs_exports").map(Value::texts).unwrap_or_default();
    let exported = exports.iter().any(|name| name == "postgresql");
    seen.require(
        exported,
        database,
        "enabled_cloudwatch_logs_exports",
        "exports `postgresql`",
        "write `enabled_cloudwatch_logs_exports = [\"postgresql\", \"upgrade\"]`",
    );
    let parameters: Vec<&Value> = root
        .of("aws_db_parameter_group")
        .filter(|it| database.refers("parameter_group_name", it))
        .flat_map(|it| it.blocks("parameter"))
        .collect();
    let value = |wanted: &str| {
        let named = |parameter: &&&Value| parameter.at("name").and_then(Value::as_text) == Some(wanted);
        parameters.iter().find(named).and_then(|parameter| parameter.at("value")?.shown())
    };
    for name in ["log_connections", "log_disconnections"] {
        seen.require(
            value(name).as_deref() == Some("1"),
            database,
            "parameter_group_name",
            &format!("`{name}`"),
            &format!("write the parameter `{name}` = \"1\""),
        );
    }
    let Some(identifier) = database.text("identifier").filter(|_| exported) else { return };
    let name = format!("/aws/rds/instance/{identifier}/postgresql");
    let made = root.of("aws_cloudwatch_log_group").any(|it| it.text("name") == Some(&name));
    seen.require(
        made,
        database,
        "",
        "its log group is ours, with a key and an end",
        &format!("add aws_cloudwatch_log_group `{name}`: RDS would make it without key and end"),
    );
}

/// The group a task writes to must be one that is made: ECS makes none.
fn task_logs(root: &Root, task: &Resource, seen: &mut Seen) {
    for container in containers(root, task, seen) {
        let group = container.at("logConfiguration.options.awslogs-group");
        let made = group.is_some_and(|group| {
            root.of("aws_cloudwatch_log_group").any(|it| {
                group.mentions(&it.address)
                    || (group.as_text().is_some() && it.text("name") == group.as_text())
            })
        });
        seen.require(
            made,
            task,
            "container_definitions",
            "writes to a log group that is made here",
            "write `awslogs-group` as the name of an aws_cloudwatch_log_group",
        );
    }
}

pub fn integrity(input: &Input<'_>, seen: &mut Seen) {
    for root in input.roots {
        for trail in root.of("aws_cloudtrail") {
            seen.require(
                trail.is("enable_log_file_validation", true),
                trail,
                "enable_log_file_validation",
                "signed",
                "write `enable_log_file_validation = true`",
            );
        }
        let writers = root
            .of("aws_lb")
            .map(|it| (it, "access_logs.bucket"))
            .chain(root.of("aws_cloudtrail").map(|it| (it, "s3_bucket_name")));
        for (writer, attribute) in writers {
            let Some(bucket) = writer.get(attribute) else { continue };
            let locked = root.of("aws_s3_bucket_object_lock_configuration").any(|lock| {
                let same = lock.get("bucket").is_some_and(|of| of == bucket);
                same && lock.number("rule.default_retention.days").is_some_and(|days| days >= DAYS.0)
            });
            seen.require(
                locked,
                writer,
                attribute,
                "its bucket keeps every object 180 days",
                "add aws_s3_bucket_object_lock_configuration with `days = 180` or more",
            );
        }
    }
}

pub fn retention(input: &Input<'_>, seen: &mut Seen) {
    for root in input.roots {
        for group in root.of("aws_cloudwatch_log_group") {
            let name = group.text("name").unwrap_or_default();
            let debug = DEBUG.iter().any(|part| name.contains(part));
            let days = group.number("retention_in_days").unwrap_or(0.0);
            let least = if debug { 1.0 } else { DAYS.0 };
            let said = format!("{days} days");
            seen.require(
                (least..=DAYS.1).contains(&days),
                group,
                "retention_in_days",
                &said,
                &format!("write `retention_in_days` from {least} to {}; 0 or nothing is for ever", DAYS.1),
            );
        }
        for bucket in root.of("aws_s3_bucket_lifecycle_configuration").filter(|it| is_of_logs(root, it)) {
            let days = bucket.number("rule.expiration.days").unwrap_or(0.0);
            seen.require(
                (DAYS.0..=DAYS.1).contains(&days),
                bucket,
                "rule",
                &format!("{days} days"),
                "write `expiration { days = 365 }`",
            );
        }
        for workspace in root.of("azurerm_log_analytics_workspace") {
            let days = workspace.number("retention_in_days").unwrap_or(30.0);
            seen.require(
                (DAYS.0..=DAYS.1).contains(&days),
                workspace,
                "retention_in_days",
                &format!("{days} days"),
                "write `retention_in_days = 365`",
            );
        }
    }
}

fn is_of_logs(root: &Root, lifecycle: &Resource) -> bool {
    let bucket = lifecycle.get("bucket");
    let of = |kind: &'static str, attribute: &str| {
        root.of(kind).any(|it| bucket.is_some() && it.get(attribute) == bucket)
    };
    of("aws_lb", "access_logs.bucket") || of("aws_cloudtrail", "s3_bucket_name")
}

pub fn personal_data(input: &Input<'_>, seen: &mut Seen) {
    for root in input.roots {
        for task in root.of("aws_ecs_task_definition") {
            masked(root, task, seen);
        }
        for group in root.of("aws_db_parameter_group") {
            statements(group, seen);
        }
        for alarm in root.of("aws_cloudwatch_metric_alarm") {
            let mut strange = Vec::new();
            alarm.values.walk(&mut |value| {
                if let Some(Value::Map(dimensions)) = value.at("dimensions") {
                    strange.extend(
                        dimensions.keys().filter(|name| !DIMENSIONS.contains(&name.as_str())).cloned(),
                    );
                }
            });
            seen.require(
                strange.is_empty(),
                alarm,
                "dimensions",
                "dimensions that hold no person",
                &format!("remove the dimension {}: it is on no list of what may be one", strange.join(", ")),
            );
        }
    }
}

fn masked(root: &Root, task: &Resource, seen: &mut Seen) {
    for container in containers(root, task, seen) {
        let Some(group) = container.at("logConfiguration.options.awslogs-group") else { continue };
        let protects = |policy: &Resource| {
            let document = policy.get("policy_document");
            let mut masks = false;
            document.inspect(|it| it.walk(&mut |value| masks |= value.at("Deidentify").is_some()));
            let same = policy.get("log_group_name").is_some_and(|name| {
                name == group
                    || root
                        .of("aws_cloudwatch_log_group")
                        .any(|it| group.mentions(&it.address) && name.mentions(&it.address))
            });
            masks && same
        };
        let holds = root.of("aws_cloudwatch_log_data_protection_policy").any(protects);
        seen.require(
            holds,
            task,
            "container_definitions",
            "personal data is masked in its log",
            "add aws_cloudwatch_log_data_protection_policy that de-identifies",
        );
    }
}

fn statements(group: &Resource, seen: &mut Seen) {
    if !group.text("family").unwrap_or_default().starts_with("postgres") {
        return;
    }
    let value = |wanted: &str| {
        let found = group
            .blocks("parameter")
            .into_iter()
            .find(|it| it.at("name").and_then(Value::as_text) == Some(wanted));
        found.and_then(|it| it.at("value")?.shown())
    };
    for name in ["log_parameter_max_length", "log_parameter_max_length_on_error"] {
        let said = format!("`{name} = 0`");
        seen.require(
            value(name).as_deref() == Some("0"),
            group,
            "parameter",
            &said,
            &format!("write the parameter `{name}` = \"0\": values of patients would be in log lines"),
        );
    }
    let logged = value("log_statement");
    let quiet = matches!(logged.as_deref(), None | Some("none" | "ddl"));
    seen.require(
        quiet,
        group,
        "parameter",
        "logs no statement that holds data",
        "write `log_statement` = \"ddl\"",
    );
    let audited = value("pgaudit.log_parameter");
    seen.require(
        !matches!(audited.as_deref(), Some("1" | "on")),
        group,
        "parameter",
        "pgaudit logs no values",
        "write `pgaudit.log_parameter` = \"0\"",
    );
}
