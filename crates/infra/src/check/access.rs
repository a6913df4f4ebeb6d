//! rights are the least that suffice, every action exists, and no secret lies in a configuration or a state.

use super::{Class, Input, Seen, containers};
use crate::config::{Resource, Root, Value};
use crate::schema::actions;

/// Actions AWS gives no narrower resource for. [Service Authorization Reference]
const UNSCOPED: [&str; 16] = [
    "ecr:GetAuthorizationToken",
    "ecs:RegisterTaskDefinition",
    "ecs:DescribeTaskDefinition",
    "ecs:DeregisterTaskDefinition",
    "cloudwatch:GetMetricData",
    "cloudwatch:DescribeAlarms",
    "application-autoscaling:DescribeScalableTargets",
    "elasticloadbalancing:DescribeRules",
    "elasticloadbalancing:DescribeTargetHealth",
    "rds:DescribeDBSnapshots",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
    "ec2:DescribeNetworkInterfaces",
    "cloudwatch:PutMetricData",
];

/// Policies of resources: `Resource = "*"` is the resource itself there.
const OF_RESOURCES: [&str; 5] = [
    "aws_kms_key",
    "aws_ecr_repository_policy",
    "aws_s3_bucket_policy",
    "aws_sns_topic_policy",
    "aws_backup_vault_policy",
];

pub fn least(input: &Input<'_>, seen: &mut Seen) {
    for root in input.roots {
        for resource in root.resources.iter().filter(|it| it.kind.starts_with("aws_")) {
            for attribute in ["policy", "assume_role_policy"] {
                let statements = resource
                    .get(attribute)
                    .and_then(|policy| policy.at("Statement"))
                    .map(Value::elements)
                    .unwrap_or_default();
                for statement in statements {
                    allows(resource, attribute, statement, seen);
                }
            }
        }
        for user in root.of("aws_iam_user").chain(root.of("aws_iam_access_key")) {
            seen.breaks(user, "", "a key that lives until somebody remembers it", "use a role and OIDC");
        }
        for attachment in root.of("aws_iam_role_policy_attachment") {
            let arn = attachment.text("policy_arn").unwrap_or_default();
            let wide = ["AdministratorAccess", "PowerUserAccess", "FullAccess"]
                .iter()
                .any(|name| arn.ends_with(name));
            seen.require(
                !wide,
                attachment,
                "policy_arn",
                arn,
                "attach a policy with the actions that are needed",
            );
        }
        tasks(root, seen);
    }
}

fn allows(resource: &Resource, attribute: &str, statement: &Value, seen: &mut Seen) {
    if statement.at("Effect").and_then(Value::as_text) != Some("Allow") {
        return;
    }
    let of_resource = OF_RESOURCES.contains(&resource.kind.as_str());
    let names = statement.at("Action").map(Value::texts).unwrap_or_default();
    let targets = statement.at("Resource").map(Value::texts).unwrap_or_default();
    let everything = targets.iter().any(|target| target == "*");
    // The account itself administers its keys: without it nobody could.
    let own_account = of_resource
        && statement
            .at("Principal.AWS")
            .map(Value::texts)
            .unwrap_or_default()
            .iter()
            .all(|who| who.ends_with(":root"))
        && statement.at("Principal.AWS").is_some();
    for name in &names {
        let wild = name == "*" || name.ends_with(":*");
        seen.require(
            !wild || own_account,
            resource,
            attribute,
            &format!("allows {name}"),
            "name the actions that are needed",
        );
        if let Some(known) = actions::exists(name) {
            seen.require(
                known,
                resource,
                attribute,
                &format!("{name} exists"),
                "write an action of the service",
            );
        }
        let scoped = !everything || of_resource || UNSCOPED.contains(&name.as_str());
        seen.require(
            scoped,
            resource,
            attribute,
            &format!("{name} names what it is for"),
            "name the resources instead of `*`",
        );
    }
    principals(resource, attribute, statement, seen);
    if names.iter().any(|name| name == "iam:PassRole") {
        let bound = statement.at("Condition.StringEquals.iam:PassedToService").is_some() && !everything;
        seen.require(
            bound,
            resource,
            attribute,
            "PassRole names roles and a service",
            "name the roles and add the condition `iam:PassedToService`",
        );
    }
}

fn principals(resource: &Resource, attribute: &str, statement: &Value, seen: &mut Seen) {
    let anybody = statement.at("Principal").is_some_and(|who| {
        who.as_text() == Some("*")
            || who.at("AWS").map(Value::texts).unwrap_or_default().iter().any(|who| who == "*")
    });
    if anybody {
        seen.breaks(resource, attribute, "allows anybody", "name accounts, roles or services");
    }
    let federated = statement.at("Principal.Federated").is_some();
    if federated {
        let condition = |name: &str| {
            statement.at("Condition.StringEquals").and_then(|it| match it {
                Value::Map(map) => {
                    map.get(&format!("token.actions.githubusercontent.com:{name}")).and_then(Value::shown)
                }
                _ => None,
            })
        };
        let subject = condition("sub").unwrap_or_default();
        let pinned =
            subject.starts_with("repo:") && subject.contains(":environment:") && !subject.contains('*');
        seen.require(
            pinned,
            resource,
            attribute,
            "trusts one repository and environment",
            "write the condition `…:sub` = \"repo:OWNER/NAME:environment:ENVIRONMENT\" under StringEquals",
        );
        seen.require(
            condition("aud").as_deref() == Some("sts.amazonaws.com"),
            resource,
            attribute,
            "trusts tokens for AWS only",
            "write the condition `…:aud` = \"sts.amazonaws.com\"",
        );
    }
}

