//! Task definitions and the services that run them.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::Node;
use crate::lint::facts::container::Task;
use crate::lint::graph::Graph;
use crate::lint::terraform::Resource;

pub const RULES: &[Rule] = &[
    Rule {
        id: "task/writable-root",
        severity: Severity::Medium,
        says: "A container's root file system is read-only, and an init process reaps its children.",
        why: "Whoever gets into a writable container changes the program itself (ECS.5); without an init, signals and dead children are the program's own matter.",
        instead: "`\"readonlyRootFilesystem\": true`, `\"linuxParameters\": { \"initProcessEnabled\": true }`",
        check: writable_root,
    },
    Rule {
        id: "task/exec-unencrypted",
        severity: Severity::High,
        says: "Sessions into containers are encrypted with a key of one's own.",
        why: "A session shows production's data; without `kms_key_id` its channel has AWS's encryption alone (checkov CKV_AWS_224).",
        instead: "`kms_key_id` in `execute_command_configuration`; no exec in production but for a role of its own",
        check: exec_unencrypted,
    },
    Rule {
        id: "task/container-unknown",
        severity: Severity::Critical,
        says: "A service's balancer names a container and a port its task has.",
        why: "ECS refuses the service: `The container X does not exist in the task definition`.",
        instead: "the container's name and a port it maps",
        check: container_unknown,
    },
    Rule {
        id: "task/size-impossible",
        severity: Severity::Critical,
        says: "CPU and memory are a pair Fargate has.",
        why: "Fargate refuses other pairs. https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-cpu-memory-error.html",
        instead: "a pair of the table: 256: 512–2048, 512: 1024–4096, 1024: 2048–8192, 2048: 4096–16384, 4096: 8192–30720",
        check: size_impossible,
    },
    Rule {
        id: "task/drain-longer-than-stop",
        severity: Severity::High,
        says: "A task is given as long to stop as the balancer sends it requests.",
        why: "A task that is killed before the balancer has drained it loses the requests under way.",
        instead: "`deregistration_delay` of at most `stopTimeout` (30 s unless set, 120 s at most on Fargate)",
        check: drain,
    },
];

fn writable_root(out: &mut Out<'_>) {
    for (_, container) in out.graph.task_containers() {
        let essential = container.node.get("essential").and_then(Node::truth) != Some(false);
        match container.node.entry("readonlyRootFilesystem") {
            Some(entry) if entry.value.truth() == Some(false) => {
                out.say(entry.value.at, format!("the root file system of `{}` is writable", container.name))
                    .fix(entry.value.at, "true");
            }
            None if essential => {
                let init = container.node.path(&["linuxParameters", "initProcessEnabled"]).is_some();
                let and = if init { "" } else { ", and it has no init process" };
                out.say(
                    container.at,
                    format!("the root file system of `{}` is writable{and}", container.name),
                );
            }
            Some(_) | None => {}
        }
    }
}

fn exec_unencrypted(out: &mut Out<'_>) {
    for cluster in out.graph.resources("aws_ecs_cluster") {
        let Some(exec) = cluster.block.at(&["configuration", "execute_command_configuration"]) else {
            continue;
        };
        if !exec.has("kms_key_id") {
            let at = exec
                .block("log_configuration")
                .and_then(|log| log.entry("cloud_watch_encryption_enabled"))
                .map_or(exec.head, |entry| entry.key_at);
            out.say(exec.head, format!("sessions into `{}` have no key of their own", cluster.address()))
                .against(at, "only their log is encrypted");
        }
    }
}

/// The task a service runs, when it is here.
pub fn task_of<'g>(graph: &'g Graph, service: Resource<'g>) -> Option<&'g Task> {
    let scope = graph.scope(service.module);
    let (resource, _) = service.block.get("task_definition").and_then(|node| scope.resource(node))?;
    let wanted = (resource.module.folder.clone(), resource.name().to_owned());
    graph.tasks.iter().find(|task| task.resource.as_ref() == Some(&wanted))
}

