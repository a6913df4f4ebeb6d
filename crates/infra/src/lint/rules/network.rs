//! Networks: addresses that fit into each other, and doors that are open to whom they should be.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::{At, Kind, Node};
use crate::lint::graph::Graph;
use crate::lint::read::hcl::Block;
use crate::lint::terraform::{Module, Resource};

pub const RULES: &[Rule] = &[
    Rule {
        id: "network/literal-subnets",
        severity: Severity::High,
        says: "Subnets are computed from the range that is a variable.",
        why: "Fixed subnets fit one range only: with another value of the variable the apply fails, and with the same one everywhere two environments can never be connected.",
        instead: "`[for n in range(3) : cidrsubnet(var.vpc_cidr, 8, n)]`",
        check: literal_subnets,
    },
    Rule {
        id: "network/subnet-outside",
        severity: Severity::High,
        says: "A subnet lies within its network, and overlaps no other.",
        why: "AWS refuses a subnet outside its VPC's range, or on top of another one.",
        instead: "a range inside the VPC's that no other subnet has",
        check: subnet_outside,
    },
    Rule {
        id: "network/unused-gateway",
        severity: Severity::Low,
        says: "A VPN gateway exists because something connects to it.",
        why: "It costs money and is a way in that nobody watches.",
        instead: "`enable_vpn_gateway = false`",
        check: unused_gateway,
    },
    Rule {
        id: "network/port-closed",
        severity: Severity::Critical,
        says: "A security group lets in the port that what it guards listens on.",
        why: "Health checks and requests time out: no task ever becomes healthy.",
        instead: "an ingress rule for that port",
        check: port_closed,
    },
    Rule {
        id: "network/no-way-out",
        severity: Severity::Critical,
        says: "Tasks may reach what they are made from: registry, secrets, logs.",
        why: "Terraform takes away the rule that lets everything out of a new group: without an egress rule the task cannot even fetch its image. https://registry.terraform.io/providers/hashicorp/aws/latest/docs/resources/security_group",
        instead: "an egress rule, at least for port 443",
        check: no_way_out,
    },
    Rule {
        id: "network/open-to-world",
        severity: Severity::High,
        says: "Databases and shells are not reachable from everywhere.",
        why: "Whatever listens there is attacked within minutes (checkov CKV_AWS_24, CKV_AWS_25, CKV_AWS_260).",
        instead: "the security group of whoever needs it, as source",
        check: open_to_world,
    },
];

/// Attributes of networks that list subnets, in well-known modules.
const SUBNETS: &[&str] =
    &["private_subnets", "public_subnets", "database_subnets", "elasticache_subnets", "intra_subnets"];

fn literal_subnets(out: &mut Out<'_>) {
    for module in out.graph.modules() {
        for call in module.named("module") {
            let Some(cidr) = call.get("cidr").filter(|node| is_variable(node)) else { continue };
            for entry in call.attrs.iter().filter(|entry| SUBNETS.contains(&entry.key.as_str())) {
                if entry
                    .value
                    .items()
                    .iter()
                    .any(|item| item.text().is_some_and(|text| range(text).is_some()))
                {
                    let message = format!("`{}` are fixed, but the network's range is a variable", entry.key);
                    out.say(entry.value.at, message).against(cidr.at, "the range they must lie in");
                    break;
                }
            }
        }
        for subnet in module.of_kind("aws_subnet") {
            let Some(node) = subnet.block.get("cidr_block").filter(|node| node.text().is_some()) else {
                continue;
            };
            let scope = out.graph.scope(module);
            let vpc = subnet.block.get("vpc_id").and_then(|node| scope.resource(node));
            if let Some(cidr) =
                vpc.and_then(|(vpc, _)| vpc.block.get("cidr_block")).filter(|cidr| is_variable(cidr))
            {
                out.say(
                    node.at,
                    format!("`{}` has a fixed range, but its network's is a variable", subnet.address()),
                )
                .against(cidr.at, "the range it must lie in");
            }
        }
    }
}

fn is_variable(node: &Node) -> bool {
    matches!(&node.kind, Kind::Ref(parts) if parts.first().is_some_and(|root| root == "var"))
}

