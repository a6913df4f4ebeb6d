//! Keeps a day of what the stable version's own users saw, for the judge to be calibrated on: five-second blocks by arm
//! bucket, latency thresholds, the time of day, routes, and the last hour. Judges nothing and forgets by itself; see
//! `blocks` for what a block is, `periods` for the rest, `file` for how it survives a restart of the engine.

mod blocks;
mod file;
mod periods;
mod thresholds;

pub use blocks::Blocks;
pub use periods::{HALF_HOURS_A_DAY, Recent, Tally};
pub use thresholds::Thresholds;

use blocks::{Group, OpenBlock, Ring};
use file::File;
use meter::wire::{CountRow, SecondRecord};
use periods::Periods;
use rollout::names::{Revision, Target, Weight};
use std::path::{Path, PathBuf};
use thresholds::Boundaries;

/// Latency thresholds at most.
pub const THRESHOLDS: usize = 4;
/// The file is written at most this often.
const SAVE_SECONDS: u64 = 60;
/// A second this much older than the last one is not a repetition: the clock was set back.
const CLOCK_BACK_SECONDS: u64 = 3600;

/// What is known of one target's stable version. The reference is of the service: it stays when another revision
/// becomes stable, and says how much of it is of the present one.
pub struct Reference {
    target: String,
    wanted: Thresholds,
    known: Known,
    /// None when no file could be opened: what is known then ends with the process.
    file: Option<File>,
    saved_at: u64,
}

/// Everything that survives a restart but the block that is open.
#[derive(Default)]
struct Known {
    /// The last second added, since the Unix epoch.
    second: u64,
    revision: Revision,
    /// The first block of this revision.
    revision_since: u64,
    boundaries: Option<Boundaries>,
    ring: Ring,
    periods: Periods,
    open: OpenBlock,
}

impl Reference {
    /// Returns where the reference of a target lies.
    pub fn path(folder: &Path, target: &Target) -> PathBuf {
        folder.join(format!("{target}.db"))
    }

    /// Opens what is known of a target. A missing file is an empty one; a damaged one is removed and said in the log:
    /// the judge then starts cold, which is slower and no less right.
    pub fn open(path: &Path, target: &Target, wanted: Thresholds) -> Self {
        let (file, known) = File::open(path);
        let mut reference =
            Self { target: target.to_string(), wanted: wanted.clone(), saved_at: known.second, known, file };
        reference.want(wanted);
        reference
    }

    /// Says which thresholds are asked for from now on. Others than before begin anew; requests and errors stay.
    pub fn want(&mut self, wanted: Thresholds) {
        let same = self.known.boundaries.as_ref().is_none_or(|boundaries| boundaries.are_of(&wanted));
        if !same {
            self.known.boundaries = None;
            self.known.open = OpenBlock::default();
        }
        self.wanted = wanted;
    }

    /// Adds one closed second. Requests of the allow list chose their arm and those of clients that left say nothing,
    /// so neither is counted. A second already added is left out, and so is a block with a missing second, or one in
    /// which another revision had a share: then some buckets are not stable's.
    pub fn add(&mut self, record: &SecondRecord, stable: Revision) {
        let rows: Vec<&CountRow> = record.rows.iter().filter(|row| row.target == self.target).collect();
        if rows.is_empty() || !self.known.is_new(record.second) {
            return;
        }
        self.known.second = record.second;
        self.known.turn_to(stable);
        self.known.periods.add(record.second, &rows, stable);
        self.known.open_block(record.second, &self.wanted);
        let margin = self.wanted.margin_buckets;
        let bounds = self.known.boundaries.as_ref().map(|boundaries| boundaries.buckets);
        self.known.open.add(record, &self.target, stable, bounds.map(|buckets| (buckets, margin)));
        if self.known.open.is_full() {
            self.known.close_block(&self.wanted);
        }
    }

    /// Returns the blocks with the traffic divided as a candidate of this weight would have it, oldest first. Exact for
    /// every weight; at full weight everything is the candidate's. Takes some ten milliseconds for a whole day.
    pub fn blocks(&self, weight: Weight) -> Blocks {
        self.known.ring.divided(weight, self.known.latency_since())
    }

