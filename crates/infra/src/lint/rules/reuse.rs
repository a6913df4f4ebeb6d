//! Workflows and actions that others call: what they are given, what they give back, what they may do.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::{At, Node};
use crate::lint::facts::pipeline::{Job, Workflow, project_root};
use crate::lint::graph::Graph;

pub const RULES: &[Rule] = &[
    Rule {
        id: "reuse/input-unknown",
        severity: Severity::High,
        says: "A workflow or action of the tree is given what it declares, and all it requires.",
        why: "GitHub refuses a call with an input or secret that is not declared, or without one that is required; an action only warns, and works with an empty text.",
        instead: "the inputs it declares",
        check: input_unknown,
    },
    Rule {
        id: "reuse/output-unknown",
        severity: Severity::High,
        says: "What a called workflow or action gives back is declared as its output.",
        why: "An output that is not declared is an empty text: an image without a name, a deployment of nothing.",
        instead: "the output it declares",
        check: output_unknown,
    },
    Rule {
        id: "reuse/permission-beyond-caller",
        severity: Severity::Critical,
        says: "A called workflow asks for no permission that its caller lacks.",
        why: "GitHub refuses the run before its first job: permissions can only shrink from a workflow to those it calls. https://docs.github.com/actions/how-tos/reuse-automations/reuse-workflows",
        instead: "the permission at the job that calls",
        check: permission_beyond_caller,
    },
];

/// The file of the tree that a `uses: ./…` means.
fn target<'g>(graph: &'g Graph, caller: &Workflow, uses: &str) -> Option<&'g Workflow> {
    let path = uses.strip_prefix("./")?.trim_end_matches('/');
    let root = project_root(&graph.sources.files[caller.file].path);
    let at = |path: &str| {
        let file = graph.sources.beside(&root, path)?;
        graph.workflows.iter().find(|workflow| workflow.file == file)
    };
    at(path).or_else(|| at(&format!("{path}/action.yml"))).or_else(|| at(&format!("{path}/action.yaml")))
}

/// What a workflow or action declares of a kind: `inputs`, `outputs`, `secrets`.
fn declared<'g>(called: &'g Workflow, kind: &str) -> Option<&'g Node> {
    if called.is_action { called.node.get(kind) } else { called.trigger("workflow_call")??.get(kind) }
}

/// A call: where it stands, what is given, and what is called.
struct Call<'g> {
    at: At,
    node: &'g Node,
    called: &'g Workflow,
    name: String,
}

fn calls(graph: &Graph) -> Vec<Call<'_>> {
    let mut found = Vec::new();
    for workflow in &graph.workflows {
        let mut add = |node| {
            let node: &Node = node;
            let Some(uses) = node.get("uses") else { return };
            let Some(name) = uses.text().filter(|text| text.starts_with("./")) else { return };
            if let Some(called) = target(graph, workflow, name) {
                found.push(Call { at: uses.at, node, called, name: name.to_owned() });
            }
        };
        for job in &workflow.jobs {
            add(&job.node);
            job.steps.iter().for_each(|step| add(&step.node));
        }
    }
    found
}

fn is_required(declaration: &Node) -> bool {
    declaration.get("required").and_then(Node::truth) == Some(true) && declaration.get("default").is_none()
}

fn input_unknown(out: &mut Out<'_>) {
    let graph = out.graph;
    for call in calls(graph) {
        compare(out, &call, "inputs", "with");
        let inherits = call.node.get("secrets").is_some_and(|node| node.text() == Some("inherit"));
        if !call.called.is_action && !inherits {
            compare(out, &call, "secrets", "secrets");
        }
    }
}

/// Holds what is given under `given` against what is declared under `kind`.
fn compare(out: &mut Out<'_>, call: &Call<'_>, kind: &str, given: &str) {
    let one = kind.trim_end_matches('s');
    let declares = declared(call.called, kind);
    let entries = declares.map_or(&[][..], Node::entries);
    let gives = call.node.get(given);
    let head = At::new(call.called.file, 0, 0);
    for entry in gives.map_or(&[][..], Node::entries) {
        // Inputs of actions are compared without regard to case.
        if entries.iter().any(|known| known.key.eq_ignore_ascii_case(&entry.key)) {
            continue;
        }
        let near = entries.iter().min_by_key(|known| strsim::damerau_levenshtein(&known.key, &entry.key));
        let told = out.say(entry.key_at, format!("`{}` declares no {one} `{}`", call.name, entry.key));
        match near {
            Some(near) => told
                .against(near.key_at, format!("it declares `{}`", near.key))
                .instead(format!("`{}`", near.key)),
            None => told.against(head, format!("it declares no {kind}")),
        };
    }
    for entry in entries.iter().filter(|entry| is_required(&entry.value)) {
        if gives
            .is_none_or(|gives| !gives.entries().iter().any(|own| own.key.eq_ignore_ascii_case(&entry.key)))
        {
            out.say(
                call.at,
                format!("`{}` is not given the {one} `{}`, which it requires", call.name, entry.key),
            )
            .against(entry.key_at, "required here")
            .instead(format!("`{}: …` under `{given}`", entry.key));
        }
    }
}

