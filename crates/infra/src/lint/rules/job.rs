//! What jobs say to each other: needs, outputs, variables, artefacts.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::{At, Node};
use crate::lint::facts::pipeline::{Job, Step, Workflow};

pub const RULES: &[Rule] = &[
    Rule {
        id: "job/needs-unknown",
        severity: Severity::High,
        says: "A job, step or output that is referred to exists.",
        why: "GitHub refuses a workflow that needs an unknown job; an unknown step or output is an empty text.",
        instead: "the name that exists",
        check: needs_unknown,
    },
    Rule {
        id: "job/variable-undefined",
        severity: Severity::High,
        says: "A variable a workflow uses is set in it.",
        why: "An `env` value that nobody sets is an empty text: a name without its middle, a tag that is missing.",
        instead: "set it in `env`, or write it to `$GITHUB_ENV`",
        check: variable_undefined,
    },
    Rule {
        id: "job/artifact-missing",
        severity: Severity::High,
        says: "An artefact that is fetched is uploaded under that name.",
        why: "The step fails: there is no such artefact.",
        instead: "the name it is uploaded under",
        check: artifact_missing,
    },
    Rule {
        id: "job/folder-missing",
        severity: Severity::High,
        says: "A step works in a folder that is in the tree.",
        why: "The step ends at once: `No such file or directory`.",
        instead: "a folder of the tree",
        check: folder_missing,
    },
    Rule {
        id: "job/service-port",
        severity: Severity::High,
        says: "A job reaches its services at the ports it publishes.",
        why: "On the runner a service is reached through its published port only, in a container by its name only: connection refused.",
        instead: "the published port",
        check: service_port,
    },
];

/// Every `a.b.c` of a kind in the expressions of a value.
fn references(node: &Node, root: &str) -> Vec<(Vec<String>, At)> {
    let mut found = Vec::new();
    node.walk(&mut |node| {
        let Some(text) = node.text() else { return };
        let mut rest = text;
        while let Some(at) = rest.find(root) {
            let before = rest[..at].chars().next_back();
            let after = &rest[at + root.len()..];
            rest = after;
            if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-'))
                || !after.starts_with('.')
            {
                continue;
            }
            let end = after
                .find(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '-' | '.'))
                .unwrap_or(after.len());
            let parts = after[1..end].split('.').map(str::to_owned).collect();
            found.push((parts, node.at));
        }
    });
    found
}

fn needs_unknown(out: &mut Out<'_>) {
    for workflow in out.graph.workflows.iter().filter(|workflow| !workflow.is_action) {
        for job in &workflow.jobs {
            for (needed, at) in job.needs.iter().filter(|need| workflow.job(&need.0).is_none()) {
                let near = workflow.jobs.iter().min_by_key(|other| strsim::levenshtein(&other.id, needed));
                let told = out.say(*at, format!("`{}` needs `{needed}`, which is no job", job.id));
                if let Some(near) = near {
                    told.against(near.at, format!("the nearest is `{}`", near.id))
                        .instead(format!("`{}`", near.id));
                }
            }
            check_needs(out, workflow, job);
            check_steps(out, job);
        }
    }
}

fn check_needs(out: &mut Out<'_>, workflow: &Workflow, job: &Job) {
    for (parts, at) in references(&job.node, "needs") {
        let Some(id) = parts.first().filter(|id| !id.is_empty()) else { continue };
        let listed = job.needs.iter().any(|need| need.0 == *id);
        if !listed {
            let place = job.node.entry("needs").map_or(job.at, |entry| entry.key_at);
            out.say(at, format!("`needs.{id}` is used, but `{}` does not need `{id}`", job.id))
                .against(place, "what it needs");
            continue;
        }
        let Some(other) = workflow.job(id) else { continue };
        if let [_, outputs, name, ..] = parts.as_slice()
            && outputs == "outputs"
            && other.node.get("uses").is_none()
            && other.node.path(&["outputs", name]).is_none()
        {
            let place = other.node.entry("outputs").map_or(other.at, |entry| entry.key_at);
            out.say(at, format!("`{id}` has no output `{name}`")).against(place, "its outputs");
        }
    }
}

fn check_steps(out: &mut Out<'_>, job: &Job) {
    let ids: Vec<String> =
        job.steps.iter().filter_map(|step| step.node.get("id").and_then(Node::scalar)).collect();
    for (parts, at) in references(&job.node, "steps") {
        let Some(id) = parts.first().filter(|id| !id.is_empty()) else { continue };
        if !ids.contains(id) && parts.len() > 1 {
            let near = job.steps.iter().filter(|step| step.node.get("id").is_some()).min_by_key(|step| {
                strsim::levenshtein(&step.node.get("id").and_then(Node::scalar).unwrap_or_default(), id)
            });
            let told = out.say(at, format!("no step of `{}` has the id `{id}`", job.id));
            match near.and_then(|step| step.node.get("id")) {
                Some(node) => {
                    told.against(node.at, format!("the nearest is `{}`", node.scalar().unwrap_or_default()))
                }
                None => told.against(job.at, "no step of this job has an id"),
            };
        }
    }
}

