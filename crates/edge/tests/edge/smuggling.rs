//! Heads and bodies that parsers read in different ways: each is refused, or is to the replica exactly what it is to the edge.
//! The kinds are those of RFC 9112 (6.1, 6.3, 7.1, 11.2) and of what request-smuggling research has published; the texts are ours.

use crate::support::replica::Replica;
use crate::support::{Bench, Table, request};
use bytes::Bytes;
use http_body_util::Full;

/// What hides behind a body that one parser ends early.
const HIDDEN: &str = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// Header lines that say in other words that a body is chunked.
const CODINGS: &[&str] = &[
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunkedx",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: chunked,",
    "Transfer-Encoding: , chunked",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: 'chunked'",
    "Transfer-Encoding: chunk ed",
    "Transfer-Encoding: \x0bchunked",
    "Transfer-Encoding: chunked\x0b",
    "Transfer-Encoding: chunked\x0c",
    "Transfer-Encoding: \x7fchunked",
    "Transfer-Encoding: chunked\0",
    "Transfer-Encoding: \u{ff43}hunked",
    "Transfer-Encoding:",
    "Transfer-Encoding: deflate",
    "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\t: chunked",
    "Transfer-Encoding\r\n : chunked",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding:\n chunked",
    "X: y\r\n Transfer-Encoding: chunked",
    "X: y\rTransfer-Encoding: chunked",
    "X: y\r\n\tTransfer-Encoding: chunked",
    "\0Transfer-Encoding: chunked",
    "Transfer\0-Encoding: chunked",
    "Transfer Encoding: chunked",
    "Transfer-Encoding chunked",
    ": chunked",
];

/// Header lines that say in other words how long a body is.
const LENGTHS: &[&str] = &[
    "Content-Length: +4",
    "Content-Length: -4",
    "Content-Length: 0x4",
    "Content-Length: 4.0",
    "Content-Length: 4e0",
    "Content-Length: 4 4",
    "Content-Length: 4, 5",
    "Content-Length: 4;",
    "Content-Length: \"4\"",
    "Content-Length: 4\x0b",
    "Content-Length: \x0b4",
    "Content-Length: \u{ff14}",
    "Content-Length:",
    "Content-Length: four",
    "Content-Length: 18446744073709551620",
    "Content-Length: 99999999999999999999999999",
    "Content-Length : 4",
    "Content-Length\t: 4",
    "Content-Length: 4\r\nContent-Length: 5",
    "Content-Length: 5\r\nContent-Length: 4",
    "Content-Length: 0\r\nContent-Length: 4",
    "Content-Length: 4\r\nContent-Length: +4",
];

/// Chunked bodies whose end is not where the framing says.
const CHUNKS: &[&str] = &[
    "0x2\r\nok\r\n0\r\n\r\n",
    "+2\r\nok\r\n0\r\n\r\n",
    "-2\r\nok\r\n0\r\n\r\n",
    " \r\nok\r\n0\r\n\r\n",
    "\r\nok\r\n0\r\n\r\n",
    "2_0\r\nok\r\n0\r\n\r\n",
    "2.0\r\nok\r\n0\r\n\r\n",
    "g\r\nok\r\n0\r\n\r\n",
    "10000000000000002\r\nok\r\n0\r\n\r\n",
    "2\r\nokay\r\n0\r\n\r\n",
    "2\r\nok0\r\n\r\n",
    "2\r\nok\n\n0\r\n\r\n",
    "2\rok\r\n0\r\n\r\n",
    "2\r\rok\r\n0\r\n\r\n",
    "2\0\r\nok\r\n0\r\n\r\n",
];

/// Request lines that are none.
const LINES: &[&str] = &[
    "GET / HTTP/1.1 x",
    "GET / x HTTP/1.1",
    "GET /\tHTTP/1.1",
    "GET\t/ HTTP/1.1",
    "GET / HTTP/2.0",
    "GET / HTTP/3",
    "GET / HTTP/1.10",
    "GET / HTTP/01.1",
    "GET / HTTP/1",
    "GET / http/1.1",
    "GET / HTTP /1.1",
    "GET /\0 HTTP/1.1",
    "G\0ET / HTTP/1.1",
    "G ET / HTTP/1.1",
    "G@T / HTTP/1.1",
    "GET",
    "GET /",
    "/ HTTP/1.1",
    "GET http:// HTTP/1.1",
];

async fn place() -> (Bench, Replica) {
    let (bench, web) = (Bench::start(), Replica::start("web").await);
    bench.put(Table::new("web", 1).stable(1, &[web.address])).await;
    (bench, web)
}

