//! What an image starts is in it: the file that is run, the package whose program is called.

use super::context::context;
use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::At;
use crate::lint::facts::image::Image;
use crate::lint::facts::programs::{self, Presence};
use crate::lint::graph::Graph;
use crate::lint::read::dockerfile::{Dockerfile, Instruction};
use crate::tree::file_name;

pub const RULES: &[Rule] = &[
    Rule {
        id: "start/file-missing",
        severity: Severity::Critical,
        says: "The file an image starts is copied into it.",
        why: "Every start ends with `no such file or directory`.",
        instead: "the path it is copied to",
        check: file_missing,
    },
    Rule {
        id: "start/dependency-missing",
        severity: Severity::Critical,
        says: "A program that comes with a package is called where that package is installed.",
        why: "Every start ends with `executable file not found`.",
        instead: "add the package to what is installed",
        check: dependency_missing,
    },
];

/// The instructions a stage's files come from, nearest first.
fn instructions(docker: &Dockerfile, stage: usize) -> Vec<&Instruction> {
    docker
        .lineage(stage)
        .into_iter()
        .flat_map(|stage| docker.stages[stage].instructions.iter().rev())
        .collect()
}

fn workdir(docker: &Dockerfile, stage: usize) -> String {
    let all = instructions(docker, stage);
    let mut path = String::new();
    for instruction in all.iter().rev().filter(|instruction| instruction.keyword == "WORKDIR") {
        path = absolute(&path, instruction.rest.trim().trim_matches('"'));
    }
    path
}

