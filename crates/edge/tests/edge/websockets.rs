//! Holds WebSockets through the edge against a server that is not ours: what it says to each of these conversations, it says
//! through the edge too, byte for byte, over HTTP/1.1 and over HTTP/2, however the bytes are cut.
//! The cases are of the kinds of the Autobahn test suite, which needs a Python that is no longer there: framing, pings, reserved
//! bits, opcodes, fragments, UTF-8, closing.

use crate::long::upgraded;
use crate::support::{Bench, PATIENCE, Table, http2_client, request};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Utf8Bytes};

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FIN: u8 = 0x80;
/// Messages beyond are too big (1009) for the server.
const LARGEST: usize = 1 << 20;

/// Sends every message back, and closes with the code that says what was wrong.
async fn echo(stream: TcpStream) {
    let config = WebSocketConfig::default().max_message_size(Some(LARGEST)).max_frame_size(Some(LARGEST));
    let Ok(mut socket) = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await else {
        return;
    };
    while let Some(read) = socket.next().await {
        let code = match read {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => match socket.send(message).await {
                Ok(()) => continue,
                Err(_) => return,
            },
            // Pings and closings are answered by themselves.
            Ok(_) => continue,
            Err(Error::Utf8(_)) => CloseCode::Invalid,
            Err(Error::Capacity(_)) => CloseCode::Size,
            Err(Error::Protocol(_)) => CloseCode::Protocol,
            Err(_) => return,
        };
        let said = socket.close(Some(CloseFrame { code, reason: Utf8Bytes::default() })).await;
        let _ = (said, socket.flush().await);
        // What the client has still sent is read: with it unread, the end would be a reset.
        let mut rest = socket.into_inner();
        let _ = rest.shutdown().await;
        let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
        return;
    }
}

struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(echo(stream));
            }
        });
        Self { address, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Writes a frame with its length in the fewest bytes, masked as clients must.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(FIN | short as u8),
        middle @ 126..65536 => {
            frame.push(FIN | 126);
            frame.extend((middle as u16).to_be_bytes());
        }
        long => {
            frame.push(FIN | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    let key = [0x37, 0xfa, 0x21, 0x3d];
    frame.extend(key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

fn closing(code: u16, reason: &str) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes()[..], reason.as_bytes()].concat())
}

/// A conversation: what it is called, what the client says, and the code it ends with; None: the client closes well (1000).
fn cases() -> Vec<(String, Vec<u8>, u16)> {
    let mut cases = Vec::new();
    let mut well = |name: String, frames: Vec<Vec<u8>>| {
        cases.push((name, [frames.concat(), closing(1000, "")].concat(), 1000));
    };
    for length in [0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537, 300_000] {
        well(format!("a text of {length}"), vec![frame(FIN | TEXT, &vec![b'*'; length])]);
        well(format!("{length} bytes"), vec![frame(FIN | BINARY, &vec![0xfe; length])]);
    }
    well(
        "a hundred texts".into(),
        (0..100).map(|n| frame(FIN | TEXT, format!("message {n}").as_bytes())).collect(),
    );
    well("a ping without a payload".into(), vec![frame(FIN | PING, b"")]);
    well("a ping with a payload".into(), vec![frame(FIN | PING, &[0, 0xff, 0x80])]);
    well("a ping as long as may be".into(), vec![frame(FIN | PING, &[b'p'; 125])]);
    well("ten pings".into(), (0..10).map(|n| frame(FIN | PING, &[n])).collect());
    well(
        "a pong nobody asked for, then a text".into(),
        vec![frame(FIN | PONG, b"x"), frame(FIN | TEXT, b"y")],
    );
    well("a text in two fragments".into(), vec![frame(TEXT, b"one "), frame(FIN, b"two")]);
    well("a text in empty fragments".into(), vec![frame(TEXT, b""), frame(0, b""), frame(FIN, b"")]);
    well(
        "a ping between two fragments".into(),
        vec![frame(TEXT, b"a"), frame(FIN | PING, b"now"), frame(FIN, b"b")],
    );
    well("a letter cut in two by fragments".into(), vec![frame(TEXT, &[0xce]), frame(FIN, &[0xba])]);
    well("letters of one to four bytes".into(), vec![frame(FIN | TEXT, "aκ€𝄞".as_bytes())]);
    let pieces = (0..64).map(|n| {
        frame(
            if n == 0 {
                BINARY
            } else if n == 63 {
                FIN
            } else {
                0
            },
            &[n; 1024],
        )
    });
    well("64 KiB in fragments of one".into(), pieces.collect());

    let mut ends =
        |name: &str, frames: Vec<Vec<u8>>, code: u16| cases.push((name.into(), frames.concat(), code));
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        ends(&format!("closing with {code}"), vec![closing(code, "why not")], code);
    }
    ends("a text after the closing", vec![closing(1000, ""), frame(FIN | TEXT, b"late")], 1000);
    for bits in [0x40, 0x20, 0x10] {
        ends(&format!("reserved bit {bits:#x}"), vec![frame(FIN | bits | TEXT, b"x")], 1002);
    }
    for opcode in [3, 7, 11, 15] {
        ends(&format!("reserved opcode {opcode}"), vec![frame(FIN | opcode, b"")], 1002);
    }
    ends("a frame that is not masked", vec![vec![FIN | TEXT, 1, b'x']], 1002);
    ends("a ping in fragments", vec![frame(PING, b"x")], 1002);
    ends("a ping that is too long", vec![frame(FIN | PING, &[0; 126])], 1002);
    ends("a rest of nothing", vec![frame(FIN, b"x")], 1002);
    ends("a text within a text", vec![frame(TEXT, b"a"), frame(FIN | TEXT, b"b")], 1002);
    ends("a closing with one byte", vec![frame(FIN | CLOSE, &[3])], 1002);
    ends("a text that is no UTF-8", vec![frame(FIN | TEXT, &[0xce, 0xba, 0xed, 0xa0, 0x80])], 1007);
    ends("a text that ends within a letter", vec![frame(FIN | TEXT, &[0xf0, 0x9d])], 1007);
    ends("a message that is too big", vec![frame(FIN | BINARY, &vec![0; LARGEST + 1])], 1009);
    cases
}

