//! Asks whoever knows which names are ours whether a certificate may be ordered for one. Follows no redirect, reads no body,
//! and waits for nobody longer than a bound: only status 200 in time is a yes.

use crate::limits;
use http::{Request, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// What was said of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Yes,
    No,
    /// Nothing in time, or that something is wrong: asked again sooner.
    Nothing(String),
}

pub(super) async fn ask(allow: &str, name: &str) -> Said {
    match tokio::time::timeout(limits::ON_DEMAND_ASK, send(allow, name)).await {
        Ok(Ok(StatusCode::OK)) => Said::Yes,
        Ok(Ok(status)) if status.is_server_error() => Said::Nothing(format!("it answered {status}")),
        Ok(Ok(_)) => Said::No,
        Ok(Err(why)) => Said::Nothing(why),
        Err(_) => Said::Nothing(format!("no answer within {} s", limits::ON_DEMAND_ASK.as_secs())),
    }
}

async fn send(allow: &str, name: &str) -> Result<StatusCode, String> {
    let address: Uri = allow.parse().map_err(|error| format!("it is no address: {error}"))?;
    let host = address.host().unwrap_or_default();
    let at = (host.trim_matches(['[', ']']), address.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(at).await.map_err(|error| format!("no connection: {error}"))?;
    let path = if address.path().is_empty() { "/" } else { address.path() };
    let request = Request::get(format!("{path}?host={name}"))
        .header(header::HOST, address.authority().map_or(host, http::uri::Authority::as_str))
        .header(header::USER_AGENT, "medeclipse-edge (on demand)")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("it cannot be asked: {error}"))?;
    let broken = |error: hyper::Error| format!("it broke off: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let answered = async { Ok(sender.send_request(request).await.map_err(broken)?.status()) };
    let mut answered = std::pin::pin!(answered);
    tokio::select! {
        biased;
        answered = answered.as_mut() => answered,
        // The answer may have come with the end.
        ended = connection => match ended {
            Ok(()) => answered.await,
            Err(error) => Err(broken(error)),
        },
    }
}
