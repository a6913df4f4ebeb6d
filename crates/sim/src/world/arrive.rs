//! Lets what engines have sent meet the world: late, twice, lost on the way back, refused; checked where it takes effect.

use super::{Body, Coming, Faults, Message, Reply, World};
use crate::checkers::{carries, copies, empty_route, generation, gone_replica, keep_hot, surge, taken_back};
use drivers::platform::PlatformError;
use rollout::change::{Change, Ended, TaskId};
use rollout::names::{Generation, Millis};
use rollout::routes::RouteTable;

/// After this long an engine gives up a change; the world's own patience, shorter than the real one so that lives are short.
const NO_ANSWER_AFTER: Millis = Millis(4000);
/// What a fault leaves behind shows for a while after it has ended.
pub(super) const SHOWS_FOR: Millis = Millis::seconds(20);

impl World {
    pub(super) fn arrive(&mut self, message: Message) {
        let Message { engine, life, claim, body } = message;
        match body {
            Body::Change { change, at } => self.change_arrives(engine, life, claim, change, at),
            Body::Publish { routes, at, carries } => {
                let reachable = self.edge_is_reachable();
                let accepted = reachable && self.publish(routes.map(|routes| *routes), at, carries);
                let after = if reachable { Millis(1) } else { Millis(2000) };
                if let Some(claim) = claim {
                    self.answer(engine, life, after, Reply::Published { claim, accepted });
                }
            }
            Body::Ask { id, port } => self.question_arrives(engine, life, id, port),
        }
    }

    fn answer(&mut self, engine: usize, life: u64, after: Millis, reply: Reply) {
        self.plan(after, Coming::Reply { engine, life, reply: Box::new(reply) });
    }

    fn change_arrives(
        &mut self,
        engine: usize,
        life: u64,
        claim: Option<engine::board::Claim>,
        change: Change,
        at: Generation,
    ) {
        let Some(claim) = claim else {
            // A message that comes a second time; nobody waits for it.
            let _ = self.make(&change, at);
            return self.poke();
        };
        if self.faults.late.0 > 0 {
            self.faults.late.0 -= 1;
            let wait = self.faults.late.1;
            self.ledger.disturbed(self.now.plus(wait).plus(SHOWS_FOR));
            let message = Message { engine, life, claim: Some(claim), body: Body::Change { change, at } };
            return self.plan(wait, Coming::Arrive(Box::new(message)));
        }
        let silent =
            |why: &str| PlatformError::Unreachable { what: "change".to_owned(), why: why.to_owned() };
        let (result, after) = if self.is_before(self.faults.unreachable_until) {
            (Err(silent("unreachable")), Millis(1000))
        } else if self.strikes(|faults| &mut faults.throttles) {
            (Err(PlatformError::Retry { what: "change".to_owned(), why: "throttled".to_owned() }), Millis(20))
        } else if self.strikes(|faults| &mut faults.refuses) {
            let (what, why, next) = ("change".to_owned(), "refused".to_owned(), "nothing".to_owned());
            (Err(PlatformError::Refused { what, why, next }), Millis(20))
        } else if self.strikes(|faults| &mut faults.times_out) {
            let _ = self.make(&change, at);
            (Err(silent("no answer in time")), NO_ANSWER_AFTER)
        } else {
            if self.strikes(|faults| &mut faults.repeats) {
                let body = Body::Change { change: change.clone(), at };
                let wait = Millis(500 + self.draw(3000));
                self.plan(wait, Coming::Arrive(Box::new(Message { engine, life, claim: None, body })));
            }
            (self.make(&change, at), Millis(5))
        };
        self.answer(engine, life, after, Reply::Changed { claim, change, result });
        self.poke();
    }

    /// Takes one of a number of times that something goes wrong; what follows shows for a while.
    fn strikes(&mut self, times: impl FnOnce(&mut Faults) -> &mut u32) -> bool {
        let left = times(&mut self.faults);
        let any = *left > 0;
        *left = left.saturating_sub(1);
        if any {
            self.ledger.disturbed(self.now.plus(SHOWS_FOR));
        }
        any
    }

