//! Counts requests per second: each worker in a shard of its own, merged when the second closes, kept in a ring.
//! Refuses to guess: a second that could not be counted is a gap in `seq`, never a zero.

use crate::claim::Replica;
use crate::failure::Column;
use crate::limits;
use crate::route::TargetRoutes;
use meter::wire::{CountRow, SecondRecord};
use rollout::names::Revision;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// What a request is counted under.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) target: Arc<str>,
    pub(crate) revision: Revision,
    pub(crate) replica: Option<Arc<Replica>>,
    pub(crate) bucket: u8,
    pub(crate) allowed: bool,
    pub(crate) route: Option<Arc<str>>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    pub(crate) column: Option<Column>,
    /// From the request's head to the answer's; only of requests without a fault.
    pub(crate) latency_ms: Option<f64>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    target: Arc<str>,
    revision: Revision,
    replica: u64,
    bucket: u8,
    allowed: bool,
    route: Option<Arc<str>>,
}

/// The open second of one worker. The lock is taken by that worker, and once a second by the one who closes it.
#[derive(Debug, Default)]
pub(crate) struct Shard(Mutex<HashMap<Key, CountRow>>);

impl Shard {
    pub(crate) fn count(&self, subject: &Subject, ending: Ending) {
        let key = Key {
            target: Arc::clone(&subject.target),
            revision: subject.revision,
            replica: subject.replica.as_ref().map_or(0, |replica| replica.id),
            bucket: subject.bucket,
            allowed: subject.allowed,
            route: subject.route.clone(),
        };
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let row = rows.entry(key).or_insert_with(|| subject.row());
        row.requests += 1;
        if let Some(column) = ending.column {
            column.add(row);
        }
        if let Some(latency) = ending.latency_ms {
            row.latency.record(latency);
        }
    }

    fn close(&self) -> HashMap<Key, CountRow> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Subject {
    fn row(&self) -> CountRow {
        CountRow {
            target: self.target.to_string(),
            revision: self.revision.0,
            replica: self.replica.as_ref().map(|replica| replica.name.to_string()).unwrap_or_default(),
            bucket: self.bucket,
            allowed: self.allowed,
            route: self.route.as_deref().unwrap_or_default().to_owned(),
            ..CountRow::default()
        }
    }
}

/// Returns the rows of a closing second: everything the shards counted, and a row of zeros for every arm without any.
pub(crate) fn close<'t>(
    shards: impl Iterator<Item = Arc<Shard>>,
    targets: impl Iterator<Item = &'t Arc<TargetRoutes>>,
) -> Vec<CountRow> {
    let mut rows: BTreeMap<(String, u64, String, u8, bool, String), CountRow> = BTreeMap::new();
    for row in shards.flat_map(|shard| shard.close().into_values()) {
        let labels = (
            row.target.clone(),
            row.revision,
            row.replica.clone(),
            row.bucket,
            row.allowed,
            row.route.clone(),
        );
        match rows.entry(labels) {
            std::collections::btree_map::Entry::Vacant(place) => drop(place.insert(row)),
            std::collections::btree_map::Entry::Occupied(mut sum) => sum.get_mut().add(&row),
        }
    }
    let mut rows: Vec<CountRow> = rows.into_values().collect();
    for target in targets {
        for arm in target.arms() {
            if !rows.iter().any(|row| row.target == *target.name && row.revision == arm.revision.0) {
                let (target, revision) = (target.name.to_string(), arm.revision.0);
                rows.push(CountRow { target, revision, ..CountRow::default() });
            }
        }
    }
    rows
}

/// The last closed seconds.
#[derive(Debug)]
pub(crate) struct Ring {
    epoch: u64,
    next_seq: u64,
    /// The second now open, since the Unix epoch.
    open: u64,
    records: VecDeque<Arc<SecondRecord>>,
}

