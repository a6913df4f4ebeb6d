//! Keeps the targets of an environment: opens their journals, starts their lives, passes messages on.
//! A damaged one is kept beside the others: it is shown, it refuses, and it disturbs nobody.

use crate::api::wire::{ApiError, DeploymentView};
use crate::calibrator::{Told, Traffic};
use crate::clock::Clock;
use crate::controller::{CommandError, Commanded};
use crate::edge_link::EdgeLink;
use crate::journal::Journal;
use crate::leader::{Owner, Terms};
use crate::life::EngineConfig;
use crate::readiness::Found;
use crate::run::Message;
use crate::samples;
use crate::sight::Seen;
use crate::tenure::Held;
use crate::witness::Witness;
use drivers::artifacts::Store;
use drivers::platform::Platform;
use drivers::platform::process::ProcessPlatform;
use manifest::edge::EdgeState;
use meter::wire::SecondRecord;
use rollout::event::Outcome;
use rollout::machine::{OperatorCommand, State};
use rollout::names::{Actor, DeploymentId, Millis, Target, Weight};
use rollout::plan::TargetSettings;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// How long a target may take to answer a command: one commit, behind those before it.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// How long a superseded deployment may take to go back.
const SUPERSEDE_WITHIN: Duration = Duration::from_secs(180);
/// How long one target may take to stop once another engine leads.
const GIVE_UP_WITHIN: Duration = Duration::from_millis(500);
/// An artefact younger than this may belong to a deploy on its way.
const GARBAGE_AGE: Duration = Duration::from_secs(600);

/// All targets of one environment. See `tenure` for how one begins, and what happens when another engine leads it.
pub struct Targets<P> {
    pub(super) folder: PathBuf,
    pub(super) references: PathBuf,
    pub(super) readiness: PathBuf,
    environment: String,
    pub(super) owner: Owner,
    pub(super) terms: Terms,
    pub(super) platform: Arc<P>,
    artifacts: Store,
    pub(super) edge: EdgeLink,
    pub(super) clock: Arc<Clock>,
    pub(super) accepted: Option<EdgeState>,
    pub(super) known: Mutex<BTreeMap<Target, Entry>>,
    /// Counts records of all journals, so that followers wake.
    pub(super) heads: watch::Sender<u64>,
}

#[derive(Clone)]
pub(super) enum Entry {
    Living(Handle),
    /// Another one leads.
    Held(Held),
    Damaged(String),
}

/// Why nothing of a target is decided here.
pub enum Unled {
    Held(Held),
    Damaged(String),
}

/// The way to one target's life.
#[derive(Clone)]
pub struct Handle {
    pub state: watch::Receiver<Arc<State>>,
    pub seen: watch::Receiver<Seen>,
    /// What is known of the releases one may go back to.
    pub readiness: watch::Receiver<Found>,
    /// Until when the lease is promised.
    pub until: watch::Receiver<Millis>,
    pub(super) mailbox: mpsc::Sender<Message>,
    pub(super) calibrator: mpsc::Sender<Told>,
}

/// A command's answer.
#[derive(Debug)]
pub struct Answered {
    pub deployment: Option<DeploymentId>,
    pub seq: u64,
    pub outcome: Option<Outcome>,
}

impl Targets<ProcessPlatform> {
    /// Opens every target that has a journal, and those the edge serves: a missing journal is damage.
    pub fn open(
        config: &EngineConfig,
        owner: Owner,
        platform: Arc<ProcessPlatform>,
        artifacts: Store,
        edge: EdgeLink,
        clock: Arc<Clock>,
        accepted: Option<EdgeState>,
    ) -> Arc<Self> {
        let targets = Arc::new(Self {
            folder: config.paths.root().join("journal"),
            references: config.paths.root().join("reference"),
            readiness: config.paths.root().join("readiness"),
            environment: config.environment.name.clone(),
            owner,
            terms: config.terms,
            platform,
            artifacts,
            edge,
            clock,
            accepted,
            known: Mutex::default(),
            heads: watch::Sender::new(0),
        });
        for target in targets.on_disk() {
            targets.entry(&target);
        }
        targets
    }
}

