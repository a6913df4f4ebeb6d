//! O5: what fails on the candidate is answered by stable, once, where nothing can have changed; and who is blamed for it.

use crate::support::replica::Replica;
use crate::support::{Answer, Bench, Table, request, total, total_errors, until};
use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};

const STATUSES: [u16; 4] = [500, 502, 503, 504];

fn shielded(generation: u64, stable: &Replica, candidate: &Replica, weight: u8) -> Table {
    Table::new("web", generation)
        .stable(1, &[stable.address])
        .candidate(2, weight, &[candidate.address])
        .with("shield", json!({ "statuses": STATUSES }))
}

fn of(rows: &[Value], revision: u64) -> Vec<Value> {
    rows.iter().filter(|row| row["revision"] == revision).cloned().collect()
}

/// Who answered, with which status, and who failed before.
fn told(answer: &Answer) -> (u16, u64, &str) {
    (answer.status.as_u16(), answer.revision(), answer.header("x-medeclipse-replayed"))
}

#[tokio::test]
async fn o5_what_fails_on_the_candidate_is_answered_by_stable_and_counts_against_the_candidate() {
    let (bench, v1, v2) = (Bench::start(), Replica::start("v1").await, Replica::start("v2").await);
    bench.put(shielded(1, &v1, &v2, 100)).await;
    let mut client = bench.client().await;

    for path in ["/on/v2/status/503", "/on/v2/status/500", "/on/v2/reset"] {
        let answer = client.get(path).await;
        assert_eq!(told(&answer), (200, 1, "2"), "{path}");
        assert_eq!(answer.seen()["name"], "v1");
    }
    let well = client.get("/").await;

    assert_eq!(told(&well), (200, 2, ""));
    let rows = bench.counted(4).await;
    let (stable, candidate) = (of(&rows, 1), of(&rows, 2));
    assert_eq!((total(&candidate, "requests"), total(&candidate, "replayed")), (4, 3));
    assert_eq!((total_errors(&candidate, "status"), total_errors(&candidate, "reset")), (2, 1));
    // The second tries are in no count: stable had no request of its own.
    assert_eq!(total(&stable, "requests"), 0);
    assert_eq!((v1.requests(), v2.requests()), (3, 4));
    until(|| async { bench.log_lines().len() == 4 }).await;
    let logged: Vec<_> =
        bench.log_lines().iter().map(|line| (line["revision"].as_u64(), line["replayed"].as_u64())).collect();
    let replayed = (Some(1), Some(2));
    assert_eq!(logged, [replayed, replayed, replayed, (Some(2), None)]);
}

#[tokio::test]
async fn o5_a_candidate_nobody_reaches_is_shielded_too() {
    let (bench, v1) = (Bench::start(), Replica::start("v1").await);
    let gone = Replica::start("v2").await;
    let table = shielded(1, &v1, &gone, 100);
    drop(gone);
    bench.put(table).await;

    let answer = bench.get("/").await;

    assert_eq!(told(&answer), (200, 1, "2"));
    assert_eq!(total_errors(&of(&bench.counted(1).await, 2), "connect"), 1);
}

#[tokio::test]
async fn o5_what_may_have_changed_something_or_has_a_body_is_never_sent_twice() {
    let (bench, v1, v2) = (Bench::start(), Replica::start("v1").await, Replica::start("v2").await);
    bench.put(shielded(1, &v1, &v2, 100)).await;
    let mut client = bench.client().await;
    let with = |method: &str, body: &'static str| {
        let mut request = request("/on/v2/status/503");
        *request.method_mut() = method.parse().unwrap();
        *request.body_mut() = Full::new(Bytes::from_static(body.as_bytes()));
        request
    };

    for (method, body) in
        [("POST", "x"), ("POST", ""), ("PUT", "x"), ("DELETE", ""), ("PATCH", "x"), ("GET", "x")]
    {
        let answer = client.send(with(method, body)).await.unwrap();
        assert_eq!(told(&answer), (503, 2, ""), "{method} {body:?}");
    }

    assert_eq!(v1.requests(), 0);
}

#[tokio::test]
async fn o5_an_answer_that_has_begun_is_not_replaced() {
    let (bench, v1, v2) = (Bench::start(), Replica::start("v1").await, Replica::start("v2").await);
    bench.put(shielded(1, &v1, &v2, 100)).await;
    let mut client = bench.client().await;

    let broken = client.send(request("/on/v2/short")).await;

    assert!(broken.is_err(), "{broken:?}");
    assert_eq!(v1.requests(), 0);
    assert_eq!(total_errors(&of(&bench.counted(1).await, 2), "early_eof"), 1);
}

#[tokio::test]
async fn o5_a_fault_of_both_is_told_once_and_answers_that_are_no_failures_stay() {
    let (bench, v1, v2) = (Bench::start(), Replica::start("v1").await, Replica::start("v2").await);
    bench.put(shielded(1, &v1, &v2, 100)).await;
    let mut client = bench.client().await;

    // First, on fresh connections: a kept one that breaks is tried again on a fresh one before anybody is blamed.
    let both_broken = client.get("/reset").await;
    let both = client.get("/status/503").await;
    let missing = client.get("/on/v2/status/404").await;
    let unlisted = client.get("/on/v2/status/501").await;

    assert_eq!(told(&both), (503, 1, "2"));
    assert_eq!((told(&both_broken), both_broken.header("x-medeclipse-error")), ((502, 1, "2"), "reset"));
    assert_eq!((told(&missing), told(&unlisted)), ((404, 2, ""), (501, 2, "")));
    assert_eq!((v1.requests(), v2.requests()), (2, 4));
    let rows = bench.counted(4).await;
    assert_eq!((total(&of(&rows, 1), "requests"), total(&of(&rows, 2), "requests")), (0, 4));
}

#[tokio::test]
async fn o5_stable_the_allow_list_and_a_shield_that_is_off_replay_nothing() {
    let (bench, v1, v2) = (Bench::start(), Replica::start("v1").await, Replica::start("v2").await);
    let allow = json!({ "header": "x-canary", "values": ["team"] });
    bench.put(shielded(1, &v1, &v2, 0).with("allow", allow)).await;
    let mut team = request("/on/v2/status/503");
    team.headers_mut().insert("x-canary", "team".parse().unwrap());
    let mut client = bench.client().await;

    let of_stable = client.get("/on/v1/status/503").await;
    let of_the_team = client.send(team).await.unwrap();
    bench.put(shielded(2, &v1, &v2, 100).with("shield", Value::Null)).await;
    let off = client.get("/on/v2/status/503").await;

    assert_eq!(
        (told(&of_stable), told(&of_the_team), told(&off)),
        ((503, 1, ""), (503, 2, ""), (503, 2, ""))
    );
}

#[tokio::test]
async fn o5_no_user_sees_a_canary_at_5_percent_that_fails_every_request() {
    let (bench, v1, v2) = (Bench::start(), Replica::start("v1").await, Replica::start("v2").await);
    bench.put(shielded(1, &v1, &v2, 5)).await;
    let mut client = bench.client().await;

    for _ in 0..400 {
        assert_eq!(client.get("/on/v2/status/500").await.status, 200);
    }

    let rows = bench.counted(400).await;
    let candidate = of(&rows, 2);
    let failed = total_errors(&candidate, "status");
    assert!(failed > 0, "none of 400 requests came to the candidate at 5 %");
    assert_eq!((total(&candidate, "requests"), total(&candidate, "replayed")), (failed, failed));
    assert_eq!(total_errors(&of(&rows, 1), "status"), 0);
}
