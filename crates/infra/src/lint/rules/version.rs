//! Versions that have ended, and versions that two files disagree on.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::At;
use crate::lint::facts::image::Image;
use crate::lint::graph::Graph;

pub const RULES: &[Rule] = &[
    Rule {
        id: "version/end-of-life",
        severity: Severity::High,
        says: "Nothing runs on a version its maker no longer repairs.",
        why: "Faults found from then on stay open; clouds refuse to create, or upgrade by force, what has ended. Dates: lifecycle.toml, from endoflife.date and the makers.",
        instead: "the newest version with long support",
        check: end_of_life,
    },
    Rule {
        id: "version/provider-behind",
        severity: Severity::High,
        says: "A provider's constraint admits a major version that knows what is deployed.",
        why: "The AWS provider 5 has no `deployment_configuration` of an ECS service: blue/green, canary and their hooks came in 6.4 and 6.21.",
        instead: "`version = \"~> 6.25\"`, with the lock file committed",
        check: provider_behind,
    },
    Rule {
        id: "version/mismatch",
        severity: Severity::Medium,
        says: "Tests run on the major version that production runs on.",
        why: "What differs between majors is then first met in production.",
        instead: "one major version in all files",
        check: mismatch,
    },
];

/// A product, its cycle and the day it ends.
struct Cycle {
    product: &'static str,
    cycle: &'static str,
    end: &'static str,
    then: &'static str,
}

fn cycles() -> &'static [Cycle] {
    static CYCLES: std::sync::OnceLock<Vec<Cycle>> = std::sync::OnceLock::new();
    CYCLES.get_or_init(|| {
        let lines = include_str!("lifecycle.txt").lines().filter(|line| !line.starts_with('#'));
        let one = |line: &'static str| {
            let mut words = line.split_whitespace();
            Some(Cycle {
                product: words.next()?,
                cycle: words.next()?,
                end: words.next()?,
                then: words.next()?,
            })
        };
        lines.filter_map(one).collect()
    })
}

/// A version in use.
pub struct Use {
    pub product: &'static str,
    pub version: String,
    pub at: At,
    /// `true` where a cloud runs it or customers are served by it.
    pub serves: bool,
}

/// Products by the name of their image.
const IMAGES: &[(&str, &str)] = &[
    ("node", "node"),
    ("python", "python"),
    ("ruby", "ruby"),
    ("golang", "go"),
    ("php", "php"),
    ("postgres", "postgres"),
    ("postgis", "postgres"),
    ("redis", "redis"),
    ("mysql", "mysql"),
    ("debian", "debian"),
    ("ubuntu", "ubuntu"),
    ("alpine", "alpine"),
    ("aspnet", "dotnet"),
    ("sdk", "dotnet"),
    ("runtime", "dotnet"),
    ("mongo", "mongodb"),
    ("elasticsearch", "elasticsearch"),
    ("nodejs20-debian12", "node"),
];

/// The versions every file names.
pub fn uses(graph: &Graph) -> Vec<Use> {
    let mut found = Vec::new();
    for docker in &graph.sources.dockerfiles {
        for stage in docker.stages.iter().filter(|stage| docker.stage(&stage.base).is_none()) {
            image(&stage.base, stage.base_at, true, &mut found);
        }
    }
    for container in graph.containers() {
        if let Some((value, at)) = &container.image {
            image(&value.to_string(), *at, true, &mut found);
        }
    }
    for (_, job, step) in graph.steps() {
        setup(step, &mut found);
        let _ = job;
    }
    for workflow in &graph.workflows {
        for job in &workflow.jobs {
            for service in job.node.get("services").map_or(&[][..], crate::lint::doc::Node::entries) {
                let node = service.value.get("image").unwrap_or(&service.value);
                if let Some(text) = node.text() {
                    image(text, node.at, false, &mut found);
                }
            }
            if let Some(runner) = job
                .node
                .get("runs-on")
                .and_then(|node| Some((node.text()?.strip_prefix("ubuntu-")?, node.at)))
            {
                found.push(Use {
                    product: "runner-ubuntu",
                    version: runner.0.to_owned(),
                    at: runner.1,
                    serves: false,
                });
            }
        }
    }
    engines(graph, &mut found);
    found
}

fn image(text: &str, at: At, serves: bool, found: &mut Vec<Use>) {
    let image = Image::read(text);
    if image.registry.as_deref().is_some_and(|registry| registry.contains(".dkr.ecr.")) {
        return;
    }
    let Some((_, product)) = IMAGES.iter().find(|(name, _)| *name == image.short()) else { return };
    let Some(tag) = &image.tag else { return };
    if let Some(version) = number(tag) {
        found.push(Use { product, version, at, serves });
    } else if *product == "debian" {
        let word = tag.split('-').next().unwrap_or_default().to_owned();
        found.push(Use { product, version: word, at, serves });
    }
}

