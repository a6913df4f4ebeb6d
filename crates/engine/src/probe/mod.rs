//! Asks replicas how they are: often until one is first ready, then at the interval of its health settings.
//! Judges nothing beyond counting failures in a row; `watcher` puts the answers into the world.

use crate::http::ask_tcp;
use rollout::change::{ObservedReplica, ReplicaState};
use rollout::names::{ReplicaId, Revision};
use rollout::release::Health;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Until a replica is first ready it is asked this often: what it waits for is the deployment.
const FIRST_EVERY: Duration = Duration::from_millis(25);
/// Failures in a row after which a ready replica is not, and a live one fails (rollback.md 3.8).
const FAILURES_MAX: u32 = 3;

/// What the probes of a replica say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answers {
    pub ready: bool,
    /// One of the last answers was a failure.
    pub faltering: bool,
    pub failing: bool,
}

impl Answers {
    /// Returns what is said of a replica that has not listened within its time, if it `is_late`: it fails.
    pub fn or_late(self, is_late: bool) -> Self {
        Self { failing: self.failing || is_late, ..self }
    }
}

/// What is said of a replica as soon as it has been ready once.
pub const READY: Answers = Answers { ready: true, faltering: false, failing: false };

/// Counts the failures in a row of a replica that has been ready once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Row {
    not_ready: u32,
    not_live: u32,
    /// As many answers as take readiness away give steadiness back: what is shared comes back for one before the other.
    until_steady: u32,
}

impl Row {
    /// Counts one pair of answers, and says what the row says now.
    pub fn add(&mut self, is_ready: bool, is_live: bool) -> Answers {
        let count = |failures: u32, is_well: bool| if is_well { 0 } else { failures.saturating_add(1) };
        self.not_ready = count(self.not_ready, is_ready);
        self.not_live = count(self.not_live, is_live);
        self.until_steady = if is_ready { self.until_steady.saturating_sub(1) } else { FAILURES_MAX };
        Answers {
            ready: self.not_ready < FAILURES_MAX,
            faltering: self.until_steady > 0,
            failing: self.not_live >= FAILURES_MAX,
        }
    }
}

type Board = Arc<Mutex<BTreeMap<ReplicaId, Answers>>>;

/// The probes of one target.
pub struct Probes {
    board: Board,
    running: BTreeMap<ReplicaId, JoinHandle<()>>,
    changed: Arc<Notify>,
}

impl Probes {
    /// `changed` is notified whenever an answer differs from the one before.
    pub fn new(changed: Arc<Notify>) -> Self {
        Self { board: Board::default(), running: BTreeMap::new(), changed }
    }

    /// Starts and stops probes so that every listening replica has one. One that `was_ready` before this engine
    /// looked is so until it fails as often as any other.
    pub fn follow(
        &mut self,
        replicas: &[ObservedReplica],
        health: impl Fn(Revision) -> Option<Health>,
        was_ready: impl Fn(&ReplicaId) -> bool,
    ) {
        let listening = |id: &ReplicaId| {
            replicas.iter().any(|seen| seen.replica == *id && seen.state == ReplicaState::Listening)
        };
        let gone: Vec<_> = self.running.keys().filter(|id| !listening(id)).cloned().collect();
        for id in gone {
            self.end(&id);
        }
        for seen in replicas.iter().filter(|seen| seen.state == ReplicaState::Listening) {
            if let Some(health) = health(seen.revision).filter(|_| !self.running.contains_key(&seen.replica))
            {
                let was_ready = was_ready(&seen.replica);
                if was_ready {
                    self.lock().insert(seen.replica.clone(), READY);
                }
                let probe = Probe {
                    was_ready,
                    replica: seen.replica.clone(),
                    address: seen.address,
                    health,
                    board: self.board.clone(),
                    changed: self.changed.clone(),
                };
                self.running.insert(seen.replica.clone(), tokio::spawn(probe.run()));
            }
        }
    }

    pub fn answers(&self, replica: &ReplicaId) -> Answers {
        self.lock().get(replica).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ReplicaId, Answers>> {
        self.board.lock().expect("BUG: nobody panics with this lock")
    }

    fn end(&mut self, replica: &ReplicaId) {
        if let Some(task) = self.running.remove(replica) {
            task.abort();
        }
        self.lock().remove(replica);
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.running.values().for_each(JoinHandle::abort);
    }
}

struct Probe {
    was_ready: bool,
    replica: ReplicaId,
    address: SocketAddr,
    health: Health,
    board: Board,
    changed: Arc<Notify>,
}

impl Probe {
    async fn run(self) {
        while !self.was_ready && !self.well(self.health.ready.as_deref()).await {
            tokio::time::sleep(FIRST_EVERY).await;
        }
        self.post(READY);
        let mut row = Row::default();
        loop {
            tokio::time::sleep(Duration::from_millis(self.health.interval.0)).await;
            let is_ready = self.well(self.health.ready.as_deref()).await;
            let is_live = self.well(self.health.live.as_deref()).await;
            self.post(row.add(is_ready, is_live));
        }
    }

    /// Asks one path; without a path a listening socket, which is known to be there, is enough.
    async fn well(&self, path: Option<&str>) -> bool {
        let Some(path) = path else { return true };
        let within = Duration::from_millis(self.health.timeout.0);
        ask_tcp(self.address, self.health.protocol, path, within)
            .await
            .is_ok_and(|status| status.as_u16() < 400)
    }

    fn post(&self, answers: Answers) {
        let mut board = self.board.lock().expect("BUG: nobody panics with this lock");
        let before = board.insert(self.replica.clone(), answers);
        drop(board);
        if before != Some(answers) {
            self.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollout::names::Millis;

    fn listening(name: &str) -> ObservedReplica {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).unwrap();
        ObservedReplica {
            revision: Revision(1),
            replica: ReplicaId::new(name),
            pid: None,
            address: closed,
            launched_at: Millis(0),
            state: ReplicaState::Listening,
        }
    }

    #[tokio::test]
    async fn a_replica_that_was_ready_before_is_so_until_it_fails_three_times() {
        let changed = Arc::new(Notify::new());
        let mut probes = Probes::new(changed.clone());
        let (old, new) = (listening("web-1-1"), listening("web-1-2"));
        let health = Health { ready: Some("/".to_owned()), interval: Millis(1), ..Health::default() };

        probes.follow(&[old.clone(), new.clone()], |_| Some(health.clone()), |id| *id == old.replica);

        assert!(probes.answers(&old.replica).ready);
        assert!(!probes.answers(&new.replica).ready);
        let no_longer = async {
            while probes.answers(&old.replica).ready {
                changed.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), no_longer).await.expect("its failures count");
    }
}
