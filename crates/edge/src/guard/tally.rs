//! Counts what each rule said in a second, and keeps a few of the requests it spoke of, redacted.
//! One per worker, touched only when a rule has something to say. See `count` for where seconds are closed.

use super::Noted;
use crate::failing::Sample;
use meter::wire::{FailingRequest, GuardRow};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The open second of one worker.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<Vec<Row>>);

#[derive(Debug)]
struct Row {
    target: Arc<str>,
    rule: Arc<str>,
    counts: Counts,
    sample: Sample,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    counted: u64,
    blocked: u64,
    unknown: u64,
}

impl Tally {
    /// Counts a request that a rule spoke of; `request` is asked only if it is kept as an example.
    pub(crate) fn note(
        &self,
        target: &Arc<str>,
        rule: &Arc<str>,
        noted: Noted,
        chance: u64,
        request: impl FnOnce() -> FailingRequest,
    ) {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = rows.iter().position(|row| row.rule == *rule && row.target == *target);
        let place = place.unwrap_or_else(|| {
            let (target, rule) = (Arc::clone(target), Arc::clone(rule));
            rows.push(Row { target, rule, counts: Counts::default(), sample: Sample::default() });
            rows.len() - 1
        });
        let row = &mut rows[place];
        match noted {
            Noted::Counted => row.counts.counted += 1,
            Noted::Blocked => row.counts.blocked += 1,
            Noted::Unknown => {
                row.counts.unknown += 1;
                return;
            }
        }
        row.sample.offer(chance, request);
    }

    fn close(&self) -> Vec<Row> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns what the rules said in a closing second, over all workers.
pub(crate) fn close<'t>(tallies: impl Iterator<Item = &'t Tally>) -> Vec<GuardRow> {
    let mut merged: BTreeMap<(Arc<str>, Arc<str>), (Counts, Sample)> = BTreeMap::new();
    for row in tallies.flat_map(Tally::close) {
        let (counts, sample) = merged.entry((row.target, row.rule)).or_default();
        counts.counted += row.counts.counted;
        counts.blocked += row.counts.blocked;
        counts.unknown += row.counts.unknown;
        sample.merge(row.sample);
    }
    let row = |((target, rule), (counts, sample)): ((Arc<str>, Arc<str>), (Counts, Sample))| GuardRow {
        target: target.to_string(),
        rule: rule.to_string(),
        counted: counts.counted,
        blocked: counts.blocked,
        unknown: counts.unknown,
        examples: sample.drawn().collect(),
    };
    merged.into_iter().map(row).collect()
}
