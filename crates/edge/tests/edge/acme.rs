//! Certificates from an ACME server that really runs: Debian's `pebble`, on loopback. Skipped, visibly, where it is missing.

use crate::support::pebble::{Identity, Pebble, free_port, is_installed};
use crate::support::replica::Replica;
use crate::support::tls::{Pair, connect, connector};
use crate::support::{Bench, Client, PATIENCE, Table, listen, request, until};
use edge::EdgeConfig;
use manifest::tls::{Acme, Challenge, OnDemand, Tls};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

/// Longer than a test.
const HOUR: u64 = 3600;

/// An edge whose certificates come from a server, with a listener that has TLS and one that has not.
struct Place {
    bench: Bench,
    plain: SocketAddr,
    server: Pebble,
    api: Pair,
    settings: Acme,
    _web: Replica,
    _folder: tempfile::TempDir,
}

/// What a test wants otherwise.
struct Wish<'w> {
    names: &'w [&'w str],
    seconds: u64,
    challenge: Option<Challenge>,
    on_demand: Option<OnDemand>,
    /// The server looks for names where nobody is.
    astray: bool,
    tls: Option<Tls>,
}

impl Default for Wish<'_> {
    fn default() -> Self {
        Self {
            names: &["clinic.example"],
            seconds: HOUR,
            challenge: None,
            on_demand: None,
            astray: false,
            tls: None,
        }
    }
}

impl Wish<'_> {
    async fn granted(self) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let api = Pair::of(&["localhost"]);
        let (cert, key) = api.write(folder.path(), "pebble-api");
        let mut sockets = listen(2);
        let address = sockets[0].local_addr().unwrap();
        sockets.extend(listen(1));
        let plain = sockets[2].local_addr().unwrap();
        let identity = Identity { cert: cert.clone(), key };
        let tls_port = if self.astray { free_port() } else { address.port() };
        let server = Pebble::start(folder.path(), &identity, tls_port, plain.port(), self.seconds);
        let settings = Acme {
            directory: server.directory.clone(),
            contact: vec!["mailto:ops@clinic.example".to_owned()],
            root: Some(cert),
            challenge: self.challenge,
            names: self.names.iter().map(|name| (*name).to_owned()).collect(),
            on_demand: self.on_demand,
        };
        let bench = Bench::start_on(sockets, |config| {
            configure(config, &settings, plain);
            config.tls = self.tls;
        });
        let web = Replica::start("web").await;
        bench.put(Table::new("web", 1).stable(1, &[web.address])).await;
        Place { bench, plain, server, api, settings, _web: web, _folder: folder }
    }
}

fn configure(config: &mut EdgeConfig, settings: &Acme, plain: SocketAddr) {
    config.acme = Some(settings.clone());
    config.plain = vec![plain];
    config.waits.acme_pause = Duration::from_millis(200);
    // An order takes seconds on a machine that has other things to do.
    config.waits.client_handshake = PATIENCE;
}

impl Place {
    /// Stops the edge and starts another one on the same sockets and state.
    fn restart(&mut self) {
        self.bench.join();
        let (settings, plain) = (self.settings.clone(), self.plain);
        self.bench.run(|config| configure(config, &settings, plain));
    }

    /// Returns the authority the certificates of the server are signed by.
    async fn authority(&self) -> String {
        let address = ([127, 0, 0, 1], self.server.management).into();
        let trusting = connector(&[&self.api.cert], &[]);
        until(|| async { connect(&trusting, address, "localhost").await.is_ok() }).await;
        let stream = connect(&trusting, address, "localhost").await.unwrap();
        Client::on(stream).await.get("/roots/0").await.text()
    }

    /// Returns the certificate a client is shown who trusts `authority` and asks for `name`; None where it is not served.
    async fn shown(&self, authority: &str, name: &str) -> Option<Vec<u8>> {
        let trusting = connector(&[authority], &["http/1.1"]);
        let stream = connect(&trusting, self.bench.address, name).await.ok()?;
        let shown = stream.get_ref().1.peer_certificates()?.first()?.to_vec();
        let answer = Client::on(stream).await.get("/").await;
        assert_eq!(answer.status.as_u16(), 200);
        Some(shown)
    }

