//! The promise of the house: a switch drops nothing.

use crate::support::replica::Replica;
use crate::support::{Bench, Client, Table, total, total_errors};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Instant;

const CLIENTS: usize = 32;
const SWITCHES: u64 = 100;

#[derive(Default)]
struct Tally {
    good: AtomicU64,
    failed: AtomicU64,
    reset: AtomicU64,
}

impl Tally {
    fn note(&self, outcome: Result<u16, hyper::Error>) {
        match outcome {
            Ok(200) => self.good.fetch_add(1, SeqCst),
            Ok(_) => self.failed.fetch_add(1, SeqCst),
            Err(_) => self.reset.fetch_add(1, SeqCst),
        };
    }
}

async fn load(mut client: Client, posts: bool, done: Arc<AtomicBool>, tally: Arc<Tally>) {
    while !done.load(SeqCst) {
        let answer = if posts {
            client.post("/", "body").await
        } else {
            client.send(crate::support::request("/")).await
        };
        let broken = answer.is_err();
        tally.note(answer.map(|answer| answer.status.as_u16()));
        if broken {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e21_a_hundred_switches_under_load_drop_nothing() {
    let (bench, v1, v2) = (Bench::start(), Replica::start("v1").await, Replica::start("v2").await);
    bench.put(Table::new("web", 1).stable(1, &[v1.address])).await;
    let (done, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Tally::default()));
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..2 * CLIENTS {
        clients.spawn(load(bench.client().await, n % 2 == 0, Arc::clone(&done), Arc::clone(&tally)));
    }

    let started = Instant::now();
    for switch in 2..2 + SWITCHES {
        let (old, new) = if switch % 2 == 0 { ((1, &v1), (2, &v2)) } else { ((2, &v2), (1, &v1)) };
        let before = tally.good.load(SeqCst);
        let table = Table::new("web", switch).stable(new.0, &[new.1.address]);
        let until = crate::support::now_ms() + 30_000;
        bench.put(table.draining(old.0, crate::support::now_ms(), until)).await;
        // Nothing is in flight on the old revision soon after the acknowledgement, and every client goes on.
        crate::support::until(|| async {
            let state = bench.state().await;
            let drained = state["in_flight"].as_array().unwrap().iter().all(|row| row["revision"] == new.0);
            drained && tally.good.load(SeqCst) > before + 2 * CLIENTS as u64
        })
        .await;
    }
    done.store(true, SeqCst);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }

    let (good, failed, reset) =
        (tally.good.load(SeqCst), tally.failed.load(SeqCst), tally.reset.load(SeqCst));
    println!(
        "{SWITCHES} switches in {:?}: {good} answered, {failed} failed, {reset} reset",
        started.elapsed()
    );
    assert_eq!((failed, reset), (0, 0));
    let rows = bench.counted(good).await;
    assert_eq!((total(&rows, "requests"), v1.requests() + v2.requests()), (good, good));
    for class in ["status", "connect", "reset", "timeout", "early_eof"] {
        assert_eq!(total_errors(&rows, class), 0, "{class}");
    }
}
