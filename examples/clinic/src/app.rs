//! Holds what every request needs and puts the routes together. Decides nothing; the handlers are in `api`.

use crate::cache::Cache;
use crate::config::Config;
use crate::store::Store;
use crate::{api, faults};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Router, middleware};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Bodies of requests that are read whole. An appointment needs 100 bytes.
const BODY_MAX: usize = 16 * 1024;
const VERSION: HeaderName = HeaderName::from_static("x-clinic-version");

/// Where in its life the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Life {
    Serving,
    /// Told to stop: not ready any more, and every answer asks for the end of its connection.
    Draining,
    /// Idle connections, streams and WebSockets end; requests in flight finish.
    Closing,
}

/// What requests share.
pub struct App {
    pub config: Config,
    pub store: Store,
    pub cache: Option<Cache>,
    pub asset: api::assets::Asset,
    started: Instant,
    life: watch::Sender<Life>,
    /// Connections open, WebSockets included.
    open: watch::Sender<usize>,
}

/// Counts one connection as open until dropped.
pub struct Open(Arc<App>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

impl App {
    pub fn new(config: Config, store: Store, cache: Option<Cache>) -> Arc<Self> {
        let asset = api::assets::Asset::new(&config.version);
        let (life, open) = (watch::Sender::new(Life::Serving), watch::Sender::new(0));
        Arc::new(Self { config, store, cache, asset, started: Instant::now(), life, open })
    }

    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn life(&self) -> Life {
        *self.life.borrow()
    }

    pub fn enter(&self, life: Life) {
        self.life.send_replace(life);
    }

    /// Waits until the process is at this point of its life, or past it.
    pub async fn reached(&self, life: Life) {
        let mut watched = self.life.subscribe();
        watched.wait_for(|now| *now >= life).await.expect("BUG: the sender lives in self");
    }

    /// Counts one more open connection.
    pub fn open(self: &Arc<Self>) -> Open {
        self.open.send_modify(|open| *open += 1);
        Open(self.clone())
    }

    pub fn open_count(&self) -> usize {
        *self.open.borrow()
    }

    /// Waits until no connection is open.
    pub async fn empty(&self) {
        let mut watched = self.open.subscribe();
        watched.wait_for(|open| *open == 0).await.expect("BUG: the sender lives in self");
    }
}

/// Puts every route behind the version header and the faults.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(api::assets::page))
        .route("/assets/{name}", get(api::assets::script))
        .route("/api/health", get(api::health::summary))
        .route("/api/health/live", get(api::health::live))
        .route("/api/health/ready", get(api::health::ready))
        .route("/api/health/deep", get(api::health::deep))
        .route("/api/appointments", get(api::appointments::list).post(api::appointments::create))
        .route("/api/appointments/{id}", get(api::appointments::one).delete(api::appointments::remove))
        .route("/api/slots", get(api::appointments::slots))
        .route("/api/slow", get(api::streams::slow))
        .route("/api/echo", post(api::streams::echo))
        .route("/api/events", get(api::streams::events))
        .route("/api/ws", get(api::streams::websocket))
        .fallback(async || api::problem::not_found())
        .method_not_allowed_fallback(async || api::problem::wrong_method())
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn_with_state(app.clone(), faults::inject))
        .layer(middleware::from_fn_with_state(app.clone(), mark))
        .with_state(app)
}

/// Marks every answer with the version, and while draining with the wish to close.
async fn mark(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(VERSION, app.config.version.clone());
    if app.life() != Life::Serving && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
