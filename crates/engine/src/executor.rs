//! Makes changes happen: each in a task of its own, with a deadline. Decides nothing: what may be made, and when again
//! after a failure, is the `board`'s business.

use crate::board::{Board, Claim};
use crate::clock::Clock;
use crate::edge_link::{EdgeError, EdgeLink};
use crate::http::ask_tcp;
use crate::killpoint;
use crate::pursuit::Act;
use drivers::platform::{Platform, PlatformError};
use manifest::edge::{Accepted, EdgeTable};
use rollout::change::{Change, Ended, TaskId};
use rollout::names::{Generation, Millis, Target};
use rollout::release::Protocol;
use rollout::routes::RouteTable;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// A change that takes longer counts as failed and is asked for again.
const CHANGE_WITHIN: Duration = Duration::from_secs(60);

/// The board of a target, for its tasks.
pub type SharedBoard = Arc<Mutex<Board>>;

/// Looks at the board, for a moment.
pub fn locked(board: &Mutex<Board>) -> MutexGuard<'_, Board> {
    board.lock().expect("BUG: nobody panics with this lock")
}

/// The hands of one target.
pub struct Executor<P> {
    pub target: Target,
    pub platform: Arc<P>,
    pub edge: EdgeLink,
    pub board: SharedBoard,
    pub clock: Arc<Clock>,
    /// Notified when something may have changed.
    pub poke: Arc<Notify>,
}

impl<P: Platform> Executor<P> {
    /// Begins what was claimed.
    pub fn begin(&self, act: Act) {
        match act {
            Act::Make { change, at, claim } => self.make(change, at, claim),
            Act::Ask { id, address, protocol, path, within } => {
                self.ask(id, (address, protocol), path, within)
            }
            Act::Publish { routes, at, claim } => self.publish(*routes, at, claim),
            Act::Withdraw { at, claim } => self.withdraw(at, claim),
            Act::LookAgain { at } => self.look_again(at),
        }
    }

    fn make(&self, change: Change, at: Generation, claim: Claim) {
        let (platform, target) = (self.platform.clone(), self.target.clone());
        let (board, clock) = (self.board.clone(), self.clock.clone());
        self.spawn(async move {
            let name = claim.name.clone();
            let applied = timeout(CHANGE_WITHIN, platform.apply(&target, &change, at));
            let result = match killpoint::around(&target, &name, applied).await {
                Ok(result) => result,
                Err(_) => Err(PlatformError::Unreachable {
                    what: format!("change {target}"),
                    why: format!("no answer within {CHANGE_WITHIN:?}"),
                }),
            };
            let pause = locked(&board).changed(claim, &change, &result, clock.now());
            told(&target, &name, result, pause)
        });
    }

    fn publish(&self, routes: RouteTable, generation: Generation, claim: Claim) {
        let edge = self.edge.clone();
        self.tell_edge(claim, async move { edge.publish(&EdgeTable { generation, routes }).await });
    }

    /// Takes the target from the edge.
    fn withdraw(&self, generation: Generation, claim: Claim) {
        let (edge, target) = (self.edge.clone(), self.target.clone());
        self.tell_edge(claim, async move { edge.withdraw(&target, generation).await });
    }

    fn tell_edge(
        &self,
        claim: Claim,
        telling: impl Future<Output = Result<Accepted, EdgeError>> + Send + 'static,
    ) {
        let (board, clock, target) = (self.board.clone(), self.clock.clone(), self.target.clone());
        self.spawn(async move {
            let name = claim.name.clone();
            let result = killpoint::around(&target, &name, telling).await;
            let pause = locked(&board).published(claim, result.is_ok(), clock.now());
            told(&target, &name, result, pause)
        });
    }

    /// Asks a replica for a path, once.
    fn ask(&self, id: TaskId, (address, protocol): (SocketAddr, Protocol), path: String, within: Millis) {
        let board = self.board.clone();
        self.spawn(async move {
            let answer = match ask_tcp(address, protocol, &path, Duration::from_millis(within.0)).await {
                Ok(status) if status.as_u16() < 400 => (Ended::Code(0), String::new()),
                Ok(status) => (Ended::Code(1), format!("GET {path} was answered {status}")),
                Err(error) => (Ended::TimedOut, format!("GET {path}: {error}")),
            };
            locked(&board).answered(id, answer);
            None
        });
    }

    fn look_again(&self, at: Millis) {
        let wait = at.since(self.clock.now());
        self.spawn(async move { Some(wait) });
    }

    /// Does the work, waits as long as it says, and lets everybody look again.
    fn spawn(&self, work: impl Future<Output = Option<Millis>> + Send + 'static) {
        let poke = self.poke.clone();
        tokio::spawn(async move {
            if let Some(pause) = work.await {
                tokio::time::sleep(Duration::from_millis(pause.0)).await;
            }
            poke.notify_one();
        });
    }
}

/// Writes down what failed. Returns the pause before it is tried again.
fn told<T>(
    target: &Target,
    name: &str,
    result: Result<T, impl std::fmt::Display>,
    pause: Option<Millis>,
) -> Option<Millis> {
    let (Err(error), Some(wait)) = (result, pause) else { return pause };
    crate::log(&format!("{target}: {name} failed: {error}; again in {wait}"));
    pause
}

#[cfg(test)]
mod tests {
    use super::*;
    use drivers::platform::fake::Fake;
    use rollout::names::{Release, Revision};
    use rollout::release::{Health, Placed, ReleaseSpec};
    use std::collections::BTreeMap;

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
            board: SharedBoard::default(),
            clock: Arc::new(Clock::start()),
            poke: Arc::new(Notify::new()),
        };
        let make = |at: Generation| {
            let now = executor.clock.now();
            let claim = locked(&executor.board).claim_change(&launch(2), now).expect("nothing is under way");
            executor.begin(Act::Make { change: launch(2), at, claim });
        };

        make(Generation { epoch: 1, seq: 8 });
        timeout(Duration::from_secs(5), executor.poke.notified()).await.unwrap();
        assert_eq!(locked(&executor.board).refused(), None);
        make(newer);
        timeout(Duration::from_secs(5), executor.poke.notified()).await.unwrap();

        assert_eq!(platform.observe(&target).await.unwrap().replicas.len(), 1);
    }
}
