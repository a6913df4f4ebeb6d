//! Maintenance: requests wait, are released, or are told when to come back.

use crate::support::replica::Replica;
use crate::support::{Bench, Table, now_ms};
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

fn table(generation: u64, replica: SocketAddr) -> Table {
    Table::new("web", generation).with("health_path", json!("/ready")).stable(1, &[replica])
}

fn held(table: Table, hold_ms: u64) -> Table {
    table.with("maintenance", json!({ "hold": hold_ms, "since": now_ms() }))
}

/// Starts requests and waits until the edge has read all of them.
async fn waiting(bench: &Bench, count: usize) -> Vec<tokio::task::JoinHandle<crate::support::Answer>> {
    let mut tasks = Vec::new();
    for _ in 0..count {
        let mut client = bench.client().await;
        tasks.push(tokio::spawn(async move { client.get("/").await }));
    }
    // A request on a later connection of each worker is answered after those before it were read.
    for _ in 0..20 {
        assert_eq!(bench.get("/ready").await.status, 200);
    }
    tasks
}

#[tokio::test]
async fn e08_requests_wait_and_are_released_to_the_new_table() {
    let (bench, v1, v2) = (Bench::start(), Replica::start("v1").await, Replica::start("v2").await);
    bench.put(held(table(1, v1.address), 20_000)).await;
    let tasks = waiting(&bench, 8).await;
    assert!(tasks.iter().all(|task| !task.is_finished()));

    bench.put(table(2, v2.address)).await;

    for task in tasks {
        let answer = task.await.unwrap();
        assert_eq!(answer.seen()["name"], "v2");
    }
    assert_eq!((v1.requests(), v2.requests()), (0, 8));
}

#[tokio::test]
async fn e08_the_hold_ends_with_retry_after() {
    let (bench, web) = (Bench::start(), Replica::start("web").await);
    bench.put(held(table(1, web.address), 300)).await;
    let started = Instant::now();

    let answer = bench.get("/").await;

    assert_eq!((answer.status.as_u16(), answer.header("x-medeclipse-error")), (503, "maintenance"));
    assert_eq!(answer.header("retry-after"), "5");
    assert!(started.elapsed() >= Duration::from_millis(200), "{:?}", started.elapsed());
    assert_eq!(web.requests(), 0);
}

#[tokio::test]
async fn e08_a_hold_of_zero_answers_at_once() {
    let (bench, web) = (Bench::start(), Replica::start("web").await);
    bench.put(held(table(1, web.address), 0)).await;

    assert_eq!(bench.get("/").await.status, 503);
}

#[tokio::test]
async fn e09_the_health_path_answers_200_during_maintenance_also_with_a_prefix() {
    let (bench, web) = (Bench::start(), Replica::start("web").await);
    let prefixed = table(1, web.address).with("paths", json!(["/app"])).with("strip_path", json!(true));
    bench.put(held(prefixed, 0)).await;

    assert_eq!(bench.get("/app/ready").await.status, 200);
    assert_eq!(bench.get("/app/other").await.status, 503);
    assert_eq!(web.requests(), 0);
}

#[tokio::test]
async fn e10_maintenance_survives_a_deploy() {
    let (bench, v1, v2) = (Bench::start(), Replica::start("v1").await, Replica::start("v2").await);
    bench.put(held(table(1, v1.address), 20_000)).await;
    let tasks = waiting(&bench, 4).await;

    bench.put(held(table(2, v2.address), 20_000)).await;
    assert_eq!(bench.get("/ready").await.text(), "in maintenance\n");
    assert!(tasks.iter().all(|task| !task.is_finished()));
    bench.put(table(3, v2.address)).await;

    for task in tasks {
        assert_eq!(task.await.unwrap().seen()["name"], "v2");
    }
    assert_eq!(v1.requests(), 0);
}
