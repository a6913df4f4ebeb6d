//! Alarms: what they watch says something about users, and their limits follow from what they watch.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::{Kind, Node};
use crate::lint::terraform::Resource;
use crate::lint::value::Value;

pub const RULES: &[Rule] = &[
    Rule {
        id: "alarm/load-only",
        severity: Severity::High,
        says: "Alarms watch what users see: errors, latency, unhealthy hosts.",
        why: "High CPU is load, not failure, and belongs to scaling; a release that answers with errors uses less of it.",
        instead: "alarms on HTTPCode_Target_5XX_Count per RequestCount, TargetResponseTime p99, UnHealthyHostCount, with `treat_missing_data` and `ok_actions`",
        check: load_only,
    },
    Rule {
        id: "alarm/fixed-limit",
        severity: Severity::High,
        says: "A limit on connections follows from the instance's class.",
        why: "PostgreSQL on RDS admits LEAST(memory/9531392, 5000) connections: one number is too low for a large class and never reached by a small one. https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Limits.html",
        instead: "80 % of the class's maximum, computed from the same variable as the class",
        check: fixed_limit,
    },
    Rule {
        id: "alarm/silent",
        severity: Severity::Medium,
        says: "An alarm tells somebody.",
        why: "An alarm without actions changes colour in a console nobody looks at.",
        instead: "`alarm_actions = [aws_sns_topic.NAME.arn]`",
        check: silent,
    },
    Rule {
        id: "alarm/watches-nothing",
        severity: Severity::High,
        says: "An alarm's dimensions name something that exists.",
        why: "A metric with other dimensions has no data: the alarm never leaves INSUFFICIENT_DATA.",
        instead: "the name from the resource: `aws_ecs_service.NAME.name`",
        check: watches_nothing,
    },
];

fn text<'g>(out: &Out<'g>, alarm: Resource<'g>, key: &str) -> Option<String> {
    let node = alarm.block.get(key)?;
    out.graph.scope(alarm.module).value(node).known().map(str::to_owned)
}

fn load_only(out: &mut Out<'_>) {
    let alarms: Vec<Resource<'_>> = out.graph.resources("aws_cloudwatch_metric_alarm").collect();
    let metric = |alarm: &Resource<'_>| text(out, *alarm, "metric_name").unwrap_or_default();
    let users = [
        "5XX",
        "5xx",
        "Error",
        "Latency",
        "ResponseTime",
        "UnHealthy",
        "HealthyHost",
        "Duration",
        "Availability",
        "RunningTask",
    ];
    let seen = alarms.iter().any(|alarm| {
        let mut inner = String::new();
        alarm.block.walk_values(&mut |node| inner.push_str(node.text().unwrap_or_default()));
        users.iter().any(|word| metric(alarm).contains(word) || inner.contains(word))
    });
    if seen {
        return;
    }
    let load: Vec<_> = alarms
        .iter()
        .filter(|alarm| matches!(metric(alarm).as_str(), "CPUUtilization" | "MemoryUtilization"))
        .filter(|alarm| {
            text(out, **alarm, "namespace").is_some_and(|space| {
                matches!(
                    space.as_str(),
                    "AWS/ECS" | "AWS/EC2" | "AWS/ApplicationELB" | "ECS/ContainerInsights"
                )
            })
        })
        // A scaling policy's own alarm is what CPU is for.
        .filter(|alarm| !scales(alarm))
        .collect();
    for alarm in load {
        let at = alarm.block.get("metric_name").map_or(alarm.head(), |node| node.at);
        out.say(
            at,
            format!("`{}` watches load; no alarm here watches errors, latency or hosts", alarm.address()),
        );
    }
}

fn scales(alarm: &Resource<'_>) -> bool {
    alarm.block.get("alarm_actions").map_or(&[][..], Node::one_or_many).iter().any(|node| {
        matches!(&node.kind, Kind::Ref(parts) if parts.first().is_some_and(|kind| kind == "aws_appautoscaling_policy" || kind == "aws_autoscaling_policy"))
    })
}