/// Says all of it in pieces of this size and returns what comes back until the end.
async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, said: &[u8], piece: usize) -> Vec<u8> {
    let (mut reading, mut writing) = tokio::io::split(&mut stream);
    let write = async {
        for piece in said.chunks(piece) {
            // A server that has heard enough may hang up.
            if writing.write_all(piece).await.is_err() || writing.flush().await.is_err() {
                break;
            }
        }
    };
    let mut heard = Vec::new();
    let read = async {
        // Broken off or ended: what was heard before is what counts.
        let _ = reading.read_to_end(&mut heard).await;
    };
    let both = futures_util::future::join(write, read);
    tokio::time::timeout(PATIENCE, both).await.expect("it never ended");
    heard
}

/// Opens a WebSocket over HTTP/1.1; the server's own answer to the key comes through.
async fn over_http1(address: SocketAddr) -> TcpStream {
    let (stream, answer) = upgraded(address).await;
    assert!(answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
    stream
}

/// Opens a WebSocket on a stream of HTTP/2 (RFC 8441).
async fn streamed(address: SocketAddr) -> TokioIo<hyper::upgrade::Upgraded> {
    let mut sender = http2_client(address).await;
    // The edge has said that it can by the time it answers; the server itself wants a WebSocket.
    let mut plain = request("/");
    *plain.uri_mut() = "http://clinic.example/".parse().unwrap();
    plain.headers_mut().remove("host");
    let _ = sender.send_request(plain).await.unwrap();
    let ask = Request::builder()
        .method(Method::CONNECT)
        .uri("http://clinic.example/ws")
        .extension(hyper::ext::Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .body(Full::<Bytes>::default());
    let mut answer = sender.send_request(ask.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap())
}

/// Returns the code of the closing frame a conversation ends with.
fn code_of(heard: &[u8]) -> Option<u16> {
    let [.., first, length, high, low] = heard else { return None };
    // Without a reason; with one the frame begins earlier.
    if (*first, *length) == (FIN | CLOSE, 2) {
        return Some(u16::from_be_bytes([*high, *low]));
    }
    let at = heard
        .windows(2)
        .rposition(|pair| pair[0] == FIN | CLOSE && usize::from(pair[1]) == "why not".len() + 2)?;
    Some(u16::from_be_bytes([*heard.get(at + 2)?, *heard.get(at + 3)?]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e12_websockets_say_through_the_edge_what_they_say_without_it() {
    let (bench, server) = (Bench::start(), Server::start().await);
    bench.put(Table::new("web", 1).stable(1, &[server.address])).await;
    let cases = cases();

    for (name, said, code) in &cases {
        let direct = converse(over_http1(server.address).await, said, said.len()).await;
        assert_eq!(code_of(&direct), Some(*code), "{name}: {direct:?}");
        // One byte at a time where that takes no time.
        for piece in [said.len(), 1000, 1].into_iter().filter(|piece| *piece > 1 || said.len() < 2000) {
            let through = converse(over_http1(bench.address).await, said, piece).await;
            assert!(
                through == direct,
                "{name}, in pieces of {piece}: {} bytes, not {}",
                through.len(),
                direct.len()
            );
        }
        let through = converse(streamed(bench.address).await, said, said.len()).await;
        assert!(through == direct, "{name}, over HTTP/2: {} bytes, not {}", through.len(), direct.len());
    }

    println!("{} conversations, each the same through the edge", cases.len());
    bench.until_in_flight(0).await;
}