/// First address and last of `10.0.1.0/24`.
fn range(text: &str) -> Option<(u32, u32)> {
    let (address, bits) = text.split_once('/')?;
    let bits: u32 = bits.parse().ok().filter(|bits| *bits <= 32)?;
    let address: std::net::Ipv4Addr = address.parse().ok()?;
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    let first = u32::from(address) & mask;
    Some((first, first | !mask))
}

/// A subnet: its place and range, those of its network, and which network that is.
type Subnet = (At, String, Option<(At, String)>, String);

/// Subnets with their ranges and the range of their network.
fn subnets(graph: &Graph) -> Vec<Subnet> {
    let mut found = Vec::new();
    for module in graph.modules() {
        let scope = graph.scope(module);
        let known = |node: &Node| scope.value(node).known().map(str::to_owned);
        for subnet in module.of_kind("aws_subnet") {
            let Some((node, text)) =
                subnet.block.get("cidr_block").and_then(|node| Some((node, known(node)?)))
            else {
                continue;
            };
            let Some((vpc, _)) = subnet.block.get("vpc_id").and_then(|node| scope.resource(node)) else {
                continue;
            };
            let of = vpc.block.get("cidr_block").and_then(|node| Some((node.at, known(node)?)));
            found.push((node.at, text, of, format!("{}/{}", module.folder, vpc.address())));
        }
        for call in module.named("module") {
            let of = call.get("cidr").and_then(|node| Some((node.at, known(node)?)));
            let name = call.labels.first().cloned().unwrap_or_default();
            for entry in call.attrs.iter().filter(|entry| SUBNETS.contains(&entry.key.as_str())) {
                for item in entry.value.items() {
                    if let Some(text) = known(item) {
                        found.push((item.at, text, of.clone(), format!("{}/{name}", module.folder)));
                    }
                }
            }
        }
    }
    found
}

fn subnet_outside(out: &mut Out<'_>) {
    let all = subnets(out.graph);
    for (index, (at, text, of, network)) in all.iter().enumerate() {
        let Some((first, last)) = range(text) else { continue };
        if let Some((outer_at, outer)) = of
            && let Some((low, high)) = range(outer)
            && (first < low || last > high)
        {
            out.say(*at, format!("`{text}` lies outside its network `{outer}`"))
                .against(*outer_at, format!("`{outer}`"));
        }
        for (other_at, other, _, of) in &all[..index] {
            if let Some((low, high)) = range(other)
                && of == network
                && at != other_at
                && first <= high
                && low <= last
            {
                out.say(*at, format!("`{text}` overlaps `{other}`")).against(*other_at, format!("`{other}`"));
            }
        }
    }
}

fn unused_gateway(out: &mut Out<'_>) {
    for module in out.graph.modules() {
        let used = module.resources().any(|resource| {
            matches!(
                resource.kind(),
                "aws_vpn_connection"
                    | "aws_customer_gateway"
                    | "aws_vpn_gateway_attachment"
                    | "aws_vpn_gateway_route_propagation"
                    | "aws_dx_gateway_association"
            )
        });
        for call in module.named("module") {
            if let Some(entry) = call.entry("enable_vpn_gateway")
                && entry.value.truth() == Some(true)
                && !used
                && !call.has("customer_gateways")
            {
                out.say(entry.value.at, "a VPN gateway is made, but nothing here connects to it")
                    .fix(entry.value.at, "false");
            }
        }
        for gateway in module.of_kind("aws_vpn_gateway").filter(|_| !used) {
            out.say(
                gateway.head(),
                format!("`{}` is made, but nothing here connects to it", gateway.address()),
            );
        }
    }
}

/// One rule of a security group that lets traffic in.
pub(super) struct Door {
    pub(super) from: i64,
    pub(super) to: i64,
    at: At,
    world: bool,
    protocol: String,
}

/// The doors of a group, or nothing when they are made where we cannot see.
pub(super) fn doors(graph: &Graph, group: Resource<'_>) -> Option<Vec<Door>> {
    let module = group.module;
    let scope = graph.scope(module);
    let mut found: Vec<Door> =
        group.block.blocks("ingress").map(|block| door(graph, module, block)).collect::<Option<_>>()?;
    if group.block.entry("ingress").is_some() {
        return None;
    }
    for kind in ["aws_security_group_rule", "aws_vpc_security_group_ingress_rule"] {
        for rule in module.of_kind(kind) {
            if rule.block.get("type").and_then(Node::text) == Some("egress") {
                continue;
            }
            let of = rule.block.get("security_group_id").and_then(|node| scope.resource(node));
            if of.is_some_and(|(of, _)| of.address() == group.address()) {
                found.push(door(graph, module, rule.block)?);
            }
        }
    }
    Some(found)
}

