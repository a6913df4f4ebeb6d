//! What is counted and logged.

use crate::support::replica::Replica;
use crate::support::{Bench, Table, request, total, total_errors, until};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

async fn bench() -> (Bench, Replica) {
    let (bench, web) = (Bench::start(), Replica::start("web").await);
    bench.put(Table::new("web", 1).stable(1, &[web.address])).await;
    (bench, web)
}

#[tokio::test]
async fn e15_a_client_that_goes_away_is_499_in_the_log_and_no_error() {
    let (bench, _web) = bench().await;
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    stream.write_all(b"GET /gate?secret HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    bench.until_in_flight(1).await;

    drop(stream);

    bench.until_in_flight(0).await;
    let rows = bench.counted(1).await;
    assert_eq!((total(&rows, "requests"), total(&rows, "client_aborts")), (1, 1));
    assert!(
        rows.iter().all(|row| row["errors"].as_object().unwrap().values().all(|count| count == 0)),
        "{rows:?}"
    );
    until(|| async { !bench.log_lines().is_empty() }).await;
    let line = bench.log_lines().remove(0);
    assert_eq!((&line["status"], &line["path"]), (&json!(499), &json!("/gate")));
    assert!(!std::fs::read_to_string(bench.log()).unwrap().contains("secret"));
}

#[tokio::test]
async fn e15_a_client_that_leaves_an_upload_is_499_too() {
    let (bench, web) = bench().await;
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc").await.unwrap();
    until(|| async { web.requests() == 1 }).await;

    drop(stream);

    let rows = bench.counted(1).await;
    assert_eq!((total(&rows, "requests"), total(&rows, "client_aborts")), (1, 1), "{rows:?}");
}

#[tokio::test]
async fn every_request_is_in_one_class() {
    let bench = Bench::start_with(|config| {
        config.waits.upstream_head = Duration::from_millis(200);
        config.waits.upstream_silence = Duration::from_millis(200);
    });
    let web = Replica::start("web").await;
    bench.put(Table::new("web", 1).stable(1, &[web.address])).await;

    let mut statuses = Vec::new();
    for path in ["/", "/status/404", "/status/500", "/status/503", "/reset", "/gate"] {
        statuses.push(bench.get(path).await.status.as_u16());
    }
    for cut in ["/short", "/late"] {
        assert!(bench.client().await.send(request(cut)).await.is_err(), "{cut}");
    }
    assert_eq!(statuses, [200, 404, 500, 503, 502, 504]);
    drop(web);
    until(|| async { bench.get("/").await.header("x-medeclipse-error") == "connect" }).await;

    let rows = bench.counted(9).await;
    assert_eq!(total(&rows, "client_errors"), 1);
    for (class, count) in [("status", 2), ("timeout", 2), ("early_eof", 1)] {
        assert_eq!(total_errors(&rows, class), count, "{class}");
    }
    // Requests sent while the replica was dying may have been reset.
    assert!(total_errors(&rows, "reset") >= 1 && total_errors(&rows, "connect") >= 1);
    assert!(rows.iter().filter(|row| row["requests"] != 0).all(|row| row["replica"] == "r-1-1"));
    // Latency belongs to answers without a fault.
    let latencies: u64 = rows
        .iter()
        .flat_map(|row| row["latency"].as_array().unwrap())
        .map(|entry| entry[1].as_u64().unwrap())
        .sum();
    assert_eq!(latencies, 2);
}

#[tokio::test]
async fn answers_of_the_four_hundreds_are_told_apart_and_those_of_the_overloaded_are_errors() {
    let (bench, _web) = bench().await;
    let mut client = bench.client().await;
    for status in [400, 401, 403, 404, 410, 418, 408, 429] {
        client.get(&format!("/status/{status}")).await;
    }

    let rows = bench.counted(8).await;

    assert_eq!((total_errors(&rows, "limited"), total_errors(&rows, "status")), (2, 0));
    let other = ["client_errors", "unauthorized", "not_found"].map(|class| total(&rows, class));
    assert_eq!(other, [6, 2, 2]);
}

#[tokio::test]
async fn a_grpc_answer_fails_by_its_status_in_the_head_or_in_the_trailers() {
    let (bench, _web) = bench().await;
    let mut client = bench.client().await;
    for (path, status) in
        [("/grpc/0", 0), ("/grpc/5", 5), ("/grpc/14", 14), ("/grpc-late/13", 13), ("/grpc-late/0", 0)]
    {
        let mut request = request(path);
        request.headers_mut().insert("te", "trailers".parse().unwrap());
        assert_eq!(client.send(request).await.unwrap().status, 200, "{path} {status}");
    }

    let rows = bench.counted(5).await;

    assert_eq!(total_errors(&rows, "status"), 2, "{rows:?}");
}

#[tokio::test]
async fn one_user_failing_again_on_an_endpoint_is_one_error_where_users_are_told_apart() {
    let (bench, web) = (Bench::start(), Replica::start("web").await);
    let table = Table::new("web", 1).stable(1, &[web.address]).with("user", json!({ "header": "x-user" }));
    bench.put(table.with("templates", json!(["/status/{code}"]))).await;
    let mut client = bench.client().await;
    for (path, user) in [
        ("/status/500", Some("alice")),
        ("/status/503", Some("alice")),
        ("/reset", Some("alice")),
        ("/status/500", Some("bob")),
        ("/status/500", None),
        ("/status/500", None),
    ] {
        let mut request = request(path);
        if let Some(user) = user {
            request.headers_mut().insert("x-user", user.parse().unwrap());
        }
        client.send(request).await.unwrap();
    }

    let records = bench.seconds(6).await;

    let rows: Vec<Value> =
        records.iter().flat_map(|record| record["rows"].as_array().unwrap().clone()).collect();
    let errors: u64 = ["status", "reset"].iter().map(|class| total_errors(&rows, class)).sum();
    assert_eq!((errors, total(&rows, "errors_repeated")), (6, 1));
    let buckets: Vec<&Value> = records
        .iter()
        .flat_map(|record| record["arms"].as_array().into_iter().flatten())
        .flat_map(|arm| arm["buckets"].as_array().unwrap())
        .collect();
    let sum = |field: &str| buckets.iter().filter_map(|bucket| bucket[field].as_u64()).sum::<u64>();
    assert_eq!((sum("requests"), sum("errors"), sum("errors_repeated")), (6, 6, 1));
    assert!(!json!(records).to_string().contains("alice"));
}

#[tokio::test]
async fn the_buckets_hold_every_judged_request() {
    let (bench, v1, v2) = (Bench::start(), Replica::start("v1").await, Replica::start("v2").await);
    let table = Table::new("web", 1).stable(1, &[v1.address]).candidate(2, 40, &[v2.address]);
    bench.put(table.with("allow", json!({ "header": "x-canary", "values": ["team"] }))).await;
    let mut client = bench.client().await;
    for n in 0..300 {
        let mut request = request(if n % 3 == 0 { "/status/500" } else { "/" });
        if n % 10 == 0 {
            request.headers_mut().insert("x-canary", "team".parse().unwrap());
        }
        client.send(request).await.unwrap();
    }

    let records = bench.seconds(300).await;

    for (revision, buckets) in [(1, 40..100), (2, 0..40)] {
        let of = |list: &str| -> Vec<Value> {
            let all = records.iter().flat_map(|record| record[list].as_array().into_iter().flatten());
            all.filter(|row| row["revision"] == revision).cloned().collect()
        };
        let rows: Vec<Value> = of("rows").into_iter().filter(|row| row["allowed"] == false).collect();
        let arms: Vec<Value> =
            of("arms").iter().flat_map(|arm| arm["buckets"].as_array().unwrap().clone()).collect();
        assert_eq!(total(&arms, "requests"), total(&rows, "requests"));
        let errors: u64 = arms.iter().filter_map(|bucket| bucket["errors"].as_u64()).sum();
        assert_eq!(errors, total_errors(&rows, "status"));
        assert!(arms.iter().all(|bucket| buckets.contains(&bucket["bucket"].as_u64().unwrap())));
    }
}

/// Looks like nothing a route would be called, and stands in every place of a request.
const SENTINELS: [&str; 10] = [
    "s3nt1nel-path",
    "550e8400-e29b-41d4-a716-446655440000",
    "eyJhbGciOiJIUzI1NiJ9.sentinel",
    "s3nt1nel-value",
    "s3nt1nel-name",
    "s3nt1nelbare",
    "s3nt1nel-header",
    "s3nt1nel-cookie",
    "s3nt1nel-body",
    "s3nt1nel-bearer",
];

#[tokio::test]
async fn a_sample_of_failures_shows_where_and_never_who_or_with_what() {
    let (bench, web) = (Bench::start(), Replica::start("web").await);
    let templates = json!(["/status/500/users/{id}"]);
    let user = json!({ "cookie": "session" });
    bench
        .put(Table::new("web", 1).stable(1, &[web.address]).with("templates", templates).with("user", user))
        .await;
    let [path, uuid, token, value, name, bare, header, cookie, body, bearer] = SENTINELS;
    let mut client = bench.client().await;
    for (method, uri) in [
        (
            "POST",
            format!(
                "/reset/{path}/{uuid}/{token}/a@{path}?page={value}&{name}={value}&{bare}&user_id={uuid}"
            ),
        ),
        ("POST", format!("/status/500/users/{path}?{name}={value}#{value}")),
        (path, format!("/reset/%{uuid}%41/{path};{name}={value}")),
    ] {
        let mut request = request(&uri);
        *request.method_mut() = method.parse().unwrap();
        *request.body_mut() = bytes::Bytes::from(body).into();
        let headers = request.headers_mut();
        headers.insert("x-secret", header.parse().unwrap());
        headers.insert("cookie", format!("session={cookie}").parse().unwrap());
        headers.insert("authorization", format!("Bearer {bearer}").parse().unwrap());
        client.send(request).await.unwrap();
    }

    let records = bench.seconds(3).await;

    let text = json!(records).to_string();
    for sentinel in SENTINELS {
        assert!(!text.contains(sentinel), "{sentinel} in {text}");
    }
    let failures: Vec<&Value> =
        records.iter().flat_map(|record| record["failures"].as_array().into_iter().flatten()).collect();
    assert_eq!(failures.len(), 3, "{failures:?}");
    for (method, path, parameters, class) in [
        ("POST", "/reset/{…}/{…}/{…}/{…}", json!(["page", "user_id"]), "reset"),
        ("POST", "/status/500/users/{id}", json!(null), "status"),
        ("OTHER", "/reset/{…}/{…}", json!(null), "reset"),
    ] {
        let wanted = |failure: &&&Value| failure["path"] == path && failure["method"] == method;
        let failure = failures.iter().find(wanted).unwrap_or_else(|| panic!("no {path} in {failures:?}"));
        assert_eq!((&failure["parameters"], &failure["class"]), (&parameters, &json!(class)));
        assert_eq!(failure["replica"], "r-1-1");
        assert!(failure["latency_ms"].as_f64().unwrap() > 0.0);
    }
}

#[tokio::test]
async fn a_flood_of_failures_leaves_three_samples_a_second() {
    let (bench, _web) = bench().await;
    let mut client = bench.client().await;
    for _ in 0..200 {
        client.get("/status/500").await;
    }

    let records = bench.seconds(200).await;

    let samples: Vec<usize> =
        records.iter().map(|record| record["failures"].as_array().map_or(0, Vec::len)).collect();
    assert!(samples.iter().all(|count| *count <= 3) && samples.contains(&3), "{samples:?}");
}

#[tokio::test]
async fn counts_sum_exactly_to_the_requests_sent() {
    let (bench, v1, v2) = (Bench::start(), Replica::start("v1").await, Replica::start("v2").await);
    bench.put(Table::new("web", 1).stable(1, &[v1.address]).candidate(2, 40, &[v2.address])).await;

    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let mut client = bench.client().await;
        clients.spawn(async move {
            for n in 0..100 {
                match n % 3 {
                    0 => drop(client.post("/", "body").await.unwrap()),
                    1 => drop(client.get("/status/500").await),
                    _ => drop(client.get("/").await),
                }
            }
        });
    }
    while clients.join_next().await.is_some() {}

    let rows = bench.counted(1600).await;
    let of = |revision: u64| {
        rows.iter()
            .filter(|row| row["revision"] == revision)
            .map(|row| row["requests"].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!((total(&rows, "requests"), total_errors(&rows, "status")), (1600, 16 * 33));
    assert_eq!((of(1), of(2)), (v1.requests(), v2.requests()));
}

#[tokio::test]
async fn silent_seconds_are_closed_too_and_pulled_by_number() {
    let (bench, _web) = bench().await;

    let (_, first) = bench.admin("GET", "/v1/samples?wait_ms=5000", &Value::Null).await;
    let last = first.as_array().unwrap().last().unwrap().clone();
    let (epoch, seq) = (&last["epoch"], last["seq"].as_u64().unwrap());
    let (_, next) = bench
        .admin("GET", &format!("/v1/samples?epoch={epoch}&after={seq}&wait_ms=5000"), &Value::Null)
        .await;
    let (_, stranger) =
        bench.admin("GET", "/v1/samples?epoch=1&after=99999&wait_ms=5000", &Value::Null).await;

    let next = &next.as_array().unwrap()[0];
    assert_eq!(next["seq"], seq + 1);
    assert_eq!(next["second"].as_u64(), last["second"].as_u64().map(|second| second + 1));
    assert_eq!(next["rows"].as_array().unwrap().len(), 1);
    let zero = &next["rows"][0];
    assert_eq!(
        (&zero["target"], &zero["revision"], &zero["replica"], &zero["requests"]),
        (&json!("web@local"), &json!(1), &json!(""), &json!(0))
    );
    assert_eq!(stranger.as_array().unwrap()[0]["seq"], 0);
    assert_eq!(bench.state().await["epoch"], *epoch);
}

#[tokio::test]
async fn the_log_has_a_line_for_every_request() {
    let (bench, _web) = bench().await;
    let answer = bench.get("/a/b?token=1").await;

    until(|| async { !bench.log_lines().is_empty() }).await;

    let line = bench.log_lines().remove(0);
    assert_eq!(line["request_id"], answer.header("x-request-id"));
    for (field, value) in [
        ("target", json!("web@local")),
        ("revision", json!(1)),
        ("replica", json!("r-1-1")),
        ("method", json!("GET")),
        ("path", json!("/a/b")),
        ("status", json!(200)),
        ("bytes", json!(answer.body.len())),
        ("client", json!("127.0.0.1")),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
    assert!(line["duration_ms"].as_f64().unwrap() > 0.0);
    assert!(line["time"].as_str().unwrap().ends_with('Z'));
}
