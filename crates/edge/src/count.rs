//! Counts requests per second: each worker in a shard of its own, merged when the second closes.
//! Refuses to wait: a request is counted in memory and nowhere else. See `ring` for the seconds that are closed.

use crate::claim::Replica;
use crate::failing::Sample;
use crate::failure::Column;
use crate::guard::tally::{self, Tally};
use crate::limits;
use crate::mirror;
use crate::route::TargetRoutes;
use meter::wire::{ArmRow, BucketRow, CountRow, FailingRequest, GuardRow, MirrorRow};
use rollout::names::Revision;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
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
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ending {
    pub(crate) column: Option<Column>,
    /// Whether it is the error of a user who had one just before.
    pub(crate) repeated: bool,
    /// Whether it was sent again, to stable.
    pub(crate) replayed: bool,
    /// From the request's head to the answer's; only of requests without a fault.
    pub(crate) latency_ms: Option<f64>,
}

/// The open second of one worker. The lock is taken by that worker, and once a second by the one who closes it.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    arms: Mutex<Vec<OpenArm>>,
    /// Requests that a guard's rules spoke of; they belong to no arm.
    pub(crate) guard: Tally,
    /// What copies of requests showed; they belong to no arm either.
    pub(crate) mirror: mirror::tally::Tally,
}

/// One revision in the open second. There are few, so they are searched one by one.
#[derive(Debug)]
struct OpenArm {
    target: Arc<str>,
    revision: Revision,
    rows: BTreeMap<Place, OpenRow>,
    buckets: Vec<BucketRow>,
    failures: Sample,
}

/// Replica, allow list, and the address of the route's text: the row keeps the text, so that no other can get its address.
type Place = (u64, bool, usize);

#[derive(Debug)]
struct OpenRow {
    replica: Option<Arc<Replica>>,
    route: Option<Arc<str>>,
    row: CountRow,
}

impl Shard {
    /// Counts a request that has ended.
    pub(crate) fn count(&self, subject: &Subject, ending: Ending) {
        let mut arms = self.arms.lock().unwrap_or_else(PoisonError::into_inner);
        let arm = open_arm(&mut arms, subject);
        arm.rows.entry(subject.place()).or_insert_with(|| subject.open()).row.count(ending);
        if !subject.allowed && ending.column != Some(Column::ClientAbort) {
            arm.bucket(subject.bucket).count(ending);
        }
    }

    /// Gives a failing request to the sample, which makes of it what it keeps.
    pub(crate) fn sample(&self, subject: &Subject, chance: u64, failing: impl FnOnce() -> FailingRequest) {
        let mut arms = self.arms.lock().unwrap_or_else(PoisonError::into_inner);
        open_arm(&mut arms, subject).failures.offer(chance, failing);
    }

    fn close(&self) -> Vec<OpenArm> {
        std::mem::take(&mut *self.arms.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn open_arm<'a>(arms: &'a mut Vec<OpenArm>, subject: &Subject) -> &'a mut OpenArm {
    let mine = |arm: &OpenArm| arm.revision == subject.revision && arm.target == subject.target;
    let place = arms.iter().position(mine).unwrap_or_else(|| {
        arms.push(OpenArm {
            target: Arc::clone(&subject.target),
            revision: subject.revision,
            rows: BTreeMap::new(),
            buckets: Vec::new(),
            failures: Sample::default(),
        });
        arms.len() - 1
    });
    &mut arms[place]
}

impl OpenArm {
    fn bucket(&mut self, bucket: u8) -> &mut BucketRow {
        let place = match self.buckets.binary_search_by_key(&bucket, |row| row.bucket) {
            Ok(place) => place,
            Err(place) => {
                self.buckets.insert(place, BucketRow { bucket, ..BucketRow::default() });
                place
            }
        };
        &mut self.buckets[place]
    }
}

impl Subject {
    fn place(&self) -> Place {
        let replica = self.replica.as_ref().map_or(0, |replica| replica.id);
        let route = self.route.as_ref().map_or(0, |route| Arc::as_ptr(route).cast::<u8>().addr());
        (replica, self.allowed, route)
    }

