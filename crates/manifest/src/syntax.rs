//! Says what is wrong where the text is not TOML, and what was probably meant.

use crate::error::{Kind, Mistake, Span};
use crate::units;
use toml::de::Error;

/// Turns an error of the TOML parser into a mistake of ours.
pub(crate) fn mistake(text: &str, error: &Error) -> Mistake {
    let span = error.span().unwrap_or(text.len()..text.len());
    let (what, help) = match error.message() {
        "duplicate key" => ("this key is there twice".to_owned(), "remove one of them".to_owned()),
        message => (format!("this is not TOML: {message}"), help(text, &span)),
    };
    Mistake::at(Kind::Syntax, span, what).help(help)
}

/// A duration, size or percentage without quotes is the mistake people make most.
fn help(text: &str, span: &Span) -> String {
    let line_start = text.get(..span.start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let line = text.get(line_start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let line = line.split('#').next().unwrap_or_default();
    let Some((key, value)) = line.split_once('=') else {
        return "see https://toml.io for how tables, texts and lists are written".to_owned();
    };
    let (key, value) = (key.trim(), value.trim());
    let is_word = !value.is_empty()
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_%/*:".contains(&byte));
    if units::duration(value).is_ok()
        || units::size(value).is_ok()
        || units::percent(value).is_ok()
        || is_word
    {
        return format!("texts, durations and sizes stand in quotes: write `{key} = \"{value}\"`");
    }
    "see https://toml.io for how tables, texts and lists are written".to_owned()
}
