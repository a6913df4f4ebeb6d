//! Answers whether the clinic lives, may get requests, and really works. Each check has a deadline, so that a probe
//! learns of a silent database before its own patience ends.

use crate::app::{App, Life};
use crate::store::Depth;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Of one check. Probes wait 500 ms by default.
const CHECK_DEADLINE: Duration = Duration::from_millis(400);

/// What a check found.
#[derive(Serialize)]
struct Finding {
    name: &'static str,
    ok: bool,
    ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
}

/// For people: everything at a glance; 503 when a check fails.
pub async fn summary(State(app): State<Arc<App>>) -> Response {
    let findings = check(&app, Depth::Reachable).await;
    let failing = findings.iter().any(|finding| !finding.ok);
    let status = match app.life() {
        _ if failing => "failing",
        Life::Serving => "ok",
        Life::Draining | Life::Closing => "draining",
    };
    answer(&app, status, findings, failing)
}

/// Whether the process works at all; asks nobody else, so a lost database restarts no replica.
pub async fn live(State(app): State<Arc<App>>) -> Response {
    let broken = app.config.faults.live_fail_after.is_some_and(|after| app.uptime() >= after);
    answer(&app, if broken { "failing" } else { "ok" }, Vec::new(), broken)
}

/// Whether requests may come: not while draining, and only with what answers need.
pub async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.config.faults.never_ready {
        return answer(&app, "never ready, as CLINIC_NEVER_READY says", Vec::new(), true);
    }
    if app.life() != Life::Serving {
        return answer(&app, "draining", Vec::new(), true);
    }
    let findings = check(&app, Depth::Reachable).await;
    let failing = findings.iter().any(|finding| !finding.ok);
    answer(&app, if failing { "not ready" } else { "ready" }, findings, failing)
}

/// Whether the store and Redis do real work: a query of the tables on the path of requests, a write and a read.
pub async fn deep(State(app): State<Arc<App>>) -> Response {
    let findings = check(&app, Depth::Working).await;
    let failing = findings.iter().any(|finding| !finding.ok);
    answer(&app, if failing { "failing" } else { "ok" }, findings, failing)
}

async fn check(app: &App, depth: Depth) -> Vec<Finding> {
    let store = find(app.store.kind(), app.store.check(depth));
    let Some(cache) = &app.cache else { return vec![store.await] };
    let redis = find("redis", cache.check(depth));
    let (store, redis) = tokio::join!(store, redis);
    vec![store, redis]
}

async fn find<E: Display>(name: &'static str, check: impl Future<Output = Result<(), E>>) -> Finding {
    let begun = Instant::now();
    let cause = match timeout(CHECK_DEADLINE, check).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {} ms", CHECK_DEADLINE.as_millis())),
    };
    Finding { name, ok: cause.is_none(), ms: begun.elapsed().as_millis() as u64, cause }
}

fn answer(app: &App, status: &str, checks: Vec<Finding>, failing: bool) -> Response {
    let body = json!({
        "status": status,
        "version": app.config.version.to_str().unwrap_or_default(),
        "uptime_s": app.uptime().as_secs(),
        "requests_per_s": app.cache.as_ref().map(|cache| cache.rate()),
        "checks": checks,
    });
    let code = if failing { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(body)).into_response()
}
