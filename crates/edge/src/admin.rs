//! Speaks with the engine: HTTP/1.1 and JSON over a Unix socket, as `manifest::edge` says.
//! Refuses other users of the machine; decides nothing.

use crate::control::{Change, Control, Order};
use crate::limits;
use crate::tables::Refusal;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use manifest::edge::{EdgeTable, ProofRequest, Refused, Withdrawal};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

/// Serves the engine for ever.
pub(crate) async fn serve(control: Rc<Control>, listener: UnixListener, orders: mpsc::Sender<Order>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(limits::ACCEPT_REST).await;
            continue;
        };
        if !is_trusted(&stream) {
            continue;
        }
        let (control, orders) = (Rc::clone(&control), orders.clone());
        let service = service_fn(move |request| answer(Rc::clone(&control), orders.clone(), request));
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits::ADMIN_IDLE)
            .serve_connection(TokioIo::new(stream), service);
        // The engine notices a broken connection by itself.
        tokio::task::spawn_local(connection);
    }
}

/// Whether the other side is our own user, or root.
pub(crate) fn is_trusted(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn answer(
    control: Rc<Control>,
    orders: mpsc::Sender<Order>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(route(&control, &orders, request).await.unwrap_or_else(|refusal| {
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        json(status, &refusal.refused)
    }))
}

async fn route(
    control: &Control,
    orders: &mpsc::Sender<Order>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let (head, body) = request.into_parts();
    match (&head.method, head.uri.path()) {
        (&Method::PUT, "/v1/table") => {
            let table: EdgeTable = read(body).await?;
            order(orders, Change::Put(Box::new(table))).await
        }
        (&Method::DELETE, "/v1/table") => {
            let withdrawal: Withdrawal = read(body).await?;
            order(orders, Change::Withdraw(withdrawal)).await
        }
        (&Method::GET, "/v1/state") => Ok(json(StatusCode::OK, &control.state())),
        (&Method::GET, "/v1/samples") => samples(control, head.uri.query().unwrap_or_default()).await,
        (&Method::POST, "/v1/prove") => {
            let ProofRequest { target } = read(body).await?;
            Ok(json(StatusCode::OK, &control.prove(target).await?))
        }
        (method, path) => Err(refusal(404, format!("{method} {path}: the edge has no such call"))),
    }
}

async fn order(orders: &mpsc::Sender<Order>, change: Change) -> Result<Response<Full<Bytes>>, Refusal> {
    let (reply, accepted) = oneshot::channel();
    let stopping = || refusal(503, "change routes: the edge is stopping".to_owned());
    orders.send(Order { change, reply }).await.map_err(|_| stopping())?;
    Ok(json(StatusCode::OK, &accepted.await.map_err(|_| stopping())??))
}

async fn samples(control: &Control, query: &str) -> Result<Response<Full<Bytes>>, Refusal> {
    let number = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let text = pairs.find(|(key, _)| *key == name).map(|(_, value)| value);
        let bad = |_| refusal(400, format!("read `{name}` of the query: it is not a number"));
        text.map(|text| text.parse::<u64>().map_err(bad)).transpose()
    };
    let (epoch, after, wait) = (number("epoch")?, number("after")?, number("wait_ms")?);
    let records = control.samples(epoch, after, Duration::from_millis(wait.unwrap_or(0))).await;
    Ok(json(StatusCode::OK, &records.iter().map(std::sync::Arc::as_ref).collect::<Vec<_>>()))
}

async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, Refusal> {
    let body = Limited::new(body, limits::ADMIN_BODY_BYTES).collect();
    let bytes = body.await.map_err(|error| refusal(413, format!("read the request: {error}")))?.to_bytes();
    serde_json::from_slice(&bytes).map_err(|error| refusal(400, format!("understand the request: {error}")))
}

fn refusal(status: u16, reason: String) -> Refusal {
    Refusal { status, refused: Refused { reason, accepted: None } }
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    let bytes = serde_json::to_vec(value).expect("BUG: types of the protocol are JSON");
    let mut response = Response::new(Full::new(bytes.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
