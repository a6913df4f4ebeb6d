//! Copies of requests to a candidate nobody is sent to: what is copied, what is compared, and that no user notices.

use crate::support::replica::Replica;
use crate::support::{Bench, Client, PATIENCE, Table, request, total, until};
use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::time::Instant;

fn mirrored(stable: &Replica, candidate: &Replica) -> Table {
    Table::new("web", 1)
        .stable(1, &[stable.address])
        .candidate(2, 0, &[candidate.address])
        .with("templates", json!(["/plain", "/name", "/", "/on/v2/{rest...}", "/count"]))
        .with("mirror", json!({ "share": 100 }))
}

/// Returns the sum of what copies showed, once so many have been seen to their end.
async fn seen(bench: &Bench, copies: u64) -> Value {
    const FIELDS: [&str; 7] = ["compared", "status", "body", "unsteady", "dropped", "slower", "faster"];
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_, records) = bench.admin("GET", "/v1/samples?wait_ms=0", &Value::Null).await;
        let rows = records.as_array().unwrap().iter().filter_map(|record| record["mirror"].as_array());
        let rows: Vec<&Value> = rows.flatten().collect();
        assert!(rows.iter().all(|row| row["target"] == "web@local" && row["revision"] == 2), "{rows:?}");
        let sum = |field: &str| rows.iter().map(|row| row[field].as_u64().unwrap()).sum::<u64>();
        if sum("compared") + sum("unsteady") + sum("dropped") >= copies {
            let sums = FIELDS.map(|field| (field.to_owned(), json!(sum(field))));
            let mut all: Value = sums.into_iter().collect();
            let differences = rows.iter().filter_map(|row| row["differences"].as_array()).flatten();
            all["differences"] = differences.cloned().collect();
            return all;
        }
        assert!(Instant::now() < deadline, "only {rows:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn pair() -> (Bench, Replica, Replica) {
    (Bench::start(), Replica::start("v1").await, Replica::start("v2").await)
}

#[tokio::test]
async fn an_answer_of_another_status_is_told_and_no_user_sees_it() {
    let (bench, v1, v2) = pair().await;
    bench.put(mirrored(&v1, &v2)).await;
    let mut client = bench.client().await;

    let answer = client.get("/on/v2/status/503").await;
    let same = client.get("/plain").await;

    assert_eq!((answer.status.as_u16(), answer.revision(), same.text().as_str()), (200, 1, "plain"));
    let seen = seen(&bench, 2).await;
    assert_eq!(
        (&seen["compared"], &seen["status"], &seen["body"]),
        (&json!(2), &json!(1), &json!(0)),
        "{seen}"
    );
    let told = json!([{ "method": "GET", "route": "/on/v2/{rest...}", "stable": 200, "candidate": 503 }]);
    assert_eq!(seen["differences"], told);
    // Stable was asked once more, so that an answer that changes by itself blames nobody.
    assert_eq!((v1.requests(), v2.requests()), (3, 2));
    // Copies are in no count and no log but their own.
    let rows = bench.counted(2).await;
    let of = |revision: u64| {
        let rows: Vec<Value> = rows.iter().filter(|row| row["revision"] == revision).cloned().collect();
        total(&rows, "requests")
    };
    assert_eq!((of(1), of(2), bench.log_lines().len()), (2, 0, 2));
}

#[tokio::test]
async fn the_candidate_is_told_that_it_sees_a_copy_and_nobody_can_say_so_to_stable() {
    let (bench, v1, v2) = pair().await;
    bench.put(mirrored(&v1, &v2).with("mirror", json!({ "share": 100, "bodies": ["/"] }))).await;
    let mut request = request("/");
    request.headers_mut().insert("x-medeclipse-mirrored", "9".parse().unwrap());

    let answer = bench.client().await.send(request).await.unwrap();

    assert!(answer.seen()["headers"].get("x-medeclipse-mirrored").is_none(), "{}", answer.text());
    // What a replica says of itself has that header in it, also when it is stable that is asked once more.
    let seen = seen(&bench, 1).await;
    assert_eq!((&seen["compared"], &seen["unsteady"]), (&json!(0), &json!(1)), "{seen}");
}

#[tokio::test]
async fn bodies_are_compared_only_where_that_is_declared() {
    let (bench, v1, v2) = pair().await;
    bench
        .put(mirrored(&v1, &v2).with("mirror", json!({ "share": 100, "bodies": ["/name", "/plain"] })))
        .await;
    let mut client = bench.client().await;

    for path in ["/", "/plain", "/name"] {
        client.get(path).await;
    }

    let seen = seen(&bench, 3).await;
    assert_eq!(
        (&seen["compared"], &seen["status"], &seen["body"]),
        (&json!(3), &json!(0), &json!(1)),
        "{seen}"
    );
    assert_eq!(
        seen["differences"],
        json!([{ "method": "GET", "route": "/name", "stable": 200, "candidate": 200 }])
    );
}

#[tokio::test]
async fn an_answer_that_stable_does_not_repeat_blames_nobody() {
    let (bench, v1, v2) = pair().await;
    bench.put(mirrored(&v1, &v2).with("mirror", json!({ "share": 100, "bodies": ["/count"] }))).await;
    // The candidate has one request more behind it, so that the two say different things.
    Client::connect(v2.address).await.get("/plain").await;

    bench.get("/count").await;

    let seen = seen(&bench, 1).await;
    assert_eq!((&seen["compared"], &seen["unsteady"]), (&json!(0), &json!(1)), "{seen}");
}

