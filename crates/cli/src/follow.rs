//! Follows a deployment to its end through the engine's event stream, also over a restart of the engine.
//! Decides nothing about the deployment: leaving it (Ctrl-C, `--timeout`) changes nothing for it.

use crate::client::{Client, ClientError, with_query};
use crate::context::Context;
use crate::exit::{self, Failure};
use crate::progress::Progress;
use crate::sse::{Message, Stream};
use crate::{output, render};
use engine::api::wire::{Accepted, DeploymentView, LogLines, Status};
use rollout::change::Ended;
use rollout::event::{DeploymentKind, Event, EventRecord, Outcome, ReturnReason, ServedBy, VerdictWord};
use rollout::judge::Evidence;
use rollout::names::{DeploymentId, Revision, Target};
use serde::Deserialize;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long an engine may be away before following gives up: the supervisor starts it again within seconds,
/// reading a long journal takes some more.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at the status, for the display.
const LOOK: Duration = Duration::from_millis(500);
/// Between two attempts to connect again.
const RETRY: Duration = Duration::from_millis(100);
/// Last lines of the candidate's logs shown after a failed deployment.
const LOG_LINES: u32 = 20;

/// Why following ended before the deployment did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Ctrl-C or SIGTERM.
    Asked,
    /// `--timeout` passed.
    TimedOut,
}

/// Hears Ctrl-C, SIGTERM and the end of `--timeout`.
#[derive(Debug)]
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
    deadline: Option<Instant>,
}

impl Stop {
    pub fn new(context: &Context) -> Result<Self, Failure> {
        Self::until(context.deadline())
    }

    pub fn until(deadline: Option<Instant>) -> Result<Self, Failure> {
        let deaf = |error| Failure::new(exit::BUG, "listen for Ctrl-C").because(error);
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(deaf)?,
            terminate: signal(SignalKind::terminate()).map_err(deaf)?,
            deadline,
        })
    }

    /// Waits for one of them. May be cancelled and called again.
    pub async fn wait(&mut self) -> Stopped {
        let timed_out = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Stopped::Asked,
            _ = self.terminate.recv() => Stopped::Asked,
            () = timed_out => Stopped::TimedOut,
        }
    }
}

/// What was learned about a deployment while it was followed.
#[derive(Debug, Clone)]
pub struct Report {
    pub target: Target,
    pub deployment: DeploymentId,
    pub outcome: Option<Outcome>,
    pub reason: Option<String>,
    pub served_by: Option<ServedBy>,
    pub kind: Option<DeploymentKind>,
    /// The candidate, as people name it: `3fa9b2c41d07 (v3)`.
    pub release: Option<String>,
    pub revision: Option<Revision>,
    pub why: Option<ReturnReason>,
    pub evidence: Option<Evidence>,
    /// The hook or check that failed, how, and what it wrote.
    pub failed_task: Option<(String, Ended, String)>,
    pub logs: Vec<LogLines>,
    pub elapsed: Duration,
}

/// How following ended.
#[derive(Debug)]
pub enum Followed {
    Finished(Box<Report>),
    Stopped(Stopped),
}

/// Follows the deployment that a request was answered with, to its end.
pub async fn deployment(
    client: Client,
    accepted: &Accepted,
    progress: &mut Progress,
    stop: &mut Stop,
) -> Result<Followed, Failure> {
    let Some(deployment) = accepted.deployment.clone() else {
        return Err(Failure::new(exit::BUG, "follow the deployment").because("the engine named none"));
    };
    let mut follower = Follower::new(client, accepted, deployment, progress);
    tokio::select! {
        stopped = stop.wait() => Ok(Followed::Stopped(stopped)),
        followed = follower.run() => followed.map(|()| Followed::Finished(Box::new(follower.report))),
    }
}

