//! Compares what should be with what is, and says which moves are safe now. Adds before it removes.
//! Makes no move itself; `engine::executor` does, through the drivers and the edge.

use crate::machine::{Desired, Presence, Wanted, WantedTask, World};
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

/// How long a replica that ended by itself, or fails, is given: there is nothing to wait for.
const AT_ONCE: Millis = Millis(0);

/// Returns the moves that are safe now, what adds before what removes.
///
/// Nothing that the edge still routes to is stopped, and nothing at all while the edge's routes are unknown.
pub fn changes(desired: &Desired, world: &World) -> Vec<Change> {
    let launches = desired.revisions.values().filter_map(|wanted| launch(wanted, world));
    let tasks = desired.tasks.iter().filter_map(|wanted| run(wanted, world));
    let stops = world
        .revisions
        .iter()
        .flat_map(|(revision, presence)| stop(*revision, presence, desired.revisions.get(revision), world));
    launches.chain(tasks).chain(stops).collect()
}

fn launch(wanted: &Wanted, world: &World) -> Option<Change> {
    let presence = world.presence(wanted.placed.revision);
    // A replica that fails keeps its place until another one is there to take its requests.
    let failing = presence.running().filter(|(_, seen)| seen.failing).count() as u32;
    let present = presence.running().count() as u32;
    (present.saturating_sub(failing) < wanted.replicas).then(|| Change::Launch {
        placed: wanted.placed.clone(),
        replicas: wanted.replicas.saturating_add(failing),
    })
}

fn run(wanted: &WantedTask, world: &World) -> Option<Change> {
    let WantedTask::Run { task, revision } = wanted else { return None };
    if world.tasks.contains_key(&task.id) {
        return None;
    }
    let mut task = task.clone();
    if let Some((_, replica)) = world.presence(*revision).ready().next() {
        task.env.insert("MEDECLIPSE_CANDIDATE_URL".to_owned(), format!("http://{}", replica.address));
    }
    Some(Change::RunTask { task })
}

fn stop(revision: Revision, presence: &Presence, wanted: Option<&Wanted>, world: &World) -> Vec<Change> {
    let mut stops = Vec::new();
    let Some(edge) = &world.edge else { return stops };
    let unrouted = |id: &ReplicaId| !edge.routed.contains(id);
    // One that ended is kept as long as it is routed to: its port must not go to somebody else meanwhile.
    let ended = presence.replicas.iter().filter(|(id, seen)| seen.exited.is_some() && unrouted(id));
    let ended: Vec<_> = ended.map(|(id, _)| id.clone()).collect();
    if !ended.is_empty() {
        stops.push(Change::Stop { revision, replicas: ended, grace: AT_ONCE });
    }
    let Some(wanted) = wanted else {
        // Also one that ended: with the revision its port would go, and requests may still be sent there. The table may name
        // one that the platform no longer shows.
        let named = [edge.stable, edge.candidate.map(|(revision, _)| revision), edge.former]
            .contains(&Some(revision));
        if presence.running().next().is_some() && presence.replicas.keys().all(unrouted) && !named {
            stops.push(Change::Remove { revision, grace: REMOVE_GRACE });
        }
        return stops;
    };
    let failing: Vec<_> = presence
        .running()
        .filter(|(id, seen)| seen.failing && unrouted(id))
        .map(|(id, _)| id.clone())
        .collect();
    if !failing.is_empty() {
        stops.push(Change::Stop { revision, replicas: failing, grace: AT_ONCE });
    }
    let surplus = surplus(presence, wanted.replicas, unrouted);
    if !surplus.is_empty() {
        stops.push(Change::Stop { revision, replicas: surplus, grace: wanted.grace });
    }
    stops
}

/// Returns the replicas beyond the number wanted that nobody uses: the ready and oldest stay.
fn surplus(presence: &Presence, wanted: u32, unrouted: impl Fn(&ReplicaId) -> bool) -> Vec<ReplicaId> {
    if wanted == 0 {
        return Vec::new();
    }
    let mut running: Vec<_> = presence.running().filter(|(_, seen)| !seen.failing).collect();
    running.sort_by_key(|(id, seen)| (!seen.ready, seen.launched_at, (*id).clone()));
    let beyond = running.into_iter().skip(wanted as usize);
    beyond.filter(|(id, seen)| unrouted(id) && seen.in_flight == 0).map(|(id, _)| id.clone()).collect()
}

/// How long the replicas of a revision nobody uses may take to end after SIGTERM.
const REMOVE_GRACE: Millis = Millis::seconds(10);
