//! Scripts that are called: files of the tree, and scripts of package.json.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::At;
use crate::lint::facts::pipeline::{package_json, package_script, project_root, script_called};
use crate::lint::read::shell::Command;

pub const RULES: &[Rule] = &[
    Rule {
        id: "call/file-missing",
        severity: Severity::Critical,
        says: "A script that is called is in the tree.",
        why: "The step fails with `No such file or directory`.",
        instead: "the script's path",
        check: file_missing,
    },
    Rule {
        id: "call/package-script-missing",
        severity: Severity::Critical,
        says: "A script of package.json that is called is in it.",
        why: "npm fails with `Missing script`.",
        instead: "a script package.json has",
        check: package_script_missing,
    },
    Rule {
        id: "call/option-file-missing",
        severity: Severity::High,
        says: "A file or folder that a command is given is in the tree.",
        why: "The step ends at once: the file is not there.",
        instead: "a path of the tree",
        check: option_file_missing,
    },
];

fn file_missing(out: &mut Out<'_>) {
    let graph = out.graph;
    for (workflow, job, step) in graph.steps() {
        let base = project_root(&graph.sources.files[workflow.file].path);
        let folder = working_directory(job, step);
        let here = crate::tree::join(&base, &folder).unwrap_or_else(|| base.clone());
        for command in &step.own {
            let Some(word) = called_path(command) else { continue };
            let known = script_called(&graph.sources, &here, &base, command).is_some()
                || exists(graph, &here, &word.text)
                || exists(graph, &base, &word.text);
            if known || is_fetched(graph, job, &word.text) {
                continue;
            }
            let path = |file: &usize| graph.sources.files[*file].path.clone();
            let wanted = word.text.trim_start_matches("./");
            let near = graph.sources.scripts.iter().map(|(file, _)| *file);
            let near = near.min_by_key(|file| strsim::levenshtein(&path(file), wanted));
            let told = out.say(word.at, format!("`{}` is called, but is not in the tree", word.text));
            if let Some(file) = near {
                let line = graph.sources.files[file].text.find('\n').unwrap_or(0);
                told.against(At::new(file, 0, line), format!("the nearest script is `{}`", path(&file)))
                    .instead(format!("`{}`", path(&file)));
            }
        }
    }
}

fn working_directory(
    job: &crate::lint::facts::pipeline::Job,
    step: &crate::lint::facts::pipeline::Step,
) -> String {
    let own = step.node.get("working-directory");
    let shared = || job.node.path(&["defaults", "run", "working-directory"]);
    own.or_else(shared).and_then(crate::lint::doc::Node::scalar).unwrap_or_default()
}

/// Whether a run downloads, clones or unpacks it first.
fn is_fetched(
    graph: &crate::lint::graph::Graph,
    job: &crate::lint::facts::pipeline::Job,
    path: &str,
) -> bool {
    let name = crate::tree::file_name(path);
    let first = path.trim_start_matches("./").split('/').next().unwrap_or_default();
    let made = graph.commands().iter().any(|other| {
        let fetches = ["curl", "wget", "tar", "unzip", "cp"].iter().any(|program| other.is(&[program]));
        let clones = other.is(&["git", "clone"]) || other.is(&["git", "submodule"]);
        other
            .words
            .iter()
            .any(|word| fetches && word.text.ends_with(name) || clones && word.text.contains(first))
            || other.is(&["git", "submodule"])
    });
    // A checkout of another repository, or into a folder.
    let elsewhere = job.steps.iter().any(|step| {
        step.action() == "actions/checkout"
            && ["path", "repository", "submodules"].iter().any(|key| step.with(key).is_some())
            || step.action() == "actions/download-artifact"
    });
    made || elsewhere
}

fn exists(graph: &crate::lint::graph::Graph, folder: &str, path: &str) -> bool {
    let found =
        |folder: &str| crate::tree::join(folder, path).is_some_and(|path| graph.sources.exists(&path));
    found(folder)
}

/// A script a command names by its path: `./scripts/x.sh`, `bash scripts/x.sh`.
fn called_path(command: &Command) -> Option<crate::lint::read::shell::Word> {
    let run = command.run();
    let first = run.first()?;
    let path = match first.text.as_str() {
        "bash" | "sh" => run.iter().skip(1).find(|word| !word.text.starts_with('-'))?,
        _ => first,
    };
    let named = path.text.ends_with(".sh")
        && path.text.contains('/')
        && !path.text.contains(['$', '*', '{', '~'])
        && !path.text.starts_with('/');
    named.then(|| path.clone())
}

