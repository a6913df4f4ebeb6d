//! Adds up what the edge counted and writes it as Prometheus text. Labels: target, revision, class; never a path.

use meter::histogram::Histogram;
use meter::wire::{CountRow, GuardRow, MirrorRow, SecondRecord};
use rollout::names::Target;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;

/// Revisions kept; older ones are dropped, as their counters no longer move.
const SERIES_MAX: usize = 200;
/// Rules of guards kept: many targets with many rules each.
const RULES_MAX: usize = 400;
/// The last requests a rule spoke of that are shown.
const EXAMPLES_MAX: usize = 3;
/// Upper bounds of the latency buckets shown, in milliseconds.
const BOUNDS_MS: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 10_000.0];

/// Counters since the engine started.
#[derive(Debug, Default)]
pub struct Metrics {
    series: Mutex<BTreeMap<(String, u64), CountRow>>,
    /// Copies of requests, by target and candidate.
    mirror: Mutex<BTreeMap<(String, u64), MirrorRow>>,
    /// By target and rule.
    guard: Mutex<BTreeMap<(String, String), GuardRow>>,
}

impl Metrics {
    pub fn add(&self, record: &SecondRecord) {
        let mut series = self.series.lock().expect("BUG: nobody panics with this lock");
        for row in &record.rows {
            series.entry((row.target.clone(), row.revision)).or_default().add(row);
        }
        while series.len() > SERIES_MAX {
            series.pop_first();
        }
        drop(series);
        let mut mirror = self.mirror.lock().expect("BUG: nobody panics with this lock");
        for row in &record.mirror {
            mirror.entry((row.target.clone(), row.revision)).or_default().add(row);
        }
        while mirror.len() > SERIES_MAX {
            mirror.pop_first();
        }
        drop(mirror);
        record.guard.iter().for_each(|row| self.add_guard(row));
    }

    fn add_guard(&self, row: &GuardRow) {
        let mut guard = self.guard.lock().expect("BUG: nobody panics with this lock");
        let sum = guard.entry((row.target.clone(), row.rule.clone())).or_default();
        sum.counted += row.counted;
        sum.blocked += row.blocked;
        sum.unknown += row.unknown;
        sum.examples.extend(row.examples.iter().cloned());
        let old = sum.examples.len().saturating_sub(EXAMPLES_MAX);
        sum.examples.drain(..old);
        while guard.len() > RULES_MAX {
            guard.pop_first();
        }
    }

    /// Returns what a rule of a target's guard said since the engine started.
    pub fn guard_of(&self, target: &Target, rule: &str) -> GuardRow {
        let guard = self.guard.lock().expect("BUG: nobody panics with this lock");
        guard.get(&(target.to_string(), rule.to_owned())).cloned().unwrap_or_default()
    }

    fn guard_text(&self, text: &mut String) {
        let guard = self.guard.lock().expect("BUG: nobody panics with this lock");
        let name = "medeclipse_guard_requests_total";
        head(text, name, "Requests a rule of the guard spoke of.", "counter");
        for ((target, rule), row) in guard.iter() {
            for (word, count) in
                [("counted", row.counted), ("blocked", row.blocked), ("unknown", row.unknown)]
            {
                writeln!(text, "{name}{{target=\"{target}\",rule=\"{rule}\",verdict=\"{word}\"}} {count}")
                    .expect("BUG: writing to a string cannot fail");
            }
        }
    }

    fn mirror_text(&self, text: &mut String) {
        let mirror = self.mirror.lock().expect("BUG: nobody panics with this lock");
        let name = "medeclipse_mirrored_total";
        head(
            text,
            name,
            "Copies of requests to a candidate, by what its answer was beside stable's.",
            "counter",
        );
        for ((target, revision), row) in mirror.iter() {
            let same = row.compared.saturating_sub(row.status + row.body);
            let outcomes = [
                ("same", same),
                ("status", row.status),
                ("body", row.body),
                ("unsteady", row.unsteady),
                ("dropped", row.dropped),
            ];
            for (outcome, count) in outcomes {
                line(text, name, target, *revision, &format!(",outcome=\"{outcome}\""), count);
            }
        }
    }

    /// Writes the counters in Prometheus' text format 0.0.4.
    pub fn text(&self) -> String {
        let series = self.series.lock().expect("BUG: nobody panics with this lock");
        let mut text = String::new();
        counter(&mut text, "medeclipse_requests_total", "Requests answered or failed.", &series, |row| {
            row.requests
        });
        counter(
            &mut text,
            "medeclipse_client_errors_total",
            "Answers 400 to 499 but 408 and 429.",
            &series,
            |row| row.client_errors,
        );
        counter(
            &mut text,
            "medeclipse_client_aborts_total",
            "Clients that went away first.",
            &series,
            |row| row.client_aborts,
        );
        counter(
            &mut text,
            "medeclipse_replayed_total",
            "Requests that failed on this revision and were answered by stable.",
            &series,
            |row| row.replayed,
        );
        head(&mut text, "medeclipse_errors_total", "Failed requests by class.", "counter");
        for ((target, revision), row) in series.iter() {
            let classes = [
                ("status", row.errors.status),
                ("limited", row.errors.limited),
                ("connect", row.errors.connect),
                ("reset", row.errors.reset),
                ("timeout", row.errors.timeout),
                ("early_eof", row.errors.early_eof),
            ];
            for (class, count) in classes {
                line(
                    &mut text,
                    "medeclipse_errors_total",
                    target,
                    *revision,
                    &format!(",class=\"{class}\""),
                    count,
                );
            }
        }
        let name = "medeclipse_request_duration_milliseconds";
        head(&mut text, name, "Time to the answer's head.", "histogram");
        for ((target, revision), row) in series.iter() {
            latency(&mut text, name, target, *revision, &row.latency);
        }
        self.mirror_text(&mut text);
        self.guard_text(&mut text);
        text
    }
}

