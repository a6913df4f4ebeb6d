//! Writes a report as JSON, HTML and Markdown, in French and in English. Adds nothing to what was found.

use super::{Outcome, RULES, Report, Rule, Verdict};
use crate::finding::Severity;
use std::fmt::Write;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    English,
    French,
}

/// The words of a report.
struct Words {
    code: &'static str,
    title: &'static str,
    summary: &'static str,
    open: &'static str,
    rules: &'static str,
    columns: [&'static str; 5],
    findings: &'static str,
    finding_columns: [&'static str; 4],
    evidence: &'static str,
    map: &'static str,
    map_columns: [&'static str; 6],
    waived: &'static str,
    nothing: &'static str,
    missing: &'static str,
}

const ENGLISH: Words = Words {
    code: "en",
    title: "Compliance of the infrastructure",
    summary: "As of",
    open: "open findings",
    rules: "Rules",
    columns: ["Rule", "Requirement", "Source", "Severity", "Result"],
    findings: "Findings",
    finding_columns: ["Rule", "Where", "What", "Instead"],
    evidence: "Evidence",
    map: "Who holds data (HDS 2.0, EXI 31)",
    map_columns: [
        "Actor",
        "Role",
        "Places",
        "HDS certificate",
        "Until",
        "Laws from outside the Union (EXI 30)",
    ],
    waived: "accepted",
    nothing: "none",
    missing: "not named",
};

const FRENCH: Words = Words {
    code: "fr",
    title: "Conformité de l'infrastructure",
    summary: "État au",
    open: "constats ouverts",
    rules: "Règles",
    columns: ["Règle", "Exigence", "Source", "Gravité", "Résultat"],
    findings: "Constats",
    finding_columns: ["Règle", "Lieu", "Constat", "Correction"],
    evidence: "Éléments de preuve",
    map: "Qui détient les données (HDS 2.0, EXI 31)",
    map_columns: ["Acteur", "Rôle", "Lieux", "Certificat HDS", "Jusqu'au", "Lois extra-européennes (EXI 30)"],
    waived: "accepté",
    nothing: "aucun",
    missing: "non renseigné",
};

impl Language {
    const fn words(self) -> &'static Words {
        match self {
            Self::English => &ENGLISH,
            Self::French => &FRENCH,
        }
    }
}

/// As JSON, for programs; the words of the rules in both languages.
pub fn json(report: &Report) -> serde_json::Value {
    let rules: Vec<serde_json::Value> = report
        .outcomes
        .iter()
        .map(|outcome| {
            let rule = rule(outcome);
            serde_json::json!({
                "rule": outcome.rule,
                "verdict": outcome.verdict,
                "severity": rule.map(|rule| rule.severity),
                "source": rule.map(|rule| rule.source),
                "english": rule.map(|rule| rule.english),
                "french": rule.map(|rule| rule.french),
                "evidence": outcome.evidence,
                "findings": outcome.findings,
            })
        })
        .collect();
    serde_json::json!({ "date": report.date, "open": report.open().count(), "rules": rules, "transfers": report.transfers })
}

fn rule(outcome: &Outcome) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.id == outcome.rule)
}

fn result(verdict: Verdict, language: Language) -> &'static str {
    match (verdict, language) {
        (Verdict::Held, Language::English) => "held",
        (Verdict::Held, Language::French) => "respectée",
        (Verdict::Broken, Language::English) => "BROKEN",
        (Verdict::Broken, Language::French) => "NON RESPECTÉE",
        (Verdict::Waived, Language::English) => "waived",
        (Verdict::Waived, Language::French) => "dérogation",
        (Verdict::NotApplicable, Language::English) => "nothing is subject to it",
        (Verdict::NotApplicable, Language::French) => "sans objet",
        (Verdict::DecidedElsewhere, Language::English) => "decided by the deploy gate or by live state",
        (Verdict::DecidedElsewhere, Language::French) => {
            "décidée au déploiement ou sur le système en service"
        }
    }
}

fn severity(severity: Severity, language: Language) -> &'static str {
    match (severity, language) {
        (severity, Language::English) => severity.word(),
        (Severity::Critical, Language::French) => "critique",
        (Severity::High, Language::French) => "élevée",
        (Severity::Medium, Language::French) => "moyenne",
        (Severity::Low, Language::French) => "faible",
    }
}

/// A table: its head and rows.
struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

fn of_rules(report: &Report, language: Language) -> Table {
    let rows = report.outcomes.iter().map(|outcome| {
        let rule = rule(outcome);
        let text = |get: fn(&Rule) -> &'static str| rule.map_or(String::new(), |rule| get(rule).to_owned());
        let requirement = match language {
            Language::English => text(|rule| rule.english),
            Language::French => text(|rule| rule.french),
        };
        let severity = rule.map_or(String::new(), |rule| self::severity(rule.severity, language).to_owned());
        vec![
            outcome.rule.to_owned(),
            requirement,
            text(|rule| rule.source),
            severity,
            result(outcome.verdict, language).to_owned(),
        ]
    });
    Table { head: language.words().columns.map(str::to_owned).to_vec(), rows: rows.collect() }
}

