//! Feeds references with made-up traffic and compares what they say with counts kept the long way.

use super::*;
use meter::histogram;
use meter::wire::{ArmRow, BucketRow};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Instant;

const STABLE: Revision = Revision(7);
/// A Monday's midnight, far from zero.
const START: u64 = 1_700_438_400;

fn target() -> Target {
    Target::new("web", "local")
}

fn reference(folder: &Path) -> Reference {
    Reference::open(&Reference::path(folder, &target()), &target(), Thresholds::default())
}

/// A reference without a file.
fn unsaved() -> Reference {
    let (wanted, known) = (Thresholds::default(), Known::default());
    Reference { target: "web@local".to_owned(), wanted, known, file: None, saved_at: 0 }
}

/// One request: arm bucket, whether it failed, latency.
type Request = (u8, bool, f64);

/// Returns the record an edge writes of these requests.
fn record(second: u64, requests: &[Request]) -> SecondRecord {
    let mut row = row(STABLE, 0);
    row.route = "/api/slots".to_owned();
    let mut buckets: BTreeMap<u8, BucketRow> = BTreeMap::new();
    for &(bucket, failed, latency) in requests {
        let counts = buckets.entry(bucket).or_insert(BucketRow { bucket, ..BucketRow::default() });
        row.requests += 1;
        counts.requests += 1;
        if failed {
            row.errors.status += 1;
            counts.errors += 1;
        } else {
            row.latency.record(latency);
            counts.latency.record(latency);
        }
    }
    let arm = ArmRow {
        target: "web@local".to_owned(),
        revision: STABLE.0,
        buckets: buckets.into_values().collect(),
    };
    SecondRecord { second, rows: vec![row], arms: vec![arm], ..SecondRecord::default() }
}

fn row(revision: Revision, requests: u64) -> CountRow {
    CountRow { target: "web@local".to_owned(), revision: revision.0, requests, ..CountRow::default() }
}

/// Draws requests one after the other.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn uniform(&mut self) -> f64 {
        self.next() as f64 / (1u64 << 31) as f64
    }

    /// One in a thousand fails; latency is log-normal around `median_ms`.
    fn request(&mut self, median_ms: f64) -> Request {
        let bucket = (self.next() % 100) as u8;
        let (one, other) = (1.0 - self.uniform(), self.uniform());
        let normal = (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * other).cos();
        (bucket, self.next().is_multiple_of(1000), median_ms * (0.5 * normal).exp())
    }

    fn second(&mut self, requests: usize, median_ms: f64) -> Vec<Request> {
        (0..requests).map(|_| self.request(median_ms)).collect()
    }
}

/// Adds seconds of such traffic and returns the one after them.
fn feed(reference: &mut Reference, from: u64, seconds: u64, requests: usize, median_ms: f64) -> u64 {
    let mut random = Random(from);
    for second in from..from + seconds {
        reference.add(&record(second, &random.second(requests, median_ms)), STABLE);
    }
    from + seconds
}

fn requests_of(blocks: &Blocks) -> u64 {
    blocks.blocks.iter().map(|block| u64::from(block.candidate_requests + block.stable_requests)).sum()
}

#[test]
fn thresholds_are_the_buckets_nearest_the_quantiles_of_the_first_thousand() {
    let mut reference = unsaved();
    let next = feed(&mut reference, START, 5, 199, 80.0);
    assert_eq!(reference.boundaries(), None);
    assert_eq!(reference.shares_above(), None);

    feed(&mut reference, next, 5, 199, 80.0);

    let [p50, p90, ..] = reference.boundaries().unwrap();
    // 32·log2 of 80 ms and of 80·exp(0.5·1.2816) ms.
    assert!((p50 - 202).abs() <= 3 && (p90 - 232).abs() <= 4, "{p50} {p90}");
    let [above_p50, ..] = reference.shares_above().unwrap();
    assert!((0.45..=0.5).contains(&above_p50), "{above_p50}");
    let divided = reference.blocks(Weight::new(5).unwrap());
    assert_eq!((divided.blocks.len(), divided.latency_from), (2, 2));
    assert!(divided.blocks.iter().all(|block| block.stable_slow == [0; THRESHOLDS]));
}

