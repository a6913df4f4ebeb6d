//! Says what is wrong where the text is not TOML, and what was probably meant.
//! The parser goes on after an error and then trips over its own recovery; what only follows is left out.

use crate::error::{Kind, Lines, Mistake, Span};
use toml::de::Error;

/// What the parser says where a list or table was opened and the text ends.
const UNCLOSED: [&str; 2] = ["unclosed array,", "unclosed inline table,"];
/// What it says first where such a list swallows the next line.
const NO_COMMA: &str = "missing comma";
/// What it says where a text has no quotes.
const NO_QUOTES: &str = "string values must be quoted";

const GRAMMAR: &str = "see https://toml.io for how tables, texts and lists are written";

/// Turns the errors of the TOML parser into mistakes of ours: one a line, none that only follows from another.
pub(crate) fn mistakes(text: &str, lines: &Lines<'_>, errors: &[Error]) -> Vec<Mistake> {
    let mut errors: Vec<(Span, &str)> = errors
        .iter()
        .map(|error| (error.span().unwrap_or(text.len()..text.len()), error.message()))
        .collect();
    errors.sort_by_key(|(span, _)| span.start);
    let open =
        errors.iter().any(|(_, message)| UNCLOSED.iter().any(|unclosed| message.starts_with(unclosed)));
    let line = |span: &Span| lines.line(span.start);
    errors.dedup_by_key(|(span, _)| line(span));
    let swallowed = errors.iter().position(|(_, message)| message.starts_with(NO_COMMA)).filter(|_| open);
    if let Some(first) = swallowed {
        errors.truncate(first + 1);
    }
    errors
        .into_iter()
        .enumerate()
        .map(|(index, (span, message))| match swallowed == Some(index) {
            true => Mistake::at(Kind::Syntax, span, "a list or table opened above is not closed")
                .why("it goes on until here")
                .help("close it with `]` or `}`"),
            false => mistake(text, span, message),
        })
        .collect()
}

fn mistake(text: &str, span: Span, message: &str) -> Mistake {
    if message == "duplicate key" {
        let mistake = Mistake::at(Kind::Syntax, span, "this key or table is there twice");
        return mistake.help("remove one of them, or put their content together");
    }
    let quotes = ["invalid basic string", "invalid literal string"];
    let help = match message {
        _ if message.starts_with(NO_QUOTES) => quoted(text, &span).unwrap_or_else(|| GRAMMAR.to_owned()),
        _ if quotes.iter().any(|start| message.starts_with(start)) => {
            "close the text with its quote".to_owned()
        }
        _ => GRAMMAR.to_owned(),
    };
    Mistake::at(Kind::Syntax, span, format!("this is not TOML: {message}")).help(help)
}

/// A duration, size or percentage without quotes is the mistake people make most.
fn quoted(text: &str, span: &Span) -> Option<String> {
    let line_start = text.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
    let line = text.get(line_start..)?.lines().next()?.split('#').next()?;
    let (key, value) = line.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let is_word = !value.is_empty()
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_%/*:".contains(&byte));
    is_word.then(|| {
        format!("texts, durations, sizes and percentages stand in quotes: write `{key} = \"{value}\"`")
    })
}
