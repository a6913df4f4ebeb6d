//! The promise of the house: a switch drops nothing.

use crate::support::http2_over;
use crate::support::replica::Replica;
use crate::support::tls::{Pair, connector};
use crate::support::{Bench, Client, Table, total, total_errors};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use manifest::tls::{CertificateFiles, Tls};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Instant;
use tokio::task::JoinSet;

const CLIENTS: usize = 32;
const SWITCHES: u64 = 100;

#[derive(Default)]
struct Tally {
    good: AtomicU64,
    failed: AtomicU64,
    reset: AtomicU64,
}

impl Tally {
    /// Notes what a request came to. False: its connection is broken.
    fn note(&self, outcome: Result<u16, hyper::Error>) -> bool {
        match outcome {
            Ok(200) => self.good.fetch_add(1, SeqCst),
            Ok(_) => self.failed.fetch_add(1, SeqCst),
            Err(_) => self.reset.fetch_add(1, SeqCst),
        };
        outcome.is_ok()
    }
}

async fn load(mut client: Client, posts: bool, done: Arc<AtomicBool>, tally: Arc<Tally>) {
    while !done.load(SeqCst) {
        let answer = if posts {
            client.post("/", "body").await
        } else {
            client.send(crate::support::request("/")).await
        };
        if !tally.note(answer.map(|answer| answer.status.as_u16())) {
            return;
        }
    }
}

