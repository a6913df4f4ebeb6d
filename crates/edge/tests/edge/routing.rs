//! Which target answers: hosts, paths, headers, replicas.

use crate::support::replica::Replica;
use crate::support::{Bench, Table, request};
use http::StatusCode;
use serde_json::{Value, json};

#[tokio::test]
async fn without_any_table_the_answer_says_the_next_step() {
    let bench = Bench::start();

    let answer = bench.get("/").await;

    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.header("x-medeclipse-error"), "no_table");
    assert!(answer.text().contains("next: run `medeclipse deploy`"), "{}", answer.text());
}

#[tokio::test]
async fn a_target_without_a_stable_revision_says_the_next_step() {
    let bench = Bench::start();
    bench.put(Table::new("web", 1)).await;

    let answer = bench.get("/").await;

    assert_eq!((answer.status.as_u16(), answer.header("x-medeclipse-error")), (503, "nothing_stable"));
    assert!(answer.text().contains("medeclipse deploy web"), "{}", answer.text());
}

#[tokio::test]
async fn e01_unknown_hosts_and_paths_are_404() {
    let (bench, web) = (Bench::start(), Replica::start("web").await);
    let table = Table::new("web", 1).with("hosts", json!(["other.example"])).stable(1, &[web.address]);
    bench.put(table).await;

    let answer = bench.get("/").await;

    assert_eq!((answer.status.as_u16(), answer.header("x-medeclipse-error")), (404, "unknown_host"));
    assert_eq!(web.requests(), 0);
}

#[tokio::test]
async fn e02_a_table_becomes_active_and_the_next_one_replaces_it_on_open_connections() {
    let (bench, v1, v2) = (Bench::start(), Replica::start("v1").await, Replica::start("v2").await);
    bench.put(Table::new("web", 1).stable(1, &[v1.address])).await;
    let mut client = bench.client().await;

    let first = client.get("/").await;
    bench.put(Table::new("web", 2).stable(2, &[v2.address])).await;
    let second = client.get("/").await;

    assert_eq!((first.seen()["name"].as_str(), first.revision()), (Some("v1"), 1));
    assert_eq!((second.seen()["name"].as_str(), second.revision()), (Some("v2"), 2));
    assert_eq!(second.header("x-medeclipse-release"), "000000000002");
}

