//! Streaming: server-sent events, WebSockets, HTTP/2, bodies in pieces.

use crate::support::replica::Replica;
use crate::support::{Bench, PATIENCE, Table, http2_client};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn bench() -> (Bench, Replica) {
    let (bench, web) = (Bench::start(), Replica::start("web").await);
    bench.put(Table::new("web", 1).stable(1, &[web.address])).await;
    (bench, web)
}

#[tokio::test]
async fn e12_events_pass_one_by_one() {
    let (bench, web) = bench().await;
    let mut client = bench.client().await;

    let mut answer = client.open(crate::support::request("/sse")).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    for text in ["hello", "one", "two"] {
        if text != "hello" {
            web.send_event(text);
        }
        let frame =
            tokio::time::timeout(PATIENCE, answer.body_mut().frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), format!("data: {text}\n\n"));
    }

    assert_eq!(bench.in_flight().await, (1, 1));
    drop((answer, client));
    bench.until_in_flight(0).await;
}

#[tokio::test]
async fn e12_websockets_pass_both_ways_with_the_answers_headers() {
    let (bench, _web) = bench().await;
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    let head = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";

    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    while !answer.ends_with("\r\n\r\n") {
        answer.push(char::from(stream.read_u8().await.unwrap()));
    }

    let lower = answer.to_ascii_lowercase();
    assert!(lower.starts_with("http/1.1 101"), "{answer}");
    for header in ["connection: upgrade", "upgrade: websocket", "x-medeclipse-revision: 1", "x-request-id: "]
    {
        assert!(lower.contains(header), "{header} is missing in {answer}");
    }
    for round in 0..50u8 {
        let message = vec![round; 900];
        stream.write_all(&message).await.unwrap();
        let mut echo = vec![0; message.len()];
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut echo)).await.unwrap().unwrap();
        assert_eq!(echo, message);
    }
    assert_eq!(bench.in_flight().await, (1, 1));
    drop(stream);
    bench.until_in_flight(0).await;
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_answer() {
    let (bench, _web) = bench().await;
    let head = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n";

    let answer = bench.raw(head.as_bytes()).await;

    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(r#""upgrade":["websocket"]"#), "{answer}");
}

#[tokio::test]
async fn http2_is_served_with_prior_knowledge() {
    let (bench, _web) = bench().await;
    let mut sender = http2_client(bench.address).await;

    let mut streams = tokio::task::JoinSet::new();
    for n in 0..40 {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://clinic.example/n?{n}"))
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(Full::new(Bytes::from(n.to_string())))
            .unwrap();
        sender.ready().await.unwrap();
        let answering = sender.send_request(request);
        streams.spawn(async move {
            let answer = answering.await.unwrap();
            assert_eq!(answer.headers()["x-medeclipse-revision"], "1");
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            (n, serde_json::from_slice::<serde_json::Value>(&body).unwrap())
        });
    }

    while let Some(done) = tokio::time::timeout(PATIENCE, streams.join_next()).await.unwrap() {
        let (n, seen) = done.unwrap();
        assert_eq!(
            (seen["body"].as_str(), seen["uri"].as_str()),
            (Some(n.to_string().as_str()), Some(format!("/n?{n}").as_str()))
        );
        assert_eq!(seen["headers"]["host"][0], "clinic.example");
        assert_eq!(seen["headers"]["cookie"][0], "a=1; b=2");
    }
}

#[tokio::test]
async fn bodies_stream_in_both_directions_without_waiting_for_their_end() {
    let (bench, web) = bench().await;
    let mut client = bench.client().await;

    let mut answer = client.open(crate::support::request("/late")).await;
    let first = tokio::time::timeout(PATIENCE, answer.body_mut().frame()).await.unwrap().unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "first ");
    web.open_gate();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "last");

    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await.unwrap();
    // The replica has the head before the body has ended.
    crate::support::until(|| async { web.requests() == 2 }).await;
    stream.write_all(b"3\r\ndef\r\n0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains(r#""body":"abcdef""#), "{answer}");
}

#[tokio::test]
async fn large_bodies_arrive_whole() {
    let (bench, _web) = bench().await;
    let body = "0123456789abcdef".repeat(128 * 1024);
    let mut client = bench.client().await;

    let answer = client.post("/", &body).await.unwrap();

    assert_eq!(answer.seen()["body"].as_str().unwrap().len(), body.len());
}

#[tokio::test]
async fn head_and_empty_answers_free_their_connection() {
    let (bench, web) = bench().await;
    let mut client = bench.client().await;
    for _ in 0..20 {
        let mut head = crate::support::request("/");
        *head.method_mut() = Method::HEAD;
        let answer = client.send(head).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
        assert_eq!(client.get("/status/204").await.status, 204);
    }

    assert_eq!(bench.in_flight().await, (0, 0));
    assert_eq!((web.requests(), web.connections()), (40, 1));
}

#[tokio::test]
async fn a_client_that_expects_to_be_told_is_told_to_continue() {
    let (bench, _web) = bench().await;
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";

    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go = [0; 25];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut go)).await.unwrap().unwrap();
    stream.write_all(b"abc").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();

    assert_eq!(&go, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert!(answer.contains(r#""body":"abc""#), "{answer}");
    assert!(!answer.contains("expect"), "{answer}");
}
