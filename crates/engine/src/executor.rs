//! Makes changes happen: each in a task of its own, with a deadline, at most one of a kind at a time, and backoff.
//! The only place that retries. A change that is still wanted is asked for again by whoever compares; nothing is queued here.

use crate::edge_link::{EdgeError, EdgeLink};
use crate::http::ask_tcp;
use drivers::platform::{Platform, PlatformError};
use manifest::edge::EdgeTable;
use rollout::change::{Change, Ended, TaskId};
use rollout::names::{Generation, ReplicaId, Revision, Target};
use rollout::routes::RouteTable;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::timeout;

/// A change that takes longer counts as failed and is asked for again.
const CHANGE_WITHIN: Duration = Duration::from_secs(60);
/// First pause after a failure; doubled by each further one.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// First pause of a change that a newer one overtook.
const OVERTAKEN_FIRST: Duration = Duration::from_millis(5);

/// Why a change was not made, and the first pause before it may be made again.
struct Failed {
    first: Duration,
    text: String,
}

/// What shells answer for a program that cannot be run.
const CANNOT_RUN: i32 = 127;

/// What the tasks of the executor have to tell: shared with the watcher.
#[derive(Debug, Default)]
pub struct Board {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Changes under way, and those that must wait, by name.
    busy: BTreeMap<String, Option<Pause>>,
    refused: Option<(Revision, String)>,
    asked: BTreeMap<TaskId, Option<(Ended, String)>>,
    sent: Sent,
}

/// The replicas of the table sent last, and when the edge had it (or had refused it).
#[derive(Debug, Default)]
struct Sent {
    replicas: Vec<ReplicaId>,
    done: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    until: Instant,
    failures: u32,
}

impl Board {
    /// Returns the launch that the platform refused for good, and why.
    pub fn refused(&self) -> Option<(Revision, String)> {
        self.lock().refused.clone()
    }

    /// Returns the questions asked of candidates and their answers.
    pub fn asked(&self) -> BTreeMap<TaskId, Option<(Ended, String)>> {
        self.lock().asked.clone()
    }

    /// Returns the replicas of a table that a look begun then cannot have seen.
    pub fn sent_since(&self, look_began: Option<Instant>) -> Vec<ReplicaId> {
        let inner = self.lock();
        let seen = inner.sent.done.zip(look_began).is_some_and(|(done, began)| done < began);
        if seen { Vec::new() } else { inner.sent.replicas.clone() }
    }

    /// Takes in that the platform will never make this change: a launch is refused, a task has failed.
    fn refuse(&self, change: &Change, what: &str, why: &str) {
        match change {
            Change::Launch { placed, .. } => self.lock().refused = Some((placed.revision, why.to_owned())),
            Change::RunTask { task } => {
                let answer = (Ended::Code(CANNOT_RUN), format!("cannot {what}: {why}"));
                self.lock().asked.insert(task.id.clone(), Some(answer));
            }
            // Nobody waits for these: asked for again, ever later.
            Change::Stop { .. } | Change::Remove { .. } => {}
        }
    }

    /// Claims a change; None while one of this name is under way or has to wait. Returns the failures so far.
    fn claim(&self, name: &str) -> Option<u32> {
        let mut inner = self.lock();
        let failures = match inner.busy.get(name) {
            None => 0,
            Some(Some(pause)) if pause.until <= Instant::now() => pause.failures,
            Some(_) => return None,
        };
        inner.busy.insert(name.to_owned(), None);
        Some(failures)
    }

    fn done(&self, name: &str) {
        self.lock().busy.remove(name);
    }

    /// Returns how long the change has to wait.
    fn failed(&self, name: &str, failures: u32, first: Duration) -> Duration {
        let pause = (first * 2u32.saturating_pow(failures.min(16))).min(BACKOFF_MAX);
        let until = Instant::now() + pause;
        self.lock().busy.insert(name.to_owned(), Some(Pause { until, failures: failures + 1 }));
        pause
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("BUG: nobody panics with this lock")
    }
}

/// The hands of one target.
pub struct Executor<P> {
    pub target: Target,
    pub platform: Arc<P>,
    pub edge: EdgeLink,
    pub board: Arc<Board>,
    /// Notified when something may have changed.
    pub poke: Arc<Notify>,
}

impl<P: Platform> Executor<P> {
    /// Begins a change, unless it is under way or has to wait.
    pub fn make(&self, change: Change, at: Generation) {
        let name = name(&change);
        let (platform, target, board) = (self.platform.clone(), self.target.clone(), self.board.clone());
        self.begin(name, async move {
            let result = match timeout(CHANGE_WITHIN, platform.apply(&target, &change, at)).await {
                Ok(result) => result,
                Err(_) => Err(PlatformError::Unreachable {
                    what: format!("change {target}"),
                    why: format!("no answer within {CHANGE_WITHIN:?}"),
                }),
            };
            if let Err(PlatformError::Refused { what, why, .. }) = &result {
                board.refuse(&change, what, why);
            }
            result.map_err(|error| Failed {
                // Two changes of this engine may overtake each other; the one left behind is asked for again, as of now.
                first: if matches!(error, PlatformError::Stale { .. }) {
                    OVERTAKEN_FIRST
                } else {
                    BACKOFF_FIRST
                },
                text: error.to_string(),
            })
        });
    }

