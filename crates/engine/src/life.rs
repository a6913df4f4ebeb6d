//! Lives the engine's process: leadership, platform, targets, API; until it is told to shut down, or another one leads.

use crate::api::{self, Api};
use crate::clock::Clock;
use crate::edge_link::EdgeLink;
use crate::leader::{Owner, Terms};
use crate::leadership::Leadership;
use crate::samples;
use crate::space::{self, Space};
use crate::targets::Targets;
use drivers::artifacts::Store;
use drivers::paths::StatePaths;
use drivers::platform::process::{ProcessConfig, ProcessPlatform};
use manifest::edge::EdgeState;
use manifest::service::EnvironmentConfig;
use meter::wire::SecondRecord;
use std::ffi::OsString;
use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;

/// How long the engine waits for an edge at its start, to learn what it last accepted.
const EDGE_WITHIN: Duration = Duration::from_secs(5);
const EDGE_EVERY: Duration = Duration::from_millis(10);
/// How long the port of the API may stay taken by the engine before.
const PORT_WITHIN: Duration = Duration::from_secs(5);
/// Between rotations of logs and looks at the wall clock.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(5);
/// Between signs of life: a small share of the silence after which the supervisor takes an engine for hanging.
const SIGN_EVERY: Duration = Duration::from_secs(1);

/// What an engine needs to know.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    pub paths: StatePaths,
    pub environment: EnvironmentConfig,
    /// Nothing of the environment was running when it was started: unfinished deployments are returned.
    pub fresh: bool,
    /// Program and arguments that start a replica or a task: put before the shim's own arguments.
    pub shim: Vec<OsString>,
    /// How leases live.
    pub terms: Terms,
    /// Called every second while the engine is able to do anything.
    pub sign_of_life: SignOfLife,
}

/// Tells whoever watches the engine that it does not hang.
#[derive(Clone)]
pub struct SignOfLife(pub Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for SignOfLife {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignOfLife")
    }
}

/// Why the engine could not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("start the engine: {what}")]
    Start { what: String, why: String, next: String },
    /// Ended by itself: whoever took over does what is to be done.
    #[error("keep leading: lease_lost")]
    Lost { owner: String, epoch: u64 },
}

impl EngineError {
    fn start(what: &str, why: impl ToString, next: &str) -> Self {
        Self::Start { what: what.to_owned(), why: why.to_string(), next: next.to_owned() }
    }

    pub fn why(&self) -> String {
        match self {
            Self::Start { why, .. } => why.clone(),
            Self::Lost { owner, epoch } => {
                format!(
                    "this engine was silent for the life of its lease, and {owner} took it (epoch {epoch})"
                )
            }
        }
    }

    pub fn next(&self) -> &str {
        match self {
            Self::Start { next, .. } => next,
            Self::Lost { .. } => "nothing: that engine leads; `medeclipse status` names it",
        }
    }
}

/// Runs the engine until it is told to shut down over its API.
pub fn run(config: EngineConfig) -> Result<(), EngineError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| EngineError::start("make its runtime", error, "see the limits of this user"))?;
    let done = runtime.block_on(live(config));
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

async fn live(config: EngineConfig) -> Result<(), EngineError> {
    let state_dir = config.paths.root().to_owned();
    // A task of its own: while journals are read, however long they are, the runtime does this beside it.
    tokio::spawn(give_signs(config.sign_of_life.clone()));
    let clock = Arc::new(Clock::start());
    let leadership = Arc::new(lead(&config, &clock).await?);
    // From here on, also while long journals are read.
    let mut keeping = tokio::spawn({
        let leadership = leadership.clone();
        async move { leadership.keep().await }
    });
    let artifacts = Store::open(state_dir.join("artifacts"))
        .map_err(|error| EngineError::start(&error.to_string(), chain(&error), &error.next()))?;
    let now = {
        let clock = clock.clone();
        Arc::new(move || clock.now())
    };
    let platform = platform(&config, artifacts.clone(), now)?;
    let edge = EdgeLink::new(config.paths.edge_socket());
    let accepted = wait_for_edge(&edge).await;
    let owner = leadership.owner().clone();
    let targets =
        Targets::open(&config, owner, platform.clone(), artifacts, edge.clone(), clock.clone(), accepted);
    // What another engine was in the middle of is gone on with.
    if config.fresh && !leadership.has_waited {
        targets.end_unfinished().await;
    }
    let api_listener = api_listener(&config, &leadership).await?;
    let socket = unix_listener(&config)?;
    let shutdown = Arc::new(Notify::new());
    let api = Api::new(
        &config,
        targets.clone(),
        platform.clone(),
        leadership.clone(),
        shutdown.clone(),
        &api_listener,
    )
    .map_err(|error| {
        EngineError::start("write the API's token", error, "make the state directory writable")
    })?;
    tokio::spawn(feed(edge, targets.clone(), api.clone()));
    let space = Space::of(&state_dir);
    tokio::spawn(housekeep(platform, targets.clone(), leadership.clone(), clock, space));
    let serve = api::serve(api, config.paths.engine_socket(), socket, api_listener);
    tokio::select! {
        () = serve => {}
        () = shutdown.notified() => {}
        lost = &mut keeping => {
            // Sockets and files are the other one's by now: nothing of them is touched.
            targets.give_up().await;
            let lease = lost.expect("BUG: keeping a lease never panics");
            return Err(EngineError::Lost { owner: lease.owner, epoch: lease.epoch });
        }
    }
    keeping.abort();
    leadership.release();
    Ok(())
}

