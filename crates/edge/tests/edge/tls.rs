//! TLS: which certificate serves whom, how it changes, and what a client may not do.

use crate::support::replica::Replica;
use crate::support::tls::{Pair, connect, connector, connector_of};
use crate::support::{Bench, Client, PATIENCE, Table, http2_over, until};
use bytes::Bytes;
use edge::EdgeConfig;
use http::Request;
use http_body_util::{BodyExt, Full};
use manifest::tls::{CertificateFiles, Tls};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::version;

/// Returns what an edge is told about these pairs, written to a folder.
fn files(folder: &Path, pairs: &[&Pair]) -> Tls {
    let written = pairs.iter().enumerate().map(|(n, pair)| pair.write(folder, &format!("cert-{n}")));
    Tls::Files(written.map(|(cert, key)| CertificateFiles { cert, key }).collect())
}

struct Place {
    bench: Bench,
    web: Replica,
    folder: tempfile::TempDir,
    settings: Tls,
}

async fn place(pairs: &[&Pair]) -> Place {
    place_with(pairs, |_| {}).await
}

async fn place_with(pairs: &[&Pair], adjust: impl FnOnce(&mut EdgeConfig)) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let settings = files(folder.path(), pairs);
    let bench = Bench::start_with(|config| {
        config.tls = Some(settings.clone());
        adjust(config);
    });
    let web = Replica::start("web").await;
    bench.put(Table::new("web", 1).stable(1, &[web.address])).await;
    Place { bench, web, folder, settings }
}

impl Place {
    async fn client(&self, connector: &TlsConnector, name: &str) -> Client {
        Client::on(connect(connector, self.bench.address, name).await.unwrap()).await
    }

    /// Whether a handshake for this name succeeds.
    async fn greets(&self, connector: &TlsConnector, name: &str) -> bool {
        connect(connector, self.bench.address, name).await.is_ok()
    }

    async fn certificates(&self) -> Vec<serde_json::Value> {
        self.bench.state().await["tls"]["certificates"].as_array().unwrap().clone()
    }
}

fn http2_request(path: &str) -> Request<Full<Bytes>> {
    Request::builder().uri(format!("https://clinic.example{path}")).body(Full::default()).unwrap()
}

#[tokio::test]
async fn e20_http1_and_http2_are_served_over_both_versions_of_tls() {
    let pair = Pair::of(&["clinic.example"]);
    let place = place(&[&pair]).await;
    for versions in [&version::TLS13, &version::TLS12] {
        let first = connector_of(&[&pair.cert], &["http/1.1"], &[versions]);
        let answer = place.client(&first, "clinic.example").await.get("/x").await;
        let seen = answer.seen();
        assert_eq!((answer.status.as_u16(), seen["uri"].as_str()), (200, Some("/x")));
        assert_eq!(seen["headers"]["x-forwarded-proto"][0], "https");
        let port = place.bench.address.port().to_string();
        assert_eq!(seen["headers"]["x-forwarded-port"][0], port.as_str());

        let second = connector_of(&[&pair.cert], &["h2", "http/1.1"], &[versions]);
        let stream = connect(&second, place.bench.address, "clinic.example").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let mut sender = http2_over(stream).await;
        let answer = sender.send_request(http2_request("/y")).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let seen: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (seen["uri"].as_str(), seen["headers"]["host"][0].as_str()),
            (Some("/y"), Some("clinic.example"))
        );
        assert_eq!(seen["headers"]["x-forwarded-proto"][0], "https");
    }
}

#[tokio::test]
async fn e20_a_protocol_we_do_not_speak_is_refused_in_the_handshake() {
    let pair = Pair::of(&["clinic.example"]);
    let place = place(&[&pair]).await;

    // Cross-protocol attacks (ALPACA) rely on a server that goes on regardless.
    assert!(!place.greets(&connector(&[&pair.cert], &["ftp"]), "clinic.example").await);
    assert!(place.greets(&connector(&[&pair.cert], &[]), "clinic.example").await);
}