fn package_script_missing(out: &mut Out<'_>) {
    let graph = out.graph;
    for (workflow, job, step) in graph.steps() {
        if step.own.iter().any(|command| command.is(&["cd"])) {
            continue;
        }
        let base = project_root(&graph.sources.files[workflow.file].path);
        if let Some(here) = crate::tree::join(&base, &working_directory(job, step)) {
            check_package(out, &here, &step.own);
        }
    }
    for docker in &graph.sources.dockerfiles {
        let folder = crate::tree::folder(&graph.sources.files[docker.file].path);
        for instruction in docker
            .stages
            .iter()
            .flat_map(|stage| &stage.instructions)
            .filter(|it| matches!(it.keyword.as_str(), "RUN" | "CMD" | "ENTRYPOINT"))
        {
            check_package(out, folder, &instruction.commands());
        }
    }
    for service in &graph.compose {
        let (Some(compose), Some(command)) = (&service.compose, service.node.get("command")) else {
            continue;
        };
        let Some((path, _)) = &compose.build else { continue };
        let commands = match command.text() {
            Some(text) => crate::lint::read::shell::read(text, command.at.file, command.at.span.start),
            None => crate::lint::read::shell::from_list(command.items()),
        };
        check_package(out, crate::tree::folder(path), &commands);
    }
}

fn check_package(out: &mut Out<'_>, folder: &str, commands: &[Command]) {
    let Some(package) = package_json(&out.graph.sources, folder) else { return };
    for command in commands {
        let Some((name, at)) = package_script(command) else { continue };
        let scripts = package.get("scripts");
        let known = scripts.is_some_and(|scripts| scripts.entry(&name).is_some());
        // `npm start` without a script runs server.js.
        if known || name == "start" || name.contains('$') {
            continue;
        }
        let near = scripts.and_then(|scripts| {
            scripts.entries().iter().min_by_key(|entry| strsim::levenshtein(&entry.key, &name))
        });
        let place = near
            .map(|entry| (entry.key_at, entry.key.clone()))
            .or_else(|| package.entries().first().map(|entry| (entry.key_at, String::new())));
        let told = out.say(at, format!("package.json has no script `{name}`"));
        if let Some((at, near)) = place {
            told.against(
                at,
                if near.is_empty() {
                    "it has no scripts".to_owned()
                } else {
                    format!("the nearest is `{near}`")
                },
            );
        }
    }
}

/// Files and folders that well-known commands are given by an option.
fn option_file(command: &Command) -> Option<crate::lint::read::shell::Word> {
    if (command.is(&["pip", "install"]) || command.is(&["pip3", "install"])) && command.has("-r") {
        return command.option("-r");
    }
    if command.is(&["docker", "compose"]) || command.is(&["docker-compose"]) {
        return command.option("-f").or_else(|| command.option("--file"));
    }
    if command.is(&["terraform"]) {
        return command.option("-chdir");
    }
    None
}

fn option_file_missing(out: &mut Out<'_>) {
    let graph = out.graph;
    for (workflow, job, step) in graph.steps().filter(|(workflow, ..)| !workflow.is_action) {
        if step
            .own
            .iter()
            .any(|command| command.is(&["cd"]) || command.is(&["git", "clone"]) || command.is(&["ssh"]))
        {
            continue;
        }
        let base = project_root(&graph.sources.files[workflow.file].path);
        let Some(here) = crate::tree::join(&base, &working_directory(job, step)) else { continue };
        if !here.is_empty() && !graph.sources.exists(&here) {
            continue;
        }
        for command in &step.own {
            let Some(word) = option_file(command).filter(|word| {
                !word.text.contains(['$', '*', '~', '{']) && !word.text.starts_with(['/', '-'])
            }) else {
                continue;
            };
            if exists(graph, &here, &word.text) || is_fetched(graph, job, &word.text) {
                continue;
            }
            let name = crate::tree::file_name(&word.text);
            let near = graph
                .sources
                .files
                .iter()
                .position(|file| crate::tree::file_name(&file.path) == name)
                .or_else(|| {
                    (0..graph.sources.files.len())
                        .min_by_key(|at| strsim::levenshtein(&graph.sources.files[*at].path, &word.text))
                });
            let told = out.say(word.at, format!("`{}` is named, but is not in the tree", word.text));
            if let Some(near) = near {
                told.against(
                    crate::lint::doc::At::new(near, 0, 0),
                    format!("the nearest is `{}`", graph.sources.files[near].path),
                );
            }
        }
    }
}