fn door(graph: &Graph, module: &Module, block: &Block) -> Option<Door> {
    let scope = graph.scope(module);
    let number = |key: &str| block.get(key).and_then(|node| scope.value(node).known()?.parse::<i64>().ok());
    let protocol = ["protocol", "ip_protocol"]
        .iter()
        .find_map(|key| block.get(key))
        .map_or(Some("tcp".to_owned()), |node| scope.value(node).known().map(str::to_owned))?;
    let (from, to) = if protocol == "-1" { (0, 65_535) } else { (number("from_port")?, number("to_port")?) };
    let mut world = false;
    for key in ["cidr_blocks", "cidr_ipv4", "ipv6_cidr_blocks", "cidr_ipv6"] {
        if let Some(node) = block.get(key) {
            node.walk(&mut |node| world |= matches!(node.text(), Some("0.0.0.0/0" | "::/0")));
        }
    }
    let at = block.get("from_port").map_or(block.head, |node| node.at);
    Some(Door { from, to, at, world, protocol })
}

/// The port a database or cache listens on, and what says so: its `port`, or its engine's usual one.
pub(super) fn store_port(graph: &Graph, resource: Resource<'_>) -> Option<(i64, At)> {
    let scope = graph.scope(resource.module);
    let known =
        |key: &str| resource.block.get(key).and_then(|node| scope.value(node).known().map(str::to_owned));
    if let Some(node) = resource.block.get("port") {
        return Some((known("port")?.parse().ok()?, node.at));
    }
    let engine = known("engine").unwrap_or_default();
    let usual = match resource.kind() {
        "aws_elasticache_replication_group" | "aws_elasticache_cluster" if engine != "memcached" => 6379,
        "aws_db_instance" | "aws_rds_cluster" if engine.contains("postgres") => 5432,
        "aws_db_instance" | "aws_rds_cluster" if engine.contains("mysql") || engine == "mariadb" => 3306,
        _ => return None,
    };
    Some((usual, resource.head()))
}

/// Things behind a security group, with the port they listen on: service, database, cache.
fn guarded<'g>(graph: &'g Graph) -> Vec<(Resource<'g>, Resource<'g>, i64, At)> {
    let mut found = Vec::new();
    for service in graph.resources("aws_ecs_service") {
        let scope = graph.scope(service.module);
        let Some(port) = service.block.block("load_balancer").and_then(|block| block.get("container_port"))
        else {
            continue;
        };
        let Some(number) = scope.value(port).known().and_then(|text| text.parse().ok()) else { continue };
        let groups =
            service.block.block("network_configuration").and_then(|block| block.get("security_groups"));
        for (group, _) in groups.map_or(Vec::new(), |node| {
            node.one_or_many().iter().filter_map(|node| scope.resource(node)).collect()
        }) {
            found.push((service, group, number, port.at));
        }
    }
    for (kind, attribute) in [
        ("aws_db_instance", "vpc_security_group_ids"),
        ("aws_rds_cluster", "vpc_security_group_ids"),
        ("aws_elasticache_replication_group", "security_group_ids"),
    ] {
        for resource in graph.resources(kind) {
            let Some((port, at)) = store_port(graph, resource) else { continue };
            let scope = graph.scope(resource.module);
            let groups = resource.block.get(attribute).map_or(&[][..], Node::one_or_many);
            for (group, _) in groups.iter().filter_map(|node| scope.resource(node)) {
                found.push((resource, group, port, at));
            }
        }
    }
    found.retain(|(_, group, ..)| group.kind() == "aws_security_group");
    found
}

