//! Roles: who may do what, and whether that is enough, and not too much.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::{At, Node};
use crate::lint::graph::Graph;
use crate::lint::terraform::Resource;

pub const RULES: &[Rule] = &[
    Rule {
        id: "role/shared",
        severity: Severity::High,
        says: "Each service of each environment has roles of its own.",
        why: "With one role for all, staging's program may read production's secrets, and a program may do what only its start needs (ECS, IAM.21).",
        instead: "a task role and an execution role named after service and environment; the execution role reads its own secrets alone",
        check: shared,
    },
    Rule {
        id: "role/secret-unreadable",
        severity: Severity::Critical,
        says: "The execution role may read the secrets its task takes.",
        why: "AmazonECSTaskExecutionRolePolicy allows images and logs, not secrets: ECS stops the task with ResourceInitializationError.",
        instead: "`secretsmanager:GetSecretValue` on these secrets, for the execution role",
        check: secret_unreadable,
    },
    Rule {
        id: "role/logs-unwritable",
        severity: Severity::Critical,
        says: "The execution role may write the logs of its task.",
        why: "The awslogs driver writes as the execution role: without logs:CreateLogStream and logs:PutLogEvents the task cannot start.",
        instead: "attach AmazonECSTaskExecutionRolePolicy, or allow both actions on the log group",
        check: logs_unwritable,
    },
    Rule {
        id: "role/trust-open",
        severity: Severity::Critical,
        says: "A role for a pipeline trusts one repository's branch or environment.",
        why: "Without a condition on `sub`, every repository of GitHub may take the role. https://docs.github.com/actions/security-for-github-actions/security-hardening-your-deployments/configuring-openid-connect-in-amazon-web-services",
        instead: "`StringEquals` on `token.actions.githubusercontent.com:sub` = `repo:ORG/REPO:environment:ENV`, and `aud`",
        check: trust_open,
    },
    Rule {
        id: "role/trust-mismatch",
        severity: Severity::Critical,
        says: "A task's roles may be taken by ECS tasks.",
        why: "ECS is unable to assume the role: the task cannot start.",
        instead: "`Service = \"ecs-tasks.amazonaws.com\"` in its trust policy",
        check: trust_mismatch,
    },
    Rule {
        id: "role/object-unreachable",
        severity: Severity::High,
        says: "What is allowed on objects names objects.",
        why: "`s3:GetObject` on a bucket's own ARN allows nothing: every access is denied.",
        instead: "`\"${aws_s3_bucket.NAME.arn}/*\"`",
        check: object_unreachable,
    },
    Rule {
        id: "role/everything",
        severity: Severity::High,
        says: "No role may do everything to everything.",
        why: "Whoever gets into the program owns the account (IAM.1).",
        instead: "the actions and resources that are needed",
        check: everything,
    },
];

/// Whether a tree deploys to more than one environment: a pipeline, a script or Terraform says so by a hole.
fn environments(graph: &Graph) -> Option<At> {
    for command in graph.commands() {
        for option in ["--cluster", "--service"] {
            if let Some(word) = command.option(option)
                && crate::lint::facts::text::value(&word.text)
                    .holes()
                    .iter()
                    .any(|hole| crate::lint::value::is_environment_name(hole))
            {
                return Some(word.at);
            }
        }
    }
    let clusters = graph.named("aws_ecs_cluster", "name");
    clusters
        .iter()
        .find(|cluster| cluster.name.holes().iter().any(|hole| crate::lint::value::is_environment_name(hole)))
        .map(|cluster| cluster.at)
}

fn shared(out: &mut Out<'_>) {
    let graph = out.graph;
    let several = environments(graph);
    for task in &graph.tasks {
        let Some(document) = &task.document else { continue };
        let (execution, own) = (document.get("executionRoleArn"), document.get("taskRoleArn"));
        if let (Some(a), Some(b)) = (execution, own)
            && a.text().is_some()
            && a.text() == b.text()
        {
            out.say(b.at, "the program has the role that starts it").against(a.at, "the execution role");
            continue;
        }
        for node in [own, execution].into_iter().flatten() {
            let Some(name) = node.text().and_then(|text| text.rsplit('/').next()) else { continue };
            let value = crate::lint::facts::text::value(name);
            let words: Vec<&str> = name.split(['-', '_', '/']).collect();
            let specific =
                value.known().is_none() || words.iter().any(|word| crate::lint::value::is_environment(word));
            if let Some(at) = several.filter(|_| !specific) {
                out.say(node.at, format!("the role `{name}` is the same in every environment"))
                    .against(at, "one task definition serves several environments");
                break;
            }
        }
    }
    let tasks: Vec<Resource<'_>> = graph.resources("aws_ecs_task_definition").collect();
    let role = |task: &Resource<'_>, key: &str| {
        let node = task.block.get(key)?;
        graph
            .scope(task.module)
            .resource(node)
            .map(|(role, _)| (role.module.folder.clone(), role.address(), node.at))
    };
    for (index, task) in tasks.iter().enumerate() {
        let Some((folder, own, at)) = role(task, "task_role_arn") else { continue };
        if let Some((other_folder, execution, other)) = role(task, "execution_role_arn")
            && (&folder, &own) == (&other_folder, &execution)
        {
            out.say(at, format!("the program of `{}` has the role that starts it", task.address()))
                .against(other, "the execution role");
        }
        for earlier in &tasks[..index] {
            if let Some((other_folder, other, other_at)) = role(earlier, "task_role_arn")
                && (&folder, &own) == (&other_folder, &other)
            {
                out.say(at, format!("`{}` and `{}` have one task role", task.address(), earlier.address()))
                    .against(other_at, "the same role");
            }
        }
    }
}

