//! Prints what the curves show, side by side: false returns, long watches, detection, distance to the bound.
//! Refuses to pick: every contender sees every cell, and what was not found is printed as such.

mod detection;
mod distance;
mod false_returns;
mod library;
mod long;

pub use detection::detection;
pub use distance::distance;
pub use false_returns::{deployments, false_returns};
pub use library::Library;
pub use long::{hold_back, long_watches};

use crate::chance::mixed;
use crate::curve::{Cell, Contender, Outcome, run};
use crate::rivals::Rival;
use crate::traffic::{Fault, Mode, Scene, Traffic};
use std::fmt::Write;

/// Length of a watch.
pub const WATCH_S: u64 = 600;
const DAY_S: u64 = 86_400;

/// How much is run. More is more exact and takes longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    pub seed: u64,
    pub threads: usize,
    /// Watches of a healthy candidate, per cell.
    pub healthy: u64,
    /// Watches of a harmful one.
    pub harmful: u64,
    /// Watches of 24 hours.
    pub long: u64,
    /// Deployments of ten minutes of the same version.
    pub deployments: u64,
    /// Different days our judge is calibrated on.
    pub references: u64,
}

impl Default for Sizes {
    /// What two cores do in about ten minutes.
    fn default() -> Self {
        Self { seed: 4, threads: 2, healthy: 200, harmful: 100, long: 16, deployments: 2000, references: 8 }
    }
}

impl Sizes {
    /// Runs so many times as many watches in each cell.
    pub fn times(self, times: u64) -> Self {
        let times = times.max(1);
        Self { healthy: self.healthy * times, harmful: self.harmful * times, long: self.long * times, ..self }
    }
}

/// Where a table's cells differ: requests a second and the candidate's share.
pub const PLACES: [(f64, f64); 6] =
    [(100.0, 0.05), (100.0, 0.1), (100.0, 0.5), (1000.0, 0.05), (1000.0, 0.1), (1000.0, 0.5)];

pub const MODES: [(Mode, &str); 2] = [(Mode::Independent, "independent"), (Mode::Bursts, "bursts")];

/// What is wrong with the candidates of the detection tables: name, stable's error rate, fault.
pub fn faults() -> [(&'static str, f64, Fault); 12] {
    [
        ("0 → 100 %", 0.0, Fault::Errors(1.0)),
        ("crash at 180 s", 0.001, Fault::Crash { second: 180 }),
        ("0.5 → 5 %", 0.005, Fault::Errors(0.05)),
        ("0.1 → 1 %", 0.001, Fault::Errors(0.01)),
        ("1 → 2 %", 0.01, Fault::Errors(0.02)),
        ("0.1 → 0.2 %", 0.001, Fault::Errors(0.002)),
        ("slow part × 1.5", 0.001, Fault::SlowPartTimes(1.5)),
        ("p99 × 1.5", 0.001, Fault::P99Times(1.5)),
        ("p50 + 10 %", 0.001, Fault::AllTimes(1.1)),
        ("2 % + 500 ms", 0.001, Fault::Delayed { share: 0.02, ms: 500.0 }),
        ("leak 0.1 → 5 %", 0.001, Fault::Leak { from: 0.001, to: 0.05, seconds: 600 }),
        ("route at 2 %", 0.001, Fault::Route { traffic: 0.02, errors: 1.0 }),
    ]
}

/// Runs one cell; its seed depends on what it is, so that leaving a table out changes no other.
fn cell(sizes: &Sizes, scene: Scene, seconds: u64, watches: u64, contenders: &[Contender]) -> Vec<Outcome> {
    let seed = mixed(sizes.seed) ^ fingerprint(&format!("{scene:?}"));
    run(&Cell { traffic: Traffic::new(scene), seconds, watches, seed }, contenders, sizes.threads)
}

/// FNV-1a of a text.
fn fingerprint(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn rivals(of: &[Rival]) -> Vec<Contender<'static>> {
    of.iter().copied().map(Contender::rival).collect()
}

/// A table of text, printed as Markdown with aligned columns.
struct Grid {
    rows: Vec<Vec<String>>,
}

impl Grid {
    fn new(header: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { rows: vec![header.into_iter().map(Into::into).collect()] }
    }

    fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    fn print(&self) -> String {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                let padding = " ".repeat(width - cell.chars().count());
                write!(text, "| {cell}{padding} ").expect("BUG: writing to a String cannot fail");
            }
            text.push_str("|\n");
            if number == 0 {
                widths.iter().for_each(|width| text.push_str(&format!("|{}", "-".repeat(width + 2))));
                text.push_str("|\n");
            }
        }
        text
    }
}

/// Returns a share in percent with as many digits as it deserves.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        0.0 => "0".to_owned(),
        small if small < 0.1 => format!("{small:.2}"),
        medium if medium < 10.0 => format!("{medium:.1}"),
        large => format!("{large:.0}"),
    }
}

/// Returns `median/p95 s, mean/p95 harmed (detected)`.
fn found(outcome: &Outcome) -> String {
    let seconds = |share| outcome.seconds(share).map_or("–".to_owned(), |seconds| format!("{seconds:.0}"));
    let mut text = format!(
        "{}/{} s, {:.0}/{:.0}",
        seconds(0.5),
        seconds(0.95),
        outcome.harmed_mean(),
        outcome.harmed(0.95)
    );
    if outcome.detected() == 0.0 {
        text = format!("never, {:.0}", outcome.harmed_mean());
    } else if outcome.detected() < 0.995 {
        write!(text, " ({} %)", percent(outcome.detected())).expect("BUG: writing to a String cannot fail");
    }
    text
}
