//! Load balancers: targets of a kind the tasks have, listeners that can be reached.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::Node;
use crate::lint::graph::Graph;
use crate::lint::terraform::Resource;

pub const RULES: &[Rule] = &[
    Rule {
        id: "balancer/target-type",
        severity: Severity::Critical,
        says: "Tasks with addresses of their own are targets by address.",
        why: "A task on Fargate, or with `awsvpc`, is no instance: ECS refuses the service. https://docs.aws.amazon.com/AmazonECS/latest/developerguide/alb.html",
        instead: "`target_type = \"ip\"`",
        check: target_type,
    },
    Rule {
        id: "balancer/listener-closed",
        severity: Severity::Critical,
        says: "A balancer's security group lets in the port its listener has.",
        why: "Nobody reaches the service: connections wait until their deadline.",
        instead: "an ingress rule for the listener's port",
        check: listener_closed,
    },
];

fn target_type(out: &mut Out<'_>) {
    let graph = out.graph;
    for service in graph.resources("aws_ecs_service") {
        let scope = graph.scope(service.module);
        let fargate = service.block.get("launch_type").and_then(Node::text) == Some("FARGATE");
        let Some(place) = service
            .block
            .block("network_configuration")
            .map(|block| block.head)
            .or_else(|| fargate.then(|| service.head()))
        else {
            continue;
        };
        for balancer in service.block.blocks("load_balancer") {
            let Some((group, _)) = balancer.get("target_group_arn").and_then(|node| scope.resource(node))
            else {
                continue;
            };
            let kind = group.block.entry("target_type");
            let known = kind.map_or(Some("instance".to_owned()), |entry| {
                graph.scope(group.module).value(&entry.value).known().map(str::to_owned)
            });
            if group.kind().ends_with("target_group") && known.as_deref() == Some("instance") {
                let at = kind.map_or(group.head(), |entry| entry.value.at);
                out.say(
                    at,
                    format!(
                        "`{}` takes instances, but the tasks of `{}` have addresses of their own",
                        group.address(),
                        service.address()
                    ),
                )
                .against(place, "each task has its own network interface");
            }
        }
    }
}

fn listener_closed(out: &mut Out<'_>) {
    let graph = out.graph;
    for listener in graph.resources("aws_lb_listener").chain(graph.resources("aws_alb_listener")) {
        let scope = graph.scope(listener.module);
        let Some((port, at)) = listener
            .block
            .get("port")
            .and_then(|node| Some((scope.value(node).known()?.parse::<i64>().ok()?, node.at)))
        else {
            continue;
        };
        let Some((balancer, _)) =
            listener.block.get("load_balancer_arn").and_then(|node| scope.resource(node))
        else {
            continue;
        };
        let Some(nodes) = balancer.block.get("security_groups") else { continue };
        let Some(groups) = groups(graph, balancer, nodes) else { continue };
        let doors: Option<Vec<_>> = groups.iter().map(|group| super::network::doors(graph, *group)).collect();
        let Some(doors) = doors else { continue };
        if groups.is_empty() || doors.iter().flatten().any(|door| door.from <= port && port <= door.to) {
            continue;
        }
        out.say(
            at,
            format!(
                "`{}` listens on {port}, which the security group of `{}` does not let in",
                listener.address(),
                balancer.address()
            ),
        )
        .against(groups[0].head(), "the balancer's security group");
    }
}

/// The security groups of a balancer, when all of them are in these files.
fn groups<'g>(graph: &'g Graph, balancer: Resource<'g>, nodes: &Node) -> Option<Vec<Resource<'g>>> {
    let scope = graph.scope(balancer.module);
    let items = match nodes.items() {
        [] => return None,
        items => items,
    };
    let one = |node: &Node| {
        scope.resource(node).map(|found| found.0).filter(|group| group.kind() == "aws_security_group")
    };
    items.iter().map(one).collect()
}
