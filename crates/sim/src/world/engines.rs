//! Lives the production engine of one target, without its tasks: looks, decides, writes, begins; dies and comes back.
//! Everything it decides with is production code: `Controller`, `Journal`, `Board`, `pursue`, `assemble`, `Row`.

use super::disk::Memory;
use super::{Body, Coming, ENGINES, Message, Reply, World};
use crate::checkers::{carries, surge, woken};
use drivers::platform::PlatformError;
use engine::board::Board;
use engine::controller::Controller;
use engine::journal::{DiskError, JournalError};
use engine::probe::{Answers, READY, Row};
use engine::pursuit::{Act, pursue};
use engine::sight::{Seen, Starting, assemble, routed};
use rollout::change::{Change, Observed, ReplicaState};
use rollout::event::{Event, ServedBy};
use rollout::machine::Fact;
use rollout::names::{Generation, Millis, ReplicaId, Revision};
use std::collections::{BTreeMap, VecDeque};

/// From one decision's end to the look somebody was poked for.
const LOOK_SOON: u64 = 20;
/// A target nobody leads is opened again after this long.
const RESTARTED_AFTER: Millis = Millis(3000);
/// One proof in so many is of a look before, at most so many back.
const PROOF_LATE_ONE_IN: u64 = 8;
const PROOFS_MAX: usize = 8;

/// One engine, alive or not.
#[derive(Default)]
pub struct Engine {
    pub controller: Option<Controller<Memory>>,
    pub board: Board,
    pub seen: Seen,
    probes: BTreeMap<ReplicaId, (Row, Answers)>,
    /// Counts its lives: what was meant for an earlier one reaches nobody.
    pub life: u64,
    /// It does not move until then; it will not know.
    pub frozen_until: Option<Millis>,
    look_at: Option<Millis>,
    pub checks_at: Millis,
    /// A launch the platform has refused for good.
    pub refused: Option<Revision>,
    /// The last look, after which nothing was left to decide.
    before: Option<woken::Before>,
    observed: Option<Observed>,
    starting: Starting,
    /// Who answered at the last looks: some answers are late.
    proofs: VecDeque<Option<ServedBy>>,
    /// By how much its clock is off.
    clock: i64,
}

impl World {
    /// Returns the moment as this engine's clock tells it.
    pub(crate) fn clock(&self, engine: usize) -> Millis {
        Millis(self.now.0.saturating_add_signed(self.engines[engine].clock))
    }

    pub(super) fn is_awake(&self, engine: usize) -> bool {
        let frozen = self.engines[engine].frozen_until.is_some_and(|until| self.now < until);
        self.engines[engine].controller.is_some() && !frozen
    }

    /// Returns the engine that operators reach.
    pub(crate) fn owner(&self) -> Option<usize> {
        let epoch = |engine: &usize| self.engines[*engine].controller.as_ref().map(|it| it.state.epoch);
        (0..ENGINES).filter(|engine| self.is_awake(*engine)).max_by_key(epoch)
    }

    /// Starts an engine: it reads the journal and takes the lease.
    pub(super) fn open(&mut self, engine: usize) {
        if self.engines[engine].controller.is_some() {
            return;
        }
        let accepted = self.floor();
        let life = self.engines[engine].life + 1;
        self.engines[engine] = Engine { life, clock: self.wall, ..Engine::default() };
        let disk = Memory { platter: self.platter.clone(), engine };
        let owner = format!("engine {engine}.{life}");
        let opened = Controller::open_on(disk, &self.target, accepted, &owner, self.clock(engine));
        match opened {
            Ok(controller) => {
                self.tell(|| format!("engine {engine} opens, epoch {}", controller.state.epoch));
                self.fail(
                    "damage_is_found",
                    self.faults.flipped.as_ref().map(|(row, _)| format!("row {row} is flipped and was read")),
                );
                self.engines[engine].controller = Some(controller);
                self.written(engine, None);
                self.look_soon(engine, Millis(1));
            }
            Err(damage) => {
                self.coverage.count("recovery damage_found");
                self.tell(|| format!("engine {engine} cannot open: {}", damage.text()));
                self.plan(RESTARTED_AFTER, Coming::Restore);
            }
        }
    }

    /// Below which epoch nobody may lead, as far as an engine that opens can see: as `engine/floor` puts it together.
    fn floor(&self) -> Option<Generation> {
        let table = self.edge.table.as_ref().filter(|_| self.edge_is_reachable());
        let accepted = table.map(|table| table.generation).unwrap_or_default();
        let fenced =
            if self.is_before(self.faults.unreachable_until) { 0 } else { self.machines.fence.epoch };
        Some(Generation { epoch: accepted.epoch.max(fenced), ..accepted })
    }

