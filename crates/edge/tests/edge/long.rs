//! O6: WebSockets and event streams end by a contract, each route by its own: told why, and not all in one moment.

use crate::support::replica::Replica;
use crate::support::{Bench, PATIENCE, Table, http2_client, now_ms, request, until};
use futures_util::future::join_all;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// "Going away", as a server says it.
const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];
/// How a client answers that.
const GOODBYE: [u8; 8] = [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe9 ^ 2];
/// A text of four letters, not masked: the replica sends back what it gets, and so it is one both ways.
const TEXT: [u8; 6] = [0x81, 0x04, b'e', b'c', b'h', b'o'];

/// Opens a WebSocket over HTTP/1.1.
pub async fn websocket(address: SocketAddr) -> TcpStream {
    upgraded(address).await.0
}

/// Opens a WebSocket over HTTP/1.1, and returns the head of the answer in lower case, too.
pub async fn upgraded(address: SocketAddr) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let answer = String::from_utf8_lossy(&answer).to_lowercase();
    assert!(answer.starts_with("http/1.1 101"), "{answer}");
    (stream, answer)
}

async fn read<const BYTES: usize>(stream: &mut TcpStream) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut bytes)).await.expect("nothing came").unwrap();
    bytes
}

pub async fn echoes(stream: &mut TcpStream) {
    stream.write_all(&TEXT).await.unwrap();
    assert_eq!(read::<6>(stream).await, TEXT);
}

/// Reads the farewell, answers it, and expects the end.
pub async fn is_told(stream: &mut TcpStream) {
    assert_eq!(read::<4>(stream).await, GOING_AWAY);
    stream.write_all(&GOODBYE).await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it never ended");
    // The replica may have said goodbye too, before it heard ours.
    assert!(ended.is_ok() && rest.is_empty(), "{ended:?} {rest:?}");
}

/// An edge that serves revision 1.
async fn serving() -> (Bench, Replica, Replica) {
    let (bench, v1, v2) = (Bench::start(), Replica::start("v1").await, Replica::start("v2").await);
    bench.put(Table::new("web", 1).stable(1, &[v1.address])).await;
    (bench, v1, v2)
}

/// Revision 2 serves, and 1 drains for this long.
fn switched(generation: u64, v2: &Replica, for_ms: u64, connections: Value) -> Table {
    let table = Table::new("web", generation).stable(2, &[v2.address]).with("connections", connections);
    table.draining(1, now_ms(), now_ms() + for_ms)
}

fn policy(websocket: &str, sse: &str, ceiling_ms: u64) -> Value {
    json!({ "websocket": websocket, "sse": sse, "ceiling": ceiling_ms })
}

/// Returns what `retry:` says at the end of a stream that has ended.
async fn retry(stream: http::Response<hyper::body::Incoming>) -> u64 {
    let all = tokio::time::timeout(PATIENCE, stream.into_body().collect()).await.expect("it never ended");
    let text = String::from_utf8(all.expect("a stream must end cleanly").to_bytes().to_vec()).unwrap();
    let (events, retry) = text.rsplit_once("retry: ").unwrap_or_else(|| panic!("no retry in {text:?}"));
    assert!(events.ends_with('\n'), "{text:?}");
    retry.trim().parse().unwrap()
}

#[tokio::test]
async fn o6_a_websocket_is_told_its_end_between_two_messages() {
    let (bench, _v1, v2) = serving().await;
    let (mut quiet, mut busy) = (websocket(bench.address).await, websocket(bench.address).await);
    busy.write_all(&TEXT[..3]).await.unwrap();
    assert_eq!(read::<3>(&mut busy).await, TEXT[..3]);

    bench.put(switched(2, &v2, 20_000, policy("cut", "cut", 0))).await;

    is_told(&mut quiet).await;
    busy.write_all(&TEXT[3..]).await.unwrap();
    assert_eq!(read::<3>(&mut busy).await, TEXT[3..]);
    is_told(&mut busy).await;
    bench.until_in_flight(0).await;
}

#[tokio::test]
async fn o6_a_websocket_that_answers_nothing_ends_all_the_same() {
    let (bench, _v1, v2) = serving().await;
    let mut silent = websocket(bench.address).await;
    // Within a message that never ends.
    silent.write_all(&TEXT[..3]).await.unwrap();
    assert_eq!(read::<3>(&mut silent).await, TEXT[..3]);

    bench.put(switched(2, &v2, 20_000, policy("cut", "cut", 0))).await;

    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut rest)).await.expect("it never ended");
    drop(ended);
    assert!(rest.is_empty(), "a farewell within a message would be read as part of it: {rest:?}");
    bench.until_in_flight(0).await;
}

