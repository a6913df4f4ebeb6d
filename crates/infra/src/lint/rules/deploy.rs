//! Deployments: what is pushed is what runs, and "done" is said only of what is proved.

use super::migration::{deploy_action, deploys};
use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::{At, Node};
use crate::lint::facts::image::{Image, is_moving};
use crate::lint::facts::pipeline::{Job, Step, Workflow};
use crate::lint::facts::text;
use crate::lint::read::shell::Command;
use crate::lint::value::{Piece, Value};

pub const RULES: &[Rule] = &[
    Rule {
        id: "deploy/image-not-deployed",
        severity: Severity::Critical,
        says: "What a pipeline pushes is what it deploys.",
        why: "`--force-new-deployment` starts the task definition there is: no deployment is tied to a commit, and the one before is the same image. https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html",
        instead: "register a revision with the pushed digest, and update the service to that revision",
        check: image_not_deployed,
    },
    Rule {
        id: "deploy/repository-mismatch",
        severity: Severity::Critical,
        says: "The repository a pipeline pushes to is the one a task pulls from.",
        why: "The task runs what was pushed there long ago, or cannot start.",
        instead: "one name, from the repository's resource",
        check: repository_mismatch,
    },
    Rule {
        id: "deploy/pushed-not-built",
        severity: Severity::Critical,
        says: "A pipeline pushes the image it has built.",
        why: "The push fails: there is no such image on the runner. Or an old one is pushed.",
        instead: "the name it is built under",
        check: pushed_not_built,
    },
    Rule {
        id: "deploy/wait-is-no-proof",
        severity: Severity::Critical,
        says: "A deployment has succeeded when the new revision serves.",
        why: "`services-stable` is also reached after a rollback, and gives up after 10 minutes: a failed release is reported green. https://docs.aws.amazon.com/cli/latest/reference/ecs/wait/services-stable.html",
        instead: "follow the deployment: `aws ecs describe-service-deployments` until SUCCESSFUL, and compare the revision; ROLLBACK_SUCCESSFUL is a failure",
        check: wait_is_no_proof,
    },
    Rule {
        id: "deploy/not-awaited",
        severity: Severity::High,
        says: "A pipeline waits for what it deploys.",
        why: "The job is green while the release may still fail.",
        instead: "wait for the deployment's end, and read it",
        check: not_awaited,
    },
    Rule {
        id: "deploy/one-tag-two-branches",
        severity: Severity::Critical,
        says: "No branch moves the tag that another environment pulls.",
        why: "A push to staging changes what production starts next.",
        instead: "a tag of the commit alone, and the digest in the task definition",
        check: one_tag,
    },
    Rule {
        id: "deploy/rebuilt-after-test",
        severity: Severity::Low,
        says: "The image that is deployed is the one that was tested.",
        why: "Built anew after the tests, from another checkout, it may hold other packages than the tests saw.",
        instead: "build once, test that image, promote its digest",
        check: rebuilt,
    },
];

/// A text of a step with the literal variables around it put in.
pub fn resolved(workflow: &Workflow, job: &Job, step: &Step, written: &str) -> Value {
    let mut value = text::value(written);
    for _ in 0..3 {
        let mut changed = false;
        let mut pieces = Vec::new();
        for piece in value.pieces() {
            match piece {
                Piece::Hole(name) => match variable(workflow, job, step, &name) {
                    Some(found) => {
                        changed = true;
                        pieces.extend(found.pieces());
                    }
                    None => pieces.push(Piece::Hole(name)),
                },
                text => pieces.push(text),
            }
        }
        value = Value::of(pieces);
        if !changed {
            break;
        }
    }
    value
}

fn variable(workflow: &Workflow, job: &Job, step: &Step, name: &str) -> Option<Value> {
    let name = name.strip_prefix("env.").unwrap_or(name);
    let node =
        [&step.node, &job.node, &workflow.node].into_iter().find_map(|node| node.path(&["env", name]))?;
    let found = text::value(&node.scalar()?);
    // A variable set to itself goes nowhere.
    (!found.holes().iter().any(|hole| hole.trim_start_matches("env.") == name)).then_some(found)
}

