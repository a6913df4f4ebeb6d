//! Requests that two parsers could read in two ways, and clients that hold on.

use crate::support::replica::Replica;
use crate::support::tls::{Pair, connector};
use crate::support::{Bench, Table};
use edge::EdgeConfig;
use manifest::tls::{CertificateFiles, Tls};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn bench() -> (Bench, Replica) {
    bench_with(|_| {}).await
}

/// The same, but every client speaks TLS.
async fn tls_bench() -> (Bench, Replica) {
    let pair = Pair::of(&["a"]);
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = pair.write(folder.path(), "a");
    let settings = Tls::Files(vec![CertificateFiles { cert, key }]);
    let (mut bench, web) = bench_with(|config| config.tls = Some(settings)).await;
    bench.trust = Some((connector(&[&pair.cert], &["http/1.1"]), "a".to_owned()));
    (bench, web)
}

async fn bench_with(adjust: impl FnOnce(&mut EdgeConfig)) -> (Bench, Replica) {
    let bench = Bench::start_with(|config| {
        adjust(config);
        config.waits.client_head = Duration::from_millis(300);
        config.waits.client_idle = Duration::from_millis(900);
        config.waits.client_stall = Duration::from_millis(400);
    });
    let web = Replica::start("web").await;
    bench.put(Table::new("web", 1).stable(1, &[web.address])).await;
    (bench, web)
}

#[tokio::test]
async fn ambiguous_requests_are_refused_before_a_replica_sees_them() {
    refuse_ambiguous(&bench().await).await;
}

#[tokio::test]
async fn e20_ambiguous_requests_are_refused_over_tls_too() {
    let place = tls_bench().await;
    refuse_ambiguous(&place).await;
    find_two_lengths(&place).await;
}

async fn refuse_ambiguous((bench, web): &(Bench, Replica)) {
    for (name, head) in [
        ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        ("no host", "GET / HTTP/1.1\r\n\r\n"),
        ("other authority", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("authority without host", "GET http://b/ HTTP/1.1\r\n\r\n"),
        ("bad host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        ("connect", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"),
        (
            "length then chunked",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "chunked then length",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        ),
        (
            "differing lengths",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        ),
        ("list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\nabcd"),
        ("signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd"),
        ("unknown coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n"),
        ("coding in 1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("space before colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
        ("folded header", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n"),
        ("null byte", "GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n"),
        ("nonsense", "\x16\x03\x01\x02\r\n\r\n"),
    ] {
        let answer = bench.raw(head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{name}: {answer}");
    }
    assert_eq!(web.requests(), 0);
}

#[tokio::test]
async fn two_lengths_are_found_behind_other_requests_of_the_connection() {
    find_two_lengths(&bench().await).await;
}

async fn find_two_lengths((bench, web): &(Bench, Replica)) {
    let talk = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
        POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n\
        POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
        GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

    let answer = bench.raw(talk.as_bytes()).await;

    let statuses: Vec<_> = answer.split("HTTP/1.1 ").skip(1).map(|rest| &rest[..3]).collect();
    assert_eq!(statuses, ["200", "200", "400"], "{answer}");
    assert_eq!(web.requests(), 2);
}

#[tokio::test]
async fn a_broken_chunk_is_the_clients_fault() {
    let (bench, _web) = bench().await;
    for chunk in ["zz\r\nabc\r\n", "3\r\nabcdef\r\n", "-1\r\n\r\n", "ffffffffffffffffff\r\n"] {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";

        let answer = bench.raw(format!("{head}{chunk}").as_bytes()).await;

        assert!(answer.starts_with("HTTP/1.1 400"), "{chunk:?}: {answer}");
        assert!(answer.contains("x-medeclipse-error: bad_body"), "{answer}");
    }
    let rows = bench.counted(4).await;
    assert_eq!(crate::support::total(&rows, "client_errors"), 4);
}

/// Found by fuzzing: hyper ends trailers where CR LF CR LF stands, and reads them up to the first empty line.
#[tokio::test]
async fn trailers_that_end_in_two_places_are_the_clients_fault_and_nothing_behind_them_is_served() {
    let (bench, _web) = bench().await;
    let talk = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA:\n\n:\r\n\r\n\
        POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";

    let answer = bench.raw(talk.as_bytes()).await;

    // The whole is one read, so not even the first is taken for whole.
    let statuses: Vec<_> = answer.split("HTTP/1.1 ").skip(1).map(|rest| &rest[..3]).collect();
    assert!(statuses.iter().all(|status| *status == "400"), "{answer}");
}

#[tokio::test]
async fn an_absolute_address_that_agrees_with_the_host_passes() {
    let (bench, _web) = bench().await;

    let answer =
        bench.raw(b"GET http://A.org/x?y HTTP/1.1\r\nHost: a.org\r\nConnection: close\r\n\r\n").await;

    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(r#""uri":"/x?y""#), "{answer}");
}

#[tokio::test]
async fn http_1_0_needs_no_host_and_is_closed_after_the_answer() {
    let (bench, _web) = bench().await;

    let answer = bench.raw(b"GET / HTTP/1.0\r\n\r\n").await;

    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    assert!(answer.contains(&format!(r#""host":["{}"]"#, bench.address)), "{answer}");
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let (bench, web) = bench().await;
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(500));

    for head in [long, many] {
        let mut stream = TcpStream::connect(bench.address).await.unwrap();
        // The edge may answer and close before everything is written.
        let _ = stream.write_all(head.as_bytes()).await;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 431");
    }
    assert_eq!(web.requests(), 0);
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_and_an_idle_connection_is_kept_longer() {
    let (bench, _web) = bench().await;
    let started = std::time::Instant::now();
    let mut slow = TcpStream::connect(bench.address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").await.unwrap();
    let dripping = async {
        let (mut reading, mut writing) = slow.into_split();
        let drip = async {
            while writing.write_all(b"X").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let mut rest = Vec::new();
        tokio::select! {
            _ = reading.read_to_end(&mut rest) => {}
            () = drip => {}
        }
        started.elapsed()
    };
    let mut idle = bench.client().await;
    assert_eq!(idle.get("/").await.status, 200);

    let cut_after = tokio::time::timeout(Duration::from_secs(10), dripping).await.unwrap();
    // The idle connection outlives the head that never ended.
    assert_eq!(idle.get("/").await.status, 200);

    assert!(
        cut_after >= Duration::from_millis(300) && cut_after < Duration::from_millis(800),
        "{cut_after:?}"
    );
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_the_end() {
    let (bench, _web) = bench().await;
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    stream.write_all(b"GET /status/204 HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();

    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.unwrap().unwrap();

    assert!(answer.starts_with(b"HTTP/1.1 204"));
}

#[tokio::test]
async fn an_upload_that_stops_is_408() {
    let (bench, _web) = bench().await;
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc").await.unwrap();

    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.unwrap().unwrap();

    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}
