//! Says who speaks and what that allows: the peer's user on the Unix socket, the token on loopback.

use super::Api;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use rollout::names::Actor;
use tokio::net::{TcpListener, UnixListener};

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// User id on the Unix socket; None over TCP.
    uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: stream.io().peer_cred().ok().map(|credentials| credentials.uid()) }
    }
}

impl Connected<IncomingStream<'_, TcpListener>> for Peer {
    fn connect_info(_: IncomingStream<'_, TcpListener>) -> Self {
        Self { uid: None }
    }
}

/// The actor that events record.
pub struct Who(pub Actor);

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let uid = parts.extensions.get::<ConnectInfo<Peer>>().and_then(|peer| peer.0.uid);
        Ok(Who(Actor::new(uid.map_or_else(|| "token".to_owned(), |uid| format!("uid:{uid}")))))
    }
}

/// Lets commands over TCP pass only with the token of the state directory.
pub async fn needs_token(State(api): State<Api>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if same(given.as_bytes(), api.token.as_bytes()) {
        return next.run(request).await;
    }
    let text = "commands over TCP need `Authorization: Bearer` with the token of the state directory\n";
    (StatusCode::UNAUTHORIZED, text).into_response()
}

/// Refuses requests that a web page elsewhere makes a browser send: another Host, or another Origin.
pub async fn is_loopback_name(State(api): State<Api>, request: Request, next: Next) -> Response {
    let port = api.address.port();
    let allowed = [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::1]:{port}")];
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let origin = request.headers().get(header::ORIGIN).map(|value| value.to_str().unwrap_or_default());
    let origin_is_ours =
        origin.is_none_or(|origin| allowed.iter().any(|name| origin == format!("http://{name}")));
    if allowed.iter().any(|name| name == host) && origin_is_ours {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "this API answers only to its own loopback name\n").into_response()
}

/// Compares without telling by its duration where the first difference is.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn only_the_whole_token_is_the_token() {
        assert!(same(b"secret", b"secret"));
        assert!(!same(b"secre", b"secret"));
        assert!(!same(b"", b"secret"));
        assert!(!same(b"secreT", b"secret"));
    }
}