#[test]
fn thresholds_stay_through_noise_and_begin_anew_when_the_day_has_moved() {
    let mut reference = unsaved();
    // The place of p99.9 is known from a hundred thousand on, and not by the first thousand.
    let mut next = feed(&mut reference, START, 2000, 100, 80.0);
    let chosen = reference.boundaries().unwrap();
    // Two percent slower is within the four buckets.
    next = feed(&mut reference, next, 3600, 100, 81.6);
    assert_eq!(reference.boundaries(), Some(chosen));
    let (hours, timed) = (reference.hours(), reference.hours_of_latency());
    assert!(timed > 1.0 && timed < hours);

    next = feed(&mut reference, next, 4 * 3600, 100, 120.0);

    let moved = reference.boundaries().unwrap();
    assert!(moved[0] > chosen[0] + 8, "{chosen:?} {moved:?}");
    assert!(reference.hours() > 5.0 && reference.hours_of_latency() < 4.0);
    let divided = reference.blocks(Weight::new(5).unwrap());
    assert!(divided.blocks[divided.latency_from - 1].stable_slow == [0; THRESHOLDS]);
    assert!(divided.blocks[divided.latency_from].stable_slow[0] > 0);
    // Errors and requests of before are still there.
    assert_eq!(requests_of(&divided), (next - START) * 100);
}

#[test]
fn other_thresholds_than_before_begin_anew_and_none_are_possible() {
    let mut reference = unsaved();
    let next = feed(&mut reference, START, 60, 100, 80.0);
    let wide = Thresholds { quantiles: vec![0.5], margin_buckets: 4 };

    reference.want(wide.clone());
    assert_eq!(reference.boundaries(), None);
    let next = feed(&mut reference, next, 60, 100, 80.0);
    let [p50, none, ..] = reference.boundaries().unwrap();
    assert!((p50 - 202).abs() <= 3 && none > histogram::INDEX_MAX);
    assert_eq!(reference.shares_above().unwrap()[1], 0.0);
    reference.want(wide);
    assert!(reference.boundaries().is_some());

    reference.want(Thresholds { quantiles: Vec::new(), margin_buckets: 2 });
    feed(&mut reference, next, 60, 100, 80.0);
    assert_eq!(reference.boundaries(), None);
    assert!(reference.hours() > 0.04);
}

#[test]
fn a_block_with_a_hole_or_another_revision_in_it_is_left_out() {
    let mut reference = unsaved();
    let with = |second: u64, other: CountRow| {
        let mut record = record(second, &[(3, false, 10.0)]);
        record.rows.push(other);
        record
    };
    let add = |reference: &mut Reference, block: u64, each: &dyn Fn(u64) -> Option<SecondRecord>| {
        let records = (0..5).filter_map(|second| each(START + block * 5 + second));
        records.for_each(|record| reference.add(&record, STABLE));
    };

    let plain = |second: u64| record(second, &[(3, false, 10.0)]);
    add(&mut reference, 0, &|second| Some(plain(second)));
    add(&mut reference, 1, &|second| (second % 5 != 2).then(|| plain(second)));
    add(&mut reference, 2, &|second| Some(with(second, row(Revision(8), 1))));
    let allowed = CountRow { allowed: true, ..row(Revision(8), 1) };
    add(&mut reference, 3, &|second| Some(with(second, allowed.clone())));
    let aborted = CountRow { client_aborts: 1, ..row(Revision(8), 1) };
    add(&mut reference, 4, &|second| Some(with(second, aborted.clone())));
    add(&mut reference, 5, &|second| {
        Some(SecondRecord { second, rows: vec![row(Revision(8), 9)], ..SecondRecord::default() })
    });
    add(&mut reference, 6, &|second| Some(SecondRecord { second, ..SecondRecord::default() }));

    assert_eq!(reference.tally().requests, 15);
    assert_eq!(reference.blocks(Weight::FULL).blocks.len(), 3);
    // The hour knows what the service had, whoever answered.
    assert_eq!((reference.recent().requests, reference.recent().stable.requests), (24 + 5 + 45, 24));
    assert_eq!(reference.recent().seconds, 29);
}

#[test]
fn a_second_is_added_once_and_a_clock_set_back_is_followed() {
    let mut reference = unsaved();
    feed(&mut reference, START, 60, 10, 80.0);

    feed(&mut reference, START, 60, 10, 80.0);
    assert_eq!(reference.tally().requests, 600);

    feed(&mut reference, START - 7200, 60, 10, 80.0);
    assert_eq!(reference.tally().requests, 1200);
}

