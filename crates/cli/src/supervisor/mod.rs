//! Owns the listening sockets and the children: runs the edge and the engine as processes of their own, starts them
//! again when they end, takes in orphans. Touches no request and no replica. Begin at [`Supervisor::run`].

pub mod child;
mod give;
mod keep;
pub mod listeners;
pub mod lock;
mod owner;
pub mod pulse;
mod reaper;
pub mod stop;
pub mod takeover;
mod watchdog;

use crate::client::{Client, ClientError};
use crate::exit::{self, Failure};
use child::{Child, Who};
use drivers::paths::StatePaths;
use engine::api::wire::{Accepted, SettingsRequest, Status};
use engine::leader::Terms;
use manifest::edge::EdgeState;
use manifest::service::Manifest;
use rustix::process::{Pid, Signal as ProcessSignal};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use takeover::Left;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use watchdog::Watchdog;

/// How long edge and engine may take to answer after `up`: reading a long journal is the slowest part.
pub const START_MAX: Duration = Duration::from_secs(30);
/// Between two looks whether they answer: a share of the 300 ms `up` may take.
const ASK_AGAIN: Duration = Duration::from_millis(10);
/// One answer while starting.
const ANSWER: Duration = Duration::from_secs(2);
/// Between two looks at the sizes of the logs.
const LOG_LOOK: Duration = Duration::from_secs(60);
/// Ends of a child in a row, without having answered once, after which `up` gives up.
const START_ATTEMPTS: u32 = 3;
/// Bytes that must be free on the disk of the state directory: some pid files and a few events.
const SPACE_MIN: usize = 64 << 10;
/// How long the edge that was taken over from may finish its requests.
const OLD_EDGE_MAX: Duration = stop::DRAIN_MAX;

/// What the supervisor was woken by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    /// Time passed, or a child ended and was taken care of.
    Again,
    /// Somebody wants the environment to end.
    Stop,
}

/// The parent of an environment.
pub struct Supervisor {
    paths: StatePaths,
    lock: lock::Lock,
    edge: Child,
    engine: Child,
    left: Left,
    /// Whether something of the environment was running when we came.
    took_over: bool,
    /// Ends the edge that was replaced.
    old_edge: Option<JoinHandle<()>>,
    addresses: Vec<SocketAddr>,
    giving: give::Giving,
    kept: keep::Kept,
    child_ended: Signal,
    terminate: Signal,
    interrupt: Signal,
    log_look: Instant,
    watchdog: Watchdog,
    /// Whether an end is what is wanted.
    stopping: bool,
    say: fn(&str),
}

/// What an environment that is up says about itself.
#[derive(Debug)]
pub struct Up {
    pub status: Status,
    pub addresses: Vec<SocketAddr>,
    /// Why the engine did not take the manifest's settings; it serves with those it had.
    pub unsettled: Option<Failure>,
}

impl Supervisor {
    /// Takes the state directory and the sockets; starts nothing yet.
    pub async fn new(paths: &StatePaths, manifest: &Manifest, say: fn(&str)) -> Result<Self, Failure> {
        prepare(paths)?;
        let lock = lock::Lock::take(paths)?;
        let mut left = Left::find(paths);
        let took_over = !left.is_nothing();
        if let Some(edge) = left.edge.take_if(|_| left.listeners.is_empty()) {
            // It has the addresses and cannot hand them over: users wait for a moment rather than for ever.
            edge.end(OLD_EDGE_MAX).await.map_err(|error| not_replaced(paths, Who::Edge, &error))?;
        }
        let listeners = listeners::open(&manifest.environment.listen, std::mem::take(&mut left.listeners))?;
        adopt_orphans()?;
        raise_descriptors();
        let environment = write_environment(paths, manifest)?;
        let deaf = |error: std::io::Error| Failure::new(exit::BUG, "listen for signals").because(error);
        let addresses = listeners::addresses(&listeners);
        Ok(Self {
            paths: paths.clone(),
            lock,
            edge: Child::new(Who::Edge, false),
            engine: Child::new(Who::Engine, !took_over),
            left,
            took_over,
            old_edge: None,
            addresses,
            giving: give::start(paths, Arc::new(listeners))?,
            kept: keep::Kept::new(environment),
            child_ended: signal(SignalKind::child()).map_err(deaf)?,
            terminate: signal(SignalKind::terminate()).map_err(deaf)?,
            interrupt: signal(SignalKind::interrupt()).map_err(deaf)?,
            log_look: Instant::now(),
            watchdog: Watchdog::new(Terms::configured()),
            stopping: false,
            say,
        })
    }

