//! Keeps the closed seconds for whoever asks, the last ones only.
//! Refuses to guess: a second that could not be counted is a gap in `seq`, never a zero. See `count` for what is in them.

use crate::count::Counted;
use crate::limits;
use meter::wire::SecondRecord;
use std::collections::VecDeque;
use std::sync::Arc;

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
    pub(crate) fn close(&mut self, now: u64, counted: Counted, zeros: impl Fn() -> Counted) {
        if now <= self.open {
            return;
        }
        self.push(counted);
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

    fn push(&mut self, Counted { rows, arms, failures, guard, mirror }: Counted) {
        let (epoch, seq, second) = (self.epoch, self.next_seq, self.open);
        let record = SecondRecord { epoch, seq, second, rows, arms, failures, guard, mirror };
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
            ring.close(second, Counted::default(), Counted::default);
        }

        assert_eq!(seqs(&ring, Some(7), Some(0)), [1, 2]);
        assert_eq!(seqs(&ring, Some(7), Some(2)), [0u64; 0]);
        assert_eq!(seqs(&ring, Some(6), Some(2)), [0, 1, 2]);
        assert_eq!(seqs(&ring, None, None), [0, 1, 2]);
    }

    #[test]
    fn a_late_close_fills_the_seconds_between_and_a_long_stop_leaves_a_gap() {
        let mut ring = Ring::new(7, 100);

        ring.close(103, Counted::default(), Counted::default);
        assert_eq!(
            ring.after(None, None).iter().map(|record| record.second).collect::<Vec<_>>(),
            [100, 101, 102]
        );

        ring.close(1000, Counted::default(), Counted::default);
        ring.close(1001, Counted::default(), Counted::default);
        let last = ring.after(None, None).last().cloned().unwrap();
        assert_eq!(last.second, 1000);
        assert!(last.seq > 800);
    }

    #[test]
    fn the_ring_is_bounded() {
        let mut ring = Ring::new(7, 0);
        for second in 1..500 {
            ring.close(second, Counted::default(), Counted::default);
        }

        assert_eq!(ring.after(None, None).len(), limits::COUNT_SECONDS);
    }
}
