//! Holds what is read here against what hyper reads: the same answers, in whatever pieces they come.

use super::ask;
use crate::body::{Download, Upload};
use crate::exchange::Order;
use crate::headers::Upgrade;
use crate::wire::{Wire, WireIo};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use rollout::names::{Revision, Target};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const WITHIN: Duration = Duration::from_secs(20);

/// An answer as its reader understood it.
#[derive(Debug, PartialEq, Eq)]
struct Understood {
    status: u16,
    reason: Option<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
    /// None: it broke off, or was refused.
    content: Option<Vec<u8>>,
    trailers: Option<HeaderMap>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Direct,
    Hyper,
}

/// Has a replica answer with these pieces and close; says what was understood, and whether its connection was free again.
fn understood(method: &Method, pieces: &[Vec<u8>], reader: Reader) -> Option<(Understood, bool)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let talk = async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut replica, _) = listener.accept().await.unwrap();
        replica.set_nodelay(true).unwrap();
        let speaks = async {
            let mut heard = Vec::new();
            while !heard.ends_with(b"\r\n\r\n") {
                assert!(replica.read_buf(&mut heard).await.unwrap() > 0);
            }
            for piece in pieces {
                // Who has heard enough is gone.
                let _ = replica.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            drop(replica);
        };
        let (understood, ()) = tokio::join!(asked(Wire::new(stream), method, reader), speaks);
        understood
    };
    let talk = async { tokio::time::timeout(WITHIN, talk).await.unwrap() };
    tokio::task::LocalSet::new().block_on(&runtime, talk)
}

async fn asked(wire: std::sync::Arc<Wire>, method: &Method, reader: Reader) -> Option<(Understood, bool)> {
    let target = Target::new("web", "local");
    let order = Order {
        target: &target,
        revision: Revision(1),
        method: method.clone(),
        path: PathAndQuery::from_static("/"),
        headers: HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("a"))]),
        upgrade: Upgrade::None,
        is_health: false,
    };
    match reader {
        Reader::Direct => {
            let response = ask(&wire, &order).await.ok()?;
            Some(read(response.map(Download::Direct)).await)
        }
        Reader::Hyper => {
            let io = TokioIo::new(WireIo(wire));
            let (mut sender, connection) = http1::Builder::new().handshake(io).await.unwrap();
            let connection = tokio::task::spawn_local(connection);
            let mut request = Request::new(Upload::Empty);
            (*request.method_mut(), *request.headers_mut()) = (method.clone(), order.headers);
            let response = sender.send_request(request).await.ok()?;
            let understood = read(response.map(Download::Hyper)).await;
            connection.abort();
            Some(understood)
        }
    }
}

async fn read(response: Response<Download>) -> (Understood, bool) {
    let (head, mut content) = response.into_parts();
    let reason = head.extensions.get::<hyper::ext::ReasonPhrase>().map(|reason| reason.as_bytes().to_vec());
    let (mut whole, mut trailers) = (Some(Vec::new()), None);
    while let Some(frame) = content.frame().await {
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(data)) => whole.as_mut().unwrap().extend_from_slice(&data),
            Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
            Err(_) => {
                whole = None;
                break;
            }
        }
    }
    let chunked = head.headers.contains_key(header::TRANSFER_ENCODING);
    // Beside chunks a length means nothing, and several that are the same mean one.
    let counts = |name: &http::HeaderName| !chunked || *name != header::CONTENT_LENGTH;
    let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, value) in head.headers.iter().filter(|(name, _)| counts(name)) {
        let field = (name.to_string(), value.as_bytes().to_vec());
        if *name != header::CONTENT_LENGTH || !headers.contains(&field) {
            headers.push(field);
        }
    }
    let understood = Understood { status: head.status.as_u16(), reason, headers, content: whole, trailers };
    (understood, content.frees())
}

