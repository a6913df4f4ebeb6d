//! Holds what the events of one target add up to. Plain data: everything here can be rebuilt from the journal.

use super::monitor::MonitorState;
use super::stopwatch::Stopwatch;
use crate::change::TaskId;
use crate::event::{DeploymentKind, Event, Outcome, ReturnReason};
use crate::judge::{Evidence, Judge};
use crate::mirror::MirrorCounts;
use crate::names::{DeploymentId, Generation, Millis, ReplicaId, Revision, Target};
use crate::plan::{RolloutSettings, TargetSettings, When};
use crate::release::Placed;
use crate::routes::Maintenance;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Promoted releases kept as rollback targets, beside the stable one.
pub const PROVEN_MAX: usize = 5;
/// Idempotency keys remembered.
pub(super) const KEYS_MAX: usize = 64;
/// Lost replicas remembered, for the crash-loop rule and so that none is recorded twice: more than can be gone at once
/// (64 by hand, of stable, candidate, hot and one that leaves).
pub(super) const LOST_MAX: usize = 256;
/// How long a hook may run.
pub(super) const HOOK_DEADLINE: Millis = Millis::seconds(600);

/// Everything known of one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub target: Target,
    pub settings: TargetSettings,
    /// Replicas asked for by hand; None: as the settings say.
    pub replicas_by_hand: Option<u32>,
    pub maintenance: Option<Maintenance>,
    pub stable: Option<Placed>,
    /// How the stable revision was rolled out: its drain, stickiness and connection rules still count.
    pub stable_rollout: RolloutSettings,
    /// Where the hooks of the stable revision run: those of a rollback, too.
    pub stable_folder: String,
    /// Former stable releases that proved themselves, oldest first.
    pub proven: Vec<Placed>,
    pub hot: Option<Hot>,
    pub leaving: Vec<Leaving>,
    pub deployment: Option<Deployment>,
    pub keys: VecDeque<KnownKey>,
    pub lost: VecDeque<Lost>,
    /// Lost replicas whose place has not been taken yet, by revision.
    pub to_replace: BTreeMap<Revision, u32>,
    pub epoch: u64,
    pub seq: u64,
    /// When the last event happened.
    pub at: Millis,
    pub revision_max: u64,
    pub deployment_max: u64,
}

/// The former stable revision, still running: one flip away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hot {
    pub placed: Placed,
    pub until: Millis,
    /// The watch over its successor goes on while it is hot.
    pub judge: Judge,
}

/// A revision that takes no new request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Leaving {
    pub placed: Placed,
    pub since: Millis,
    pub until: Millis,
    pub drained: bool,
    /// It never became stable: its end is an event of its deployment.
    pub candidate_of: Option<DeploymentId>,
}

/// One attempt to make a revision stable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    pub id: DeploymentId,
    pub of: DeploymentKind,
    pub candidate: Placed,
    pub settings: RolloutSettings,
    pub folder: String,
    pub reason: Option<String>,
    pub phase: Phase,
    /// When the phase began.
    pub since: Millis,
    /// Runs from the request; stands still while paused.
    pub clock: Stopwatch,
    /// Runs from the phase's begin; stands still while paused or held.
    pub phase_clock: Stopwatch,
    pub paused: bool,
    pub held: Option<String>,
    pub judge: Judge,
    pub monitor: MonitorState,
    /// What became of the copies of requests.
    #[serde(default)]
    pub mirrored: MirrorCounts,
    /// Doubt has made the present step longer.
    pub extended: bool,
    pub launched: bool,
    /// The last change of direction: a table or a proof older than this says nothing about it.
    pub routed_at: Generation,
    pub release_stored: bool,
    /// Hooks, migrations and checks that have run and passed.
    pub done: BTreeSet<TaskId>,
    /// One that failed and ends the deployment.
    pub failed: Option<ReturnReason>,
    /// A verdict not yet acted upon.
    pub condemned: Option<ReturnReason>,
    pub verdict: Option<Evidence>,
    /// Whether the candidate was judged on enough requests; set with `promoted`.
    pub proven: bool,
    /// An operator skipped the steps that were left.
    pub hurried: bool,
}

/// How far a deployment is. `Finished` is the absence of a deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// The hook before the deployment and the expand migration run.
    Preparing,
    /// Replicas of the candidate start.
    Launching,
    /// Checks ask the candidate before it gets any request.
    Verifying,
    /// Copies of requests are sent to it, and its answers compared with stable's.
    Mirroring,
    /// The edge is told the weight of this step.
    Shifting { step: usize },
    /// The step is watched.
    Baking { step: usize },
    /// Promoted; the edge must prove who answers.
    Promoting,
    /// Traffic goes back to stable.
    Returning { why: ReturnReason, returned: bool },
}

impl Phase {
    /// Returns the word shown to people.
    pub fn word(&self) -> &'static str {
        match self {
            Phase::Preparing => "preparing",
            Phase::Launching => "launching",
            Phase::Verifying => "verifying",
            Phase::Mirroring => "mirroring",
            Phase::Shifting { .. } => "shifting",
            Phase::Baking { .. } => "baking",
            Phase::Promoting => "promoting",
            Phase::Returning { .. } => "returning",
        }
    }
}

