//! The life of the process: what survives it, and how it ends.

use crate::support::replica::Replica;
use crate::support::{Bench, Table, request, until};
use edge::handover;
use serde_json::{Value, json};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e17_tables_are_served_after_a_restart_without_any_engine() {
    let (mut bench, web, api) = (Bench::start(), Replica::start("web").await, Replica::start("api").await);
    bench.put(Table::new("web", 7).stable(3, &[web.address])).await;
    bench.put(Table::new("api", 2).with("paths", json!(["/api"])).stable(1, &[api.address])).await;
    let before = bench.state().await;
    tokio::task::block_in_place(|| bench.join());
    bench.run(|_| {});

    assert_eq!((bench.get("/").await.revision(), bench.get("/api").await.revision()), (3, 1));
    let after = bench.state().await;
    assert_eq!(after["tables"], before["tables"]);
    assert_ne!(after["epoch"], before["epoch"]);
    // What was accepted is remembered: an older engine stays refused.
    assert_eq!(bench.try_put(Table::new("web", 6).stable(2, &[web.address])).await.0, 409);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e24_a_damaged_table_takes_nothing_else_down() {
    let (mut bench, web, api) = (Bench::start(), Replica::start("web").await, Replica::start("api").await);
    bench.put(Table::new("web", 1).stable(1, &[web.address])).await;
    bench.put(Table::new("web", 2).stable(2, &[web.address])).await;
    bench.put(Table::new("api", 1).with("paths", json!(["/api"])).stable(1, &[api.address])).await;
    let files = bench.state.path().join("edge");
    for (damaged, web_revision) in
        [(&["web@local.table"][..], 1), (&["web@local.table", "web@local.last"][..], 0)]
    {
        tokio::task::block_in_place(|| bench.join());
        for file in damaged {
            let path = files.join(file);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.truncate(100);
            std::fs::write(path, bytes).unwrap();
        }
        bench.run(|_| {});

        assert_eq!(bench.get("/api").await.status, 200);
        assert_eq!(bench.get("/").await.revision(), web_revision);
    }
    bench.put(Table::new("web", 3).stable(3, &[web.address])).await;
    assert_eq!(bench.get("/").await.revision(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_requests_finish_and_says_goodbye_to_idle_clients() {
    let mut bench = Bench::start_with(|config| config.waits.stop_idle = Duration::from_secs(3));
    let web = Replica::start("web").await;
    bench.put(Table::new("web", 1).stable(1, &[web.address])).await;
    let (mut busy, mut idle) = (bench.client().await, bench.client().await);
    assert_eq!(idle.get("/").await.status, 200);
    let waiting = tokio::spawn(async move { busy.get("/gate").await });
    bench.until_in_flight(1).await;

    bench.stop();
    // A client that sends once more gets its answer, and is told that it was the last.
    let last = idle.get("/").await;
    let mut late = TcpStream::connect(bench.address).await.unwrap();
    late.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    web.open_gate();

    assert_eq!((last.status.as_u16(), last.header("connection")), (200, "close"));
    let finished = waiting.await.unwrap();
    assert_eq!((finished.status.as_u16(), finished.header("connection")), (200, "close"));
    tokio::task::block_in_place(|| bench.join());
    // A connection made meanwhile waits in the queue for the next edge.
    bench.run(|_| {});
    let mut answer = String::new();
    late.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_streams_finish_when_the_edge_stops() {
    let mut bench = Bench::start();
    let web = Replica::start("web").await;
    bench.put(Table::new("web", 1).stable(1, &[web.address])).await;
    let mut sender = crate::support::http2_client(bench.address).await;
    let mut gate = request("/gate");
    gate.headers_mut().clear();
    *gate.uri_mut() = "http://clinic.example/gate".parse().unwrap();
    let answering = sender.send_request(gate);
    bench.until_in_flight(1).await;

    bench.stop();
    web.open_gate();

    assert_eq!(answering.await.unwrap().status(), 200);
    tokio::task::block_in_place(|| bench.join());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sockets_are_handed_to_a_successor() {
    let mut bench = Bench::start();
    let web = Replica::start("web").await;
    bench.put(Table::new("web", 1).stable(1, &[web.address])).await;
    let path = bench.state.path().join("handover.sock");

    let received = tokio::task::spawn_blocking(move || {
        let stream = UnixStream::connect(path).unwrap();
        handover::receive_listeners(&stream).unwrap()
    });
    let received = received.await.unwrap();
    assert!(received.iter().all(|socket| socket.local_addr().unwrap() == bench.address));
    // The old supervisor is gone with its descriptors; the new one starts an edge on those it received.
    bench.sockets = received;
    tokio::task::block_in_place(|| bench.join());
    bench.run(|_| {});

    assert_eq!(bench.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_socket_has_a_worker_whatever_their_numbers() {
    for workers in [1, 2, 5] {
        let bench = Bench::start_with(|config| config.workers = workers);
        for _ in 0..24 {
            assert_eq!(bench.get("/").await.header("x-medeclipse-error"), "no_table");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_calls_and_bad_bodies_are_refused_by_the_admin_socket() {
    let bench = Bench::start();

    assert_eq!(bench.admin("GET", "/v1/nothing", &Value::Null).await.0, 404);
    let (status, refused) = bench.admin("PUT", "/v1/table", &json!({ "generation": 1 })).await;
    assert_eq!(status, 400);
    assert!(refused["reason"].as_str().unwrap().starts_with("understand the request: "), "{refused}");
    assert_eq!(bench.admin("GET", "/v1/samples?after=x", &Value::Null).await.0, 400);
    let mode = std::fs::metadata(bench.state.path().join("edge.sock")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_cannot_be_kept_still_serves_but_is_not_acknowledged() {
    let (bench, v1, v2) = (Bench::start(), Replica::start("v1").await, Replica::start("v2").await);
    bench.put(Table::new("web", 1).stable(1, &[v1.address])).await;
    std::fs::remove_dir_all(bench.state.path().join("edge")).unwrap();

    let (status, refused) = bench.try_put(Table::new("web", 2).stable(2, &[v2.address])).await;

    assert_eq!(status, 503, "{refused}");
    until(|| async { bench.get("/").await.revision() == 2 }).await;
}
