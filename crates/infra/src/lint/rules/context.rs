//! What a build is given: the Dockerfile, and the files it copies.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::At;
use crate::lint::graph::Graph;
use crate::lint::read::dockerfile::{Dockerfile, Instruction};

pub const RULES: &[Rule] = &[
    Rule {
        id: "context/file-missing",
        severity: Severity::Critical,
        says: "What a Dockerfile copies from the context is in the tree, and not ignored.",
        why: "The build fails with `not found`.",
        instead: "a path of the context, or an exception in .dockerignore",
        check: file_missing,
    },
    Rule {
        id: "context/dockerfile-missing",
        severity: Severity::Critical,
        says: "A build names a Dockerfile that is in the tree.",
        why: "The build fails before it begins.",
        instead: "the Dockerfile's path",
        check: dockerfile_missing,
    },
];

/// The folder a Dockerfile's context is, and the sources of its copies.
pub(super) fn context(graph: &Graph, docker: &Dockerfile) -> Option<String> {
    let path = &graph.sources.files[docker.file].path;
    let from_compose = graph.compose.iter().find_map(|service| {
        let compose = service.compose.as_ref()?;
        (compose.build.as_ref()?.0 == *path).then_some(())?;
        let build = service.node.get("build")?;
        let context = build.scalar().or_else(|| build.get("context")?.scalar())?;
        crate::tree::join(crate::tree::folder(&graph.sources.files[compose.file].path), &context)
    });
    let from_build = || {
        graph.builds.iter().find_map(|build| {
            (build.dockerfile.as_deref() == Some(path)).then_some(())?;
            let last = &build.command.words.last()?.text;
            (!last.contains('$') && !last.starts_with('-')).then(|| crate::tree::join("", last))?
        })
    };
    let from_action = || {
        graph.steps().find_map(|(_, _, step)| {
            let file = step
                .with("file")
                .and_then(crate::lint::doc::Node::scalar)
                .and_then(|file| crate::tree::join("", &file));
            let context = step
                .with("context")
                .and_then(crate::lint::doc::Node::scalar)
                .and_then(|context| crate::tree::join("", &context))?;
            let names = file.unwrap_or_else(|| {
                if context.is_empty() { "Dockerfile".to_owned() } else { format!("{context}/Dockerfile") }
            });
            (names == *path).then_some(context)
        })
    };
    let own = crate::tree::folder(path);
    // A Dockerfile in a folder of its own is usually built from the root: then either may be meant.
    let plain = (own.is_empty() || graph.sources.dockerfiles.len() > 1).then(|| own.to_owned());
    from_compose.or_else(from_build).or_else(from_action).or(plain)
}

fn sources(instruction: &Instruction) -> Vec<(String, At)> {
    if instruction.flag("from").is_some() || instruction.rest.contains("<<") {
        return Vec::new();
    }
    let mut words = instruction.words();
    words.pop();
    words
}

fn file_missing(out: &mut Out<'_>) {
    let graph = out.graph;
    for docker in &graph.sources.dockerfiles {
        let Some(context) = context(graph, docker) else { continue };
        // A tree with infrastructure alone shows nothing of what its images are made from.
        if !has_sources(graph, &context) {
            continue;
        }
        let ignored = Ignored::read(graph, &context, &graph.sources.files[docker.file].path);
        for instruction in docker
            .stages
            .iter()
            .flat_map(|stage| &stage.instructions)
            .filter(|it| matches!(it.keyword.as_str(), "COPY" | "ADD"))
        {
            for (source, at) in sources(instruction) {
                if source.contains(['*', '?', '[', '$', '{'])
                    || source.contains("://")
                    || source.starts_with("git@")
                {
                    continue;
                }
                let Some(path) = crate::tree::join(&context, source.trim_start_matches('/')) else {
                    continue;
                };
                if let Some((pattern, line)) = ignored.matching(&path, &context) {
                    out.say(at, format!("`{source}` is copied, but .dockerignore keeps it out of the build"))
                        .against(line, format!("`{pattern}`"));
                } else if !graph.sources.exists(&path) && !is_made(&source) {
                    let near = nearest(graph, &context, &path);
                    let told = out.say(at, format!("`{source}` is copied, but is not in the context"));
                    if let Some(near) = near {
                        told.instead(format!("`{near}`"));
                    }
                }
            }
        }
    }
}

/// Whether the context holds the program, or at least what describes it.
fn has_sources(graph: &Graph, context: &str) -> bool {
    let marks = [
        "package.json",
        "pyproject.toml",
        "requirements.txt",
        "go.mod",
        "Cargo.toml",
        "Gemfile",
        "pom.xml",
        "composer.json",
        "src",
        "app",
    ];
    marks.iter().any(|mark| crate::tree::join(context, mark).is_some_and(|path| graph.sources.exists(&path)))
}

