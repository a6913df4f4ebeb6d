//! Proves who answers now: sends one request the way a user's would go and reads the replica's answer.
//! Counts nothing: a proof is not traffic.

use crate::body::{Progress, Upload};
use crate::exchange::{self, Order};
use crate::grpc;
use crate::headers;
use crate::limits;
use crate::split;
use crate::worker::Worker;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::Full;
use manifest::edge::Proof;
use rollout::names::Target;
use rollout::release::Protocol;
use rollout::routes::RouteTable;
use std::rc::Rc;
use std::sync::Arc;

/// Returns who answered, or why nobody did, as a fragment that fits after "cannot prove who serves: ".
pub(crate) async fn prove(worker: &Rc<Worker>, target: &Target) -> Result<Proof, String> {
    let known = worker.routes.borrow().target(target).map(Arc::clone);
    let routed = known.ok_or_else(|| format!("the edge has no table of {target}"))?;
    let arm = split::serving(&routed).ok_or_else(|| format!("nothing of {target} serves"))?;
    let is_grpc = arm.protocol == Protocol::Grpc;
    let otherwise = if is_grpc { grpc::HEALTH } else { "/" };
    let path = routed.routes().health_path.as_deref().unwrap_or(otherwise);
    let mut order = Order {
        target,
        revision: arm.revision,
        method: Method::GET,
        path: PathAndQuery::try_from(path).map_err(|_| format!("`{path}` is not a path"))?,
        headers: heads(worker, routed.routes()),
        upgrade: headers::Upgrade::None,
        // The proof of a full service is still a proof.
        is_health: true,
    };
    let mut body = Upload::Empty;
    if is_grpc {
        order.method = Method::POST;
        order.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        order.headers.insert(header::TE, HeaderValue::from_static("trailers"));
        body = Upload::Own(Full::from(grpc::EMPTY_MESSAGE));
    }
    let progress = Progress::new();
    let exchanging = exchange::exchange(worker, &order, body, &progress, |_| {});
    let exchanged = tokio::time::timeout(limits::PROVE, exchanging)
        .await
        .map_err(|_| format!("no answer within {} s", limits::PROVE.as_secs()))?
        .map_err(|failure| failure.map().why)?;
    Ok(Proof {
        release: arm.release.clone(),
        revision: arm.revision,
        replica: exchanged.claim.replica().name.clone(),
        status: exchanged.response.status().as_u16(),
        generation: routed.table.generation,
    })
}

fn heads(worker: &Worker, routes: &RouteTable) -> HeaderMap {
    let host = routes.hosts.first().map_or("localhost".to_owned(), |host| host.replace('*', "www"));
    let host = HeaderValue::try_from(host).unwrap_or(HeaderValue::from_static("localhost"));
    let mut heads = HeaderMap::new();
    heads.insert(header::HOST, host);
    heads.insert(headers::REQUEST_ID, headers::new_request_id(&worker.random));
    heads.insert(header::USER_AGENT, HeaderValue::from_static("medeclipse-edge (proof)"));
    heads
}
