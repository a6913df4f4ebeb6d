//! The report as SARIF 2.1.0, for code scanning. https://docs.oasis-open.org/sarif/sarif/v2.1.0/

use super::lines;
use crate::finding::{Finding, Place, Severity};
use crate::lint::rules;
use crate::lint::run::Report;
use crate::tree::Tree;
use serde_json::{Value, json};

/// Writes a report as SARIF.
pub fn sarif(tree: &Tree, report: &Report, version: &str) -> Value {
    let descriptors: Vec<Value> = rules::all()
        .map(|rule| {
            json!({
                "id": rule.id,
                "shortDescription": { "text": rule.says },
                "fullDescription": { "text": rule.why },
                "help": { "text": format!("Write instead: {}", rule.instead) },
                "defaultConfiguration": { "level": level(rule.severity) },
            })
        })
        .collect();
    let results: Vec<Value> = report
        .findings
        .iter()
        .zip(&report.fingerprints)
        .map(|(finding, print)| result(tree, finding, print))
        .collect();
    let unreadable = report.unreadable.iter().map(|(path, why)| {
        json!({
            "level": "error",
            "message": { "text": format!("cannot read {path}: {why}") },
            "locations": [{ "physicalLocation": { "artifactLocation": { "uri": uri(path) } } }],
        })
    });
    let unchecked = report.unchecked.iter().map(|unknown| {
        let text = format!("not checked: {}", unknown.why);
        json!({ "level": "note", "message": { "text": text }, "associatedRule": { "id": unknown.rule } })
    });
    let notices: Vec<Value> = unreadable.chain(unchecked).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "medeclipse", "version": version, "rules": descriptors } },
            "columnKind": "unicodeCodePoints",
            "results": results,
            "invocations": [{ "executionSuccessful": report.unreadable.is_empty(), "toolExecutionNotifications": notices }],
        }],
    })
}

fn result(tree: &Tree, finding: &Finding, fingerprint: &str) -> Value {
    let mut result = json!({
        "ruleId": finding.rule,
        "level": level(finding.severity),
        "message": { "text": format!("{}. Write instead: {}", finding.message, finding.instead) },
        "locations": [{ "physicalLocation": physical(tree, &finding.at) }],
        "partialFingerprints": { "medeclipse/v1": fingerprint },
        "properties": { "severity": finding.severity },
    });
    if let Some(index) = rules::all().position(|rule| rule.id == finding.rule) {
        result["ruleIndex"] = json!(index);
    }
    if let Some((place, note)) = &finding.other {
        let related =
            json!({ "id": 1, "message": { "text": note }, "physicalLocation": physical(tree, place) });
        result["relatedLocations"] = json!([related]);
    }
    if let Some(fix) = &finding.fix {
        let replacement =
            json!({ "deletedRegion": region(tree, &fix.at), "insertedContent": { "text": fix.with } });
        let change =
            json!({ "artifactLocation": { "uri": uri(&fix.at.path) }, "replacements": [replacement] });
        result["fixes"] =
            json!([{ "description": { "text": finding.instead }, "artifactChanges": [change] }]);
    }
    result
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low => "note",
    }
}

/// A path as a relative reference.
fn uri(path: &str) -> String {
    let mut written = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_' | b'~') {
            written.push(char::from(byte));
        } else {
            written.push_str(&format!("%{byte:02X}"));
        }
    }
    written
}

fn region(tree: &Tree, place: &Place) -> Value {
    let at = lines(tree, place);
    json!({ "startLine": at.line, "startColumn": at.column, "endLine": at.end_line, "endColumn": at.end_column })
}

fn physical(tree: &Tree, place: &Place) -> Value {
    json!({ "artifactLocation": { "uri": uri(&place.path) }, "region": region(tree, place) })
}