    pub(super) fn die(&mut self, engine: usize, back_after: Millis) {
        self.tell(|| format!("engine {engine} dies"));
        let life = self.engines[engine].life + 1;
        self.engines[engine] = Engine { life, ..Engine::default() };
        self.platter.borrow_mut().died = None;
        self.plan(back_after, Coming::Open { engine });
    }

    /// Promises to lead on, or takes the lease that could not be taken before.
    pub(super) fn renew(&mut self, engine: usize) {
        let now = self.clock(engine);
        let Some(controller) = &mut self.engines[engine].controller else { return };
        let failed = controller.renew(now).err();
        self.written(engine, failed);
    }

    /// Takes one fact in.
    pub(super) fn step(&mut self, engine: usize, fact: &Fact) {
        let now = self.clock(engine);
        let Some(controller) = &mut self.engines[engine].controller else { return };
        let (_, failed) = controller.step(fact, now);
        self.written(engine, failed);
    }

    /// Reads what has been written, and lets the writer go on, stand down, or die.
    pub(super) fn written(&mut self, engine: usize, failed: Option<JournalError>) {
        self.read_on(engine);
        if self.platter.borrow().died == Some(engine) {
            let back = Millis(50 + self.draw(3000));
            return self.die(engine, back);
        }
        match failed.map(|error| error.source) {
            Some(DiskError::Lost(_)) => {
                self.coverage.count("recovery write_refused");
                self.stand_down(engine);
            }
            Some(DiskError::Moved) => self
                .fail("two_writers", Some("the holder of the lease found rows of somebody else".to_owned())),
            _ => {}
        }
    }

    pub(super) fn look_soon(&mut self, engine: usize, after: Millis) {
        let at = self.now.plus(after);
        if self.engines[engine].look_at.is_some_and(|known| known <= at && known >= self.now) {
            return;
        }
        self.engines[engine].look_at = Some(at);
        let life = self.engines[engine].life;
        self.plan(after, Coming::Look { engine, life });
    }

    pub(super) fn poke(&mut self) {
        for engine in 0..ENGINES {
            if self.is_awake(engine) {
                let after = Millis(1 + self.draw(LOOK_SOON));
                self.look_soon(engine, after);
            }
        }
    }

    pub(super) fn look_if(&mut self, engine: usize, life: u64) {
        if self.engines[engine].life != life || self.engines[engine].look_at.is_none_or(|at| at > self.now) {
            return;
        }
        self.engines[engine].look_at = None;
        if self.is_awake(engine) {
            self.look(engine);
        }
    }

    /// Looks, decides, and begins what differs. First of all the lease: one that was stopped for long may lead no more.
    pub(super) fn look(&mut self, engine: usize) {
        if !self.still_leads(engine) {
            return;
        }
        // While the platform says nothing, what it said last.
        let seen = self.observation();
        let stale = seen.is_none();
        if let Some(observed) = seen.or_else(|| self.engines[engine].observed.clone()) {
            self.engines[engine].observed = Some(observed.clone());
            self.see(engine, observed, stale);
        }
        if self.engines[engine].seen.look == 0 {
            return;
        }
        let decided_at = self.clock(engine);
        let fact = Fact::World(Box::new(std::mem::take(&mut self.engines[engine].seen.world)));
        let before = self.engines[engine].before.take();
        let unannounced = before.zip(self.state(engine));
        let unannounced =
            unannounced.and_then(|(before, state)| woken::check(&before, state, &fact, decided_at));
        self.fail(woken::NAME, unannounced);
        self.step(engine, &fact);
        let Fact::World(world) = fact else { return };
        let seq = self.state(engine).map(|state| state.seq);
        self.engines[engine].before =
            seq.map(|seq| woken::Before { world: (*world).clone(), at: decided_at, seq });
        self.engines[engine].seen.world = *world;
        self.pursue(engine);
        let now = self.clock(engine);
        let wake = self.engines[engine].controller.as_ref().and_then(|it| it.state.wake_after(decided_at));
        if let Some(at) = wake {
            self.look_soon(engine, Millis(at.since(now).0.max(1)));
        }
    }

