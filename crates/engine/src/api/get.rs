//! Shows: status, history, logs, metrics. Reads views; changes nothing.

use super::Api;
use super::wire::{
    ApiError, DeploymentView, EdgeStatus, EngineStatus, LeaseStatus, LogLines, Repaired, ServiceStatus,
    Status, TrafficView,
};
use crate::targets::{New, Unled};
use crate::views::{status, traffic};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::IntoResponse;
use rollout::names::ReplicaId;
use rollout::names::{Millis, Revision, Target, TargetError, Weight};
use serde::Deserialize;

/// Lines of a log returned at most.
const LINES_MAX: usize = 10_000;
const LINES_DEFAULT: usize = 100;
/// Deployments listed when nobody says how many.
const DEPLOYMENTS_DEFAULT: usize = 20;
/// Weights calibrated for one question at most: each takes time, and a rollout has fewer.
const WEIGHTS_MAX: usize = 24;

pub async fn status(State(api): State<Api>) -> Json<Status> {
    let edge = api.edge.state().await.ok();
    let guard = edge.as_ref().map(|edge| edge.guard.clone()).unwrap_or_default();
    let edge = edge.map(|edge| EdgeStatus {
        pid: edge.pid,
        version: edge.version,
        listen: edge.listen,
        tls: edge.tls,
    });
    let now = api.clock.now();
    let artifacts = api.targets.artifacts();
    let own = api.leadership.owner().to_string();
    let mut services: Vec<ServiceStatus> = api.targets.all().into_iter().map(|(target, handle)| match handle {
        Ok(handle) => {
            let seen = handle.seen.borrow().clone();
            let state = handle.state.borrow().clone();
            let lease = LeaseStatus {
                epoch: state.epoch,
                owner: own.clone(),
                until: *handle.until.borrow(),
                ours: true,
            };
            let row = status::service(&state, &seen.world, &handle.readiness.borrow(), now, lease);
            let objection = |placed: &rollout::release::Placed| {
                placed.spec.artifact.as_ref().and_then(|digest| artifacts.known_objection(digest))
            };
            let damage = state.stable.as_ref().and_then(|stable| Some((stable, objection(stable)?)));
            let text = |(stable, why): (&rollout::release::Placed, String)| {
                format!(
                    "cannot start replicas of revision {}: {why}. Those that run go on; `medeclipse deploy {}` stores it again",
                    stable.revision, row.service
                )
            };
            let damage = damage.map(text);
            ServiceStatus { damage, ..row }
        }
        Err(Unled::Held(held)) => status::held(&target, &held),
        Err(Unled::Damaged(damage)) => status::damaged(&target, damage),
    }).collect();
    for service in &mut services {
        let rules = guard.iter().filter(|rule| rule.target == service.target);
        service.guard =
            rules.map(|rule| status::guard(rule, api.metrics.guard_of(&rule.target, &rule.rule))).collect();
    }
    Json(Status {
        environment: api.environment.clone(),
        engine: EngineStatus {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            lease_until: Some(api.leadership.until()),
            lease_epoch: api.leadership.lease().epoch,
        },
        api: format!("http://{}", api.address),
        edge,
        services,
        repaired: repaired(),
    })
}

fn repaired() -> Vec<Repaired> {
    let told = |repair: drivers::repairs::Repair| Repaired {
        at: Millis(repair.at),
        file: repair.file,
        text: repair.text,
    };
    drivers::repairs::all().into_iter().map(told).collect()
}

#[derive(Debug, Deserialize)]
pub struct DeploymentsQuery {
    target: Option<Target>,
    limit: Option<usize>,
}

pub async fn deployments(
    State(api): State<Api>,
    Query(query): Query<DeploymentsQuery>,
) -> Result<Json<Vec<DeploymentView>>, ApiError> {
    let mut all = Vec::new();
    for (target, handle) in api.targets.all() {
        if query.target.as_ref().is_some_and(|wanted| *wanted != target) {
            continue;
        }
        if let Ok(handle) = handle {
            all.extend(handle.history().await?);
        }
    }
    all.sort_by_key(|view| std::cmp::Reverse(view.requested_at));
    all.truncate(query.limit.unwrap_or(DEPLOYMENTS_DEFAULT));
    Ok(Json(all))
}