    /// Makes a change, if the fence lets it through.
    fn make(&mut self, change: &Change, at: Generation) -> Result<(), PlatformError> {
        if let Err(stale) = self.machines.fenced(at) {
            self.coverage.count("recovery fenced_change");
            return Err(stale);
        }
        self.machines.fence = at;
        self.tell(|| format!("platform: {} (generation {at})", word(change)));
        self.fail(generation::NAME, generation::check(&self.ledger, at, "a change"));
        self.fail(gone_replica::NAME, gone_replica::stopped(self, change));
        self.fail(keep_hot::NAME, keep_hot::check(self, change));
        self.fail(surge::NAME, surge::stopped(self, change));
        if let Change::Launch { placed, replicas } = change {
            let release = crate::world::operate::number_of(placed);
            let fate = self.fate(release);
            self.machines.launch(placed.revision, release, *replicas, fate, self.now);
            self.fail(surge::NAME, surge::launched(self, placed.revision, *replicas));
            for after in [fate.ready_after, fate.exits_after, fate.hangs_after].into_iter().flatten() {
                self.plan(Millis(u64::from(after)), Coming::Poke);
            }
        } else {
            let release = self.ledger.candidate_release();
            let fates: Vec<_> = match change {
                Change::RunTask { task } => vec![self.task_fate(&task.id.name, release)],
                _ => Vec::new(),
            };
            let usual = machines_task();
            self.machines.change(change, |_| fates.first().copied().unwrap_or(usual), self.now);
            if let Some(fate) = fates.first() {
                self.plan(fate.after, Coming::Poke);
            }
        }
        Ok(())
    }

    fn publish(&mut self, routes: Option<RouteTable>, at: Generation, claimed: carries::Claimed) -> bool {
        if at < self.edge.generation {
            self.coverage.count("recovery fenced_table");
            return false;
        }
        self.fail(generation::NAME, generation::follows(self.edge.generation, at));
        self.fail(empty_route::NAME, empty_route::check(routes.as_ref(), &self.ledger.told));
        self.fail(gone_replica::NAME, gone_replica::accepted(self, routes.as_ref()));
        self.fail(carries::NAME, carries::check(self.edge.table.as_ref(), routes.as_ref(), at, claimed));
        self.fail(copies::NAME, copies::check(&self.ledger, routes.as_ref()));
        if self.now > self.ledger.forgetful_until {
            self.fail(taken_back::NAME, taken_back::check(&self.ledger, self.edge.routes(), routes.as_ref()));
        }
        self.tell(|| format!("edge: {} (generation {at})", shown(routes.as_ref())));
        self.edge.accept(at, routes);
        self.poke();
        true
    }

    fn question_arrives(&mut self, engine: usize, life: u64, id: TaskId, port: u16) {
        let replica = self.machines.replicas.iter().find(|replica| replica.port == port);
        let release = replica.map_or(0, |replica| replica.release);
        let is_well = replica.is_some_and(|replica| replica.is_live(self.now) && replica.listens(self.now));
        let fate = self.task_fate(&id.name, release);
        let ended = if is_well { fate.ended } else { Ended::TimedOut };
        self.answer(engine, life, fate.after, Reply::Answered { id, answer: (ended, String::new()) });
    }
}

fn machines_task() -> super::machines::TaskFate {
    super::machines::TaskFate { after: Millis(100), ended: Ended::Code(0) }
}

fn word(change: &Change) -> String {
    match change {
        Change::Launch { placed, replicas } => {
            format!("launch revision {} up to {replicas}", placed.revision)
        }
        Change::Stop { replicas, .. } => {
            let names: Vec<_> = replicas.iter().map(|id| id.as_str()).collect();
            format!("stop {}", names.join(" "))
        }
        Change::Remove { revision, .. } => format!("remove revision {revision}"),
        Change::RunTask { task } => format!("run {}", task.id),
    }
}

fn shown(routes: Option<&RouteTable>) -> String {
    let Some(routes) = routes else { return "serves nothing".to_owned() };
    let arm = |arm: &rollout::routes::Arm| format!("revision {} on {}", arm.revision, arm.replicas.len());
    let stable = routes.stable.as_ref().map_or_else(|| "nobody".to_owned(), arm);
    match &routes.candidate {
        Some(candidate) => {
            format!("stable {stable}, candidate {} with {}", arm(&candidate.arm), candidate.weight)
        }
        None => format!("stable {stable}"),
    }
}