fn sets(node: &Node, name: &str) -> bool {
    node.path(&["env", name]).is_some()
}

fn variable_undefined(out: &mut Out<'_>) {
    for workflow in out.graph.workflows.iter().filter(|workflow| !workflow.is_action) {
        let text = &out.graph.sources.files[workflow.file].text;
        for job in &workflow.jobs {
            let mut told: Vec<String> = Vec::new();
            for step in &job.steps {
                for (parts, at) in references(&step.node, "env") {
                    let Some(name) = parts.first().filter(|name| !name.is_empty()) else { continue };
                    let known = sets(&step.node, name)
                        || sets(&job.node, name)
                        || sets(&workflow.node, name)
                        || text.contains(&format!("{name}="))
                        || exported(out, job, name);
                    if known || told.contains(name) {
                        continue;
                    }
                    told.push(name.clone());
                    let near = nearest(workflow, job, step, name);
                    let told = out.say(at, format!("`env.{name}` is used, but nothing sets it"));
                    if let Some((near, place)) = near {
                        told.against(place, format!("`{near}` is set")).instead(format!("`env.{near}`"));
                    }
                }
            }
        }
    }
}

/// Whether a script that the job runs writes the variable for later steps.
fn exported(out: &Out<'_>, job: &Job, name: &str) -> bool {
    let written = format!("{name}=");
    let scripts = out
        .graph
        .sources
        .scripts
        .iter()
        .any(|(file, _)| out.graph.sources.files[*file].text.contains(&written));
    scripts || job.steps.iter().any(|step| step.uses.as_ref().is_some_and(|(uses, _)| uses.starts_with("./")))
}

fn nearest(workflow: &Workflow, job: &Job, step: &Step, name: &str) -> Option<(String, At)> {
    let all = [&step.node, &job.node, &workflow.node]
        .into_iter()
        .filter_map(|node| node.get("env"))
        .flat_map(Node::entries);
    all.min_by_key(|entry| strsim::damerau_levenshtein(&entry.key, name))
        .map(|entry| (entry.key.clone(), entry.key_at))
}

fn artifact_missing(out: &mut Out<'_>) {
    for workflow in &out.graph.workflows {
        let named = |action: &str| -> Vec<(String, At)> {
            let steps = workflow.steps().filter(|(_, step)| step.action() == action);
            steps
                .filter_map(|(_, step)| {
                    step.with("name").and_then(|node| Some((node.text()?.to_owned(), node.at)))
                })
                .collect()
        };
        let uploaded = named("actions/upload-artifact");
        if uploaded.iter().any(|(name, _)| name.contains('$')) || uploaded.is_empty() {
            continue;
        }
        for (_, step) in workflow.steps().filter(|(_, step)| step.action() == "actions/download-artifact") {
            let Some(node) = step.with("name").filter(|_| step.with("run-id").is_none()) else { continue };
            let Some(name) = node.text().filter(|name| !name.contains('$')) else { continue };
            if !uploaded.iter().any(|(known, _)| known == name) {
                let (near, at) = &uploaded[0];
                out.say(node.at, format!("no step uploads an artefact `{name}`"))
                    .against(*at, format!("uploaded: `{near}`"))
                    .instead(format!("`{near}`"));
            }
        }
    }
}