#[test]
fn rows_of_an_edge_without_arms_are_counted_by_their_own_buckets() {
    let mut reference = unsaved();
    for second in START..START + 5 {
        let rows = [(2, 4, 1), (60, 6, 0)].map(|(bucket, requests, client_aborts)| {
            let mut row = CountRow { bucket, client_aborts, ..row(STABLE, requests) };
            row.errors.reset = 1;
            row
        });
        reference.add(&SecondRecord { second, rows: rows.to_vec(), ..SecondRecord::default() }, STABLE);
    }

    let block = reference.blocks(Weight::new(4).unwrap()).blocks[0];

    assert_eq!((block.candidate_requests, block.candidate_errors), (15, 5));
    assert_eq!((block.stable_requests, block.stable_errors), (30, 5));
}

#[test]
fn repeats_of_a_user_are_told_apart_from_first_errors() {
    let mut reference = unsaved();
    for second in START..START + 5 {
        let mut record = record(second, &[(2, true, 0.0), (2, true, 0.0), (50, true, 0.0)]);
        record.arms[0].buckets[0].errors_repeated = 1;
        record.rows[0].errors_repeated = 1;
        reference.add(&record, STABLE);
    }

    let block = reference.blocks(Weight::new(3).unwrap()).blocks[0];

    assert_eq!((block.candidate_errors, block.candidate_errors_once), (10, 5));
    assert_eq!((block.stable_errors, block.stable_errors_once), (5, 5));
    assert_eq!(reference.tally(), Tally { requests: 15, errors: 15, errors_once: 10 });
    assert_eq!(reference.recent().stable, reference.tally());
}

#[test]
fn the_reference_stays_when_another_revision_becomes_stable() {
    let mut reference = unsaved();
    // In the middle of a block.
    let next = feed(&mut reference, START, 62, 10, 80.0);
    assert_eq!(reference.present(), (STABLE, 60.0 / 3600.0));

    for second in next..next + 30 {
        let record = SecondRecord { second, rows: vec![row(Revision(8), 10)], ..SecondRecord::default() };
        reference.add(&record, Revision(8));
    }

    assert_eq!(reference.present(), (Revision(8), 25.0 / 3600.0));
    assert_eq!(reference.hours(), 85.0 / 3600.0);
}

#[test]
fn the_season_is_a_week_and_latencies_and_routes_are_a_day() {
    let mut reference = unsaved();
    let half_hours = |days: u64| days * 48;
    for half_hour in 0..half_hours(9) {
        let failing = half_hour % 48 == 20;
        for second in 0..2 {
            let second = START + half_hour * 1800 + second;
            let mut record = record(second, &[(0, failing, 50.0), (1, false, 50.0)]);
            if half_hour < half_hours(7) {
                record.rows[0].route = "/old".to_owned();
            }
            reference.add(&record, STABLE);
        }
    }

    let season = reference.seasonal();
    let day = |errors| Tally { requests: 7 * 4, errors, errors_once: errors };
    assert_eq!((season[20], season[21]), (day(7 * 2), day(0)));
    let routes = reference.routes();
    assert_eq!(routes.len(), 1);
    assert_eq!((routes[0].0.as_str(), routes[0].1.requests, routes[0].1.errors), ("/api/slots", 48 * 4, 2));
    assert_eq!(reference.known.periods.latency().count(), 48 * 4 - 2);
    assert_eq!(
        reference.recent(),
        Recent { seconds: 4, requests: 8, stable: Tally { requests: 8, ..Tally::default() } }
    );
}

#[test]
fn the_busiest_route_comes_first() {
    let mut reference = unsaved();
    for second in START..START + 3 {
        let routed = |route: &str, requests| CountRow { route: route.to_owned(), ..row(STABLE, requests) };
        let rows = vec![routed("/a", 1), routed("/b", 5), routed("", 9), routed("/b", 5)];
        reference.add(&SecondRecord { second, rows, ..SecondRecord::default() }, STABLE);
    }

    let routes: Vec<(String, u64)> =
        reference.routes().into_iter().map(|(route, tally)| (route, tally.requests)).collect();

    assert_eq!(routes, [("/b".to_owned(), 30), ("/a".to_owned(), 3)]);
    assert_eq!(reference.recent().requests_per_second(), 20.0);
}

