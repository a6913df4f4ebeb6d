//! Sends requests the way users do, through a real edge to real replicas, and looks at what arrives.

use crate::QUICK;
use crate::harness::{Answer, Env, eventually, request};
use crate::says;
use futures_util::{SinkExt, StreamExt};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

/// A section of a service that answers with the head of the request it got: this test program itself.
fn mirror(name: &str, keys: &str) -> String {
    format!(
        "[service.{name}]\nartifact = {:?}\ncommand = [\"./{}\", \"--exact\", \"--ignored\", \"--nocapture\", \"edge_path::mirror_service\"]\n{keys}\n[service.{name}.rollout]\n{QUICK}\n",
        std::env::current_exe().unwrap(),
        std::env::current_exe().unwrap().file_name().unwrap().to_str().unwrap(),
    )
}

/// Not a test: the service that `mirror` describes. Run as a test, it does nothing.
#[test]
#[ignore = "a service for the other tests"]
fn mirror_service() {
    let Ok(replica) = std::env::var("MEDECLIPSE_REPLICA") else { return };
    let port: u16 = std::env::var("PORT").unwrap().parse().unwrap();
    let service = std::env::var("MEDECLIPSE_SERVICE").unwrap();
    for stream in TcpListener::bind(("127.0.0.1", port)).unwrap().incoming() {
        let (stream, replica, service) = (stream.unwrap(), replica.clone(), service.clone());
        std::thread::spawn(move || {
            // A prober that goes away is no matter.
            let _ = answer(stream, &replica, &service);
        });
    }
}

fn answer(mut stream: TcpStream, replica: &str, service: &str) -> std::io::Result<()> {
    let mut head = String::new();
    let mut lines = BufReader::new(stream.try_clone()?);
    while lines.read_line(&mut head)? > 2 {}
    let length = head.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nX-Replica: {replica}\r\nX-Service: {service}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{head}"
    )?;
    stream.shutdown(Shutdown::Write)
}

fn ask(env: &Env, host: &str, path: &str) -> Answer {
    request(env.address, "GET", path, &[("Host", host)], "").unwrap()
}

fn mirrored(services: &str) -> Env {
    let env = Env::new("");
    env.write_manifest(services);
    env.up().deploy(&[], 0);
    env
}

#[test]
fn e05_every_replica_gets_its_share_of_the_requests() {
    let env = mirrored(&mirror("web", "replicas = 3"));

    let answers: Vec<_> = (0..60).map(|_| env.get("/").header("x-replica").unwrap()).collect();

    let replicas: BTreeSet<_> = answers.iter().collect();
    assert_eq!(replicas.len(), 3, "{replicas:?}");
    for replica in replicas {
        let share = answers.iter().filter(|answer| *answer == replica).count();
        assert!(share >= 5, "{replica} got {share} of 60");
    }
}

#[test]
fn e06_hosts_choose_the_service_and_a_host_that_is_taken_is_refused() {
    let env = mirrored(&format!(
        "{}{}{}",
        mirror("web", "hosts = [\"clinic.example\"]"),
        mirror("api", "hosts = [\"*.clinic.example\"]"),
        mirror("rest", "")
    ));
    let served_by = |host: &str| ask(&env, host, "/").header("x-service").unwrap();

    assert_eq!(served_by("clinic.example"), "web");
    assert_eq!(served_by("api.clinic.example"), "api");
    assert_eq!(served_by("clinic.example.org"), "rest");

    env.write_manifest(&mirror("shop", "hosts = [\"clinic.example\"]"));
    let refused = env.run(&["deploy", "shop"]);
    says(&refused, 3, &["shop", "web", "hosts"]);
    assert_eq!(served_by("clinic.example"), "web");

    env.write_manifest(&mirror("shop", "hosts = [\"shop.example\"]"));
    env.deploy(&["shop"], 0);
    assert_eq!(served_by("shop.example"), "shop");
}

