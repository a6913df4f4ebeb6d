//! Lives one worker thread: accepts its share of connections, serves from its own copy of the routes, takes commands.
//! Shares nothing that is locked while it waits; swapping the routes and claiming a replica happen on this one thread, so a
//! table is acknowledged only when no request can still be routed by the one before.

use crate::access_log::AccessLog;
use crate::balance::NoneLeft;
use crate::claim::{Claim, Flights};
use crate::config::{Forwarded, Waits};
use crate::count::Shard;
use crate::door::Door;
use crate::guard::table::Table;
use crate::pool::Pool;
use crate::random::Random;
use crate::repeats::Repeats;
use crate::route::Routes;
use crate::seal::Seal;
use crate::stop::Stop;
use crate::tls::Challenges;
use crate::{clock, drain, limits, listener, prove};
use manifest::edge::Proof;
use rollout::names::{Revision, Target};
use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::task::LocalSet;

/// What a worker is told.
pub(crate) enum Command {
    /// Serve from these routes; answered when it does.
    Install(Arc<Routes>, oneshot::Sender<()>),
    /// Send a request the way a user's would go, and say who answered.
    Prove(Target, oneshot::Sender<Result<Proof, String>>),
}

/// What a worker is started with.
pub(crate) struct Setup {
    pub(crate) listeners: Vec<(TcpListener, Door)>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) shard: Arc<Shard>,
    pub(crate) repeats: Arc<Repeats>,
    pub(crate) buckets: Arc<Table>,
    pub(crate) seal: Arc<Seal>,
    pub(crate) challenges: Option<Arc<Challenges>>,
    pub(crate) access_log: Option<AccessLog>,
    pub(crate) waits: Waits,
    pub(crate) forwarded: Forwarded,
    pub(crate) stop: watch::Receiver<Stop>,
}

/// One worker, as its own tasks see it.
pub(crate) struct Worker {
    pub(crate) routes: RefCell<Arc<Routes>>,
    /// Wakes requests that wait for another table.
    pub(crate) swapped: Notify,
    /// Wakes the drain watch.
    pub(crate) reconsider: Notify,
    pub(crate) flights: Rc<Flights>,
    pub(crate) pool: Rc<Pool>,
    pub(crate) random: Random,
    pub(crate) shard: Arc<Shard>,
    pub(crate) repeats: Arc<Repeats>,
    /// The buckets of all rate rules, over all workers.
    pub(crate) buckets: Arc<Table>,
    pub(crate) seal: Arc<Seal>,
    /// What an ACME server is answered that checks a name.
    pub(crate) challenges: Option<Arc<Challenges>>,
    pub(crate) access_log: Option<AccessLog>,
    pub(crate) waits: Waits,
    pub(crate) forwarded: Forwarded,
    pub(crate) stop: watch::Receiver<Stop>,
    pub(crate) connections: Arc<Semaphore>,
    /// TLS handshakes that have not ended.
    pub(crate) handshakes: Semaphore,
    /// Copies of requests on their way.
    pub(crate) copies: Arc<Semaphore>,
}

impl Worker {
    /// Claims a replica of a revision that takes requests by the table of this moment.
    /// Refused when it has no other replica, takes no requests any more, or none may carry more.
    pub(crate) fn claim(
        &self,
        target: &Target,
        revision: Revision,
        without: &[u64],
        is_health: bool,
    ) -> Result<Claim, NoneLeft> {
        let routes = self.routes.borrow();
        let target = routes.target(target).ok_or(NoneLeft::Tried)?;
        let arm = target.alive().find(|arm| arm.revision == revision).ok_or(NoneLeft::Tried)?;
        // Whoever asks how the service is gets an answer also when it is full.
        let most = if is_health { u64::MAX } else { u64::from(target.routes().in_flight) };
        arm.balance.pick(without, most, clock::now).map(|replica| self.flights.claim(replica))
    }

    /// Lets the drain watch look again: a request in flight has become another kind.
    pub(crate) fn reconsider_drains(&self) {
        self.reconsider.notify_one();
    }

    pub(crate) fn install(&self, routes: Arc<Routes>) {
        let arms = routes.targets.iter().flat_map(|target| target.alive());
        let serving: HashSet<u64> =
            arms.flat_map(|arm| arm.balance.replicas()).map(|replica| replica.id).collect();
        self.pool.retain(&serving);
        self.routes.replace(routes);
        self.swapped.notify_waiters();
        self.reconsider.notify_one();
    }

    fn is_idle(&self) -> bool {
        self.connections.available_permits() == limits::CLIENT_CONNECTIONS && self.flights.is_empty()
    }
}

/// Runs a worker until it is stopped and its requests have ended. Blocks its thread.
pub(crate) fn run(setup: Setup) -> io::Result<()> {
    // Signals and child processes are no worker's: asking for them costs every turn of the loop a little.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    LocalSet::new().block_on(&runtime, live(setup))
}

async fn live(setup: Setup) -> io::Result<()> {
    let worker = Rc::new(Worker {
        routes: RefCell::new(setup.routes),
        swapped: Notify::new(),
        reconsider: Notify::new(),
        flights: Rc::default(),
        pool: Rc::default(),
        random: Random::seeded(),
        shard: setup.shard,
        repeats: setup.repeats,
        buckets: setup.buckets,
        seal: setup.seal,
        challenges: setup.challenges,
        access_log: setup.access_log,
        waits: setup.waits,
        forwarded: setup.forwarded,
        stop: setup.stop,
        connections: Arc::new(Semaphore::new(limits::CLIENT_CONNECTIONS)),
        handshakes: Semaphore::new(limits::CLIENT_HANDSHAKES),
        copies: Arc::new(Semaphore::new(limits::MIRROR_AT_ONCE)),
    });
    for (socket, door) in setup.listeners {
        let socket = tokio::net::TcpListener::from_std(socket)?;
        tokio::task::spawn_local(listener::accept(Rc::clone(&worker), Rc::new(door), socket));
    }
    tokio::task::spawn_local(drain::watch(Rc::clone(&worker)));
    tokio::task::spawn_local(sweep(Rc::clone(&worker)));
    tokio::select! {
        () = obey(&worker, setup.commands) => {}
        () = stopped(&worker) => {}
    }
    Ok(())
}

async fn obey(worker: &Rc<Worker>, mut commands: mpsc::Receiver<Command>) {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Install(routes, done) => {
                worker.install(routes);
                // Nobody waits any more: the engine will ask again.
                let _ = done.send(());
            }
            Command::Prove(target, reply) => {
                let worker = Rc::clone(worker);
                tokio::task::spawn_local(async move {
                    let _ = reply.send(prove::prove(&worker, &target).await);
                });
            }
        }
    }
}

/// Waits for the stop, then for what is in flight, at most as long as that may go on.
async fn stopped(worker: &Worker) {
    let mut stop = worker.stop.clone();
    // An error means that the one who could stop us is gone, which is a stop too.
    let _ = stop.wait_for(|stop| stop.is_asked()).await;
    while !worker.is_idle() && drain::gone_by(worker).is_some_and(|gone| clock::now() < gone) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn sweep(worker: Rc<Worker>) {
    loop {
        tokio::time::sleep(limits::UPSTREAM_IDLE / 4).await;
        worker.pool.sweep();
    }
}