fn tasks(root: &Root, seen: &mut Seen) {
    for service in root.of("aws_ecs_service").filter(|_| Class::of(root) == Class::Production) {
        seen.require(
            !service.is("enable_execute_command", true),
            service,
            "enable_execute_command",
            "nobody looks into a container",
            "write `enable_execute_command = false`",
        );
    }
    let mut roles: Vec<(&Resource, &Value)> = Vec::new();
    for task in root.of("aws_ecs_task_definition") {
        for container in containers(root, task, seen) {
            let user = container.at("user").and_then(Value::shown).unwrap_or_default();
            let root_user =
                user.is_empty() || user.starts_with("0:") || user == "0" || user.starts_with("root");
            seen.require(
                !root_user,
                task,
                "container_definitions",
                &format!("runs as {user}"),
                "write `user = \"1001:1001\"`",
            );
            let read_only = container.at("readonlyRootFilesystem").and_then(Value::as_bool) == Some(true);
            seen.require(
                read_only,
                task,
                "container_definitions",
                "cannot change itself",
                "write `readonlyRootFilesystem = true`",
            );
            let privileged = container.at("privileged").and_then(Value::as_bool) == Some(true);
            seen.require(!privileged, task, "container_definitions", "not privileged", "remove `privileged`");
            let image = container.at("image").and_then(Value::shown).unwrap_or_default();
            let moves = image.ends_with(":latest")
                || (!image.contains('@') && !image.contains("${") && !image.is_empty());
            seen.require(
                !moves,
                task,
                "container_definitions",
                "an image by its digest",
                "name the image as REPOSITORY@sha256:…",
            );
        }
        for attribute in ["execution_role_arn", "task_role_arn"] {
            let Some(role) = task.get(attribute) else {
                seen.breaks(
                    task,
                    attribute,
                    format!("has no `{attribute}` of its own"),
                    "write a role for this service and environment",
                );
                continue;
            };
            let shared = roles.iter().any(|(_, other)| *other == role);
            seen.require(
                !shared,
                task,
                attribute,
                "a role of its own",
                "give every service roles of its own",
            );
            roles.push((task, role));
        }
    }
}

/// Attributes that would lie in the state as they are.
const PLAIN: [(&str, &str); 6] = [
    ("aws_db_instance", "password"),
    ("aws_rds_cluster", "master_password"),
    ("aws_elasticache_replication_group", "auth_token"),
    ("aws_secretsmanager_secret_version", "secret_string"),
    ("azurerm_postgresql_flexible_server", "administrator_password"),
    ("azurerm_key_vault_secret", "value"),
];

pub fn secrets(input: &Input<'_>, seen: &mut Seen) {
    for root in input.roots {
        for (kind, attribute) in PLAIN {
            for resource in root.of(kind) {
                let instead = "let the service make it (`manage_master_user_password`), or set it by `medeclipse secrets set`";
                seen.require(
                    resource.get(attribute).is_none(),
                    resource,
                    attribute,
                    &format!("no `{attribute}` in the state"),
                    instead,
                );
            }
        }
        for resource in root.resources.iter().filter(|it| it.kind == "random_password") {
            seen.breaks(resource, "", "its result lies in the state", "let the service make the password");
        }
        for database in root.of("aws_db_instance") {
            seen.require(
                database.is("manage_master_user_password", true),
                database,
                "manage_master_user_password",
                "RDS makes and rotates the password",
                "write `manage_master_user_password = true`",
            );
        }
        for variable in &root.variables {
            let secret = is_secret(&variable.name);
            seen.require(
                !secret || variable.is("sensitive", true),
                variable,
                "sensitive",
                "not shown",
                "write `sensitive = true`",
            );
            let has_default = secret && variable.get("default").is_some();
            seen.require(!has_default, variable, "default", "no value here", "remove `default`");
        }
        for task in root.of("aws_ecs_task_definition") {
            environment(root, task, seen);
        }
    }
}

fn environment(root: &Root, task: &Resource, seen: &mut Seen) {
    for container in containers(root, task, seen) {
        for variable in container.at("environment").map(Value::elements).unwrap_or_default() {
            let name = variable.at("name").and_then(Value::shown).unwrap_or_default();
            let value = variable.at("value").and_then(Value::shown).unwrap_or_default();
            let credentials = value
                .split_once("://")
                .is_some_and(|(_, rest)| rest.split('/').next().unwrap_or_default().contains('@'));
            let plain = is_secret(&name) || credentials;
            seen.require(
                !plain,
                task,
                "container_definitions",
                &format!("{name} is no secret"),
                &format!("move {name} to `secrets`, with `valueFrom`"),
            );
        }
        for secret in container.at("secrets").map(Value::elements).unwrap_or_default() {
            let from = secret.at("valueFrom").and_then(Value::shown).unwrap_or_default();
            seen.holds(
                task,
                format!("{} from {from}", secret.at("name").and_then(Value::shown).unwrap_or_default()),
            );
        }
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    ["password", "secret", "token", "private_key", "api_key", "credential", "shared_key", "database_url"]
        .iter()
        .any(|part| name.contains(part))
}