pub async fn deployment(
    State(api): State<Api>,
    Path((target, id)): Path<(Target, String)>,
) -> Result<Json<DeploymentView>, ApiError> {
    let handle = api.targets.handle(&target, New::Refused)?;
    let found = handle.history().await?.into_iter().find(|view| view.deployment.as_str() == id);
    found.map(Json).ok_or_else(|| unknown(&target, &id))
}

pub(super) fn unknown(target: &Target, id: &str) -> ApiError {
    ApiError {
        error: format!("find deployment {id} of {target}"),
        cause: Some("there is none of this name".to_owned()),
        next: Some("see `medeclipse history`".to_owned()),
        exit: 2,
    }
}

#[derive(Debug, Deserialize)]
pub struct TrafficQuery {
    /// Percentages with commas between.
    weights: Option<String>,
}

/// Answers for a target that is known; a calibration that is not made yet takes some 50 ms a weight.
pub async fn traffic(
    State(api): State<Api>,
    Path(target): Path<String>,
    Query(query): Query<TrafficQuery>,
) -> Result<Json<TrafficView>, ApiError> {
    let target: Target = target.parse().map_err(|error: TargetError| ApiError {
        error: error.to_string(),
        cause: None,
        next: Some("name a service and its environment: `web@local`".to_owned()),
        exit: 2,
    })?;
    let weights = query.weights.as_deref().map(weights).transpose()?.unwrap_or_default();
    let handle = api.targets.handle(&target, New::Refused)?;
    let traffic = handle.traffic(weights).await?;
    let state = handle.state.borrow().clone();
    Ok(Json(traffic::view(&state, traffic)))
}

/// Reads `5,25,95`.
pub(super) fn weights(text: &str) -> Result<Vec<Weight>, ApiError> {
    let read =
        |part: &str| Weight::new(part.trim().parse().ok()?).ok().filter(|weight| *weight != Weight::NONE);
    let weights: Option<Vec<Weight>> = text.split(',').take(WEIGHTS_MAX + 1).map(read).collect();
    weights.filter(|weights| weights.len() <= WEIGHTS_MAX).ok_or_else(|| ApiError {
        error: format!("read the weights `{text}`"),
        cause: Some(format!(
            "they are not at most {WEIGHTS_MAX} percentages from 1 to 100 with commas between"
        )),
        next: Some("ask for the weights of a rollout: `weights=5,25,95`".to_owned()),
        exit: 2,
    })
}

#[derive(Debug, Deserialize)]
pub struct LogsQuery {
    target: Target,
    revision: Option<u64>,
    replica: Option<String>,
    lines: Option<usize>,
}

pub async fn logs(
    State(api): State<Api>,
    Query(query): Query<LogsQuery>,
) -> Result<Json<Vec<LogLines>>, ApiError> {
    let platform = api.platform.clone();
    let lines = query.lines.unwrap_or(LINES_DEFAULT).min(LINES_MAX);
    let found = platform
        .logs(&query.target, query.revision.map(Revision), query.replica.map(ReplicaId::new), lines)
        .await;
    let found = found.map_err(|error| unreadable(&error.to_string()))?;
    let each = |log: drivers::platform::process::LogTail| LogLines {
        revision: log.revision,
        replica: log.replica.to_string(),
        path: log.path.display().to_string(),
        lines: log.lines,
    };
    Ok(Json(found.into_iter().map(each).collect()))
}

pub async fn metrics(State(api): State<Api>) -> impl IntoResponse {
    let now = api.clock.now();
    let ready = api.targets.all().into_iter().map(|(target, handle)| {
        let ready = handle.is_ok_and(|handle| {
            let seen = handle.seen.borrow().clone();
            status::rollback(&handle.state.borrow(), &seen.world, &handle.readiness.borrow(), now).0
        });
        (target.to_string(), ready)
    });
    let text = api.metrics.text() + &super::metrics::rollback_ready(ready);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

fn unreadable(why: &str) -> ApiError {
    ApiError {
        error: "read the logs".to_owned(),
        cause: Some(why.to_owned()),
        next: Some("look into the folder `logs` of the state directory".to_owned()),
        exit: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_read_and_what_is_none_is_refused_in_three_parts() {
        let read = weights("5, 25,95").unwrap();
        assert_eq!(read, [5, 25, 95].map(|percent| Weight::new(percent).unwrap()));

        for text in ["", "5,,25", "101", "0", "-1", "five", &"5,".repeat(30)] {
            let error = weights(text).unwrap_err();
            assert_eq!((error.exit, error.cause.is_some(), error.next.is_some()), (2, true, true), "{text}");
        }
    }
}
