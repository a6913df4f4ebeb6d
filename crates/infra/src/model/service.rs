//! Makes the service of the model: image, ports, probes, secrets, traffic. A number AWS does not take is refused with its limit.

use super::Refusals;
use manifest::infra::Container;
use manifest::service::{Manifest, ServiceConfig};
use serde::Serialize;
use std::collections::BTreeMap;

/// Fargate kills a task this long after SIGTERM at the latest. [ECS ContainerDefinition.stopTimeout]
const STOP_SECONDS_MAX: u64 = 120;

/// One service, as every artefact sees it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Service {
    pub name: String,
    /// The name as Terraform labels take it.
    pub label: String,
    /// `{project}-{service}-{env}`.
    pub full: String,
    pub port: u16,
    pub hosts: Vec<String>,
    pub paths: Vec<String>,
    pub command: Vec<String>,
    pub expand: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub secrets: Vec<String>,
    pub build: Build,
    /// User and group.
    pub user: (u32, u32),
    pub cpu: u64,
    pub memory_mib: u64,
    pub min: u32,
    pub max: u32,
    pub liveness: Option<Check>,
    pub probe: Vec<String>,
    pub balancer: Check,
    pub balancer_path: String,
    pub live_path: String,
    pub deep: String,
    pub pool: u32,
    pub uploads: Vec<String>,
    pub target_cpu: u32,
    pub traffic: Traffic,
    /// ECS's word: BLUE_GREEN, CANARY, LINEAR; `weights`: two services and one weighted rule.
    pub drain_seconds: u64,
    pub stop_seconds: u64,
    pub bake_minutes: u64,
    pub allow_header: Option<String>,
    /// Listener rules count from here.
    pub priority: u32,
}

/// How traffic moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "strategy", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Traffic {
    BlueGreen,
    Canary { percent: u8, minutes: u64 },
    Linear { percent: u8, minutes: u64 },
    Weights,
}

/// A repeated question, in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub interval: u64,
    pub timeout: u64,
    pub good: u32,
    pub bad: u32,
    pub start: u64,
}

/// How the image is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Build {
    pub toolchain: String,
    pub command: Vec<String>,
    pub builder: String,
    pub base: String,
    /// What the image runs, without its folder.
    pub program: String,
    pub artifact: String,
}

pub(super) fn resolve_all(
    project: &str,
    environment: &str,
    manifest: &Manifest,
    zones: u32,
    refusals: &mut Refusals,
) -> Vec<Service> {
    let exec = manifest.infra.place.aws.as_ref().and_then(|aws| aws.traffic.as_deref()) == Some("weights");
    let services = manifest.services.iter().enumerate();
    services
        .map(|(at, config)| {
            let container = manifest.infra.containers.get(&config.name).cloned().unwrap_or_default();
            let mut service = resolve(project, environment, config, &container, zones, refusals);
            service.priority = 100 + 10 * at as u32;
            if exec {
                service.traffic = Traffic::Weights;
            }
            service
        })
        .collect()
}

fn resolve(
    project: &str,
    environment: &str,
    config: &ServiceConfig,
    container: &Container,
    zones: u32,
    refusals: &mut Refusals,
) -> Service {
    let name = &config.name;
    let drain_seconds = config.rollout.drain.0.div_ceil(1000);
    let ceiling = config.rollout.connections.ceiling.0.div_ceil(1000);
    let replicas = config.target.replicas;
    let ready = config.health.ready.clone().unwrap_or_else(|| "/".to_owned());
    let balancer_path = container.balancer.path.clone().unwrap_or_else(|| ready.clone());
    let resources = config.resources;
    // Nobody who writes no bounds wants one task in one zone for production: one a zone.
    let min = replicas.min.max(if environment == "local" { 1 } else { zones });
    if environment != "local" && ceiling > STOP_SECONDS_MAX {
        refusals.note(
            format!("let connections of {name} go on for {ceiling} s"),
            format!("Fargate stops a task {STOP_SECONDS_MAX} s after it was asked to (ECS, stopTimeout)"),
            format!("write `connections = {{ ceiling = \"2m\" }}` or less under [service.{name}.rollout]"),
        );
    }
    Service {
        label: name.replace('-', "_"),
        full: format!("{project}-{name}-{environment}"),
        port: container.port.unwrap_or(3000),
        hosts: config.target.hosts.clone(),
        paths: config.target.paths.clone(),
        command: config.command.clone(),
        expand: config.expand.clone(),
        env: config.env.clone(),
        secrets: container.secrets.clone(),
        build: build(config, container),
        user: container.user.unwrap_or((1001, 1001)),
        cpu: resources.and_then(|it| it.cpu).unwrap_or(1024),
        memory_mib: resources.and_then(|it| it.memory_bytes).map_or(2048, |bytes| bytes >> 20),
        min,
        max: replicas.max.max(min),
        liveness: liveness(name, container, refusals),
        probe: container.probe.clone(),
        balancer: balancer(name, container, refusals),
        live_path: config.health.live.clone().unwrap_or_else(|| ready.clone()),
        deep: container.deep.clone().unwrap_or_else(|| balancer_path.clone()),
        balancer_path,
        pool: container.pool.unwrap_or(10),
        uploads: container.uploads.clone(),
        target_cpu: container.target_cpu.unwrap_or(60),
        traffic: traffic(config),
        drain_seconds: drain_seconds.min(STOP_SECONDS_MAX),
        stop_seconds: drain_seconds.max(ceiling).clamp(drain_seconds, STOP_SECONDS_MAX.max(drain_seconds)),
        bake_minutes: minutes(config.rollout.keep_hot.0),
        allow_header: config.rollout.allow.as_ref().map(|allow| allow.header.clone()),
        priority: 0,
        name: name.clone(),
    }
}

