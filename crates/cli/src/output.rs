//! Writes to the terminal: results to stdout, errors and progress to stderr. Decides no wording.
//! A reader that went away (`| head`) ends the command quietly instead of with a panic.

use crate::exit::{self, Failure};
use anstyle::{AnsiColor, Style};
use std::io::{ErrorKind, IsTerminal, Write};

/// Writes one line to stdout.
pub fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    ended(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// Writes one line to stdout for whoever still reads; for a process whose work does not depend on a reader.
pub fn told(text: &str) {
    let mut out = std::io::stdout().lock();
    // The environment goes on without somebody who watches it.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Writes one JSON document and a line end to stdout.
pub fn json<T: serde::Serialize>(value: &T) {
    line(&serde_json::to_string(value).expect("BUG: a type of ours has a JSON form"));
}

/// Writes one line to stderr.
pub fn aside(text: &str) {
    let mut out = std::io::stderr().lock();
    // Nobody reads stderr any more: then nobody can be told, and what is being done is not worth less.
    let _ = writeln!(out, "{text}");
}

/// Shows why a command failed: three lines on stderr, or one object on stdout.
pub fn failure(failure: &Failure, as_json: bool) {
    if as_json {
        return json(failure);
    }
    if let Some(mistakes) = failure.errors.as_ref().filter(|mistakes| !mistakes.text.is_empty()) {
        aside(mistakes.text.trim_end());
    } else {
        aside(&format!("{} cannot {}", styled("error:", AnsiColor::Red), failure.error));
        if let Some(cause) = &failure.cause {
            aside(&format!("{} {}", styled("cause:", AnsiColor::Yellow), indented(cause)));
        }
    }
    if let Some(next) = &failure.next {
        aside(&format!("{} {}", styled(" next:", AnsiColor::Cyan), indented(next)));
    }
}

/// Puts the further lines of a text under its first one, behind the six columns of `cause:`.
fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n       ")
}

/// Colours a word when stderr is a terminal that wants colours.
fn styled(word: &str, color: AnsiColor) -> String {
    if !wants_color() {
        return word.to_owned();
    }
    let style = Style::new().bold().fg_color(Some(color.into()));
    format!("{style}{word}{style:#}")
}

/// Whether errors are shown in colour.
pub fn wants_color() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn ended(written: std::io::Result<()>) {
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(exit::DONE.into()),
        Err(error) => {
            aside(&format!("error: cannot write to stdout\ncause: {error}"));
            std::process::exit(exit::BUG.into());
        }
    }
}