/// The actions the policies of a role in Terraform allow; `None` when one of them is not here.
fn actions(graph: &Graph, role: Resource<'_>) -> Option<Vec<String>> {
    let scope = graph.scope(role.module);
    let is_role = |node: Option<&Node>| {
        node.and_then(|node| scope.resource(node)).is_some_and(|(named, _)| named.address() == role.address())
    };
    let mut found = Vec::new();
    let managed = |node: &Node| {
        scope.value(node).known().is_some_and(|arn| arn.ends_with("AmazonECSTaskExecutionRolePolicy"))
    };
    let attachments =
        || role.module.of_kind("aws_iam_role_policy_attachment").filter(|it| is_role(it.block.get("role")));
    if attachments().filter_map(|it| it.block.get("policy_arn")).any(managed) {
        found.extend(["logs:CreateLogStream", "logs:PutLogEvents"].map(str::to_owned));
    }
    let mut read = |node: &Node| -> Option<()> {
        let mut stack = vec![node.clone()];
        while let Some(node) = stack.pop() {
            if let Some((policy, inner)) = scope.structure(&node) {
                for statement in policy.get("Statement")?.one_or_many() {
                    let (statement, _) = inner.structure(statement)?;
                    let list = statement.get("Action").map_or(&[][..], Node::one_or_many);
                    found.extend(list.iter().filter_map(Node::scalar));
                }
            } else if let crate::lint::doc::Kind::Ref(parts) = &node.kind
                && parts.len() >= 3
                && parts[0] == "data"
            {
                let document = role.module.data(&parts[1], &parts[2])?;
                for statement in document.blocks("statement") {
                    found.extend(
                        statement.get("actions").map_or(&[][..], Node::items).iter().filter_map(Node::scalar),
                    );
                }
                // What is merged from elsewhere is not seen.
                if document.has("source_policy_documents") {
                    return None;
                }
            } else {
                return None;
            }
        }
        Some(())
    };
    for policy in
        role.module.of_kind("aws_iam_role_policy").filter(|policy| is_role(policy.block.get("role")))
    {
        read(policy.block.get("policy")?)?;
    }
    for inline in role.block.blocks("inline_policy") {
        read(inline.get("policy")?)?;
    }
    for attachment in attachments() {
        let node = attachment.block.get("policy_arn")?;
        match scope.resource(node) {
            Some((policy, _)) if policy.kind() == "aws_iam_policy" => read(policy.block.get("policy")?)?,
            _ if managed(node) => {}
            _ => return None,
        }
    }
    if role.block.has("managed_policy_arns") {
        return None;
    }
    Some(found)
}

fn allows(actions: &[String], wanted: &str) -> bool {
    let (service, _) = wanted.split_once(':').unwrap_or((wanted, ""));
    actions.iter().any(|action| {
        action == "*"
            || action == wanted
            || action == &format!("{service}:*")
            || action
                .strip_suffix('*')
                .is_some_and(|head| head.len() > service.len() && wanted.starts_with(head))
    })
}

fn secret_unreadable(out: &mut Out<'_>) {
    let graph = out.graph;
    for task in &graph.tasks {
        let Some((folder, name)) = &task.resource else { continue };
        let Some(module) = graph.sources.modules.get(folder) else { continue };
        let Some(resource) = module.resource("aws_ecs_task_definition", name) else { continue };
        let Some(setting) = task.containers.iter().flat_map(|container| &container.secrets).next() else {
            continue;
        };
        let Some(node) = resource.block.get("execution_role_arn") else {
            out.say(
                setting.at,
                format!("`{}` takes secrets, but has no execution role to read them", resource.address()),
            )
            .against(resource.head(), "no `execution_role_arn`");
            continue;
        };
        let Some((role, _)) =
            graph.scope(module).resource(node).filter(|(role, _)| role.kind() == "aws_iam_role")
        else {
            out.unknown(node.at, "the execution role is not in these files");
            continue;
        };
        let parameter = setting.value.to_string().contains(":ssm:")
            || graph
                .scope(module)
                .resource(&setting.node)
                .is_some_and(|(named, _)| named.kind() == "aws_ssm_parameter");
        let wanted = if parameter { "ssm:GetParameters" } else { "secretsmanager:GetSecretValue" };
        match actions(graph, role) {
            Some(actions) if !allows(&actions, wanted) => {
                out.say(
                    setting.node.at,
                    format!(
                        "`{}` is taken from a secret, but no policy of the execution role allows `{wanted}`",
                        setting.name
                    ),
                )
                .against(role.head(), "the execution role")
                .instead(format!("`{wanted}` on this secret, in a policy of `{}`", role.address()));
            }
            Some(_) => {}
            None => out.unknown(node.at, format!("a policy of `{}` is not in these files", role.address())),
        }
    }
}

