//! Connections to replicas: which are used again, what is tried again, what never is.

use crate::support::replica::Replica;
use crate::support::{Bench, Table, total, total_errors, until};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Returns an address nobody listens on.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_refused_connection_is_tried_on_another_replica_of_the_arm() {
    let (bench, web) = (Bench::start(), Replica::start("web").await);
    let replicas = [nobody().await, web.address, nobody().await];
    bench.put(Table::new("web", 1).stable(1, &replicas)).await;
    let mut client = bench.client().await;

    for n in 0..30 {
        let answer = if n % 2 == 0 { client.get("/").await } else { client.post("/", "x").await.unwrap() };
        assert_eq!(answer.status, 200);
    }

    let rows = bench.counted(30).await;
    assert_eq!((total(&rows, "requests"), total_errors(&rows, "connect")), (30, 0));
}

#[tokio::test]
async fn when_no_replica_takes_connections_it_is_502_and_when_none_exists_503() {
    let (bench, v1) = (Bench::start(), Replica::start("v1").await);
    bench.put(Table::new("web", 1).stable(1, &[nobody().await, nobody().await])).await;
    let refused = bench.get("/").await;
    bench.put(Table::new("web", 2).stable(1, &[v1.address]).candidate(2, 99, &[])).await;
    let mut none = bench.get("/").await;
    while none.status == 200 {
        none = bench.get("/").await;
    }

    assert_eq!((refused.status.as_u16(), refused.header("x-medeclipse-error")), (502, "connect"));
    assert_eq!(
        (none.status.as_u16(), none.header("x-medeclipse-error"), none.revision()),
        (503, "no_replica", 2)
    );
}

#[tokio::test]
async fn a_replica_that_speaks_http_1_0_does_not_cost_the_client_its_connection() {
    let bench = Bench::start();
    let old = TcpListener::bind("127.0.0.1:0").await.unwrap();
    bench.put(Table::new("web", 1).stable(1, &[old.local_addr().unwrap()])).await;
    let replica = tokio::spawn(async move {
        while let Ok((mut stream, _)) = old.accept().await {
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\nuntil the end").await.unwrap();
        }
    });
    let mut client = bench.client().await;

    for _ in 0..3 {
        let answer = client.get("/").await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "until the end"));
    }
    replica.abort();
}

#[tokio::test]
async fn connections_are_used_again() {
    let (bench, web) = (Bench::start_with(|config| config.workers = 1), Replica::start("web").await);
    bench.put(Table::new("web", 1).stable(1, &[web.address])).await;
    let mut client = bench.client().await;

    for _ in 0..50 {
        client.get("/").await;
        client.post("/", "x").await.unwrap();
    }

    assert_eq!((web.requests(), web.connections()), (100, 1));
}

#[tokio::test]
async fn posts_paced_at_the_replicas_own_idle_timeout_are_all_answered() {
    let bench = Bench::start();
    let idle = Duration::from_millis(1000);
    let web = Replica::impatient("web", idle).await;
    bench.put(Table::new("web", 1).stable(1, &[web.address])).await;

    let mut clients = tokio::task::JoinSet::new();
    for n in 0..100u64 {
        let mut client = bench.client().await;
        clients.spawn(async move {
            for _ in 0..4 {
                assert_eq!(client.post("/", "x").await.unwrap().status, 200);
                // Around the timeout lies the race that this edge does not enter.
                tokio::time::sleep(idle - Duration::from_millis(10) + Duration::from_micros(n * 200)).await;
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }

    assert_eq!(web.requests(), 400);
}

/// A replica that closes each connection after its answer without having said so.
async fn closes_silently() -> (SocketAddr, Arc<AtomicU64>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, closed) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&closed);
    let task = tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"body") {
                let count = stream.read(&mut buffer).await.unwrap();
                request.extend_from_slice(&buffer[..count]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            drop(stream);
            counted.fetch_add(1, SeqCst);
        }
    });
    (address, closed, task)
}

#[tokio::test]
async fn posts_never_go_on_a_connection_its_replica_has_closed() {
    let bench = Bench::start_with(|config| config.workers = 1);
    let (address, closed, task) = closes_silently().await;
    bench.put(Table::new("web", 1).stable(1, &[address])).await;
    let mut client = bench.client().await;

    for n in 1..=300 {
        assert_eq!(client.post("/", "body").await.unwrap().status, 200, "request {n}");
        // Once it has closed, the end of the stream is in the edge's socket, whether or not its task has run.
        while closed.load(SeqCst) < n {
            tokio::task::yield_now().await;
        }
    }

    task.abort();
}