fn setup(step: &crate::lint::facts::pipeline::Step, found: &mut Vec<Use>) {
    let keys: &[(&str, &str, &'static str)] = &[
        ("actions/setup-node", "node-version", "node"),
        ("actions/setup-python", "python-version", "python"),
        ("actions/setup-go", "go-version", "go"),
        ("ruby/setup-ruby", "ruby-version", "ruby"),
        ("shivammathur/setup-php", "php-version", "php"),
        ("actions/setup-dotnet", "dotnet-version", "dotnet"),
    ];
    for (action, key, product) in keys {
        if step.action() == *action
            && let Some(node) = step.with(key)
            && let Some(version) = node.scalar().and_then(|text| number(&text))
        {
            found.push(Use { product, version, at: node.at, serves: false });
        }
    }
}

fn engines(graph: &Graph, found: &mut Vec<Use>) {
    for (kind, fixed) in [
        ("aws_db_instance", None),
        ("aws_rds_cluster", None),
        ("aws_elasticache_replication_group", Some("redis")),
        ("aws_elasticache_cluster", None),
        ("aws_eks_cluster", Some("kubernetes")),
        ("aws_lambda_function", Some("lambda")),
        ("azurerm_postgresql_flexible_server", Some("postgres")),
    ] {
        for resource in graph.resources(kind) {
            let scope = graph.scope(resource.module);
            let text = |key: &str| {
                resource
                    .block
                    .get(key)
                    .and_then(|node| Some((scope.value(node).known()?.to_owned(), node.at)))
            };
            let engine = text("engine").map(|engine| engine.0);
            let product = match (fixed, engine.as_deref()) {
                (Some("redis"), Some("valkey")) => continue,
                (Some(product), _) => product,
                (None, Some("postgres")) => "rds-postgres",
                (None, Some("aurora-postgresql")) => "aurora-postgresql",
                (None, Some("mysql")) => "mysql",
                (None, Some("redis")) => "redis",
                _ => continue,
            };
            let key = if kind == "aws_lambda_function" {
                "runtime"
            } else if product == "kubernetes" || kind.starts_with("azurerm") {
                "version"
            } else {
                "engine_version"
            };
            if let Some((version, at)) = text(key) {
                found.push(Use { product, version, at, serves: true });
            }
        }
    }
}

/// The leading number of a tag: `20.11-alpine` is `20.11`.
fn number(text: &str) -> Option<String> {
    let text = text.trim_start_matches(['v', '^', '~', '>', '=', ' ']);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text[..end].trim_matches('.');
    (!number.is_empty()).then(|| number.to_owned())
}

/// The cycle a version belongs to: the longest that it begins with, part by part.
fn cycle(product: &str, version: &str) -> Option<&'static Cycle> {
    let belongs = |cycle: &&Cycle| {
        cycle.product == product
            && (version == cycle.cycle
                || version.strip_prefix(cycle.cycle).is_some_and(|rest| rest.starts_with(['.', '-'])))
    };
    cycles().iter().filter(belongs).max_by_key(|cycle| cycle.cycle.len())
}

fn end_of_life(out: &mut Out<'_>) {
    let today = out.graph.today.clone();
    for used in uses(out.graph) {
        let Some(cycle) = cycle(used.product, &used.version) else { continue };
        if cycle.end <= today.as_str() {
            let message = format!(
                "{} {} ended on {}",
                used.product.trim_start_matches("rds-").trim_start_matches("runner-"),
                used.version,
                cycle.end
            );
            let severity = if used.serves { Severity::High } else { Severity::Medium };
            out.say(used.at, message)
                .instead(format!("{} {}", used.product.trim_start_matches("rds-"), cycle.then))
                .severity(severity);
        }
    }
}

fn provider_behind(out: &mut Out<'_>) {
    for module in out.graph.modules() {
        let Some(node) = module.constraint("aws") else { continue };
        let Some(text) = node.text() else { continue };
        // What concerns ECS services alone: a folder without them needs no newer provider.
        let ecs = module.resources().find(|resource| resource.kind().starts_with("aws_ecs_"));
        let Some(ecs) = ecs else { continue };
        if newest_major(text).is_some_and(|major| major < 6) {
            let message = format!(
                "the constraint `{text}` keeps the AWS provider below 6: it cannot configure how an ECS service is deployed"
            );
            out.say(node.at, message).against(ecs.head(), "deployed with it");
        }
    }
}

/// The highest major version a constraint admits, when it has an upper bound.
fn newest_major(text: &str) -> Option<u32> {
    let mut highest = None;
    for part in text.split(',') {
        let part = part.trim();
        let major = number(part.trim_start_matches(['~', '>', '<', '=', '!', ' ']))?
            .split('.')
            .next()?
            .parse::<u32>()
            .ok()?;
        let bound = match part.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == ' ') {
            "~>" | "=" | "" => Some(major),
            "<" => Some(major.saturating_sub(1)),
            "<=" => Some(major),
            _ => None,
        };
        highest = match (highest, bound) {
            (Some(a), Some(b)) => Some(u32::min(a, b)),
            (known, new) => known.or(new),
        };
    }
    highest
}

fn mismatch(out: &mut Out<'_>) {
    let all = uses(out.graph);
    let family = |product: &str| match product {
        "rds-postgres" | "aurora-postgresql" => "postgres".to_owned(),
        product => product.to_owned(),
    };
    let major = |used: &Use| {
        let mut parts = used.version.split('.');
        let first = parts.next().unwrap_or_default().to_owned();
        // Python and Go break things in their second number.
        if matches!(used.product, "python" | "go" | "php" | "ruby") {
            format!("{first}.{}", parts.next().unwrap_or_default())
        } else {
            first
        }
    };
    for product in ["node", "python", "go", "ruby", "php", "postgres", "redis", "mysql", "mongodb"] {
        let uses: Vec<&Use> = all.iter().filter(|used| family(used.product) == product).collect();
        // What a cloud runs decides; else what is built or composed.
        let Some(served) = uses.iter().filter(|used| used.serves).max_by_key(|used| used.product.len())
        else {
            continue;
        };
        for used in uses.iter().filter(|used| major(used) != major(served) && !major(used).ends_with('.')) {
            let message = format!("{product} {} here, {} where it is deployed", used.version, served.version);
            out.say(used.at, message)
                .against(served.at, format!("{product} {}", served.version))
                .instead(format!("{product} {}", major(served)));
        }
    }
}