/// Opens a stream of its own for every request of one connection, GET and POST in turn.
async fn load_http2(mut sender: SendRequest<Full<Bytes>>, done: Arc<AtomicBool>, tally: Arc<Tally>) {
    for n in 0u64.. {
        if done.load(SeqCst) {
            return;
        }
        let request =
            Request::builder().uri("https://clinic.example/").method(["GET", "POST"][n as usize % 2]);
        let body = Full::new(Bytes::from_static(if n % 2 == 0 { b"" } else { b"body" }));
        let sending = async {
            let answer = sender.send_request(request.body(body).unwrap()).await?;
            let status = answer.status().as_u16();
            answer.into_body().collect().await?;
            Ok(status)
        };
        if !tally.note(sending.await) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e21_a_hundred_switches_under_load_drop_nothing() {
    let bench = Bench::start();
    let mut clients = Vec::new();
    for _ in 0..2 * CLIENTS {
        clients.push(bench.client().await);
    }
    let spawn = |set: &mut JoinSet<()>, done: &Arc<AtomicBool>, tally: &Arc<Tally>| {
        for (n, client) in clients.into_iter().enumerate() {
            set.spawn(load(client, n % 2 == 0, Arc::clone(done), Arc::clone(tally)));
        }
    };
    switch_under_load(&bench, SWITCHES, 2 * CLIENTS, spawn).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e21_switches_under_load_over_tls_drop_nothing_on_http1_and_http2() {
    let pair = Pair::of(&["clinic.example"]);
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = pair.write(folder.path(), "clinic");
    let settings = Tls::Files(vec![CertificateFiles { cert, key }]);
    let bench = Bench::start_with(|config| config.tls = Some(settings));
    let connect = async |protocol: &str| {
        let trusting = connector(&[&pair.cert], &[protocol]);
        crate::support::tls::connect(&trusting, bench.address, "clinic.example").await.unwrap()
    };
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for _ in 0..CLIENTS {
        first.push(Client::on(connect("http/1.1").await).await);
        // Four streams at a time on every connection.
        let sender = http2_over(connect("h2").await).await;
        second.extend(std::iter::repeat_n(sender, 4));
    }
    let count = first.len() + second.len();
    let spawn = |set: &mut JoinSet<()>, done: &Arc<AtomicBool>, tally: &Arc<Tally>| {
        for (n, client) in first.into_iter().enumerate() {
            set.spawn(load(client, n % 2 == 0, Arc::clone(done), Arc::clone(tally)));
        }
        for sender in second {
            set.spawn(load_http2(sender, Arc::clone(done), Arc::clone(tally)));
        }
    };
    switch_under_load(&bench, SWITCHES / 4, count, spawn).await;
}

/// Calls a method of gRPC on a stream of its own each time; what it came to stands in the trailers.
async fn load_grpc(mut sender: SendRequest<Full<Bytes>>, done: Arc<AtomicBool>, tally: Arc<Tally>) {
    while !done.load(SeqCst) {
        let request = Request::builder().uri("http://clinic.example/grpc-late/0").method("POST");
        let request = request.header("content-type", "application/grpc").header("te", "trailers");
        let sending = async {
            let answer = sender.send_request(request.body(Full::from("message")).unwrap()).await?;
            let read = answer.into_body().collect().await?;
            let status = read.trailers().and_then(|trailers| trailers.get("grpc-status"));
            Ok(if status.is_some_and(|status| status == "0") { 200 } else { 500 })
        };
        if !tally.note(sending.await) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e21_switches_under_grpc_calls_drop_none() {
    let bench = Bench::start();
    let mut senders = Vec::new();
    for _ in 0..CLIENTS / 2 {
        let sender = crate::support::http2_client(bench.address).await;
        senders.extend(std::iter::repeat_n(sender, 4));
    }
    let count = senders.len();
    let spawn = |set: &mut JoinSet<()>, done: &Arc<AtomicBool>, tally: &Arc<Tally>| {
        for sender in senders {
            set.spawn(load_grpc(sender, Arc::clone(done), Arc::clone(tally)));
        }
    };
    let replicas = (Replica::http2("v1", 100).await, Replica::http2("v2", 100).await);
    switch_between(&bench, "grpc", replicas, SWITCHES / 4, count, spawn).await;
}

/// Switches back and forth under load between replicas that speak HTTP/1.1.
async fn switch_under_load(
    bench: &Bench,
    switches: u64,
    count: usize,
    spawn: impl FnOnce(&mut JoinSet<()>, &Arc<AtomicBool>, &Arc<Tally>),
) {
    let replicas = (Replica::start("v1").await, Replica::start("v2").await);
    switch_between(bench, "http1", replicas, switches, count, spawn).await;
}

/// Switches back and forth under load: nothing fails, everything is counted.
async fn switch_between(
    bench: &Bench,
    protocol: &str,
    (v1, v2): (Replica, Replica),
    switches: u64,
    count: usize,
    spawn: impl FnOnce(&mut JoinSet<()>, &Arc<AtomicBool>, &Arc<Tally>),
) {
    let serving = |generation: u64, revision: u64, replica: &Replica| {
        let mut arm = crate::support::arm(revision, &[replica.address]);
        arm["protocol"] = protocol.into();
        Table::new("web", generation).with("stable", arm)
    };
    bench.put(serving(1, 1, &v1)).await;
    let (done, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Tally::default()));
    let mut clients = JoinSet::new();
    spawn(&mut clients, &done, &tally);

    let started = Instant::now();
    for switch in 2..2 + switches {
        let (old, new) = if switch % 2 == 0 { ((1, &v1), (2, &v2)) } else { ((2, &v2), (1, &v1)) };
        let before = tally.good.load(SeqCst);
        let table = serving(switch, new.0, new.1);
        let until = crate::support::now_ms() + 30_000;
        bench.put(table.draining(old.0, crate::support::now_ms(), until)).await;
        // Nothing is in flight on the old revision soon after the acknowledgement, and every client goes on.
        crate::support::until(|| async {
            let state = bench.state().await;
            let drained = state["in_flight"].as_array().unwrap().iter().all(|row| row["revision"] == new.0);
            drained && tally.good.load(SeqCst) > before + count as u64
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
        "{switches} switches in {:?}: {good} answered, {failed} failed, {reset} reset",
        started.elapsed()
    );
    assert_eq!((failed, reset), (0, 0));
    let rows = bench.counted(good).await;
    assert_eq!((total(&rows, "requests"), v1.requests() + v2.requests()), (good, good));
    for class in ["status", "connect", "reset", "timeout", "early_eof"] {
        assert_eq!(total_errors(&rows, class), 0, "{class}");
    }
}