    /// The same of a name that must be served at once; says what the edge and the server know when it is not.
    async fn shows(&self, authority: &str, name: &str) -> Vec<u8> {
        match self.shown(authority, name).await {
            Some(shown) => shown,
            None => panic!("{name} is not served: {}\n{}", self.tls().await, self.server.log()),
        }
    }

    async fn until_served(&self, authority: &str, name: &str) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(shown) = self.shown(authority, name).await {
                return shown;
            }
            assert!(Instant::now() < deadline, "{}\n{}", self.bench.state().await["tls"], self.server.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn tls(&self) -> Value {
        self.bench.state().await["tls"].clone()
    }

    /// Returns what is wrong with the certificate of a name.
    async fn problem(&self, name: &str) -> Option<String> {
        let tls = self.tls().await;
        let all = tls["certificates"].as_array().unwrap();
        let own = all.iter().find(|held| held["source"] == format!("acme {name}"))?;
        own["problem"].as_str().map(str::to_owned)
    }

    /// The folder with what was got of the server.
    fn kept(&self) -> PathBuf {
        let all = self.bench.state.path().join("edge/tls/acme");
        fs::read_dir(all).unwrap().next().unwrap().unwrap().path()
    }

    fn orders(&self) -> usize {
        self.server.log().matches("Issued certificate serial").count()
    }
}

/// Returns the files of a folder, without those that are just being written.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e18_hosts_get_certificates_that_are_kept_and_renewed_before_they_end() {
    if !is_installed() {
        return;
    }
    let place =
        Wish { names: &["clinic.example", "api.example"], seconds: 10, ..Wish::default() }.granted().await;
    let authority = place.authority().await;
    let first = place.until_served(&authority, "clinic.example").await;
    let api = place.until_served(&authority, "api.example").await;
    assert_ne!(first, api, "each has its own");

