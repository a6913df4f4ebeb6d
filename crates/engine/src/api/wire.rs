//! Says what clients and the engine tell each other. JSON over HTTP/1.1.
//!
//! | request | answer |
//! |---|---|
//! | `POST /v1/deploy` [`DeployRequest`] | 200 [`Accepted`], or an [`ApiError`] |
//! | `POST /v1/command` [`CommandRequest`] | 200 [`Accepted`], or an [`ApiError`] |
//! | `POST /v1/settings` [`SettingsRequest`] | 200 [`Accepted`], or an [`ApiError`] |
//! | `POST /v1/shutdown` [`ShutdownRequest`] | 200 once everything is stopped |
//! | `GET /v1/status` | 200 [`Status`] |
//! | `GET /v1/deployments?target=T&limit=N` | 200 list of [`DeploymentView`], newest first |
//! | `GET /v1/deployments/{target}/{id}` | 200 [`DeploymentView`], 404 |
//! | `GET /v1/deployments/{target}/{id}/evidence` | 200 [`rollout::bundle::Bundle`], also while it runs |
//! | `GET /v1/traffic/{target}?weights=5,25,95` | 200 [`TrafficView`], calibrated for these weights (default: the last rollout's) |
//! | `GET /v1/events?after=CURSOR&target=T&detail=1` | server-sent events: `id:` cursor, `data:` one journal record |
//! | `GET /v1/logs?target=T&revision=R&replica=ID&lines=N` | 200 [`LogLines`] list |
//! | `GET /metrics` | Prometheus text |
//!
//! Posting needs the Unix socket (or the token); reading is open on loopback.

use manifest::edge::TlsState;
use manifest::service::ServiceConfig;
use rollout::guard::GuardMode;
use rollout::judge::Calibration;
use rollout::names::{DeploymentId, Label, Millis, Release, Revision, Target};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Asks for a release to be made and rolled out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeployRequest {
    /// Repeating a request with the same key is answered with the same deployment.
    pub key: String,
    /// Paths absolute; command-line overrides already applied.
    pub service: ServiceConfig,
    /// Folder of the manifest: where hooks and checks run.
    pub folder: PathBuf,
    pub label: Option<Label>,
    /// Abort a running deployment of another release first.
    pub supersede: bool,
}

/// Asks for something to be done with a target.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CommandRequest {
    pub service: String,
    #[serde(flatten)]
    pub command: Command,
}

/// What an operator can ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Ends the current bake now; `now` skips the remaining steps too.
    Promote {
        now: bool,
    },
    Abort,
    Pause,
    Resume,
    /// Back to the last proven release, or to the one named (a prefix of its id, or its label).
    Rollback {
        to: Option<String>,
    },
    MaintenanceOn {
        hold: Millis,
    },
    MaintenanceOff,
    /// None: as the manifest says.
    Scale {
        replicas: Option<u32>,
    },
}

/// Brings the settings of the targets in line with the manifest, at `up`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SettingsRequest {
    pub services: Vec<ServiceConfig>,
}

/// Ends the environment: a running deployment is returned, then every replica is stopped.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShutdownRequest {
    pub keep_replicas: bool,
}

/// The journal has it; `cursor` is where following starts so that nothing is missed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Accepted {
    pub target: Target,
    pub deployment: Option<DeploymentId>,
    /// Journal position of the event that answers the request.
    pub seq: u64,
    /// Set when nothing had to be done: the deployment has ended already.
    pub outcome: Option<rollout::event::Outcome>,
    /// What the operator should know before going on.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// What failed, why, and what to do next.
#[derive(Debug, Clone, Serialize, Deserialize, thiserror::Error)]
#[error("{error}")]
pub struct ApiError {
    /// A fragment that fits after "cannot".
    pub error: String,
    pub cause: Option<String>,
    pub next: Option<String>,
    /// The exit code of interface.md that a command ends with.
    pub exit: u8,
}