/// The images a step pushes.
fn pushes(workflow: &Workflow, job: &Job, step: &Step) -> Vec<(Value, At)> {
    let mut found = Vec::new();
    for command in &step.all {
        if command.is(&["docker", "push"])
            && let Some(word) = command.run().iter().skip(2).find(|word| !word.text.starts_with('-'))
        {
            found.push((resolved(workflow, job, step, &word.text), word.at));
        }
        if command.is(&["docker", "buildx", "build"]) && command.has("--push") {
            for pair in command.words.windows(2) {
                if matches!(pair[0].text.as_str(), "-t" | "--tag") {
                    found.push((resolved(workflow, job, step, &pair[1].text), pair[1].at));
                }
            }
        }
    }
    if step.action() == "docker/build-push-action"
        && step.with("push").and_then(Node::scalar).is_some_and(|push| push != "false")
    {
        let node = step.with("tags");
        for tag in node
            .and_then(Node::scalar)
            .unwrap_or_default()
            .split(['\n', ','])
            .map(str::trim)
            .filter(|tag| !tag.is_empty())
        {
            found.push((resolved(workflow, job, step, tag), node.map_or(step.at, |node| node.at)));
        }
    }
    found
}

/// Whether any step of a workflow registers a revision, or hands one over.
fn registers(workflow: &Workflow) -> bool {
    workflow.steps().any(|(_, step)| {
        let action = step.action();
        let ours = step.all.iter().any(|command| {
            command.says(&["register-task-definition"])
                || command.is(&["medeclipse", "deploy"])
                || command.is(&["copilot"])
                || command.is(&["ecs-deploy"])
                || command.is(&["terraform", "apply"])
                || command.is(&["cdk", "deploy"])
        });
        ours || action == "aws-actions/amazon-ecs-render-task-definition" || deploy_action(step)
    })
}

fn image_not_deployed(out: &mut Out<'_>) {
    let graph = out.graph;
    for workflow in graph.workflows.iter().filter(|workflow| !registers(workflow)) {
        let pushed: Vec<(Value, At)> =
            workflow.steps().flat_map(|(job, step)| pushes(workflow, job, step)).collect();
        for (_, step) in workflow.steps() {
            for command in step.all.iter().filter(|command| {
                command.says(&["ecs", "update-service"]) && command.option("--task-definition").is_none()
            }) {
                let Some((_, pushed_at)) = pushed.first() else { continue };
                let task = graph.task_containers().find_map(|(_, container)| {
                    container.image.as_ref().filter(|(image, _)| Image::of(image).is_mutable())
                });
                let told = out.say(
                    command.at,
                    "the service starts the task definition it has: what was pushed is never named",
                );
                match task {
                    Some((image, at)) => told.against(*at, format!("the task names `{image}`")),
                    None => told.against(*pushed_at, "pushed here"),
                };
            }
        }
    }
}

fn repository_mismatch(out: &mut Out<'_>) {
    let graph = out.graph;
    let mut pushed: Vec<(Value, At)> = Vec::new();
    for workflow in &graph.workflows {
        pushed.extend(workflow.steps().flat_map(|(job, step)| pushes(workflow, job, step)));
    }
    let name = |value: &Value| {
        let image = Image::of(value);
        let known = !image.repository.contains('$') && !image.repository.is_empty();
        known.then(|| image.repository.clone())
    };
    let names: Vec<(String, At)> =
        pushed.iter().filter_map(|(value, at)| Some((last_part(&name(value)?), *at))).collect();
    // One push under a name that is not known may be any of them.
    if names.is_empty() || names.len() != pushed.len() {
        return;
    }
    for (_, container) in graph.task_containers() {
        let Some((value, at)) = &container.image else { continue };
        let image = Image::of(value);
        if !image.is_private() || image.repository.contains('$') {
            continue;
        }
        let own = last_part(&image.repository);
        if !names.iter().any(|(name, _)| *name == own) && graph.task_containers().count() == 1 {
            let (near, place) = names
                .iter()
                .min_by_key(|(name, _)| strsim::levenshtein(name, &own))
                .cloned()
                .expect("BUG: not empty");
            out.say(
                *at,
                format!(
                    "`{}` pulls from `{}`, but the pipeline pushes to `{near}`",
                    container.name, image.repository
                ),
            )
            .against(place, format!("pushed to `{near}`"));
        }
    }
    repositories(out, &names);
}

/// Repositories Terraform makes, against those a pipeline pushes to.
fn repositories(out: &mut Out<'_>, pushed: &[(String, At)]) {
    let made = out.graph.named("aws_ecr_repository", "name");
    if made.is_empty() {
        return;
    }
    for (name, at) in pushed {
        let wanted = Value::Known(name.clone());
        let known = made.iter().any(|repository| {
            let own = last_part(&repository.name.to_string());
            own == *name
                || own.contains('$')
                || repository.name.likeness(&wanted) != crate::lint::value::Likeness::Different
        });
        if !known {
            let near = &made[0];
            out.say(*at, format!("the pipeline pushes to `{name}`, which nothing here makes"))
                .against(near.at, format!("made: `{}`", near.name));
        }
    }
}

