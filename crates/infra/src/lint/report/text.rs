//! The report for people: worst first, the text underlined, the other place beside it.

use super::{lines, text_of};
use crate::finding::{Finding, Place, Severity};
use crate::lint::rules::{self, Rule};
use crate::lint::run::Report;
use crate::tree::Tree;
use std::collections::BTreeMap;

/// Whether the reader's terminal shows colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    Yes,
    No,
}

/// Longest piece of a line that is shown.
const SHOWN_MAX: usize = 140;

fn painted(text: &str, code: &str, color: Color) -> String {
    match color {
        Color::Yes => format!("\x1b[{code}m{text}\x1b[0m"),
        Color::No => text.to_owned(),
    }
}

fn paint_of(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "1;31",
        Severity::High => "31",
        Severity::Medium => "33",
        Severity::Low => "36",
    }
}

/// Writes a report for people.
pub fn text(tree: &Tree, report: &Report, color: Color) -> String {
    let mut written = String::new();
    let mut explained: Vec<&str> = Vec::new();
    for finding in &report.findings {
        one(tree, finding, color, &mut explained, &mut written);
    }
    for (path, why) in &report.unreadable {
        let word = painted("cannot read", "1;31", color);
        written.push_str(&format!("{word} {}: {why}\n", printable(path)));
    }
    if !report.unreadable.is_empty() {
        written.push('\n');
    }
    unchecked(report, &mut written);
    written.push_str(&summary(report));
    written
}

fn one<'r>(
    tree: &Tree,
    finding: &'r Finding,
    color: Color,
    explained: &mut Vec<&'r str>,
    written: &mut String,
) {
    let word = painted(finding.severity.word(), paint_of(finding.severity), color);
    written.push_str(&format!(
        "{word} {}: {}\n",
        painted(finding.rule, "1", color),
        printable(&finding.message)
    ));
    snippet(tree, &finding.at, None, color, written);
    if let Some((place, note)) = &finding.other {
        snippet(tree, place, Some(note), color, written);
    }
    if let Some(rule) = rules::find(finding.rule).filter(|rule| !explained.contains(&rule.id)) {
        explained.push(rule.id);
        written.push_str(&format!("    why: {}\n", rule.why));
    }
    let fixable = if finding.fix.is_some() { " (`--fix` does it)" } else { "" };
    written.push_str(&format!("  write: {}{fixable}\n\n", printable(&finding.instead)));
}

/// The line of a place with its text underlined.
fn snippet(tree: &Tree, place: &Place, note: Option<&str>, color: Color, written: &mut String) {
    let at = lines(tree, place);
    let arrow = if note.is_some() { "against" } else { "     at" };
    let shown = note.map_or(String::new(), |note| format!("  {}", printable(note)));
    written.push_str(&format!("{arrow} {}:{}:{}{shown}\n", printable(&place.path), at.line, at.column));
    let text = text_of(tree, &place.path);
    let Some(line) = text.split('\n').nth(at.line - 1) else { return };
    let line = line.trim_end();
    let indent = line.chars().take_while(|c| c.is_whitespace()).count();
    let begin = at.column - 1;
    let end = if at.end_line == at.line { at.end_column - 1 } else { line.chars().count() };
    // A long line is shown around the place.
    let skip =
        if begin.saturating_sub(indent) > SHOWN_MAX / 2 { begin - SHOWN_MAX / 4 } else { indent.min(begin) };
    let piece = printable(&line.chars().skip(skip).take(SHOWN_MAX).collect::<String>());
    let room = SHOWN_MAX.saturating_sub(begin - skip).max(1);
    let width = end.saturating_sub(begin).clamp(1, room);
    let (mark, paint) = if note.is_some() { ("-", "34") } else { ("^", "1;31") };
    written.push_str(&format!("  {:>5} | {piece}\n", at.line));
    written.push_str(&format!(
        "        | {}{}\n",
        " ".repeat(begin - skip),
        painted(&mark.repeat(width), paint, color)
    ));
}

/// Control characters would reach the reader's terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What could not be checked, each reason once with how often.
fn unchecked(report: &Report, written: &mut String) {
    let mut grouped: BTreeMap<(&str, &str), (usize, Option<&Place>)> = BTreeMap::new();
    for unknown in &report.unchecked {
        let entry = grouped.entry((unknown.rule, &unknown.why)).or_insert((0, unknown.at.as_ref()));
        entry.0 += 1;
    }
    for ((rule, why), (count, at)) in &grouped {
        let more = if *count > 1 { format!(" and {} more", count - 1) } else { String::new() };
        let place = at.map_or(String::new(), |at| format!(" ({}{more})", at.path));
        written.push_str(&format!("not checked: {rule}: {}{}\n", printable(why), printable(&place)));
    }
    if !grouped.is_empty() {
        written.push('\n');
    }
}

/// The last line.
fn summary(report: &Report) -> String {
    let count = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
    let counted = Severity::ALL.into_iter().filter(|severity| count(*severity) > 0);
    let counts: Vec<String> =
        counted.map(|severity| format!("{} {}", count(severity), severity.word())).collect();
    let mut line = match report.findings.len() {
        0 => "no findings".to_owned(),
        1 => format!("1 finding: {}", counts.join(", ")),
        many => format!("{many} findings: {}", counts.join(", ")),
    };
    line.push_str(&format!(" in {} files", report.files));
    let rest = [
        (report.waived, "waived"),
        (report.known, "in the baseline"),
        (report.unreadable.len(), "unreadable"),
    ];
    for (number, what) in rest {
        if number > 0 {
            line.push_str(&format!("; {number} {what}"));
        }
    }
    line.push('\n');
    line
}

/// What `--explain RULE` prints.
pub fn explain(rule: &Rule) -> String {
    format!(
        "{} ({})\n\n{}\n\nwhy:   {}\nwrite: {}\n\nwaive: # medeclipse:allow {} until=YYYY-MM-DD reason=\"…\"\n",
        rule.id,
        rule.severity.word(),
        rule.says,
        rule.why,
        rule.instead,
        rule.id
    )
}