#[tokio::test]
async fn only_safe_requests_without_a_body_are_copied_and_not_those_of_the_allow_list() {
    let (bench, v1, v2) = pair().await;
    let table = mirrored(&v1, &v2)
        .with("mirror", json!({ "share": 100, "never": ["/count"] }))
        .with("health_path", json!("/ready"))
        .with("allow", json!({ "header": "x-canary", "values": ["team"] }));
    bench.put(table).await;
    let mut client = bench.client().await;
    let with = |method: &str, path: &str, body: &'static str| {
        let mut request = request(path);
        *request.method_mut() = method.parse().unwrap();
        *request.body_mut() = Full::new(Bytes::from_static(body.as_bytes()));
        request
    };

    for (method, path, body) in [
        ("POST", "/plain", ""),
        ("DELETE", "/plain", ""),
        ("GET", "/plain", "a body"),
        ("GET", "/ready", ""),
        ("GET", "/count", ""),
    ] {
        client.send(with(method, path, body)).await.unwrap();
    }
    let mut allowed = request("/plain");
    allowed.headers_mut().insert("x-canary", "team".parse().unwrap());
    let seen_by = client.send(allowed).await.unwrap().revision();
    client.send(with("HEAD", "/plain", "")).await.unwrap();

    assert_eq!(seen_by, 2);
    let seen = seen(&bench, 1).await;
    assert_eq!((&seen["compared"], &seen["status"]), (&json!(1), &json!(0)), "{seen}");
    // The copy of HEAD, and the request of the allow list.
    assert_eq!(v2.requests(), 2);
}

#[tokio::test]
async fn a_route_is_what_clients_ask_for_also_where_a_prefix_is_stripped() {
    let (bench, v1, v2) = pair().await;
    let table = mirrored(&v1, &v2)
        .with("paths", json!(["/front"]))
        .with("strip_path", json!(true))
        .with("templates", json!(["/front/name", "/front/plain"]))
        .with("mirror", json!({ "share": 100, "bodies": ["/front/name"], "never": ["/front/plain"] }));
    bench.put(table).await;
    let mut client = bench.client().await;

    for path in ["/front/plain", "/front/name"] {
        client.get(path).await;
    }

    let seen = seen(&bench, 1).await;
    assert_eq!((&seen["compared"], &seen["body"]), (&json!(1), &json!(1)), "{seen}");
    assert_eq!(seen["differences"][0]["route"], "/front/name");
    assert_eq!(v2.requests(), 1);
}

#[tokio::test]
async fn a_candidate_that_is_silent_holds_up_nobody() {
    let (bench, v1, v2) = pair().await;
    bench.put(mirrored(&v1, &v2)).await;
    let mut client = bench.client().await;

    for _ in 0..10 {
        assert_eq!(client.get("/on/v2/gate").await.revision(), 1);
    }

    until(|| async { v2.requests() == 10 }).await;
    v2.open_gate();
    let seen = seen(&bench, 10).await;
    assert_eq!((&seen["compared"], &seen["status"]), (&json!(10), &json!(0)), "{seen}");
}

#[tokio::test]
async fn copies_on_their_way_are_bounded() {
    let (bench, v1, v2) = pair().await;
    bench.put(mirrored(&v1, &v2)).await;
    // Two workers, 64 copies each.
    let asked = 2 * 64 + 40;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut client = bench.client().await;
        tasks.spawn(async move {
            for _ in 0..asked / 8 {
                client.get("/on/v2/gate").await;
            }
        });
    }
    tasks.join_all().await;

    assert!(v2.requests() <= 128, "{}", v2.requests());
    let dropped = seen(&bench, 40).await;
    assert!(dropped["dropped"].as_u64().unwrap() >= 40, "{dropped}");
    v2.open_gate();
    let all = seen(&bench, asked).await;
    assert_eq!(all["compared"].as_u64().unwrap() + all["dropped"].as_u64().unwrap(), asked, "{all}");
}

#[tokio::test]
async fn a_broken_answer_is_none_and_streams_and_stables_own_failures_are_not_compared() {
    let (bench, v1, v2) = pair().await;
    bench.put(mirrored(&v1, &v2)).await;
    let mut client = bench.client().await;

    assert_eq!(client.get("/on/v2/reset").await.status.as_u16(), 200);
    let no_answer = seen(&bench, 1).await;
    assert_eq!(no_answer["differences"][0]["candidate"], Value::Null, "{no_answer}");

    assert_eq!(client.get("/on/v1/status/503").await.status.as_u16(), 503);
    let stream = bench.client().await.open(request("/sse")).await;
    assert_eq!(stream.status().as_u16(), 200);
    let all = seen(&bench, 3).await;
    assert_eq!((&all["compared"], &all["dropped"]), (&json!(1), &json!(2)), "{all}");
}

#[tokio::test]
async fn a_slow_candidate_is_told_and_differs_in_nothing() {
    let (bench, v1, v2) = pair().await;
    bench.put(mirrored(&v1, &v2)).await;
    let asked = tokio::spawn({
        let mut client = bench.client().await;
        async move { client.get("/on/v2/gate").await }
    });
    asked.await.unwrap();
    until(|| async { v2.requests() == 1 }).await;
    // Longer than twice stable's time and ten milliseconds, whatever the machine does.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    v2.open_gate();

    let seen = seen(&bench, 1).await;

    assert_eq!(
        (&seen["compared"], &seen["slower"], &seen["status"]),
        (&json!(1), &json!(1), &json!(0)),
        "{seen}"
    );
}

#[tokio::test]
async fn without_the_setting_a_candidate_without_users_gets_nothing() {
    let (bench, v1, v2) = pair().await;
    bench.put(Table::new("web", 1).stable(1, &[v1.address]).candidate(2, 0, &[v2.address])).await;
    let mut client = bench.client().await;

    for _ in 0..50 {
        client.get("/plain").await;
    }

    bench.counted(50).await;
    assert_eq!(v2.requests(), 0);
}