/// Waits until no other engine leads this state directory.
async fn lead(config: &EngineConfig, clock: &Arc<Clock>) -> Result<Leadership, EngineError> {
    let failed = |error: std::io::Error| {
        let next = match error.kind() {
            std::io::ErrorKind::TimedOut => "end that process (`fuser` with this path names it)",
            _ => "make the state directory writable",
        };
        EngineError::start("lead the state directory", error, next)
    };
    let owner = Owner::own().map_err(failed)?;
    Leadership::lead(config.paths.run(), owner, config.terms, clock.clone()).await.map_err(failed)
}

/// Listens for the API on loopback. An engine that was passed over for its silence may still have the port.
async fn api_listener(config: &EngineConfig, leadership: &Leadership) -> Result<TcpListener, EngineError> {
    let until = tokio::time::Instant::now() + PORT_WITHIN;
    loop {
        let error = match TcpListener::bind(config.environment.api).await {
            Ok(listener) => return Ok(listener),
            Err(error) => error,
        };
        if error.kind() != ErrorKind::AddrInUse
            || !leadership.end_who_was_before() && tokio::time::Instant::now() >= until
        {
            return Err(EngineError::start(
                &format!("listen on {} for its API", config.environment.api),
                error,
                "set `api` in the manifest's environment to a free address, or to port 0",
            ));
        }
        tokio::time::sleep(EDGE_EVERY).await;
    }
}

async fn give_signs(sign: SignOfLife) {
    loop {
        (sign.0)();
        tokio::time::sleep(SIGN_EVERY).await;
    }
}

fn platform(
    config: &EngineConfig,
    artifacts: Store,
    now: drivers::platform::process::Clock,
) -> Result<Arc<ProcessPlatform>, EngineError> {
    let platform = ProcessPlatform::new(ProcessConfig {
        state_dir: config.paths.root().to_owned(),
        ports: config.environment.ports,
        host: IpAddr::V4(Ipv4Addr::LOCALHOST),
        shim: config.shim.clone(),
        environment: config.environment.name.clone(),
        artifacts,
        now,
    });
    let platform = platform.map_err(|error| {
        EngineError::start("use the process platform", error, "make the state directory writable")
    })?;
    Ok(Arc::new(platform))
}

/// Returns what the edge serves from; None when no edge answers in time, and then nothing can be compared.
async fn wait_for_edge(edge: &EdgeLink) -> Option<EdgeState> {
    let asking = async {
        loop {
            if let Ok(state) = edge.state().await {
                return state;
            }
            tokio::time::sleep(EDGE_EVERY).await;
        }
    };
    let state = tokio::time::timeout(EDGE_WITHIN, asking).await.ok();
    if state.is_none() {
        crate::log("no edge answers: the heads of the journals are not compared with it");
    }
    state
}

fn unix_listener(config: &EngineConfig) -> Result<UnixListener, EngineError> {
    let path = config.paths.engine_socket();
    // What the engine before this one left goes: killed, or passed over for its silence, it answers nobody there any more.
    api::socket::bind(&path).map_err(|error| {
        EngineError::start(
            &format!("listen on {}", path.display()),
            error,
            "make the state directory writable",
        )
    })
}

/// Hands every second's counts to the targets and the metrics.
async fn feed(edge: EdgeLink, targets: Arc<Targets<ProcessPlatform>>, api: Api) {
    samples::follow(edge, |record: Option<SecondRecord>| {
        if let Some(record) = &record {
            api.metrics.add(record);
        }
        targets.feed(record);
    })
    .await;
}

async fn housekeep(
    platform: Arc<ProcessPlatform>,
    targets: Arc<Targets<ProcessPlatform>>,
    leadership: Arc<Leadership>,
    clock: Arc<Clock>,
    mut space: Space,
) {
    loop {
        tokio::time::sleep(HOUSEKEEPING_EVERY).await;
        // One that was stopped for long would tidy up what another engine needs by now.
        if !leadership.is_fresh() {
            continue;
        }
        if space.is_gone() {
            space::take_back(&targets).await;
        }
        if let Some(by_ms) = clock.step() {
            targets.clock_stepped(by_ms).await;
        }
        if let Err(error) = platform.housekeep().await {
            crate::log(&format!("cannot rotate logs: {error}"));
        }
        targets.collect_garbage().await;
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    error.source().map(ToString::to_string).unwrap_or_default()
}