    /// Returns the histogram bucket nearest each wanted quantile of stable's latency; None before a thousand requests.
    /// Slow is what lies in this bucket or above. Quantiles that were not asked for have the highest number there is.
    pub fn boundaries(&self) -> Option<[i16; THRESHOLDS]> {
        self.known.boundaries.as_ref().map(|boundaries| boundaries.buckets)
    }

    /// Returns the share of stable's requests of the last day that were slow by each boundary.
    pub fn shares_above(&self) -> Option<[f64; THRESHOLDS]> {
        let boundaries = self.boundaries()?;
        let (latency, requests) = (self.known.periods.latency(), self.known.periods.day().requests);
        (requests > 0).then(|| boundaries.map(|bucket| latency.count_from(bucket) as f64 / requests as f64))
    }

    /// Returns requests and errors of all blocks.
    pub fn tally(&self) -> Tally {
        self.tally_since(0)
    }

    /// Returns the same of the revision last added alone.
    pub fn tally_of_present(&self) -> Tally {
        self.tally_since(self.known.revision_since)
    }

    fn tally_since(&self, block: u64) -> Tally {
        let Group { requests, errors, repeated, .. } = self.known.ring.sum_since(block);
        let (requests, errors) = (u64::from(requests), u64::from(errors));
        Tally { requests, errors, errors_once: errors - u64::from(repeated).min(errors) }
    }

    /// Returns how much is known: hours of blocks.
    pub fn hours(&self) -> f64 {
        Ring::hours(self.known.ring.len())
    }

    /// Returns how much of it has latencies by the present boundaries.
    pub fn hours_of_latency(&self) -> f64 {
        Ring::hours(self.known.ring.len_since(self.known.latency_since()))
    }

    /// Returns the revision last added, and how much is of it: hours of blocks.
    pub fn present(&self) -> (Revision, f64) {
        (self.known.revision, Ring::hours(self.known.ring.len_since(self.known.revision_since)))
    }

    /// Returns stable's requests and errors of the last seven days by the half-hour of the UTC day.
    pub fn seasonal(&self) -> [Tally; HALF_HOURS_A_DAY] {
        self.known.periods.seasonal()
    }

    /// Returns stable's requests and errors of the last day by route template, the busiest first.
    pub fn routes(&self) -> Vec<(String, Tally)> {
        self.known.periods.routes()
    }

    /// Returns what the last hour had.
    pub fn recent(&self) -> Recent {
        self.known.periods.recent()
    }

    /// Writes what is new, if a minute has passed since the last time. Blocks on the disk.
    pub fn save_when_due(&mut self) {
        if self.known.second.abs_diff(self.saved_at) >= SAVE_SECONDS {
            self.save();
        }
    }

    /// Writes what is new. What cannot be written is said in the log once and kept in memory. Blocks on the disk.
    pub fn save(&mut self) {
        self.saved_at = self.known.second;
        if let Some(file) = &mut self.file {
            file.save(&mut self.known);
        }
    }
}

impl Known {
    fn is_new(&self, second: u64) -> bool {
        second > self.second || second + CLOCK_BACK_SECONDS < self.second
    }

    fn turn_to(&mut self, stable: Revision) {
        if self.revision != stable {
            self.revision = stable;
            self.revision_since = self.ring.next();
            self.open.spoil();
        }
    }

    fn open_block(&mut self, second: u64, wanted: &Thresholds) {
        if !self.open.covers(second) {
            self.close_block(wanted);
            self.open = OpenBlock::of(second);
        }
    }

    /// Keeps the open block if it is whole, and looks whether the thresholds still fit: they change between blocks only.
    fn close_block(&mut self, wanted: &Thresholds) {
        let open = std::mem::take(&mut self.open);
        if open.is_empty() {
            return;
        }
        if open.is_usable() {
            self.ring.push(&open);
        }
        thresholds::review(&mut self.boundaries, &self.periods, wanted, self.ring.next());
    }

    /// Returns the first block counted by the present boundaries.
    fn latency_since(&self) -> u64 {
        self.boundaries.as_ref().map_or(u64::MAX, |boundaries| boundaries.since)
    }
}

#[cfg(test)]
mod tests;
