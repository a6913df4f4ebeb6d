//! Says what happened, in the past tense, as the journal keeps it. Only `machine::apply` gives events a meaning.
//! Fields are only added, with defaults, so that every journal ever written can be read.

use crate::change::{Ended, TaskId};
use crate::judge::{Calibration, Evidence, Finding, Record};
use crate::machine::MonitorRound;
use crate::mirror::MirrorCounts;
use crate::names::{Actor, DeploymentId, Generation, Millis, Release, ReplicaId, Revision, Target, Weight};
use crate::plan::{RolloutSettings, TargetSettings};
use crate::release::Placed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Version of the event's shape, in every record.
pub const EVENT_VERSION: u32 = 1;

/// One line of the journal: an event and where it stands in the chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventRecord {
    pub v: u32,
    /// Counts per target from 1, without holes.
    pub seq: u64,
    /// Wall clock, milliseconds since the Unix epoch; never earlier than the event before.
    pub at: Millis,
    pub target: Target,
    pub deployment: Option<DeploymentId>,
    pub actor: Actor,
    #[serde(flatten)]
    pub event: Event,
    /// SHA-256 of the record before, lower-case hex; 64 zeros for the first.
    pub prev_hash: String,
    pub hash: String,
}

/// What happened to a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    DeploymentRequested(Box<Requested>),
    ReleaseStored {
        release: Release,
        artifact: Option<String>,
    },
    HookRan {
        hook: TaskId,
        ended: Ended,
        output: String,
    },
    MigrationExpanded {
        task: TaskId,
    },
    CandidateLaunched {
        revision: Revision,
        replicas: u32,
    },
    CandidateReady {
        revision: Revision,
        replicas: u32,
    },
    CheckRan {
        check: TaskId,
        ended: Ended,
        output: String,
    },
    CandidateVerified {
        revision: Revision,
    },
    /// Requests were copied to the candidate as long as planned, and what they showed does not speak against it.
    MirrorPassed {
        counts: MirrorCounts,
    },
    TrafficShifted {
        revision: Revision,
        weight: Weight,
        generation: Generation,
    },
    /// What the judge may assume about this service, from the stable version's own traffic.
    JudgeCalibrated {
        calibration: Box<Calibration>,
    },
    EvidenceAdded {
        record: Record,
    },
    /// The named checks were asked once.
    ChecksAnswered {
        round: MonitorRound,
    },
    /// Something an operator should know and no reason to go back by itself.
    FindingReported {
        finding: Finding,
    },
    /// The step was watched as long as planned, and nothing is proven yet.
    BakeExtended {
        step: usize,
        until: Millis,
        requests: u64,
    },
    Paused,
    Resumed,
    Held {
        why: String,
    },
    HoldEnded,
    BakePassed {
        step: usize,
    },
    VerdictReached {
        verdict: VerdictWord,
        evidence: Evidence,
        why: ReturnReason,
    },
    ReturnStarted {
        why: ReturnReason,
    },
    TrafficReturned {
        revision: Revision,
        generation: Generation,
    },
    Aborted {
        superseded: bool,
    },
    /// The operator ended the current bake; `now`: and skipped the steps that were left.
    StepPromoted {
        now: bool,
    },
    Promoted {
        revision: Revision,
        proven: bool,
        requests: u64,
        /// Synthetic requests it answered, beside those.
        #[serde(default)]
        probes: u64,
    },
    DeploymentFinished {
        outcome: Outcome,
        served_by: Option<ServedBy>,
        reason: Option<String>,
    },
    Drained {
        revision: Revision,
    },
    CandidateRemoved {
        revision: Revision,
    },
    RevisionRetired {
        revision: Revision,
    },
    SettingsChanged {
        settings: TargetSettings,
    },
    /// None: over.
    MaintenanceChanged {
        hold: Option<Millis>,
    },
    ReplicaLost {
        revision: Revision,
        replica: ReplicaId,
        ended: Ended,
    },
    ReplicaReplaced {
        revision: Revision,
        replica: ReplicaId,
    },
    /// None: as the settings say.
    Scaled {
        replicas: Option<u32>,
    },
    LeaseTaken {
        epoch: u64,
        owner: String,
    },
    ClockStepped {
        by_ms: i64,
    },
}