impl<P: Platform + Wakes> Targets<P> {
    fn on_disk(&self) -> BTreeSet<Target> {
        let journals = Journal::targets(&self.folder).into_iter();
        let served =
            self.accepted.iter().flat_map(|edge| &edge.tables).map(|table| table.routes.target.clone());
        journals.chain(served).filter(|target| target.environment == self.environment).collect()
    }

    /// Returns the target of a service, brought to life if it is new.
    fn entry(self: &Arc<Self>, target: &Target) -> Entry {
        let mut known = self.known.lock().expect("BUG: nobody panics with this lock");
        known.entry(target.clone()).or_insert_with(|| self.start(target)).clone()
    }

    fn known(&self) -> Vec<(Target, Entry)> {
        let known = self.known.lock().expect("BUG: nobody panics with this lock");
        known.iter().map(|(target, entry)| (target.clone(), entry.clone())).collect()
    }

    /// Returns every target: its way, or why there is none.
    pub fn all(&self) -> Vec<(Target, Result<Handle, Unled>)> {
        let each = |(target, entry)| match entry {
            Entry::Living(handle) => (target, Ok(handle)),
            Entry::Held(held) => (target, Err(Unled::Held(held))),
            Entry::Damaged(why) => (target, Err(Unled::Damaged(why))),
        };
        self.known().into_iter().map(each).collect()
    }

    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    pub fn artifacts(&self) -> &Store {
        &self.artifacts
    }

    /// Returns a receiver that changes whenever a journal has grown.
    pub fn heads(&self) -> watch::Receiver<u64> {
        self.heads.subscribe()
    }

    pub fn target(&self, service: &str) -> Target {
        Target::new(service, self.environment.clone())
    }

    /// Returns the handle of a target; with `New::Refused` only of one that is known already.
    pub fn handle(self: &Arc<Self>, target: &Target, new: New) -> Result<Handle, ApiError> {
        let is_known = self.known().iter().any(|(known, _)| known == target);
        if !is_known && new == New::Refused {
            return Err(self.unknown(target));
        }
        match self.entry(target) {
            Entry::Living(handle) => Ok(handle),
            Entry::Held(held) => Err(held.refusal(target)),
            Entry::Damaged(why) => Err(ApiError {
                error: format!("change {}: its state is damaged", target.service),
                cause: Some(why),
                next: Some(
                    "it goes on serving; repair its journal, then `medeclipse down` and `medeclipse up`"
                        .to_owned(),
                ),
                exit: 3,
            }),
        }
    }

    fn unknown(&self, target: &Target) -> ApiError {
        let names: Vec<_> = self.known().iter().map(|(known, _)| known.service.to_string()).collect();
        ApiError {
            error: format!("find the service {}", target.service),
            cause: Some(if names.is_empty() {
                "nothing has been deployed yet".to_owned()
            } else {
                format!("known here: {}", names.join(", "))
            }),
            next: Some("name a known service, or deploy this one first".to_owned()),
            exit: 2,
        }
    }

    /// Refuses hosts and paths that another target serves.
    pub fn check_claims(&self, target: &Target, settings: &TargetSettings) -> Result<(), ApiError> {
        for (other, entry) in self.known() {
            let Entry::Living(handle) = entry else { continue };
            let state = handle.state.borrow().clone();
            let serves = state.stable.is_some() || state.deployment.is_some();
            if other != *target && serves && overlap(settings, &state.settings) {
                return Err(ApiError {
                    error: format!("route {}", target.service),
                    cause: Some(format!("{} serves the same hosts and paths already", other.service)),
                    next: Some("give one of them other `hosts` or `paths` in the manifest".to_owned()),
                    exit: 3,
                });
            }
        }
        Ok(())
    }