fn last_part(name: &str) -> String {
    name.rsplit('/').next().unwrap_or(name).to_owned()
}

/// Whether what comes after a wait reads how the deployment ended.
fn proves(commands: &[&Command]) -> bool {
    commands.iter().any(|command| {
        let aws = command.is(&["aws"]);
        let asks = command.says(&["describe-service-deployments"])
            || command.says(&["list-service-deployments"])
            || command.says(&["get-deployment"]);
        let compares = command.says(&["describe-services"])
            && command.words.iter().any(|word| {
                ["deployments", "taskDefinition", "rolloutState", "PRIMARY"]
                    .iter()
                    .any(|field| word.text.contains(field))
            });
        let version = command.is(&["curl"]) && command.words.iter().any(|word| word.text.contains("version"));
        (aws && (asks || compares)) || version || command.is(&["medeclipse"])
    })
}

/// The commands of each job and each script that is run by itself.
fn groups<'g>(out: &Out<'g>) -> Vec<Vec<&'g Command>> {
    let jobs = out
        .graph
        .workflows
        .iter()
        .flat_map(|workflow| &workflow.jobs)
        .map(|job| job.steps.iter().flat_map(|step| &step.all).collect());
    let scripts = out.graph.sources.scripts.iter().map(|(_, commands)| commands.iter().collect());
    jobs.chain(scripts).collect()
}

fn wait_is_no_proof(out: &mut Out<'_>) {
    let mut told: Vec<At> = Vec::new();
    for commands in groups(out) {
        for (index, command) in commands.iter().enumerate() {
            if !command.says(&["ecs", "wait", "services-stable"]) || told.contains(&command.at) {
                continue;
            }
            if proves(&commands[index + 1..]) {
                continue;
            }
            told.push(command.at);
            let update = commands[..index]
                .iter()
                .rev()
                .find(|earlier| earlier.says(&["ecs", "update-service"]))
                .map(|earlier| earlier.at);
            let told =
                out.say(command.at, "the service is also stable after it has gone back to the old version");
            if let Some(update) = update {
                told.against(update, "the deployment it waits for");
            }
        }
    }
}

fn not_awaited(out: &mut Out<'_>) {
    for workflow in &out.graph.workflows {
        for job in &workflow.jobs {
            let commands: Vec<&Command> = job.steps.iter().flat_map(|step| &step.all).collect();
            let Some(update) = commands.iter().position(|command| command.says(&["ecs", "update-service"]))
            else {
                continue;
            };
            let waits = commands[update..].iter().any(|command| {
                command.says(&["ecs", "wait"])
                    || command.says(&["describe-services"])
                    || command.says(&["describe-service-deployments"])
                    || command.says(&["list-service-deployments"])
            });
            if !waits {
                out.say(commands[update].at, "the deployment is started, and not waited for");
            }
        }
        for (_, step) in workflow.steps() {
            if step.action() == "aws-actions/amazon-ecs-deploy-task-definition"
                && step.with("service").is_some()
                && step.with("wait-for-service-stability").and_then(Node::scalar).as_deref() != Some("true")
            {
                let at = step.uses.as_ref().map_or(step.at, |uses| uses.1);
                out.say(at, "the deployment is started, and not waited for")
                    .instead("`wait-for-service-stability: true`");
            }
        }
    }
}

/// Branches a workflow's pushes come from, and whether its jobs tell them apart.
fn one_tag(out: &mut Out<'_>) {
    for workflow in &out.graph.workflows {
        let Some(Some(push)) = workflow.trigger("push") else { continue };
        let branches: Vec<String> =
            push.get("branches").map_or(&[][..], Node::one_or_many).iter().filter_map(Node::scalar).collect();
        for (job, step) in workflow.steps() {
            let condition = job.node.get("if").and_then(Node::scalar).unwrap_or_default()
                + &step.node.get("if").and_then(Node::scalar).unwrap_or_default();
            let named: Vec<&String> = branches
                .iter()
                .filter(|branch| condition.is_empty() || condition.contains(branch.as_str()))
                .collect();
            if named.len() < 2 {
                continue;
            }
            for (value, at) in pushes(workflow, job, step) {
                let image = Image::of(&value);
                // A tag or repository with the environment in it is another one.
                let apart = value
                    .holes()
                    .iter()
                    .any(|hole| crate::lint::value::is_environment_name(hole) || hole.contains("ref_name"));
                if image.tag.as_deref().is_some_and(is_moving) && !apart {
                    let trigger = push.get("branches").map_or(push.at, |node| node.at);
                    out.say(
                        at,
                        format!(
                            "`{}` is moved by {}",
                            image.tag.unwrap_or_default(),
                            named
                                .iter()
                                .map(|branch| format!("`{branch}`"))
                                .collect::<Vec<_>>()
                                .join(" and ")
                        ),
                    )
                    .against(trigger, "pushed from these branches");
                }
            }
        }
    }
}

