//! One connection that carries plain requests, which the edge reads itself, and others, which hyper does.

use crate::support::replica::Replica;
use crate::support::{Bench, PATIENCE, Table};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Draws numbers, the same for the same seed (an LCG of Knuth's).
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Writes a request, and returns what its answer has to end with.
fn request(number: u64, kind: u64, to: &mut Vec<u8>) -> Option<String> {
    let body = format!("body {number}");
    let length = body.len();
    let (text, echo) = match kind {
        0 | 1 => (format!("GET /plain?{number} HTTP/1.1\r\nHost: a\r\n\r\n"), "plain".to_owned()),
        2 => (format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"), body),
        3 => (
            format!(
                "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
            ),
            body,
        ),
        4 => (format!("HEAD /plain?{number} HTTP/1.1\r\nHost: a\r\n\r\n"), String::new()),
        5 => ("GET /plain HTTP/1.1\nHost: a\n\n".to_owned(), "plain".to_owned()),
        6 => {
            ("DELETE /status/204 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".to_owned(), String::new())
        }
        7 => (
            "GET /status/404 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n".to_owned(),
            String::new(),
        ),
        _ => return None,
    };
    to.extend_from_slice(text.as_bytes());
    Some(echo)
}

/// Takes the first answer out of what was read: its status and its body.
fn answer(read: &mut Vec<u8>, is_head: bool) -> Option<(u16, Vec<u8>)> {
    let end = read.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8(read[..end].to_vec()).unwrap().to_ascii_lowercase();
    let status: u16 = head[9..12].parse().unwrap();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let (body, taken) = if is_head || status == 204 {
        (Vec::new(), end)
    } else if let Some(length) = field("content-length:") {
        let length: usize = length.parse().unwrap();
        (read.get(end..end + length)?.to_vec(), end + length)
    } else {
        assert_eq!(field("transfer-encoding:"), Some("chunked"), "{head}");
        let (mut body, mut at) = (Vec::new(), end);
        loop {
            let line = at + read[at..].windows(2).position(|two| two == b"\r\n")?;
            let size = usize::from_str_radix(std::str::from_utf8(&read[at..line]).unwrap(), 16).unwrap();
            body.extend_from_slice(read.get(line + 2..line + 2 + size)?);
            at = line + 2 + size + 2;
            read.get(..at)?;
            if size == 0 {
                break (body, at);
            }
        }
    };
    read.drain(..taken);
    Some((status, body))
}

#[tokio::test]
async fn e12_plain_requests_and_others_share_a_connection_in_any_order_and_any_pieces() {
    let (bench, web) = (Bench::start_with(|config| config.workers = 1), Replica::start("web").await);
    bench.put(Table::new("web", 1).stable(1, &[web.address])).await;

    for seed in 0..60 {
        let mut draws = Draws(seed);
        let mut stream = TcpStream::connect(bench.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut read, mut number) = (Vec::new(), 0);
        for _ in 0..6 {
            // Some of them at once, in pieces that end anywhere.
            let (mut bytes, mut wanted) = (Vec::new(), Vec::new());
            for _ in 0..=draws.below(3) {
                let kind = draws.below(8);
                number += 1;
                wanted.extend(request(number, kind, &mut bytes).map(|body| (kind, body)));
            }
            let (mut from, mut to) = stream.split();
            let writing = async {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at((1 + draws.below(90) as usize).min(rest.len()));
                    to.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                    rest = after;
                }
            };
            let reading = async {
                for (kind, body) in &wanted {
                    let told = loop {
                        if let Some(told) = answer(&mut read, *kind == 4) {
                            break told;
                        }
                        assert!(
                            from.read_buf(&mut read).await.unwrap() > 0,
                            "seed {seed}: closed before {kind}"
                        );
                    };
                    let status = [200, 200, 200, 200, 200, 200, 204, 404][*kind as usize];
                    assert_eq!(told.0, status, "seed {seed}, kind {kind}");
                    if *kind != 7 {
                        assert_eq!(String::from_utf8_lossy(&told.1), *body, "seed {seed}, kind {kind}");
                    }
                }
            };
            let both = async { tokio::join!(writing, reading) };
            tokio::time::timeout(PATIENCE, both).await.unwrap_or_else(|_| panic!("seed {seed} waits"));
        }
        assert!(read.is_empty(), "seed {seed}: {}", String::from_utf8_lossy(&read));
    }

    bench.until_in_flight(0).await;
    assert_eq!(web.connections(), 1, "a connection to a replica carries whatever comes");
}

#[tokio::test]
async fn e12_a_client_that_leaves_a_plain_request_lets_its_replica_go() {
    let (bench, web) = (Bench::start(), Replica::start("web").await);
    bench.put(Table::new("web", 1).stable(1, &[web.address])).await;

    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    stream.write_all(b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    bench.until_in_flight(1).await;
    drop(stream);

    bench.until_in_flight(0).await;
    web.open_gate();
    assert_eq!(bench.get("/plain").await.text(), "plain");
}
