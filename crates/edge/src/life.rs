//! Starts an edge, stops it gracefully, and says what went wrong. The life of the process, top to bottom.
//! Refuses to start half: sockets, store and log are opened before the first worker runs.

use crate::access_log::AccessLog;
use crate::complain::complain;
use crate::config::EdgeConfig;
use crate::control::{Control, Secured};
use crate::count::Shard;
use crate::door::Door;
use crate::guard::table::Table;
use crate::random::Random;
use crate::repeats::Repeats;
use crate::seal::Seal;
use crate::sockets::{SocketFile, keep};
use crate::stop::Stop;
use crate::store::Store;
use crate::tables::Tables;
use crate::tls::Tls;
use crate::worker::{self, Command, Setup};
use crate::{admin, clock, handover, limits};
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

/// Why an edge cannot start, or ended by itself. Each fits after "cannot".
#[derive(Debug, Error)]
pub enum EdgeError {
    #[error("start the edge: it was given no listening socket")]
    NoListener,
    #[error("open the tables in {path}")]
    Store {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("listen on {path}")]
    Socket {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("write the access log {path}")]
    Log {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{what}")]
    Tls {
        what: String,
        next: String,
        #[source]
        source: io::Error,
    },
    #[error("start the edge's threads")]
    Threads(#[source] io::Error),
    #[error("keep the edge running: a thread of it ended by itself, which is a bug")]
    Ended,
}

impl EdgeError {
    /// Says what to do next.
    pub fn next(&self) -> &str {
        match self {
            Self::NoListener | Self::Ended => "report this, with what the edge wrote on standard error",
            Self::Store { .. } | Self::Log { .. } => "check the folder's owner, permissions and free space",
            Self::Socket { .. } => "check that no other edge uses this state directory",
            Self::Tls { next, .. } => next,
            Self::Threads(_) => "raise the limits of open files and processes (`ulimit -n`, `ulimit -u`)",
        }
    }
}

/// Runs an edge until SIGTERM, then lets its requests finish. SIGINT is left to the supervisor.
///
/// # Errors
/// What [`Edge::start`] refuses, and [`EdgeError::Ended`].
pub fn run(config: EdgeConfig) -> Result<(), EdgeError> {
    raise_open_files();
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let mut terminate = signal(SignalKind::terminate()).map_err(EdgeError::Threads)?;
    let _interrupt = signal(SignalKind::interrupt()).map_err(EdgeError::Threads)?;
    let edge = Edge::start(config)?;
    let mut stop = edge.stop.subscribe();
    runtime.block_on(async {
        loop {
            tokio::select! {
                _ = terminate.recv() => edge.told_to_end(),
                () = ended(&edge, &mut stop) => return,
            }
        }
    });
    edge.stop();
    edge.join()
}

/// Waits until the edge is asked to end, or has ended by itself. One that was replaced goes on for a while, as long as
/// somebody serves in its place.
async fn ended(edge: &Edge, stop: &mut watch::Receiver<Stop>) {
    let mut alone = 0;
    loop {
        let told = *stop.borrow_and_update();
        match told {
            Stop::Ending { .. } => return,
            Stop::Replaced { .. } if edge.workers.iter().all(JoinHandle::is_finished) => return,
            Stop::Replaced { .. } if alone >= limits::LIFE_LOOKS_ALONE => return,
            Stop::Replaced { .. } => {
                alone = if edge.is_followed() { 0 } else { alone + 1 };
                tokio::time::sleep(limits::LIFE_LOOK).await;
            }
            // An error means that nobody can stop us any more, which `Ending` was.
            Stop::No => drop(stop.changed().await),
        }
    }
}

/// Every connection is a descriptor or two; the soft limit of 1024 is for programs that use `select`.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        complain(format_args!(
            "cannot raise the limit of open files: {error}; serving with {:?}",
            limit.current
        ));
    }
}

/// A running edge.
#[derive(Debug)]
pub struct Edge {
    stop: watch::Sender<Stop>,
    /// Tells the control thread that no worker runs any more.
    workers_gone: watch::Sender<bool>,
    workers: Vec<JoinHandle<bool>>,
    control: JoinHandle<bool>,
    log: Option<JoinHandle<()>>,
    sockets: [SocketFile; 2],
}

