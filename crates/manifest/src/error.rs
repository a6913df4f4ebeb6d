//! Says what is wrong with a manifest: all mistakes at once, each with its place, its reason and what to write.
//! Decides nothing about colour or terminals (the caller says) and writes nothing; see `parse` for who makes them.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;
use std::fmt;
use std::ops::Range;

/// Bytes of the manifest's text.
pub(crate) type Span = Range<usize>;

/// Mistakes shown by `render`; the rest is counted. More than a screen or two helps nobody.
const SHOWN_MAX: usize = 50;

/// Whether `render` may use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    Never,
    Always,
}

/// What sort of mistake it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The text is not TOML.
    Syntax,
    /// No such key, service or environment.
    Unknown,
    /// A key whose behaviour comes later.
    NotYetSupported,
    /// The value cannot be read, or lies outside its bounds.
    Value,
    /// Values that do not go together, or one that is missing.
    Rule,
}

/// One mistake, for machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    pub kind: Kind,
    /// Counted from 1. None: no place in the file is to blame.
    pub line: Option<usize>,
    /// In characters, counted from 1.
    pub column: Option<usize>,
    /// What is wrong, and why.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

/// One mistake, with the bytes it points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub kind: Kind,
    pub span: Option<Span>,
    /// The headline.
    pub what: String,
    /// Stands under the underlined text.
    pub why: String,
    pub help: String,
    /// Other places that take part.
    pub also: Vec<(Span, String)>,
}

impl Mistake {
    pub fn at(kind: Kind, span: Span, what: impl Into<String>) -> Self {
        Self { span: Some(span), ..Self::nowhere(kind, what) }
    }

    pub fn nowhere(kind: Kind, what: impl Into<String>) -> Self {
        Self {
            kind,
            span: None,
            what: what.into(),
            why: String::new(),
            help: String::new(),
            also: Vec::new(),
        }
    }

    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    pub fn also(mut self, span: Span, label: impl Into<String>) -> Self {
        self.also.push((span, label.into()));
        self
    }
}

/// Everything that is wrong with a manifest, in the order of the file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestErrors {
    file_name: String,
    text: String,
    mistakes: Vec<Mistake>,
}

impl ManifestErrors {
    pub(crate) fn new(file_name: &str, text: &str, mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort_by_key(|mistake| mistake.span.as_ref().map(|span| (span.start, span.end)));
        Self { file_name: file_name.to_owned(), text: text.to_owned(), mistakes }
    }

    /// Returns one entry per mistake, in the order of the file; those without a place come first.
    pub fn items(&self) -> Vec<Item> {
        let lines = Lines::of(&self.text);
        self.mistakes.iter().map(|mistake| item(mistake, &lines)).collect()
    }

    /// Returns the text for people: each mistake with its line of the file underlined. Ends without a line break.
    pub fn render(&self, color: Color) -> String {
        let renderer = match color {
            Color::Never => Renderer::plain(),
            Color::Always => Renderer::styled(),
        };
        let shown = self.mistakes.iter().take(SHOWN_MAX);
        let mut blocks: Vec<String> = shown.map(|mistake| renderer.render(&[self.group(mistake)])).collect();
        if self.mistakes.len() > SHOWN_MAX {
            blocks.push(format!("… and {} more", self.mistakes.len() - SHOWN_MAX));
        }
        blocks.join("\n\n")
    }

    /// Returns what to do next.
    pub fn next(&self) -> String {
        format!("correct {} and run the command again; `medeclipse init` prints the manual", self.file_name)
    }

    fn group<'a>(&'a self, mistake: &'a Mistake) -> Group<'a> {
        let title = Level::ERROR.primary_title(mistake.what.as_str());
        let group = match &mistake.span {
            Some(span) => {
                let label = Some(mistake.why.as_str()).filter(|why| !why.is_empty());
                let primary = AnnotationKind::Primary.span(self.underlined(span)).label(label);
                let also = mistake.also.iter().map(|(span, label)| {
                    AnnotationKind::Context.span(self.underlined(span)).label(label.as_str())
                });
                let snippet = Snippet::source(self.text.as_str()).path(self.file_name.as_str());
                title.element(snippet.annotation(primary).annotations(also))
            }
            None if mistake.why.is_empty() => title.element(Origin::path(self.file_name.as_str())),
            None => title
                .element(Origin::path(self.file_name.as_str()))
                .element(Level::NOTE.message(mistake.why.as_str())),
        };
        if mistake.help.is_empty() {
            group
        } else {
            group.element(Level::HELP.message(mistake.help.as_str()))
        }
    }

    /// Returns the part of the span that lies on its first line, and inside the text: one line says enough.
    fn underlined(&self, span: &Span) -> Span {
        let start = floor(&self.text, span.start);
        let end = floor(&self.text, span.end).max(start);
        let line_end = self.text[start..end].find(['\n', '\r']).map_or(end, |offset| start + offset);
        start..line_end
    }
}

fn item(mistake: &Mistake, lines: &Lines<'_>) -> Item {
    let place = mistake.span.as_ref().map(|span| lines.place(span.start));
    let message = match mistake.why.is_empty() {
        true => mistake.what.clone(),
        false => format!("{}: {}", mistake.what, mistake.why),
    };
    Item {
        kind: mistake.kind,
        line: place.map(|(line, _)| line),
        column: place.map(|(_, column)| column),
        message,
        help: mistake.help.clone(),
    }
}

impl fmt::Display for ManifestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.mistakes.len();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        write!(f, "read {}: it has {count} {noun}", self.file_name)
    }
}

impl std::error::Error for ManifestErrors {}

/// Where the lines of a text begin, so that many places are found without reading it as many times.
pub(crate) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub fn of(text: &'t str) -> Self {
        let after = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(after).collect() }
    }

    /// Returns the line of a byte, counted from 1.
    pub fn line(&self, byte: usize) -> usize {
        self.starts.partition_point(|start| *start <= floor(self.text, byte))
    }

    /// Returns line and column of a byte, both counted from 1, the column in characters.
    pub fn place(&self, byte: usize) -> (usize, usize) {
        let line = self.line(byte);
        let before = &self.text[self.starts[line - 1]..floor(self.text, byte)];
        (line, before.chars().count() + 1)
    }
}

/// Returns the nearest character border at or before a byte.
fn floor(text: &str, byte: usize) -> usize {
    let byte = byte.min(text.len());
    (0..=byte).rev().find(|&index| text.is_char_boundary(index)).unwrap_or(0)
}