fn container_unknown(out: &mut Out<'_>) {
    let graph = out.graph;
    for service in graph.resources("aws_ecs_service") {
        let scope = graph.scope(service.module);
        let Some(task) =
            task_of(graph, service).filter(|task| task.unread.is_none() && !task.containers.is_empty())
        else {
            continue;
        };
        for balancer in service.block.blocks("load_balancer") {
            let Some(node) = balancer.get("container_name") else { continue };
            let name = scope.value(node);
            let Some(known) = name.known() else { continue };
            let open = task.containers.iter().any(|container| container.name.contains('$'));
            let Some(container) = task.containers.iter().find(|container| container.name == known) else {
                if !open {
                    let first = &task.containers[0];
                    out.say(node.at, format!("the balancer sends requests to a container `{known}`, which the task does not have")).against(first.at, format!("its container is called `{}`", first.name)).instead(format!("`{}`", first.name));
                }
                continue;
            };
            let Some(port) = balancer.get("container_port") else { continue };
            let Some(number) = scope.value(port).known().and_then(|text| text.parse::<u32>().ok()) else {
                continue;
            };
            if let Some((first, at)) = container.ports.first()
                && !container.ports.iter().any(|(own, _)| *own == number)
            {
                out.say(
                    port.at,
                    format!("the balancer sends requests to port {number}, which `{known}` does not map"),
                )
                .against(*at, format!("it maps {first}"))
                .instead(format!("{first}"));
            }
        }
    }
}

/// CPU units, and the least and most MiB with them.
const SIZES: &[(u32, u32, u32)] = &[
    (256, 512, 2048),
    (512, 1024, 4096),
    (1024, 2048, 8192),
    (2048, 4096, 16_384),
    (4096, 8192, 30_720),
    (8192, 16_384, 61_440),
    (16_384, 32_768, 122_880),
];

fn size_impossible(out: &mut Out<'_>) {
    let graph = out.graph;
    let mut pairs = Vec::new();
    for task in &graph.tasks {
        if let Some(document) = &task.document {
            let fargate = document
                .get("requiresCompatibilities")
                .is_some_and(|node| node.items().iter().any(|item| item.text() == Some("FARGATE")));
            if let (true, Some(cpu), Some(memory)) = (fargate, document.get("cpu"), document.get("memory")) {
                pairs.push((cpu.scalar(), cpu.at, memory.scalar(), memory.at));
            }
        }
    }
    for resource in graph.resources("aws_ecs_task_definition") {
        let scope = graph.scope(resource.module);
        let fargate = resource
            .block
            .get("requires_compatibilities")
            .is_some_and(|node| node.items().iter().any(|item| item.text() == Some("FARGATE")));
        if let (true, Some(cpu), Some(memory)) =
            (fargate, resource.block.get("cpu"), resource.block.get("memory"))
        {
            let known = |node: &Node| scope.value(node).known().map(str::to_owned);
            pairs.push((known(cpu), cpu.at, known(memory), memory.at));
        }
    }
    for (cpu, cpu_at, memory, memory_at) in pairs {
        let (Some(cpu), Some(memory)) =
            (cpu.and_then(|text| text.parse::<u32>().ok()), memory.and_then(|text| text.parse::<u32>().ok()))
        else {
            continue;
        };
        match SIZES.iter().find(|size| size.0 == cpu) {
            None => {
                out.say(cpu_at, format!("Fargate has no tasks of {cpu} CPU units"));
            }
            Some((_, least, most)) if memory < *least || memory > *most => {
                out.say(memory_at, format!("Fargate has no tasks of {cpu} CPU units with {memory} MiB"))
                    .against(cpu_at, format!("with {cpu} units: {least} to {most} MiB"));
            }
            Some(_) => {}
        }
    }
}

fn drain(out: &mut Out<'_>) {
    let graph = out.graph;
    for service in graph.resources("aws_ecs_service") {
        let scope = graph.scope(service.module);
        let Some(task) = task_of(graph, service) else { continue };
        for balancer in service.block.blocks("load_balancer") {
            let Some((group, _)) = balancer.get("target_group_arn").and_then(|node| scope.resource(node))
            else {
                continue;
            };
            let Some(delay) = group.block.get("deregistration_delay") else { continue };
            let Some(seconds) =
                graph.scope(group.module).value(delay).known().and_then(|text| text.parse::<f64>().ok())
            else {
                continue;
            };
            let name =
                balancer.get("container_name").and_then(|node| scope.value(node).known().map(str::to_owned));
            let Some(container) =
                task.containers.iter().find(|container| Some(&container.name) == name.as_ref())
            else {
                continue;
            };
            let Some(stop) = container.node.get("stopTimeout") else { continue };
            if let Some(given) = stop.number()
                && given < seconds
            {
                out.say(
                    stop.at,
                    format!(
                        "`{}` is killed after {given} s, but the balancer sends it requests for {seconds} s",
                        container.name
                    ),
                )
                .against(delay.at, format!("drained for {seconds} s"));
            }
        }
    }
}