#[tokio::test]
async fn e20_the_name_a_client_asks_for_chooses_the_certificate() {
    let (first, second, wild) =
        (Pair::of(&["clinic.example"]), Pair::of(&["api.example"]), Pair::of(&["*.shop.example"]));
    let place = place(&[&first, &second, &wild]).await;

    for (name, pair) in [("clinic.example", &first), ("api.example", &second), ("a.shop.example", &wild)] {
        assert!(place.greets(&connector(&[&pair.cert], &[]), name).await, "{name}");
        for other in [&first, &second, &wild].into_iter().filter(|other| other.cert != pair.cert) {
            assert!(!place.greets(&connector(&[&other.cert], &[]), name).await, "{name}");
        }
    }
    let names: Vec<_> = place.certificates().await.iter().map(|held| held["names"][0].clone()).collect();
    assert_eq!(names, ["clinic.example", "api.example", "*.shop.example"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e04_changed_files_are_taken_up_and_broken_ones_keep_the_old_certificate() {
    let (old, new) = (Pair::of(&["clinic.example"]), Pair::of(&["clinic.example"]));
    let mut place = place(&[&old]).await;
    let (old_only, new_only) = (connector(&[&old.cert], &[]), connector(&[&new.cert], &[]));
    let mut kept = place.client(&old_only, "clinic.example").await;
    assert_eq!(kept.get("/").await.status, 200);

    // Half of a change: the certificate is there, its key is not.
    std::fs::write(place.folder.path().join("cert-0.pem"), &new.cert).unwrap();
    until(|| async { place.certificates().await[0]["problem"].is_string() }).await;
    let problem = place.certificates().await[0]["problem"].as_str().unwrap().to_owned();
    assert!(problem.contains("its key belongs to another one"), "{problem}");
    assert!(place.greets(&old_only, "clinic.example").await);

    // An edge that starts over the broken file serves what it served before.
    tokio::task::block_in_place(|| place.bench.join());
    let settings = place.settings.clone();
    place.bench.run(|config| config.tls = Some(settings));
    assert!(place.greets(&old_only, "clinic.example").await);
    assert!(place.certificates().await[0]["problem"].is_string());

    std::fs::write(place.folder.path().join("cert-0.key"), &new.key).unwrap();
    until(|| async { place.greets(&new_only, "clinic.example").await }).await;
    assert!(!place.greets(&old_only, "clinic.example").await);
    assert!(place.certificates().await[0]["problem"].is_null());
    let remembered = place.bench.state.path().join("edge/tls");
    for entry in std::fs::read_dir(&remembered).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(std::fs::metadata(&remembered).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e04_an_edge_does_not_start_without_any_usable_certificate() {
    let (first, second) = (Pair::of(&["a.example"]), Pair::of(&["b.example"]));
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = first.write(folder.path(), "a");
    let (_, other) = second.write(folder.path(), "b");
    let missing = folder.path().join("missing.pem");
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();

    for (cert, key, why) in [
        (&missing, &key, "No such file"),
        (&empty, &key, "no certificate is in its file"),
        (&cert, &empty, "its key is not PEM"),
        (&cert, &other, "its key belongs to another one"),
    ] {
        let state = tempfile::tempdir().unwrap();
        let mut config = EdgeConfig::new(state.path(), crate::support::listen(1));
        config.tls = Some(Tls::Files(vec![CertificateFiles { cert: cert.clone(), key: key.clone() }]));
        let refused = edge::Edge::start(config).unwrap_err();
        let cause = std::error::Error::source(&refused).unwrap().to_string();
        assert!(cause.contains(why), "{refused}: {cause}");
        assert!(!refused.next().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e20_a_self_signed_certificate_is_made_once() {
    let settings = Tls::SelfSigned { names: vec!["clinic.example".to_owned()] };
    let mut bench = Bench::start_with(|config| config.tls = Some(settings.clone()));
    let path = bench.state.path().join("edge/tls/self-signed.pem");
    let made = std::fs::read_to_string(&path).unwrap();
    tokio::task::block_in_place(|| bench.join());
    bench.run(|config| config.tls = Some(settings));

    assert_eq!(std::fs::read_to_string(&path).unwrap(), made);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let trusting = connector(&[&made], &["h2"]);
    for name in ["clinic.example", "localhost", "127.0.0.1"] {
        assert!(connect(&trusting, bench.address, name).await.is_ok(), "{name}");
    }
    assert!(connect(&trusting, bench.address, "other.example").await.is_err());
    // For other hosts, another one.
    tokio::task::block_in_place(|| bench.join());
    let other = Tls::SelfSigned { names: vec!["other.example".to_owned()] };
    bench.run(|config| config.tls = Some(other));
    let made = std::fs::read_to_string(&path).unwrap();
    assert!(connect(&connector(&[&made], &[]), bench.address, "other.example").await.is_ok());
}

#[tokio::test]
async fn e20_a_session_is_resumed_on_any_worker() {
    let pair = Pair::of(&["clinic.example"]);
    let place = place(&[&pair]).await;
    let trusting = connector(&[&pair.cert], &["http/1.1"]);

    for _ in 0..12 {
        let mut client = place.client(&trusting, "clinic.example").await;
        assert_eq!(client.get("/").await.status, 200);
    }

    let tls = place.bench.state().await["tls"].clone();
    assert_eq!((tls["handshakes"].as_u64(), tls["failed"].as_u64()), (Some(12), Some(0)), "{tls}");
    assert_eq!(tls["resumed"], 11, "{tls}");
}

#[tokio::test]
async fn e20_who_does_not_finish_a_handshake_is_cut_and_others_are_served() {
    let pair = Pair::of(&["clinic.example"]);
    let place = place_with(&[&pair], |config| {
        config.waits.client_handshake = Duration::from_millis(300);
    })
    .await;
    let started = std::time::Instant::now();
    let mut silent = TcpStream::connect(place.bench.address).await.unwrap();
    let mut plain = TcpStream::connect(place.bench.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();

    let mut client = place.client(&connector(&[&pair.cert], &[]), "clinic.example").await;
    assert_eq!(client.get("/").await.status, 200);
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, plain.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
    rest.clear();
    tokio::time::timeout(PATIENCE, silent.read_to_end(&mut rest)).await.unwrap().unwrap();

    assert!(rest.is_empty() && started.elapsed() >= Duration::from_millis(300));
    until(|| async { place.bench.state().await["tls"]["failed"] == 2 }).await;
    assert_eq!(place.web.requests(), 1);
}

#[tokio::test]
async fn e20_an_address_without_tls_sends_clients_to_the_one_with_it() {
    let pair = Pair::of(&["clinic.example"]);
    let (folder, plain) = (tempfile::tempdir().unwrap(), crate::support::listen(2));
    let address = plain[0].local_addr().unwrap();
    let settings = files(folder.path(), &[&pair]);
    let web = Replica::start("web").await;
    for redirect in [true, false] {
        let bench = Bench::start_with(|config| {
            config.tls = Some(settings.clone());
            config.listeners.extend(plain.iter().map(|socket| socket.try_clone().unwrap()));
            (config.plain, config.redirect) = (vec![address], redirect);
        });
        bench.put(Table::new("web", 1).stable(1, &[web.address])).await;

        let answer = Client::connect(address).await.post("/a?b=c", "x").await.unwrap();

        if redirect {
            let port = bench.address.port();
            assert_eq!(answer.status.as_u16(), 308);
            assert_eq!(answer.header("location"), format!("https://clinic.example:{port}/a?b=c"));
            assert_eq!(web.requests(), 0);
        } else {
            assert_eq!((answer.status.as_u16(), web.requests()), (200, 1));
            assert_eq!(answer.seen()["headers"]["x-forwarded-proto"][0], "http");
        }
        // The other address has TLS either way.
        assert!(connect(&connector(&[&pair.cert], &[]), bench.address, "clinic.example").await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e20_a_handshake_begun_while_no_edge_runs_is_finished_by_the_next() {
    let pair = Pair::of(&["clinic.example"]);
    let mut place = place(&[&pair]).await;
    tokio::task::block_in_place(|| place.bench.join());
    let trusting = connector(&[&pair.cert], &["h2"]);
    let address = place.bench.address;
    let waiting = tokio::spawn(async move { connect(&trusting, address, "clinic.example").await });

    let settings = place.settings.clone();
    place.bench.run(|config| config.tls = Some(settings));

    let mut sender = http2_over(waiting.await.unwrap().unwrap()).await;
    assert_eq!(sender.send_request(http2_request("/")).await.unwrap().status(), 200);
}
