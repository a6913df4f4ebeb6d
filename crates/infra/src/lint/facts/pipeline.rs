//! Makes jobs and steps of GitHub workflows and composite actions, with the commands each runs, also through scripts.

use crate::lint::doc::{At, Entry, Node};
use crate::lint::read::shell::{self, Command};
use crate::lint::sources::Sources;
use crate::tree;

/// Scripts that call scripts are followed this deep.
const CALLS_MAX: usize = 4;

/// A workflow, or a composite action as one job.
#[derive(Debug)]
pub struct Workflow {
    pub file: usize,
    pub node: Node,
    pub jobs: Vec<Job>,
    pub is_action: bool,
}

#[derive(Debug)]
pub struct Job {
    pub id: String,
    pub at: At,
    pub node: Node,
    pub needs: Vec<(String, At)>,
    pub steps: Vec<Step>,
}

#[derive(Debug)]
pub struct Step {
    pub at: At,
    pub node: Node,
    pub uses: Option<(String, At)>,
    /// What stands in the step itself.
    pub own: Vec<Command>,
    /// With what the scripts it calls run, in order.
    pub all: Vec<Command>,
}

impl Step {
    /// The action without its version: `actions/checkout`.
    pub fn action(&self) -> &str {
        self.uses.as_ref().map_or("", |(uses, _)| uses.split('@').next().unwrap_or(uses))
    }

    pub fn with(&self, key: &str) -> Option<&Node> {
        self.node.path(&["with", key])
    }

    /// Where it is named, for a second place.
    pub fn label(&self) -> String {
        self.node.get("name").and_then(Node::scalar).unwrap_or_else(|| self.action().to_owned())
    }
}

impl Workflow {
    /// The events it runs on, with their settings.
    pub fn triggers(&self) -> Vec<(String, Option<&Node>, At)> {
        let Some(on) = self.node.get("on") else { return Vec::new() };
        let mapped = on.entries().iter().map(|entry| (entry.key.clone(), Some(&entry.value), entry.key_at));
        let listed = if on.is_map() { &[][..] } else { on.one_or_many() };
        mapped.chain(listed.iter().filter_map(|item| Some((item.scalar()?, None, item.at)))).collect()
    }

    pub fn trigger(&self, name: &str) -> Option<Option<&Node>> {
        self.triggers().into_iter().find(|trigger| trigger.0 == name).map(|trigger| trigger.1)
    }

    pub fn job(&self, id: &str) -> Option<&Job> {
        self.jobs.iter().find(|job| job.id == id)
    }

    /// Whether `job` starts only after `earlier` has ended.
    pub fn comes_after(&self, job: &str, earlier: &str) -> bool {
        let mut todo = vec![job];
        let mut seen = Vec::new();
        while let Some(id) = todo.pop() {
            if seen.contains(&id) {
                continue;
            }
            seen.push(id);
            let Some(job) = self.job(id) else { continue };
            for (needed, _) in &job.needs {
                if needed == earlier {
                    return true;
                }
                todo.push(needed);
            }
        }
        false
    }

    pub fn steps(&self) -> impl Iterator<Item = (&Job, &Step)> {
        self.jobs.iter().flat_map(|job| job.steps.iter().map(move |step| (job, step)))
    }
}

/// The workflows and composite actions of a tree.
pub fn workflows(sources: &Sources) -> Vec<Workflow> {
    let mut found = Vec::new();
    for (file, root) in &sources.yaml {
        let path = &sources.files[*file].path;
        let name = tree::file_name(path);
        let is_action =
            matches!(name, "action.yml" | "action.yaml") && root.path(&["runs", "steps"]).is_some();
        if path.contains(".github/workflows/") || (root.get("on").is_some() && root.get("jobs").is_some()) {
            let jobs = root.get("jobs").map_or(&[][..], Node::entries);
            let jobs = jobs.iter().map(|entry| job(sources, path, root, entry)).collect();
            found.push(Workflow { file: *file, node: root.clone(), jobs, is_action: false });
        } else if is_action && let Some(entry) = root.entry("runs") {
            found.push(Workflow {
                file: *file,
                node: root.clone(),
                jobs: vec![job(sources, path, root, entry)],
                is_action,
            });
        }
    }
    found
}

fn job(sources: &Sources, path: &str, root: &Node, entry: &Entry) -> Job {
    let node = &entry.value;
    let needs = node.get("needs").map_or(&[][..], Node::one_or_many);
    let needs = needs.iter().filter_map(|need| Some((need.scalar()?, need.at))).collect();
    let folder = |of: &Node| of.path(&["defaults", "run", "working-directory"]).and_then(Node::scalar);
    let folder = folder(node).or_else(|| folder(root)).unwrap_or_default();
    let base = project_root(path);
    let steps = node.get("steps").map_or(&[][..], Node::items);
    let steps = steps.iter().map(|node| step(sources, &base, &folder, node)).collect();
    Job { id: entry.key.clone(), at: entry.key_at, node: node.clone(), needs, steps }
}