fn output_unknown(out: &mut Out<'_>) {
    let graph = out.graph;
    for workflow in &graph.workflows {
        for job in &workflow.jobs {
            for (id, called, name) in called_by_needs(graph, workflow, job) {
                let prefix = format!("needs.{id}.outputs.");
                check_outputs(out, &job.node, &prefix, called, &name);
            }
            for step in &job.steps {
                let Some((uses, _)) = &step.uses else { continue };
                let (Some(id), Some(called)) =
                    (step.node.get("id").and_then(Node::text), target(graph, workflow, uses))
                else {
                    continue;
                };
                check_outputs(out, &job.node, &format!("steps.{id}.outputs."), called, uses);
            }
        }
    }
}

fn called_by_needs<'g>(
    graph: &'g Graph,
    workflow: &Workflow,
    job: &Job,
) -> Vec<(String, &'g Workflow, String)> {
    let one = |(id, _): &(String, At)| {
        let uses = workflow.job(id)?.node.get("uses")?.text()?.to_owned();
        Some((id.clone(), target(graph, workflow, &uses)?, uses))
    };
    job.needs.iter().filter_map(one).collect()
}

fn check_outputs(out: &mut Out<'_>, node: &Node, prefix: &str, called: &Workflow, name: &str) {
    let outputs = declared(called, "outputs");
    let entries = outputs.map_or(&[][..], Node::entries);
    let mut unknown: Vec<(String, At)> = Vec::new();
    node.walk(&mut |node| {
        for part in node.text().unwrap_or_default().split(prefix).skip(1) {
            let end =
                part.find(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '-')).unwrap_or(part.len());
            let output = part[..end].to_owned();
            if !entries.iter().any(|entry| entry.key == output)
                && !unknown.iter().any(|known| known.0 == output)
            {
                unknown.push((output, node.at));
            }
        }
    });
    for (output, at) in unknown {
        let near = entries.iter().min_by_key(|known| strsim::damerau_levenshtein(&known.key, &output));
        let told = out.say(at, format!("`{name}` has no output `{output}`"));
        match near {
            Some(near) => {
                told.against(near.key_at, format!("it has `{}`", near.key)).instead(format!("`{}`", near.key))
            }
            None => told.against(At::new(called.file, 0, 0), "it has no outputs"),
        };
    }
}

/// How much a permission is: `none`, `read`, `write`.
fn level(permissions: &Node, name: &str) -> u8 {
    let rank = |text: &str| match text {
        "write" | "write-all" => 2,
        "read" | "read-all" => 1,
        _ => 0,
    };
    match permissions.text() {
        // `read-all` and `write-all` leave the token for other services out.
        Some("read-all") if name == "id-token" => 0,
        Some(all) => rank(all),
        None => permissions.get(name).and_then(Node::text).map_or(0, rank),
    }
}

fn permission_beyond_caller(out: &mut Out<'_>) {
    let graph = out.graph;
    for workflow in &graph.workflows {
        for job in &workflow.jobs {
            let Some(called) =
                job.node.get("uses").and_then(Node::text).and_then(|uses| target(graph, workflow, uses))
            else {
                continue;
            };
            let granted = job.node.get("permissions").or_else(|| workflow.node.get("permissions"));
            let Some(granted) = granted else { continue };
            let asked = std::iter::once(&called.node).chain(called.jobs.iter().map(|job| &job.node));
            for entry in asked.filter_map(|node| node.get("permissions")).flat_map(Node::entries) {
                let wants = entry
                    .value
                    .text()
                    .map_or(0, |text| if text == "write" { 2 } else { u8::from(text == "read") });
                if wants > level(granted, &entry.key) {
                    let text = entry.value.text().unwrap_or_default();
                    let message = format!(
                        "it asks for `{}: {text}`, which `{}` does not have to give",
                        entry.key, job.id
                    );
                    out.say(entry.key_at, message)
                        .against(granted.at, format!("what `{}` may do", job.id))
                        .instead(format!("`{}: {text}` at the job `{}`", entry.key, job.id));
                }
            }
        }
    }
}
