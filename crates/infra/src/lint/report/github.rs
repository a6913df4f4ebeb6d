//! The report as GitHub's workflow commands: one annotation a finding.

use super::lines;
use crate::finding::Severity;
use crate::lint::run::Report;
use crate::tree::Tree;

/// Writes a report as annotations.
pub fn github(tree: &Tree, report: &Report) -> String {
    let mut written = String::new();
    for finding in &report.findings {
        let at = lines(tree, &finding.at);
        let level = match finding.severity {
            Severity::Critical | Severity::High => "error",
            Severity::Medium => "warning",
            Severity::Low => "notice",
        };
        let mut message = finding.message.clone();
        if let Some((place, note)) = &finding.other {
            message.push_str(&format!("\n{}:{}: {note}", place.path, lines(tree, place).line));
        }
        message.push_str(&format!("\nwrite instead: {}", finding.instead));
        let (path, rule, message) = (property(&finding.at.path), property(finding.rule), data(&message));
        let place =
            format!("line={},col={},endLine={},endColumn={}", at.line, at.column, at.end_line, at.end_column);
        written.push_str(&format!("::{level} file={path},{place},title={rule}::{message}\n"));
    }
    for (path, why) in &report.unreadable {
        written.push_str(&format!("::error file={}::cannot read it: {}\n", property(path), data(why)));
    }
    written
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