    // Each lasts seconds: users are served by the next one before it ends.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shown = place.shown(&authority, "clinic.example").await;
        let shown = shown.expect("it is served all the time, by one that has not ended");
        if shown != first {
            break;
        }
        assert!(Instant::now() < deadline, "it was never renewed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    assert_eq!(place.problem("clinic.example").await, None);
    assert_eq!(files(&place.kept()), ["account.json", "api.example.pem", "clinic.example.pem"]);
    for file in files(&place.kept()) {
        let mode = fs::metadata(place.kept().join(&file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e18_an_edge_that_starts_again_orders_nothing_it_has_and_outlives_its_server() {
    if !is_installed() {
        return;
    }
    let mut place = Wish::default().granted().await;
    let authority = place.authority().await;
    let shown = place.until_served(&authority, "clinic.example").await;

    place.restart();
    assert_eq!(place.shown(&authority, "clinic.example").await.as_ref(), Some(&shown));
    assert_eq!(place.orders(), 1, "{}", place.server.log());
    place.server.stop();
    place.restart();
    assert_eq!(place.shown(&authority, "clinic.example").await.as_ref(), Some(&shown));
    assert_eq!(place.problem("clinic.example").await, None);

    // The server has forgotten everything, also the account: another one is made.
    place.server.run();
    let other = place.authority().await;
    assert_ne!(other, authority);
    place.settings.names.push("api.example".to_owned());
    place.restart();
    place.until_served(&other, "api.example").await;
    assert_eq!(place.shown(&authority, "clinic.example").await.as_ref(), Some(&shown));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e18_a_name_is_proven_by_a_request_on_the_address_that_only_sends_clients_elsewhere() {
    if !is_installed() {
        return;
    }
    let place = Wish { challenge: Some(Challenge::Http01), astray: true, ..Wish::default() }.granted().await;
    place.until_served(&place.authority().await, "clinic.example").await;

    // Whatever else is asked there goes where it always went.
    for path in ["/", "/.well-known/acme-challenge/of-another-client"] {
        let answer = Client::connect(place.plain).await.send(request(path)).await.unwrap();
        assert_eq!(answer.status.as_u16(), 308, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e18_after_a_failure_the_other_way_to_prove_a_name_is_tried() {
    if !is_installed() {
        return;
    }
    let place = Wish { astray: true, ..Wish::default() }.granted().await;

    place.until_served(&place.authority().await, "clinic.example").await;

    let log = place.server.log();
    assert_eq!(place.problem("clinic.example").await, None);
    assert!(log.contains("INVALID"), "{log}");
    assert_eq!(files(&place.kept()), ["account.json", "clinic.example.pem", "waits.json"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e18_a_failure_is_told_in_three_parts_rests_and_keeps_nobody_from_being_served() {
    if !is_installed() {
        return;
    }
    let names = vec!["clinic.example".to_owned()];
    let place = Wish {
        challenge: Some(Challenge::TlsAlpn01),
        astray: true,
        tls: Some(Tls::SelfSigned { names }),
        ..Wish::default()
    }
    .granted()
    .await;

    until(|| async { place.problem("clinic.example").await.is_some() }).await;

    let problem = place.problem("clinic.example").await.unwrap();
    for part in [
        "cannot get a certificate for clinic.example: ",
        "; check that clinic.example leads to this edge's port 443 (tls-alpn-01)",
        "; again at 20",
    ] {
        assert!(problem.contains(part), "{problem}");
    }
    let own = fs::read_to_string(place.bench.state.path().join("edge/tls/self-signed.pem")).unwrap();
    place.shows(&own, "clinic.example").await;
    // Who only checks a name learns nothing when nothing is to be proven.
    let checks = connector(&[&own], &["acme-tls/1"]);
    assert!(connect(&checks, place.bench.address, "clinic.example").await.is_err());
    // It is not asked for again and again: the wait is longer after each failure.
    let waits = || fs::read_to_string(place.kept().join("waits.json")).unwrap_or_default();
    until(|| async { waits().contains("\"clinic.example\":{\"due\":") }).await;
}

/// Whoever knows which names are ours.
struct Allowing {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Allowing {
    /// Answers by the first label of a name.
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/allowed", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (noted, here) = (Arc::clone(&asked), url.clone());
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (noted, here) = (Arc::clone(&noted), here.clone());
                tokio::spawn(async move {
                    let mut head = vec![0; 2048];
                    let count = stream.read(&mut head).await.unwrap_or(0);
                    let line =
                        String::from_utf8_lossy(&head[..count]).lines().next().unwrap_or("").to_owned();
                    let name =
                        line.split("host=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or("");
                    noted.lock().unwrap().push(name.to_owned());
                    let answer = match name.split('.').next().unwrap_or_default() {
                        "silent" => return tokio::time::sleep(PATIENCE).await,
                        "moved" => format!("302 Found\r\nLocation: {here}?host=yes.example"),
                        "broken" => "503 Service Unavailable".to_owned(),
                        "no" => "403 Forbidden".to_owned(),
                        "created" => "201 Created".to_owned(),
                        _ => "200 OK".to_owned(),
                    };
                    let _ = stream
                        .write_all(format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").as_bytes())
                        .await;
                });
            }
        });
        Self { url, asked, task }
    }

    fn asked(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for name in self.asked.lock().unwrap().iter() {
            *counts.entry(name.clone()).or_insert(0) += 1;
        }
        counts
    }

    fn settings(&self, orders: u32) -> Option<OnDemand> {
        Some(OnDemand { allow: self.url.clone(), orders })
    }
}

impl Drop for Allowing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e18_an_allowed_name_is_served_from_its_first_handshake_on_and_asked_about_once() {
    if !is_installed() {
        return;
    }
    let allowing = Allowing::start().await;
    let mut place = Wish { on_demand: allowing.settings(20), ..Wish::default() }.granted().await;
    let authority = place.authority().await;
    place.until_served(&authority, "clinic.example").await;
    assert!(allowing.asked().is_empty(), "the host of a service needs no leave");

    // Ten clients come at once: all are served, after one question and one order.
    let all =
        futures_util::future::join_all((0..10).map(|_| place.shown(&authority, "one.tenant.example"))).await;
    let Some(first) = all[0].clone() else {
        panic!("no certificate was waited for: {}\n{}", place.tls().await, place.server.log());
    };
    assert!(all.iter().all(|shown| shown.as_ref() == Some(&first)));
    assert_eq!(allowing.asked(), BTreeMap::from([("one.tenant.example".to_owned(), 1)]));
    assert_eq!(place.orders(), 2, "{}", place.server.log());
    let tls = place.tls().await;
    assert_eq!((&tls["on_demand"]["certificates"], &tls["on_demand"]["allowed"]), (&1.into(), &1.into()));
    assert_eq!(tls["certificates"].as_array().unwrap().len(), 1, "only those of hosts are listed: {tls}");

    // Another edge has it, though neither the server nor who allowed it is there any more.
    let asked = allowing.asked();
    place.server.stop();
    drop(allowing);
    place.restart();
    assert_eq!(place.shown(&authority, "one.tenant.example").await, Some(first));
    assert_eq!(asked.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e18_only_status_200_in_time_and_without_a_detour_allows_a_name_and_it_is_remembered() {
    if !is_installed() {
        return;
    }
    let allowing = Allowing::start().await;
    let place = Wish { on_demand: allowing.settings(20), ..Wish::default() }.granted().await;
    let authority = place.authority().await;
    place.until_served(&authority, "clinic.example").await;
    let refused = async |name: &str| {
        let began = Instant::now();
        let trusting = connector(&[&authority], &[]);
        let error = connect(&trusting, place.bench.address, name).await.err().map(|error| error.to_string());
        (error.unwrap_or_default(), began.elapsed())
    };

    for name in ["no.example", "moved.example", "broken.example", "created.example"] {
        for _ in 0..3 {
            let (error, _) = refused(name).await;
            assert!(error.contains("AccessDenied"), "{name}: {error}");
        }
    }
    let (error, after) = refused("silent.example").await;
    assert!(error.contains("AccessDenied"), "{error}");
    assert!((Duration::from_secs(2)..Duration::from_secs(8)).contains(&after), "{after:?}");
    let problem = place.tls().await["on_demand"]["problem"].clone();
    assert!(problem.as_str().is_some_and(|text| text.contains("no answer within 2 s")), "{problem}");

    // Names that are none, and clients that name nobody, are not asked about.
    assert!(refused("localhost").await.0.contains("AccessDenied"));
    let nobody = connector(&[&authority], &[]);
    // It gets the first certificate, which is not for an address.
    assert!(connect(&nobody, place.bench.address, "127.0.0.1").await.is_err());
    let asked = allowing.asked();
    let once = ["broken", "created", "moved", "no", "silent"].map(|name| (format!("{name}.example"), 1));
    assert_eq!(asked, BTreeMap::from(once), "each is remembered, and the way of `moved` was not followed");
    assert_eq!(place.orders(), 1, "only the service's own host was ordered");
    place.shows(&authority, "clinic.example").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e18_orders_for_names_of_strangers_are_bounded_also_over_a_restart() {
    if !is_installed() {
        return;
    }
    let allowing = Allowing::start().await;
    let mut place = Wish { names: &[], on_demand: allowing.settings(2), ..Wish::default() }.granted().await;
    let authority = place.authority().await;

    for name in ["a.example", "b.example"] {
        place.shows(&authority, name).await;
    }
    for round in 0..2 {
        for name in ["c.example", "d.example"] {
            assert!(place.shown(&authority, name).await.is_none(), "{name}");
        }
        let on_demand = place.tls().await["on_demand"].clone();
        let problem = on_demand["problem"].as_str().unwrap_or_default();
        assert!(problem.contains("2 were ordered within an hour"), "{on_demand}");
        assert_eq!(on_demand["refused"], 2, "{on_demand}");
        assert_eq!(place.orders(), 2, "in round {round}");
        place.shows(&authority, "a.example").await;
        place.restart();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e18_a_name_that_is_no_longer_allowed_is_let_go_when_its_certificate_is_over() {
    if !is_installed() {
        return;
    }
    let allowing = Allowing::start().await;
    let wish = Wish { names: &[], seconds: 6, on_demand: allowing.settings(20), ..Wish::default() };
    let mut place = wish.granted().await;
    let authority = place.authority().await;
    place.shows(&authority, "yes.example").await;
    let file = place.kept().join("yes.example.pem");
    assert!(file.exists());

    // From now on nobody allows anything, and says so.
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap();
    place.settings.on_demand =
        Some(OnDemand { allow: format!("http://{}/", refusing.local_addr().unwrap()), orders: 20 });
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in refusing.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        }
    });
    place.restart();

    until(|| async { !file.exists() }).await;
    assert!(place.shown(&authority, "yes.example").await.is_none());
    assert_eq!(place.tls().await["on_demand"]["certificates"], 0);
}