/// A path inside the image without its first `/`.
fn absolute(workdir: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{workdir}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Interpreters whose first argument is a file.
const INTERPRETERS: &[&str] = &["node", "python", "python3", "sh", "bash", "ruby", "php", "java"];

/// The file that an `ENTRYPOINT` or `CMD` runs, as it is written.
fn started(instruction: &Instruction) -> Option<(String, At)> {
    let commands = instruction.commands();
    let command = commands.first()?;
    let run = command.run();
    let first = run.first()?;
    let plain = |text: &str| !text.contains(['$', '*']) && !text.starts_with('-');
    if first.text.starts_with("./") {
        return plain(&first.text).then(|| (first.text.clone(), first.at));
    }
    if !INTERPRETERS.contains(&first.text.as_str()) {
        return None;
    }
    let argument = run.iter().skip(1).find(|word| {
        !word.text.starts_with('-') || word.text == "-m" || word.text == "-c" || word.text == "-e"
    })?;
    let file = [".js", ".mjs", ".cjs", ".py", ".sh", ".jar", ".rb", ".php"]
        .iter()
        .any(|end| argument.text.ends_with(end));
    (file && plain(&argument.text)).then(|| (argument.text.clone(), argument.at))
}

/// Whether a file may be in an image: `None` where that cannot be said.
#[derive(PartialEq, Eq)]
enum Brought {
    Yes,
    No,
    Unknown,
}

/// Where a copy puts things: the sources as written and the place inside the image.
fn copied(instruction: &Instruction, workdir: &str) -> Option<(Vec<String>, String, bool)> {
    let mut words: Vec<String> = instruction.words().into_iter().map(|word| word.0).collect();
    let last = words.pop()?;
    let folder = last.ends_with('/') || matches!(last.as_str(), "." | "./") || words.len() > 1;
    Some((words, absolute(workdir, &last), folder))
}

fn brought(
    graph: &Graph,
    docker: &Dockerfile,
    instruction: &Instruction,
    workdir: &str,
    target: &str,
) -> Brought {
    let Some((sources, place, folder)) = copied(instruction, workdir) else { return Brought::Unknown };
    let outside = !place.is_empty() && target != place && !target.starts_with(&format!("{place}/"));
    let from = instruction.flag("from").is_some();
    for source in &sources {
        if source.contains(['*', '?', '$'])
            || source.contains("://")
            || source.starts_with("<<")
            || instruction.keyword == "ADD"
        {
            if !outside {
                return Brought::Unknown;
            }
            continue;
        }
        let name = file_name(source.trim_end_matches('/'));
        let as_file = if folder { absolute(&format!("/{place}"), name) } else { place.clone() };
        if as_file == target && name.contains('.') {
            return Brought::Yes;
        }
        if outside {
            continue;
        }
        if from {
            // A file of another stage that is called otherwise brings nothing else.
            if name.contains('.') && name != "." && !source.ends_with('/') {
                continue;
            }
            return Brought::Unknown;
        }
        let Some(context) = context(graph, docker) else { return Brought::Unknown };
        let inner = target.strip_prefix(place.as_str()).unwrap_or(target).trim_start_matches('/');
        let Some(path) = crate::tree::join(&context, source.trim_start_matches('/')) else {
            return Brought::Unknown;
        };
        let whole = if path.is_empty() { inner.to_owned() } else { format!("{path}/{inner}") };
        if graph.sources.exists(&whole) {
            return Brought::Yes;
        }
        // What is built before the image is in no tree; scripts are written by hand.
        let by_hand = [".sh", ".py", ".rb", ".php"].iter().any(|end| target.ends_with(end));
        if !by_hand && graph.sources.exists(&path) && !name.contains('.')
            || matches!(source.as_str(), "." | "./") && !by_hand
        {
            return Brought::Unknown;
        }
    }
    Brought::No
}

/// Whether a `RUN` may make the file.
fn makes(instruction: &Instruction, target: &str) -> bool {
    let text = &instruction.rest;
    let builds = [
        "build",
        "compile",
        "tsc",
        "make",
        "gradle",
        "mvn",
        "webpack",
        "vite",
        "esbuild",
        "git clone",
        "curl",
        "wget",
        "unzip",
        "tar ",
    ];
    let first = target.rsplit('/').nth(1).unwrap_or_default();
    text.contains(file_name(target)) && !text.contains("chmod") && !text.contains("chown")
        || builds.iter().any(|word| text.contains(word))
        || !first.is_empty() && (text.contains("mv ") || text.contains("cp ") || text.contains("ln "))
}

fn file_missing(out: &mut Out<'_>) {
    let graph = out.graph;
    for docker in &graph.sources.dockerfiles {
        let stage = docker.stages.len() - 1;
        let all = instructions(docker, stage);
        // An image of which nothing is known may bring its own files.
        if matches!(
            programs::in_base(&Image::read(&docker.outer_base(stage).base), "curl"),
            Presence::Unknown(_)
        ) || all
            .iter()
            .any(|instruction| instruction.keyword == "ONBUILD" || instruction.keyword == "VOLUME")
        {
            continue;
        }
        let workdir = workdir(docker, stage);
        for keyword in ["ENTRYPOINT", "CMD"] {
            let Some((written, at)) = docker.stages[stage].last(keyword).and_then(started) else { continue };
            let target = absolute(&workdir, &written);
            if all.iter().any(|it| it.keyword == "RUN" && makes(it, &target)) {
                continue;
            }
            let copies: Vec<&&Instruction> =
                all.iter().filter(|it| matches!(it.keyword.as_str(), "COPY" | "ADD")).collect();
            if copies.is_empty()
                || copies.iter().any(|it| brought(graph, docker, it, &workdir, &target) != Brought::No)
            {
                continue;
            }
            let near = copies
                .iter()
                .flat_map(|it| it.words())
                .filter(|(word, _)| word.contains('.') && word.len() > 2);
            let near = near.min_by_key(|(word, _)| strsim::levenshtein(file_name(word), file_name(&target)));
            let told = out.say(at, format!("`{written}` is started, but nothing copies it into the image"));
            match near {
                Some((word, place)) => told.against(place, format!("the nearest that is copied is `{word}`")),
                None => told.against(copies[0].at, "what is copied"),
            };
        }
    }
}

/// Programs of Python packages, and the packages that bring each.
const PACKAGES: &[(&str, &[&str])] = &[
    ("gunicorn", &["gunicorn"]),
    ("uvicorn", &["uvicorn", "fastapi[", "fastapi-cli"]),
    ("celery", &["celery", "flower"]),
    ("alembic", &["alembic", "flask-migrate"]),
    ("hypercorn", &["hypercorn"]),
    ("daphne", &["daphne"]),
];

/// The requirements a stage installs from, when they are all it installs from: path and text.
fn requirements(graph: &Graph, docker: &Dockerfile, stage: usize) -> Option<(usize, String)> {
    let all = instructions(docker, stage);
    let mut named = None;
    for command in all.iter().filter(|it| it.keyword == "RUN").flat_map(|it| it.commands()) {
        let words: Vec<String> = command.run().iter().map(|word| word.text.clone()).collect();
        let python = ["pip", "pip3", "poetry", "uv", "pipenv", "pdm", "conda", "python", "python3"]
            .contains(&words.first().map_or("", String::as_str));
        if !python
            || words.iter().any(|word| word == "--upgrade" || word == "-U")
                && !words.iter().any(|word| word == "-r")
        {
            continue;
        }
        let at = words.iter().position(|word| word == "-r" || word == "--requirement")?;
        let plain = words.iter().skip(2).filter(|word| !word.starts_with('-')).count();
        if plain > 1 || named.is_some() {
            return None;
        }
        named = Some(words.get(at + 1)?.clone());
    }
    let named = named?;
    let context = context(graph, docker)?;
    for instruction in all.iter().filter(|it| it.keyword == "COPY" && it.flag("from").is_none()) {
        let mut words: Vec<String> = instruction.words().into_iter().map(|word| word.0).collect();
        let place = words.pop()?;
        for source in &words {
            let same = file_name(source) == file_name(&named) || file_name(&place) == file_name(&named);
            if same && let Some(file) = graph.sources.beside(&context, source) {
                let text = graph.sources.files[file].text.to_lowercase();
                let open = text.lines().map(str::trim).any(|line| {
                    line.starts_with("-r")
                        || line.starts_with("-e")
                        || line.starts_with('.')
                        || line.contains("git+")
                });
                return (!open && !text.is_empty()).then_some((file, text));
            }
        }
    }
    None
}

fn dependency_missing(out: &mut Out<'_>) {
    let graph = out.graph;
    for docker in &graph.sources.dockerfiles {
        let stage = docker.stages.len() - 1;
        // What another stage installed and this one copies is not followed.
        if docker.stages[stage].instructions.iter().any(|it| it.flag("from").is_some()) {
            continue;
        }
        for keyword in ["ENTRYPOINT", "CMD"] {
            let Some(instruction) = docker.stages[stage].last(keyword) else { continue };
            for command in instruction.commands() {
                let Some(word) = command.program() else { continue };
                let Some((program, packages)) = PACKAGES.iter().find(|(program, _)| *program == word.text)
                else {
                    continue;
                };
                let Some((file, text)) = requirements(graph, docker, stage) else { continue };
                if !packages.iter().any(|package| text.contains(package)) {
                    out.say(
                        word.at,
                        format!(
                            "`{program}` is started, but `{}` does not install it",
                            graph.sources.files[file].path
                        ),
                    )
                    .against(At::new(file, 0, 0), "what is installed")
                    .instead(format!("add `{program}` to it"));
                }
            }
        }
    }
}
