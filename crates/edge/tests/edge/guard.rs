//! What the guard refuses over real sockets, what it counts, and that no release is judged by it.

use crate::support::replica::Replica;
use crate::support::{Bench, PATIENCE, Table, request, total, until};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn rate(id: &str, mode: &str, limit: u32) -> Value {
    json!({
        "id": id, "mode": mode,
        "check": { "rate": { "limit": limit, "window": 3_600_000, "burst": limit, "key": "client" } },
    })
}

fn body(max: Option<u64>, rate_min: Option<u64>) -> Value {
    json!({ "id": "body", "mode": "block", "check": { "body": { "max": max, "rate_min": rate_min } } })
}

/// The tests' own address is a proxy's: clients are who it says.
fn guard(rules: Vec<Value>) -> Value {
    json!({ "trusted_proxies": ["127.0.0.0/8"], "rules": rules })
}

async fn bench(guard: Value) -> (Bench, Replica) {
    let bench = Bench::start();
    let web = Replica::start("web").await;
    bench.put(Table::new("web", 1).stable(1, &[web.address]).with("guard", guard)).await;
    (bench, web)
}

/// Sends a GET as a proxy would for this client.
async fn get_for(bench: &Bench, client: &str, path: &str) -> crate::support::Answer {
    let mut request = request(path);
    request.headers_mut().insert("x-forwarded-for", client.parse().unwrap());
    bench.client().await.send(request).await.unwrap()
}

/// Returns the guard's rows of the closed seconds, waiting until a rule has spoken of this many requests.
async fn said(bench: &Bench, rule: &str, field: &str, count: u64) -> Vec<Value> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let (_, records) = bench.admin("GET", "/v1/samples?wait_ms=0", &Value::Null).await;
        let rows = records.as_array().unwrap().iter().filter_map(|record| record["guard"].as_array());
        let rows: Vec<Value> = rows.flatten().filter(|row| row["rule"] == rule).cloned().collect();
        if total(&rows, field) >= count {
            return rows;
        }
        assert!(tokio::time::Instant::now() < deadline, "{rows:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn o20_a_client_beyond_its_limit_gets_429_and_neither_the_others_nor_the_release_notice() {
    let (bench, web) = bench(guard(vec![rate("rate", "block", 3)])).await;

    for _ in 0..3 {
        assert_eq!(get_for(&bench, "192.0.2.1", "/").await.status, 200);
    }
    let refused = get_for(&bench, "192.0.2.1", "/patients/1234567?token=hunter2").await;
    assert_eq!(get_for(&bench, "192.0.2.2", "/").await.status, 200);

    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 1000);
    assert_eq!(refused.header("ratelimit-policy"), "\"rate\";q=3;w=3600");
    assert!(refused.header("ratelimit").starts_with("\"rate\";r=0;t="));
    assert!(refused.text().contains("next: "), "{}", refused.text());
    assert_eq!(web.requests(), 4);
    let rows = said(&bench, "rate", "blocked", 1).await;
    assert_eq!((total(&rows, "blocked"), total(&rows, "counted")), (1, 0));
    let example = rows.iter().find_map(|row| row["examples"][0].as_object()).unwrap();
    assert_eq!((&example["path"], &example["status"]), (&json!("/patients/{…}"), &json!(429)));
    assert!(!json!(example).to_string().contains("hunter2"));
    let counted = bench.counted(4).await;
    assert_eq!((total(&counted, "requests"), total(&counted, "client_errors")), (4, 0));
    let lines = || async { bench.log_lines().iter().any(|line| line["guard"] == "rate blocked") };
    until(lines).await;
    let line = bench.log_lines().into_iter().find(|line| line["status"] == 429).unwrap();
    assert_eq!((&line["client"], &line["target"]), (&json!("192.0.2.1"), &json!("web@local")));
    assert!(line["revision"].is_null() && !line.to_string().contains("hunter2"));
}

#[tokio::test]
async fn o20_a_rule_starts_in_count_mode_and_is_enforced_by_the_next_table_without_a_new_burst() {
    let (bench, web) = bench(guard(vec![rate("rate", "count", 2)])).await;
    for _ in 0..5 {
        assert_eq!(get_for(&bench, "192.0.2.1", "/").await.status, 200);
    }
    let rows = said(&bench, "rate", "counted", 3).await;
    assert_eq!(total(&rows, "blocked"), 0);

    let enforced = guard(vec![rate("rate", "block", 2)]);
    bench.put(Table::new("web", 2).stable(1, &[web.address]).with("guard", enforced)).await;

    assert_eq!(get_for(&bench, "192.0.2.1", "/").await.status, 429);
    assert_eq!(web.requests(), 5);
}

