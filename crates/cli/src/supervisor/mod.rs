//! Owns the listening sockets and the children: runs the edge and the engine as processes of their own, starts them
//! again when they end, takes in orphans. Touches no request and no replica. Begin at [`Supervisor::run`].

pub mod asking;
pub mod child;
pub mod estate;
mod give;
mod keep;
pub mod listeners;
pub mod lock;
mod owner;
pub mod place;
pub mod pulse;
mod reaper;
mod retire;
pub mod start;
pub mod stop;
pub mod takeover;
pub mod upgrade;
mod watchdog;

use crate::client::Client;
use crate::exit::{self, Failure};
use child::{Child, Who};
use drivers::paths::StatePaths;
use engine::api::wire::Status;
use manifest::edge::EdgeState;
use rustix::process::{Pid, Signal as ProcessSignal};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};
use takeover::Left;
use tokio::signal::unix::Signal;
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
/// How long the edge that was taken over from may finish its requests.
const OLD_EDGE_MAX: Duration = stop::DRAIN_MAX;
/// How long one of an upgrade may take to answer: users are served meanwhile, but nothing is decided.
const UPGRADE_ANSWER: Duration = Duration::from_secs(10);

/// What the supervisor was woken by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    /// Time passed, or a child ended and was taken care of.
    Again,
    /// Somebody wants us to become another program.
    Upgrade,
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
    /// Edges that were replaced and finish their requests.
    retired: retire::Retired,
    listeners: Arc<Vec<TcpListener>>,
    addresses: Vec<SocketAddr>,
    giving: give::Giving,
    kept: keep::Kept,
    asking: asking::Asking,
    /// What was asked for and not yet looked at.
    request: Option<asking::Request>,
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
    /// Keeps both running until somebody wants the environment to end.
    pub async fn run(&mut self) {
        loop {
            if let Err(failure) = self.start_due() {
                (self.say)(&format!("cannot {}: {}", failure.error, failure.cause.unwrap_or_default()));
                self.edge.has_not_started();
                self.engine.has_not_started();
            }
            match self.wake(Duration::from_secs(3600)).await {
                Woken::Again => {}
                Woken::Stop => return,
                Woken::Upgrade => {}
            }
            // Also one that was asked while the environment started.
            self.become_another().await;
        }
    }

    /// Ends the environment: the edge drains, then the replicas stop. Asked a second time, it drains no longer.
    pub async fn stop(&mut self) -> Result<(), Failure> {
        let say = self.say;
        let keep_replicas = self.paths.keep_replicas().exists();
        self.stopping = true;
        (self.edge.start_at, self.engine.start_at) = (None, None);
        // Gone from here on for everybody who waits for it.
        child::remove(&self.paths.ready()).map_err(|error| place::not_prepared(&self.paths, &error))?;
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
        self.retired.ended().await;
        self.reap();
        self.edge.start_at = None;
        let stopped =
            stop::engine_of(&self.paths, &mut self.engine, keep_replicas, &mut |text| say(text)).await;
        self.reap();
        stop::clean(&self.paths).map_err(|error| place::not_prepared(&self.paths, &error))?;
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
            request = self.asking.next(), if self.request.is_none() => {
                self.request = Some(request);
                return Woken::Upgrade;
            }
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
        let mut known: Vec<Pid> = [self.edge.pid, self.engine.pid].into_iter().flatten().collect();
        // After an upgrade these are our own children too; how they end matters to nobody.
        known.extend(self.retired.pids());
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

fn not_replaced(paths: &StatePaths, who: Who, error: &std::io::Error) -> Failure {
    Failure::new(exit::REFUSED, format!("replace the {} that runs in {}", who.name(), paths.root().display()))
        .because(error)
        .then("bring the environment up as the user it ran as, or as root")
}