/// Sends a talk, and says with which statuses it was answered; checks that the replica met no request beside those.
async fn statuses(bench: &Bench, web: &Replica, talk: &str) -> Vec<u16> {
    let before = web.requests();
    let answer = bench.raw(talk.as_bytes()).await;
    let status = |line: &str| line.get(..3).and_then(|digits| digits.parse().ok()).unwrap_or(0);
    let statuses: Vec<u16> = answer.split("HTTP/1.1 ").skip(1).map(status).collect();
    let answered = statuses.iter().filter(|status| **status == 200).count() as u64;
    let met = web.requests() - before;
    // One whose body turns out broken has met the replica, and was not answered.
    assert!(met <= answered + 1, "{talk:?}: {met} requests met the replica, {answered} were answered");
    assert!(!answer.contains("/smuggled"), "{talk:?} got what it hid answered: {answer}");
    statuses
}

#[tokio::test]
async fn a_coding_in_other_words_is_refused_alone_and_beside_a_length() {
    let (bench, web) = place().await;
    for coding in CODINGS {
        for length in ["", &format!("Content-Length: {}\r\n", HIDDEN.len())] {
            for head in [format!("{length}{coding}\r\n"), format!("{coding}\r\n{length}")] {
                let talk = format!("POST / HTTP/1.1\r\nHost: a\r\n{head}Connection: close\r\n\r\n{HIDDEN}");

                let statuses = statuses(&bench, &web, &talk).await;

                assert_eq!(statuses, [400], "{coding:?} with {length:?}");
            }
        }
    }
    assert_eq!(web.requests(), 0);
}

#[tokio::test]
async fn a_length_in_other_words_is_refused() {
    let (bench, web) = place().await;
    for length in LENGTHS {
        let talk = format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{length}\r\nConnection: close\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        );

        assert_eq!(statuses(&bench, &web, &talk).await, [400], "{length:?}");
    }
    assert_eq!(web.requests(), 0);
}

#[tokio::test]
async fn a_chunk_that_ends_elsewhere_is_refused_and_nothing_behind_it_is_served() {
    let (bench, web) = place().await;
    for chunks in CHUNKS {
        let talk = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        );

        // Found broken while the request is on its way, or before: it is answered, or hung up on.
        let statuses = statuses(&bench, &web, &talk).await;
        assert!(statuses.is_empty() || statuses == [400], "{chunks:?}: {statuses:?}");
    }
    assert_eq!(bench.get("/").await.status, 200);
}

#[tokio::test]
async fn a_request_line_that_is_none_is_refused() {
    let (bench, web) = place().await;
    for line in LINES {
        let talk = format!("{line}\r\nHost: a\r\nConnection: close\r\n\r\n");

        assert_eq!(statuses(&bench, &web, &talk).await, [400], "{line:?}");
    }
    assert_eq!(web.requests(), 0);
}

#[tokio::test]
async fn what_is_only_unusual_passes_and_is_written_in_the_usual_way() {
    let (bench, web) = place().await;
    for (head, body) in [
        ("Transfer-Encoding: CHUNKED", "2;name=value\r\nok\r\n0\r\n\r\n"),
        ("Transfer-Encoding:chunked", "000002\r\nok\r\n0\r\nTrailer: x\r\n\r\n"),
        ("Transfer-Encoding: \t chunked \t", "2\r\nok\r\n0\r\n\r\n"),
        ("CONTENT-LENGTH: 2", "ok"),
        ("Content-Length:  2 ", "ok"),
        ("content-length: 002", "ok"),
    ] {
        let talk = format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\nConnection: close\r\n\r\n{body}");

        assert_eq!(statuses(&bench, &web, &talk).await, [200], "{head:?}");
    }
    assert_eq!(web.requests(), 6);
}

/// Servers that put headers into an environment, as CGI and WSGI do, read `_` and `-` as the same.
#[tokio::test]
async fn headers_that_are_ours_or_frame_a_body_are_not_passed_on_in_another_spelling() {
    let (bench, _web) = place().await;
    let mut asked = request("/");
    for name in [
        "X_Forwarded_For",
        "x_forwarded-proto",
        "X_Real_IP",
        "X_Request_Id",
        "X_MedEclipse_Revision",
        "Content_Length",
        "Transfer_Encoding",
        "Host_",
        "x_own",
    ] {
        asked.headers_mut().insert(http::HeaderName::try_from(name).unwrap(), "7".parse().unwrap());
    }
    *asked.body_mut() = Full::new(Bytes::new());

    let seen = bench.client().await.send(asked).await.unwrap().seen();

    let names: Vec<_> =
        seen["headers"].as_object().unwrap().keys().filter(|name| name.contains('_')).collect();
    assert_eq!(names, ["host_", "x_own"]);
}
