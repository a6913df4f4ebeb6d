//! Adds up what the edge counted and writes it as Prometheus text. Labels: target, revision, class; never a path.

use meter::histogram::Histogram;
use meter::wire::{CountRow, SecondRecord};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;

/// Revisions kept; older ones are dropped, as their counters no longer move.
const SERIES_MAX: usize = 200;
/// Upper bounds of the latency buckets shown, in milliseconds.
const BOUNDS_MS: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 10_000.0];

/// Counters since the engine started.
#[derive(Debug, Default)]
pub struct Metrics {
    series: Mutex<BTreeMap<(String, u64), CountRow>>,
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
