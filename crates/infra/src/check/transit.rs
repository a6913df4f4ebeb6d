//! everything on the way is encrypted, and nothing but the ways in is reachable.

use super::{Input, Seen, containers};
use crate::config::{Resource, Root, Value};

pub fn encrypted(input: &Input<'_>, seen: &mut Seen) {
    for root in input.roots {
        listeners(root, seen);
        stores(root, seen);
        edge(root, seen);
        reach(root, seen);
        azure(root, seen);
    }
}

fn listeners(root: &Root, seen: &mut Seen) {
    for listener in root.of("aws_lb_listener") {
        if listener.text("protocol") == Some("HTTPS") || listener.text("protocol") == Some("TLS") {
            let policy = listener.text("ssl_policy").unwrap_or_default();
            let strong =
                policy.contains("TLS13-1-2") || policy.contains("TLS13-1-3") || policy.contains("TLS-1-2");
            seen.require(
                strong,
                listener,
                "ssl_policy",
                "TLS 1.2 and newer",
                "write `ssl_policy = \"ELBSecurityPolicy-TLS13-1-2-Res-2021-06\"`",
            );
        } else {
            let redirects = listener.text("default_action.redirect.protocol") == Some("HTTPS");
            seen.require(
                redirects,
                listener,
                "protocol",
                "redirects to HTTPS",
                "write `protocol = \"HTTPS\"`, or redirect to it",
            );
        }
    }
    for balancer in root.of("aws_lb") {
        seen.require(
            balancer.is("drop_invalid_header_fields", true),
            balancer,
            "drop_invalid_header_fields",
            "drops malformed headers",
            "write `drop_invalid_header_fields = true`",
        );
    }
}

fn stores(root: &Root, seen: &mut Seen) {
    for database in root.of("aws_db_instance") {
        seen.require(
            !database.is("publicly_accessible", true),
            database,
            "publicly_accessible",
            "not reachable from outside",
            "write `publicly_accessible = false`",
        );
        let forced = root.of("aws_db_parameter_group").any(|it| {
            let names = database.refers("parameter_group_name", it);
            names && it.blocks("parameter").iter().any(|parameter| is(parameter, "rds.force_ssl", "1"))
        });
        seen.require(
            forced,
            database,
            "parameter_group_name",
            "`rds.force_ssl = 1`",
            "use a parameter group with `rds.force_ssl` = \"1\"",
        );
    }
    for cache in root.of("aws_elasticache_replication_group") {
        let required = cache.is("transit_encryption_enabled", true)
            && cache.text("transit_encryption_mode").unwrap_or("required") == "required";
        seen.require(
            required,
            cache,
            "transit_encryption_enabled",
            "TLS required",
            "write `transit_encryption_enabled = true` and `transit_encryption_mode = \"required\"`",
        );
        seen.require(
            cache.get("user_group_ids").is_some(),
            cache,
            "user_group_ids",
            "users of their own",
            "write `user_group_ids`: one shared token for all tells nobody apart",
        );
    }
}

fn is(parameter: &Value, name: &str, value: &str) -> bool {
    let text = |key: &str| parameter.at(key).and_then(Value::shown);
    text("name").as_deref() == Some(name) && text("value").as_deref() == Some(value)
}

fn edge(root: &Root, seen: &mut Seen) {
    for distribution in root.of("aws_cloudfront_distribution") {
        let version = distribution.text("viewer_certificate.minimum_protocol_version").unwrap_or_default();
        seen.require(
            version.starts_with("TLSv1.2") || version.starts_with("TLSv1.3"),
            distribution,
            "viewer_certificate",
            "viewers use TLS 1.2 and newer",
            "write `minimum_protocol_version = \"TLSv1.2_2021\"`",
        );
        let viewer = distribution.text("default_cache_behavior.viewer_protocol_policy").unwrap_or_default();
        seen.require(
            matches!(viewer, "redirect-to-https" | "https-only"),
            distribution,
            "default_cache_behavior",
            "HTTPS only",
            "write `viewer_protocol_policy = \"redirect-to-https\"`",
        );
        let certificate = distribution.get("viewer_certificate.acm_certificate_arn");
        let wrong = certificate
            .and_then(Value::as_text)
            .is_some_and(|arn| arn.starts_with("arn:aws:acm:") && !arn.starts_with("arn:aws:acm:us-east-1:"));
        seen.require(
            !wrong,
            distribution,
            "viewer_certificate",
            "a certificate of us-east-1",
            "name a certificate of us-east-1: CloudFront takes no other",
        );
    }
    for origin in root.of("aws_cloudfront_vpc_origin") {
        let policy = origin.text("vpc_origin_endpoint_config.origin_protocol_policy");
        seen.require(
            policy == Some("https-only"),
            origin,
            "vpc_origin_endpoint_config",
            "HTTPS to the origin",
            "write `origin_protocol_policy = \"https-only\"`",
        );
    }
    for headers in root.of("aws_cloudfront_response_headers_policy") {
        let age = headers
            .number("security_headers_config.strict_transport_security.access_control_max_age_sec")
            .unwrap_or(0.0);
        seen.require(
            age >= 15_768_000.0,
            headers,
            "security_headers_config",
            "HSTS for six months and more",
            "add `strict_transport_security` with 31536000 seconds",
        );
    }
}

