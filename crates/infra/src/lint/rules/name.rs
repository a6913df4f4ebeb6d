//! Names of what is deployed to: clusters, services, task families.

use super::deploy::resolved;
use super::migration::deploy_action;
use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::At;
use crate::lint::value::{Likeness, Value};

pub const RULES: &[Rule] = &[Rule {
    id: "name/not-made",
    severity: Severity::Critical,
    says: "A pipeline names a cluster, a service and a task family that are made.",
    why: "The command fails with ClusterNotFoundException or ServiceNotFoundException: nothing is deployed.",
    instead: "the names Terraform makes",
    check: not_made,
}];

fn not_made(out: &mut Out<'_>) {
    let graph = out.graph;
    family_mismatch(out);
    let clusters = graph.named("aws_ecs_cluster", "name");
    let services = graph.named("aws_ecs_service", "name");
    let mut uses: Vec<(Value, At, bool)> = Vec::new();
    for workflow in &graph.workflows {
        for (job, step) in workflow.steps() {
            for command in step.own.iter().filter(|command| command.says(&["ecs"])) {
                for (option, cluster) in [("--cluster", true), ("--service", false), ("--services", false)] {
                    if let Some(word) = command.option(option) {
                        uses.push((resolved(workflow, job, step, &word.text), word.at, cluster));
                    }
                }
            }
            if deploy_action(step) {
                for (key, cluster) in [("cluster", true), ("service", false)] {
                    if let Some(node) = step.with(key) {
                        uses.push((
                            resolved(workflow, job, step, &node.scalar().unwrap_or_default()),
                            node.at,
                            cluster,
                        ));
                    }
                }
            }
        }
    }
    for command in graph
        .sources
        .scripts
        .iter()
        .flat_map(|(_, commands)| commands)
        .filter(|command| command.says(&["ecs"]))
    {
        for (option, cluster) in [("--cluster", true), ("--service", false), ("--services", false)] {
            if let Some(word) = command.option(option) {
                uses.push((crate::lint::facts::text::value(&word.text), word.at, cluster));
            }
        }
    }
    // A wrong name is told once for each file.
    let mut told = std::collections::BTreeSet::new();
    for (value, at, cluster) in uses {
        if !told.insert((value.to_string(), at.file, cluster)) {
            continue;
        }
        let known = if cluster { &clusters } else { &services };
        if known.is_empty() {
            continue;
        }
        if let crate::lint::graph::Match::None(near) = graph.match_name(&value, known) {
            let what = if cluster { "cluster" } else { "service" };
            let near = near.map(|near| (near.at, near.name.to_string()));
            let told = out
                .say(at, format!("the pipeline deploys to the {what} `{value}`, which nothing here makes"));
            if let Some((at, name)) = near {
                told.against(at, format!("the nearest is `{name}`")).instead(format!("`{name}`"));
            }
        }
    }
}

/// Task families that a pipeline starts by name, against those there are.
fn family_mismatch(out: &mut Out<'_>) {
    let graph = out.graph;
    let families: Vec<(Value, At)> = graph.tasks.iter().filter_map(|task| task.family.clone()).collect();
    if families.is_empty() || families.len() != graph.tasks.len() {
        return;
    }
    for (workflow, job, step) in graph.steps() {
        for command in step
            .own
            .iter()
            .filter(|command| command.says(&["ecs", "run-task"]) || command.says(&["ecs", "update-service"]))
        {
            let Some(word) = command.option("--task-definition") else { continue };
            let value = resolved(workflow, job, step, &word.text);
            let shown = value.to_string();
            // An ARN, a revision or a value of an earlier step names what was registered in the run.
            if value.is_open()
                || shown.contains(':')
                || shown.contains("${steps")
                || shown.contains("a command")
            {
                continue;
            }
            if families.iter().all(|(family, _)| family.likeness(&value) == Likeness::Different) {
                let (near, at) = families
                    .iter()
                    .min_by_key(|(family, _)| strsim::levenshtein(&family.to_string(), &shown))
                    .expect("BUG: not empty");
                // Another family may be defined elsewhere; one that is nearly the same is a slip.
                if strsim::levenshtein(&near.to_string(), &shown) > 3 {
                    out.unknown(word.at, format!("the task family `{value}` is not in these files"));
                    continue;
                }
                out.say(
                    word.at,
                    format!("the pipeline starts the task family `{value}`, which nothing here defines"),
                )
                .against(*at, format!("the nearest is `{near}`"));
            }
        }
    }
}