impl Edge {
    /// Starts an edge; on return it serves from the tables on disk.
    ///
    /// # Errors
    /// A store, socket or log that cannot be opened, and threads that cannot be started.
    pub fn start(config: EdgeConfig) -> Result<Self, EdgeError> {
        if config.listeners.is_empty() {
            return Err(EdgeError::NoListener);
        }
        let folder = config.state_dir.join("edge");
        let store_error = |source| EdgeError::Store { path: folder.clone(), source };
        let store = Store::open(folder.clone()).map_err(store_error)?;
        let (tables, complaints) = Tables::restore(store.load().map_err(store_error)?);
        for complaint in complaints {
            complain(format_args!("cannot {complaint}; left out until the engine sends it again"));
        }
        let tls = Tls::start(&config)?;
        let bind = |path: &PathBuf| {
            SocketFile::bind(path).map_err(|source| EdgeError::Socket { path: path.clone(), source })
        };
        let sockets = [bind(&config.admin_socket)?, bind(&config.handover_socket)?];
        let (access_log, log) = match &config.access_log {
            None => (None, None),
            Some(path) => {
                let started = AccessLog::start(path);
                let (log, thread) =
                    started.map_err(|source| EdgeError::Log { path: path.clone(), source })?;
                (Some(log), Some(thread))
            }
        };
        let (stop, _) = watch::channel(Stop::No);
        let (workers_gone, _) = watch::channel(false);
        let (senders, shards, workers) = start_workers(&config, &tables, tls.as_ref(), access_log, &stop)?;
        let secured = tls.map(|tls| {
            let with_tls = |socket: &&TcpListener| {
                socket.local_addr().is_ok_and(|address| !config.plain.contains(&address))
            };
            Secured { tls, listen: addresses(config.listeners.iter().filter(with_tls)) }
        });
        let listeners = Arc::new(config.listeners);
        let parts = Parts { tables, store, senders, shards, sockets: sockets.clone(), listeners, secured };
        let control = start_control(parts, &stop, workers_gone.subscribe())?;
        Ok(Self { stop, workers_gone, workers, control, log, sockets })
    }

    /// Stops accepting and lets what is in flight finish. Twice is once.
    pub fn stop(&self) {
        order(&self.stop, Stop::Ending { since: clock::now() });
    }

    /// Stops accepting because another edge serves: long connections stay as long as their policy says, or until
    /// [`Edge::stop`].
    pub fn retire(&self) {
        order(&self.stop, Stop::Replaced { since: clock::now() });
    }

    /// Carries out a SIGTERM. Whoever replaces an edge takes the place of its socket before.
    fn told_to_end(&self) {
        if self.is_followed() { self.retire() } else { self.stop() }
    }

    fn is_followed(&self) -> bool {
        let [admin, _] = &self.sockets;
        admin.is_replaced()
    }

    /// Waits until the edge has ended after [`Edge::stop`].
    ///
    /// # Errors
    /// [`EdgeError::Ended`] when a thread ended by itself.
    pub fn join(self) -> Result<(), EdgeError> {
        let well = |thread: JoinHandle<bool>| thread.join().unwrap_or(false);
        let workers: Vec<bool> = self.workers.into_iter().map(well).collect();
        self.workers_gone.send_replace(true);
        let control = well(self.control);
        if let Some(log) = self.log {
            // The log thread only writes; its panic has been printed.
            let _ = log.join();
        }
        for socket in self.sockets {
            socket.remove();
        }
        if control && workers.into_iter().all(|ended| ended) { Ok(()) } else { Err(EdgeError::Ended) }
    }
}

type Started = (Vec<mpsc::Sender<Command>>, Vec<Arc<Shard>>, Vec<JoinHandle<bool>>);

fn start_workers(
    config: &EdgeConfig,
    tables: &Tables,
    tls: Option<&Arc<Tls>>,
    access_log: Option<AccessLog>,
    stop: &watch::Sender<Stop>,
) -> Result<Started, EdgeError> {
    let (routes, repeats) = (Arc::new(tables.routes()), Arc::<Repeats>::default());
    let buckets = Arc::<Table>::default();
    let seal = Arc::new(Seal::open(&config.state_dir.join("edge")));
    let count = config.workers.max(1);
    let (mut senders, mut shards, mut workers) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..count {
        let (sender, commands) = mpsc::channel(limits::WORKER_QUEUE);
        let shard = Arc::new(Shard::default());
        let setup = Setup {
            listeners: share(config, tls, index, count).map_err(EdgeError::Threads)?,
            routes: Arc::clone(&routes),
            commands,
            shard: Arc::clone(&shard),
            repeats: Arc::clone(&repeats),
            buckets: Arc::clone(&buckets),
            seal: Arc::clone(&seal),
            challenges: tls.and_then(|tls| tls.challenges()),
            access_log: access_log.clone(),
            waits: config.waits,
            forwarded: config.forwarded,
            stop: stop.subscribe(),
        };
        workers.push(spawn(format!("edge-{index}"), stop, move || worker::run(setup))?);
        senders.push(sender);
        shards.push(shard);
    }
    Ok((senders, shards, workers))
}