/// Everything a deployment needs, recorded once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Requested {
    /// The record around it has a field `deployment`.
    #[serde(rename = "id")]
    pub deployment: DeploymentId,
    pub key: String,
    pub of: DeploymentKind,
    pub candidate: Placed,
    pub settings: RolloutSettings,
    /// Where hooks and checks run.
    pub folder: String,
    /// Why, when nobody asked: the verdict that opened a return.
    pub reason: Option<String>,
}

/// What a deployment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentKind {
    /// A release, judged.
    Deploy,
    /// The operator goes back; not judged.
    Rollback,
    /// The watch after a promotion goes back; not judged.
    Return,
}

/// How a deployment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Promoted,
    PromotedUnproven,
    Unchanged,
    RolledBack,
    UnprovenReturn,
    Aborted,
    Superseded,
}

impl Outcome {
    pub const ALL: [Outcome; 7] = [
        Outcome::Promoted,
        Outcome::PromotedUnproven,
        Outcome::Unchanged,
        Outcome::RolledBack,
        Outcome::UnprovenReturn,
        Outcome::Aborted,
        Outcome::Superseded,
    ];

    /// Returns the exit code of a command that followed the deployment.
    pub const fn exit_code(self) -> u8 {
        match self {
            Outcome::Promoted | Outcome::PromotedUnproven | Outcome::Unchanged => 0,
            Outcome::RolledBack => 4,
            Outcome::UnprovenReturn => 5,
            Outcome::Aborted | Outcome::Superseded => 6,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Promoted => "promoted",
            Outcome::PromotedUnproven => "promoted, unproven",
            Outcome::Unchanged => "unchanged",
            Outcome::RolledBack => "rolled back",
            Outcome::UnprovenReturn => "returned, but stable is not proven healthy",
            Outcome::Aborted => "aborted",
            Outcome::Superseded => "superseded",
        })
    }
}

/// Who answered a request sent the way users' requests go, after the last change of routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServedBy {
    pub release: Release,
    pub revision: Revision,
    pub replica: ReplicaId,
    pub generation: Generation,
}

/// The judge's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerdictWord {
    BetterOrEqual,
    Worse,
    NotEnoughEvidence,
}

impl fmt::Display for VerdictWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            VerdictWord::BetterOrEqual => "better or equal",
            VerdictWord::Worse => "worse",
            VerdictWord::NotEnoughEvidence => "not enough evidence",
        })
    }
}

/// Why traffic goes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum ReturnReason {
    Worse,
    NeverReady {
        waited: Millis,
    },
    LaunchRefused {
        why: String,
    },
    CrashLoop {
        exits: u32,
    },
    CandidateLost,
    LivenessFailing {
        replica: ReplicaId,
    },
    TaskFailed {
        task: TaskId,
        ended: Ended,
    },
    TelemetryLost {
        silent: Millis,
    },
    /// Named checks that fail on the candidate and not on stable.
    ChecksFailing {
        checks: Vec<String>,
    },
    /// The last bake ended without proof, and the settings say that such a release goes back.
    Unproven {
        requests: u64,
    },
    DeadlinePassed {
        after: Millis,
    },
    NotProven {
        waited: Millis,
    },
    Aborted,
    Superseded,
    EnvironmentStopped,
}

