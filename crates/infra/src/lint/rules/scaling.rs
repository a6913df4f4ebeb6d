//! Autoscaling: it scales something that exists, between bounds that can be.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::graph::Match;
use crate::lint::value::Value;

pub const RULES: &[Rule] = &[
    Rule {
        id: "scaling/names-nothing",
        severity: Severity::Critical,
        says: "What is scaled is a service that is made.",
        why: "AWS refuses the target: `ECS service doesn't exist`. Or another service is scaled.",
        instead: "`service/${aws_ecs_cluster.NAME.name}/${aws_ecs_service.NAME.name}`",
        check: names_nothing,
    },
    Rule {
        id: "scaling/bounds",
        severity: Severity::High,
        says: "The least count is not above the most, and a service begins between them.",
        why: "AWS refuses a least above the most; a count outside the bounds is changed right after each apply.",
        instead: "`min_capacity` ≤ `desired_count` ≤ `max_capacity`",
        check: bounds,
    },
];

fn names_nothing(out: &mut Out<'_>) {
    let graph = out.graph;
    let services = graph.named("aws_ecs_service", "name");
    if services.is_empty() {
        return;
    }
    for target in graph.resources("aws_appautoscaling_target") {
        let Some(node) = target.block.get("resource_id") else { continue };
        let scope = graph.scope(target.module);
        let value = scope.value(node);
        let shown = value.to_string();
        let Some(name) = shown.strip_prefix("service/").and_then(|rest| rest.rsplit_once('/')) else {
            continue;
        };
        // A name that comes from a resource is that resource's.
        if scope.resource(node).is_some_and(|(found, _)| found.kind() == "aws_ecs_service")
            || name.1.contains('}')
        {
            continue;
        }
        let wanted = crate::lint::facts::text::value(name.1);
        if let Match::None(near) = graph.match_name(&wanted, &services) {
            let near = near.map(|near| (near.at, near.name.to_string()));
            let told = out.say(
                node.at,
                format!("`{}` scales the service `{wanted}`, which nothing here makes", target.address()),
            );
            if let Some((at, name)) = near {
                told.against(at, format!("the nearest is `{name}`"));
            }
        }
    }
}

fn bounds(out: &mut Out<'_>) {
    let graph = out.graph;
    for target in graph.resources("aws_appautoscaling_target") {
        let scope = graph.scope(target.module);
        let number = |key: &str| {
            let node = target.block.get(key)?;
            match scope.value(node) {
                Value::Known(text) => Some((text.parse::<i64>().ok()?, node.at)),
                _ => None,
            }
        };
        let (Some((least, at)), Some((most, place))) = (number("min_capacity"), number("max_capacity"))
        else {
            continue;
        };
        if least > most {
            out.say(at, format!("at least {least}, but at most {most}"))
                .against(place, format!("at most {most}"));
        }
    }
}