fn minutes(ms: u64) -> u64 {
    // ECS takes whole minutes from 0 to 1440. [DeploymentConfiguration.bakeTimeInMinutes]
    ms.div_ceil(60_000).min(1440)
}

/// Maps the steps of a rollout to what ECS can do by itself.
fn traffic(config: &ServiceConfig) -> Traffic {
    let steps: Vec<u8> = config.rollout.steps.iter().map(|step| step.percent()).collect();
    let minutes = minutes(config.rollout.step_bake.0);
    let first = steps.first().copied().unwrap_or(100);
    let equal = steps.windows(2).all(|pair| pair[1] - pair[0] == first || pair[1] == 100);
    match steps.as_slice() {
        [] | [100] => Traffic::BlueGreen,
        [percent, 100] => Traffic::Canary { percent: *percent, minutes },
        _ if equal && first >= 3 => Traffic::Linear { percent: first, minutes },
        _ => Traffic::Weights,
    }
}

fn build(config: &ServiceConfig, container: &Container) -> Build {
    let toolchain = container.toolchain.clone().unwrap_or_else(|| "rust".to_owned());
    let (command, builder, base): (&[&str], _, _) = match toolchain.as_str() {
        "rust" => (&["cargo", "build", "--release", "--locked"], "rust:1-bookworm", "debian:bookworm-slim"),
        "node" => (&["npm", "run", "build"], "node:24-bookworm-slim", "node:24-bookworm-slim"),
        _ => (&[], "", "debian:bookworm-slim"),
    };
    let program = config.command.first().map(String::as_str).unwrap_or_default();
    Build {
        command: match container.build.is_empty() {
            true => command.iter().map(|word| (*word).to_owned()).collect(),
            false => container.build.clone(),
        },
        builder: container.builder.clone().unwrap_or_else(|| builder.to_owned()),
        base: container.base.clone().unwrap_or_else(|| base.to_owned()),
        program: program.rsplit('/').next().unwrap_or_default().to_owned(),
        artifact: config.artifact.as_ref().map_or(".".to_owned(), |path| path.display().to_string()),
        toolchain,
    }
}

/// Refuses a time outside what AWS takes; returns whole seconds.
fn seconds(
    what: &str,
    ms: Option<u64>,
    otherwise: u64,
    bounds: (u64, u64),
    limit: &str,
    refusals: &mut Refusals,
) -> u64 {
    let Some(ms) = ms else { return otherwise };
    let (least, most) = bounds;
    if ms < least * 1000 || ms > most * 1000 || !ms.is_multiple_of(1000) {
        let why = format!("{limit}, whole seconds");
        refusals.note(format!("ask {what} every {ms} ms"), why, format!("write \"{least}s\" to \"{most}s\""));
    }
    ms.div_ceil(1000)
}

fn liveness(name: &str, container: &Container, refusals: &mut Refusals) -> Option<Check> {
    if container.probe.is_empty() {
        return None;
    }
    let at = &container.liveness;
    let what = |key: &str| format!("the container of {name} (liveness.{key})");
    let interval = seconds(
        &what("interval"),
        at.interval.map(|it| it.0),
        30,
        (5, 300),
        "ECS takes 5 s to 300 s (HealthCheck.interval)",
        refusals,
    );
    let timeout = seconds(
        &what("timeout"),
        at.timeout.map(|it| it.0),
        10,
        (2, 60),
        "ECS takes 2 s to 60 s (HealthCheck.timeout)",
        refusals,
    );
    let start = seconds(
        &what("start"),
        at.start.map(|it| it.0),
        60,
        (0, 300),
        "ECS takes 0 s to 300 s (HealthCheck.startPeriod)",
        refusals,
    );
    Some(Check { interval, timeout, start, good: 1, bad: at.retries.unwrap_or(3) })
}

fn balancer(name: &str, container: &Container, refusals: &mut Refusals) -> Check {
    let at = &container.balancer;
    let what = |key: &str| format!("{name} from the balancer (balancer.{key})");
    let interval = seconds(
        &what("interval"),
        at.interval.map(|it| it.0),
        10,
        (5, 300),
        "an ALB takes 5 s to 300 s (HealthCheckIntervalSeconds)",
        refusals,
    );
    let timeout = seconds(
        &what("timeout"),
        at.timeout.map(|it| it.0),
        5,
        (2, 120),
        "an ALB takes 2 s to 120 s (HealthCheckTimeoutSeconds)",
        refusals,
    );
    if timeout >= interval {
        refusals.note(
            format!("wait {timeout} s for an answer of {name} and ask every {interval} s"),
            "an ALB wants the timeout below the interval",
            format!("write `balancer = {{ timeout = \"{}s\" }}`", (interval / 2).max(2)),
        );
    }
    Check { interval, timeout, start: 0, good: at.healthy.unwrap_or(2), bad: at.unhealthy.unwrap_or(3) }
}
