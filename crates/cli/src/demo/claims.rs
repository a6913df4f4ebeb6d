//! Says what the demo claims, from what was counted, and whether each claim held.

use super::stage::Deployed;
use crate::load::Latency;
use rollout::event::Outcome;
use serde::Serialize;
use std::fmt::Write;

/// Everything the demo counted.
#[derive(Debug, Serialize)]
pub struct Claims {
    pub first: Ended,
    pub good: Ended,
    pub bad: Ended,
    pub requests: u64,
    pub failed: u64,
    /// Answered by stable after v3 had failed.
    pub replayed: u64,
    pub connections_lost: u64,
    pub failed_before_good: u64,
    /// Requests that failed or connections that broke while v2 was rolled out.
    pub failed_during_good: u64,
    pub requests_during_good: u64,
    /// Bad responses users got because of v3.
    pub bad_until_return: u64,
    /// Of these, to requests sent after the verdict was written down.
    pub bad_after_verdict: Option<u64>,
    /// From the verdict to the end of the last bad response among requests sent after it.
    pub verdict_to_last_bad_ms: Option<f64>,
    pub latency_ms: Latency,
    pub served_by_version: String,
    pub served_by_release: String,
    pub seconds: f64,
}

/// How one deployment ended.
#[derive(Debug, Serialize)]
pub struct Ended {
    pub outcome: Option<Outcome>,
    pub exit_code: i32,
    pub release: Option<String>,
    pub seconds: f64,
}

impl Ended {
    pub fn of(deployed: &Deployed) -> Self {
        Self {
            outcome: deployed.outcome,
            exit_code: deployed.code,
            release: deployed.release.clone(),
            seconds: deployed.took.as_secs_f64(),
        }
    }

    fn text(&self) -> String {
        let outcome = self.outcome.map_or_else(|| "nothing".to_owned(), |outcome| outcome.to_string());
        format!("{outcome} after {:.1} s", self.seconds)
    }
}

impl Claims {
    /// Returns each claim and whether it held.
    fn list(&self) -> [(bool, String); 4] {
        let good = self.good.outcome == Some(Outcome::Promoted) && self.good.exit_code == 0;
        let unharmed =
            self.failed_during_good == 0 && self.failed_before_good == 0 && self.requests_during_good > 0;
        let returned = self.bad.outcome == Some(Outcome::RolledBack) && self.bad.exit_code == 4;
        let proven =
            self.served_by_version == "v2" && Some(&self.served_by_release) == self.good.release.as_ref();
        [
            (good, format!("v2 was promoted: {}", self.good.text())),
            (
                unharmed,
                format!(
                    "no request failed meanwhile: {} of {}",
                    self.failed_during_good, self.requests_during_good
                ),
            ),
            (returned, format!("v3 was taken back without a human: {}", self.bad.text())),
            (
                proven,
                format!(
                    "v2 answers at the end, by header: {} ({})",
                    self.served_by_version, self.served_by_release
                ),
            ),
        ]
    }

    pub fn all_hold(&self) -> bool {
        self.list().iter().all(|(held, _)| *held)
    }

    /// Writes the numbers, then the claims.
    pub fn table(&self) -> String {
        let time =
            self.verdict_to_last_bad_ms.map_or_else(|| "no verdict".to_owned(), |ms| format!("{ms:.1} ms"));
        let rows = [
            ("requests served", self.requests.to_string()),
            ("requests failed, all because of v3", self.failed.to_string()),
            ("requests replayed on stable", self.replayed.to_string()),
            ("connections lost by the edge", self.connections_lost.to_string()),
            ("bad responses until v3 was returned", self.bad_until_return.to_string()),
            ("from the verdict to the last bad response", time),
            ("latency p50 / p99 / max", {
                let ms = &self.latency_ms;
                format!("{:.1} / {:.1} / {:.1} ms", ms.p50, ms.p99, ms.max)
            }),
            ("time for all of it", format!("{:.1} s", self.seconds)),
        ];
        let mut text = String::new();
        for (name, value) in rows {
            writeln!(text, "  {name:<44}{value}").expect("BUG: writing to a string cannot fail");
        }
        for (held, claim) in self.list() {
            let mark = if held { "held  " } else { "BROKEN" };
            write!(text, "\n  {mark}  {claim}").expect("BUG: writing to a string cannot fail");
        }
        text
    }
}
