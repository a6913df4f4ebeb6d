//! Says what a load has shown, as text and as JSON. Counts nothing itself; see `count`.

use super::count::{BadResponse, Label, Snapshot, epoch_us};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::time::SystemTime;

/// Bad responses written out in JSON from each end of the timeline; the counts say the rest.
const SAMPLES: usize = 10;

/// The final counts of a load, and when it went badly.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoadReport {
    #[serde(flatten)]
    pub counts: Snapshot,
    pub requests_per_second: f64,
    /// All bad responses remembered, in the order they ended. Not in JSON: see the samples.
    #[serde(skip)]
    pub bad: Vec<BadResponse>,
    pub bad_first: Vec<BadResponse>,
    pub bad_last: Vec<BadResponse>,
}

impl LoadReport {
    pub(super) fn new(counts: Snapshot, bad: Vec<BadResponse>) -> Self {
        let seconds = counts.elapsed_ms as f64 / 1000.0;
        let requests_per_second = if seconds > 0.0 { counts.requests as f64 / seconds } else { 0.0 };
        let bad_first = bad.iter().take(SAMPLES).copied().collect();
        let bad_last = bad.iter().skip(bad.len().saturating_sub(SAMPLES).max(SAMPLES)).copied().collect();
        Self { counts, requests_per_second, bad, bad_first, bad_last }
    }

    /// Returns the bad response that ended last among requests sent after a moment. None: all of them were good.
    pub fn last_bad_after(&self, moment: SystemTime) -> Option<BadResponse> {
        last_bad_after(&self.bad, moment)
    }

    /// Returns how many of the bad responses belong to requests sent after a moment.
    pub fn bad_after(&self, moment: SystemTime) -> usize {
        let moment_us = epoch_us(moment);
        self.bad.iter().filter(|response| response.start_us > moment_us).count()
    }
}

pub(super) fn last_bad_after(bad: &[BadResponse], moment: SystemTime) -> Option<BadResponse> {
    let moment_us = epoch_us(moment);
    bad.iter()
        .filter(|response| response.start_us > moment_us)
        .max_by_key(|response| response.end_us)
        .copied()
}

impl Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        let seconds = counts.elapsed_ms as f64 / 1000.0;
        writeln!(
            f,
            "{} requests in {seconds:.1} s ({:.0} a second): {} ok, {} failed",
            counts.requests, self.requests_per_second, counts.ok, counts.failed
        )?;
        for (method, tally) in &counts.by_method {
            let method = format!("{method:?}").to_uppercase();
            writeln!(f, "  {method:<12} {} ok, {} failed", tally.ok, tally.failed)?;
        }
        let ms = &counts.latency_ms;
        writeln!(
            f,
            "  latency      p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, max {:.1} ms",
            ms.p50, ms.p90, ms.p99, ms.p999, ms.max
        )?;
        list(f, "failures", counts.by_class.iter().map(|(class, count)| format!("{class} {count}")))?;
        list(f, "status", counts.by_status.iter().map(|(status, count)| format!("{status} × {count}")))?;
        list(f, "release", labels(&counts.by_release))?;
        list(f, "version", labels(&counts.by_version))?;
        let connections = &counts.connections;
        writeln!(
            f,
            "  connections  {} opened, {} lost in a request, {} lost while idle, {} closed by announcement",
            connections.opened, connections.lost_busy, connections.lost_idle, connections.closed_politely
        )?;
        if counts.in_flight > 0 {
            writeln!(f, "  unfinished   {}", counts.in_flight)?;
        }
        Ok(())
    }
}

/// Writes one line of items; nothing when there is none.
fn list(f: &mut fmt::Formatter<'_>, title: &str, items: impl Iterator<Item = String>) -> fmt::Result {
    let items: Vec<String> = items.collect();
    if items.is_empty() {
        return Ok(());
    }
    writeln!(f, "  {title:<12} {}", items.join(", "))
}

fn labels(labels: &BTreeMap<String, Label>) -> impl Iterator<Item = String> {
    labels.iter().map(|(value, label)| format!("{value} {} ok {} failed", label.ok, label.failed))
}
