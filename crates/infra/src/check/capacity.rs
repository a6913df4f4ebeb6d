//! what is asked of a component at most is less than it can give, and one zone may be lost.

use super::{Class, Input, Seen};
use crate::config::{Resource, Root, Value};
use crate::model::class::max_connections;

pub fn suffices(input: &Input<'_>, seen: &mut Seen) {
    for root in input.roots {
        let production = Class::of(root) == Class::Production;
        for database in root.of("aws_db_instance") {
            connections(input, root, database, seen);
            if production {
                seen.require(
                    database.is("multi_az", true),
                    database,
                    "multi_az",
                    "stands by in a second zone",
                    "write `multi_az = true`",
                );
            }
        }
        for cache in root.of("aws_elasticache_replication_group").filter(|_| production) {
            let enough = cache.number("num_cache_clusters").unwrap_or(1.0) >= 2.0
                && cache.is("automatic_failover_enabled", true);
            seen.require(
                enough,
                cache,
                "num_cache_clusters",
                "fails over by itself",
                "write `num_cache_clusters = 2` and `automatic_failover_enabled = true`",
            );
        }
        for target in root.of("aws_appautoscaling_target") {
            let (min, max) =
                (target.number("min_capacity").unwrap_or(0.0), target.number("max_capacity").unwrap_or(0.0));
            let bounds = max >= min && min >= if production { 2.0 } else { 1.0 };
            seen.require(
                bounds,
                target,
                "min_capacity",
                &format!("{min} to {max} tasks"),
                "write `min_capacity` of 2 and more, `max_capacity` above it",
            );
        }
        for service in root.of("aws_ecs_service") {
            scales(root, service, seen);
            deployment(root, service, seen);
        }
        for app in root.of("azurerm_container_app") {
            let min = app.get("template.min_replicas").and_then(Value::as_number).unwrap_or(0.0);
            seen.require(
                min >= 2.0,
                app,
                "template",
                "never begins from nothing",
                "write `min_replicas = 2`",
            );
        }
    }
}

fn connections(input: &Input<'_>, root: &Root, database: &Resource, seen: &mut Seen) {
    let class = database.text("instance_class").unwrap_or_default();
    let environment = root.folder.split('/').next().unwrap_or_default();
    let (Some(limit), Some(asked)) = (max_connections(class), input.policy.capacity.get(environment)) else {
        return;
    };
    let said = format!("{} connections at most, {class} allows {limit}", asked.connections);
    seen.require(
        asked.connections * 10 <= limit * 8,
        database,
        "instance_class",
        &said,
        "write a smaller pool, fewer replicas or a larger class",
    );
}

fn scales(root: &Root, service: &Resource, seen: &mut Seen) {
    let scaled = root.of("aws_appautoscaling_target").any(|it| it.refers("resource_id", service));
    seen.require(scaled, service, "", "scales with its load", "add aws_appautoscaling_target and a policy");
    if root.planned {
        return seen.note(format!(
            "{}: a plan does not say what an apply ignores; check the folder",
            service.address
        ));
    }
    let ignores = service.blocks("lifecycle").iter().any(|it| {
        it.at("ignore_changes")
            .is_some_and(|of| of.mentions("task_definition") && of.mentions("load_balancer"))
    });
    seen.require(ignores, service, "lifecycle", "an apply moves no traffic", "write `lifecycle { ignore_changes = [task_definition, load_balancer, desired_count, deployment_configuration] }`");
}

/// With two revisions side by side the alarms decide; in a rolling update the circuit breaker does.
fn deployment(root: &Root, service: &Resource, seen: &mut Seen) {
    let strategy =
        service.get("deployment_configuration.strategy").and_then(Value::as_text).unwrap_or("ROLLING");
    if strategy == "ROLLING" {
        let breaker =
            service.get("deployment_circuit_breaker.rollback").and_then(Value::as_bool) == Some(true);
        seen.require(
            breaker,
            service,
            "deployment_circuit_breaker",
            "goes back by itself",
            "add `deployment_circuit_breaker { enable = true, rollback = true }`",
        );
        return;
    }
    let on = |flag: &str| service.get(&format!("alarms.{flag}")).and_then(Value::as_bool) == Some(true);
    let names = service.get("alarms.alarm_names").map(Value::elements).unwrap_or_default();
    let known = !names.is_empty()
        && names.iter().all(|name| {
            root.of("aws_cloudwatch_metric_alarm")
                .any(|alarm| name.mentions(&alarm.address) || name.as_text() == alarm.text("alarm_name"))
        });
    seen.require(
        on("enable") && on("rollback") && known,
        service,
        "alarms",
        "alarms take a release back",
        "add a block `alarms` with `rollback = true` and names of alarms that exist",
    );
    let load = names.iter().any(|name| {
        root.of("aws_cloudwatch_metric_alarm")
            .any(|alarm| name.mentions(&alarm.address) && alarm.text("metric_name") == Some("CPUUtilization"))
    });
    seen.require(
        !load,
        service,
        "alarms",
        "no alarm about load among them",
        "remove it: load is no fault of a release",
    );
}
