//! Counts stable's requests in blocks of five seconds, by groups of arm buckets from which any weight can be put together.
//! Keeps a day of them, packed; a block that is not whole is never kept. See rollback.md, 3.6, for what they are for.

use super::THRESHOLDS;
use meter::histogram::Histogram;
use meter::wire::SecondRecord;
use rollout::judge::calibration::Block;
use rollout::names::{Revision, Weight};
use std::collections::VecDeque;

/// Seconds of a block, on the grid of the Unix epoch.
pub(super) const BLOCK_SECONDS: u64 = 5;
/// A day of blocks.
pub(super) const BLOCKS: usize = 17_280;
/// Blocks older than a week say nothing about today, however few came after them.
const AGE_BLOCKS: u64 = 7 * BLOCKS as u64;
/// Buckets 0–4 one by one, then nineteen fives: w % 5 of the first and w / 5 of the others are w buckets.
const SINGLES: usize = 5;
const GROUPS: usize = 24;
/// Longest packed number.
const VARINT_BYTES: usize = 5;

/// The counts of a group of arm buckets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) requests: u32,
    pub(super) errors: u32,
    /// Errors of a user who had one on this endpoint just before.
    pub(super) repeated: u32,
    /// At or above each boundary.
    pub(super) slow: [u32; THRESHOLDS],
    /// At or above each boundary shifted by the margin.
    pub(super) slower: [u32; THRESHOLDS],
}

/// The blocks of one weight.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blocks {
    /// Oldest first.
    pub blocks: Vec<Block>,
    /// The first block with latencies; those before have none.
    pub latency_from: usize,
    /// Requests of both arms from `latency_from` on that were slow by the boundaries themselves.
    pub slow: [u64; THRESHOLDS],
}

/// The block being counted.
#[derive(Debug, Default)]
pub(super) struct OpenBlock {
    /// Which block since the Unix epoch.
    number: u64,
    seconds: u64,
    /// Whether it can no longer be stable's alone.
    spoiled: bool,
    groups: [Group; GROUPS],
}

/// Where slow begins, and the margin after which the candidate is called slow.
pub(super) type Bounds = ([i16; THRESHOLDS], i16);

impl OpenBlock {
    pub(super) fn of(second: u64) -> Self {
        Self { number: second / BLOCK_SECONDS, ..Self::default() }
    }

    pub(super) fn covers(&self, second: u64) -> bool {
        self.number == second / BLOCK_SECONDS
    }

    pub(super) fn is_empty(&self) -> bool {
        self.seconds == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.seconds == BLOCK_SECONDS
    }

    pub(super) fn is_usable(&self) -> bool {
        self.is_full() && !self.spoiled
    }

    pub(super) fn spoil(&mut self) {
        self.spoiled = true;
    }

    /// Counts a second of the block.
    pub(super) fn add(
        &mut self,
        record: &SecondRecord,
        target: &str,
        stable: Revision,
        bounds: Option<Bounds>,
    ) {
        self.seconds += 1;
        let rows = || record.rows.iter().filter(|row| row.target == target && !row.allowed);
        let shared = rows().any(|row| row.revision != stable.0 && row.requests > row.client_aborts);
        if shared || !rows().any(|row| row.revision == stable.0) {
            self.spoil();
            return;
        }
        let mut count = |bucket, requests, errors, repeated, latency: &Histogram| {
            self.groups[group_of(bucket)].count(requests, errors, repeated, latency, bounds);
        };
        let arm = record.arms.iter().find(|arm| arm.target == target && arm.revision == stable.0);
        if let Some(arm) = arm {
            for row in &arm.buckets {
                count(row.bucket, row.requests, row.errors, row.errors_repeated, &row.latency);
            }
            return;
        }
        // An edge that knows no arms writes a row for every bucket.
        for row in rows().filter(|row| row.revision == stable.0) {
            let requests = row.requests.saturating_sub(row.client_aborts);
            count(row.bucket, requests, row.errors.total(), row.errors_repeated, &row.latency);
        }
    }
}

fn group_of(bucket: u8) -> usize {
    match usize::from(bucket.min(99)) {
        single if single < SINGLES => single,
        bucket => SINGLES - 1 + bucket / SINGLES,
    }
}

/// Whether a group is the candidate's at this weight.
fn is_candidates(group: usize, weight: Weight) -> bool {
    let weight = usize::from(weight.percent());
    match group.checked_sub(SINGLES) {
        _ if weight >= 100 => true,
        None => group < weight % SINGLES,
        Some(five) => five < weight / SINGLES,
    }
}

