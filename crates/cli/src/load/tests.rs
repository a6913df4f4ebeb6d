//! Tests the load client against a server that keeps its own count of every request it was sent.

use super::count::{Answer, Ended};
use super::*;
use socket2::SockRef;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the server does with one request.
#[derive(Clone)]
enum Deed {
    Answer(&'static str),
    /// Answers, then ends the connection without having said so.
    AnswerAndLeave(&'static str),
    Reset,
    Leave,
    Silence,
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-clinic-version: v1\r\n\r\nok";
const OK_RELEASE: &str =
    "HTTP/1.1 201 Created\r\ncontent-length: 0\r\nx-clinic-version: v2\r\nx-medeclipse-release: r2\r\n\r\n";
const OK_CLOSE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
const BAD: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nx-clinic-version: v3\r\n\r\n";
const MISSING: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
const HALF: &str = "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nhalf";
const NOT_HTTP: &str = "220 mail.example ESMTP\r\n\r\n";

/// A server on loopback whose behaviour depends on the number of the request.
struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    requests: AtomicUsize,
    open: AtomicUsize,
    bodies: Mutex<HashMap<String, usize>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn server(deed: impl Fn(usize) -> Deed + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let (shared, deed) = (seen.clone(), Arc::new(deed));
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (seen, deed) = (shared.clone(), deed.clone());
            connections.spawn(async move {
                seen.open.fetch_add(1, Ordering::SeqCst);
                serve(stream, &seen, &*deed).await;
                seen.open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    Server { address, seen, task }
}

async fn serve(mut stream: TcpStream, seen: &Seen, deed: &(dyn Fn(usize) -> Deed + Send + Sync)) {
    while let Some(body) = request(&mut stream).await {
        let number = seen.requests.fetch_add(1, Ordering::SeqCst);
        if !body.is_empty() {
            *seen.bodies.lock().unwrap().entry(body).or_default() += 1;
        }
        match deed(number) {
            Deed::Answer(text) => stream.write_all(text.as_bytes()).await.unwrap_or(()),
            Deed::AnswerAndLeave(text) => {
                stream.write_all(text.as_bytes()).await.unwrap_or(());
                return;
            }
            Deed::Reset => {
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                return;
            }
            Deed::Leave => return,
            Deed::Silence => {}
        }
    }
}

/// Reads one request and returns its body; None at the end of the connection.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        text.extend_from_slice(&buffer[..count]);
        let read = String::from_utf8(text.clone()).unwrap();
        let Some((head, body)) = read.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return Some(body.to_owned());
        }
    }
}

fn plan(server: &Server, get_clients: usize, post_clients: usize) -> LoadPlan {
    LoadPlan { get_clients, post_clients, ..LoadPlan::new(server.address) }
}

/// Polls until a condition holds; fails after ten seconds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "gave up waiting until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Runs a load until so many requests have ended.
async fn run_for(plan: LoadPlan, requests: u64) -> LoadReport {
    let handle = run(plan).unwrap();
    until("enough requests ended", || handle.snapshot().requests >= requests).await;
    handle.stop().await
}

#[tokio::test]
async fn every_request_of_a_good_service_is_counted_once() {
    let server = server(|_| Deed::Answer(OK)).await;

    let report = run_for(LoadPlan { threads: 2, ..plan(&server, 5, 3) }, 2000).await;

    let counts = &report.counts;
    assert_eq!(counts.requests as usize, server.seen.requests.load(Ordering::SeqCst));
    assert_eq!((counts.ok, counts.failed, counts.in_flight), (counts.requests, 0, 0));
    assert_eq!(counts.by_status, [(200, counts.requests)].into());
    assert_eq!(counts.by_version["v1"].ok, counts.requests);
    assert_eq!(counts.latency.count(), counts.requests);
    assert_eq!(counts.connections, Connections { opened: 8, ..Connections::default() });
    let posts: usize = server.seen.bodies.lock().unwrap().values().sum();
    assert_eq!(counts.by_method[&Method::Post].ok as usize, posts);
    assert_eq!(report.last_bad_after(SystemTime::UNIX_EPOCH), None);
}

#[tokio::test]
async fn a_reset_is_counted_and_the_request_is_never_sent_again() {
    let server = server(|number| if number % 10 == 9 { Deed::Reset } else { Deed::Answer(OK) }).await;

    let report = run_for(plan(&server, 0, 4), 1000).await;

    let counts = &report.counts;
    let sent = server.seen.requests.load(Ordering::SeqCst) as u64;
    assert_eq!(counts.requests, sent);
    assert_eq!(counts.by_class, [(Failure::Reset, sent / 10)].into());
    assert!(server.seen.bodies.lock().unwrap().values().all(|times| *times == 1), "a body came twice");
    assert_eq!((counts.connections.lost_busy, counts.connections.lost_idle), (sent / 10, 0));
    // A client that was last reset and then told to stop does not connect again.
    assert!(counts.connections.opened.abs_diff(4 + sent / 10) <= 4);
    assert_eq!(report.bad.len() as u64, sent / 10);
}

#[tokio::test]
async fn a_connection_that_ends_before_the_answer_does_is_an_eof() {
    for deed in [Deed::Leave, Deed::AnswerAndLeave(HALF)] {
        let server = server(move |_| deed.clone()).await;

        let counts = run_for(plan(&server, 1, 1), 20).await.counts;

        assert_eq!(counts.by_class, [(Failure::Eof, counts.requests)].into());
        assert_eq!(counts.requests as usize, server.seen.requests.load(Ordering::SeqCst));
        assert_eq!(counts.latency.count(), 0);
    }
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_a_class_of_its_own() {
    let server = server(|_| Deed::Answer(NOT_HTTP)).await;

    let counts = run_for(plan(&server, 1, 0), 3).await.counts;

    assert_eq!(counts.by_class, [(Failure::Protocol, counts.requests)].into());
}

#[tokio::test]
async fn a_refused_connection_fails_without_filling_the_machine_with_attempts() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();

    let counts = run_for(LoadPlan { get_clients: 2, ..LoadPlan::new(free) }, 10).await.counts;

    assert_eq!(counts.by_class, [(Failure::ConnectRefused, counts.requests)].into());
    assert_eq!(counts.connections, Connections::default());
    assert!(
        counts.requests <= 2 * (counts.elapsed_ms / 10 + 1),
        "{} in {} ms",
        counts.requests,
        counts.elapsed_ms
    );
}

#[tokio::test]
async fn a_client_connects_again_after_connection_close_and_nothing_is_lost() {
    let server = server(|_| Deed::AnswerAndLeave(OK_CLOSE)).await;

    let counts = run_for(plan(&server, 1, 1), 50).await.counts;

    assert_eq!(counts.failed, 0);
    assert_eq!(counts.connections.opened, counts.requests);
    assert_eq!(counts.connections.closed_politely, counts.requests);
    assert_eq!(counts.connections.lost(), 0);
}

#[tokio::test]
async fn a_connection_that_ends_between_requests_is_counted_and_costs_no_request() {
    let server = server(|_| Deed::AnswerAndLeave(OK)).await;
    let paced = LoadPlan { rate_per_second: Some(50.0), ..plan(&server, 0, 1) };

    let counts = run_for(paced, 10).await.counts;

    // One request may meet the end of its connection after having been written; it is then lost and says so.
    assert!(counts.connections.lost_idle >= 8, "{:?}", counts.connections);
    assert_eq!(counts.failed, counts.connections.lost_busy);
    assert!(server.seen.bodies.lock().unwrap().values().all(|times| *times == 1), "a body came twice");
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let server = server(|_| Deed::Silence).await;
    let hasty = LoadPlan { deadline: Duration::from_millis(50), ..plan(&server, 1, 0) };

    let report = run_for(hasty, 2).await;

    assert_eq!(report.counts.by_class, [(Failure::Timeout, report.counts.requests)].into());
    assert!(report.bad.iter().all(|bad| bad.end_us - bad.start_us >= 45_000), "{:?}", report.bad);
}

#[tokio::test]
async fn answers_are_told_apart_by_status_version_and_release() {
    let server = server(|number| match number % 4 {
        0 => Deed::Answer(OK),
        1 => Deed::Answer(OK_RELEASE),
        2 => Deed::Answer(BAD),
        _ => Deed::Answer(MISSING),
    })
    .await;

    let counts = run_for(plan(&server, 1, 0), 400).await.counts;

    let (each, rest) = (counts.requests / 4, counts.requests % 4);
    assert_eq!(counts.by_status[&500], each + u64::from(rest > 2));
    assert_eq!(counts.by_class[&Failure::Status5xx], counts.by_status[&500]);
    assert_eq!(counts.by_class[&Failure::StatusOther], counts.by_status[&404]);
    assert_eq!((counts.by_version["v3"].ok, counts.by_version["v3"].failed), (0, counts.by_status[&500]));
    assert_eq!(counts.by_release["r2"].ok, counts.by_status[&201]);
    assert_eq!(counts.by_release.len(), 1);
    assert_eq!(counts.connections.opened, 1);
}

#[tokio::test]
async fn the_last_bad_response_is_found_among_requests_sent_after_a_moment() {
    let healed = Arc::new(AtomicUsize::new(0));
    let switch = healed.clone();
    let server =
        server(move |_| Deed::Answer(if switch.load(Ordering::SeqCst) == 0 { BAD } else { OK })).await;
    let start = SystemTime::now();
    let handle = run(plan(&server, 4, 0)).unwrap();
    until("it was bad for a while", || handle.snapshot().failed > 100).await;

    healed.store(1, Ordering::SeqCst);
    until("the last bad answer arrived", || handle.snapshot().ok > 100).await;
    let moment = SystemTime::now();
    until("more came after the moment", || handle.snapshot().ok > 1000).await;
    let live = handle.last_bad_after(start).unwrap();
    let report = handle.stop().await;

    assert_eq!(report.last_bad_after(moment), None);
    assert_eq!(report.last_bad_after(start), Some(live));
    assert_eq!(report.bad_after(start) as u64, report.counts.failed);
    assert!(live.start_us <= live.end_us && live.status == Some(500));
    assert_eq!(report.counts.version_last(), Some("v1"));
}

#[tokio::test]
async fn a_paced_load_keeps_its_rate() {
    let server = server(|_| Deed::Answer(OK)).await;
    let paced = LoadPlan { rate_per_second: Some(500.0), threads: 2, ..plan(&server, 8, 8) };

    let counts = run_for(paced, 200).await.counts;

    // What the pacer allows: the rate, and one catch-up of 100 ms.
    let allowed = (counts.elapsed_ms + 101) / 2 + 1;
    assert!(counts.requests <= allowed, "{} requests in {} ms", counts.requests, counts.elapsed_ms);
}

#[tokio::test]
async fn dropping_the_handle_ends_the_clients() {
    let server = server(|_| Deed::Silence).await;
    let handle = run(plan(&server, 3, 3)).unwrap();
    until("all requests are in flight", || server.seen.requests.load(Ordering::SeqCst) == 6).await;
    assert_eq!(handle.snapshot().in_flight, 6);

    drop(handle);

    until("all connections ended", || server.seen.open.load(Ordering::SeqCst) == 0).await;
}

#[test]
fn a_plan_out_of_bounds_is_refused() {
    let base = || LoadPlan { get_clients: 1, ..LoadPlan::new("127.0.0.1:1".parse().unwrap()) };
    let refused = [
        LoadPlan { get_clients: 0, ..base() },
        LoadPlan { get_clients: 5000, ..base() },
        LoadPlan { threads: 0, ..base() },
        LoadPlan { rate_per_second: Some(f64::NAN), ..base() },
        LoadPlan { rate_per_second: Some(0.0), ..base() },
        LoadPlan { get_paths: vec![], ..base() },
        LoadPlan { get_paths: vec!["no slash".into()], ..base() },
        LoadPlan { host: "a\nb".into(), ..base() },
    ];

    for plan in refused {
        let error = plan.check().unwrap_err();
        assert!(error.to_string().starts_with("put load on"), "{error}");
    }
    assert!(LoadPlan { post_paths: vec![], ..base() }.check().is_ok(), "paths nobody walks do not matter");
}

#[test]
fn a_url_becomes_address_host_and_path() {
    let plan = LoadPlan::for_url("http://127.0.0.1:8080/api/slots?day=1").unwrap();
    assert_eq!(plan.address, "127.0.0.1:8080".parse().unwrap());
    assert_eq!((plan.host.as_str(), plan.get_paths[0].as_str()), ("127.0.0.1:8080", "/api/slots?day=1"));

    let plan = LoadPlan::for_url("http://[::1]").unwrap();
    assert_eq!(plan.address, "[::1]:80".parse().unwrap());
    assert_eq!((plan.host.as_str(), plan.get_paths[0].as_str()), ("[::1]", "/"));

    for url in ["", "127.0.0.1", "https://127.0.0.1/", "http://", "/api"] {
        assert!(matches!(LoadPlan::for_url(url), Err(LoadError::Url { .. })), "{url:?}");
    }
}

#[test]
fn memory_stays_bounded_however_bad_it_gets() {
    let shard = Shard::new(1);
    for number in 0..100_010_u64 {
        let version = http::HeaderValue::from_str(&number.to_string()).ok();
        let answer = Ok(Answer { status: 500, release: None, version, replayed: false });
        shard.begun();
        shard.ended(&Ended { method: Method::Get, start_us: number, end_us: number + 1, answer });
    }

    let mut counts = Snapshot::default();
    shard.add_to(&mut counts);

    assert_eq!((shard.bad().len(), counts.bad_forgotten), (100_000, 10));
    assert_eq!(shard.bad()[0].start_us, 10);
    assert_eq!(counts.by_version.len(), 65);
    assert_eq!(counts.by_version["(more)"].failed, 100_010 - 64);
}

#[test]
fn the_report_reads_as_text_and_as_json() {
    let shard = Shard::new(1);
    for (number, status) in [200, 200, 200, 500].into_iter().enumerate() {
        let version = http::HeaderValue::from_static("v7");
        let answer = Ok(Answer { status, release: None, version: Some(version), replayed: false });
        shard.begun();
        let start_us = 1_000_000 * number as u64;
        shard.ended(&Ended { method: Method::Get, start_us, end_us: start_us + 2000, answer });
    }
    shard.connection(|connections| connections.opened = 1);
    let mut counts = Snapshot { elapsed_ms: 2000, ..Snapshot::default() };
    shard.add_to(&mut counts);
    counts.summarise();

    let report = LoadReport::new(counts, shard.bad());

    let expected = "\
4 requests in 2.0 s (2 a second): 3 ok, 1 failed
  GET          3 ok, 1 failed
  latency      p50 2.0 ms, p90 2.0 ms, p99 2.0 ms, p99.9 2.0 ms, max 2.0 ms
  failures     status 5xx 1
  status       200 × 3, 500 × 1
  version      v7 3 ok 1 failed
  connections  1 opened, 0 lost in a request, 0 lost while idle, 0 closed by announcement
";
    assert_eq!(report.to_string(), expected);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["by_class"]["status_5xx"], 1);
    assert_eq!(json["by_status"]["500"], 1);
    assert_eq!(json["by_method"]["get"]["ok"], 3);
    assert_eq!(json["requests_per_second"], 2.0);
    assert_eq!(json["bad_first"][0]["class"], "status_5xx");
    assert_eq!(json["bad_last"], serde_json::json!([]));
}
