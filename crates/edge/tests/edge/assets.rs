//! O15: a page of one release finds its hashed files while that release is alive; everything else is answered by who was drawn.

use crate::support::replica::Replica;
use crate::support::{Answer, Bench, Table, arm, request, total};
use bytes::Bytes;
use http_body_util::Full;
use serde_json::json;

fn told(answer: &Answer) -> (u16, u64, &str) {
    (answer.status.as_u16(), answer.revision(), answer.header("x-medeclipse-replayed"))
}

fn switched(generation: u64, v1: &Replica, v2: &Replica) -> Table {
    Table::new("web", generation)
        .stable(2, &[v2.address])
        .with("former", arm(1, &[v1.address]))
        .with("assets", json!(true))
}

#[tokio::test]
async fn o15_a_page_of_the_release_before_finds_its_files_after_the_switch() {
    let (bench, v1, v2) = (Bench::start(), Replica::start("v1").await, Replica::start("v2").await);
    bench.put(switched(1, &v1, &v2)).await;
    let mut client = bench.client().await;

    let old = client.get("/on/v2/status/404/chunk.4f3c2a1b.js").await;
    let new = client.get("/on/v1/status/404/chunk.9d8e7f6a.js").await;
    let page = client.get("/on/v2/status/404/patients").await;

    assert_eq!(told(&old), (200, 1, "2"));
    assert_eq!(old.seen()["name"], "v1");
    assert_eq!(told(&new), (200, 2, ""));
    assert_eq!(told(&page), (404, 2, ""));
    assert_eq!((v1.requests(), v2.requests()), (1, 3));
}

#[tokio::test]
async fn o15_both_sides_of_a_canary_have_each_others_files() {
    let (bench, v1, v2) = (Bench::start(), Replica::start("v1").await, Replica::start("v2").await);
    let table = |generation, weight| {
        let table = Table::new("web", generation).stable(1, &[v1.address]);
        table.candidate(2, weight, &[v2.address]).with("assets", json!(true))
    };

    bench.put(table(1, 0)).await;
    let of_v2 = bench.get("/on/v1/status/404/index-DiwrgTda.js").await;
    bench.put(table(2, 100)).await;
    let of_v1 = bench.get("/on/v2/status/404/index-BqZ8s9xk.js").await;

    assert_eq!(told(&of_v2), (200, 2, "1"));
    assert_eq!(told(&of_v1), (200, 1, "2"));
}

#[tokio::test]
async fn o15_what_was_found_elsewhere_is_no_ones_miss_and_what_was_not_found_is() {
    let (bench, v1, v2) = (Bench::start(), Replica::start("v1").await, Replica::start("v2").await);
    bench.put(switched(1, &v1, &v2)).await;
    let mut client = bench.client().await;

    client.get("/on/v2/status/404/chunk.4f3c2a1b.js").await;
    let nowhere = client.get("/status/404/chunk.4f3c2a1b.js").await;

    assert_eq!(told(&nowhere), (404, 2, ""));
    let rows = bench.counted(1).await;
    assert_eq!((total(&rows, "requests"), total(&rows, "not_found")), (1, 1));
}

#[tokio::test]
async fn o15_only_reads_are_asked_of_another_release_and_only_where_it_is_wanted() {
    let (bench, v1, v2) = (Bench::start(), Replica::start("v1").await, Replica::start("v2").await);
    bench.put(switched(1, &v1, &v2)).await;
    let mut client = bench.client().await;
    let with = |method: &str, body: &'static str| {
        let mut request = request("/on/v2/status/404/chunk.4f3c2a1b.js");
        *request.method_mut() = method.parse().unwrap();
        *request.body_mut() = Full::new(Bytes::from_static(body.as_bytes()));
        request
    };

    for (method, body) in [("POST", ""), ("PUT", "x"), ("DELETE", ""), ("GET", "x")] {
        let answer = client.send(with(method, body)).await.unwrap();
        assert_eq!(told(&answer), (404, 2, ""), "{method} {body:?}");
    }
    bench.put(switched(2, &v1, &v2).with("assets", json!(false))).await;
    assert_eq!(told(&bench.get("/on/v2/status/404/chunk.4f3c2a1b.js").await), (404, 2, ""));

    assert_eq!(v1.requests(), 0);
}

#[tokio::test]
async fn o15_a_former_release_gets_no_other_request() {
    let (bench, v1, v2) = (Bench::start(), Replica::start("v1").await, Replica::start("v2").await);
    bench.put(switched(1, &v1, &v2)).await;
    let mut client = bench.client().await;

    for path in ["/", "/on/v2/status/500/chunk.4f3c2a1b.js", "/on/v2/reset", "/chunk.4f3c2a1b.js"] {
        client.get(path).await;
    }

    assert_eq!(v1.requests(), 0);
}
