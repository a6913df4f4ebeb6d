//! Speaks with the engine (and the edge's admin side): JSON over HTTP/1.1 over a Unix socket. Every request has a
//! deadline; nothing is tried twice here, see `follow` for that. The shapes are in `engine::api::wire`.

use crate::exit::{self, Failure};
use bytes::Bytes;
use engine::api::wire::ApiError;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// How long an answer may take. The engine answers from memory; a disk that stalls is the slowest case.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// The largest answer read: log lines of many replicas.
const BODY_BYTES_MAX: usize = 64 << 20;

/// One socket and how long to wait on it.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    deadline: Duration,
    bytes_max: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens: the request was certainly not taken.
    #[error("reach the engine at {}", socket.display())]
    Unreachable { socket: PathBuf, source: std::io::Error },
    /// The connection ended before the answer did: the request may have been taken.
    #[error("get an answer from the engine")]
    Broken { cause: String },
    #[error("get an answer from the engine within {}", crate::units::spoken(*.0))]
    TimedOut(Duration),
    #[error("{}", .0.error)]
    Refused(Box<ApiError>),
    #[error("read the engine's answer to {request}")]
    Unreadable { request: String, cause: String },
}

impl ClientError {
    /// Whether asking again may help: nothing was said about the request itself.
    pub fn is_transport(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Broken { .. } | Self::TimedOut(_))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let text = error.to_string();
        match error {
            ClientError::Unreachable { source, .. } => Failure::new(exit::UNREACHABLE, text)
                .because(source)
                .then("is `medeclipse up` running? start it with `medeclipse up --detach`; the same --state everywhere"),
            ClientError::Broken { cause } => Failure::new(exit::UNREACHABLE, text)
                .because(cause)
                .then("it may have been restarted just now: look with `medeclipse status`, then try again"),
            ClientError::TimedOut(_) => Failure::new(exit::UNREACHABLE, text)
                .because("it accepted the request and stayed silent")
                .then("look with `medeclipse status`; logs/engine.log in the state directory says what it does"),
            ClientError::Refused(error) => (*error).into(),
            ClientError::Unreadable { cause, .. } => Failure::new(exit::BUG, text)
                .because(cause)
                .then("engine and command may be of different versions: restart with `medeclipse down` and `up`"),
        }
    }
}

impl Client {
    pub fn new(socket: &Path, deadline: Duration) -> Self {
        Self { socket: socket.to_owned(), deadline, bytes_max: BODY_BYTES_MAX }
    }

    /// Returns the same client with another deadline.
    pub fn within(&self, deadline: Duration) -> Self {
        Self { deadline, ..self.clone() }
    }

    /// Returns the same client for answers of this size at most.
    pub fn reading(&self, bytes_max: usize) -> Self {
        Self { bytes_max, ..self.clone() }
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// Returns an answer as it came.
    pub async fn get_text(&self, path: &str) -> Result<Bytes, ClientError> {
        self.bounded(self.body(Method::GET, path, Bytes::new())).await
    }

    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).expect("BUG: a request of ours has a JSON form");
        self.ask(Method::POST, path, body.into()).await
    }

    /// Opens a stream; its head must come within the deadline, its body may take for ever.
    pub async fn stream(&self, path: &str) -> Result<Incoming, ClientError> {
        let opened = async {
            let (status, body) = self.send(Method::GET, path, Bytes::new()).await?;
            if status.is_success() {
                Ok(body)
            } else {
                Err(refused(path, status, &collect(path, body, self.bytes_max).await?))
            }
        };
        self.bounded(opened).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let answered = async {
            let body = self.body(method, path, body).await?;
            // An empty answer stands for `null`, which is `()`.
            let text: &[u8] = if body.is_empty() { b"null" } else { &body };
            serde_json::from_slice(text).map_err(|error| unreadable(path, error))
        };
        self.bounded(answered).await
    }

    async fn body(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let (status, body) = self.send(method, path, body).await?;
        let body = collect(path, body, self.bytes_max).await?;
        if status.is_success() { Ok(body) } else { Err(refused(path, status, &body)) }
    }

    async fn bounded<T>(&self, work: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
        tokio::time::timeout(self.deadline, work)
            .await
            .unwrap_or_else(|_| Err(ClientError::TimedOut(self.deadline)))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Incoming), ClientError> {
        let unreachable = |source| ClientError::Unreachable { socket: self.socket.clone(), source };
        let stream = UnixStream::connect(&self.socket).await.map_err(unreachable)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends with the connection; its error reaches the caller through the request or the body.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| unreadable(path, error))?;
        let answer = sender.send_request(request).await.map_err(broken)?;
        Ok((answer.status(), answer.into_body()))
    }
}

async fn collect(path: &str, body: Incoming, bytes_max: usize) -> Result<Bytes, ClientError> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(unreadable(path, error)),
        Err(error) => Err(ClientError::Broken { cause: error.to_string() }),
    }
}

fn broken(error: hyper::Error) -> ClientError {
    ClientError::Broken { cause: error.to_string() }
}

fn unreadable(request: &str, error: impl std::fmt::Display) -> ClientError {
    ClientError::Unreadable { request: request.to_owned(), cause: error.to_string() }
}

/// Reads a refusal; one that is no `ApiError` keeps its status and the beginning of its text.
fn refused(path: &str, status: StatusCode, body: &[u8]) -> ClientError {
    match serde_json::from_slice::<ApiError>(body) {
        Ok(error) => ClientError::Refused(Box::new(error)),
        Err(_) => {
            let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
            unreadable(path, format!("it answered {status}: {text}"))
        }
    }
}

/// Builds `PATH?name=value&…` from the pairs that have a value.
pub fn with_query(path: &str, pairs: &[(&str, Option<String>)]) -> String {
    let mut whole = path.to_owned();
    for (name, value) in pairs {
        let Some(value) = value else { continue };
        let separator = if whole.contains('?') { '&' } else { '?' };
        let _ = write!(whole, "{separator}{name}={}", encoded(value));
    }
    whole
}

/// Percent-encodes everything but RFC 3986's unreserved characters and those a cursor is made of.
pub fn encoded(text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' | b':' | b',' => {
                whole.push(byte.into());
            }
            _ => {
                let _ = write!(whole, "%{byte:02X}");
            }
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_query_cannot_add_to_it() {
        let path = with_query(
            "/v1/logs",
            &[("target", Some("web@local".into())), ("replica", Some("a&b=c d".into())), ("lines", None)],
        );

        assert_eq!(path, "/v1/logs?target=web@local&replica=a%26b%3Dc%20d");
    }

    #[test]
    fn a_socket_nobody_listens_on_ends_with_seven_and_the_next_step() {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::new(&folder.path().join("none.sock"), DEADLINE);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

        let failure: Failure = runtime.block_on(client.get::<()>("/v1/status")).unwrap_err().into();

        assert_eq!(failure.exit, exit::UNREACHABLE);
        assert!(failure.next.unwrap().contains("medeclipse up --detach"));
    }
}
