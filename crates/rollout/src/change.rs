//! Compares what should be with what is, and says which moves are safe now. Adds before it removes.
//! Makes no move itself; `engine::executor` does, through the drivers and the edge.

use crate::names::{DeploymentId, Millis, ReplicaId, Revision};
use crate::release::Placed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

/// One move. Doing it twice is the same as doing it once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// Start replicas until `replicas` of the revision run; never stops one.
    Launch { placed: Placed, replicas: u32 },
    /// Stop these replicas: SIGTERM, after `grace` SIGKILL; then forget them, their ports and their logs' place in the quota.
    Stop { revision: Revision, replicas: Vec<ReplicaId>, grace: Millis },
    /// Stop every replica of the revision and forget it.
    Remove { revision: Revision, grace: Millis },
    /// Run a command once.
    RunTask { task: Task },
}

/// A command that runs once beside the replicas: a hook, a check, a migration. Identified by `id`:
/// a second `RunTask` with a known id does nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub id: TaskId,
    pub command: Vec<String>,
    pub place: TaskPlace,
    pub env: BTreeMap<String, String>,
    /// After this long the task's process group is killed and its state is `TimedOut`.
    pub deadline: Millis,
}

/// Where a task runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskPlace {
    /// In the folder of the stored artefact with this digest.
    Artifact(String),
    /// In a folder of the machine (the one the manifest lies in).
    Folder(String),
}

/// Names a task within its target: the deployment and what it is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct TaskId {
    pub deployment: DeploymentId,
    pub name: String,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.deployment, self.name)
    }
}

/// What is there, as a driver sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    pub replicas: Vec<ObservedReplica>,
    pub tasks: Vec<ObservedTask>,
}

/// One replica, running or just ended. An ended one stays until it is stopped (forgotten).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObservedReplica {
    pub replica: ReplicaId,
    pub revision: Revision,
    /// Where it listens, or will.
    pub address: SocketAddr,
    pub pid: Option<u32>,
    /// Wall clock of the launch.
    pub launched_at: Millis,
    pub state: ReplicaState,
}

/// How far a replica is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaState {
    /// Running, but nothing of its process group listens on its port yet.
    Starting,
    /// A process of its own group listens on its port.
    Listening,
    /// Gone without having been asked to.
    Exited(Ended),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    Code(i32),
    Signal(i32),
    /// Killed because its deadline had passed.
    TimedOut,
    /// Nobody was there to read the status. A legal fact, never success.
    Unknown,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Code(code) => write!(f, "exit code {code}"),
            Ended::Signal(signal) => write!(f, "signal {signal}"),
            Ended::TimedOut => f.write_str("its deadline passed"),
            Ended::Unknown => f.write_str("status unknown"),
        }
    }
}

/// One task, running or ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedTask {
    pub id: TaskId,
    /// None: still running.
    pub ended: Option<Ended>,
    /// The last lines it wrote, at most 2 KiB, for the error people read.
    pub output: String,
}