fn fixed_limit(out: &mut Out<'_>) {
    for alarm in out.graph.resources("aws_cloudwatch_metric_alarm") {
        if text(out, alarm, "metric_name").as_deref() != Some("DatabaseConnections") {
            continue;
        }
        let Some(threshold) = alarm.block.get("threshold").filter(|node| node.number().is_some()) else {
            continue;
        };
        let scope = out.graph.scope(alarm.module);
        let mut watched = None;
        if let Some(dimensions) = alarm.block.get("dimensions") {
            dimensions.walk(&mut |node| {
                if let Some((resource, _)) = scope.resource(node) {
                    watched.get_or_insert(resource);
                }
            });
        }
        let watched = watched.or_else(|| alarm.module.of_kind("aws_db_instance").next());
        let Some(database) = watched else { continue };
        let Some(class) = database.block.get("instance_class") else { continue };
        if matches!(class.kind, Kind::Ref(_) | Kind::Op(..)) {
            let message = format!(
                "the limit of {} connections is fixed, but the instance's class is not",
                threshold.scalar().unwrap_or_default()
            );
            out.say(threshold.at, message)
                .against(class.at, "the class decides how many connections there may be");
        }
    }
}

fn silent(out: &mut Out<'_>) {
    for alarm in out.graph.resources("aws_cloudwatch_metric_alarm") {
        let empty = alarm
            .block
            .get("alarm_actions")
            .is_none_or(|node| matches!(&node.kind, Kind::List(items) if items.is_empty()));
        // A deployment or a composite alarm may read its state instead.
        if empty && !is_read(out, alarm) {
            out.say(alarm.head(), format!("`{}` tells nobody", alarm.address()));
        }
    }
}

fn is_read(out: &Out<'_>, alarm: Resource<'_>) -> bool {
    let mut read = false;
    for block in &alarm.module.blocks {
        if std::ptr::eq(block, alarm.block) {
            continue;
        }
        block.walk_values(&mut |node| {
            read |= matches!(&node.kind, Kind::Ref(parts) if parts.len() >= 2 && parts[0] == alarm.kind() && parts[1] == alarm.name());
        });
    }
    let _ = out;
    read
}

/// Dimensions and the resources whose names they take.
const DIMENSIONS: &[(&str, &[(&str, &str)])] = &[
    ("ServiceName", &[("aws_ecs_service", "name")]),
    ("ClusterName", &[("aws_ecs_cluster", "name")]),
    (
        "DBInstanceIdentifier",
        &[("aws_db_instance", "identifier"), ("aws_rds_cluster_instance", "identifier")],
    ),
    ("FunctionName", &[("aws_lambda_function", "function_name")]),
    ("QueueName", &[("aws_sqs_queue", "name")]),
];

fn watches_nothing(out: &mut Out<'_>) {
    for alarm in out.graph.resources("aws_cloudwatch_metric_alarm") {
        let Some(dimensions) = alarm.block.get("dimensions") else { continue };
        let scope = out.graph.scope(alarm.module);
        for entry in dimensions.entries() {
            if matches!(entry.key.as_str(), "LoadBalancer" | "TargetGroup")
                && let Some((balancer, attribute)) = scope.resource(&entry.value)
                && matches!(attribute.as_str(), "arn" | "id" | "name")
            {
                let message = format!(
                    "`{}` watches the {attribute} of `{}`; the metric is told under its suffix",
                    alarm.address(),
                    balancer.address()
                );
                out.say(entry.value.at, message)
                    .against(balancer.head(), "what is watched")
                    .instead(format!("`{}.arn_suffix`", balancer.address()));
                continue;
            }
            let Some((_, kinds)) = DIMENSIONS.iter().find(|(name, _)| *name == entry.key) else { continue };
            if scope.resource(&entry.value).is_some() {
                continue;
            }
            let value: Value = scope.value(&entry.value);
            let named: Vec<_> =
                kinds.iter().flat_map(|(kind, attribute)| out.graph.named(kind, attribute)).collect();
            if named.is_empty() {
                continue;
            }
            if let crate::lint::graph::Match::None(near) = out.graph.match_name(&value, &named) {
                let near = near.map(|near| (near.at, near.name.to_string()));
                let told = out.say(
                    entry.value.at,
                    format!("`{}` watches `{value}`, which nothing here is called", alarm.address()),
                );
                if let Some((at, name)) = near {
                    told.against(at, format!("the nearest is `{name}`"));
                }
            }
        }
    }
}
