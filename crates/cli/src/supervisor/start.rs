//! Brings an environment up: takes what a supervisor before us left, starts the edge, then the engine, and lets what they
//! replace end. Goes back when that fails; users who were served still are. Begin at [`Supervisor::start`].

use super::asking::{Asking, Told};
use super::child::{self, Child, Who};
use super::estate::{self, Estate};
use super::place::{adopt_orphans, not_prepared, prepare, raise_descriptors, write_environment};
use super::retire::{self, Retired};
use super::takeover::Left;
use super::watchdog::Watchdog;
use super::{
    ANSWER, OLD_EDGE_MAX, START_MAX, Supervisor, UPGRADE_ANSWER, Up, answers, give, keep, listeners, lock,
    not_replaced, stop,
};
use crate::client::{Client, ClientError};
use crate::exit::{self, Failure};
use crate::process::Process;
use drivers::paths::StatePaths;
use engine::api::wire::{Accepted, SettingsRequest, Status};
use engine::leader::Terms;
use manifest::service::Manifest;
use rollout::names::Target;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

impl Supervisor {
    /// Takes the state directory and the sockets; starts nothing yet.
    pub async fn new(paths: &StatePaths, manifest: &Manifest, say: fn(&str)) -> Result<Self, Failure> {
        prepare(paths)?;
        let lock = lock::Lock::take(paths)?;
        let mut left = Left::find(paths);
        if let Some(edge) = left.edge.take_if(|_| left.listeners.is_empty()) {
            // It has the addresses and cannot hand them over: users wait for a moment rather than for ever.
            edge.end(OLD_EDGE_MAX).await.map_err(|error| not_replaced(paths, Who::Edge, &error))?;
        }
        let listeners =
            listeners::open(&manifest.environment.addresses(), std::mem::take(&mut left.listeners))?;
        write_environment(paths, &manifest.environment)?;
        Self::assemble(paths, lock, left, listeners, say)
    }

    /// Takes what the program this process was has left, all of it still running.
    pub fn inherit(
        paths: &StatePaths,
        lock: lock::Lock,
        listeners: Vec<TcpListener>,
        notes: &estate::Notes,
        say: fn(&str),
    ) -> Result<Self, Failure> {
        let mut supervisor = Self::assemble(paths, lock, Left::processes(paths), listeners, say)?;
        supervisor.took_over = true;
        // Also where both have just died: what is unfinished goes on.
        supervisor.engine = Child::new(Who::Engine, false);
        // Gone back before the edge was replaced: it is ours, and serves on.
        let ours = |edge: &mut Process| {
            notes.failure.is_some() && notes.edge == Some(edge.pid.as_raw_nonzero().get())
        };
        if let Some(edge) = supervisor.left.edge.take_if(ours) {
            supervisor.edge.adopt(edge.pid);
            supervisor.engine.start_at = Some(Instant::now());
        }
        // Whoever ended while there was nobody to be told.
        supervisor.reap();
        Ok(supervisor)
    }