    /// Starts the edge and the engine, replacing those a dead supervisor left. Returns once both answer and the
    /// engine knows the manifest's settings; None: somebody wanted it to end meanwhile.
    pub async fn start(&mut self, manifest: &Manifest) -> Result<Option<Up>, Failure> {
        if let Some(old) = self.left.engine.take() {
            // Replicas and routes do not depend on it: a kill at any moment is part of its design.
            old.end(Duration::from_secs(2))
                .await
                .map_err(|error| not_replaced(&self.paths, Who::Engine, &error))?;
        }
        let deadline = Instant::now() + START_MAX;
        if !self.until_answers(Who::Edge, deadline).await? {
            return Ok(None);
        }
        if let Some(old) = self.left.edge.take() {
            // Told here, so that it ends also when we do before the task below has begun.
            let told = old.signal(ProcessSignal::TERM);
            told.map_err(|error| not_replaced(&self.paths, Who::Edge, &error))?;
            self.old_edge = Some(tokio::spawn(async move {
                // Its users are served by the new one; what it says about its end matters to nobody.
                let _ = old.end(OLD_EDGE_MAX).await;
            }));
        }
        let Some((status, unsettled)) = self.engine_settled(manifest, deadline).await? else {
            return Ok(None);
        };
        let pid = rustix::process::getpid().as_raw_nonzero();
        std::fs::write(self.paths.ready(), format!("{pid}\n"))
            .map_err(|error| not_prepared(&self.paths, &error))?;
        Ok(Some(Up { status, addresses: self.addresses.clone(), unsettled }))
    }

    /// Waits until an engine answers and has the manifest's settings. One that dies meanwhile is followed by another.
    async fn engine_settled(
        &mut self,
        manifest: &Manifest,
        deadline: Instant,
    ) -> Result<Option<(Status, Option<Failure>)>, Failure> {
        let client = self.client();
        loop {
            if !self.until_answers(Who::Engine, deadline).await? {
                return Ok(None);
            }
            // It answers once it has ended what was unfinished: the engines after it go on with what there is.
            self.engine.is_settled();
            let told = match self.settle(&client, manifest).await {
                Ok(unsettled) => client.get("/v1/status").await.map(|status| (status, unsettled)),
                Err(error) => Err(error),
            };
            match told {
                Err(error) if error.is_transport() && Instant::now() < deadline => {}
                told => return told.map(Some).map_err(Failure::from),
            }
        }
    }

    /// Brings the targets' settings in line with the manifest. A refusal is told, and keeps nobody from being served.
    async fn settle(&self, client: &Client, manifest: &Manifest) -> Result<Option<Failure>, ClientError> {
        let settings = SettingsRequest { services: manifest.services.clone() };
        let refused = match client.post::<Vec<Accepted>>("/v1/settings", &settings).await {
            Err(error) if error.is_transport() => return Err(error),
            answer => answer.err().map(Failure::from),
        };
        let place = self.paths.failure("settings");
        let kept = match &refused {
            Some(failure) => std::fs::write(place, serde_json::to_vec(failure).unwrap_or_default()),
            None => child::remove(&place),
        };
        if let Err(error) = kept {
            (self.say)(&format!("cannot note the answer about settings: {error}"));
        }
        Ok(refused)
    }

    /// Ends what a start that failed has begun. Where users were served when we came, they still are: the edge is
    /// left to serve, and the next `up` takes it over.
    pub async fn abandon(&mut self) -> Result<(), Failure> {
        if self.took_over {
            if let Some(old) = &self.left.edge {
                let noted = crate::process::write_pid_file(&self.paths.edge_pid(), old.pid);
                noted.map_err(|error| not_prepared(&self.paths, &error))?;
            }
            return Ok(());
        }
        let client = self.client().within(ANSWER);
        if answers(Who::Engine, self.engine.pid, &client).await {
            return self.stop().await;
        }
        (self.edge.start_at, self.engine.start_at) = (None, None);
        for child in [&self.edge, &self.engine] {
            if let Some(process) = child.process() {
                let ended = process.end(ANSWER).await;
                ended.map_err(|error| not_replaced(&self.paths, child.who, &error))?;
            }
        }
        self.reap();
        stop::clean(&self.paths).map_err(|error| not_prepared(&self.paths, &error))
    }