fn of_findings(report: &Report, language: Language) -> Table {
    let words = language.words();
    let rows = report.outcomes.iter().flat_map(|outcome| &outcome.findings).map(|finding| {
        let what = match &finding.waived {
            Some(reason) => format!("{} ({}: {reason})", finding.what, words.waived),
            None => finding.what.clone(),
        };
        vec![
            finding.rule.clone(),
            format!("{} {}", finding.at.path, finding.address),
            what,
            finding.instead.clone(),
        ]
    });
    Table { head: words.finding_columns.map(str::to_owned).to_vec(), rows: rows.collect() }
}

fn of_map(report: &Report, language: Language) -> Table {
    let words = language.words();
    let rows = report.transfers.iter().map(|row| {
        let role = if language == Language::French { row.role_fr } else { row.role_en };
        let or_missing = |text: &Option<String>| text.clone().unwrap_or_else(|| words.missing.to_owned());
        vec![
            row.actor.clone(),
            role.to_owned(),
            row.places.join(", "),
            or_missing(&row.certificate),
            or_missing(&row.expires),
            row.foreign_law.to_owned(),
        ]
    });
    Table { head: words.map_columns.map(str::to_owned).to_vec(), rows: rows.collect() }
}

/// As Markdown.
pub fn markdown(report: &Report, language: Language) -> String {
    let words = language.words();
    let mut text = format!(
        "# {}\n\n{} {}: {} {}.\n",
        words.title,
        words.summary,
        report.date,
        report.open().count(),
        words.open
    );
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    for (title, table) in tables(report, language) {
        writeln!(text, "\n## {title}\n").expect("BUG: a text takes text");
        if table.rows.is_empty() {
            text.push_str(&format!("{}.\n", words.nothing));
            continue;
        }
        let line = |cells: &[String]| {
            format!("| {} |\n", cells.iter().map(|text| cell(text)).collect::<Vec<_>>().join(" | "))
        };
        text.push_str(&line(&table.head));
        text.push_str(&format!("|{}\n", "---|".repeat(table.head.len())));
        table.rows.iter().for_each(|row| text.push_str(&line(row)));
    }
    writeln!(text, "\n## {}", words.evidence).expect("BUG: a text takes text");
    for outcome in report.outcomes.iter().filter(|outcome| !outcome.evidence.is_empty()) {
        writeln!(text, "\n### {}\n", outcome.rule).expect("BUG: a text takes text");
        outcome.evidence.iter().for_each(|line| text.push_str(&format!("- {line}\n")));
    }
    text
}

fn tables(report: &Report, language: Language) -> [(&'static str, Table); 3] {
    let words = language.words();
    [
        (words.findings, of_findings(report, language)),
        (words.rules, of_rules(report, language)),
        (words.map, of_map(report, language)),
    ]
}

/// As one HTML page that needs nothing beside it.
pub fn html(report: &Report, language: Language) -> String {
    let words = language.words();
    let mut text = format!(
        "<!doctype html>\n<html lang=\"{}\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n\
         <style>body{{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1b1b1b}}\
         table{{border-collapse:collapse;width:100%;margin:1rem 0}}th,td{{border:1px solid #ccc;padding:.4rem .6rem;text-align:left;vertical-align:top}}\
         th{{background:#f2f2f2}}summary{{cursor:pointer}}</style>\n<h1>{}</h1>\n<p>{} {}: {} {}.</p>\n",
        words.code,
        escaped(words.title),
        escaped(words.title),
        words.summary,
        report.date,
        report.open().count(),
        words.open
    );
    for (title, table) in tables(report, language) {
        writeln!(text, "<h2>{}</h2>", escaped(title)).expect("BUG: a text takes text");
        if table.rows.is_empty() {
            writeln!(text, "<p>{}.</p>", words.nothing).expect("BUG: a text takes text");
            continue;
        }
        let line = |cells: &[String], tag: &str| {
            let cells: String =
                cells.iter().map(|text| format!("<{tag}>{}</{tag}>", escaped(text))).collect();
            format!("<tr>{cells}</tr>\n")
        };
        text.push_str(&format!("<table>\n{}", line(&table.head, "th")));
        table.rows.iter().for_each(|row| text.push_str(&line(row, "td")));
        text.push_str("</table>\n");
    }
    writeln!(text, "<h2>{}</h2>", escaped(words.evidence)).expect("BUG: a text takes text");
    for outcome in report.outcomes.iter().filter(|outcome| !outcome.evidence.is_empty()) {
        let lines: String =
            outcome.evidence.iter().map(|line| format!("<li>{}</li>\n", escaped(line))).collect();
        writeln!(
            text,
            "<details><summary>{} ({})</summary>\n<ul>\n{lines}</ul></details>",
            outcome.rule,
            outcome.evidence.len()
        )
        .expect("BUG: a text takes text");
    }
    text.push_str("</html>\n");
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