/// A replica that answers the first request of a connection and closes when it reads the second.
async fn closes_on_second() -> (SocketAddr, Arc<AtomicU64>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, heads) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&heads);
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let heads = Arc::clone(&counted);
            connections.spawn(async move {
                let mut buffer = [0; 4096];
                for turn in 0..2 {
                    if !matches!(stream.read(&mut buffer).await, Ok(1..)) {
                        return;
                    }
                    heads.fetch_add(1, SeqCst);
                    if turn == 0 {
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                    }
                }
            });
        }
    });
    (address, heads, task)
}

#[tokio::test]
async fn a_get_on_a_stale_connection_is_sent_once_more_and_a_post_never() {
    let bench = Bench::start_with(|config| config.workers = 1);
    let (address, heads, task) = closes_on_second().await;
    bench.put(Table::new("web", 1).stable(1, &[address])).await;
    let mut client = bench.client().await;

    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(heads.load(SeqCst), 3);
    let post = client.post("/", "x").await.unwrap();
    assert_eq!((post.status.as_u16(), post.header("x-medeclipse-error")), (502, "reset"));
    assert_eq!(heads.load(SeqCst), 4);
    task.abort();
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_502() {
    let bench = Bench::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    bench.put(Table::new("web", 1).stable(1, &[listener.local_addr().unwrap()])).await;
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"SSH-2.0-OpenSSH\r\n").await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });

    let answer = bench.get("/").await;

    assert_eq!(answer.status, 502);
    task.abort();
}

#[tokio::test]
async fn idle_connections_to_a_drained_revision_are_closed() {
    let (bench, v1, v2) = (Bench::start(), Replica::start("v1").await, Replica::start("v2").await);
    bench.put(Table::new("web", 1).stable(1, &[v1.address])).await;
    bench.get("/").await;

    bench.put(Table::new("web", 2).stable(2, &[v2.address])).await;
    bench.put(Table::new("web", 3).stable(1, &[v1.address])).await;
    bench.get("/").await;
    bench.get("/").await;

    assert!(v1.connections() >= 2);
}

#[tokio::test]
async fn a_replica_that_gives_no_answers_is_passed_over_for_a_while_and_then_asked_again() {
    let (bench, well) = (Bench::start(), Replica::start("well").await);
    let broken = Replica::start("broken").await;
    let table = Table::new("web", 1).stable(1, &[well.address, broken.address]);
    bench.put(table).await;
    let mut client = bench.client().await;
    let ask = "/on/broken/reset";

    // Turn and turn about, until five in a row have failed.
    for _ in 0..10 {
        client.get(ask).await;
    }
    let before = broken.requests();
    assert_eq!(before, 5);
    for _ in 0..10 {
        assert_eq!(client.get(ask).await.seen()["name"], "well");
    }
    assert_eq!(broken.requests(), before, "it is passed over");

    until(|| async {
        bench.get("/").await;
        broken.requests() > before
    })
    .await;
}

#[tokio::test]
async fn the_only_replica_is_asked_however_it_fails() {
    let (bench, only) = (Bench::start(), Replica::start("only").await);
    bench.put(Table::new("web", 1).stable(1, &[only.address])).await;

    for _ in 0..8 {
        assert_eq!(bench.get("/reset").await.status, 502);
    }

    assert_eq!(bench.get("/").await.seen()["name"], "only");
}

#[tokio::test]
async fn requests_beyond_what_replicas_may_carry_are_refused_and_the_ready_path_passes() {
    let (bench, web) = (Bench::start(), Replica::start("web").await);
    let table = Table::new("web", 1).stable(1, &[web.address]);
    bench.put(table.with("in_flight", json!(2)).with("health_path", json!("/ready"))).await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut client = bench.client().await;
        waiting.push(tokio::spawn(async move { client.get("/gate").await }));
    }
    until(|| async { web.requests() == 2 }).await;

    let (refused, ready) = (bench.get("/").await, bench.get("/ready").await);

    assert_eq!((refused.status.as_u16(), refused.header("x-medeclipse-error")), (503, "overloaded"));
    assert_eq!(refused.header("retry-after"), "5");
    assert_eq!(ready.status, 200);
    web.open_gate();
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap().status, 200);
    }
    assert_eq!(bench.get("/").await.status, 200);
}