/// The folder `.github` lies in.
pub fn project_root(path: &str) -> String {
    path.find(".github/").map_or(String::new(), |at| path[..at].trim_end_matches('/').to_owned())
}

fn step(sources: &Sources, base: &str, folder: &str, node: &Node) -> Step {
    let own = node.get("run").map_or_else(Vec::new, |run| commands_of(sources, run));
    let folder = node.get("working-directory").and_then(Node::scalar).unwrap_or_else(|| folder.to_owned());
    let here = tree::join(base, &folder).unwrap_or_else(|| base.to_owned());
    let all = expanded(sources, &here, base, &own, 0);
    let uses = node.get("uses").and_then(|uses| Some((uses.scalar()?, uses.at)));
    let at = node.entries().first().map_or(node.at, |entry| At {
        file: entry.key_at.file,
        span: crate::finding::Span::new(
            entry.key_at.span.start,
            entry.value.at.span.end.max(entry.key_at.span.end),
        ),
    });
    let at = if sources.slice(at).contains('\n') {
        node.entries().first().map_or(at, |entry| entry.key_at)
    } else {
        at
    };
    Step { at, node: node.clone(), uses, own, all }
}

/// Reads the shell of a YAML value where it is written, so that places are the file's.
pub fn commands_of(sources: &Sources, run: &Node) -> Vec<Command> {
    let raw = sources.slice(run.at);
    let start = run.at.span.start;
    match raw.chars().next() {
        Some('|') => {
            let line = raw.find('\n').map_or(raw.len(), |at| at + 1);
            shell::read(&raw[line..], run.at.file, start + line)
        }
        Some('>') => {
            let line = raw.find('\n').map_or(raw.len(), |at| at + 1);
            shell::read(&raw[line..].replace('\n', " "), run.at.file, start + line)
        }
        Some('"' | '\'') if raw.len() > 1 => shell::read(&raw[1..raw.len() - 1], run.at.file, start + 1),
        _ => shell::read(raw, run.at.file, start),
    }
}

/// Commands with those of the scripts, package scripts and make targets they call behind them.
pub fn expanded(
    sources: &Sources,
    here: &str,
    base: &str,
    commands: &[Command],
    depth: usize,
) -> Vec<Command> {
    let mut all = Vec::new();
    for command in commands {
        all.push(command.clone());
        if depth < CALLS_MAX
            && let Some((inner, folder)) = called(sources, here, base, command)
        {
            all.extend(expanded(sources, &folder, base, &inner, depth + 1));
        }
    }
    all
}

fn called(sources: &Sources, here: &str, base: &str, command: &Command) -> Option<(Vec<Command>, String)> {
    if let Some(file) = script_called(sources, here, base, command) {
        let (_, commands) = sources.scripts.iter().find(|(script, _)| *script == file)?;
        return Some((commands.clone(), here.to_owned()));
    }
    if let Some((name, at)) = package_script(command) {
        let node = package_json(sources, here)?.path(&["scripts", &name])?.clone();
        let _ = at;
        return Some((commands_of(sources, &node), here.to_owned()));
    }
    None
}

/// The file of the tree a command runs as a shell script.
pub fn script_called(sources: &Sources, here: &str, base: &str, command: &Command) -> Option<usize> {
    let run = command.run();
    let first = run.first()?;
    let name = first.text.rsplit('/').next().unwrap_or_default();
    let path = match name {
        "bash" | "sh" | "source" | "." | "zsh" => {
            &run.iter().skip(1).find(|word| !word.text.starts_with(['-', '+']))?.text
        }
        _ if first.text.contains('/') => &first.text,
        _ => return None,
    };
    let path = path.trim_start_matches("$GITHUB_WORKSPACE/").trim_start_matches("${GITHUB_WORKSPACE}/");
    sources.beside(here, path).or_else(|| sources.beside(base, path))
}

/// `npm run x`, `npm test`, `yarn x`, `pnpm x`: the script's name.
pub fn package_script(command: &Command) -> Option<(String, At)> {
    let run = command.run();
    let first = run.first()?.text.as_str();
    let words: Vec<&shell::Word> = run.iter().skip(1).filter(|word| !word.text.starts_with('-')).collect();
    let name = match (first, words.first()?.text.as_str()) {
        ("npm" | "yarn" | "pnpm" | "bun", "run" | "run-script") => words.get(1)?,
        ("npm" | "yarn" | "pnpm", "test" | "start") => words.first()?,
        _ => return None,
    };
    if name.text.contains('$')
        || run.iter().any(|word| {
            word.text.starts_with("--workspace")
                || matches!(
                    word.text.as_str(),
                    "-w" | "--prefix" | "--filter" | "-C" | "--cwd" | "--if-present"
                )
        })
    {
        return None;
    }
    Some((name.text.clone(), name.at))
}

/// The `package.json` of a folder.
pub fn package_json<'g>(sources: &'g Sources, folder: &str) -> Option<&'g Node> {
    let file = sources.beside(folder, "package.json")?;
    sources.json.iter().find(|(json, _)| *json == file).map(|(_, node)| node)
}
