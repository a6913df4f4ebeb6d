//! Answers that take their time: a slow one, an echo, server-sent events, a WebSocket. Holds one message of each in
//! memory at most; when the server closes, streams end with an orderly goodbye.

use super::problem::Problem;
use crate::app::{App, Life, Open};
use axum::Json;
use axum::body::Body;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// The longest a slow answer takes.
const SLOW_MAX: Duration = Duration::from_secs(30);
/// Between two events.
const TICK: Duration = Duration::from_secs(1);
/// How long a browser shall wait before it connects again.
const RETRY: Duration = Duration::from_secs(2);
/// Longest message of a WebSocket.
const MESSAGE_MAX: usize = 64 * 1024;
/// How long a goodbye may take to be written and answered.
const GOODBYE: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
pub struct Slow {
    #[serde(default)]
    ms: u64,
}

/// Answers after the given time, 30 s at most.
pub async fn slow(
    query: Result<Query<Slow>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Slow { ms }) =
        query.map_err(|error| Problem::invalid(error.body_text(), "write /api/slow?ms=250"))?;
    let wait = Duration::from_millis(ms).min(SLOW_MAX);
    tokio::time::sleep(wait).await;
    Ok(Json(json!({ "waited_ms": wait.as_millis() as u64 })).into_response())
}

/// Sends the body back while it arrives, at the speed at which the client reads.
pub async fn echo(request: Request) -> Response {
    let octets = HeaderValue::from_static("application/octet-stream");
    let kind = request.headers().get(header::CONTENT_TYPE).cloned().unwrap_or(octets);
    let mut response = Response::new(Body::new(request.into_body()));
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Sends one numbered event a second until the client leaves. A client that comes back with `Last-Event-ID` goes on
/// counting from there.
pub async fn events(State(app): State<Arc<App>>, headers: HeaderMap) -> impl IntoResponse {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let no_buffer = [("x-accel-buffering", "no")];
    (no_buffer, Sse::new(ticks(app, last.unwrap_or(0))))
}

fn ticks(app: Arc<App>, last: u64) -> impl Stream<Item = Result<Event, Infallible>> {
    let mut clock = interval(TICK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
    stream::unfold((app, clock, last, true), |(app, mut clock, last, first)| async move {
        tokio::select! {
            biased;
            () = app.reached(Life::Closing) => return None,
            _ = clock.tick() => {}
        }
        let id = last.wrapping_add(1);
        let data = json!({ "n": id, "version": app.config.version.to_str().unwrap_or_default() });
        let event = Event::default().event("tick").id(id.to_string()).data(data.to_string());
        let event = if first { event.retry(RETRY) } else { event };
        Some((Ok(event), (app, clock, id, false)))
    })
}

/// Sends every message back, and a ping now and then.
pub async fn websocket(State(app): State<Arc<App>>, upgrade: WebSocketUpgrade) -> Response {
    // The connection leaves the server's hands with the answer, so it is counted from here on.
    let open = app.open();
    upgrade
        .max_message_size(MESSAGE_MAX)
        .max_frame_size(MESSAGE_MAX)
        .on_upgrade(move |socket| converse(app, open, socket))
}

async fn converse(app: Arc<App>, open: Open, mut socket: WebSocket) {
    let mut pings = interval(app.config.ping);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings.reset();
    loop {
        let reply = tokio::select! {
            () = app.reached(Life::Closing) => break goodbye(&mut socket).await,
            _ = pings.tick() => Message::Ping(axum::body::Bytes::new()),
            message = socket.recv() => match message {
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => message,
                // Pings are answered by the library, which also ends the stream after a close.
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => break,
            },
        };
        // A client that does not read for this long is gone.
        if !matches!(timeout(SLOW_MAX, socket.send(reply)).await, Ok(Ok(()))) {
            break;
        }
    }
    drop(open);
}

/// Says that the server goes away (1001), and gives the client a moment to say it has heard.
async fn goodbye(socket: &mut WebSocket) {
    let frame = CloseFrame { code: close_code::AWAY, reason: "the server stops".into() };
    let said = async {
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    timeout(GOODBYE, said).await.unwrap_or(());
}