#[tokio::test]
async fn e05_replicas_take_turns_and_a_busy_one_is_spared() {
    let bench = Bench::start();
    let replicas = [Replica::start("a").await, Replica::start("b").await, Replica::start("c").await];
    let addresses: Vec<_> = replicas.iter().map(|replica| replica.address).collect();
    bench.put(Table::new("web", 1).stable(1, &addresses)).await;

    for _ in 0..30 {
        bench.get("/").await;
    }
    let even: Vec<u64> = replicas.iter().map(Replica::requests).collect();
    assert_eq!(even, [10, 10, 10]);

    let mut busy = bench.client().await;
    let waiting = tokio::spawn(async move { busy.get("/gate").await });
    bench.until_in_flight(1).await;
    let before: Vec<u64> = replicas.iter().map(Replica::requests).collect();
    let spared = before.iter().position(|count| *count == 11).unwrap();
    for _ in 0..20 {
        bench.get("/").await;
    }
    assert_eq!(replicas[spared].requests(), 11);
    replicas[spared].open_gate();
    assert_eq!(waiting.await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn e06_a_host_taken_by_another_target_is_refused_and_reusable_after_withdrawal() {
    let (bench, web) = (Bench::start(), Replica::start("web").await);
    let hosts = json!(["clinic.example", "*.clinic.example"]);
    bench.put(Table::new("web", 1).with("hosts", hosts.clone()).stable(1, &[web.address])).await;
    let other = Table::new("other", 1).with("hosts", json!(["Clinic.example"])).stable(1, &[web.address]);

    let (status, refused) = bench.try_put(other.clone()).await;
    assert_eq!(status, 422);
    assert!(refused["reason"].as_str().unwrap().contains("web@local"), "{refused}");

    let withdrawal = json!({ "target": "web@local", "generation": { "epoch": 1, "seq": 2 } });
    assert_eq!(bench.admin("DELETE", "/v1/table", &withdrawal).await.0, 200);
    assert_eq!(bench.get("/").await.status, StatusCode::SERVICE_UNAVAILABLE);
    bench.put(other).await;
    assert_eq!(bench.get("/").await.status, StatusCode::OK);
    // The withdrawn target's generation is remembered: a stale engine cannot bring it back.
    assert_eq!(bench.try_put(Table::new("web", 1).stable(1, &[web.address])).await.0, 409);
}

#[tokio::test]
async fn e06_wildcards_match_subdomains_and_an_empty_list_everything() {
    let (bench, wild, any) = (Bench::start(), Replica::start("wild").await, Replica::start("any").await);
    bench.put(Table::new("wild", 1).with("hosts", json!(["*.example"])).stable(1, &[wild.address])).await;
    bench.put(Table::new("any", 1).stable(1, &[any.address])).await;

    for (host, name) in
        [("a.example", "wild"), ("A.b.EXAMPLE:8080", "wild"), ("example", "any"), ("x.org", "any")]
    {
        let mut request = request("/");
        request.headers_mut().insert("host", host.parse().unwrap());
        let answer = bench.client().await.send(request).await.unwrap();
        assert_eq!(answer.seen()["name"], name, "{host}");
    }
}

#[tokio::test]
async fn e07_path_prefixes_route_and_are_stripped_with_their_cookies() {
    let (bench, root, api) = (Bench::start(), Replica::start("root").await, Replica::start("api").await);
    bench.put(Table::new("root", 1).stable(1, &[root.address])).await;
    let table = Table::new("api", 1).with("paths", json!(["/api"])).with("strip_path", json!(true));
    bench.put(table.stable(1, &[api.address])).await;

    let inside = bench.get("/api/x/../y%2Fz?a=1&&b=%zz;c").await;
    let bare = bench.get("/api?q").await;
    let outside = bench.get("/apix").await;

    assert_eq!(inside.seen()["uri"], "/x/../y%2Fz?a=1&&b=%zz;c");
    assert_eq!(inside.header("set-cookie"), "app=1; Path=/api");
    assert_eq!(bare.seen()["uri"], "/?q");
    assert_eq!(
        (outside.seen()["name"].as_str(), outside.seen()["uri"].as_str()),
        (Some("root"), Some("/apix"))
    );
    assert_eq!(outside.header("set-cookie"), "app=1; Path=/");
}

#[tokio::test]
async fn e14_forwarded_headers_are_replaced_and_the_query_is_kept_byte_for_byte() {
    let (bench, web) = (Bench::start(), Replica::start("web").await);
    bench.put(Table::new("web", 1).stable(1, &[web.address])).await;
    let mut request = request("/p?b=2&a=%zz&a=+%20;x");
    for (name, value) in [
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-prefix", "/evil"),
        ("forwarded", "for=6.6.6.6"),
        ("x-request-id", "id-7.a_b"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("te", "gzip"),
        ("proxy-authorization", "secret"),
    ] {
        request.headers_mut().append(name, value.parse().unwrap());
    }

    let answer = bench.client().await.send(request).await.unwrap();

    let seen = answer.seen();
    let header = |name: &str| seen["headers"][name].clone();
    assert_eq!(seen["uri"], "/p?b=2&a=%zz&a=+%20;x");
    assert_eq!(header("x-forwarded-for"), json!(["127.0.0.1"]));
    assert_eq!(header("x-forwarded-proto"), json!(["http"]));
    assert_eq!(header("x-forwarded-host"), json!(["clinic.example"]));
    assert_eq!(header("x-forwarded-port"), json!([bench.address.port().to_string()]));
    assert_eq!(header("host"), json!(["clinic.example"]));
    // Nobody trusted gave it.
    assert_eq!(answer.header("x-request-id").len(), 32);
    assert_eq!(header("x-request-id")[0], answer.header("x-request-id"));
    for absent in ["x-forwarded-prefix", "forwarded", "x-hop", "te", "proxy-authorization", "connection"] {
        assert_eq!(header(absent), Value::Null, "{absent}");
    }
}

#[tokio::test]
async fn e14_forwarded_headers_are_believed_where_a_proxy_stands_in_front() {
    let bench = Bench::start_with(|config| config.forwarded = edge::Forwarded::Believed);
    let web = Replica::start("web").await;
    bench.put(Table::new("web", 1).stable(1, &[web.address])).await;
    let mut request = request("/");
    request.headers_mut().insert("x-forwarded-for", "6.6.6.6".parse().unwrap());
    request.headers_mut().insert("x-forwarded-proto", "https".parse().unwrap());

    let seen = bench.client().await.send(request).await.unwrap().seen();

    assert_eq!(seen["headers"]["x-forwarded-for"], json!(["6.6.6.6, 127.0.0.1"]));
    assert_eq!(seen["headers"]["x-forwarded-proto"], json!(["https"]));
}

#[tokio::test]
async fn a_mad_request_id_is_replaced() {
    let (bench, web) = (Bench::start(), Replica::start("web").await);
    bench.put(Table::new("web", 1).stable(1, &[web.address])).await;
    let mut request = request("/");
    request.headers_mut().insert("x-request-id", "a b\"c".parse().unwrap());
    let trusting = serde_json::json!({ "trusted_proxies": ["127.0.0.1"] });
    bench.put(Table::new("web", 2).stable(1, &[web.address]).with("guard", trusting)).await;

    let answer = bench.client().await.send(request).await.unwrap();

    assert_eq!(answer.header("x-request-id").len(), 32);
    assert_eq!(answer.seen()["headers"]["x-request-id"][0], answer.header("x-request-id"));
}

#[tokio::test]
async fn tables_are_refused_by_generation_and_by_emptiness() {
    let (bench, web) = (Bench::start(), Replica::start("web").await);
    bench.put(Table::new("web", 5).stable(1, &[web.address])).await;

    let (older, refused) = bench.try_put(Table::new("web", 4).stable(1, &[web.address])).await;
    let (same, _) = bench.try_put(Table::new("web", 5).stable(1, &[web.address])).await;
    let (empty, _) = bench.try_put(Table::new("web", 6)).await;
    let (nobody, _) = bench.try_put(Table::new("web", 6).stable(1, &[])).await;

    assert_eq!((older, same, empty, nobody), (409, 200, 422, 422));
    assert_eq!(refused["accepted"], json!({ "epoch": 1, "seq": 5 }));
    assert_eq!(bench.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_proof_says_who_answers_now() {
    let (bench, v1, v2) = (Bench::start(), Replica::start("v1").await, Replica::start("v2").await);
    let ask = json!({ "target": "web@local" });
    assert_eq!(bench.admin("POST", "/v1/prove", &ask).await.0, 503);

    let table = |generation| {
        Table::new("web", generation).stable(1, &[v1.address]).with("health_path", json!("/status/204"))
    };
    bench.put(table(1).candidate(2, 99, &[v2.address])).await;
    let (status, stable) = bench.admin("POST", "/v1/prove", &ask).await;
    bench.put(table(2).candidate(2, 100, &[v2.address])).await;
    let (_, candidate) = bench.admin("POST", "/v1/prove", &ask).await;

    assert_eq!(status, 200, "{stable}");
    assert_eq!(stable["revision"], 1);
    assert_eq!(
        (&candidate["revision"], &candidate["replica"], &candidate["status"]),
        (&json!(2), &json!("r-2-1"), &json!(204))
    );
    assert_eq!(candidate["release"], "000000000002ffffffff");
    assert_eq!(candidate["generation"], json!({ "epoch": 1, "seq": 2 }));
}
