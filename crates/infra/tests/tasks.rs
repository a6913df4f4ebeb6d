//! The rendered task definitions against the request ECS takes, and ways to spoil one: each is caught by the model or a documented limit.
#![allow(clippy::unwrap_used)]

mod support;

use infra::config::{from_plan, from_tree};
use infra::render::Files;
use infra::schema::task::check;
use support::{files, tree};

const FILE: &str = "production/aws/service.tf";

fn mistakes(files: &Files) -> Vec<String> {
    let tree = tree(files);
    check(&from_tree(&tree).unwrap()).into_iter().map(|mistake| mistake.what).collect()
}

#[test]
fn every_rendered_task_definition_is_one_that_ecs_takes() {
    for environment in ["production", "staging", "development"] {
        let files = files(environment);
        assert!(files[&format!("{environment}/aws/service.tf")].contains("aws_ecs_task_definition"));
        assert_eq!(mistakes(&files), Vec::<String>::new(), "{environment}");
    }
}

/// What is written, what is written instead, and what must be told.
const MUTATIONS: &[(&str, &str, &str)] = &[
    (
        "essential              = true",
        "essential              = \"sometimes\"",
        "essential` is not true or false",
    ),
    ("stopTimeout            = 120", "stopTimeout            = 121", "stopTimeout` takes 0 to 120 seconds"),
    ("stopTimeout            = 120", "stopTimeOut            = 120", "`stopTimeout` is"),
    ("user                   = \"1001:1001\"", "user                   = 1001", "user` is not a text"),
    ("readonlyRootFilesystem = true", "readOnlyRootFilesystem = true", "`readonlyRootFilesystem` is"),
    (
        "capabilities       = { drop = [\"ALL\"] }",
        "capabilities       = { drop = \"ALL\" }",
        "drop` is not a list",
    ),
    (
        "capabilities       = { drop = [\"ALL\"] }",
        "capability         = { drop = [\"ALL\"] }",
        "`capabilities` is",
    ),
    ("protocol = \"tcp\"", "protocol = \"http\"", "one of tcp, udp"),
    ("containerPort = 3000", "containerPort = 70000", "containerPort` takes 1 to 65535"),
    ("containerPort = 3000", "containerPort = 3000, hostPort = 80", "on Fargate they are the same"),
    ("containerPort = 3000", "containerPort = \"3000\"", "containerPort` is not a number"),
    ("{ name = \"HOST\", value = \"0.0.0.0\" }", "{ name = \"HOST\", valeu = \"0.0.0.0\" }", "`value` is"),
    (
        "{ name = \"HOST\", value = \"0.0.0.0\" }",
        "{ name = \"PORT\", value = \"0.0.0.0\" }",
        "hold `PORT` twice",
    ),
    (
        "{ name = \"HOST\", value = \"0.0.0.0\" }",
        "{ name = \"JWT_SECRET\", value = \"x\" }",
        "hold `JWT_SECRET` twice",
    ),
    ("{ name = \"PORT\", value = \"3000\" }", "{ name = \"PORT\", value = 3000 }", "value` is not a text"),
    (
        "{ name = \"DATABASE_URL\", valueFrom =",
        "{ name = \"DATABASE_URL\", value_from =",
        "valueFrom` must be there (Secret)",
    ),
    (
        "command     = [\"CMD\", \"./clinic\", \"probe\"]",
        "test        = [\"CMD\", \"./clinic\", \"probe\"]",
        "command` must be there (HealthCheck)",
    ),
    (
        "command     = [\"CMD\", \"./clinic\", \"probe\"]",
        "command     = \"./clinic probe\"",
        "command` is not a list",
    ),
    ("interval    = 30", "interval    = 1", "interval` takes 5 to 300 seconds"),
    ("timeout     = 10", "timeout     = 61", "timeout` takes 2 to 60 seconds"),
    ("retries     = 3", "retries     = 0", "retries` takes 1 to 10"),
    ("startPeriod = 60", "startPeriod = 600", "startPeriod` takes 0 to 300 seconds"),
    ("startPeriod = 60", "startPeriod = 0.5", "is not a whole number"),
    ("logDriver = \"awslogs\"", "logDriver = \"cloudwatch\"", "one of json-file"),
    ("logDriver = \"awslogs\"", "logDriver = \"syslog\"", "awsfirelens on Fargate"),
    ("logDriver = \"awslogs\"", "driver    = \"awslogs\"", "logDriver` must be there (LogConfiguration)"),
    ("sourceVolume = \"tmp\"", "sourceVolume = \"temporary\"", "which there is none of"),
    (
        "network_mode             = \"awsvpc\"",
        "network_mode             = \"bridge\"",
        "is `awsvpc` on Fargate",
    ),
    ("network_mode             = \"awsvpc\"", "network_mode             = \"vpc\"", "one of bridge"),
    (
        "requires_compatibilities = [\"FARGATE\"]",
        "requires_compatibilities = [\"Fargate\"]",
        "one of EC2, FARGATE",
    ),
    ("cpu_architecture        = \"X86_64\"", "cpu_architecture        = \"amd64\"", "one of X86_64, ARM64"),
    ("operating_system_family = \"LINUX\"", "operating_system_family = \"DEBIAN\"", "one of WINDOWS"),
    ("memory                   = \"2048\"\n", "", "memory` must be there for Fargate"),
    (
        "family                   = \"medeclipse-web-production\"",
        "family                   = \"medeclipse/web\"",
        "takes up to 255 letters",
    ),
    ("      image                  = var.image_web\n", "", "image` must be there"),
    ("name                   = \"web\"", "name                   = \"web app\"", "takes up to 255 letters"),
];

#[test]
fn what_ecs_would_refuse_is_told_with_its_member() {
    let whole = files("production");
    let mut wrong = Vec::new();
    for (from, to, told) in MUTATIONS {
        let mut files = whole.clone();
        let text = files.get_mut(FILE).unwrap();
        if !text.contains(from) {
            wrong.push(format!("{FILE} does not contain {from:?}"));
            continue;
        }
        *text = text.replacen(from, to, 1);
        let found = mistakes(&files);
        if !found.iter().any(|line| line.contains(told)) {
            wrong.push(format!("{from:?} → {to:?} does not tell {told:?}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{} of {} spoilt task definitions are told", MUTATIONS.len(), MUTATIONS.len());
}

#[test]
fn a_task_definition_in_a_plan_is_held_to_the_same_model() {
    let plan = serde_json::json!({
        "terraform_version": "1.11.4",
        "planned_values": { "root_module": { "resources": [
            { "address": "aws_ecs_task_definition.web", "mode": "managed", "type": "aws_ecs_task_definition", "name": "web", "values": {
                "family": "web", "network_mode": "awsvpc", "cpu": "256", "memory": "512", "requires_compatibilities": ["FARGATE"], "ephemeral_storage": [], "runtime_platform": [{ "cpu_architecture": "X86_64", "operating_system_family": null }], "volume": [{ "name": "tmp", "host_path": "", "efs_volume_configuration": [] }],
                "container_definitions": "[{\"name\":\"web\",\"image\":\"x\",\"memroy\":512}]" } },
        ] } },
    });

    let found = check(&[from_plan(&plan, "plan.json", "").unwrap()]);

    let told: Vec<&str> = found.iter().map(|mistake| mistake.what.as_str()).collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(
        told[0].contains("`containerDefinitions[0].memroy` is not known to ContainerDefinition; `memory` is"),
        "{told:?}"
    );
}