    /// Stands down when the lease has been taken; outranks whoever could write nothing and fenced the platform; fences it
    /// before the first look.
    fn still_leads(&mut self, engine: usize) -> bool {
        let epoch = self.generation(engine).epoch;
        if self.platter.borrow().lease.as_ref().is_some_and(|lease| lease.epoch > epoch) {
            self.stand_down(engine);
            return false;
        }
        let by_edge = self.engines[engine].seen.world.edge.as_ref().map_or(0, |edge| edge.generation.epoch);
        let seen = by_edge.max(self.engines[engine].board.fenced_by());
        let now = self.clock(engine);
        let Some(controller) = &mut self.engines[engine].controller else { return false };
        let failed = controller.outrank(seen, now).err();
        self.written(engine, failed);
        let mine = self.generation(engine);
        if self.machines.fence.epoch < mine.epoch && !self.is_before(self.faults.unreachable_until) {
            self.machines.fence = mine;
        }
        self.engines[engine].controller.is_some() && self.machines.fence.epoch >= mine.epoch
    }

    fn stand_down(&mut self, engine: usize) {
        self.coverage.count("recovery stood_down");
        self.tell(|| format!("engine {engine} stands down: its lease has been taken"));
        self.engines[engine].controller = None;
        self.engines[engine].life += 1;
        // Its successor may have died of a damaged disk: then whoever watches engines starts one.
        self.plan(RESTARTED_AFTER, Coming::Restore);
    }

    fn observation(&mut self) -> Option<Observed> {
        if self.is_before(self.faults.unreachable_until) {
            return None;
        }
        if self.is_before(self.faults.stale_until) {
            return Some(self.observed.clone());
        }
        let mut observed = self.machines.observe(self.now);
        if self.is_before(self.faults.partial_until) {
            let missing = self.draw(observed.replicas.len() as u64) as usize;
            if missing < observed.replicas.len() {
                observed.replicas.remove(missing);
            }
        }
        Some(observed)
    }

    fn see(&mut self, engine: usize, observed: Observed, stale: bool) {
        let edge = self.edge_is_reachable().then(|| self.edge.state(&self.target));
        let began = self.clock(engine);
        let first = self.engines[engine].seen.look == 0;
        let was_ready = edge.as_ref().map(|edge| routed(&self.target, edge)).unwrap_or_default();
        let mut probes = std::mem::take(&mut self.engines[engine].probes);
        probes.retain(|id, _| observed.replicas.iter().any(|seen| seen.replica == *id));
        for seen in observed.replicas.iter().filter(|seen| seen.state == ReplicaState::Listening) {
            let ready = self.answers_ready(&seen.replica) || (first && was_ready.contains(&seen.replica));
            if ready && !probes.contains_key(&seen.replica) {
                probes.insert(seen.replica.clone(), (Row::default(), READY));
            }
        }
        let mine = &mut self.engines[engine];
        let state = mine.controller.as_ref().map(|controller| &controller.state);
        let late = state.map(|state| mine.starting.late(&observed, state, began)).unwrap_or_default();
        let answers = |id: &ReplicaId| {
            probes.get(id).map(|probe| probe.1).unwrap_or_default().or_late(late.contains(id))
        };
        let mut world = assemble(&self.target, observed, edge.as_ref(), answers, &mine.board);
        world.stale = stale;
        mine.probes = probes;
        let wants_proof = mine.controller.as_ref().is_some_and(|it| it.state.wants_proof());
        let proof = self.proof();
        let late = self.draw_later(PROOF_LATE_ONE_IN) == 0;
        let nth = self.draw_later(PROOFS_MAX as u64) as usize;
        let proofs = &mut self.engines[engine].proofs;
        if wants_proof && edge.is_some() {
            let before = proofs.get(nth).cloned().flatten();
            world.proof = if late { before } else { proof.clone() };
        }
        proofs.push_front(proof);
        proofs.truncate(PROOFS_MAX);
        let look = self.engines[engine].seen.look + 1;
        self.ledger.looked_epoch = self.ledger.looked_epoch.max(self.generation(engine).epoch);
        let table = edge.and_then(|edge| edge.tables.into_iter().next()).map(|table| table.routes);
        self.engines[engine].seen = Seen { look, began: Some(began), world, table };
    }

    fn answers_ready(&self, id: &ReplicaId) -> bool {
        !self.is_before(self.faults.unready_until)
            && self.machines.find(id).is_some_and(|replica| replica.is_ready(self.now))
    }

    /// Asks the replicas how they are, as the probes do every second.
    pub(super) fn probe(&mut self, engine: usize) {
        let mut probes = std::mem::take(&mut self.engines[engine].probes);
        for (id, (row, answers)) in &mut probes {
            let live = self.machines.find(id).is_some_and(|replica| replica.is_live(self.now));
            *answers = row.add(self.answers_ready(id), live);
        }
        self.engines[engine].probes = probes;
    }