    /// Keeps both running until somebody wants the environment to end.
    pub async fn run(&mut self) {
        loop {
            if let Err(failure) = self.start_due() {
                (self.say)(&format!("cannot {}: {}", failure.error, failure.cause.unwrap_or_default()));
                self.edge.has_not_started();
                self.engine.has_not_started();
            }
            if self.wake(Duration::from_secs(3600)).await == Woken::Stop {
                return;
            }
        }
    }

    /// Ends the environment: the edge drains, then the replicas stop. Asked a second time, it drains no longer.
    pub async fn stop(&mut self) -> Result<(), Failure> {
        let say = self.say;
        let keep_replicas = self.paths.keep_replicas().exists();
        self.stopping = true;
        (self.edge.start_at, self.engine.start_at) = (None, None);
        // Gone from here on for everybody who waits for it.
        child::remove(&self.paths.ready()).map_err(|error| not_prepared(&self.paths, &error))?;
        if let Some(edge) = self.edge.process() {
            let mut tell = |text: &str| say(text);
            tokio::select! {
                done = stop::edge(&edge, &mut tell) => done?,
                _ = self.terminate.recv() => stop::kill(&edge)?,
                _ = self.interrupt.recv() => stop::kill(&edge)?,
            }
        }
        for old in [self.left.edge.take(), self.left.engine.take()].into_iter().flatten() {
            old.end(OLD_EDGE_MAX).await.map_err(|error| not_replaced(&self.paths, Who::Edge, &error))?;
        }
        if let Some(old) = self.old_edge.take() {
            // Bounded by itself; a panic in it would be the runtime's.
            let _ = old.await;
        }
        self.reap();
        self.edge.start_at = None;
        let stopped =
            stop::engine_of(&self.paths, &mut self.engine, keep_replicas, &mut |text| say(text)).await;
        self.reap();
        stop::clean(&self.paths).map_err(|error| not_prepared(&self.paths, &error))?;
        stopped
    }

    fn client(&self) -> Client {
        Client::new(&self.paths.engine_socket(), crate::client::DEADLINE)
    }

    fn child(&mut self, who: Who) -> &mut Child {
        match who {
            Who::Edge => &mut self.edge,
            Who::Engine => &mut self.engine,
        }
    }

    /// Waits until a child answers, starting both as they are due. False: somebody wants the environment to end.
    async fn until_answers(&mut self, who: Who, deadline: Instant) -> Result<bool, Failure> {
        let socket = match who {
            Who::Edge => self.paths.edge_socket(),
            Who::Engine => self.paths.engine_socket(),
        };
        let client = Client::new(&socket, ANSWER);
        loop {
            self.start_due()?;
            if answers(who, self.child(who).pid, &client).await {
                return Ok(true);
            }
            if self.child(who).gave_up(START_ATTEMPTS) || Instant::now() >= deadline {
                let paths = self.paths.clone();
                return Err(self.child(who).reason(&paths));
            }
            if self.wake(ASK_AGAIN).await == Woken::Stop {
                return Ok(false);
            }
        }
    }

    /// Sleeps until something happens, at most `limit`, and takes care of it.
    async fn wake(&mut self, limit: Duration) -> Woken {
        let mut until =
            (Instant::now() + limit).min(self.log_look + LOG_LOOK).min(self.watchdog.due).min(self.kept.due);
        for due in [self.edge.start_at, self.engine.start_at].into_iter().flatten() {
            until = until.min(due);
        }
        tokio::select! {
            _ = self.child_ended.recv() => self.reap(),
            _ = self.terminate.recv() => return Woken::Stop,
            _ = self.interrupt.recv() => return Woken::Stop,
            () = tokio::time::sleep_until(until.into()) => {}
        }
        self.replace_who_hangs().await;
        self.look_at_logs();
        self.keep_files();
        Woken::Again
    }

    /// Kills a child that hangs. Its end is taken in like any other, and it starts again.
    async fn replace_who_hangs(&mut self) {
        for (who, looks) in self.watchdog.look(&self.paths, &self.edge, &self.engine).await {
            let Some(process) = self.child(who).process() else { continue };
            (self.say)(&format!(
                "the {} hangs: no sign of life from process {} for {looks} s; killing it",
                who.name(),
                process.pid.as_raw_nonzero()
            ));
            if let Err(error) = process.signal(ProcessSignal::KILL) {
                (self.say)(&format!("cannot kill the {}: {error}", who.name()));
            }
        }
    }