/// Returns everything a reference says.
fn said(reference: &Reference) -> impl PartialEq + std::fmt::Debug + use<> {
    let blocks = [1, 5, 50, 100].map(|percent| reference.blocks(Weight::new(percent).unwrap()));
    let shares = reference.shares_above().map(|shares| shares.map(f64::to_bits));
    (
        (blocks, reference.boundaries(), shares, reference.tally(), reference.hours().to_bits()),
        (reference.present(), reference.seasonal(), reference.routes(), reference.recent()),
    )
}

#[test]
fn a_restart_forgets_nothing_that_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = reference(folder.path());
    let mut next = feed(&mut first, START, 300, 20, 80.0);
    first.save();
    next = feed(&mut first, next, 300, 20, 80.0);
    first.save();
    let before = said(&first);
    drop(first);

    let mut second = reference(folder.path());

    assert_eq!(said(&second), before);
    // The edge gives its last seconds again.
    feed(&mut second, next - 120, 120, 20, 80.0);
    assert_eq!(said(&second), before);
    feed(&mut second, next, 5, 20, 80.0);
    assert_eq!(second.tally().requests, 605 * 20);
}

#[test]
fn a_save_is_due_once_a_minute() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = reference(folder.path());
    for second in START..START + 95 {
        first.add(&record(second, &[(0, false, 1.0)]), STABLE);
        first.save_when_due();
    }
    drop(first);

    // Saved with the first second, and one minute later.
    assert_eq!(reference(folder.path()).tally().requests, 60);
}

#[test]
fn the_file_keeps_no_more_than_memory_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = reference(folder.path());
    // Every block of a day and a half, an hour at a time; a jump of eight days empties everything.
    for hour in 0..36 {
        for second in START + hour * 3600..START + (hour + 1) * 3600 {
            first.add(&record(second, &[(9, false, 5.0)]), STABLE);
        }
        first.save();
    }
    assert_eq!(first.hours(), 24.0);
    let before = said(&first);
    drop(first);
    let mut second = reference(folder.path());
    assert_eq!(said(&second), before);

    feed(&mut second, START + 10 * 86_400, 10, 1, 5.0);
    second.save();
    drop(second);

    let third = reference(folder.path());
    assert_eq!(
        (third.tally().requests, third.seasonal().iter().map(|tally| tally.requests).sum::<u64>()),
        (10, 10)
    );
}

#[test]
fn a_damaged_file_begins_anew_and_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = Reference::path(folder.path(), &target());
    let mut first = reference(folder.path());
    feed(&mut first, START, 600, 20, 80.0);
    first.save();
    let whole = said(&first);
    drop(first);
    let bytes = std::fs::read(&path).unwrap();
    let empty = said(&unsaved());

    let mut begun_anew = 0;
    for place in (0..bytes.len()).step_by(bytes.len() / 60) {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x40;
        std::fs::write(&path, &damaged).unwrap();
        let reference = reference(folder.path());
        let now = said(&reference);
        // A flipped bit in a page's unused part changes nothing.
        assert!(now == whole || now == empty, "byte {place}");
        begun_anew += usize::from(now == empty);
    }
    assert!(begun_anew > 20, "{begun_anew}");

    for content in
        [&b"not a database, and long enough to be taken for one"[..], &bytes[..bytes.len() / 2], b""]
    {
        std::fs::write(&path, content).unwrap();
        let mut again = reference(folder.path());
        assert_eq!(said(&again), empty);
        feed(&mut again, START, 10, 20, 80.0);
        again.save();
        drop(again);
        assert_eq!(reference(folder.path()).tally().requests, 200);
    }
}

#[test]
fn without_a_place_to_write_the_reference_lives_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("blocked");
    std::fs::write(&blocked, "a file where a folder should be").unwrap();

    let mut reference = reference(&blocked);
    feed(&mut reference, START, 10, 20, 80.0);
    reference.save();

    assert_eq!(reference.tally().requests, 200);
}

