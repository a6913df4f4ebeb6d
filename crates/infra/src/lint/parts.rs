//! Takes a tree of several projects apart: each is judged by itself, so that names of one are not looked for in another one.

use super::value::is_environment;
use crate::tree::{Tree, file_name};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Folders that are parts of one project, besides those called like an environment.
const PARTS: &[&str] = &[
    ".github",
    "app",
    "apps",
    "api",
    "backend",
    "bin",
    "build",
    "ci",
    "cmd",
    "compose",
    "config",
    "db",
    "deploy",
    "deployment",
    "docker",
    "docs",
    "ecs",
    "env",
    "environments",
    "envs",
    "frontend",
    "infra",
    "infrastructure",
    "k8s",
    "lib",
    "live",
    "migrations",
    "modules",
    "ops",
    "packages",
    "pkg",
    "scripts",
    "server",
    "service",
    "services",
    "src",
    "stacks",
    "terraform",
    "test",
    "tests",
    "web",
    "worker",
    "workflows",
];

/// Whether a file beside folders makes them one project.
fn marks(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let plain =
        ["readme", "license", "changelog", "contributing", ".git", ".editorconfig", "notice", "codeowners"];
    !plain.iter().any(|start| lower.starts_with(start)) && !lower.ends_with(".md") && !lower.ends_with(".txt")
}

/// The projects of a tree: folder and files, seen from that folder.
pub fn projects(tree: &Tree) -> Vec<(String, Tree)> {
    let mut found = Vec::new();
    apart(String::new(), tree.clone(), &mut found);
    found
}

fn apart(folder: String, tree: Tree, found: &mut Vec<(String, Tree)>) {
    let mut children: BTreeMap<String, Tree> = BTreeMap::new();
    let mut own = Tree::new();
    for (path, bytes) in &tree {
        match path.split_once('/') {
            Some((child, rest)) => {
                children.entry(child.to_owned()).or_default().insert(rest.to_owned(), Arc::clone(bytes));
            }
            None => {
                own.insert(path.clone(), Arc::clone(bytes));
            }
        }
    }
    let names: BTreeSet<&str> = children.keys().map(String::as_str).collect();
    let one = children.is_empty()
        || own.keys().any(|path| marks(file_name(path)))
        || names.iter().any(|name| PARTS.contains(name) || is_environment(name));
    // Stacks of Terraform beside each other belong together: their states and names meet.
    let stacks =
        children.values().all(|tree| tree.keys().any(|path| !path.contains('/') && path.contains(".tf")));
    if one || stacks || !children.values().all(holds_files) {
        found.push((folder, tree));
        return;
    }
    if !own.is_empty() {
        found.push((folder.clone(), own));
    }
    for (child, inner) in children {
        let deeper = if folder.is_empty() { child } else { format!("{folder}/{child}") };
        apart(deeper, inner, found);
    }
}

/// Whether a folder could be a project: something in it is read.
fn holds_files(tree: &Tree) -> bool {
    tree.keys().any(|path| super::sources::is_read(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(paths: &[&str]) -> Vec<String> {
        let tree: Tree = paths.iter().map(|path| ((*path).to_owned(), Arc::from(&[][..]))).collect();
        projects(&tree).into_iter().map(|(folder, tree)| format!("{folder}:{}", tree.len())).collect()
    }

    #[test]
    fn folders_of_projects_are_taken_apart_and_projects_are_not() {
        assert_eq!(shown(&["a/Dockerfile", "a/x.sh", "b/main.tf", "README.md"]), [":1", "a:2", "b:1"]);
        assert_eq!(shown(&["examples/a/Dockerfile", "examples/b/main.tf"]), ["examples/a:1", "examples/b:1"]);
        assert_eq!(shown(&["Dockerfile", "a/main.tf", "b/main.tf"]), [":3"]);
        assert_eq!(shown(&["network/main.tf", "database/main.tf"]), [":2"]);
        assert_eq!(shown(&["terraform/main.tf", "web/Dockerfile"]), [":2"]);
        assert_eq!(shown(&[".github/workflows/a.yml", "x/main.tf", "y/Dockerfile"]), [":3"]);
    }
}