impl Ring {
    pub(crate) fn new(epoch: u64, open: u64) -> Self {
        Self { epoch, next_seq: 0, open, records: VecDeque::new() }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Closes the open second, and all before `now` with it: what was counted belongs to the first, because nothing ran
    /// in the others. After a stop longer than the ring, `seq` jumps: that data is missing.
    pub(crate) fn close(&mut self, now: u64, rows: Vec<CountRow>, zeros: impl Fn() -> Vec<CountRow>) {
        if now <= self.open {
            return;
        }
        self.push(rows);
        let missed = now.saturating_sub(self.open);
        if missed > limits::COUNT_SECONDS as u64 {
            self.next_seq += missed;
            self.open = now;
            return;
        }
        while self.open < now {
            self.push(zeros());
        }
    }

    fn push(&mut self, rows: Vec<CountRow>) {
        let record = SecondRecord { epoch: self.epoch, seq: self.next_seq, second: self.open, rows };
        self.records.push_back(Arc::new(record));
        self.next_seq += 1;
        self.open += 1;
        while self.records.len() > limits::COUNT_SECONDS {
            self.records.pop_front();
        }
    }

    /// Returns the records after `seq` of this epoch; all of them for another epoch or without a `seq`.
    pub(crate) fn after(&self, epoch: Option<u64>, seq: Option<u64>) -> Vec<Arc<SecondRecord>> {
        let known = seq.filter(|_| epoch == Some(self.epoch));
        let new = |record: &&Arc<SecondRecord>| known.is_none_or(|known| record.seq > known);
        self.records.iter().filter(new).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seqs(ring: &Ring, epoch: Option<u64>, seq: Option<u64>) -> Vec<u64> {
        ring.after(epoch, seq).iter().map(|record| record.seq).collect()
    }

    #[test]
    fn the_ring_gives_what_is_new_and_everything_to_a_stranger() {
        let mut ring = Ring::new(7, 100);
        for second in 101..104 {
            ring.close(second, Vec::new(), Vec::new);
        }

        assert_eq!(seqs(&ring, Some(7), Some(0)), [1, 2]);
        assert_eq!(seqs(&ring, Some(7), Some(2)), [0u64; 0]);
        assert_eq!(seqs(&ring, Some(6), Some(2)), [0, 1, 2]);
        assert_eq!(seqs(&ring, None, None), [0, 1, 2]);
    }

    #[test]
    fn a_late_close_fills_the_seconds_between_and_a_long_stop_leaves_a_gap() {
        let mut ring = Ring::new(7, 100);

        ring.close(103, Vec::new(), Vec::new);
        assert_eq!(
            ring.after(None, None).iter().map(|record| record.second).collect::<Vec<_>>(),
            [100, 101, 102]
        );

        ring.close(1000, Vec::new(), Vec::new);
        ring.close(1001, Vec::new(), Vec::new);
        let last = ring.after(None, None).last().cloned().unwrap();
        assert_eq!(last.second, 1000);
        assert!(last.seq > 800);
    }

    #[test]
    fn the_ring_is_bounded() {
        let mut ring = Ring::new(7, 0);
        for second in 1..500 {
            ring.close(second, Vec::new(), Vec::new);
        }

        assert_eq!(ring.after(None, None).len(), limits::COUNT_SECONDS);
    }

    #[test]
    fn shards_are_merged_by_their_labels() {
        let shards = [Arc::new(Shard::default()), Arc::new(Shard::default())];
        let subject = Subject {
            target: "web@local".into(),
            revision: Revision(1),
            replica: None,
            bucket: 3,
            allowed: false,
            route: None,
        };
        for shard in &shards {
            shard.count(&subject, Ending { column: Some(Column::Reset), latency_ms: None });
            shard.count(&subject, Ending { column: None, latency_ms: Some(2.0) });
        }

        let rows = close(shards.iter().cloned(), std::iter::empty());

        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].requests, rows[0].errors.reset, rows[0].latency.count()), (4, 2, 2));
        assert!(close(shards.iter().cloned(), std::iter::empty()).is_empty());
    }
}