    /// Gives a command to a target and waits for its place in the journal. A deployment that supersedes another
    /// waits until that one has gone back.
    pub async fn command(
        &self,
        handle: &Handle,
        command: OperatorCommand,
        actor: &Actor,
    ) -> Result<Answered, ApiError> {
        let deadline = tokio::time::Instant::now() + SUPERSEDE_WITHIN;
        loop {
            match handle.command(command.clone(), actor.clone()).await? {
                Commanded::Done(records) => {
                    let last = records.last();
                    return Ok(Answered {
                        deployment: last.and_then(|record| record.deployment.clone()),
                        seq: last.map_or_else(|| handle.state.borrow().seq, |record| record.seq),
                        outcome: None,
                    });
                }
                Commanded::Known { deployment, seq, outcome } => {
                    return Ok(Answered { deployment: Some(deployment), seq, outcome });
                }
                Commanded::Wait(_) => {
                    let mut state = handle.state.clone();
                    let idle = state.wait_for(|state| state.deployment.is_none());
                    tokio::time::timeout_at(deadline, idle).await.map_err(|_| late())?.map_err(|_| gone())?;
                }
            }
        }
    }

    /// Returns what the unfinished deployments of an environment that was not running.
    pub async fn end_unfinished(&self) {
        for (target, entry) in self.known() {
            let Entry::Living(handle) = entry else { continue };
            let ended = handle.command(OperatorCommand::EndUnfinished, Actor::from("engine")).await;
            if let Err(error) = ended {
                crate::log(&format!("cannot end what was unfinished of {target}: {error}"));
            }
        }
    }

    /// Stops deciding: from here on nothing is launched, stopped or published.
    pub async fn stop(&self) {
        for (_, entry) in self.known() {
            let Entry::Living(handle) = entry else { continue };
            let (reply, stopped) = oneshot::channel();
            if handle.mailbox.send(Message::Stop { reply }).await.is_ok() {
                // Without an answer the life has ended already.
                let _ = tokio::time::timeout(ANSWER_WITHIN, stopped).await;
            }
            let (reply, saved) = oneshot::channel();
            if handle.calibrator.send(Told::Stop(reply)).await.is_ok() {
                let _ = tokio::time::timeout(ANSWER_WITHIN, saved).await;
            }
        }
    }

    /// Gives each target its rows of one second; None: nobody reported it.
    pub fn feed(&self, record: Option<SecondRecord>) {
        let second = record.as_ref().map_or(0, |record| record.second);
        for (target, entry) in self.known() {
            let Entry::Living(handle) = entry else { continue };
            let name = target.to_string();
            let mine = record.as_ref().map(|record| Arc::new(record.of(&name)));
            if let Some(mine) = &mine {
                // A busy calibrator loses a second: its block is left out.
                let _ = handle.calibrator.try_send(Told::Second(mine.clone()));
            }
            handle.feed(second, mine);
        }
    }

    pub async fn clock_stepped(&self, by_ms: i64) {
        for (_, entry) in self.known() {
            if let Entry::Living(handle) = entry {
                let _ = handle.mailbox.try_send(Message::ClockStepped { by_ms });
            }
        }
    }

    /// Stops deciding because another engine leads. Nothing more is written down but that the leases are free.
    pub async fn give_up(&self) {
        for (_, entry) in self.known() {
            let Entry::Living(handle) = entry else { continue };
            let (reply, stopped) = oneshot::channel();
            if handle.mailbox.try_send(Message::Stop { reply }).is_ok() {
                let _ = tokio::time::timeout(GIVE_UP_WITHIN, stopped).await;
            }
        }
    }

    /// Removes artefacts that no target may go back to. Nothing is removed while a target's needs are unknown.
    pub async fn collect_garbage(&self) {
        let mut keep = BTreeSet::new();
        for (_, entry) in self.known() {
            match entry {
                Entry::Living(handle) => keep.extend(handle.state.borrow().artifacts_in_use()),
                Entry::Held(_) | Entry::Damaged(_) => return,
            }
        }
        let store = self.artifacts.clone();
        let removed = tokio::task::spawn_blocking(move || store.collect_garbage(&keep, GARBAGE_AGE)).await;
        if let Ok(Err(error)) = removed {
            crate::log(&format!("cannot {error}"));
        }
    }
}