impl fmt::Display for ReturnReason {
    /// Writes a sentence without its full stop.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReturnReason::Worse => f.write_str("the candidate serves worse than stable does"),
            ReturnReason::NeverReady { waited } => write!(f, "the candidate was not ready within {waited}"),
            ReturnReason::LaunchRefused { why } => write!(f, "the candidate could not be launched: {why}"),
            ReturnReason::CrashLoop { exits } => write!(f, "the candidate's replicas exited {exits} times"),
            ReturnReason::CandidateLost => f.write_str("no replica of the candidate is ready any more"),
            ReturnReason::LivenessFailing { replica } => {
                write!(f, "replica {replica} fails its liveness probe")
            }
            ReturnReason::TaskFailed { task, ended } => write!(f, "{} failed: {ended}", task.name),
            ReturnReason::TelemetryLost { silent } => {
                write!(f, "the edge has reported nothing about the candidate for {silent}")
            }
            ReturnReason::ChecksFailing { checks } => {
                write!(f, "the candidate fails {}", checks.join(" and "))
            }
            ReturnReason::Unproven { requests } => {
                write!(f, "too little was seen to prove it, {requests} request(s)")
            }
            ReturnReason::DeadlinePassed { after } => {
                write!(f, "the deployment did not end within its deadline of {after}")
            }
            ReturnReason::NotProven { waited } => {
                write!(f, "the edge could not show within {waited} that the candidate answers")
            }
            ReturnReason::Aborted => f.write_str("an operator aborted it"),
            ReturnReason::Superseded => f.write_str("a newer deployment superseded it"),
            ReturnReason::EnvironmentStopped => {
                f.write_str("the environment was stopped in the middle of it")
            }
        }
    }
}

/// The word of the journal for an event: its `kind`.
impl Event {
    pub fn kind(&self) -> &'static str {
        match self {
            Event::DeploymentRequested(_) => "deployment_requested",
            Event::ReleaseStored { .. } => "release_stored",
            Event::HookRan { .. } => "hook_ran",
            Event::MigrationExpanded { .. } => "migration_expanded",
            Event::CandidateLaunched { .. } => "candidate_launched",
            Event::CandidateReady { .. } => "candidate_ready",
            Event::CheckRan { .. } => "check_ran",
            Event::CandidateVerified { .. } => "candidate_verified",
            Event::MirrorPassed { .. } => "mirror_passed",
            Event::TrafficShifted { .. } => "traffic_shifted",
            Event::JudgeCalibrated { .. } => "judge_calibrated",
            Event::EvidenceAdded { .. } => "evidence_added",
            Event::ChecksAnswered { .. } => "checks_answered",
            Event::FindingReported { .. } => "finding_reported",
            Event::BakeExtended { .. } => "bake_extended",
            Event::Paused => "paused",
            Event::Resumed => "resumed",
            Event::Held { .. } => "held",
            Event::HoldEnded => "hold_ended",
            Event::BakePassed { .. } => "bake_passed",
            Event::VerdictReached { .. } => "verdict_reached",
            Event::ReturnStarted { .. } => "return_started",
            Event::TrafficReturned { .. } => "traffic_returned",
            Event::Aborted { .. } => "aborted",
            Event::StepPromoted { .. } => "step_promoted",
            Event::Promoted { .. } => "promoted",
            Event::DeploymentFinished { .. } => "deployment_finished",
            Event::Drained { .. } => "drained",
            Event::CandidateRemoved { .. } => "candidate_removed",
            Event::RevisionRetired { .. } => "revision_retired",
            Event::SettingsChanged { .. } => "settings_changed",
            Event::MaintenanceChanged { .. } => "maintenance_changed",
            Event::ReplicaLost { .. } => "replica_lost",
            Event::ReplicaReplaced { .. } => "replica_replaced",
            Event::Scaled { .. } => "scaled",
            Event::LeaseTaken { .. } => "lease_taken",
            Event::ClockStepped { .. } => "clock_stepped",
        }
    }
}