#[tokio::test]
async fn e04_a_guard_that_cannot_be_kept_leaves_the_service_unchanged() {
    let (bench, web) = bench(guard(vec![rate("rate", "block", 1)])).await;
    let twice = guard(vec![rate("a", "block", 1), rate("a", "block", 1)]);
    let network = json!({ "trusted_proxies": ["10.0.0.1/8"] });
    let named = json!({ "rules": [{ "id": "a", "mode": "block", "check": { "rate": {
        "limit": 1, "window": 1000, "burst": 1, "key": { "header": "a b" } } } }] });
    let header = json!({ "always": [["x-a", "b\nc"]], "over_tls": [], "overwrite": false });
    for (field, wrong) in [("guard", twice), ("guard", network), ("guard", named), ("headers", header)] {
        let table = Table::new("web", 2).stable(2, &[web.address]).with(field, wrong.clone());
        let (status, answer) = bench.try_put(table).await;
        assert!(status == 422 || status == 400, "{wrong}: {status} {answer}");
    }

    let first = get_for(&bench, "192.0.2.1", "/").await;
    assert_eq!((first.status.as_u16(), first.revision()), (200, 1));
    assert_eq!(get_for(&bench, "192.0.2.1", "/").await.status, 429);
}

#[tokio::test]
async fn only_a_trusted_proxy_says_who_the_client_is() {
    let bench = Bench::start();
    let web = Replica::start("web").await;
    let elsewhere = json!({ "trusted_proxies": ["10.0.0.0/8"], "rules": [rate("rate", "block", 1)] });
    bench.put(Table::new("web", 1).stable(1, &[web.address]).with("guard", elsewhere)).await;

    let first = get_for(&bench, "192.0.2.1", "/").await;
    assert_eq!(first.status, 200);
    assert_eq!(first.seen()["headers"]["x-forwarded-for"], json!(["127.0.0.1"]));
    assert_eq!(get_for(&bench, "192.0.2.2", "/").await.status, 429);

    let here = guard(vec![]);
    bench.put(Table::new("web", 2).stable(1, &[web.address]).with("guard", here)).await;
    let mut told = request("/");
    for (name, value) in [
        ("x-forwarded-for", "6.6.6.6, 192.0.2.9, 127.0.0.2"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "from-the-proxy"),
    ] {
        told.headers_mut().insert(name, value.parse().unwrap());
    }
    let answer = bench.client().await.send(told).await.unwrap();
    // What the client wrote itself ends at the edge.
    assert_eq!(answer.seen()["headers"]["x-forwarded-for"], json!(["192.0.2.9, 127.0.0.2, 127.0.0.1"]));
    assert_eq!(answer.seen()["headers"]["x-forwarded-proto"], json!(["https"]));
    assert_eq!(answer.header("x-request-id"), "from-the-proxy");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_early_and_not_blamed_on_the_release() {
    let (bench, web) = bench(guard(vec![body(Some(1000), None)])).await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\n";

    // The length says so: nobody waits for the body, and 100-continue is not sent.
    let declared =
        bench.raw(format!("{head}Expect: 100-continue\r\nContent-Length: 1001\r\n\r\n").as_bytes()).await;
    assert!(declared.starts_with("HTTP/1.1 413"), "{declared}");
    assert_eq!(web.requests(), 0);
    // No length: it is cut where it becomes too large, and the answer comes before its end.
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}{chunk}");
    stream.write_all(chunked.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await.unwrap().unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer[..read]));

    let fits = bench
        .raw(
            format!("{head}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n")
                .as_bytes(),
        )
        .await;
    assert!(fits.starts_with("HTTP/1.1 200"), "{fits}");
    said(&bench, "body", "blocked", 2).await;
    let counted = bench.counted(1).await;
    assert_eq!((total(&counted, "requests"), total(&counted, "client_errors")), (1, 0));
}

