//! Takes image names apart: registry, repository, tag, digest.

use crate::lint::value::{Piece, Value};

/// `registry/repository:tag@digest`, holes kept as `${name}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub registry: Option<String>,
    /// Without registry.
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Option<String>,
}

impl Image {
    pub fn read(text: &str) -> Self {
        let (text, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.to_owned())),
            None => (text, None),
        };
        let slash = outside_holes(text, '/').last().copied();
        let colon = outside_holes(text, ':').into_iter().rfind(|at| slash.is_none_or(|slash| *at > slash));
        let (name, tag) = match colon {
            Some(at) => (&text[..at], Some(text[at + 1..].to_owned())),
            None => (text, None),
        };
        let first = outside_holes(name, '/').first().copied();
        let (registry, repository) = match first {
            Some(at) if is_registry(&name[..at]) => (Some(name[..at].to_owned()), &name[at + 1..]),
            _ => (None, name),
        };
        Self { registry, repository: repository.to_owned(), tag, digest }
    }

    pub fn of(value: &Value) -> Self {
        Self::read(&value.to_string())
    }

    /// The repository's last part, as `node` of `library/node`.
    pub fn short(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or(&self.repository)
    }

    /// Whether the registry is one that only its owner pushes to.
    pub fn is_private(&self) -> bool {
        self.registry.as_deref().is_some_and(|registry| {
            registry.contains(".dkr.ecr.")
                || registry.contains("azurecr.io")
                || registry.contains("pkg.dev")
                || registry.contains('$')
                || registry.to_lowercase().contains("registry")
                || registry == "ghcr.io"
        })
    }

    /// Whether the tag may mean another image tomorrow.
    pub fn is_mutable(&self) -> bool {
        self.digest.is_none() && self.tag.as_deref().is_none_or(is_moving)
    }
}

/// Whether a tag is one that is moved on purpose.
pub fn is_moving(tag: &str) -> bool {
    matches!(
        tag,
        "latest"
            | "stable"
            | "main"
            | "master"
            | "edge"
            | "dev"
            | "staging"
            | "production"
            | "prod"
            | "develop"
            | "current"
            | "release"
    )
}

fn is_registry(part: &str) -> bool {
    part.contains('.') || part.contains(':') || part == "localhost" || part.starts_with("${")
}

/// Places of a character outside `${…}`.
fn outside_holes(text: &str, wanted: char) -> Vec<usize> {
    let mut depth = 0_usize;
    let mut found = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            c if c == wanted && depth == 0 => found.push(at),
            _ => {}
        }
    }
    found
}

/// The fixed parts of a value, for a search.
pub fn fixed(value: &Value) -> String {
    value
        .pieces()
        .into_iter()
        .map(|piece| match piece {
            Piece::Text(text) => text,
            Piece::Hole(_) => String::new(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let image = Image::read("123.dkr.ecr.eu-west-3.amazonaws.com/team/app:v1");
        assert_eq!((image.repository.as_str(), image.tag.as_deref()), ("team/app", Some("v1")));
        assert_eq!(Image::read("node:20-alpine").tag.as_deref(), Some("20-alpine"));
        assert!(Image::read("localhost:5000/a").is_mutable());
        assert!(!Image::read("a@sha256:00").is_mutable());
        assert_eq!(Image::read("${aws.x:-y}/app:${var.tag}").tag.as_deref(), Some("${var.tag}"));
    }
}
