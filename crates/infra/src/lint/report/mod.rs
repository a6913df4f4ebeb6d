//! Writes reports: text for people, JSON, SARIF 2.1.0, GitHub annotations. Decides nothing.

mod github;
mod json;
mod sarif;
mod text;

pub use github::github;
pub use json::json;
pub use sarif::sarif;
pub use text::{Color, explain, text};

use super::doc::line_column;
use crate::finding::Place;
use crate::tree::Tree;

/// Line and column of begin and end, both from 1.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Lines {
    pub line: usize,
    pub column: usize,
    pub end_line: usize,
    pub end_column: usize,
}

/// The text of a file, as far as it is text.
fn text_of<'t>(tree: &'t Tree, path: &str) -> &'t str {
    tree.get(path).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or("")
}

/// Lines and columns of a place.
pub fn lines(tree: &Tree, place: &Place) -> Lines {
    let text = text_of(tree, &place.path);
    let (line, column) = line_column(text, place.span.start);
    let (end_line, end_column) = line_column(text, place.span.end.max(place.span.start));
    Lines { line, column, end_line, end_column }
}
