//! E04: people see the service's own pages for its maintenance and its failures; programs see the short text as ever.

use crate::support::replica::Replica;
use crate::support::{Answer, Bench, Table, now_ms, request};
use serde_json::json;

const DOWN: &str = "<h1>De retour bientôt</h1>{status} {request_id}";
const BROKEN: &str = "<h1>Désolé</h1>{status}";

fn paged(generation: u64, web: &Replica) -> Table {
    let pages = json!({ "maintenance": DOWN, "error": BROKEN });
    Table::new("web", generation).stable(1, &[web.address]).with("pages", pages)
}

async fn browse(bench: &Bench, path: &str) -> Answer {
    let mut request = request(path);
    let accept = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";
    request.headers_mut().insert("accept", accept.parse().unwrap());
    bench.client().await.send(request).await.unwrap()
}

#[tokio::test]
async fn e04_a_browser_sees_the_maintenance_page_and_a_program_the_text() {
    let (bench, web) = (Bench::start(), Replica::start("web").await);
    let table = paged(1, &web).with("maintenance", json!({ "hold": 0, "since": now_ms() }));
    bench.put(table).await;

    let (page, text) = (browse(&bench, "/").await, bench.get("/").await);

    let id = page.header("x-request-id");
    assert_eq!(page.text(), format!("<h1>De retour bientôt</h1>503 {id}"));
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(text.text().starts_with("error: cannot answer this request"), "{}", text.text());
    for answer in [page, text] {
        let named = ["x-medeclipse-error", "retry-after", "cache-control"].map(|name| answer.header(name));
        assert_eq!((answer.status.as_u16(), named), (503, ["maintenance", "5", "no-store"]));
    }
}

#[tokio::test]
async fn e04_a_failure_of_the_replica_has_a_page_and_what_the_service_says_stays() {
    let (bench, web) = (Bench::start(), Replica::start("web").await);
    bench.put(paged(1, &web)).await;

    let broken = browse(&bench, "/reset").await;
    let own = browse(&bench, "/status/503").await;

    assert_eq!((broken.status.as_u16(), broken.text()), (502, "<h1>Désolé</h1>502".to_owned()));
    assert_eq!(own.status, 503);
    assert!(!own.text().contains("Désolé"), "{}", own.text());
}

#[tokio::test]
async fn e04_a_table_with_a_page_that_is_too_large_is_refused_and_the_one_before_stays() {
    let (bench, web) = (Bench::start(), Replica::start("web").await);
    bench.put(paged(1, &web)).await;

    let large = paged(2, &web).with("pages", json!({ "error": "x".repeat(32 * 1024 + 1) }));
    let (status, answer) = bench.try_put(large).await;

    assert_eq!(status, 422, "{answer}");
    assert_eq!(browse(&bench, "/reset").await.text(), "<h1>Désolé</h1>502");
}