/// Nothing but the balancer listens to the world, and only for the web.
fn reach(root: &Root, seen: &mut Seen) {
    for rule in root.of("aws_vpc_security_group_ingress_rule") {
        let world = rule.text("cidr_ipv4") == Some("0.0.0.0/0") || rule.text("cidr_ipv6") == Some("::/0");
        let web = matches!(rule.number("from_port"), Some(80.0 | 443.0))
            && rule.number("from_port") == rule.number("to_port");
        seen.require(
            !world || web,
            rule,
            "cidr_ipv4",
            "not open to the world, or for the web only",
            "name a security group, a prefix list or narrower addresses",
        );
    }
    for group in root.of("aws_security_group") {
        let open = group.blocks("ingress").iter().any(|rule| {
            let ranges = rule.at("cidr_blocks").map(Value::texts).unwrap_or_default();
            let port = rule.at("from_port").and_then(Value::as_number);
            ranges.iter().any(|range| range == "0.0.0.0/0") && !matches!(port, Some(80.0 | 443.0))
        });
        seen.require(
            !open,
            group,
            "ingress",
            "not open to the world",
            "name a security group or narrower addresses",
        );
    }
    for service in root.of("aws_ecs_service") {
        let public =
            service.get("network_configuration.assign_public_ip").and_then(Value::as_bool) == Some(true);
        seen.require(
            !public,
            service,
            "network_configuration",
            "tasks have no public address",
            "write `assign_public_ip = false`",
        );
    }
    services_and_groups(root, seen);
}

/// A port exists once: what the task listens on, the balancer asks and the groups let through.
fn services_and_groups(root: &Root, seen: &mut Seen) {
    for task in root.of("aws_ecs_task_definition") {
        let containers = containers(root, task, seen);
        let not_yet_known = root.planned && containers.is_empty();
        let ports: Vec<f64> = containers
            .iter()
            .flat_map(|container| container.at("portMappings").map(Value::elements).unwrap_or_default())
            .filter_map(|mapping| mapping.at("containerPort").and_then(Value::as_number))
            .collect();
        let served: Vec<&Resource> =
            root.of("aws_ecs_service").filter(|service| service.refers("task_definition", task)).collect();
        for service in served {
            for balancer in service.blocks("load_balancer") {
                let port = balancer.at("container_port").and_then(Value::as_number);
                let known = not_yet_known || port.is_none_or(|port| ports.contains(&port));
                seen.require(
                    known,
                    service,
                    "load_balancer",
                    "the balancer asks a port the task has",
                    "write the `containerPort` of the task definition",
                );
                let group = root.of("aws_lb_target_group").find(|group| {
                    balancer.at("target_group_arn").is_some_and(|it| it.mentions(&group.address))
                });
                if let (Some(group), Some(port)) = (group, port) {
                    seen.require(
                        group.number("port") == Some(port),
                        group,
                        "port",
                        "the port of the task",
                        &format!("write `port = {port}`"),
                    );
                }
            }
        }
    }
}

fn azure(root: &Root, seen: &mut Seen) {
    for app in root.of("azurerm_container_app") {
        let insecure = app.get("ingress.allow_insecure_connections").and_then(Value::as_bool) == Some(true);
        seen.require(!insecure, app, "ingress", "HTTPS only", "write `allow_insecure_connections = false`");
    }
    for server in root.of("azurerm_postgresql_flexible_server") {
        seen.require(
            server.is("public_network_access_enabled", false),
            server,
            "public_network_access_enabled",
            "inside the network only",
            "write `public_network_access_enabled = false`",
        );
        let off = root
            .of("azurerm_postgresql_flexible_server_configuration")
            .any(|it| it.text("name") == Some("require_secure_transport") && it.text("value") != Some("on"));
        seen.require(!off, server, "", "TLS required", "write `require_secure_transport` = \"on\"");
    }
    for redis in root.of("azurerm_managed_redis") {
        let plain = redis.text("default_database.client_protocol") == Some("Plaintext");
        seen.require(!plain, redis, "default_database", "TLS", "write `client_protocol = \"Encrypted\"`");
    }
}
