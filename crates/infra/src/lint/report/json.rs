//! The report for programs: one object, fields only added.

use super::lines;
use crate::finding::Place;
use crate::lint::rules;
use crate::lint::run::Report;
use crate::tree::Tree;
use serde_json::{Map, Value, json};

/// Writes a report as JSON.
pub fn json(tree: &Tree, report: &Report) -> Value {
    let findings: Vec<Value> = report
        .findings
        .iter()
        .zip(&report.fingerprints)
        .map(|(finding, fingerprint)| {
            let mut item = placed(tree, &finding.at);
            item.insert("rule".to_owned(), json!(finding.rule));
            item.insert("severity".to_owned(), json!(finding.severity));
            item.insert("message".to_owned(), json!(finding.message));
            item.insert("why".to_owned(), json!(rules::find(finding.rule).map_or("", |rule| rule.why)));
            item.insert("instead".to_owned(), json!(finding.instead));
            item.insert("fix".to_owned(), json!(finding.fix.as_ref().map(|fix| &fix.with)));
            item.insert("fingerprint".to_owned(), json!(fingerprint));
            let other = finding.other.as_ref().map(|(place, note)| {
                let mut other = placed(tree, place);
                other.insert("note".to_owned(), json!(note));
                other
            });
            item.insert("contradicts".to_owned(), json!(other));
            Value::Object(item)
        })
        .collect();
    let not_checked: Vec<Value> = report
        .unchecked
        .iter()
        .map(|unknown| {
            let mut item = unknown.at.as_ref().map_or_else(Map::new, |at| placed(tree, at));
            item.insert("rule".to_owned(), json!(unknown.rule));
            item.insert("why".to_owned(), json!(unknown.why));
            Value::Object(item)
        })
        .collect();
    let unreadable: Vec<Value> =
        report.unreadable.iter().map(|(path, why)| json!({ "path": path, "why": why })).collect();
    json!({
        "files": report.files,
        "findings": findings,
        "not_checked": not_checked,
        "unreadable": unreadable,
        "waived": report.waived,
        "in_baseline": report.known,
    })
}

fn placed(tree: &Tree, place: &Place) -> Map<String, Value> {
    let at = lines(tree, place);
    let mut item = Map::new();
    item.insert("path".to_owned(), json!(place.path));
    for (key, number) in
        [("line", at.line), ("column", at.column), ("end_line", at.end_line), ("end_column", at.end_column)]
    {
        item.insert(key.to_owned(), json!(number));
    }
    item
}