impl Handle {
    /// Passes one second on; where it would be held against the candidate, after a witness has been asked.
    fn feed(&self, second: u64, counts: Option<Arc<SecondRecord>>) {
        let witness = {
            let state = self.state.borrow();
            let record = samples::record(&state, second, counts.as_deref());
            Witness::of(&record, &state, &self.seen.borrow().world)
        };
        let mailbox = self.mailbox.clone();
        // A full mailbox makes this second a missing one: the target is busy writing.
        let pass_on = move |unwell| drop(mailbox.try_send(Message::Second { second, counts, unwell }));
        match witness {
            None => pass_on(false),
            Some(witness) => drop(tokio::spawn(async move { pass_on(witness.is_unwell().await) })),
        }
    }

    async fn command(&self, command: OperatorCommand, actor: Actor) -> Result<Commanded, ApiError> {
        let (reply, answer) = oneshot::channel();
        let message = Message::Command { command: Box::new(command), actor, reply };
        let asked = async {
            self.mailbox.send(message).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())
        };
        let answer = tokio::time::timeout(ANSWER_WITHIN, asked).await.map_err(|_| late())??;
        answer.map_err(api_error)
    }

    /// Returns what is known of the service's traffic, calibrated for these weights.
    pub async fn traffic(&self, weights: Vec<Weight>) -> Result<Traffic, ApiError> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.calibrator.send(Told::Traffic(weights, reply)).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())
        };
        tokio::time::timeout(ANSWER_WITHIN, asked).await.map_err(|_| late())?
    }

    pub async fn history(&self) -> Result<Vec<DeploymentView>, ApiError> {
        let (reply, answer) = oneshot::channel();
        self.mailbox.send(Message::History { reply }).await.map_err(|_| gone())?;
        tokio::time::timeout(ANSWER_WITHIN, answer).await.map_err(|_| late())?.map_err(|_| gone())
    }
}

/// Whether a target that is not known may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum New {
    Allowed,
    Refused,
}

/// Platforms that know by themselves when something has changed.
pub trait Wakes {
    /// Notifies `poke` from now on whenever something may have changed.
    fn wake(&self, poke: Arc<Notify>);
}

impl Wakes for ProcessPlatform {
    fn wake(&self, poke: Arc<Notify>) {
        let mut changed = self.changed();
        tokio::spawn(async move {
            while changed.changed().await.is_ok() {
                poke.notify_one();
            }
        });
    }
}

fn overlap(one: &TargetSettings, other: &TargetSettings) -> bool {
    let whole = |paths: &[String]| if paths.is_empty() { vec!["/".to_owned()] } else { paths.to_vec() };
    let hosts = (one.hosts.is_empty() && other.hosts.is_empty())
        || one.hosts.iter().any(|host| other.hosts.contains(host));
    hosts && whole(&one.paths).iter().any(|path| whole(&other.paths).contains(path))
}

fn api_error(error: CommandError) -> ApiError {
    match error {
        CommandError::Refused(refusal) => {
            ApiError { error: refusal.what, cause: Some(refusal.why), next: Some(refusal.next), exit: 3 }
        }
        CommandError::Journal(error) => ApiError {
            cause: std::error::Error::source(&error).map(ToString::to_string),
            next: Some(error.next()),
            error: error.to_string(),
            exit: 3,
        },
    }
}

fn gone() -> ApiError {
    ApiError {
        error: "reach the target".to_owned(),
        cause: Some("the engine is shutting down".to_owned()),
        next: Some("try again when it runs: `medeclipse status`".to_owned()),
        exit: 7,
    }
}

fn late() -> ApiError {
    ApiError {
        error: "get an answer from the target in time".to_owned(),
        cause: Some("it is still busy with what was asked before".to_owned()),
        next: Some("look with `medeclipse status`, then ask again".to_owned()),
        exit: 3,
    }
}