fn rebuilt(out: &mut Out<'_>) {
    for workflow in &out.graph.workflows {
        for job in &workflow.jobs {
            let build = job.steps.iter().find_map(|step| {
                step.all
                    .iter()
                    .find(|command| {
                        command.is(&["docker", "build"]) || command.is(&["docker", "buildx", "build"])
                    })
                    .map(|command| command.at)
                    .or_else(|| (step.action() == "docker/build-push-action").then_some(step.at))
            });
            let deploys_here = job.steps.iter().any(|step| deploys(step).is_some() || deploy_action(step));
            let Some(build) = build.filter(|_| deploys_here) else { continue };
            let test = workflow
                .jobs
                .iter()
                .find(|other| workflow.comes_after(&job.id, &other.id) && other.steps.iter().any(is_test));
            // Some test of the image itself in this job, before it is deployed.
            let tested = job.steps.iter().any(|step| {
                step.all
                    .iter()
                    .any(|command| command.is(&["docker", "run"]) || command.is(&["docker", "compose"]))
            });
            if let Some(test) = test.filter(|_| !tested) {
                let at = test.steps.iter().find(|step| is_test(step)).map_or(test.at, |step| step.at);
                out.say(build, "the image is built after the tests, and deployed without one")
                    .against(at, format!("`{}` tests another build", test.id));
            }
        }
    }
}

fn is_test(step: &Step) -> bool {
    step.own.iter().any(|command| {
        command.words.iter().any(|word| {
            word.text == "test"
                || word.text.starts_with("test:")
                || matches!(word.text.as_str(), "pytest" | "jest" | "vitest" | "rspec")
        })
    })
}

fn pushed_not_built(out: &mut Out<'_>) {
    let graph = out.graph;
    for workflow in &graph.workflows {
        for job in &workflow.jobs {
            let mut made: Vec<(Value, At)> = Vec::new();
            let mut pushed: Vec<(Value, At)> = Vec::new();
            let mut unseen = false;
            for step in &job.steps {
                for command in &step.all {
                    let build =
                        command.is(&["docker", "build"]) || command.is(&["docker", "buildx", "build"]);
                    for pair in command.words.windows(2).filter(|_| build) {
                        if matches!(pair[0].text.as_str(), "-t" | "--tag") {
                            made.push((resolved(workflow, job, step, &pair[1].text), pair[1].at));
                        }
                    }
                    if command.is(&["docker", "tag"])
                        && let Some(word) = command.words.last()
                    {
                        made.push((resolved(workflow, job, step, &word.text), word.at));
                    }
                    unseen |= command.is(&["docker", "pull"])
                        || command.is(&["docker", "load"])
                        || command.is(&["docker", "compose"]);
                    if command.is(&["docker", "push"])
                        && let Some(word) =
                            command.run().iter().skip(2).find(|word| !word.text.starts_with('-'))
                    {
                        pushed.push((resolved(workflow, job, step, &word.text), word.at));
                    }
                }
                unseen |= step.action() == "docker/build-push-action";
            }
            let name = |value: &Value| Image::of(value).repository;
            for (value, at) in pushed.iter().filter(|_| !unseen && !made.is_empty()) {
                let own = name(value);
                let known = |text: &str| !text.contains('$') && !text.is_empty();
                if known(&own) && made.iter().all(|(built, _)| known(&name(built)) && name(built) != own) {
                    let (near, place) = made
                        .iter()
                        .min_by_key(|(built, _)| strsim::levenshtein(&name(built), &own))
                        .expect("BUG: not empty");
                    out.say(*at, format!("`{own}` is pushed, but this job builds `{}`", name(near)))
                        .against(*place, "built here")
                        .instead(format!("`{}`", name(near)));
                }
            }
        }
    }
}