/// What is read directly is what hyper reads, or it is refused; nothing is taken that hyper refuses.
fn hold_against_hyper(method: &Method, pieces: &[Vec<u8>], may_refuse: bool) {
    let (mine, hypers) =
        (understood(method, pieces, Reader::Direct), understood(method, pieces, Reader::Hyper));
    let shown = || String::from_utf8_lossy(&pieces.concat()).into_owned();
    match (mine, hypers) {
        (Some((mine, _)), Some((hypers, _))) if mine.content.is_some() || !may_refuse => {
            assert_eq!(mine, hypers, "{}", shown());
        }
        (mine, hypers) => {
            let taken = mine.as_ref().is_some_and(|(mine, _)| mine.content.is_some());
            assert!(!taken, "taken: {mine:?}, and hyper {hypers:?}: {}", shown());
            assert!(may_refuse || hypers.is_none(), "refused: {hypers:?}: {}", shown());
        }
    }
}

fn pieces(whole: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let (mut pieces, mut rest) = (Vec::new(), whole);
    for cut in cuts {
        let (piece, after) = rest.split_at((*cut).min(rest.len()));
        pieces.push(piece.to_vec());
        rest = after;
    }
    pieces.push(rest.to_vec());
    pieces
}

#[test]
fn e20_strange_answers_are_read_as_hyper_reads_them_or_refused() {
    for (answer, may_refuse) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false),
        ("HTTP/1.1 200 Fine\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.1 204 No Content\r\n\r\n", false),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\n\r\nuntil the end", false),
        ("HTTP/1.0 200 OK\r\n\r\nuntil the end", false),
        ("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", false),
        ("HTTP/1.1 100 Continue\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-A: 1\r\n\r\n", false),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 3\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            false,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhi", true),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nhi\r\n0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi", false),
        ("HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.1 99 Odd\r\n\r\n", false),
        ("HTTP/2 200 OK\r\n\r\n", false),
        ("ICY 200 OK\r\n\r\n", false),
        ("", false),
    ] {
        for method in [Method::GET, Method::HEAD] {
            hold_against_hyper(&method, &[answer.as_bytes().to_vec()], may_refuse);
        }
    }
}

#[test]
fn a_connection_is_free_again_only_behind_an_answer_that_ends_where_it_says() {
    for (answer, frees) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n", false),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", false),
        ("HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nhi", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", false),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", true),
        ("HTTP/1.1 200 OK\r\n\r\nhi", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nx", false),
        ("HTTP/1.1 204 No Content\r\n\r\n", true),
        ("HTTP/1.1 204 No Content\r\n\r\nx", false),
    ] {
        let (_, free) = understood(&Method::GET, &[answer.as_bytes().to_vec()], Reader::Direct).unwrap();
        assert_eq!(free, frees, "{answer:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_read_as_hyper_reads_them_in_whatever_pieces_they_come(
        (head, framing) in (0..3_usize, 0..3_usize),
        content in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 0..4),
        cuts in prop::collection::vec(1..50_usize, 0..6),
    ) {
        let mut answer = ["HTTP/1.1 200 OK\r\n", "HTTP/1.1 404 Gone Away\r\nX-A: 1\r\nx-a: 2\r\n", "HTTP/1.0 500 No\r\n"][head].as_bytes().to_vec();
        match framing {
            0 => {
                let length = content.concat().len();
                answer.extend_from_slice(format!("Content-Length: {length}\r\n\r\n").as_bytes());
                answer.extend_from_slice(&content.concat());
            }
            1 => {
                answer.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                for chunk in &content {
                    answer.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                    answer.extend_from_slice(chunk);
                    answer.extend_from_slice(b"\r\n");
                }
                answer.extend_from_slice(b"0\r\n\r\n");
            }
            _ => {
                answer.extend_from_slice(b"\r\n");
                answer.extend_from_slice(&content.concat());
            }
        }

        hold_against_hyper(&Method::GET, &pieces(&answer, &cuts), false);
    }
}
