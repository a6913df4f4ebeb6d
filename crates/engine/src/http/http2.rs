//! Asks replicas that speak HTTP/2 without TLS: a path, or a method of gRPC. One stream of one connection.
//! A gRPC answer says 200 also when it failed: what counts is `grpc-status`, and what a health check says.

use super::{ANSWER_BYTES_MAX, AskError, failed};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// An empty message: not compressed, no bytes.
const EMPTY: &[u8] = &[0, 0, 0, 0, 0];
/// What the health service of gRPC is called (grpc.health.v1).
const HEALTH: &str = "/grpc.health.v1.Health/Check";
/// The head of a message, then field 1 as a number: `status`, 1 is SERVING.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];

/// Asks for a path.
pub async fn get(stream: TcpStream, host: &str, path: &str) -> Result<StatusCode, AskError> {
    let request = Request::get(format!("http://{host}{path}")).header("user-agent", "medeclipse-probe");
    let asked = exchange(stream, request.body(Full::default()).map_err(failed)?).await?;
    Ok(asked.status)
}

/// Calls a method with an empty message. Answers 503 for whatever gRPC does not call well.
pub async fn check(stream: TcpStream, host: &str, path: &str) -> Result<StatusCode, AskError> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://{host}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "medeclipse-probe");
    let asked = exchange(stream, request.body(Full::from(EMPTY)).map_err(failed)?).await?;
    let status = asked.trailers.get("grpc-status").or(asked.headers.get("grpc-status"));
    let well = status.is_some_and(|status| status == "0") && (path != HEALTH || asked.body == SERVING);
    let unwell = if asked.status == StatusCode::OK { StatusCode::SERVICE_UNAVAILABLE } else { asked.status };
    Ok(if well { asked.status } else { unwell })
}

struct Asked {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
}

async fn exchange(stream: TcpStream, request: Request<Full<Bytes>>) -> Result<Asked, AskError> {
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.map_err(failed)?;
    let driver = tokio::spawn(connection);
    let answer = async {
        let response: Response<Incoming> = sender.send_request(request).await.map_err(failed)?;
        let (head, body) = response.into_parts();
        let collected = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(failed)?;
        let trailers = collected.trailers().cloned().unwrap_or_default();
        Ok(Asked { status: head.status, headers: head.headers, body: collected.to_bytes(), trailers })
    };
    let answer = answer.await;
    driver.abort();
    answer
}