    fn proof(&self) -> Option<ServedBy> {
        if self.is_before(self.faults.mute_until) {
            return None;
        }
        let arm = self.edge.serving()?;
        let answers = |id: &ReplicaId| {
            self.machines
                .find(id)
                .is_some_and(|replica| replica.is_live(self.now) && replica.listens(self.now))
        };
        let endpoint = arm.replicas.iter().find(|end| answers(&end.replica))?;
        Some(ServedBy {
            release: arm.release.clone(),
            revision: arm.revision,
            replica: endpoint.replica.clone(),
            generation: self.edge.table.as_ref()?.generation,
        })
    }

    fn pursue(&mut self, engine: usize) {
        let now = self.clock(engine);
        let mine = &mut self.engines[engine];
        let Some(controller) = &mine.controller else { return };
        let acts = pursue(&controller.state, &mine.seen, &mut mine.board, now);
        if acts.is_empty() {
            return;
        }
        let claimed = carries::Claimed::of(&controller.state, &mine.seen.world, now);
        let life = mine.life;
        for act in acts {
            self.begin(engine, life, act, claimed);
        }
    }

    fn begin(&mut self, engine: usize, life: u64, act: Act, carries: carries::Claimed) {
        let (claim, body, after) = match act {
            Act::LookAgain { at } => {
                let wait = at.since(self.clock(engine));
                return self.look_soon(engine, Millis(wait.0.max(1)));
            }
            Act::Make { change, at, claim } => {
                self.fail(surge::NAME, surge::chosen(self, &change));
                (Some(claim), Body::Change { change, at }, 1 + self.draw(15))
            }
            Act::Ask { id, address, .. } => (None, Body::Ask { id, port: address.port() }, 1 + self.draw(50)),
            Act::Publish { routes, at, claim } => {
                (Some(claim), Body::Publish { routes: Some(routes), at, carries }, 1 + self.lag())
            }
            Act::Withdraw { at, claim } => {
                (Some(claim), Body::Publish { routes: None, at, carries }, 1 + self.lag())
            }
        };
        let message = Message { engine, life, claim, body };
        self.plan(Millis(after), Coming::Arrive(Box::new(message)));
    }

    fn lag(&mut self) -> u64 {
        let usual = self.draw(15);
        if self.is_before(self.faults.lag_until) { usual + self.faults.lag.0 } else { usual }
    }

    /// Tells an engine what came of something, if it is the one that asked; one that is frozen hears it later.
    pub(super) fn reply(&mut self, engine: usize, life: u64, reply: Reply) {
        if self.engines[engine].life != life {
            return;
        }
        if let Some(until) = self.engines[engine].frozen_until.filter(|until| self.now < *until) {
            let reply = Box::new(reply);
            return self.plan(until.since(self.now), Coming::Reply { engine, life, reply });
        }
        let now = self.clock(engine);
        if let Reply::Changed {
            change: Change::Launch { placed, .. },
            result: Err(PlatformError::Refused { .. }),
            ..
        } = &reply
        {
            self.engines[engine].refused = Some(placed.revision);
        }
        let board = &mut self.engines[engine].board;
        let pause = match reply {
            Reply::Changed { claim, change, result } => board.changed(claim, &change, &result, now),
            Reply::Published { claim, accepted } => board.published(claim, accepted, now),
            Reply::Answered { id, answer } => {
                board.answered(id, answer);
                None
            }
        };
        self.look_soon(engine, Millis(pause.map_or(1, |pause| pause.0.max(1))));
    }

    pub(super) fn note(&mut self, engine: usize, event: &Event) {
        let now = self.clock(engine);
        let Some(controller) = &mut self.engines[engine].controller else { return };
        let failed = controller.note(event, now).err();
        self.written(engine, failed);
    }

    /// Returns the launch whose refusal the owner knows of.
    pub(crate) fn refused(&self) -> Option<Revision> {
        self.owner().and_then(|owner| self.engines[owner].refused)
    }

    /// The state as this engine holds it.
    pub(crate) fn state(&self, engine: usize) -> Option<&rollout::machine::State> {
        self.engines[engine].controller.as_ref().map(|controller| &controller.state)
    }

    pub(super) fn generation(&self, engine: usize) -> Generation {
        self.state(engine).map(|state| state.generation()).unwrap_or_default()
    }
}