impl fmt::Display for Event {
    /// Writes the event's own line, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::DeploymentRequested(requested) => requested.fmt(f),
            Event::ReleaseStored { release, .. } => write!(f, "stored release {}", release.short()),
            Event::HookRan { hook, ended, .. } => write!(f, "hook {} ended: {ended}", hook.name),
            Event::MigrationExpanded { .. } => f.write_str("expand migration ran"),
            Event::CandidateLaunched { revision, replicas } => {
                write!(f, "launched {replicas} replica(s) of revision {revision}")
            }
            Event::CandidateReady { revision, replicas } => {
                write!(f, "revision {revision} is ready on {replicas} replica(s)")
            }
            Event::CheckRan { check, ended, .. } => write!(f, "check {} ended: {ended}", check.name),
            Event::CandidateVerified { revision } => write!(f, "revision {revision} passed its checks"),
            Event::MirrorPassed { counts } => counts.fmt(f),
            Event::TrafficShifted { revision, weight, .. } => {
                write!(f, "revision {revision} gets {weight} of the requests")
            }
            Event::JudgeCalibrated { calibration } => calibration.fmt(f),
            Event::EvidenceAdded { record } => record.fmt(f),
            Event::ChecksAnswered { round } => round.fmt(f),
            Event::FindingReported { finding } => write!(f, "finding: {finding}"),
            Event::BakeExtended { step, until, requests } => extended(f, *step, *until, *requests),
            Event::Paused | Event::Resumed => f.write_str(self.kind()),
            Event::Held { why } => write!(f, "held: {why}"),
            Event::HoldEnded => f.write_str("hold ended"),
            Event::BakePassed { step } => write!(f, "step {} was watched long enough", step + 1),
            Event::VerdictReached { verdict, evidence, .. } => write!(f, "verdict: {verdict}; {evidence}"),
            Event::ReturnStarted { why } => write!(f, "returning: {why}"),
            Event::TrafficReturned { revision, .. } => {
                write!(f, "revision {revision} gets every request again")
            }
            Event::Aborted { superseded: true } => f.write_str("aborted for a newer deployment"),
            Event::Aborted { superseded: false } => f.write_str("aborted by an operator"),
            Event::StepPromoted { now: true } => f.write_str("an operator skipped the rest of the rollout"),
            Event::StepPromoted { now: false } => f.write_str("an operator ended this step"),
            Event::Promoted { revision, proven: true, .. } => write!(f, "promoted revision {revision}"),
            Event::Promoted { revision, proven: false, requests, probes: 0 } => {
                write!(f, "promoted revision {revision}, unproven: it answered only {requests} request(s)")
            }
            Event::Promoted { revision, proven: false, requests, probes } => write!(
                f,
                "promoted revision {revision}, unproven: it answered only {requests} request(s) and {probes} synthetic one(s)"
            ),
            Event::DeploymentFinished { outcome, reason: Some(reason), .. } => {
                write!(f, "finished: {outcome}: {reason}")
            }
            Event::DeploymentFinished { outcome, .. } => write!(f, "finished: {outcome}"),
            Event::Drained { revision } => write!(f, "revision {revision} has no request left"),
            Event::CandidateRemoved { revision } => write!(f, "removed revision {revision}"),
            Event::RevisionRetired { revision } => write!(f, "revision {revision} is no longer kept hot"),
            Event::SettingsChanged { .. } => f.write_str("settings changed"),
            Event::MaintenanceChanged { hold: Some(hold) } => {
                write!(f, "maintenance began: requests wait at most {hold}")
            }
            Event::MaintenanceChanged { hold: None } => f.write_str("maintenance ended"),
            Event::ReplicaLost { replica, ended, .. } => write!(f, "lost replica {replica}: {ended}"),
            Event::ReplicaReplaced { replica, .. } => write!(f, "replica {replica} took its place"),
            Event::Scaled { replicas: Some(replicas) } => {
                write!(f, "scaled to {replicas} replica(s) by hand")
            }
            Event::Scaled { replicas: None } => f.write_str("scaled as the manifest says"),
            Event::LeaseTaken { epoch, owner } => write!(f, "{owner} took the lease, epoch {epoch}"),
            Event::ClockStepped { by_ms } => write!(f, "the wall clock stepped by {by_ms} ms"),
        }
    }
}

fn extended(f: &mut fmt::Formatter<'_>, step: usize, until: Millis, requests: u64) -> fmt::Result {
    let step = step + 1;
    write!(
        f,
        "step {step} is watched longer, {until} at most: too little is known after {requests} request(s)"
    )
}

impl fmt::Display for Requested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.of {
            DeploymentKind::Deploy => "deploy",
            DeploymentKind::Rollback => "roll back to",
            DeploymentKind::Return => "return to",
        };
        write!(f, "{}: {what} release {}", self.deployment, self.candidate.release.short())?;
        if let Some(label) = &self.candidate.label {
            write!(f, " ({label})")?;
        }
        write!(f, " as revision {}", self.candidate.revision)
    }
}