/// `status --json`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    pub environment: String,
    pub engine: EngineStatus,
    /// Address of the read-only API.
    pub api: String,
    /// None: the edge does not answer.
    pub edge: Option<EdgeStatus>,
    pub services: Vec<ServiceStatus>,
    /// Files of the state directory that were not what was written, and what was done about it, since this engine began.
    #[serde(default)]
    pub repaired: Vec<Repaired>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Repaired {
    pub at: Millis,
    pub file: String,
    pub text: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct EngineStatus {
    pub pid: u32,
    #[serde(default)]
    pub version: String,
    /// Until when this engine has promised to lead the state directory; renewed as long as it is well.
    pub lease_until: Option<Millis>,
    /// Counts the engines that have led it since it was brought up.
    #[serde(default)]
    pub lease_epoch: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct EdgeStatus {
    pub pid: u32,
    #[serde(default)]
    pub version: String,
    pub listen: Vec<String>,
    /// None: no address has TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsState>,
}

impl EdgeStatus {
    /// Returns the addresses users are served at, as they write them.
    pub fn urls(&self) -> impl Iterator<Item = String> {
        let with_tls = self.tls.as_ref().map(|tls| tls.listen.as_slice()).unwrap_or_default();
        let scheme = move |address| if with_tls.contains(address) { "https" } else { "http" };
        self.listen.iter().map(move |address| format!("{}://{address}", scheme(address)))
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ServiceStatus {
    pub service: String,
    pub target: Target,
    /// `idle`, `waiting` (another engine leads), `damaged`, or the phase of the running deployment.
    pub phase: String,
    /// What the phase waits for, in words.
    pub waiting_for: Option<String>,
    pub paused: bool,
    pub held: Option<String>,
    pub maintenance: bool,
    pub deployment: Option<DeploymentId>,
    /// Share of requests that go to the candidate, percent.
    pub weight: u8,
    pub stable: Option<RevisionStatus>,
    pub candidate: Option<RevisionStatus>,
    pub hot: Option<RevisionStatus>,
    pub verdict: Option<VerdictStatus>,
    pub rollback_ready: bool,
    pub rollback_reason: String,
    /// When it was last looked at. None: not yet, or there is nothing to go back to.
    #[serde(default)]
    pub rollback_checked_at: Option<Millis>,
    pub alarms: Vec<String>,
    /// What is wrong with the target's state, why, and what to do; set in phase `damaged`.
    pub damage: Option<String>,
    /// The rules of its guard, in the order they are asked.
    #[serde(default)]
    pub guard: Vec<GuardStatus>,
    /// Who leads the target; None in phase `damaged`.
    #[serde(default)]
    pub lease: Option<LeaseStatus>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LeaseStatus {
    /// The fencing token: what carries an older one is refused.
    pub epoch: u64,
    pub owner: String,
    /// By the owner's clock; renewed as long as it is well.
    pub until: Millis,
    /// The engine that answers has it. Otherwise it refuses commands for this target, and waits.
    pub ours: bool,
}

/// One rule of a guard, and what it said since the engine started.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct GuardStatus {
    pub rule: String,
    /// `count` or `block`.
    pub mode: GuardMode,
    /// Requests that matched and went on.
    pub counted: u64,
    /// Requests that were refused.
    pub blocked: u64,
    /// Requests it could not know about: addresses without a country.
    pub unknown: u64,
    /// Why it cannot do its work; it lets everything pass meanwhile.
    pub trouble: Option<String>,
    /// The last few that matched, redacted: `GET /api/patients/{…} (429)`.
    pub examples: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RevisionStatus {
    pub revision: Revision,
    pub release: Release,
    pub label: Option<Label>,
    pub replicas: ReplicaCounts,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReplicaCounts {
    pub wanted: u32,
    pub ready: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct VerdictStatus {
    /// `not enough evidence`, `better or equal`, `worse`.
    pub state: String,
    pub metric: String,
    /// Candidate requests counted so far.
    pub requests: u64,
    pub errors: u64,
    pub stable_requests: u64,
    pub stable_errors: u64,
    /// How often a harmless candidate would ever look like this, at most; None before its first request.
    pub p_value: Option<f64>,
    /// Synthetic requests the candidate answered, beside those of users.
    #[serde(default)]
    pub probes: u64,
    /// The judge uses the constants of a cold start.
    #[serde(default)]
    pub cold: bool,
}

/// One row of `history`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentView {
    pub target: Target,
    pub deployment: DeploymentId,
    /// `deploy`, `rollback` or `return`.
    pub kind: String,
    pub release: Release,
    pub label: Option<Label>,
    pub revision: Revision,
    pub actor: String,
    pub requested_at: Millis,
    pub finished_at: Option<Millis>,
    /// None while it runs.
    pub outcome: Option<rollout::event::Outcome>,
    /// Why it ended so, in a sentence.
    pub reason: Option<String>,
    /// Journal position of its first and last event.
    pub first_seq: u64,
    pub last_seq: u64,
}

/// What is known of a service's traffic: its last hour, and what the judge would begin with.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TrafficView {
    pub target: Target,
    /// None: nothing serves, so nothing would be compared.
    pub stable: Option<Revision>,
    /// Of all revisions, over the last hour; 0 when nothing was counted.
    pub requests_per_second: f64,
    /// Seconds of the last hour that were counted.
    pub seconds: u64,
    /// Share of stable's requests of the last hour that failed; None without any.
    pub error_rate: Option<f64>,
    /// Stable's, of the last day; empty before a thousand requests, or where latency is not judged.
    pub latency: Vec<LatencyQuantile>,
    /// Hours of stable's traffic that are known.
    pub hours: f64,
    /// Some weight has the constants of a cold start.
    pub cold: bool,
    /// What the judge would know. Rates, thresholds, the constants of each weight, routes judged on their own.
    pub calibration: Calibration,
}

/// How long stable takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyQuantile {
    /// A share of the requests, of one.
    pub quantile: f64,
    /// Milliseconds this share does not exceed.
    pub ms: f64,
}

/// What one replica wrote.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogLines {
    pub revision: Revision,
    pub replica: String,
    /// Absolute path of the file the lines come from.
    pub path: String,
    pub lines: Vec<String>,
}
