//! Which arm answers: weight, sticky cookie, allow list.

use crate::support::replica::Replica;
use crate::support::{Bench, Table, request, total};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[tokio::test]
async fn e16_the_weight_divides_requests_and_the_allow_list_overrules_it() {
    let (bench, v1, v2) = (Bench::start(), Replica::start("v1").await, Replica::start("v2").await);
    let allow = json!({ "header": "x-canary", "values": ["team"] });
    let table =
        Table::new("web", 1).stable(1, &[v1.address]).candidate(2, 25, &[v2.address]).with("allow", allow);
    bench.put(table).await;
    let mut client = bench.client().await;

    for _ in 0..2000 {
        client.get("/").await;
    }
    let share = v2.requests();
    for _ in 0..20 {
        let mut request = request("/");
        request.headers_mut().insert("x-canary", "team".parse().unwrap());
        assert_eq!(client.send(request).await.unwrap().revision(), 2);
    }

    // Six standard deviations around 500.
    assert!((384..=616).contains(&share), "{share}");
    let records = bench.seconds(2020).await;
    let rows = bench.counted(2020).await;
    let (allowed, drawn): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row["allowed"] == true);
    assert_eq!(total(&allowed, "requests"), 20);
    assert_eq!(total(&drawn, "requests"), 2000);
    // The bucket that was drawn decides the arm, and is told.
    let buckets = buckets(&records);
    assert!(buckets.iter().all(|(revision, bucket)| (*revision == 2) == (*bucket < 25)), "{buckets:?}");
}

/// Returns every revision and arm bucket that was counted.
fn buckets(records: &[Value]) -> BTreeSet<(u64, u64)> {
    let arms = records.iter().flat_map(|record| record["arms"].as_array().into_iter().flatten());
    let number = |value: &Value| value.as_u64().unwrap();
    arms.flat_map(|arm| {
        let buckets = arm["buckets"].as_array().unwrap();
        buckets.iter().map(move |bucket| (number(&arm["revision"]), number(&bucket["bucket"])))
    })
    .collect()
}

#[tokio::test]
async fn e16_a_cookie_keeps_a_client_on_its_arm_as_the_weight_grows() {
    let (bench, v1, v2) = (Bench::start(), Replica::start("v1").await, Replica::start("v2").await);
    let table = |generation, weight| {
        let table = Table::new("web", generation).with("sticky", json!({ "cookie": "me_rev" }));
        table.stable(1, &[v1.address]).candidate(2, weight, &[v2.address])
    };
    bench.put(table(1, 30)).await;
    let mut client = bench.client().await;
    let mut users = Vec::new();
    for _ in 0..60 {
        let answer = client.get("/").await;
        let cookies =
            answer.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap().to_owned());
        let own = cookies.into_iter().find(|cookie| cookie.starts_with("me_rev=")).unwrap();
        users.push((own.split(';').next().unwrap().to_owned(), answer.revision()));
    }
    assert!(users.iter().any(|user| user.1 == 1) && users.iter().any(|user| user.1 == 2), "{users:?}");

    for (generation, weight) in [(2, 30), (3, 60), (4, 100)] {
        bench.put(table(generation, weight)).await;
        for (cookie, before) in &mut users {
            let mut request = request("/");
            request.headers_mut().insert("cookie", format!("a=b; {cookie}").parse().unwrap());
            let answer = client.send(request).await.unwrap();
            assert!(answer.revision() >= *before, "{cookie} went from {before} to {}", answer.revision());
            assert!(weight > 30 || answer.revision() == *before);
            assert!(
                !answer
                    .headers
                    .get_all("set-cookie")
                    .iter()
                    .any(|cookie| cookie.to_str().unwrap().contains("me_rev"))
            );
            *before = answer.revision();
        }
    }
    assert!(users.iter().all(|user| user.1 == 2));
}

#[tokio::test]
async fn a_bucket_is_drawn_also_without_a_candidate() {
    let (bench, web) = (Bench::start(), Replica::start("web").await);
    let templates = json!(["/api/appointments/{id}"]);
    bench.put(Table::new("web", 1).with("templates", templates).stable(1, &[web.address])).await;
    let mut client = bench.client().await;

    for id in 0..300 {
        client.get(&format!("/api/appointments/{id}")).await;
    }

    let rows = bench.counted(300).await;
    let buckets = buckets(&bench.seconds(300).await);
    assert!(buckets.len() > 60, "{} buckets", buckets.len());
    assert!(
        rows.iter().filter(|row| row["requests"] != 0).all(|row| row["route"] == "/api/appointments/{id}")
    );
}