/// An idempotency key and what it was answered with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KnownKey {
    pub key: String,
    pub deployment: DeploymentId,
    pub seq: u64,
    pub outcome: Option<Outcome>,
}

/// A replica that ended without having been asked to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lost {
    pub at: Millis,
    pub revision: Revision,
    pub replica: ReplicaId,
}

impl State {
    /// Returns the state of a target nothing has ever happened to.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            settings: TargetSettings::default(),
            replicas_by_hand: None,
            maintenance: None,
            stable: None,
            stable_rollout: RolloutSettings::default(),
            stable_folder: ".".to_owned(),
            proven: Vec::new(),
            hot: None,
            leaving: Vec::new(),
            deployment: None,
            keys: VecDeque::new(),
            lost: VecDeque::new(),
            to_replace: BTreeMap::new(),
            epoch: 0,
            seq: 0,
            at: Millis(0),
            revision_max: 0,
            deployment_max: 0,
        }
    }

    /// Returns the generation that what follows from this state is published with.
    pub fn generation(&self) -> Generation {
        Generation { epoch: self.epoch, seq: self.seq }
    }

    /// Returns how many replicas full weight needs.
    pub fn replicas(&self) -> u32 {
        self.replicas_by_hand.unwrap_or(self.settings.replicas.min).max(1)
    }

    /// Returns who judges now: the running deployment's judge, or that of the watch over a successor.
    pub fn judge(&self) -> Option<&Judge> {
        let running = self.deployment.as_ref().map(|running| &running.judge);
        running.or_else(|| self.hot.as_ref().map(|hot| &hot.judge))
    }

    /// Returns the deployment an event belongs to: the running one, or the one whose candidate it speaks of.
    pub fn deployment_of(&self, event: &Event) -> Option<DeploymentId> {
        match event {
            Event::DeploymentRequested(requested) => Some(requested.deployment.clone()),
            Event::CandidateRemoved { revision } | Event::Drained { revision } => {
                let leaving = self.leaving.iter().find(|leaving| leaving.placed.revision == *revision);
                leaving.and_then(|leaving| leaving.candidate_of.clone())
            }
            Event::RevisionRetired { .. }
            | Event::SettingsChanged { .. }
            | Event::MaintenanceChanged { .. }
            | Event::Scaled { .. }
            | Event::LeaseTaken { .. }
            | Event::ClockStepped { .. } => None,
            _ => self.deployment.as_ref().map(|running| running.id.clone()),
        }
    }

    /// Returns the digests of artefacts that must not be collected.
    pub fn artifacts_in_use(&self) -> BTreeSet<String> {
        let placed = self
            .stable
            .iter()
            .chain(&self.proven)
            .chain(self.hot.iter().map(|hot| &hot.placed))
            .chain(self.leaving.iter().map(|leaving| &leaving.placed))
            .chain(self.deployment.iter().map(|deployment| &deployment.candidate));
        placed.filter_map(|placed| placed.spec.artifact.clone()).collect()
    }

    /// Returns what a rollback would bring back, if anything, without a running deployment.
    pub fn rollback_target(&self) -> Option<&Placed> {
        self.hot.as_ref().map(|hot| &hot.placed).or_else(|| self.proven.last())
    }
}

impl Deployment {
    pub fn last_step(&self) -> usize {
        self.settings.steps.len().saturating_sub(1)
    }

    /// Returns the checks that belong to a moment; only a judged deployment has any.
    pub fn checks(&self, when: When) -> impl Iterator<Item = &crate::plan::Check> {
        let judged = self.of == DeploymentKind::Deploy;
        self.settings.checks.iter().filter(move |check| judged && check.when == when)
    }

    /// Returns the synthetic requests to send the candidate now, if any.
    pub fn wants_probes(&self) -> Option<&crate::plan::Probes> {
        let watched = matches!(self.phase, Phase::Baking { .. }) && self.is_judged();
        self.settings.judge.probes.as_ref().filter(|_| watched)
    }

    /// Returns the id of a task of this deployment.
    pub fn task(&self, name: impl Into<String>) -> TaskId {
        TaskId { deployment: self.id.clone(), name: name.into() }
    }

    /// Tells whether nothing is left to run before the launch.
    pub fn prepared(&self) -> bool {
        self.release_stored
            && (!self.has_before_hook() || self.done.contains(&self.task(BEFORE_HOOK)))
            && (!self.has_expand() || self.done.contains(&self.task(EXPAND)))
    }

    pub(super) fn has_before_hook(&self) -> bool {
        self.of != DeploymentKind::Return && !self.settings.hooks.before_deploy.is_empty()
    }

    pub(super) fn has_after_hook(&self) -> bool {
        self.of != DeploymentKind::Return && !self.settings.hooks.after_deploy.is_empty()
    }

    pub(super) fn has_expand(&self) -> bool {
        self.of == DeploymentKind::Deploy && !self.candidate.spec.expand.is_empty()
    }
}

pub(super) const BEFORE_HOOK: &str = "before_deploy";
pub(super) const AFTER_HOOK: &str = "after_deploy";
pub(super) const EXPAND: &str = "expand";