/// Follows a `rollback` or an `abort`: going back is what was asked for, so it is success.
pub async fn back(context: &Context, accepted: Accepted) -> Result<u8, Failure> {
    if accepted.deployment.is_none() || accepted.outcome.is_some() {
        render::accepted(context, &accepted, "nothing to do");
        return Ok(accepted.outcome.map_or(exit::DONE, Outcome::exit_code));
    }
    let mut stop = Stop::new(context)?;
    let mut progress = Progress::new(context, &accepted.target);
    let client = context.client();
    let followed = deployment(client.clone(), &accepted, &mut progress, &mut stop).await;
    progress.close();
    match followed? {
        Followed::Stopped(stopped) => Ok(left(context, &accepted, stopped)),
        Followed::Finished(mut report) => {
            if report.kind.is_none() {
                report.kind = kind_of(&client, &report).await;
            }
            render::went_back(context, &report)
        }
    }
}

/// Says that the deployment goes on, and how to come back to it.
pub fn left(context: &Context, accepted: &Accepted, stopped: Stopped) -> u8 {
    let why = match stopped {
        Stopped::Asked => "stopped following",
        Stopped::TimedOut => "--timeout passed",
    };
    let id = accepted.deployment.as_ref().map_or("the deployment", DeploymentId::as_str);
    let service = &accepted.target.service;
    if context.json {
        let failure = Failure::new(exit::DETACHED, format!("follow {id} of {service} to its end"))
            .because(why)
            .then("the deployment goes on: `medeclipse status --watch`");
        output::failure(&failure, true);
    } else {
        output::aside(&format!("{why}: {id} of {service} goes on"));
        output::aside(&format!(
            " next: `medeclipse status --watch`; the same `medeclipse deploy {service}` follows it again; `medeclipse abort {service}` stops it"
        ));
    }
    exit::DETACHED
}

/// Asks what kind a deployment is of which only the end was seen.
async fn kind_of(client: &Client, report: &Report) -> Option<DeploymentKind> {
    let path = format!("/v1/deployments/{}/{}", report.target, report.deployment);
    let view: DeploymentView = client.get(&path).await.ok()?;
    match view.kind.as_str() {
        "deploy" => Some(DeploymentKind::Deploy),
        "rollback" => Some(DeploymentKind::Rollback),
        "return" => Some(DeploymentKind::Return),
        _ => None,
    }
}

/// One deployment being followed.
struct Follower<'a> {
    client: Client,
    progress: &'a mut Progress,
    cursor: String,
    report: Report,
    started: Instant,
    /// How long the engine may be away.
    patience: Duration,
    last_seen: Instant,
}

/// What of an event can be read even when its kind is of a newer engine.
#[derive(Deserialize)]
struct Envelope {
    deployment: Option<DeploymentId>,
}

impl<'a> Follower<'a> {
    fn new(
        client: Client,
        accepted: &Accepted,
        deployment: DeploymentId,
        progress: &'a mut Progress,
    ) -> Self {
        let report = Report {
            target: accepted.target.clone(),
            deployment,
            outcome: None,
            reason: None,
            served_by: None,
            kind: None,
            release: None,
            revision: None,
            why: None,
            evidence: None,
            failed_task: None,
            logs: Vec::new(),
            elapsed: Duration::ZERO,
        };
        // The event that answered the request is the first to be shown: start just before it.
        let cursor = format!("{}:{}", accepted.target, accepted.seq.saturating_sub(1));
        let now = Instant::now();
        Self { client, progress, cursor, report, started: now, patience: PATIENCE, last_seen: now }
    }

    /// Reads the stream to `deployment_finished`, connecting again as long as the engine comes back in time.
    async fn run(&mut self) -> Result<(), Failure> {
        loop {
            match self.read_once().await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if error.is_transport() => {
                    if self.last_seen.elapsed() > self.patience {
                        return Err(self.gone(error));
                    }
                    self.progress.note("the engine does not answer: waiting for it to come back");
                }
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Reads one connection's events. True: the deployment finished.
    async fn read_once(&mut self) -> Result<bool, ClientError> {
        let pairs = [("after", Some(self.cursor.clone())), ("target", Some(self.report.target.to_string()))];
        let body = self.client.stream(&with_query("/v1/events", &pairs)).await?;
        let mut stream = Stream::new(body);
        self.last_seen = Instant::now();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = stream.next() => {
                    let Some(message) = message? else { return Ok(false) };
                    if self.take(message).await {
                        return Ok(true);
                    }
                }
                _ = look.tick() => self.look().await?,
            }
        }
    }