    /// Publishes routes, unless a table is on its way.
    pub fn publish(&self, routes: RouteTable, generation: Generation) {
        let (edge, board) = (self.edge.clone(), self.board.clone());
        let replicas = routes.arms().flat_map(|arm| &arm.replicas).map(|end| end.replica.clone()).collect();
        self.begin("publish".to_owned(), async move {
            board.lock().sent = Sent { replicas, done: None };
            let published = edge.publish(&EdgeTable { generation, routes }).await;
            board.lock().sent.done = Some(Instant::now());
            outcome(published)
        });
    }

    /// Takes the target from the edge.
    pub fn withdraw(&self, generation: Generation) {
        let (edge, target) = (self.edge.clone(), self.target.clone());
        self.begin("publish".to_owned(), async move { outcome(edge.withdraw(&target, generation).await) });
    }

    /// Asks a replica for a path, once.
    pub fn ask(&self, id: TaskId, address: SocketAddr, path: String, within: Duration) {
        let board = self.board.clone();
        if board.lock().asked.contains_key(&id) {
            return;
        }
        board.lock().asked.insert(id.clone(), None);
        let poke = self.poke.clone();
        tokio::spawn(async move {
            let answer = match ask_tcp(address, &path, within).await {
                Ok(status) if status.as_u16() < 400 => (Ended::Code(0), String::new()),
                Ok(status) => (Ended::Code(1), format!("GET {path} was answered {status}")),
                Err(error) => (Ended::TimedOut, format!("GET {path}: {error}")),
            };
            board.lock().asked.insert(id, Some(answer));
            poke.notify_one();
        });
    }

    /// Forgets the answers of other deployments and a refusal of another revision.
    pub fn forget(&self, keep: impl Fn(&TaskId) -> bool, revision: Option<Revision>) {
        let mut inner = self.board.lock();
        inner.asked.retain(|id, _| keep(id));
        inner.refused.take_if(|(refused, _)| Some(*refused) != revision);
    }

    fn begin(&self, name: String, work: impl Future<Output = Result<(), Failed>> + Send + 'static) {
        let Some(failures) = self.board.claim(&name) else { return };
        let (board, poke, target) = (self.board.clone(), self.poke.clone(), self.target.clone());
        tokio::spawn(async move {
            match work.await {
                Ok(()) => board.done(&name),
                Err(error) => {
                    let pause = board.failed(&name, failures, error.first);
                    crate::log(&format!("{target}: {name} failed: {}; again in {pause:?}", error.text));
                    tokio::time::sleep(pause).await;
                }
            }
            poke.notify_one();
        });
    }
}

fn outcome(result: Result<manifest::edge::Accepted, EdgeError>) -> Result<(), Failed> {
    result.map(|_| ()).map_err(|error| Failed { first: BACKOFF_FIRST, text: error.to_string() })
}

/// Names a change so that the same one is not made twice at a time.
fn name(change: &Change) -> String {
    match change {
        Change::Launch { placed, .. } => format!("launch of revision {}", placed.revision),
        Change::Stop { replicas, .. } => {
            let ids: Vec<_> = replicas.iter().map(|id| id.as_str()).collect();
            format!("stop of {}", ids.join(" "))
        }
        Change::Remove { revision, .. } => format!("removal of revision {revision}"),
        Change::RunTask { task } => format!("task {}", task.id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use drivers::platform::fake::Fake;
    use rollout::names::{Millis, Release};
    use rollout::release::{Health, Placed, ReleaseSpec};

    fn launch(revision: u64) -> Change {
        let spec = ReleaseSpec {
            artifact: None,
            command: vec!["web".to_owned()],
            env: BTreeMap::new(),
            resources: None,
            health: Health::default(),
            expand: Vec::new(),
        };
        let placed = Placed { revision: Revision(revision), release: Release::from("ab"), label: None, spec };
        Change::Launch { placed, replicas: 1 }
    }

    #[tokio::test]
    async fn a_launch_that_a_newer_change_overtook_is_not_refused_and_made_when_asked_again() {
        let target = Target::new("web", "local");
        let platform = Arc::new(Fake::default());
        let newer = Generation { epoch: 1, seq: 9 };
        let remove = Change::Remove { revision: Revision(1), grace: Millis(0) };
        platform.apply(&target, &remove, newer).await.unwrap();
        let executor = Executor {
            target: target.clone(),
            platform: platform.clone(),
            edge: EdgeLink::new("/nowhere".into()),
            board: Arc::new(Board::default()),
            poke: Arc::new(Notify::new()),
        };

        executor.make(launch(2), Generation { epoch: 1, seq: 8 });
        timeout(Duration::from_secs(5), executor.poke.notified()).await.unwrap();
        assert_eq!(executor.board.refused(), None);
        executor.make(launch(2), newer);
        timeout(Duration::from_secs(5), executor.poke.notified()).await.unwrap();

        assert_eq!(platform.observe(&target).await.unwrap().replicas.len(), 1);
    }
}