fn port_closed(out: &mut Out<'_>) {
    let all = guarded(out.graph);
    for (resource, _, port, at) in &all {
        // Several groups add up: one of them letting the port in is enough.
        let groups: Vec<&Resource<'_>> = all
            .iter()
            .filter(|other| {
                other.0.address() == resource.address() && other.0.module.folder == resource.module.folder
            })
            .map(|other| &other.1)
            .collect();
        let read: Option<Vec<Vec<Door>>> = groups.iter().map(|group| doors(out.graph, **group)).collect();
        let Some(read) = read else {
            out.unknown(
                *at,
                "the rules of its security group are made by expressions that are not evaluated",
            );
            continue;
        };
        let open = read.iter().flatten().any(|door| door.from <= *port && *port <= door.to);
        if open {
            continue;
        }
        let nearest = read.iter().flatten().next().map(|door| {
            (
                door.at,
                format!(
                    "it lets in {}",
                    if door.from == door.to {
                        door.from.to_string()
                    } else {
                        format!("{}–{}", door.from, door.to)
                    }
                ),
            )
        });
        let (other, note) = nearest.unwrap_or((groups[0].head(), "it lets in nothing".to_owned()));
        let message =
            format!("`{}` listens on {port}, which its security group does not let in", resource.address());
        out.say(*at, message).against(other, note);
    }
}

/// Groups of services without any rule that lets traffic out, where all rules can be seen.
fn no_way_out(out: &mut Out<'_>) {
    let graph = out.graph;
    for service in graph.resources("aws_ecs_service") {
        let scope = graph.scope(service.module);
        let Some(node) =
            service.block.block("network_configuration").and_then(|block| block.get("security_groups"))
        else {
            continue;
        };
        let groups: Vec<_> = node.one_or_many().iter().map(|node| scope.resource(node)).collect();
        // A group that is not seen, or any that lets something out, is enough.
        if groups.is_empty()
            || groups.iter().any(|group| group.as_ref().is_none_or(|(group, _)| lets_out(graph, *group)))
        {
            continue;
        }
        let Some((group, _)) = groups[0].as_ref() else { continue };
        out.say(
            group.head(),
            format!(
                "`{}` lets nothing out: tasks of `{}` cannot fetch their image",
                group.address(),
                service.address()
            ),
        )
        .against(node.at, "the service stands behind it");
    }
}

fn lets_out(graph: &Graph, group: Resource<'_>) -> bool {
    if group.kind() != "aws_security_group"
        || group.block.has("egress")
        || group.block.block("dynamic").is_some()
    {
        return true;
    }
    let scope = graph.scope(group.module);
    ["aws_security_group_rule", "aws_vpc_security_group_egress_rule"].iter().any(|kind| {
        group.module.of_kind(kind).any(|rule| {
            let ingress = rule.block.get("type").and_then(Node::text) == Some("ingress");
            let of = rule.block.get("security_group_id").and_then(|node| scope.resource(node));
            !ingress && of.is_none_or(|(of, _)| of.address() == group.address())
        })
    })
}

/// Ports nobody outside should reach.
const PRIVATE_PORTS: &[(i64, &str)] = &[
    (22, "SSH"),
    (3389, "RDP"),
    (5432, "PostgreSQL"),
    (3306, "MySQL"),
    (6379, "Redis"),
    (27017, "MongoDB"),
    (9200, "Elasticsearch"),
    (1433, "SQL Server"),
];

fn open_to_world(out: &mut Out<'_>) {
    let groups: Vec<Resource<'_>> = out.graph.resources("aws_security_group").collect();
    for group in groups {
        let Some(doors) = doors(out.graph, group) else { continue };
        for door in doors.iter().filter(|door| door.world && door.protocol != "icmp") {
            let private = PRIVATE_PORTS.iter().find(|(port, _)| door.from <= *port && *port <= door.to);
            if let Some((port, name)) = private {
                out.say(door.at, format!("`{}` lets everybody reach port {port} ({name})", group.address()));
            }
        }
    }
    for (kind, attribute) in
        [("aws_db_instance", "publicly_accessible"), ("aws_rds_cluster_instance", "publicly_accessible")]
    {
        for resource in out.graph.resources(kind) {
            if let Some(entry) = resource.block.entry(attribute)
                && entry.value.truth() == Some(true)
            {
                out.say(entry.value.at, format!("`{}` has a public address", resource.address()))
                    .fix(entry.value.at, "false");
            }
        }
    }
}