#[tokio::test]
async fn a_client_that_sends_a_large_body_in_one_go_reads_its_413() {
    let (bench, _web) = bench(guard(vec![body(Some(1000), None)])).await;
    let mut large = request("/");
    *large.method_mut() = http::Method::POST;
    *large.body_mut() = Full::from(vec![b'x'; 200_000]);

    let answer = bench.client().await.send(large).await.unwrap();

    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn a_client_that_breaks_its_body_while_the_answer_comes_blames_no_release() {
    let (bench, web) = bench(guard(vec![body(Some(1000), None)])).await;
    for tail in ["zz\r\n", &format!("7d0\r\n{}\r\n", "x".repeat(2000))] {
        let mut stream = TcpStream::connect(bench.address).await.unwrap();
        let head = "POST /late HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 1024];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await.unwrap().unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
        stream.write_all(tail.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        // However it ends, it ends.
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap();
    }
    web.open_gate();
    bench.until_in_flight(0).await;
    assert_eq!(bench.get("/").await.status, 200);
    let counted = bench.counted(1).await;
    for class in ["status", "reset", "timeout", "early_eof"] {
        assert_eq!(crate::support::total_errors(&counted, class), 0, "{class}: {counted:?}");
    }
}

#[tokio::test]
async fn a_body_that_trickles_is_ended_with_408() {
    let (bench, _web) = bench(guard(vec![body(None, Some(1_000_000))])).await;
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nx";
    stream.write_all(head.as_bytes()).await.unwrap();

    let (mut reader, mut writer) = stream.into_split();
    let trickle = tokio::spawn(async move {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(PATIENCE, reader.read(&mut answer)).await.unwrap().unwrap();
    trickle.abort();

    assert!(answer[..read].starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer[..read]));
    said(&bench, "body", "blocked", 1).await;
}

#[tokio::test]
async fn security_headers_leave_what_the_service_says_and_speak_of_tls_only_over_tls() {
    let (bench, web) = bench(guard(vec![])).await;
    let headers = |overwrite: bool| {
        json!({
            "always": [["x-content-type-options", "nosniff"], ["date", "never"]],
            "over_tls": [["strict-transport-security", "max-age=31536000"]],
            "overwrite": overwrite,
        })
    };
    let table = |seq, overwrite| {
        Table::new("web", seq)
            .stable(1, &[web.address])
            .with("guard", guard(vec![]))
            .with("headers", headers(overwrite))
    };
    bench.put(table(2, false)).await;

    let plain = bench.get("/").await;
    let mut secure = request("/");
    secure.headers_mut().insert("x-forwarded-proto", "https".parse().unwrap());
    let secure = bench.client().await.send(secure).await.unwrap();
    bench.put(table(3, true)).await;
    let overwritten = bench.get("/").await;

    assert_eq!(plain.header("x-content-type-options"), "nosniff");
    assert_eq!(plain.header("strict-transport-security"), "");
    assert_ne!(plain.header("date"), "never");
    assert_eq!(secure.header("strict-transport-security"), "max-age=31536000");
    assert_eq!(overwritten.header("date"), "never");
}

#[tokio::test]
async fn a_trace_goes_through_and_is_in_the_log_and_a_service_may_be_left_out_of_it() {
    let (bench, web) = bench(guard(vec![])).await;
    let mut traced = request("/");
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    traced.headers_mut().insert("traceparent", parent.parse().unwrap());
    traced.headers_mut().insert("tracestate", "a=1".parse().unwrap());

    let seen = bench.client().await.send(traced).await.unwrap().seen();
    let silent = Table::new("web", 2).stable(1, &[web.address]).with("access_log", json!(false));
    bench.put(silent).await;
    assert_eq!(bench.get("/silent").await.status, 200);
    bench.put(Table::new("web", 3).stable(1, &[web.address])).await;
    assert_eq!(bench.get("/heard").await.status, 200);

    let onward = seen["headers"]["traceparent"][0].as_str().unwrap();
    assert!(onward.starts_with(&parent[..36]) && onward.ends_with("-01") && onward != parent, "{onward}");
    assert_eq!(seen["headers"]["tracestate"], json!(["a=1"]));
    until(|| async { bench.log_lines().iter().any(|line| line["path"] == "/heard") }).await;
    let lines = bench.log_lines();
    assert!(lines.iter().all(|line| line["path"] != "/silent"));
    let line = lines.iter().find(|line| line["path"] == "/").unwrap();
    assert_eq!(line["trace"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(line["span"], onward[36..52]);
    assert!(line["head_ms"].is_number());
}