fn request() -> impl Strategy<Value = Request> {
    (0u8..100, any::<bool>(), 1.0f64..1000.0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn every_weight_divides_all_requests_exactly(blocks in prop::collection::vec(prop::collection::vec(request(), 0..60), 1..6)) {
        let mut reference = unsaved();
        let next = feed(&mut reference, START, 30, 100, 80.0);
        let before = reference.hours_of_latency();
        for (number, requests) in blocks.iter().enumerate() {
            for second in 0..5u64 {
                let of_second = requests.iter().copied().skip(second as usize).step_by(5).collect::<Vec<_>>();
                reference.add(&record(next + number as u64 * 5 + second, &of_second), STABLE);
            }
        }
        prop_assert!(reference.hours_of_latency() > before);
        let boundaries = reference.boundaries().unwrap();
        let slow = |shift: i16, requests: &[&Request]| boundaries.map(|boundary| {
            requests.iter().filter(|(_, failed, latency)| !failed && histogram::bucket(*latency) >= boundary + shift).count() as u32
        });

        for percent in 0..=100u8 {
            let divided = reference.blocks(Weight::new(percent).unwrap());
            let (singles, fives) = (percent % 5, percent / 5);
            let is_candidates = |bucket: u8| percent == 100 || if bucket < 5 { bucket < singles } else { bucket / 5 <= fives };
            let newest = &divided.blocks[divided.blocks.len() - blocks.len()..];
            for (block, requests) in newest.iter().zip(&blocks) {
                let (candidate, stable): (Vec<&Request>, Vec<&Request>) = requests.iter().partition(|request| is_candidates(request.0));
                let errors = |requests: &[&Request]| requests.iter().filter(|request| request.1).count() as u32;
                prop_assert_eq!((block.candidate_requests as usize, block.stable_requests as usize), (candidate.len(), stable.len()));
                prop_assert_eq!((block.candidate_errors, block.stable_errors), (errors(&candidate), errors(&stable)));
                prop_assert_eq!((block.candidate_slow, block.stable_slow), (slow(2, &candidate), slow(0, &stable)));
            }
            let all: Vec<&Request> = blocks.iter().flatten().collect();
            let of_newest = slow(0, &all).map(u64::from);
            prop_assert!(divided.slow.iter().zip(of_newest).all(|(all, newest)| *all >= newest));
        }
    }
}

/// Returns a reference after so many seconds of a thousand requests each.
fn busy(seconds: u64) -> (Reference, f64) {
    let (mut random, mut reference) = (Random(1), unsaved());
    let mut records: Vec<SecondRecord> = (0..97).map(|_| record(0, &random.second(1000, 80.0))).collect();
    let began = Instant::now();
    for second in START..START + seconds {
        let record = &mut records[(second % 97) as usize];
        record.second = second;
        reference.add(record, STABLE);
    }
    (reference, began.elapsed().as_secs_f64() / seconds as f64)
}

#[test]
fn an_hour_of_a_thousand_requests_a_second_is_a_few_hundred_kilobytes() {
    let (reference, _) = busy(3600);

    let bytes = reference.known.ring.bytes();
    assert!((100_000..400_000).contains(&bytes), "{bytes}");
}

#[test]
#[ignore = "prints figures: `script/bench reference`"]
fn what_a_day_of_reference_costs() {
    let folder = tempfile::tempdir().unwrap();
    let (mut reference, each) = busy(86_400);
    let path = Reference::path(folder.path(), &target());
    reference.file = File::open(&path).0;
    let timed = |each: &mut dyn FnMut()| {
        let began = Instant::now();
        each();
        began.elapsed().as_secs_f64() * 1e3
    };

    let first = timed(&mut || reference.save());
    for second in START + 86_400..START + 86_460 {
        reference.add(&record(second, &Random(second).second(1000, 80.0)), STABLE);
    }
    let minute = timed(&mut || reference.save());
    let dividing = timed(&mut || drop(reference.blocks(Weight::new(5).unwrap())));
    let bytes = reference.known.ring.bytes();
    drop(reference);
    let file = std::fs::metadata(&path).unwrap().len();
    let opening = timed(&mut || drop(Reference::open(&path, &target(), Thresholds::default())));

    println!(
        "24 h at 1,000 requests/s: {:.1} MB of blocks in memory, {:.1} MB on disk",
        bytes as f64 / 1e6,
        file as f64 / 1e6
    );
    println!("adding a second {:.0} µs; dividing the day for a weight {dividing:.0} ms", each * 1e6);
    println!("saving all {first:.0} ms, saving a minute {minute:.1} ms, opening {opening:.0} ms");
}