    /// Shows how far things are. An engine that does not even say that is treated as gone.
    async fn look(&mut self) -> Result<(), ClientError> {
        let status: Status = self.client.get("/v1/status").await?;
        self.last_seen = Instant::now();
        if let Some(service) = status.services.iter().find(|service| service.target == self.report.target) {
            self.progress.status(service);
        }
        Ok(())
    }

    /// Takes in one event. True: it was the deployment's last.
    async fn take(&mut self, message: Message) -> bool {
        self.last_seen = Instant::now();
        if let Some(id) = message.id {
            self.cursor = id;
        }
        let envelope: Option<Envelope> = serde_json::from_str(&message.data).ok();
        if envelope.and_then(|envelope| envelope.deployment).as_ref() != Some(&self.report.deployment) {
            return false;
        }
        let record: Option<EventRecord> = serde_json::from_str(&message.data).ok();
        self.progress.event(record.as_ref(), &message.data);
        let Some(record) = record else { return false };
        self.learn(&record.event).await;
        self.report.outcome.is_some()
    }

    async fn learn(&mut self, event: &Event) {
        let report = &mut self.report;
        match event {
            Event::DeploymentRequested(requested) => {
                report.kind = Some(requested.of);
                report.revision = Some(requested.candidate.revision);
                report.release =
                    Some(render::release(&requested.candidate.release, requested.candidate.label.as_ref()));
            }
            Event::HookRan { hook: task, ended, output } | Event::CheckRan { check: task, ended, output }
                if *ended != Ended::Code(0) =>
            {
                report.failed_task = Some((task.name.clone(), *ended, output.clone()));
            }
            Event::VerdictReached { verdict: VerdictWord::Worse, evidence, why } => {
                report.evidence = Some(evidence.clone());
                report.why = Some(why.clone());
            }
            Event::ReturnStarted { why } => {
                report.why = Some(why.clone());
                self.fetch_logs().await;
            }
            Event::DeploymentFinished { outcome, served_by, reason } => {
                report.outcome = Some(*outcome);
                report.served_by = served_by.clone();
                report.reason = reason.clone();
                report.elapsed = self.started.elapsed();
                if !matches!(outcome, Outcome::Promoted | Outcome::PromotedUnproven | Outcome::Unchanged) {
                    self.fetch_logs().await;
                }
            }
            // The rest is shown, and changes nothing of what is said at the end.
            _ => {}
        }
    }

    /// Fetches what the candidate's replicas wrote last, while it is there: at the return, and again at the end
    /// when there was nothing yet.
    async fn fetch_logs(&mut self) {
        let Some(revision) = self.report.revision.filter(|_| self.report.logs.is_empty()) else { return };
        let pairs = [
            ("target", Some(self.report.target.to_string())),
            ("revision", Some(revision.to_string())),
            ("lines", Some(LOG_LINES.to_string())),
        ];
        // Logs help to understand a failure; that there are none must not become another one.
        if let Ok(logs) = self.client.get::<Vec<LogLines>>(&with_query("/v1/logs", &pairs)).await {
            self.report.logs = logs.into_iter().filter(|log| !log.lines.is_empty()).collect();
        }
    }

    fn gone(&self, error: ClientError) -> Failure {
        let seconds = self.patience.as_secs();
        let failure = Failure::from(error);
        let cause = failure.cause.unwrap_or_default();
        Failure::new(exit::UNREACHABLE, format!("follow {} any further: the engine is gone", self.report.deployment))
            .because(format!("no answer for {seconds} s: {cause}"))
            .then("requests are served as before; start it with `medeclipse up`, then `medeclipse status`: the deployment goes on or is returned")
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
