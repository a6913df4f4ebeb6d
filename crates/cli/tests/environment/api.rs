//! Speaks to the engine over loopback as browsers, scrapers and scripts do.

use crate::QUICK;
use crate::harness::{Answer, Env, request};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

fn serving() -> (Env, SocketAddr) {
    let env = Env::clinic(QUICK);
    env.up().deploy_clinic("v1", &[], 0);
    let api = env.status()["api"].as_str().unwrap().replace("http://", "").parse().unwrap();
    (env, api)
}

/// Asks for maintenance, with these headers.
fn command(api: SocketAddr, headers: &[(&str, &str)]) -> Answer {
    let headers = [&[("Content-Type", "application/json")], headers].concat();
    let body = r#"{"service":"web","command":"maintenance_on","hold":1000}"#;
    request(api, "POST", "/v1/command", &headers, body).unwrap()
}

#[test]
fn loopback_may_look_but_commands_need_the_token() {
    let (env, api) = serving();
    let token = std::fs::read_to_string(env.state().join("token")).unwrap();
    let bearer = format!("Bearer {token}");

    let seen = request(api, "GET", "/v1/status", &[], "").unwrap();
    let without = command(api, &[]);
    let wrong = command(api, &[("Authorization", "Bearer nonsense")]);
    assert_eq!((seen.status, without.status, wrong.status), (200, 401, 401));
    assert_eq!(env.service()["maintenance"], false);

    let with = command(api, &[("Authorization", &bearer)]);

    assert_eq!(with.status, 200, "{with:?}");
    assert_eq!(env.service()["maintenance"], true);
    let changed = env.events().into_iter().find(|event| event["kind"] == "maintenance_changed").unwrap();
    assert_eq!(changed["actor"], "token");
}

#[test]
fn another_host_or_origin_is_refused_even_with_the_token() {
    let (env, api) = serving();
    let token = std::fs::read_to_string(env.state().join("token")).unwrap();
    let bearer = format!("Bearer {token}");

    for header in [("Host", "evil.example"), ("Origin", "http://evil.example"), ("Origin", "null")] {
        let look = request(api, "GET", "/v1/status", &[header], "").unwrap();
        let act = command(api, &[header, ("Authorization", &bearer)]);
        assert_eq!((look.status, act.status), (403, 403), "{header:?}");
    }
    let ours = format!("localhost:{}", api.port());
    assert_eq!(request(api, "GET", "/v1/status", &[("Host", &ours)], "").unwrap().status, 200);
}

/// Returns the ids and the events of a stream, until it has been silent for a moment.
fn stream(api: SocketAddr, path: &str, headers: &str) -> Vec<(String, serde_json::Value)> {
    let mut stream = TcpStream::connect(api).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {api}\r\n{headers}\r\n").unwrap();
    let (mut found, mut id) = (Vec::new(), String::new());
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        if let Some(given) = line.strip_prefix("id: ") {
            id = given.to_owned();
        }
        if let Some(data) = line.strip_prefix("data: ") {
            found.push((id.clone(), serde_json::from_str(data).unwrap()));
        }
    }
    found
}

#[test]
fn the_event_stream_goes_on_after_any_cursor_without_a_gap_or_a_repetition() {
    let (_env, api) = serving();
    let all = stream(api, "/v1/events?target=web@local", "");
    assert!(all.len() > 5, "{all:?}");
    assert!(all.iter().all(|(_, event)| event["kind"] != "evidence_added"));

    for at in [0, all.len() / 2, all.len() - 1] {
        let cursor = &all[at].0;
        let after = stream(api, &format!("/v1/events?after={cursor}"), "");
        let resumed = stream(api, "/v1/events", &format!("Last-Event-ID: {cursor}\r\n"));
        assert_eq!(after, all[at + 1..], "after {cursor}");
        assert_eq!(resumed, all[at + 1..], "resumed at {cursor}");
    }
}

#[test]
fn every_event_is_chained_to_the_one_before() {
    let (env, _) = serving();

    let events = env.events();

    assert_eq!(events[0]["prev_hash"], "0".repeat(64));
    for pair in events.windows(2) {
        assert_eq!(pair[1]["prev_hash"], pair[0]["hash"]);
        assert_eq!(pair[1]["seq"].as_u64(), pair[0]["seq"].as_u64().map(|seq| seq + 1));
    }
}

#[test]
fn metrics_are_lines_a_scraper_reads_and_they_count_what_was_served() {
    let (env, api) = serving();
    (0..20).for_each(|_| assert_eq!(env.get("/api/slots").status, 200));

    let name = "medeclipse_requests_total{target=\"web@local\",revision=\"1\"} ";
    let text = crate::harness::eventually("20 requests are counted", 10, || {
        let answer = request(api, "GET", "/metrics", &[], "").unwrap();
        let counted = answer.body.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok());
        (counted? >= 20).then_some(answer.body)
    });

    // Chunked coding puts its own lines between; those of the text are comments or `name{labels} number`.
    for line in text.lines().filter(|line| line.starts_with("medeclipse")) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(series.ends_with('}') && series.contains("{target=\""), "{line}");
        assert!(!series.contains("/api"), "{line}");
    }
    let typed = text.lines().filter(|line| line.starts_with("# TYPE ")).count();
    assert!(typed >= 4, "{text}");
}

#[test]
fn the_traffic_of_a_service_is_told_and_that_of_none_refused() {
    let (env, api) = serving();
    (0..20).for_each(|_| assert_eq!(env.get("/api/slots").status, 200));
    let ask = |path: &str| request(api, "GET", path, &[], "").unwrap();
    let counted = |body: &str| {
        body.contains("\"requests_per_second\":") && !body.contains("\"requests_per_second\":0.0")
    };

    let told = crate::harness::eventually("the requests are counted", 10, || {
        let answer = ask("/v1/traffic/web@local?weights=5,25");
        assert_eq!(answer.status, 200, "{answer:?}");
        counted(&answer.body).then_some(answer.body)
    });
    assert!(told.contains("\"stable\":1") && told.contains("\"cold\":true"), "{told}");

    for path in ["/v1/traffic/none@local", "/v1/traffic/nonsense", "/v1/traffic/web@local?weights=101"] {
        let answer = ask(path);
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.body.contains("\"next\":\"") && answer.body.contains("\"exit\":2"), "{answer:?}");
    }
}