    fn start_due(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        if [&self.edge, &self.engine].iter().any(|child| child.start_at.is_some_and(|due| due <= now)) {
            // What it reads first must be there, also when it was removed a moment ago.
            self.kept.due = now;
            self.keep_files();
        }
        for child in [&mut self.edge, &mut self.engine] {
            // The new edge goes first: while an old one runs, the engine waits for it in `start`.
            if child.start_at.is_some_and(|due| due <= now) {
                child.start(&self.paths)?;
            }
        }
        Ok(())
    }

    fn reap(&mut self) {
        let known: Vec<Pid> = [self.edge.pid, self.engine.pid].into_iter().flatten().collect();
        let reaped = reaper::reap(&known, &self.paths.reaped());
        if let Some(error) = reaped.error {
            // Requests flow without it. A full disk is the likeliest cause.
            (self.say)(&format!("cannot write down how a process ended: {error}"));
        }
        for (pid, how) in reaped.ended {
            for who in Who::BOTH {
                if self.child(who).pid == Some(pid) {
                    self.child(who).has_ended(how);
                    if !self.stopping {
                        (self.say)(&format!("the {} ended ({how}): starting it again", who.name()));
                    }
                }
            }
        }
    }

    fn look_at_logs(&mut self) {
        if self.log_look.elapsed() < LOG_LOOK {
            return;
        }
        self.log_look = Instant::now();
        for name in ["edge", "engine", "supervisor"] {
            if let Err(error) = child::rotate(&self.paths.log(name)) {
                (self.say)(&format!("cannot rotate {name}.log: {error}"));
            }
        }
    }
}

/// Whether this very child answers: the socket may still be the one of the process before it.
async fn answers(who: Who, pid: Option<Pid>, client: &Client) -> bool {
    let Some(pid) = pid.map(|pid| pid.as_raw_nonzero().get().unsigned_abs()) else { return false };
    match who {
        Who::Edge => client.get::<EdgeState>("/v1/state").await.is_ok_and(|state| state.pid == pid),
        Who::Engine => client.get::<Status>("/v1/status").await.is_ok_and(|status| status.engine.pid == pid),
    }
}

/// Makes the folders of the state directory, closed to other users.
pub fn prepare(paths: &StatePaths) -> Result<(), Failure> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let make = |path: &std::path::Path| std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    let close =
        |path: &std::path::Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700));
    let (run, logs, reaped) = (paths.run(), paths.logs(), paths.reaped());
    make(paths.root())
        .and_then(|()| make(&run))
        .and_then(|()| make(&logs))
        .and_then(|()| make(&reaped))
        .and_then(|()| make(paths.sockets()))
        // Commands are a privilege: whoever made these folders before, they are closed now.
        .and_then(|()| close(&run))
        .and_then(|()| close(paths.sockets()))
        .and_then(|()| has_space(&run.join("probe")))
        .map_err(|error| not_prepared(paths, &error))
}

/// Finds a full disk before anything is started that needs it: pids, sockets and the next event.
fn has_space(probe: &std::path::Path) -> std::io::Result<()> {
    let written = std::fs::write(probe, [0; SPACE_MIN]);
    child::remove(probe).and(written)
}

fn not_prepared(paths: &StatePaths, error: &std::io::Error) -> Failure {
    Failure::new(exit::REFUSED, format!("write to the state directory {}", paths.root().display()))
        .because(error)
        .then("make it writable, free some disk space, or choose another with --state DIR; `medeclipse doctor` looks")
}

fn not_replaced(paths: &StatePaths, who: Who, error: &std::io::Error) -> Failure {
    Failure::new(exit::REFUSED, format!("replace the {} that runs in {}", who.name(), paths.root().display()))
        .because(error)
        .then("bring the environment up as the user it ran as, or as root")
}

fn write_environment(paths: &StatePaths, manifest: &Manifest) -> Result<Vec<u8>, Failure> {
    let text = serde_json::to_vec_pretty(&manifest.environment).expect("BUG: an environment has a JSON form");
    keep::keep(&paths.environment(), &text)
        .and_then(|_| child::remove(&paths.ready()))
        .and_then(|()| child::remove(&paths.keep_replicas()))
        .map_err(|error| not_prepared(paths, &error))?;
    Ok(text)
}

/// Replicas whose engine died become our children, so that somebody learns how they end.
fn adopt_orphans() -> Result<(), Failure> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| Failure::new(exit::BUG, "become the reaper of orphans").because(error))
}

/// Takes as many file descriptors as the system gives: each connection is one, and children inherit the limit.
fn raise_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Refused: then `doctor` finds the low limit, and fewer connections are possible.
    let _ = setrlimit(Resource::Nofile, limit);
}
