//! Environment variables: what a program reads is set, under the name it reads.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::At;
use crate::lint::facts::app::App;
use crate::lint::facts::container::Container;
use crate::lint::graph::Graph;
use std::sync::Arc;

pub const RULES: &[Rule] = &[
    Rule {
        id: "env/not-set",
        severity: Severity::High,
        says: "Every variable a program cannot do without is set where it runs.",
        why: "The program ends at its start, or at the first request that needs the value.",
        instead: "set it in the task definition or the compose file, or give it a default",
        check: not_set,
    },
    Rule {
        id: "env/other-name",
        severity: Severity::High,
        says: "A variable is set under the name the program reads.",
        why: "The value never arrives: nothing reads the name it is set under.",
        instead: "the name the program reads",
        check: other_name,
    },
    Rule {
        id: "env/test-lacks",
        severity: Severity::Medium,
        says: "Every test of a job gets the services the job starts.",
        why: "A test without the address of a service that is running tests another program than the one that ships, or fails by chance.",
        instead: "the same variables as the other tests, at the job",
        check: test_lacks,
    },
];

/// Variables that platforms set.
const GIVEN: &[&str] = &[
    "PATH",
    "HOME",
    "PWD",
    "USER",
    "HOSTNAME",
    "NODE_ENV",
    "PORT",
    "HOST",
    "TZ",
    "LANG",
    "CI",
    "DEBUG",
    "TERM",
    "SHELL",
    "TMPDIR",
    "npm_package_version",
    "LOG_LEVEL",
];

fn is_given(name: &str) -> bool {
    GIVEN.contains(&name)
        || name.starts_with("AWS_")
        || name.starts_with("ECS_")
        || name.starts_with("GITHUB_")
        || name.starts_with("NEXT_PUBLIC_")
        || name.starts_with("VITE_")
        || name.starts_with("REACT_APP_")
        || name.starts_with("NEXT_")
        || name.starts_with("VERCEL")
}

/// The names an image sets by itself.
fn in_image(graph: &Graph, container: &Container) -> Vec<String> {
    let Some(built) = graph.built(container) else { return Vec::new() };
    let docker = &graph.sources.dockerfiles[built.docker];
    let stages = docker.lineage(built.stage);
    stages
        .into_iter()
        .flat_map(|stage| docker.stages[stage].all("ENV"))
        .flat_map(|env| env.pairs())
        .map(|(name, ..)| name)
        .collect()
}

fn names(container: &Container) -> impl Iterator<Item = (&str, At)> {
    container.env.iter().chain(&container.secrets).map(|setting| (setting.name.as_str(), setting.at))
}

/// Containers whose program and whole environment are known.
fn judged(graph: &Graph) -> Vec<(&Container, Arc<App>)> {
    let whole =
        |container: &&Container| container.env_complete && container.node.get("environmentFiles").is_none();
    let mut found = Vec::new();
    for container in graph.containers().filter(whole) {
        // A worker of the same image reads its own part: then nobody can say what is missing.
        if container.node.get("command").is_some() {
            continue;
        }
        if let Some(app) = graph.app_of(container).filter(|app| !app.reads.is_empty()) {
            found.push((container, app));
        }
    }
    found
}

fn near<'n>(name: &str, of: impl Iterator<Item = (&'n str, At)>) -> Option<(&'n str, At)> {
    let parts = |text: &str| text.split('_').map(str::to_owned).collect::<Vec<_>>();
    let mut best: Option<(usize, &str, At)> = None;
    for (other, at) in of {
        let distance = strsim::damerau_levenshtein(name, other);
        let (a, b) = (parts(name), parts(other));
        let same_head = a.len() == b.len()
            && a.len() >= 2
            && a.iter().zip(&b).filter(|(a, b)| a != b).count() == 1
            && a[0] == b[0];
        let mut sorted = (a.clone(), b.clone());
        sorted.0.sort();
        sorted.1.sort();
        let same_words = sorted.0 == sorted.1 || a.concat() == b.concat();
        if distance <= 2 && name.len() > 5 || same_words || (same_head && distance <= 5) {
            best = best.filter(|known| known.0 <= distance).or(Some((distance, other, at)));
        }
    }
    best.map(|(_, name, at)| (name, at))
}

