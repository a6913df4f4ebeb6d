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
