//! What the table promises: no key more than its rule, whatever else is in it; bounded memory; what it costs.

use super::*;
use crate::random::Random;
use proptest::prelude::*;
use rollout::names::Millis;
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

const SECOND: u64 = 1_000_000_000;

/// The smallest table there is: one set a shard.
fn tiny() -> Table {
    Table::with_sets(1)
}

#[test]
fn keys_do_not_disturb_each_other_while_there_is_room() {
    let table = Table::default();
    let pace = Pace::new(5, Millis::seconds(60), 5);
    let keys: Vec<u64> = (0..10_000u32).map(|client| table.hash(client)).collect();

    for _ in 0..5 {
        assert!(keys.iter().all(|key| table.admit(pace, *key, SECOND).is_ok()));
    }

    assert!(keys.iter().all(|key| table.admit(pace, *key, SECOND).is_err()));
    assert_eq!(table.size(SECOND).0, 10_000);
}

#[test]
fn o20_a_flood_of_keys_stays_within_the_bound_and_frees_nobody() {
    let table = Table::with_sets(8);
    let pace = Pace::new(10, Millis::seconds(60), 10);
    let throttled: Vec<u64> = (0..50u32).map(|client| table.hash(("old", client))).collect();
    for key in &throttled {
        while table.admit(pace, *key, SECOND).is_ok() {}
    }

    // Every address is another one, as from a network of IPv6: 20 times what the table holds.
    let bound = SHARDS * 8 * WAYS;
    let flood = (0..20 * bound as u64).map(|client| table.hash(client));
    let admitted = flood.filter(|key| table.admit(pace, *key, SECOND).is_ok()).count();

    let (keys, bytes) = table.size(SECOND);
    assert!(keys <= bound && bytes == bound * 16, "{keys} keys, {bytes} bytes");
    // All places of the table together give what ten requests a place give.
    assert!(admitted <= bound * 10, "{admitted}");
    assert!(throttled.iter().all(|key| table.admit(pace, *key, SECOND).is_err()));
}

#[test]
fn a_key_whose_bucket_is_full_again_leaves_its_place() {
    let table = Table::with_sets(8);
    let pace = Pace::new(1, Millis::seconds(1), 1);

    for round in 1..50 {
        for client in 0..1000u64 {
            assert!(table.admit(pace, table.hash((round, client)), round * 2 * SECOND).is_ok());
        }
    }
}

#[test]
fn a_rule_that_is_slow_does_not_shut_out_the_keys_of_a_fast_one() {
    let table = tiny();
    let (slow, fast) = (Pace::new(1, Millis::seconds(3600), 1), Pace::new(100, Millis::seconds(1), 10));
    for client in 0..100_000u64 {
        let _ = table.admit(slow, table.hash(client), SECOND);
    }

    let early = table.admit(fast, table.hash("fast"), SECOND).unwrap_err();

    assert!(early.wait <= std::time::Duration::from_millis(10), "{early:?}");
}

#[test]
fn workers_share_a_bucket() {
    let table = Arc::new(Table::default());
    let pace = Pace::new(1000, Millis::seconds(3600), 1000);
    let key = table.hash("client");

    let workers: Vec<_> = (0..4)
        .map(|_| {
            let table = Arc::clone(&table);
            std::thread::spawn(move || (0..1000).filter(|_| table.admit(pace, key, SECOND).is_ok()).count())
        })
        .collect();

    assert_eq!(workers.into_iter().map(|worker| worker.join().unwrap()).sum::<usize>(), 1000);
}

proptest! {
    /// Keys with several paces fight for a table that is far too small; each of them is held against its own bucket.
    #[test]
    fn no_key_gets_more_than_its_rule_however_full_the_table_is(
        requests in prop::collection::vec((0u64..40, 0u64..200_000_000), 1..600),
    ) {
        let mut shard = Shard::default();
        let pace = |client: u64| Pace::new(1 + (client % 7) as u32 * 3, Millis::seconds(1), 1 + (client % 5) as u32);
        let (mut now, mut own) = (SECOND, HashMap::new());
        for (client, later) in requests {
            now += later;
            let key = crate::random::mix(client + 1);
            if shard.admit(pace(client), key, now, 2).is_ok() {
                let full_at = own.entry(client).or_insert(0);
                // What a table of its own would have said.
                let alone = pace(client).admit(*full_at, now);
                prop_assert!(alone.is_ok(), "client {} got more than its rule allows", client);
                *full_at = alone.unwrap();
            }
        }
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[ignore = "prints figures: `script/bench guard`"]
fn what_a_million_clients_cost() {
    let (pace, random) = (Pace::new(2000, Millis::seconds(300), 200), Random::seeded());
    for clients in [10_000u64, 100_000, 1_000_000, 10_000_000] {
        let (table, before) = (Table::default(), resident_kib());
        let fill = Instant::now();
        for client in 0..clients {
            let _ = black_box(table.admit(pace, table.hash(client as u32), SECOND));
        }
        let (fill, rss) = (fill.elapsed(), resident_kib().saturating_sub(before));
        let checks = Instant::now();
        for _ in 0..1_000_000 {
            let client = (random.next() % clients) as u32;
            let _ = black_box(table.admit(pace, table.hash(client), SECOND));
        }
        let (random_ns, hot) = (checks.elapsed().as_nanos() / 1_000_000, Instant::now());
        for _ in 0..1_000_000 {
            let _ = black_box(table.admit(pace, table.hash(7u32), 2 * SECOND));
        }
        let (keys, bytes) = table.size(SECOND);
        println!(
            "{clients} clients: {keys} kept, {:.1} MiB of table, {:.1} MiB resident; {} ns each at first, {random_ns} ns at random, {} ns for one client",
            bytes as f64 / 1048576.0,
            rss as f64 / 1024.0,
            fill.as_nanos() / u128::from(clients),
            hot.elapsed().as_nanos() / 1_000_000,
        );
    }
}