fn logs_unwritable(out: &mut Out<'_>) {
    let graph = out.graph;
    for task in &graph.tasks {
        let Some((folder, name)) = &task.resource else { continue };
        let Some(module) = graph.sources.modules.get(folder) else { continue };
        let Some(resource) = module.resource("aws_ecs_task_definition", name) else { continue };
        let Some(log) = task.containers.iter().find_map(|container| container.log.as_ref()) else { continue };
        let Some(node) = resource.block.get("execution_role_arn") else { continue };
        let Some((role, _)) =
            graph.scope(module).resource(node).filter(|(role, _)| role.kind() == "aws_iam_role")
        else {
            continue;
        };
        let missing = actions(graph, role).and_then(|actions| {
            ["logs:CreateLogStream", "logs:PutLogEvents"].into_iter().find(|wanted| !allows(&actions, wanted))
        });
        if let Some(missing) = missing {
            out.say(
                log.at,
                format!(
                    "the logs go to `{}`, but no policy of the execution role allows `{missing}`",
                    log.group
                ),
            )
            .against(role.head(), "the execution role");
        }
    }
}

fn trust_open(out: &mut Out<'_>) {
    let graph = out.graph;
    for role in graph.resources("aws_iam_role") {
        let Some(node) = role.block.get("assume_role_policy") else { continue };
        let (text, at) = trust_text(graph, role, node);
        if !text.contains("token.actions.githubusercontent.com") && !text.contains("openid_connect_provider")
        {
            continue;
        }
        if !text.contains(":sub") {
            out.say(
                at,
                format!("`{}` trusts every repository of GitHub: nothing is asked of `sub`", role.address()),
            );
        } else if text.contains("repo:*") {
            out.say(at, format!("`{}` trusts every repository of GitHub: `repo:*`", role.address()));
        }
    }
}

/// All texts and names of a trust policy, wherever it stands.
fn trust_text(graph: &Graph, role: Resource<'_>, node: &Node) -> (String, At) {
    let mut text = String::new();
    let mut at = node.at;
    if let crate::lint::doc::Kind::Ref(parts) = &node.kind
        && parts.first().is_some_and(|data| data == "data")
        && parts.len() >= 3
        && let Some(document) = role.module.data(&parts[1], &parts[2])
    {
        at = document.head;
        document.walk_values(&mut |node| text.push_str(&format!("{} ", graph.sources.slice(node.at))));
    }
    text.push_str(graph.sources.slice(node.at));
    (text, at)
}

fn everything(out: &mut Out<'_>) {
    let graph = out.graph;
    let all = |node: Option<&Node>| {
        node.is_some_and(|node| node.one_or_many().iter().any(|item| item.text() == Some("*")))
    };
    for kind in ["aws_iam_role_policy", "aws_iam_policy"] {
        for policy in graph.resources(kind) {
            let Some(node) = policy.block.get("policy") else { continue };
            let Some((document, inner)) = graph.scope(policy.module).structure(node) else { continue };
            for statement in document.get("Statement").map_or(&[][..], Node::one_or_many) {
                let Some((statement, _)) = inner.structure(statement) else { continue };
                if all(statement.get("Action"))
                    && all(statement.get("Resource"))
                    && statement.get("Effect").and_then(Node::text) != Some("Deny")
                {
                    let at = statement.get("Action").map_or(policy.head(), |node| node.at);
                    out.say(at, format!("`{}` allows everything on everything", policy.address()));
                }
            }
        }
    }
    for module in graph.modules() {
        for document in module
            .named("data")
            .filter(|block| block.labels.first().is_some_and(|kind| kind == "aws_iam_policy_document"))
        {
            for statement in document.blocks("statement") {
                if all(statement.get("actions"))
                    && all(statement.get("resources"))
                    && statement.get("effect").and_then(Node::text) != Some("Deny")
                    && statement.block("principals").is_none()
                {
                    out.say(statement.head, "a policy allows everything on everything");
                }
            }
        }
    }
    for attachment in graph.resources("aws_iam_role_policy_attachment") {
        let node = attachment.block.get("policy_arn");
        if let Some(node) =
            node.filter(|node| node.text().is_some_and(|arn| arn.ends_with("/AdministratorAccess")))
        {
            out.say(node.at, format!("`{}` gives a role everything", attachment.address()));
        }
    }
}