impl Group {
    fn count(
        &mut self,
        requests: u64,
        errors: u64,
        repeated: u64,
        latency: &Histogram,
        bounds: Option<Bounds>,
    ) {
        add(&mut self.requests, requests);
        // No more errors than requests, as the judge corrects it too.
        add(&mut self.errors, errors.min(requests));
        add(&mut self.repeated, repeated.min(errors).min(requests));
        let Some((boundaries, margin)) = bounds else { return };
        for (j, boundary) in boundaries.into_iter().enumerate() {
            add(&mut self.slow[j], latency.count_from(boundary));
            add(&mut self.slower[j], latency.count_from(boundary.saturating_add(margin)));
        }
    }

    fn add(&mut self, other: &Group) {
        let (own, others) = (self.numbers_mut(), other.numbers());
        own.into_iter().zip(others).for_each(|(own, other)| *own = own.saturating_add(other));
    }

    fn once(&self) -> u32 {
        self.errors - self.repeated.min(self.errors)
    }

    fn numbers(&self) -> [u32; 3 + 2 * THRESHOLDS] {
        let [a, b, c, d] = self.slow;
        let [e, f, g, h] = self.slower;
        [self.requests, self.errors, self.repeated, a, b, c, d, e, f, g, h]
    }

    fn numbers_mut(&mut self) -> [&mut u32; 3 + 2 * THRESHOLDS] {
        let [a, b, c, d] = &mut self.slow;
        let [e, f, g, h] = &mut self.slower;
        [&mut self.requests, &mut self.errors, &mut self.repeated, a, b, c, d, e, f, g, h]
    }
}

fn add(sum: &mut u32, count: u64) {
    *sum = sum.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
}

/// The blocks of a day, packed. Each has a number in the order it came, which is never given twice.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// Number of the oldest.
    first: u64,
    packed: VecDeque<Packed>,
}

/// One block. Empty bytes: nothing came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packed {
    /// Which block since the Unix epoch.
    pub(super) at: u64,
    pub(super) bytes: Box<[u8]>,
}

impl Ring {
    /// Takes up blocks that were read from a file; None where one cannot be unpacked.
    pub(super) fn restore(first: u64, packed: Vec<Packed>) -> Option<Self> {
        let readable = packed.iter().all(|block| unpack(&block.bytes).is_some());
        readable.then(|| Self { first, packed: packed.into() })
    }

    pub(super) fn push(&mut self, open: &OpenBlock) {
        self.packed.push_back(Packed { at: open.number, bytes: pack(&open.groups) });
        let oldest = open.number.saturating_sub(AGE_BLOCKS);
        while self.packed.len() > BLOCKS || self.packed.front().is_some_and(|block| block.at < oldest) {
            self.packed.pop_front();
            self.first += 1;
        }
    }