fn not_set(out: &mut Out<'_>) {
    let graph = out.graph;
    for (container, app) in judged(graph) {
        let own = in_image(graph, container);
        let set = |name: &str| {
            own.iter().any(|known| known == name) || names(container).any(|(known, _)| known == name)
        };
        // A container without any of what is read is run in another way than is seen here.
        if !app.reads.iter().any(|read| set(&read.name)) {
            continue;
        }
        let mut told: Vec<&str> = Vec::new();
        for read in &app.reads {
            let optional = app.reads.iter().any(|other| other.name == read.name && other.optional);
            if set(&read.name) || optional || is_given(&read.name) || told.contains(&read.name.as_str()) {
                continue;
            }
            let unread =
                names(container).filter(|(name, _)| !app.reads.iter().any(|read| read.name == *name));
            // Told by the other rule.
            if near(&read.name, unread).is_some() {
                continue;
            }
            told.push(&read.name);
            out.say(
                container.at,
                format!("`{}` is not given `{}`, which its program reads", container.name, read.name),
            )
            .against(read.at, "read here, without a default")
            .instead(format!("set `{}`", read.name));
        }
    }
}

fn other_name(out: &mut Out<'_>) {
    let graph = out.graph;
    for (container, app) in judged(graph) {
        let own = in_image(graph, container);
        for (name, at) in names(container) {
            if app.reads.iter().any(|read| read.name == name)
                || app.texts.iter().any(|text| text == name)
                || is_given(name)
            {
                continue;
            }
            let missing = app.reads.iter().filter(|read| {
                !own.contains(&read.name) && !names(container).any(|(known, _)| known == read.name)
            });
            let missing: Vec<(&str, At)> = missing.map(|read| (read.name.as_str(), read.at)).collect();
            let end = |text: &str| text.rsplit('_').next().unwrap_or_default().to_owned();
            // The only name nothing reads, and the only one nothing sets, of one kind: `_URL`, `_HOST`.
            let unread = names(container)
                .filter(|(name, _)| !app.reads.iter().any(|read| read.name == *name) && !is_given(name))
                .count();
            let mut different: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
            different.dedup();
            let only = missing.first().copied().filter(|(read, _)| {
                unread == 1 && different.len() == 1 && name.contains('_') && end(read) == end(name)
            });
            if let Some((read, place)) = near(name, missing.iter().copied()).or(only) {
                out.say(
                    at,
                    format!("`{}` is given `{name}`, but its program reads `{read}`", container.name),
                )
                .against(place, format!("`{read}` is read here"))
                .instead(format!("`{read}`"));
            }
        }
    }
}

fn test_lacks(out: &mut Out<'_>) {
    for (_, job, step) in out.graph.steps() {
        if job.node.get("services").is_none() || !is_test(step) {
            continue;
        }
        let own = step.node.get("env");
        // A unit test may need nothing; what goes through the whole system needs what the others do.
        if own.is_none() && !is_whole(step) {
            continue;
        }
        let shared = job.node.get("env").map_or(&[][..], crate::lint::doc::Node::entries);
        for other in job.steps.iter().filter(|other| !std::ptr::eq(*other, step) && is_test(other)) {
            let Some(theirs) = other.node.get("env") else { continue };
            let lacks = theirs.entries().iter().find(|entry| {
                let address =
                    ["_URL", "_HOST", "_URI", "_DSN", "_ADDR"].iter().any(|end| entry.key.ends_with(end));
                address
                    && own.is_none_or(|own| own.entry(&entry.key).is_none())
                    && !shared.iter().any(|known| known.key == entry.key)
            });
            if let Some(entry) = lacks {
                let at = step.node.entry("run").map_or(step.at, |entry| entry.value.at);
                out.say(at, format!("`{}` is not given `{}`", step.label(), entry.key))
                    .against(entry.key_at, format!("`{}` is", other.label()))
                    .instead(format!("`{}` in its `env`, or at the job for all", entry.key));
            }
        }
    }
}

/// Whether a test by its name goes through the whole system.
fn is_whole(step: &crate::lint::facts::pipeline::Step) -> bool {
    let words = step.own.iter().flat_map(|command| &command.words);
    words.into_iter().any(|word| {
        ["e2e", "integration", "playwright", "cypress", "acceptance", "smoke"]
            .iter()
            .any(|name| word.text.contains(name))
    })
}

fn is_test(step: &crate::lint::facts::pipeline::Step) -> bool {
    step.own.iter().any(|command| {
        command.words.iter().any(|word| {
            let text = word.text.as_str();
            text == "test"
                || text.starts_with("test:")
                || text.contains("e2e")
                || matches!(text, "pytest" | "jest" | "vitest" | "playwright" | "cypress" | "rspec")
        })
    })
}
