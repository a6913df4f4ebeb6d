//! Adds up what copies showed, per worker and second. See `count` for where seconds are closed.

use meter::wire::{MIRROR_DIFFERENCES_MAX, MirrorDifference, MirrorRow};
use rollout::names::Revision;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What became of one copy.
#[derive(Debug)]
pub(crate) enum Seen {
    Same,
    Slower,
    Faster,
    Status(MirrorDifference),
    Body(MirrorDifference),
    /// Stable does not repeat its own answer.
    Unsteady,
    /// It has no two answers to compare.
    Dropped,
}

/// The open second of one worker.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<Vec<Row>>);

#[derive(Debug)]
struct Row {
    target: Arc<str>,
    row: MirrorRow,
}

impl Tally {
    pub(crate) fn note(&self, target: &Arc<str>, candidate: Revision, seen: Seen) {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = |row: &Row| row.row.revision == candidate.0 && row.target == *target;
        let place = rows.iter().position(mine).unwrap_or_else(|| {
            let row = MirrorRow { revision: candidate.0, ..MirrorRow::default() };
            rows.push(Row { target: Arc::clone(target), row });
            rows.len() - 1
        });
        count(&mut rows[place].row, seen);
    }

    fn close(&self) -> Vec<Row> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn count(row: &mut MirrorRow, seen: Seen) {
    row.compared += u64::from(!matches!(seen, Seen::Unsteady | Seen::Dropped));
    let difference = match seen {
        Seen::Same => return,
        Seen::Slower => return row.slower += 1,
        Seen::Faster => return row.faster += 1,
        Seen::Unsteady => return row.unsteady += 1,
        Seen::Dropped => return row.dropped += 1,
        Seen::Status(difference) => {
            row.status += 1;
            difference
        }
        Seen::Body(difference) => {
            row.body += 1;
            difference
        }
    };
    if row.differences.len() < MIRROR_DIFFERENCES_MAX {
        row.differences.push(difference);
    }
}

/// Returns what the copies of a closing second showed, over all workers.
pub(crate) fn close<'t>(tallies: impl Iterator<Item = &'t Tally>) -> Vec<MirrorRow> {
    let mut merged: BTreeMap<(Arc<str>, u64), MirrorRow> = BTreeMap::new();
    for Row { target, row } in tallies.flat_map(Tally::close) {
        merged.entry((target, row.revision)).or_default().add(&row);
    }
    let named = |((target, revision), row): ((Arc<str>, u64), MirrorRow)| MirrorRow {
        target: target.to_string(),
        revision,
        ..row
    };
    merged.into_iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_copies_showed_adds_up_over_the_workers_and_begins_anew() {
        let (one, other, target) = (Tally::default(), Tally::default(), Arc::from("web@local"));
        let difference = || MirrorDifference { route: "/a".to_owned(), ..MirrorDifference::default() };
        for tally in [&one, &other] {
            for seen in [
                Seen::Same,
                Seen::Slower,
                Seen::Faster,
                Seen::Status(difference()),
                Seen::Body(difference()),
                Seen::Unsteady,
                Seen::Dropped,
            ] {
                tally.note(&target, Revision(2), seen);
            }
        }

        let rows = close([&one, &other].into_iter());

        let [row] = rows.as_slice() else { panic!("one row, not {rows:?}") };
        assert_eq!((row.target.as_str(), row.revision, row.compared), ("web@local", 2, 10));
        assert_eq!((row.status, row.body, row.slower, row.faster), (2, 2, 2, 2));
        assert_eq!((row.unsteady, row.dropped, row.differences.len()), (2, 2, MIRROR_DIFFERENCES_MAX));
        assert!(close([&one, &other].into_iter()).is_empty());
    }
}