/// Writes of each target whether a rollback would go well now.
pub fn rollback_ready(targets: impl Iterator<Item = (String, bool)>) -> String {
    let name = "medeclipse_rollback_ready";
    let mut text = String::new();
    head(&mut text, name, "Whether a rollback would go well now.", "gauge");
    for (target, ready) in targets {
        writeln!(text, "{name}{{target=\"{target}\"}} {}", u8::from(ready)).expect("BUG: a text takes text");
    }
    text
}

fn counter(
    text: &mut String,
    name: &str,
    help: &str,
    series: &BTreeMap<(String, u64), CountRow>,
    of: impl Fn(&CountRow) -> u64,
) {
    head(text, name, help, "counter");
    for ((target, revision), row) in series {
        line(text, name, target, *revision, "", of(row));
    }
}

/// Writes a cumulative histogram; a bucket that straddles a bound counts above it.
fn latency(text: &mut String, name: &str, target: &str, revision: u64, latency: &Histogram) {
    let total = latency.count();
    for bound in BOUNDS_MS {
        let above = latency.count_from(meter::histogram::bucket(bound) + 1);
        let count = total - above;
        line(text, &format!("{name}_bucket"), target, revision, &format!(",le=\"{bound}\""), count);
    }
    line(text, &format!("{name}_bucket"), target, revision, ",le=\"+Inf\"", total);
    line(text, &format!("{name}_count"), target, revision, "", total);
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}")
        .expect("BUG: writing to a string cannot fail");
}

fn line(text: &mut String, name: &str, target: &str, revision: u64, more: &str, value: u64) {
    writeln!(text, "{name}{{target=\"{target}\",revision=\"{revision}\"{more}}} {value}")
        .expect("BUG: writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use meter::wire::FailingRequest;

    #[test]
    fn o20_what_the_guard_said_adds_up_by_rule_and_keeps_the_last_examples() {
        let metrics = Metrics::default();
        for second in 0..5 {
            let examples = vec![FailingRequest { at_ms: second, ..FailingRequest::default() }];
            let (target, rule) = ("web@local".to_owned(), "rate".to_owned());
            let row = GuardRow { target, rule, blocked: 2, counted: 1, examples, ..GuardRow::default() };
            metrics.add(&SecondRecord { second, guard: vec![row], ..SecondRecord::default() });
        }

        let line =
            "medeclipse_guard_requests_total{target=\"web@local\",rule=\"rate\",verdict=\"blocked\"} 10";
        assert!(metrics.text().contains(line), "{}", metrics.text());
        let sum = metrics.guard_of(&Target::new("web", "local"), "rate");
        assert_eq!((sum.counted, sum.examples.iter().map(|of| of.at_ms).collect()), (5, vec![2, 3, 4]));
        assert_eq!(metrics.guard_of(&Target::new("web", "local"), "other"), GuardRow::default());
    }

    #[test]
    fn copies_are_counted_by_what_they_showed() {
        let metrics = Metrics::default();
        let target = "web@local".to_owned();
        let row = MirrorRow { target, revision: 2, compared: 5, status: 1, body: 1, ..MirrorRow::default() };
        let record = SecondRecord { mirror: vec![row], ..SecondRecord::default() };
        metrics.add(&record);
        metrics.add(&record);

        let text = metrics.text();

        let name = "medeclipse_mirrored_total{target=\"web@local\",revision=\"2\",outcome=";
        for (outcome, count) in [("same", 6), ("status", 2), ("body", 2), ("dropped", 0)] {
            assert!(text.contains(&format!("{name}\"{outcome}\"}} {count}\n")), "{text}");
        }
    }

    #[test]
    fn counts_add_up_and_buckets_are_cumulative() {
        let metrics = Metrics::default();
        let mut row =
            CountRow { target: "web@local".to_owned(), revision: 3, requests: 2, ..CountRow::default() };
        row.latency.record(3.0);
        row.latency.record(700.0);
        let record = SecondRecord { second: 9, rows: vec![row], ..SecondRecord::default() };
        metrics.add(&record);
        metrics.add(&record);

        let text = metrics.text();

        assert!(text.contains("medeclipse_requests_total{target=\"web@local\",revision=\"3\"} 4"), "{text}");
        assert!(text.contains("revision=\"3\",le=\"5\"} 2"), "{text}");
        assert!(text.contains("revision=\"3\",le=\"1000\"} 4"), "{text}");
        assert!(text.contains("revision=\"3\",le=\"2\"} 0"), "{text}");
    }
}
