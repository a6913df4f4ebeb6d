//! Images: what a Dockerfile copies is there, what it builds is used, and what it stands on stays what it is.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::At;
use crate::lint::facts::image::{Image, is_moving};
use crate::lint::facts::programs::{self, Presence};
use crate::lint::graph::Graph;
use crate::lint::read::dockerfile::Dockerfile;
use std::collections::BTreeSet;

pub const RULES: &[Rule] = &[
    Rule {
        id: "image/deprecated-flag",
        severity: Severity::Low,
        says: "Package managers are called with options they still have.",
        why: "npm 9 warns of `--only=production`, and a later one ignores it: development packages then lie in the image. https://docs.npmjs.com/cli/commands/npm-ci",
        instead: "`npm ci --omit=dev`",
        check: deprecated_flag,
    },
    Rule {
        id: "image/stage-unused",
        severity: Severity::Low,
        says: "Every stage of a Dockerfile is used by another one, or is the last.",
        why: "What it prepares is never shipped: either it is waste, or the image lacks what it was made for.",
        instead: "copy from the stage, or delete it",
        check: stage_unused,
    },
    Rule {
        id: "image/stage-missing",
        severity: Severity::Critical,
        says: "What is copied from a stage names a stage that exists.",
        why: "The build takes the name for an image of a registry, and fails or copies a stranger's files.",
        instead: "the stage's name",
        check: stage_missing,
    },
    Rule {
        id: "image/build-time-variable",
        severity: Severity::High,
        says: "What is inlined when a bundle is built is not set when it runs.",
        why: "NEXT_PUBLIC_*, VITE_* and REACT_APP_* are replaced by their values in the build: set later they change nothing, and one image cannot serve two environments. https://nextjs.org/docs/app/guides/environment-variables",
        instead: "a build argument for each environment, or an endpoint the page asks when it runs",
        check: build_time_variable,
    },
    Rule {
        id: "image/unpinned",
        severity: Severity::Low,
        says: "An image stands on another one by its digest.",
        why: "A tag is moved by its owner: the image built tomorrow is not the one tested today.",
        instead: "`IMAGE:TAG@sha256:…`",
        check: unpinned,
    },
    Rule {
        id: "image/moving-tag",
        severity: Severity::High,
        says: "What is deployed is named by a digest, or by a tag that never moves.",
        why: "With `latest` nothing ties what runs to a commit, a restart may start another program, and there is nothing to roll back to.",
        instead: "`IMAGE@sha256:…` of what was pushed, and a repository with immutable tags",
        check: moving_tag,
    },
    Rule {
        id: "image/program-missing",
        severity: Severity::Critical,
        says: "What an image runs, when it is built and when it starts, is in it.",
        why: "The build, or every start, ends with `not found`.",
        instead: "a program the base has, or install it before",
        check: program_missing,
    },
    Rule {
        id: "image/root-user",
        severity: Severity::Medium,
        says: "The program does not run as root.",
        why: "Whoever gets into it owns the container (hadolint DL3002, checkov CKV_DOCKER_3).",
        instead: "`USER` with a number, in the last stage",
        check: root_user,
    },
];

fn deprecated_flag(out: &mut Out<'_>) {
    for docker in &out.graph.sources.dockerfiles {
        for run in docker.stages.iter().flat_map(|stage| stage.all("RUN")) {
            for command in run.commands() {
                if !command.is(&["npm"]) {
                    continue;
                }
                for word in &command.words {
                    if matches!(
                        word.text.as_str(),
                        "--only=production" | "--only=prod" | "--production" | "--only=prod-deps"
                    ) {
                        out.say(word.at, format!("npm's `{}` is deprecated", word.text))
                            .fix(word.at, "--omit=dev");
                    }
                }
            }
        }
    }
}

/// Stages that others use, or that something outside names as its target.
fn stage_unused(out: &mut Out<'_>) {
    let graph = out.graph;
    let targets = targets(graph);
    for docker in &graph.sources.dockerfiles {
        let mut used: Vec<usize> = vec![docker.stages.len() - 1];
        let mut next = 0;
        used.extend(targets.iter().filter_map(|name| docker.stage(name)));
        while next < used.len() {
            let stage = &docker.stages[used[next]];
            next += 1;
            let base = docker.stage(&stage.base);
            let copied = stage
                .instructions
                .iter()
                .filter_map(|it| it.flag("from"))
                .filter_map(|from| docker.stage(from));
            let mounted = stage.instructions.iter().filter_map(|it| it.flag("mount")).filter_map(|mount| {
                let from = mount.split(',').find_map(|part| part.strip_prefix("from="))?;
                docker.stage(from)
            });
            let found: Vec<usize> = base.into_iter().chain(copied).chain(mounted).collect();
            used.extend(found.into_iter().filter(|stage| !used.contains(stage)).collect::<Vec<_>>());
        }
        for (at, stage) in docker.stages.iter().enumerate() {
            // A stage for tests is asked for by its name from outside.
            let test = stage.name.as_deref().is_some_and(|name| {
                ["test", "dev", "lint", "ci", "debug", "check", "e2e"].iter().any(|word| name.contains(word))
            });
            if !used.contains(&at) && !test {
                let name = stage.name.clone().unwrap_or_else(|| at.to_string());
                out.say(stage.from_at, format!("nothing uses the stage `{name}`"));
            }
        }
    }
}