#[test]
fn e07_the_longest_path_chooses_the_service_and_a_prefix_can_be_stripped() {
    let env = mirrored(&format!(
        "{}{}{}",
        mirror("rest", ""),
        mirror("api", "paths = [\"/api\"]\nstrip_path = true"),
        mirror("docs", "paths = [\"/api/docs\"]")
    ));
    let served = |path: &str| {
        let answer = env.get(path);
        let line = answer.body.lines().next().unwrap_or_default().to_owned();
        (answer.header("x-service").unwrap(), line)
    };
    let expect = |path: &str, service: &str, seen: &str| {
        assert_eq!(served(path), (service.to_owned(), format!("GET {seen} HTTP/1.1")), "{path}");
    };

    expect("/", "rest", "/");
    expect("/apis", "rest", "/apis");
    expect("/api", "api", "/");
    expect("/api/users?a=1", "api", "/users?a=1");
    expect("/api/docs", "docs", "/api/docs");
    expect("/api/docs/a%2Fb", "docs", "/api/docs/a%2Fb");
}

#[test]
fn e14_replicas_learn_who_asked_and_queries_pass_byte_for_byte() {
    let env = mirrored(&mirror("web", ""));
    let query = "/a%20b?x=%zz&&=;+&y=%C3%A9&q=a/b?c";
    let faked = [
        ("Host", "clinic.example:8080"),
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Request-Id", "abc-1"),
        ("X-MedEclipse-Release", "mine"),
        ("Connection", "X-Secret"),
        ("X-Secret", "1"),
    ];

    let answer = request(env.address, "GET", query, &faked, "").unwrap();

    let head = answer.body.to_lowercase();
    assert!(answer.body.starts_with(&format!("GET {query} HTTP/1.1\r\n")), "{head}");
    for line in [
        "host: clinic.example:8080",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: clinic.example:8080",
        "x-forwarded-proto: http",
        &format!("x-forwarded-port: {}", env.address.port()),
    ] {
        assert!(head.lines().any(|got| got == line), "{line}: {head}");
    }
    for absent in ["6.6.6.6", "evil", "abc-1", "x-secret", "x-medeclipse"] {
        assert!(!head.contains(absent), "{absent}: {head}");
    }
    // An id is believed only from a trusted proxy.
    assert_eq!(answer.header("x-request-id").map(|id| id.len()), Some(32));
}

/// Asks the edge whether a request of `web` is in a replica.
fn in_flight(env: &Env) -> bool {
    let mut stream = UnixStream::connect(env.state().join("run/edge.sock")).unwrap();
    stream.write_all(b"GET /v1/state HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.contains("\"requests\":1")
}

#[test]
fn e15_a_client_that_goes_away_is_499_in_the_log_and_no_error_of_the_service() {
    let env = Env::clinic(QUICK);
    env.up().deploy_clinic("v1", &[], 0);
    let mut stream = TcpStream::connect(env.address).unwrap();
    stream.write_all(b"GET /api/slow?ms=20000 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    eventually("the request is in the replica", 10, || in_flight(&env).then_some(()));
    drop(stream);

    let line = eventually("it is logged", 10, || {
        let log = std::fs::read_to_string(env.state().join("logs/access.log")).unwrap_or_default();
        log.lines().find(|line| line.contains("\"/api/slow\"")).map(str::to_owned)
    });

    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["status"], 499, "{line}");
    let api = env.status()["api"].as_str().unwrap().replace("http://", "").parse().unwrap();
    let metrics = eventually("it is counted", 10, || {
        let text = request(api, "GET", "/metrics", &[], "").unwrap().body;
        text.contains("medeclipse_client_aborts_total{target=\"web@local\",revision=\"1\"} 1").then_some(text)
    });
    for line in metrics.lines().filter(|line| line.starts_with("medeclipse_errors_total")) {
        assert!(line.ends_with(" 0"), "{line}");
    }
}

