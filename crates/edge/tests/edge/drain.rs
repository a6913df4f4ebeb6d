//! Draining: what is in flight on a revision that left the table.

use crate::support::replica::Replica;
use crate::support::{Bench, Table, now_ms, request};
use http_body_util::BodyExt;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An edge that served `v1` and serves `v2`.
struct Switched {
    bench: Bench,
    v1: Replica,
    v2: Replica,
}

impl Switched {
    async fn new() -> Self {
        let (bench, v1, v2) = (Bench::start(), Replica::start("v1").await, Replica::start("v2").await);
        bench.put(Table::new("web", 1).stable(1, &[v1.address])).await;
        Self { bench, v1, v2 }
    }

    /// Switches to `v2` and drains `v1` for this long.
    async fn drain(&self, for_ms: u64) {
        self.put(2, for_ms, json!({ "websocket": "drain", "sse": "drain", "ceiling": 60_000 })).await;
    }

    async fn put(&self, generation: u64, for_ms: u64, connections: serde_json::Value) {
        let table =
            Table::new("web", generation).stable(2, &[self.v2.address]).with("connections", connections);
        self.bench.put(table.draining(1, now_ms(), now_ms() + for_ms)).await;
    }

    async fn websocket(&self) -> TcpStream {
        let stream = crate::long::websocket(self.bench.address).await;
        assert_eq!(self.bench.in_flight().await, (1, 1));
        stream
    }
}

async fn is_open(stream: &mut TcpStream) -> bool {
    if stream.write_all(b"echo").await.is_err() {
        return false;
    }
    let mut echo = [0; 4];
    matches!(tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut echo)).await, Ok(Ok(4)))
}

#[tokio::test]
async fn e11_an_idle_revision_is_drained_at_once() {
    let switched = Switched::new().await;
    switched.bench.get("/").await;

    switched.drain(60_000).await;

    assert_eq!(switched.bench.in_flight().await, (0, 0));
}

#[tokio::test]
async fn e11_drain_lets_requests_finish() {
    let switched = Switched::new().await;
    let mut client = switched.bench.client().await;
    let waiting = tokio::spawn(async move { client.get("/gate").await });
    switched.bench.until_in_flight(1).await;

    switched.drain(20_000).await;
    assert_eq!(switched.bench.get("/").await.revision(), 2);
    let state = switched.bench.state().await;
    assert_eq!(
        state["in_flight"],
        json!([{ "target": "web@local", "revision": 1, "replica": "r-1-1", "requests": 1, "long": 0 }])
    );
    switched.v1.open_gate();

    let answer = waiting.await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.revision()), (200, 1));
    switched.bench.until_in_flight(0).await;
}

#[tokio::test]
async fn e11_drain_cancels_requests_without_an_answer_after_its_end() {
    let switched = Switched::new().await;
    let mut client = switched.bench.client().await;
    let waiting = tokio::spawn(async move { client.get("/gate").await });
    switched.bench.until_in_flight(1).await;

    switched.drain(100).await;

    let answer = waiting.await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("x-medeclipse-error")), (504, "drained"));
    switched.bench.until_in_flight(0).await;
}

#[tokio::test]
async fn e11_drain_aborts_answers_that_have_begun_after_its_end() {
    let switched = Switched::new().await;
    let mut client = switched.bench.client().await;
    let answer = client.open(request("/late")).await;
    assert_eq!(answer.status(), 200);

    switched.drain(100).await;

    // The client must be able to see that the rest is missing.
    assert!(answer.into_body().collect().await.is_err());
    switched.bench.until_in_flight(0).await;
}

#[tokio::test]
async fn e11_event_streams_end_cleanly_with_the_drain() {
    let switched = Switched::new().await;
    let mut client = switched.bench.client().await;
    let mut answer = client.open(request("/sse")).await;
    answer.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(switched.bench.in_flight().await, (1, 1));

    switched.drain(100).await;

    let last = answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(last.starts_with(b"retry: "), "{last:?}");
    assert!(answer.body_mut().frame().await.is_none());
    switched.bench.until_in_flight(0).await;
}

#[tokio::test]
async fn e11_websockets_end_by_their_policy() {
    for (policy, ceiling, survives_drain) in
        [("keep", 60_000, true), ("keep", 100, false), ("drain", 60_000, false), ("cut", 60_000, false)]
    {
        let switched = Switched::new().await;
        let mut socket = switched.websocket().await;
        let for_ms = if policy == "cut" { 60_000 } else { 50 };

        switched.put(2, for_ms, json!({ "websocket": policy, "sse": "drain", "ceiling": ceiling })).await;

        if survives_drain {
            // A plain request cancelled by the same drain shows that its end has passed.
            tokio::time::sleep(Duration::from_millis(for_ms)).await;
            assert!(is_open(&mut socket).await, "{policy}");
            drop(socket);
        } else {
            let mut rest = Vec::new();
            let end = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut rest)).await;
            assert!(end.is_ok(), "{policy}, ceiling {ceiling}: still open");
        }
        switched.bench.until_in_flight(0).await;
    }
}

#[tokio::test]
async fn e11_a_drain_can_be_made_longer_and_taken_back() {
    let switched = Switched::new().await;
    let mut client = switched.bench.client().await;
    let waiting = tokio::spawn(async move { client.get("/gate").await });
    switched.bench.until_in_flight(1).await;
    let policy = json!({ "websocket": "keep", "sse": "drain", "ceiling": 1000 });

    switched.put(2, 400, policy.clone()).await;
    switched.put(3, 60_000, policy).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished());
    switched.bench.put(Table::new("web", 4).stable(1, &[switched.v1.address])).await;
    switched.v1.open_gate();

    assert_eq!(waiting.await.unwrap().status, 200);
}