/// Names of stages that compose or a pipeline builds.
fn targets(graph: &Graph) -> BTreeSet<String> {
    let composed =
        graph.compose.iter().filter_map(|service| service.compose.as_ref()?.build.as_ref()?.1.clone());
    let commands = graph.commands().into_iter().filter_map(|command| Some(command.option("--target")?.text));
    let steps = graph.steps().filter_map(|(_, _, step)| step.with("target")?.scalar());
    composed.chain(commands).chain(steps).collect()
}

fn stage_missing(out: &mut Out<'_>) {
    for docker in &out.graph.sources.dockerfiles {
        for (index, stage) in docker.stages.iter().enumerate() {
            for instruction in
                stage.instructions.iter().filter(|it| matches!(it.keyword.as_str(), "COPY" | "ADD"))
            {
                let Some((_, from, at)) = instruction.flags.iter().find(|flag| flag.0 == "from") else {
                    continue;
                };
                let known = docker.stage(from).is_some_and(|found| found < index);
                if known || from.contains(['/', ':', '.', '$', '@']) || from.is_empty() {
                    continue;
                }
                let names: Vec<&str> =
                    docker.stages[..index].iter().filter_map(|stage| stage.name.as_deref()).collect();
                let near = docker.stages[..index].iter().min_by_key(|stage| {
                    strsim::levenshtein(stage.name.as_deref().unwrap_or("????????"), from)
                });
                let told = out.say(*at, format!("no stage before this one is called `{from}`"));
                if let Some(near) = near {
                    told.against(near.from_at, format!("the stages are {}", names.join(", ")));
                }
            }
        }
    }
}

/// Beginnings of variables that bundlers inline, with the bundler's package.
const INLINED: &[(&str, &str)] = &[
    ("NEXT_PUBLIC_", "Next.js"),
    ("VITE_", "Vite"),
    ("REACT_APP_", "Create React App"),
    ("NUXT_ENV_", "Nuxt 2"),
    ("GATSBY_", "Gatsby"),
    ("VUE_APP_", "Vue CLI"),
    ("EXPO_PUBLIC_", "Expo"),
];

fn build_time_variable(out: &mut Out<'_>) {
    let graph = out.graph;
    for container in graph.containers() {
        // A development server of compose builds when it starts.
        let develops = container.compose.is_some()
            && container
                .node
                .get("command")
                .and_then(|node| node.text().map(str::to_owned))
                .is_some_and(|text| text.contains("dev"));
        if develops || container.compose.as_ref().is_some_and(|compose| compose.build.is_none()) {
            continue;
        }
        for setting in container.env.iter().chain(&container.secrets) {
            let Some((_, bundler)) = INLINED.iter().find(|(prefix, _)| setting.name.starts_with(prefix))
            else {
                continue;
            };
            let build =
                graph.built(container).and_then(|built| building(&graph.sources.dockerfiles[built.docker]));
            let told = out.say(
                setting.at,
                format!(
                    "`{}` is set when the container runs, but {bundler} inlines it when the image is built",
                    setting.name
                ),
            );
            if let Some(build) = build {
                told.against(build, "built here, without it");
            }
        }
    }
}

/// The command that builds the bundle.
fn building(docker: &Dockerfile) -> Option<At> {
    docker
        .stages
        .iter()
        .flat_map(|stage| stage.all("RUN"))
        .find(|run| run.rest.contains("build"))
        .map(|run| run.at)
}