    /// Returns the number the next block will have.
    pub(super) fn next(&self) -> u64 {
        self.first + self.packed.len() as u64
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn len(&self) -> usize {
        self.packed.len()
    }

    /// Returns how many blocks have this number or a later one.
    pub(super) fn len_since(&self, number: u64) -> usize {
        usize::try_from(self.next().saturating_sub(number)).unwrap_or(usize::MAX).min(self.len())
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.packed.iter().map(|block| block.bytes.len() + size_of::<Packed>()).sum()
    }

    pub(super) fn hours(blocks: usize) -> f64 {
        blocks as f64 * BLOCK_SECONDS as f64 / 3600.0
    }

    /// Returns the blocks from a number on, with theirs.
    pub(super) fn since(&self, number: u64) -> impl Iterator<Item = (u64, &Packed)> {
        let skipped = self.len() - self.len_since(number);
        (self.first + skipped as u64..).zip(self.packed.iter().skip(skipped))
    }

    /// Returns the sum of the blocks from a number on.
    pub(super) fn sum_since(&self, number: u64) -> Group {
        let mut sum = Group::default();
        let skipped = self.len() - self.len_since(number);
        self.unpacked().skip(skipped).flatten().for_each(|group| sum.add(&group));
        sum
    }

    pub(super) fn divided(&self, weight: Weight, latency_since: u64) -> Blocks {
        let latency_from = self.len() - self.len_since(latency_since);
        let mut divided =
            Blocks { latency_from, blocks: Vec::with_capacity(self.len()), slow: [0; THRESHOLDS] };
        for (index, groups) in self.unpacked().enumerate() {
            let (mut candidate, mut stable) = (Group::default(), Group::default());
            for (group, counts) in groups.iter().enumerate() {
                let arm = if is_candidates(group, weight) { &mut candidate } else { &mut stable };
                arm.add(counts);
            }
            let timed = index >= latency_from;
            if timed {
                let both = candidate
                    .slow
                    .iter()
                    .zip(&stable.slow)
                    .map(|(one, other)| u64::from(*one) + u64::from(*other));
                divided.slow.iter_mut().zip(both).for_each(|(sum, slow)| *sum += slow);
            }
            divided.blocks.push(block(&candidate, &stable, timed));
        }
        divided
    }

    fn unpacked(&self) -> impl Iterator<Item = [Group; GROUPS]> {
        self.packed
            .iter()
            .map(|block| unpack(&block.bytes).expect("BUG: what is kept was packed here or checked"))
    }
}

fn block(candidate: &Group, stable: &Group, timed: bool) -> Block {
    let slow = |counts: [u32; THRESHOLDS]| if timed { counts } else { [0; THRESHOLDS] };
    Block {
        candidate_requests: candidate.requests,
        candidate_errors: candidate.errors,
        candidate_errors_once: candidate.once(),
        stable_requests: stable.requests,
        stable_errors: stable.errors,
        stable_errors_once: stable.once(),
        candidate_slow: slow(candidate.slower),
        stable_slow: slow(stable.slow),
    }
}

/// Writes which groups have requests as 24 bits, then the numbers of each of those, seven bits to a byte.
fn pack(groups: &[Group; GROUPS]) -> Box<[u8]> {
    let filled = |(place, group): (usize, &Group)| u32::from(group.requests > 0) << place;
    let mask: u32 = groups.iter().enumerate().map(filled).sum();
    if mask == 0 {
        return Box::default();
    }
    let mut bytes = mask.to_le_bytes()[..3].to_vec();
    for group in groups.iter().filter(|group| group.requests > 0) {
        group.numbers().into_iter().for_each(|number| pack_number(&mut bytes, number));
    }
    bytes.into()
}

fn unpack(bytes: &[u8]) -> Option<[Group; GROUPS]> {
    let mut groups = [Group::default(); GROUPS];
    let Some((mask, mut rest)) = bytes.split_at_checked(3) else {
        return bytes.is_empty().then_some(groups);
    };
    let mask = u32::from_le_bytes([mask[0], mask[1], mask[2], 0]);
    for (place, group) in groups.iter_mut().enumerate() {
        if mask >> place & 1 == 1 {
            for number in group.numbers_mut() {
                *number = unpack_number(&mut rest)?;
            }
        }
    }
    rest.is_empty().then_some(groups)
}

fn pack_number(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn unpack_number(bytes: &mut &[u8]) -> Option<u32> {
    let mut number = 0u32;
    for place in 0..VARINT_BYTES {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u32::from(byte & 0x7f).checked_shl(7 * place as u32)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_weight_is_so_many_buckets() {
        for percent in 0..=100u8 {
            let weight = Weight::new(percent).unwrap();
            let candidates = (0..100).filter(|bucket| is_candidates(group_of(*bucket), weight)).count();

            assert_eq!(candidates, usize::from(percent));
        }
        assert_eq!((0..100).map(group_of).max(), Some(GROUPS - 1));
    }

    fn group() -> impl Strategy<Value = Group> {
        let number = || prop_oneof![0u32..300, any::<u32>()];
        let some =
            (number(), number(), number(), prop::array::uniform4(number()), prop::array::uniform4(number()));
        prop_oneof![
            Just(Group::default()),
            some.prop_map(|(requests, errors, repeated, slow, slower)| Group {
                requests: requests.max(1),
                errors,
                repeated,
                slow,
                slower
            })
        ]
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(groups in prop::collection::vec(group(), GROUPS)) {
            let groups: [Group; GROUPS] = groups.try_into().unwrap();
            let bytes = pack(&groups);

            prop_assert_eq!(unpack(&bytes), Some(groups));
            prop_assert!(bytes.is_empty() || unpack(&bytes[..bytes.len() - 1]).is_none());
        }

        #[test]
        fn whatever_bytes_come_nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = unpack(&bytes);
        }
    }
}
