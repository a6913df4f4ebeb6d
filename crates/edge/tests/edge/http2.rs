//! HTTP/2 on both sides: replicas that speak it, gRPC, WebSockets on a stream; and who a client behind a proxy is.

use crate::support::replica::{FLOOD, Replica};
use crate::support::tls::{Pair, connect, connector};
use crate::support::{Bench, PATIENCE, Table, http2_client, request, total, total_errors, until};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use manifest::tls::{CertificateFiles, Tls};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

fn arm(revision: u64, protocol: &str, replicas: &[SocketAddr]) -> Value {
    let endpoint =
        |(n, address): (usize, &SocketAddr)| json!({ "replica": format!("r-{n}"), "address": address });
    let replicas: Vec<_> = replicas.iter().enumerate().map(endpoint).collect();
    let release = format!("{revision:012}ffffffff");
    json!({ "revision": revision, "release": release, "replicas": replicas, "protocol": protocol })
}

async fn bench_of(web: &Replica, protocol: &str) -> Bench {
    let bench = Bench::start();
    bench.put(Table::new("web", 1).with("stable", arm(1, protocol, &[web.address]))).await;
    bench
}

/// A client whose bodies are written while it runs.
async fn streaming_client(address: SocketAddr) -> http2::SendRequest<BoxBody<Bytes, Infallible>> {
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Returns a body and what writes it.
fn written_body() -> (mpsc::Sender<Frame<Bytes>>, BoxBody<Bytes, Infallible>) {
    let (writing, frames) = mpsc::channel(4);
    let stream = futures_util::stream::unfold(frames, |mut frames: mpsc::Receiver<_>| async move {
        frames.recv().await.map(|frame| (Ok(frame), frames))
    });
    (writing, BoxBody::new(StreamBody::new(stream)))
}

async fn frame(answer: &mut Response<Incoming>) -> Frame<Bytes> {
    tokio::time::timeout(PATIENCE, answer.body_mut().frame()).await.unwrap().unwrap().unwrap()
}

#[tokio::test]
async fn e20_a_replica_that_speaks_http2_serves_clients_of_both_versions() {
    let web = Replica::http2("web", 100).await;
    let bench = bench_of(&web, "h2c").await;

    let mut client = bench.client().await;
    let answer = client.post("/a?b", "body").await.unwrap();
    let seen = answer.seen();
    assert_eq!(
        (seen["uri"].as_str(), seen["body"].as_str()),
        (Some("http://clinic.example/a?b"), Some("body"))
    );
    assert_eq!(seen["headers"]["connection"], Value::Null);
    assert_eq!((answer.status.as_u16(), answer.revision()), (200, 1));

    let sender = http2_client(bench.address).await;
    let mut streams = JoinSet::new();
    for n in 0..200 {
        let mut sender = sender.clone();
        streams.spawn(async move {
            let request = Request::builder().uri(format!("http://clinic.example/{n}")).body(Full::default());
            let answer = sender.send_request(request.unwrap()).await.unwrap();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let seen: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(seen["uri"], format!("http://clinic.example/{n}"));
        });
    }
    while let Some(done) = streams.join_next().await {
        done.unwrap();
    }

    // Two workers, and as many connections as 250 streams at a time need.
    assert!(web.connections() <= 4, "{}", web.connections());
    let rows = bench.counted(201).await;
    assert_eq!((total(&rows, "requests"), web.requests()), (201, 201));
    assert_eq!(bench.in_flight().await, (0, 0));
}

#[tokio::test]
async fn e20_more_requests_than_a_replica_takes_at_a_time_all_get_their_answer() {
    let web = Replica::http2("web", 1).await;
    let bench = bench_of(&web, "h2c").await;
    let sender = http2_client(bench.address).await;

    let mut streams = JoinSet::new();
    for _ in 0..40 {
        let mut sender = sender.clone();
        streams.spawn(async move {
            let request = Request::post("http://clinic.example/").body(Full::default()).unwrap();
            sender.send_request(request).await.unwrap().status().as_u16()
        });
    }

    while let Some(status) = streams.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
}

#[tokio::test]
async fn e20_grpc_streams_pass_both_ways_with_their_trailers() {
    for (protocol, web) in
        [("grpc", Replica::http2("web", 100).await), ("http1", Replica::start("web").await)]
    {
        let bench = bench_of(&web, protocol).await;
        let mut sender = streaming_client(bench.address).await;
        let (writing, body) = written_body();
        let request = Request::post("http://clinic.example/echo")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("trailer", "x-end")
            .body(body)
            .unwrap();
        let mut answer = tokio::time::timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();

        for message in ["one", "two", "three"] {
            writing.send(Frame::data(Bytes::from_static(message.as_bytes()))).await.unwrap();
            // Each comes back before the next is sent.
            assert_eq!(frame(&mut answer).await.into_data().unwrap(), message, "{protocol}");
        }
        assert_eq!(bench.in_flight().await.0, 1);
        if protocol == "grpc" {
            let trailers = HeaderMap::from_iter([("x-end".parse().unwrap(), "13".parse().unwrap())]);
            writing.send(Frame::trailers(trailers)).await.unwrap();
            assert_eq!(frame(&mut answer).await.into_trailers().unwrap()["x-end"], "13");
        }
        drop((writing, answer));
        bench.until_in_flight(0).await;
    }
}

#[tokio::test]
async fn e20_what_grpc_calls_a_failure_is_counted_as_one() {
    let web = Replica::http2("web", 100).await;
    let bench = bench_of(&web, "grpc").await;
    let mut sender = http2_client(bench.address).await;

    for path in ["/grpc/14", "/grpc-late/13", "/grpc/5", "/grpc-late/0"] {
        let uri = format!("http://clinic.example{path}");
        let request = Request::post(uri).header("te", "trailers").body(Full::default()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let head = answer.headers().get("grpc-status").cloned();
        let collected = answer.into_body().collect().await.unwrap();
        let status = collected.trailers().and_then(|trailers| trailers.get("grpc-status").cloned()).or(head);
        assert_eq!(status.unwrap().to_str().unwrap(), path.rsplit_once('/').unwrap().1, "{path}");
    }

    let rows = bench.counted(4).await;
    assert_eq!(total_errors(&rows, "status"), 2);
    let (status, proof) = bench.admin("POST", "/v1/prove", &json!({ "target": "web@local" })).await;
    assert_eq!((status, proof["revision"].as_u64()), (200, Some(1)), "{proof}");
}

#[tokio::test]
async fn e23_a_dead_http2_replica_is_502_and_another_one_takes_over() {
    let (dying, other) = (Replica::http2("a", 100).await, Replica::http2("b", 100).await);
    let bench = Bench::start();
    bench.put(Table::new("web", 1).with("stable", arm(1, "h2c", &[dying.address]))).await;
    let mut client = bench.client().await;
    assert_eq!(client.get("/").await.status, 200);
    drop(dying);
    until(|| async { bench.get("/").await.status == 502 }).await;

    bench.put(Table::new("web", 2).with("stable", arm(1, "h2c", &[other.address]))).await;

    assert_eq!(client.post("/", "x").await.unwrap().status, 200);
}

#[tokio::test]
async fn e12_a_websocket_passes_on_a_stream_of_http2_over_tls() {
    let (pair, web, folder) =
        (Pair::of(&["clinic.example"]), Replica::start("web").await, tempfile::tempdir().unwrap());
    let (cert, key) = pair.write(folder.path(), "a");
    let bench = Bench::start_with(|config| {
        config.tls = Some(Tls::Files(vec![CertificateFiles { cert, key }]));
        config.waits.client_idle = Duration::from_millis(200);
    });
    bench.put(Table::new("web", 1).stable(1, &[web.address])).await;
    let stream = connect(&connector(&[&pair.cert], &["h2"]), bench.address, "clinic.example").await.unwrap();
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let plain =
        Request::builder().uri("https://clinic.example/").body(BoxBody::<Bytes, Infallible>::default());
    // The edge has said that it can by the time it answers.
    assert_eq!(sender.send_request(plain.unwrap()).await.unwrap().status(), 200);

    let ask = |path: &str| {
        Request::builder()
            .method(Method::CONNECT)
            .uri(format!("https://clinic.example{path}"))
            .extension(hyper::ext::Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13")
            .body(BoxBody::default())
            .unwrap()
    };
    let mut answer = sender.send_request(ask("/ws")).await.unwrap();
    assert_eq!(answer.status(), 200);
    for name in ["connection", "upgrade", "sec-websocket-accept"] {
        assert!(!answer.headers().contains_key(name), "{name}");
    }
    let mut socket = TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap());
    // Longer than an idle connection is kept: the stream keeps it busy.
    let mut rounds = tokio::time::interval(Duration::from_millis(30));
    for round in 0..20u8 {
        rounds.tick().await;
        let message = vec![round; 900];
        socket.write_all(&message).await.unwrap();
        let mut echo = vec![0; message.len()];
        tokio::time::timeout(PATIENCE, socket.read_exact(&mut echo)).await.unwrap().unwrap();
        assert_eq!(echo, message);
    }
    assert_eq!(bench.in_flight().await, (1, 1));

    // An answer that is no upgrade is one: whatever its status, or none that could be taken for an upgrade.
    assert_eq!(sender.send_request(ask("/status/403")).await.unwrap().status(), 403);
    assert_eq!(sender.send_request(ask("/")).await.unwrap().status(), 502);
    drop(socket);
    bench.until_in_flight(0).await;
    connection.abort();
}

#[tokio::test]
async fn e14_a_proxy_in_front_says_who_the_client_is_and_nobody_else_may() {
    let (pair, web, folder) =
        (Pair::of(&["clinic.example"]), Replica::start("web").await, tempfile::tempdir().unwrap());
    let (cert, key) = pair.write(folder.path(), "a");
    let settings = Tls::Files(vec![CertificateFiles { cert, key }]);
    let trusting = connector(&[&pair.cert], &["http/1.1"]);
    let header = b"PROXY TCP4 203.0.113.7 203.0.113.1 12345 443\r\n";
    let trusted = Bench::start_with(|config| {
        config.tls = Some(settings.clone());
        config.proxies = vec![[127, 0, 0, 1].into()];
        config.waits.client_handshake = Duration::from_millis(300);
    });
    trusted.put(Table::new("web", 1).stable(1, &[web.address])).await;

    let mut stream = TcpStream::connect(trusted.address).await.unwrap();
    stream.write_all(header).await.unwrap();
    let name = tokio_rustls::rustls::pki_types::ServerName::try_from("clinic.example").unwrap();
    let stream = trusting.connect(name, stream).await.unwrap();
    let answer = crate::support::Client::on(stream).await.get("/").await;
    let seen = answer.seen();
    assert_eq!(seen["headers"]["x-forwarded-for"][0], "203.0.113.7");
    assert_eq!(
        (seen["headers"]["x-forwarded-port"][0].as_str(), seen["headers"]["x-forwarded-proto"][0].as_str()),
        (Some("443"), Some("https"))
    );
    until(|| async { trusted.log_lines().iter().any(|line| line["client"] == "203.0.113.7") }).await;

    // Without a header, and with one that never ends.
    assert!(connect(&trusting, trusted.address, "clinic.example").await.is_err());
    let mut slow = TcpStream::connect(trusted.address).await.unwrap();
    slow.write_all(b"PROXY TCP4 ").await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, slow.read_to_end(&mut rest)).await.unwrap().unwrap();

    let open = Bench::start_with(|config| config.proxies = vec![[10, 0, 0, 1].into()]);
    open.put(Table::new("web", 1).stable(1, &[web.address])).await;
    let head = [&header[..], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    assert!(open.raw(&head).await.starts_with("HTTP/1.1 400"));
    assert_eq!(web.requests(), 1);
}

#[tokio::test]
async fn e13_a_large_download_to_a_slow_client_fills_no_memory() {
    for (protocol, web) in [("h2c", Replica::http2("web", 100).await), ("http1", Replica::start("web").await)]
    {
        let bench = bench_of(&web, protocol).await;
        let mut client = bench.client().await;
        let mut answer = client.open(request("/flood")).await;
        let (mut read, mut ahead) = (0u64, 0u64);
        while let Some(frame) = answer.body_mut().frame().await {
            // Whatever is between the replica and us, the sockets' own buffers among it.
            ahead = ahead.max(web.sent().saturating_sub(read));
            read += frame.unwrap().into_data().unwrap().len() as u64;
            if read < 8 << 20 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        assert_eq!(read, FLOOD, "{protocol}");
        assert!(ahead < 24 << 20, "{protocol}: {ahead} bytes ahead");
    }
}