#[tokio::test]
async fn o6_event_streams_are_told_each_another_moment_to_come_back() {
    let (bench, _v1, v2) = serving().await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(bench.client().await);
    }
    let streams = join_all(clients.iter_mut().map(|client| client.open(request("/sse")))).await;
    bench.until_in_flight(8).await;

    bench.put(switched(2, &v2, 200, policy("keep", "drain", 60_000))).await;

    let mut told = join_all(streams.into_iter().map(retry)).await;
    assert!(told.iter().all(|ms| (1_000..5_000).contains(ms)), "{told:?}");
    told.sort_unstable();
    told.dedup();
    assert!(told.len() > 4, "{told:?}");
}

#[tokio::test]
async fn o6_a_route_has_a_contract_of_its_own() {
    let (bench, _v1, v2) = serving().await;
    let mut chat = websocket(bench.address).await;
    let mut client = bench.client().await;
    let stream = client.open(request("/sse")).await;
    bench.until_in_flight(2).await;
    // The connections of a route are known by the table under which they began.
    let mut connections = policy("cut", "cut", 60_000);
    connections["routes"] =
        json!([{ "template": "/ws", "websocket": "keep", "sse": "keep", "ceiling": 60_000 }]);
    let table = |generation| {
        Table::new("web", generation)
            .with("templates", json!(["/ws"]))
            .with("connections", connections.clone())
    };
    bench.put(table(2).stable(1, &[_v1.address])).await;
    let mut kept = websocket(bench.address).await;

    bench.put(table(3).stable(2, &[v2.address]).draining(1, now_ms(), now_ms() + 20_000)).await;

    is_told(&mut chat).await;
    retry(stream).await;
    echoes(&mut kept).await;
    bench.until_in_flight(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o6_none_of_500_websockets_and_500_event_streams_is_cut_before_its_ceiling() {
    let (bench, _v1, v2) = serving().await;
    let (mut sockets, mut clients) = (Vec::new(), Vec::new());
    for _ in 0..500 {
        sockets.push(websocket(bench.address).await);
        clients.push(bench.client().await);
    }
    let streams = join_all(clients.iter_mut().map(|client| client.open(request("/sse")))).await;
    bench.until_in_flight(1000).await;

    bench.put(switched(2, &v2, 0, policy("keep", "keep", 3_600_000))).await;
    assert_eq!(bench.get("/").await.revision(), 2);
    join_all(sockets.iter_mut().map(echoes)).await;
    assert_eq!(bench.in_flight().await, (1000, 1000));
    bench.put(switched(3, &v2, 500, policy("drain", "drain", 0))).await;

    join_all(sockets.iter_mut().map(is_told)).await;
    join_all(streams.into_iter().map(retry)).await;
    bench.until_in_flight(0).await;
}

#[tokio::test]
async fn o6_a_replaced_edge_keeps_what_the_contract_keeps_and_ends_the_rest_in_its_drain() {
    let mut bench = Bench::start_with(|config| config.waits.stop_drain = Duration::from_millis(1_500));
    let v1 = Replica::start("v1").await;
    bench
        .put(
            Table::new("web", 1)
                .stable(1, &[v1.address])
                .with("connections", policy("keep", "drain", 600_000)),
        )
        .await;
    let mut kept = websocket(bench.address).await;
    let mut client = bench.client().await;
    let stream = client.open(request("/sse")).await;

    bench.retire();

    retry(stream).await;
    until(|| async { bench.in_flight().await == (1, 1) }).await;
    // The drain is over for everything but what is kept.
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    echoes(&mut kept).await;
    bench.stop();
    is_told(&mut kept).await;
    tokio::task::spawn_blocking(move || bench.join()).await.unwrap();
}

#[tokio::test]
async fn o6_a_grpc_call_that_is_ended_says_that_it_may_be_made_again() {
    let (bench, v1, v2) = (Bench::start(), Replica::http2("v1", 100).await, Replica::start("v2").await);
    let mut table = Table::new("web", 1).stable(1, &[v1.address]).json();
    table["routes"]["stable"]["protocol"] = json!("grpc");
    assert_eq!(bench.admin("PUT", "/v1/table", &table).await.0, 200);
    let mut client = http2_client(bench.address).await;
    let mut call = request("/grpc-open");
    *call.uri_mut() = "http://clinic.example/grpc-open".parse().unwrap();
    call.headers_mut().remove("host");
    let answer = client.send_request(call).await.unwrap();
    bench.until_in_flight(1).await;

    bench.put(switched(2, &v2, 100, policy("keep", "drain", 60_000))).await;

    let collected =
        tokio::time::timeout(PATIENCE, answer.into_body().collect()).await.expect("it never ended");
    let trailers = collected.unwrap().trailers().cloned().expect("a call ends with its status");
    assert_eq!(trailers["grpc-status"], "14");
}