/// What a build before the image's makes, and git does not hold; lock files are often left out of a small tree.
fn is_made(source: &str) -> bool {
    let name = source.trim_end_matches('/').rsplit('/').next().unwrap_or(source);
    matches!(
        name,
        "dist" | "build" | "target" | "out" | "bin" | ".next" | "public" | "node_modules" | "vendor"
    ) || name.ends_with(".jar")
        || name.ends_with(".lock")
        || name.contains("lock")
        || source.contains("target/")
        || source.contains("dist/")
        || source.contains("build/")
}

fn nearest(graph: &Graph, context: &str, path: &str) -> Option<String> {
    let inside = graph.sources.paths.iter().filter_map(|known| {
        if context.is_empty() { Some(known.as_str()) } else { known.strip_prefix(context)?.strip_prefix('/') }
    });
    let wanted = if context.is_empty() { path } else { path.strip_prefix(context)?.strip_prefix('/')? };
    inside
        .min_by_key(|known| strsim::levenshtein(known, wanted))
        .filter(|known| strsim::levenshtein(known, wanted) <= 4)
        .map(str::to_owned)
}

/// The patterns of a .dockerignore.
struct Ignored {
    patterns: Vec<(String, bool, At)>,
}

impl Ignored {
    fn read(graph: &Graph, context: &str, dockerfile: &str) -> Self {
        let own = format!("{dockerfile}.dockerignore");
        let file = graph
            .sources
            .by_path
            .get(&own)
            .copied()
            .or_else(|| graph.sources.beside(context, ".dockerignore"));
        let Some(file) = file else { return Self { patterns: Vec::new() } };
        let mut start = 0;
        let mut patterns = Vec::new();
        for line in graph.sources.files[file].text.split_inclusive('\n') {
            let trimmed = line.trim();
            let at = At::new(file, start, start + line.trim_end().len());
            start += line.len();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let (pattern, excepted) = trimmed.strip_prefix('!').map_or((trimmed, false), |rest| (rest, true));
            patterns.push((pattern.trim_start_matches("./").trim_matches('/').to_owned(), excepted, at));
        }
        Self { patterns }
    }

    /// The last pattern that decides, when it keeps the path out. Globs beyond `*` at an end are not judged.
    fn matching(&self, path: &str, context: &str) -> Option<(String, At)> {
        let inside =
            if context.is_empty() { path } else { path.strip_prefix(context)?.trim_start_matches('/') };
        if inside.is_empty() {
            return None;
        }
        let mut decided = None;
        for (pattern, excepted, at) in &self.patterns {
            let fits = pattern == "*"
                || pattern == "**"
                || inside == pattern
                || inside.starts_with(&format!("{pattern}/"))
                || pattern.strip_prefix("**/").is_some_and(|name| inside.rsplit('/').next() == Some(name))
                || pattern.strip_prefix("*.").is_some_and(|extension| {
                    !inside.contains('/') && inside.ends_with(&format!(".{extension}"))
                });
            let opens = *excepted
                && (fits
                    || pattern.starts_with(&format!("{inside}/"))
                    || (pattern.contains('*')
                        && inside.starts_with(pattern.split('*').next().unwrap_or_default())));
            if opens {
                decided = None;
            } else if fits && !excepted {
                decided = Some((pattern.clone(), *at));
            }
        }
        decided
    }
}

fn dockerfile_missing(out: &mut Out<'_>) {
    let graph = out.graph;
    let mut wrong: Vec<(At, String)> = Vec::new();
    for build in &graph.builds {
        let option = build.command.option("-f").or_else(|| build.command.option("--file"));
        if let Some(word) = option
            && !word.text.contains('$')
            && word.text != "-"
        {
            wrong.push((word.at, word.text));
        }
    }
    for (_, _, step) in graph.steps() {
        if step.action() == "docker/build-push-action"
            && let Some(node) = step.with("file")
            && let Some(text) = node.text().filter(|text| !text.contains('$'))
        {
            wrong.push((node.at, text.to_owned()));
        }
    }
    for service in &graph.compose {
        if let Some((path, _)) = service.compose.as_ref().and_then(|compose| compose.build.as_ref())
            && let Some(build) = service.node.get("build")
        {
            wrong.push((build.get("dockerfile").map_or(build.at, |node| node.at), path.clone()));
        }
    }
    for (at, text) in wrong {
        let Some(path) = crate::tree::join("", &text) else { continue };
        let known = graph.sources.exists(&path)
            || graph.sources.paths.iter().any(|known| known.ends_with(&format!("/{path}")));
        if !known {
            let near = graph.sources.dockerfiles.first().map(|docker| docker.stages[0].from_at);
            let told = out.say(at, format!("there is no Dockerfile `{text}`"));
            if let Some(near) = near {
                told.against(near, "the one there is");
            }
        }
    }
}
