//! Logs: the group a task writes to exists, may be written, and is kept long enough.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::Node;
use crate::lint::facts::container::Container;
use crate::lint::facts::image::fixed;
use crate::lint::graph::Match;

pub const RULES: &[Rule] = &[
    Rule {
        id: "log/group-missing",
        severity: Severity::Critical,
        says: "The log group a task writes to is made under that name.",
        why: "The awslogs driver does not make it: the task cannot start. https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html",
        instead: "one name, from the resource: `awslogs-group = aws_cloudwatch_log_group.NAME.name`",
        check: group_missing,
    },
    Rule {
        id: "log/create-not-allowed",
        severity: Severity::Critical,
        says: "A task that makes its own log group has a role that may.",
        why: "AmazonECSTaskExecutionRolePolicy may write streams, not make groups: with `awslogs-create-group` the task cannot start.",
        instead: "`logs:CreateLogGroup` for the execution role, or make the group in Terraform",
        check: create_not_allowed,
    },
    Rule {
        id: "log/retention",
        severity: Severity::High,
        says: "Traces of an application are kept for a year, not for ever.",
        why: "Access and security traces are asked for months later: six months to a year (CNIL 2021-122; checkov CKV_AWS_338). Without a limit they are kept, and paid, for ever.",
        instead: "`retention_in_days = 365`",
        check: retention,
    },
];

/// Six months: what the CNIL asks for at least (2021-122).
const TRACES_DAYS_MIN: u32 = 180;

fn group_missing(out: &mut Out<'_>) {
    let groups = out.graph.named("aws_cloudwatch_log_group", "name");
    let containers: Vec<&Container> = out.graph.task_containers().map(|(_, container)| container).collect();
    for container in containers {
        let Some(log) = container.log.as_ref().filter(|log| !log.creates) else { continue };
        if out
            .graph
            .resource_of(container, &log.node)
            .is_some_and(|(resource, _)| resource.kind() == "aws_cloudwatch_log_group")
        {
            continue;
        }
        if groups.is_empty() {
            out.unknown(
                log.at,
                format!("no file here makes any log group: `{}` may exist in the account", log.group),
            );
            continue;
        }
        match out.graph.match_name(&log.group, &groups) {
            Match::Same(_) => {}
            Match::Unclear => out.unknown(
                log.at,
                format!("whether `{}` is made here depends on values that are not in these files", log.group),
            ),
            Match::None(near) => {
                let near = near.map(|near| (near.at, near.name.to_string(), near.resource.address()));
                let told = out.say(
                    log.at,
                    format!(
                        "`{}` writes to the log group `{}`, which nothing here makes",
                        container.name, log.group
                    ),
                );
                if let Some((at, name, address)) = near {
                    told.against(at, format!("the nearest one made is `{name}`"))
                        .instead(format!("the name of `{address}`"));
                }
            }
        }
    }
}

fn create_not_allowed(out: &mut Out<'_>) {
    for (task, container) in out.graph.task_containers() {
        let Some(log) = container.log.as_ref().filter(|log| log.creates) else { continue };
        let Some((folder, name)) = &task.resource else { continue };
        let Some(module) = out.graph.sources.modules.get(folder) else { continue };
        let scope = out.graph.scope(module);
        let role = module
            .resource("aws_ecs_task_definition", name)
            .and_then(|task| task.block.get("execution_role_arn").cloned());
        let Some((role, _)) = role.as_ref().and_then(|node| scope.resource(node)) else { continue };
        let mut text = String::new();
        for kind in ["aws_iam_role_policy", "aws_iam_policy"] {
            for policy in role.module.of_kind(kind) {
                policy.block.walk_values(&mut |node| text.push_str(&node.scalar().unwrap_or_default()));
            }
        }
        for document in role.module.named("data") {
            document.walk_values(&mut |node| text.push_str(&node.scalar().unwrap_or_default()));
        }
        if !text.contains("logs:CreateLogGroup") && !text.contains("logs:*") && !text.contains("logs:Create*")
        {
            out.say(
                log.at,
                format!(
                    "`{}` makes its log group itself, but no policy of its execution role allows that",
                    container.name
                ),
            )
            .against(role.head(), "its execution role");
        }
    }
}

/// Words in a group's name that say it holds figures or what a machine does, and not who accessed what.
const NO_TRACES: &[&str] = &[
    "debug",
    "insights",
    "dev",
    "lambda",
    "build",
    "upgrade",
    "slow",
    "engine",
    "elasticache",
    "cache",
    "redis",
    "performance",
    "metrics",
];

fn retention(out: &mut Out<'_>) {
    for group in out.graph.resources("aws_cloudwatch_log_group") {
        match group.block.get("retention_in_days") {
            None => {
                out.say(group.head(), format!("`{}` is kept for ever", group.address()))
                    .severity(Severity::Medium);
            }
            Some(node) => {
                let scope = out.graph.scope(group.module);
                let Some(days) = scope.value(node).known().and_then(|text| text.parse::<u32>().ok()) else {
                    continue;
                };
                let name = group.block.get("name").map_or_else(String::new, |name| fixed(&scope.value(name)));
                let says = |word: &&str| group.name().contains(*word) || name.contains(*word);
                if days > 0 && days < TRACES_DAYS_MIN && !NO_TRACES.iter().any(says) {
                    let applies = writes_to(out, group.name()).unwrap_or(group.head());
                    out.say(node.at, format!("`{}` keeps traces for {days} days only", group.address()))
                        .against(applies, "the traces of what runs here")
                        .fix(node.at, "365");
                }
            }
        }
    }
}

/// A place that names the group, so that a reader sees whose traces they are.
fn writes_to(out: &Out<'_>, name: &str) -> Option<crate::lint::doc::At> {
    let mut found = None;
    for module in out.graph.modules() {
        for block in &module.blocks {
            block.walk_values(&mut |node: &Node| {
                if let crate::lint::doc::Kind::Ref(parts) = &node.kind
                    && parts.first().is_some_and(|kind| kind == "aws_cloudwatch_log_group")
                    && parts.get(1).is_some_and(|own| own == name)
                {
                    found.get_or_insert(node.at);
                }
            });
        }
    }
    found
}