fn unpinned(out: &mut Out<'_>) {
    for docker in &out.graph.sources.dockerfiles {
        for stage in docker.stages.iter().filter(|stage| docker.stage(&stage.base).is_none()) {
            let image = Image::read(&stage.base);
            if image.digest.is_some() || image.short() == "scratch" || stage.base.contains('$') {
                continue;
            }
            match image.tag.as_deref() {
                None => out
                    .say(
                        stage.base_at,
                        format!("`{}` has no tag: it is whatever `latest` is today", stage.base),
                    )
                    .severity(Severity::Medium),
                Some(tag) if is_moving(tag) => out
                    .say(stage.base_at, format!("`{}` is moved on purpose", stage.base))
                    .severity(Severity::Medium),
                Some(_) => {
                    out.say(stage.base_at, format!("`{}` is a tag, which its owner can move", stage.base))
                }
            };
        }
    }
    for workflow in &out.graph.workflows {
        for job in &workflow.jobs {
            for service in job.node.get("services").map_or(&[][..], crate::lint::doc::Node::entries) {
                let node = service.value.get("image").unwrap_or(&service.value);
                let Some(text) = node.text().filter(|text| !text.contains('$')) else { continue };
                if Image::read(text).digest.is_none() {
                    out.say(node.at, format!("the tests' `{text}` is a tag, which its owner can move"));
                }
            }
        }
    }
}

fn moving_tag(out: &mut Out<'_>) {
    for (_, container) in out.graph.task_containers() {
        let Some((value, at)) = &container.image else { continue };
        let image = Image::of(value);
        if image.repository.contains('$') && image.tag.is_none() {
            continue;
        }
        if image.is_mutable() {
            let pushed = out.graph.builds.iter().flat_map(|build| &build.tags).map(|(_, at)| *at).next();
            let told = out.say(*at, format!("`{}` runs `{value}`, a tag that is moved", container.name));
            if let Some(pushed) = pushed {
                told.against(pushed, "what the pipeline builds has a tag of its own");
            }
        }
    }
    for repository in out.graph.resources("aws_ecr_repository") {
        let node = repository.block.get("image_tag_mutability");
        if node.is_none_or(|node| node.text() == Some("MUTABLE")) {
            let at = node.map_or(repository.head(), |node| node.at);
            out.say(at, format!("tags of `{}` can be moved", repository.address()))
                .instead("`image_tag_mutability = \"IMMUTABLE\"`")
                .severity(Severity::Medium);
        }
    }
}

fn root_user(out: &mut Out<'_>) {
    for docker in &out.graph.sources.dockerfiles {
        let last = docker.stages.len() - 1;
        let user = docker.lineage(last).into_iter().find_map(|stage| docker.stages[stage].last("USER"));
        let base = Image::read(&docker.outer_base(last).base);
        let tag = base.tag.clone().unwrap_or_default();
        let rootless = tag.contains("nonroot")
            || base.repository.contains("unprivileged")
            || base.repository.contains("chainguard")
            || base.repository.contains("$")
            || tag.contains('$');
        match user {
            Some(user) if matches!(user.rest.trim().split(':').next(), Some("root" | "0")) => {
                out.say(user.at, "the program runs as root");
            }
            Some(_) => {}
            None if rootless || drops_by_itself(docker, last) => {}
            None => {
                out.say(
                    docker.stages[last].from_at,
                    "the program runs as root: no stage it is made of has a `USER`",
                );
            }
        }
    }
}

/// Images whose entry point gives up root by itself.
fn drops_by_itself(docker: &Dockerfile, stage: usize) -> bool {
    let base = Image::read(&docker.outer_base(stage).base);
    matches!(
        base.short(),
        "postgres"
            | "redis"
            | "mysql"
            | "mariadb"
            | "nginx"
            | "mongo"
            | "rabbitmq"
            | "httpd"
            | "caddy"
            | "traefik"
    )
}

/// Words of the shell itself, and what every base that has a shell has.
const EVERYWHERE: &[&str] = &[
    "exit", "test", "echo", "true", "false", "cd", "set", "export", "if", "for", "while", "case", "printf",
    "exec", "sh",
];

fn program_missing(out: &mut Out<'_>) {
    for docker in &out.graph.sources.dockerfiles {
        for (index, stage) in docker.stages.iter().enumerate() {
            let base = docker.outer_base(index);
            let mut told: Vec<String> = Vec::new();
            for instruction in stage
                .instructions
                .iter()
                .filter(|it| matches!(it.keyword.as_str(), "RUN" | "CMD" | "ENTRYPOINT"))
            {
                // Another shell, or a file of the build, is not looked into.
                if instruction.rest.starts_with("<<") {
                    continue;
                }
                for command in instruction.commands() {
                    let Some(word) = command.program() else { continue };
                    if EVERYWHERE.contains(&word.text.as_str())
                        || word.text.contains(['$', '/'])
                        || told.contains(&word.text)
                    {
                        continue;
                    }
                    if let Presence::Missing(why) = programs::in_stage(docker, index, &word.text) {
                        told.push(word.text.clone());
                        out.say(
                            word.at,
                            format!("`{}` is run, but the image does not have it: {why}", word.text),
                        )
                        .against(base.from_at, "the image it runs in");
                    }
                }
            }
        }
    }
}