/// Returns a worker's share of the sockets: every socket has a worker and every worker a socket, whatever their numbers.
fn share(
    config: &EdgeConfig,
    tls: Option<&Arc<Tls>>,
    worker: usize,
    workers: usize,
) -> io::Result<Vec<(TcpListener, Door)>> {
    let listeners = &config.listeners;
    let turns = listeners.len().max(workers);
    let own = (0..turns).filter(|turn| turn % workers == worker);
    own.map(|turn| {
        let listener = listeners[turn % listeners.len()].try_clone()?;
        listener.set_nonblocking(true)?;
        let door = Door::of(&listener, config, tls)?;
        Ok((listener, door))
    })
    .collect()
}

struct Parts {
    tables: Tables,
    store: Store,
    senders: Vec<mpsc::Sender<Command>>,
    shards: Vec<Arc<Shard>>,
    sockets: [SocketFile; 2],
    listeners: Arc<Vec<TcpListener>>,
    secured: Option<Secured>,
}

fn start_control(
    parts: Parts,
    stop: &watch::Sender<Stop>,
    mut workers_gone: watch::Receiver<bool>,
) -> Result<JoinHandle<bool>, EdgeError> {
    let told = stop.subscribe();
    spawn("edge-control".to_owned(), stop, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, async {
            let [admin_socket, handover_socket] = parts.sockets;
            let listen = addresses(parts.listeners.iter());
            if let Some(secured) = &parts.secured {
                tokio::task::spawn_local(Arc::clone(&secured.tls).watch());
                tokio::task::spawn_local(Arc::clone(&secured.tls).renew(told.clone()));
            }
            let control = Control::new(
                parts.tables,
                parts.store,
                parts.senders,
                parts.shards,
                epoch(),
                listen,
                parts.secured,
            );
            let (orders, queue) = mpsc::channel(limits::ADMIN_QUEUE);
            tokio::task::spawn_local(Rc::clone(&control).obey(queue));
            tokio::task::spawn_local(Rc::clone(&control).close_seconds());
            tokio::task::spawn_local(Rc::clone(&control).refresh_databases());
            tokio::task::spawn_local(keep(admin_socket, told.clone(), move |socket| {
                admin::serve(Rc::clone(&control), socket, orders.clone())
            }));
            let sockets = parts.listeners;
            tokio::task::spawn_local(keep(handover_socket, told, move |socket| {
                handover::serve(socket, Arc::clone(&sockets))
            }));
            // Its sender lives in the one who joins us; without it there is nobody to serve for.
            let _ = workers_gone.wait_for(|gone| *gone).await;
            Ok(())
        })
    })
}

fn order(stop: &watch::Sender<Stop>, order: Stop) {
    stop.send_modify(|stop| *stop = stop.then(order));
}

/// Starts a thread whose end, however it comes, stops the whole edge: its supervisor starts a whole one again.
fn spawn(
    name: String,
    stop: &watch::Sender<Stop>,
    body: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> Result<JoinHandle<bool>, EdgeError> {
    struct StopAll(watch::Sender<Stop>);
    impl Drop for StopAll {
        fn drop(&mut self) {
            if !self.0.borrow().is_asked() {
                order(&self.0, Stop::Ending { since: clock::now() });
            }
        }
    }
    let stop = stop.clone();
    let thread = thread::Builder::new().name(name.clone());
    let started = thread.spawn(move || {
        let stop_all = StopAll(stop);
        let outcome = body();
        let asked = stop_all.0.borrow().is_asked();
        if let Err(error) = &outcome {
            complain(format_args!("cannot keep {name} running: {error}"));
        }
        asked && outcome.is_ok()
    });
    started.map_err(EdgeError::Threads)
}

fn runtime() -> Result<tokio::runtime::Runtime, EdgeError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(EdgeError::Threads)
}

/// Returns a number no other life of an edge has: the time of its start, with chance in the low bits. It stays below
/// 2⁵³, so that readers whose numbers are floats keep it whole.
fn epoch() -> u64 {
    (clock::now().0 << 12 | Random::seeded().next() & 0xfff) & ((1 << 53) - 1)
}

fn addresses<'l>(listeners: impl Iterator<Item = &'l TcpListener>) -> Vec<String> {
    let all = listeners.filter_map(|listener| listener.local_addr().ok());
    let mut texts: Vec<String> = all.map(|address| address.to_string()).collect();
    texts.sort();
    texts.dedup();
    texts
}