#[test]
fn e16_the_allow_list_sees_the_candidate_and_a_cookie_keeps_its_side() {
    let env = Env::clinic(QUICK);
    env.up().deploy_clinic("v1", &[], 0);
    let canary = "strategy = \"canary\"\nsteps = [50, 100]\nstep_bake = \"60s\"\nbake = \"1s\"\nkeep_hot = \"0s\"\ndrain = \"1s\"\nsticky = { cookie = \"me_rev\" }\nallow = { header = \"X-Canary\", values = [\"team\"] }";
    env.write_manifest(&env.clinic_service(canary));
    env.ok(&["deploy", "--detach", "--version", "v2", "--env-var", "CLINIC_VERSION=v2"]);
    env.until_phase("baking");
    let version = |headers: &[(&str, &str)]| {
        let answer = env.request("GET", "/api/slots", headers, "").unwrap();
        (answer.header("x-clinic-version").unwrap(), answer.header("set-cookie"))
    };

    assert!((0..20).all(|_| version(&[("X-Canary", "team")]).0 == "v2"));
    let mut seen = BTreeSet::new();
    for _ in 0..24 {
        let (first, cookie) = version(&[("X-Canary", "others")]);
        let cookie = cookie.expect("a new client gets a cookie");
        let cookie = cookie.split(';').next().unwrap();
        assert!(cookie.starts_with("me_rev="), "{cookie}");
        for _ in 0..4 {
            assert_eq!(version(&[("Cookie", cookie)]), (first.clone(), None));
        }
        seen.insert(first);
    }
    assert_eq!(seen.len(), 2, "{seen:?}");

    env.ok(&["abort"]);
    assert_eq!(version(&[("X-Canary", "team")]).0, "v1");
}

/// Opens the event stream, and returns the lines that came and when it ended.
fn follow_events(env: &Env) -> std::thread::JoinHandle<(String, Instant)> {
    let mut stream = TcpStream::connect(env.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET /api/events HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", env.address).unwrap();
    let mut first = [0; 512];
    let length = stream.read(&mut first).unwrap();
    assert!(first[..length].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&first));
    std::thread::spawn(move || {
        let mut rest = Vec::new();
        // How it ends is the question: a broken end is told by what is missing in the text.
        let _ = stream.read_to_end(&mut rest);
        (String::from_utf8_lossy(&rest).into_owned(), Instant::now())
    })
}

#[test]
fn e12_a_websocket_is_kept_over_a_switch_until_its_ceiling_and_event_streams_drain() {
    let env = Env::clinic(
        &format!("{QUICK}\nconnections = {{ websocket = \"keep\", sse = \"drain\", ceiling = \"5s\" }}")
            .replace("drain = \"2s\"", "drain = \"1s\""),
    );
    env.up().deploy_clinic("v1", &[], 0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let events = follow_events(&env);
    let mut socket = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(env.address).await.unwrap();
        tokio_tungstenite::client_async(format!("ws://{}/api/ws", env.address), stream).await.unwrap().0
    });

    env.deploy_clinic("v2", &[], 0);
    let switched = Instant::now();
    assert_eq!(env.version(), "v2");
    let (text, ended) = events.join().unwrap();

    assert!(text.ends_with("0\r\n\r\n"), "the stream ends whole: {text}");
    assert!(ended.duration_since(switched) < Duration::from_secs(4), "{:?}", ended.duration_since(switched));
    let echo = runtime.block_on(async {
        socket.send(Message::text("still here")).await.unwrap();
        loop {
            match socket.next().await.expect("it is kept").unwrap() {
                Message::Text(text) => break text.to_string(),
                _ => continue,
            }
        }
    });
    assert_eq!(echo, "still here");

    let end = runtime.block_on(async {
        let rest = async { while let Some(Ok(_)) = socket.next().await {} };
        tokio::time::timeout(Duration::from_secs(10), rest).await
    });
    let lived = switched.elapsed();
    assert!(end.is_ok(), "the ceiling ends it");
    assert!(lived > Duration::from_secs(3) && lived < Duration::from_secs(9), "{lived:?}");
    eventually("the old revision is gone", 10, || (env.replicas().len() == 2).then_some(()));
}
