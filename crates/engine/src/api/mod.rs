//! Speaks HTTP: commands over the Unix socket in the state directory, views over loopback. Decides nothing.
//! `post` takes commands (`body` reads them), `get` shows, `events` streams the journals, `evidence` tells one deployment, `access` says who may.

mod access;
mod body;
mod events;
mod evidence;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod get;
mod metrics;
mod post;
pub mod socket;
pub mod wire;

pub use metrics::Metrics;

use crate::clock::Clock;
use crate::edge_link::EdgeLink;
use crate::leadership::Leadership;
use crate::life::EngineConfig;
use crate::targets::Targets;
use axum::Router;
use axum::routing::{get as on_get, post as on_post};
use drivers::paths::StatePaths;
use drivers::platform::process::ProcessPlatform;
use drivers::repairs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;

/// Everything a request can reach.
#[derive(Clone)]
pub struct Api {
    pub targets: Arc<Targets<ProcessPlatform>>,
    pub platform: Arc<ProcessPlatform>,
    pub edge: EdgeLink,
    pub leadership: Arc<Leadership>,
    pub clock: Arc<Clock>,
    pub metrics: Arc<Metrics>,
    pub environment: String,
    pub address: SocketAddr,
    pub shutdown: Arc<Notify>,
    token: Arc<str>,
}

impl Api {
    /// Makes the API of an engine; its token lies in the state directory, readable for its owner alone.
    pub fn new(
        config: &EngineConfig,
        targets: Arc<Targets<ProcessPlatform>>,
        platform: Arc<ProcessPlatform>,
        leadership: Arc<Leadership>,
        shutdown: Arc<Notify>,
        listener: &TcpListener,
    ) -> io::Result<Self> {
        let (edge, clock) = (targets.edge.clone(), targets.clock.clone());
        Ok(Self {
            targets,
            platform,
            edge,
            leadership,
            clock,
            metrics: Arc::new(Metrics::default()),
            environment: config.environment.name.clone(),
            address: listener.local_addr()?,
            shutdown,
            token: token(&config.paths)?.into(),
        })
    }
}

/// Serves until the process ends: the Unix socket may command, loopback may look, or command with the token.
pub async fn serve(api: Api, path: PathBuf, socket: UnixListener, listener: TcpListener) {
    let views = Router::new()
        .route("/v1/status", on_get(get::status))
        .route("/v1/deployments", on_get(get::deployments))
        .route("/v1/deployments/{target}/{id}", on_get(get::deployment))
        .route("/v1/deployments/{target}/{id}/evidence", on_get(evidence::bundle))
        .route("/v1/traffic/{target}", on_get(get::traffic))
        .route("/v1/logs", on_get(get::logs))
        .route("/v1/events", on_get(events::stream))
        .route("/metrics", on_get(get::metrics));
    let commands = Router::new()
        .route("/v1/deploy", on_post(post::deploy))
        .route("/v1/command", on_post(post::command))
        .route("/v1/settings", on_post(post::settings))
        .route("/v1/shutdown", on_post(post::shutdown));
    let local = views.clone().merge(commands.clone()).with_state(api.clone());
    let guarded = commands.layer(axum::middleware::from_fn_with_state(api.clone(), access::needs_token));
    let remote = views
        .merge(guarded)
        .layer(axum::middleware::from_fn_with_state(api.clone(), access::is_loopback_name))
        .with_state(api);
    let over_socket = socket::keep(path, socket, local);
    let over_tcp = axum::serve(listener, remote.into_make_service_with_connect_info::<access::Peer>());
    // Neither ends by itself; when one does, the other goes on alone.
    let _ = tokio::join!(over_socket, over_tcp.into_future());
}

/// Returns the token of the state directory, made at the first start and where it is no token any more. A changed digit
/// makes another token of it, as good as the first: whoever knew that one reads the file again.
fn token(paths: &StatePaths) -> io::Result<String> {
    use std::io::{Read, Write};
    use std::os::unix::fs::OpenOptionsExt;
    let path = paths.root().join("token");
    match std::fs::read(&path) {
        Ok(token) if is_token(&token) => return Ok(String::from_utf8_lossy(&token).trim().to_owned()),
        Ok(_) => {
            repairs::note(
                &path,
                "it was no token any more: a new one is in it, read it again where you use it",
            );
            std::fs::remove_file(&path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut bytes = [0u8; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let token = drivers::files::hex(&bytes);
    let mut file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path)?;
    file.write_all(token.as_bytes())?;
    Ok(token)
}

fn is_token(bytes: &[u8]) -> bool {
    let token = bytes.trim_ascii();
    token.len() == 64 && token.iter().all(u8::is_ascii_hexdigit)
}