    fn assemble(
        paths: &StatePaths,
        lock: lock::Lock,
        left: Left,
        listeners: Vec<TcpListener>,
        say: fn(&str),
    ) -> Result<Self, Failure> {
        adopt_orphans()?;
        raise_descriptors();
        let environment = std::fs::read(paths.environment()).map_err(|error| not_prepared(paths, &error))?;
        let deaf = |error: std::io::Error| Failure::new(exit::BUG, "listen for signals").because(error);
        let (addresses, listeners) = (listeners::addresses(&listeners), Arc::new(listeners));
        let took_over = !left.is_nothing();
        Ok(Self {
            paths: paths.clone(),
            lock,
            edge: Child::new(Who::Edge, false),
            engine: Child::new(Who::Engine, !took_over),
            retired: Retired::find(paths, left.edge.as_ref().map(|edge| edge.pid)),
            left,
            took_over,
            addresses,
            giving: give::start(paths, Arc::clone(&listeners))?,
            kept: keep::Kept::new(environment),
            listeners,
            asking: Asking::start(paths)?,
            request: None,
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
        let Some((status, unsettled)) = self.replace(START_MAX, Some(manifest)).await? else {
            return Ok(None);
        };
        let pid = rustix::process::getpid().as_raw_nonzero();
        std::fs::write(self.paths.ready(), format!("{pid}\n"))
            .map_err(|error| not_prepared(&self.paths, &error))?;
        Ok(Some(Up { status, addresses: self.addresses.clone(), unsettled }))
    }

    /// Starts both as [`Supervisor::start`] does, with the settings they had. Refuses to go on where the engine cannot
    /// read what the one before it could.
    pub async fn start_as_before(&mut self, damaged: Option<&[Target]>) -> Result<Option<Up>, Failure> {
        let Some((status, _)) = self.replace(UPGRADE_ANSWER, None).await? else { return Ok(None) };
        let newly = status.services.iter().find(|service| {
            service.damage.is_some() && damaged.is_some_and(|known| !known.contains(&service.target))
        });
        if let Some(service) = newly {
            return Err(Failure::new(exit::REFUSED, format!("read the journal of {}", service.target))
                .because(service.damage.clone().unwrap_or_default())
                .then("report this: the program that ran before could read it"));
        }
        Ok(Some(Up { status, addresses: self.addresses.clone(), unsettled: None }))
    }

    /// Replaces what runs, in the order that loses nothing: while no engine runs, no route changes, so the new edge
    /// begins with the tables of the old one; the new engine then knows of both.
    async fn replace(
        &mut self,
        edge_within: Duration,
        manifest: Option<&Manifest>,
    ) -> Result<Option<(Status, Option<Failure>)>, Failure> {
        if let Some(old) = self.left.engine.take() {
            // Replicas and routes do not depend on it: a kill at any moment is part of its design.
            old.end(Duration::from_secs(2))
                .await
                .map_err(|error| not_replaced(&self.paths, Who::Engine, &error))?;
        }
        let deadline = Instant::now() + START_MAX;
        if let Some(old) = &self.left.edge {
            self.engine.start_at = None;
            retire::step_aside(&self.paths, old).map_err(|error| not_prepared(&self.paths, &error))?;
        }
        if !self.until_answers(Who::Edge, Instant::now() + edge_within).await? {
            return Ok(None);
        }
        if let Some(old) = self.left.edge.take() {
            self.retired.add(&self.paths, old);
            self.engine.start_at = Some(Instant::now());
        }
        self.engine_settled(manifest, deadline).await
    }

    /// Waits until an engine answers and has the manifest's settings. One that dies meanwhile is followed by another.
    async fn engine_settled(
        &mut self,
        manifest: Option<&Manifest>,
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
    async fn settle(
        &self,
        client: &Client,
        manifest: Option<&Manifest>,
    ) -> Result<Option<Failure>, ClientError> {
        let Some(manifest) = manifest else { return Ok(None) };
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
                self.edge.start_at = None;
                if let Some(new) = self.edge.process() {
                    let ended = new.end(ANSWER).await;
                    ended.map_err(|error| not_replaced(&self.paths, Who::Edge, &error))?;
                }
                let back = retire::step_back(&self.paths, old);
                back.map_err(|error| not_prepared(&self.paths, &error))?;
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

    /// Goes back to the program that ran before, which takes over from us as we did from it. Returns why it cannot.
    pub async fn go_back(&mut self, estate: Heritage<'_>, failure: Failure) -> Failure {
        estate.asker.progress("it does not work: going back to the program that ran before");
        if let Err(second) = self.abandon().await {
            (self.say)(&format!("cannot {}: {}", second.error, second.cause.unwrap_or_default()));
        }
        let notes = estate::Notes { failure: Some(failure.clone()), ..estate.notes.clone() };
        let command = estate::predecessor(estate.program, &notes);
        let keep = [self.lock.as_fd(), estate.asker.as_fd(), estate.program.as_fd()];
        let error = Estate::leave(&keep, &self.listeners, &notes, command);
        let cause = format!(
            "{}; and the program that ran before cannot go on: {error}",
            failure.cause.unwrap_or_default()
        );
        let failure = Failure { cause: Some(cause), ..failure };
        estate.asker.tell(&Told::Refused { failure: failure.clone() });
        failure
    }
}

/// What is needed to go back.
#[derive(Debug, Clone, Copy)]
pub struct Heritage<'a> {
    pub asker: &'a super::asking::Asker,
    pub program: &'a std::fs::File,
    pub notes: &'a estate::Notes,
}
