//! Remembers for each key of each rate rule when its bucket is full again, for all workers together, in bounded memory.
//! Refuses to grow: when a set is full, a new key takes the place of the one nearest to a full bucket and inherits its
//! moment. Moments in a set only grow by that, so that no key ever gets more than its rule allows, however many there are.
//! Source of the idea: Space-Saving (Metwally, Agrawal, El Abbadi, 2005), with moments for counts.

use super::pace::{Early, Pace};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A short lock each: two workers meet in one only when the same client asks both.
const SHARDS: usize = 256;
/// Keys looked at for one request; eight of sixteen bytes are two lines of the cache.
const WAYS: usize = 8;
/// Sets of a shard that has just begun.
const SETS_MIN: usize = 2;
/// 2 million keys in all, 32 MiB: a million clients leave half of it free.
const SETS_MAX: usize = 1024;

/// The buckets of all rate rules. Lives as long as the edge: another table gives nobody a new burst.
#[derive(Debug)]
pub(crate) struct Table {
    /// Drawn at the start of the process: nobody can aim at a set, and no value can be read from its hash.
    key: RandomState,
    began: Instant,
    shards: Vec<Mutex<Shard>>,
    sets_max: usize,
}

/// A key's hash, and when its bucket is full again. One that has passed is as good as none.
type Slot = (u64, u64);

#[derive(Debug, Default)]
struct Shard {
    sets: Vec<[Slot; WAYS]>,
}

impl Default for Table {
    fn default() -> Self {
        Self::with_sets(SETS_MAX)
    }
}

impl Table {
    fn with_sets(sets_max: usize) -> Self {
        let shards = std::iter::repeat_with(Mutex::default).take(SHARDS).collect();
        Self { key: RandomState::new(), began: Instant::now(), shards, sets_max }
    }

    /// Turns whatever tells keys apart into a number. Nothing of it is kept.
    pub(crate) fn hash(&self, key: impl Hash) -> u64 {
        self.key.hash_one(key)
    }

    /// Returns a moment as paces count it. One that lies before the table's own start is its start.
    pub(crate) fn moment(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.began);
        // One second on, so that no moment is zero.
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).saturating_add(1_000_000_000)
    }

    /// Takes one request from a key's bucket.
    pub(crate) fn admit(&self, pace: Pace, key: u64, now: u64) -> Result<(), Early> {
        let shard = &self.shards[(key >> 56) as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner).admit(pace, key, now, self.sets_max)
    }

    /// Returns how many keys have a bucket that is not full, and the bytes all of them take.
    #[cfg(test)]
    fn size(&self, now: u64) -> (usize, usize) {
        let shards = self.shards.iter().map(|shard| shard.lock().unwrap());
        shards.fold((0, 0), |(keys, bytes), shard| {
            let live = shard.sets.iter().flatten().filter(|slot| slot.1 > now).count();
            (keys + live, bytes + size_of_val(&*shard.sets))
        })
    }
}

impl Shard {
    fn admit(&mut self, pace: Pace, key: u64, now: u64, sets_max: usize) -> Result<(), Early> {
        if self.sets.is_empty() {
            self.sets = vec![[(0, 0); WAYS]; SETS_MIN.min(sets_max)];
        }
        loop {
            let sets = self.sets.len();
            let set = &mut self.sets[index(key, sets)];
            if let Some(slot) = set.iter_mut().find(|slot| slot.0 == key) {
                slot.1 = pace.admit(slot.1, now)?;
                return Ok(());
            }
            let free = set.iter_mut().min_by_key(|slot| slot.1).expect("BUG: a set has places");
            if free.1 > now && sets < sets_max {
                self.grow();
                continue;
            }
            // Never later than a key of this rule can be: what it inherits may come from a slower one.
            *free = (key, pace.admit(free.1.min(pace.latest(now)), now)?);
            return Ok(());
        }
    }

    /// Doubles the sets. Each is split by one more bit of its keys, so that every key keeps its place or has room.
    fn grow(&mut self) {
        let half = self.sets.len();
        let mut sets = vec![[(0, 0); WAYS]; half * 2];
        for (old, set) in self.sets.iter().enumerate() {
            for (way, slot) in set.iter().enumerate() {
                let place = index(slot.0, half * 2);
                // A slot that was never used has the hash 0, which belongs elsewhere.
                if place % half == old {
                    sets[place][way] = *slot;
                }
            }
        }
        self.sets = sets;
    }
}

/// The number of sets is a power of two; shards use the other end of the hash.
fn index(key: u64, sets: usize) -> usize {
    key as usize & (sets - 1)
}

#[cfg(test)]
mod tests;