fn folder_missing(out: &mut Out<'_>) {
    let graph = out.graph;
    for (workflow, job, step) in graph.steps().filter(|(workflow, ..)| !workflow.is_action) {
        let Some(node) = step
            .node
            .get("working-directory")
            .or_else(|| job.node.path(&["defaults", "run", "working-directory"]))
        else {
            continue;
        };
        let Some(folder) = node.text().filter(|text| !text.contains(['$', '~']) && !text.starts_with('/'))
        else {
            continue;
        };
        // Another checkout, or a step before, may bring it.
        let made = job.steps.iter().any(|step| {
            let run = step.node.get("run").and_then(Node::scalar).unwrap_or_default();
            step.with("path").is_some()
                || step.with("repository").is_some()
                || step.with("submodules").is_some()
                || ["mkdir", "git clone", "unzip", "tar ", "init ", "create"]
                    .iter()
                    .any(|word| run.contains(word))
                || step.action().contains("cache")
                || step.action().contains("download")
        });
        let base = crate::lint::facts::pipeline::project_root(&graph.sources.files[workflow.file].path);
        let Some(path) = crate::tree::join(&base, folder).filter(|path| !made && !graph.sources.exists(path))
        else {
            continue;
        };
        let folders: std::collections::BTreeSet<&str> =
            graph.sources.paths.iter().filter_map(|path| path.split_once('/').map(|parts| parts.0)).collect();
        let told = out.say(node.at, format!("the step works in `{path}`, which is not in the tree"));
        told.against(
            job.at,
            format!(
                "the folders there are: {}",
                folders
                    .into_iter()
                    .filter(|name| !name.starts_with('.'))
                    .take(8)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        );
    }
}

/// A service of a job: its name, the ports outside and inside, and where it stands.
struct Service {
    name: String,
    inside: u32,
    /// Outside; nothing where no port is published, 0 where the runner chooses.
    outside: Option<u32>,
    at: At,
}

/// Schemes of addresses, and the port each means.
const SCHEMES: &[(&str, u32)] = &[
    ("postgres", 5432),
    ("postgresql", 5432),
    ("redis", 6379),
    ("mysql", 3306),
    ("mongodb", 27017),
    ("amqp", 5672),
];

fn services(job: &Job) -> Vec<Service> {
    let mut found = Vec::new();
    for entry in job.node.get("services").map_or(&[][..], Node::entries) {
        let image = entry.value.get("image").and_then(Node::scalar).unwrap_or_default();
        let image = crate::lint::facts::image::Image::read(&image);
        let usual = super::compose::PORTS.iter().find(|(name, _)| *name == image.short()).map(|port| port.1);
        let ports = entry.value.get("ports");
        let mut published = false;
        for node in ports.map_or(&[][..], Node::items) {
            let text = node.scalar().unwrap_or_default();
            let (outside, inside) = text.split_once(':').unwrap_or(("0", &text));
            if let (Ok(outside), Ok(inside)) =
                (outside.parse(), inside.split('/').next().unwrap_or_default().parse())
            {
                published = true;
                found.push(Service { name: entry.key.clone(), inside, outside: Some(outside), at: node.at });
            }
        }
        if let Some(inside) = usual.filter(|_| !published && ports.is_none()) {
            found.push(Service { name: entry.key.clone(), inside, outside: None, at: entry.key_at });
        }
    }
    found
}

/// Scheme, host and port of an address.
fn address(text: &str) -> Option<(u32, String)> {
    let (scheme, rest) = text.split_once("://")?;
    let usual = SCHEMES.iter().find(|(name, _)| scheme.split('+').next() == Some(name))?.1;
    let host = rest.split(['/', '?']).next()?.rsplit('@').next()?;
    let (host, port) =
        host.split_once(':').map_or((host, Some(usual)), |(host, port)| (host, port.parse().ok()));
    Some((port?, host.to_owned()))
}

fn service_port(out: &mut Out<'_>) {
    for workflow in &out.graph.workflows {
        for job in &workflow.jobs {
            let services = services(job);
            if services.is_empty() {
                continue;
            }
            let in_container = job.node.get("container").is_some();
            let mut addresses: Vec<(u32, String, At)> = Vec::new();
            for node in std::iter::once(&job.node)
                .chain(job.steps.iter().map(|step| &step.node))
                .filter_map(|node| node.get("env"))
            {
                addresses.extend(node.entries().iter().filter_map(|entry| {
                    let (port, host) = address(&entry.value.scalar()?)?;
                    Some((port, host, entry.value.at))
                }));
            }
            for (port, host, at) in addresses {
                let local = matches!(host.as_str(), "localhost" | "127.0.0.1");
                let named = services.iter().find(|service| service.name == host);
                if let Some(service) = named.filter(|_| !in_container) {
                    out.say(at, format!("`{host}` is reached by its name only from a container, and `{}` runs on the runner", job.id))
                        .against(service.at, "the service")
                        .instead("`localhost` and the published port");
                    continue;
                }
                let fits = services
                    .iter()
                    .any(|service| service.outside.is_some_and(|outside| outside == port || outside == 0));
                let meant =
                    services.iter().find(|service| service.inside == port || service.outside.is_none());
                if let Some(service) =
                    meant.filter(|service| local && !in_container && !fits && service.inside == port)
                {
                    let message = match service.outside {
                        Some(outside) => format!(
                            "port {port} of the runner is asked, but `{}` is published at {outside}",
                            service.name
                        ),
                        None => format!(
                            "port {port} of the runner is asked, but `{}` publishes no port",
                            service.name
                        ),
                    };
                    out.say(at, message).against(service.at, "the service").instead(match service.outside {
                        Some(outside) => format!("port {outside}"),
                        None => format!("`ports: [\"{port}:{port}\"]` at the service"),
                    });
                }
            }
        }
    }
}