/// The services that may take a role, and where that is said; nothing where it is not in these files.
fn trusted(graph: &Graph, role: Resource<'_>) -> Option<(Vec<String>, At)> {
    let scope = graph.scope(role.module);
    let node = role.block.get("assume_role_policy")?;
    if let Some((policy, inner)) = scope.structure(node) {
        let mut found = Vec::new();
        for statement in policy.get("Statement")?.one_or_many() {
            let principal = statement.get("Principal")?;
            let services = principal.get("Service").map_or(&[][..], Node::one_or_many);
            for service in services {
                found.push(inner.value(service).known()?.to_owned());
            }
        }
        return Some((found, node.at));
    }
    let crate::lint::doc::Kind::Ref(parts) = &node.kind else { return None };
    let [data, kind, name, ..] = parts.as_slice() else { return None };
    let document = (data == "data").then(|| role.module.data(kind, name))??;
    let mut found = Vec::new();
    for principals in document.blocks("statement").flat_map(|statement| statement.blocks("principals")) {
        for service in principals.get("identifiers").map_or(&[][..], Node::one_or_many) {
            found.push(scope.value(service).known()?.to_owned());
        }
    }
    Some((found, document.head))
}

fn trust_mismatch(out: &mut Out<'_>) {
    let graph = out.graph;
    for task in graph.resources("aws_ecs_task_definition") {
        let scope = graph.scope(task.module);
        for key in ["execution_role_arn", "task_role_arn"] {
            let Some(node) = task.block.get(key) else { continue };
            let Some((role, _)) = scope.resource(node).filter(|(role, _)| role.kind() == "aws_iam_role")
            else {
                continue;
            };
            let Some((services, at)) = trusted(graph, role) else { continue };
            if !services.iter().any(|service| service.starts_with("ecs-tasks.")) {
                let first =
                    services.first().map_or_else(|| "no service".to_owned(), |first| format!("`{first}`"));
                out.say(node.at, format!("`{}` is taken by ECS tasks, but trusts {first}", role.address()))
                    .against(at, "whom it trusts");
            }
        }
    }
}

/// Actions that are about objects, not about buckets.
const OBJECTS: &[&str] = &["s3:GetObject", "s3:PutObject", "s3:DeleteObject"];

fn object_unreachable(out: &mut Out<'_>) {
    let graph = out.graph;
    for policy in graph.resources("aws_iam_role_policy").chain(graph.resources("aws_iam_policy")) {
        let scope = graph.scope(policy.module);
        let Some((document, inner)) = policy.block.get("policy").and_then(|node| scope.structure(node))
        else {
            continue;
        };
        for statement in document.get("Statement").map_or(&[][..], Node::one_or_many) {
            let actions = statement.get("Action").map_or(&[][..], Node::one_or_many);
            let resources = statement.get("Resource").map_or(&[][..], Node::one_or_many);
            object_statement(out, inner, actions, resources);
        }
    }
    for module in graph.modules() {
        for document in module
            .named("data")
            .filter(|block| block.labels.first().is_some_and(|kind| kind == "aws_iam_policy_document"))
        {
            for statement in document.blocks("statement") {
                let actions = statement.get("actions").map_or(&[][..], Node::one_or_many);
                let resources = statement.get("resources").map_or(&[][..], Node::one_or_many);
                object_statement(out, graph.scope(module), actions, resources);
            }
        }
    }
}

fn object_statement(
    out: &mut Out<'_>,
    scope: crate::lint::eval::Scope<'_>,
    actions: &[Node],
    resources: &[Node],
) {
    let about_objects =
        actions.iter().find(|action| action.text().is_some_and(|text| OBJECTS.contains(&text)));
    let Some(action) = about_objects else { return };
    let bucket = |node: &Node| match &node.kind {
        crate::lint::doc::Kind::Ref(parts) => {
            parts.last().is_some_and(|last| last == "arn")
                && scope.resource(node).is_some_and(|(found, _)| found.kind() == "aws_s3_bucket")
        }
        crate::lint::doc::Kind::Text(text) => {
            text.starts_with("arn:aws:s3:::") && !text.contains('/') && !text.contains('*')
        }
        _ => false,
    };
    if let Some(first) = resources.first().filter(|_| resources.iter().all(bucket)) {
        let text = action.text().unwrap_or_default();
        out.say(first.at, format!("`{text}` is allowed on the bucket itself, which has no effect"))
            .against(action.at, "about objects");
    }
}
