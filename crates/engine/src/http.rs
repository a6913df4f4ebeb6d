//! Asks one question over HTTP, in the protocol of whom is asked: a connection, a request, an answer, within a deadline. Retries nothing.

mod http2;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rollout::release::Protocol;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// Answers are small; a larger one is refused.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Nobody answered, or not in time.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error("{0}")]
    Failed(String),
}

/// Asks over TCP in the replica's protocol; returns the status and drops the body.
pub async fn ask_tcp(
    address: SocketAddr,
    protocol: Protocol,
    path: &str,
    within: Duration,
) -> Result<StatusCode, AskError> {
    let question = async {
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        match protocol {
            Protocol::Http1 => {
                let request = request(Method::GET, path, &address.to_string(), Bytes::new())?;
                let (status, _) = exchange(stream, request).await?;
                Ok(status)
            }
            Protocol::H2c => http2::get(stream, &address.to_string(), path).await,
            Protocol::Grpc => http2::check(stream, &address.to_string(), path).await,
        }
    };
    timeout(within, question).await.map_err(|_| AskError::Late(within))?
}

/// Asks over a Unix socket; returns the status and the whole body.
pub async fn ask_unix(
    socket: &Path,
    method: Method,
    path: &str,
    body: Vec<u8>,
    within: Duration,
) -> Result<(StatusCode, Bytes), AskError> {
    let question = async {
        let stream = UnixStream::connect(socket).await.map_err(failed)?;
        exchange(stream, request(method, path, "medeclipse", body.into())?).await
    };
    timeout(within, question).await.map_err(|_| AskError::Late(within))?
}

fn request(method: Method, path: &str, host: &str, body: Bytes) -> Result<Request<Full<Bytes>>, AskError> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", host)
        .header("connection", "close")
        .header("user-agent", "medeclipse-probe")
        .header("content-type", "application/json")
        .body(Full::new(body))
        .map_err(failed)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), AskError> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let driver = tokio::spawn(connection);
    let answer = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(failed)?;
        Ok((status, body.to_bytes()))
    };
    let answer = answer.await;
    driver.abort();
    answer
}

fn failed(error: impl ToString) -> AskError {
    AskError::Failed(error.to_string())
}