    fn open(&self) -> OpenRow {
        let row = CountRow { allowed: self.allowed, ..CountRow::default() };
        OpenRow { replica: self.replica.clone(), route: self.route.clone(), row }
    }
}

trait Count {
    fn count(&mut self, ending: Ending);
}

impl Count for CountRow {
    fn count(&mut self, ending: Ending) {
        self.requests += 1;
        self.errors_repeated += u64::from(ending.repeated);
        self.replayed += u64::from(ending.replayed);
        if let Some(column) = ending.column {
            column.add(self);
        }
        if let Some(latency) = ending.latency_ms {
            self.latency.record(latency);
        }
    }
}

impl Count for BucketRow {
    fn count(&mut self, ending: Ending) {
        self.requests += 1;
        self.errors += u64::from(ending.column.is_some_and(Column::is_error));
        self.errors_repeated += u64::from(ending.repeated);
        if let Some(latency) = ending.latency_ms {
            self.latency.record(latency);
        }
    }
}

/// What was counted in one second.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) rows: Vec<CountRow>,
    pub(crate) arms: Vec<ArmRow>,
    pub(crate) failures: Vec<FailingRequest>,
    pub(crate) guard: Vec<GuardRow>,
    pub(crate) mirror: Vec<MirrorRow>,
}

/// The arms of all shards, put together by their labels.
#[derive(Default)]
struct Merged {
    rows: BTreeMap<(String, String, bool), CountRow>,
    buckets: BTreeMap<u8, BucketRow>,
    failures: Sample,
}

impl Merged {
    fn add(&mut self, arm: OpenArm) {
        for OpenRow { replica, route, mut row } in arm.rows.into_values() {
            row.target = arm.target.to_string();
            row.revision = arm.revision.0;
            row.replica = replica.map(|replica| replica.name.to_string()).unwrap_or_default();
            row.route = route.as_deref().unwrap_or_default().to_owned();
            match self.rows.entry((row.replica.clone(), row.route.clone(), row.allowed)) {
                Entry::Vacant(place) => drop(place.insert(row)),
                Entry::Occupied(mut sum) => sum.get_mut().add(&row),
            }
        }
        for row in arm.buckets {
            match self.buckets.entry(row.bucket) {
                Entry::Vacant(place) => drop(place.insert(row)),
                Entry::Occupied(mut sum) => sum.get_mut().add(&row),
            }
        }
        self.failures.merge(arm.failures);
    }
}

/// Returns what the shards counted in a closing second, and a row of zeros for every arm without a request.
pub(crate) fn close<'t>(
    shards: impl Iterator<Item = Arc<Shard>>,
    targets: impl Iterator<Item = &'t Arc<TargetRoutes>>,
) -> Counted {
    let shards: Vec<Arc<Shard>> = shards.collect();
    let mut merged: BTreeMap<(String, u64), Merged> = BTreeMap::new();
    for arm in shards.iter().flat_map(|shard| shard.close()) {
        merged.entry((arm.target.to_string(), arm.revision.0)).or_default().add(arm);
    }
    for target in targets {
        for arm in target.arms() {
            merged.entry((target.name.to_string(), arm.revision.0)).or_default();
        }
    }
    let mut counted = Counted {
        guard: tally::close(shards.iter().map(|shard| &shard.guard)),
        mirror: mirror::tally::close(shards.iter().map(|shard| &shard.mirror)),
        ..Counted::default()
    };
    for ((target, revision), arm) in merged {
        if arm.rows.is_empty() {
            counted.rows.push(CountRow { target: target.clone(), revision, ..CountRow::default() });
        }
        counted.rows.extend(arm.rows.into_values());
        counted.failures.extend(arm.failures.drawn());
        if !arm.buckets.is_empty() {
            let buckets = arm.buckets.into_values().collect();
            counted.arms.push(ArmRow { target, revision, buckets });
        }
    }
    counted.failures.truncate(limits::FAILURES);
    counted
}

#[cfg(test)]
mod tests;
