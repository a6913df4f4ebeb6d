//! Lives whole engines in a false world: one queue of what comes next, one clock that jumps from one to the other.
//! Refuses threads and real clocks: a script is everything, so a life can be lived again. `operate` acts, `strike` harms,
//! `arrive` is where changes meet the world, `checkers` look on.

mod arrive;
pub mod disk;
pub mod edge;
mod engines;
pub mod machines;
pub mod operate;
pub mod plans;
pub mod script;
mod strike;
mod traffic;

use crate::chance::Chance;
use crate::checkers::{Ledger, Violation};
use crate::coverage::Coverage;
use disk::Platter;
use edge::Edge;
use engine::board::Claim;
use engines::Engine;
use machines::{Fate, Machines, TaskFate};
use rollout::change::{Change, Ended, TaskId};
use rollout::machine::OperatorCommand;
use rollout::names::{Generation, Millis, Target};
use rollout::routes::RouteTable;
use script::Script;
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;

/// When lives begin.
pub const BEGIN: Millis = Millis(1_800_000_000_000);
/// Engines that may live at the same time: the owner, and one that takes over.
pub const ENGINES: usize = 2;
/// How long a healed world may take until nothing moves any more.
const SETTLE_WITHIN: Millis = Millis::seconds(1200);
/// Probes count failures for so long.
const PROBES_FORGET: Millis = Millis::seconds(5);

/// Something that comes at its time.
#[derive(Debug)]
enum Coming {
    Second,
    Look {
        engine: usize,
        life: u64,
    },
    Arrive(Box<Message>),
    Reply {
        engine: usize,
        life: u64,
        reply: Box<Reply>,
    },
    Open {
        engine: usize,
    },
    Command {
        command: Box<OperatorCommand>,
        tries: u32,
    },
    /// Everybody who can looks again.
    Poke,
    /// A backup is put back.
    Restore,
}

/// Something an engine has sent.
#[derive(Debug)]
struct Message {
    engine: usize,
    life: u64,
    /// None: nobody waits for an answer.
    claim: Option<Claim>,
    body: Body,
}

#[allow(
    clippy::large_enum_variant,
    reason = "a few of them wait at a time, and a box for each would only cost"
)]
#[derive(Debug)]
enum Body {
    Change {
        change: Change,
        at: Generation,
    },
    /// None: a withdrawal.
    Publish {
        routes: Option<Box<RouteTable>>,
        at: Generation,
        carries: crate::checkers::carries::Claimed,
    },
    Ask {
        id: TaskId,
        port: u16,
    },
}

#[allow(
    clippy::large_enum_variant,
    reason = "a few of them wait at a time, and a box for each would only cost"
)]
#[derive(Debug)]
enum Reply {
    Changed { claim: Claim, change: Change, result: Result<(), drivers::platform::PlatformError> },
    Published { claim: Claim, accepted: bool },
    Answered { id: TaskId, answer: (Ended, String) },
}

#[derive(Debug)]
struct Due {
    at: Millis,
    number: u64,
    what: Coming,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// What is wrong outside, and until when; or how many times still.
#[derive(Debug, Default)]
struct Faults {
    times_out: u32,
    late: (u32, Millis),
    repeats: u32,
    refuses: u32,
    throttles: u32,
    unreachable_until: Millis,
    stale_until: Millis,
    partial_until: Millis,
    lag_until: Millis,
    lag: Millis,
    partitioned_until: Millis,
    mute_until: Millis,
    silent_until: Millis,
    shared_until: Millis,
    shared: f64,
    unready_until: Millis,
    busy_until: Millis,
    full_until: Millis,
    read_only_until: Millis,
    check_fails: BTreeMap<u8, Millis>,
    shared_check_until: Millis,
    task_fails: BTreeMap<(u32, u8), ()>,
    task_late: BTreeMap<u32, Millis>,
    /// A flipped row, as it was.
    flipped: Option<(usize, engine::journal::StoredRow)>,
    lost: Vec<engine::journal::StoredRow>,
}

/// One life.
pub struct World {
    pub now: Millis,
    pub target: Target,
    queue: BinaryHeap<Reverse<Due>>,
    number: u64,
    chance: Chance,
    /// Of what was thought of later: the draws of kept scripts stay what they were.
    chance_later: Chance,
    pub machines: Machines,
    pub edge: Edge,
    pub(crate) platter: Rc<RefCell<Platter>>,
    engines: [Engine; ENGINES],
    fates: BTreeMap<u8, Fate>,
    faults: Faults,
    /// The platform as a stale observation shows it.
    observed: rollout::change::Observed,
    per_second: u64,
    owed: BTreeMap<rollout::names::Revision, f64>,
    /// By how much the wall clock is off.
    wall: i64,
    keys: u64,
    healed: bool,
    pub ledger: Ledger,
    pub coverage: Coverage,
    pub violation: Option<Violation>,
    /// What happened, for people; None: nobody reads it.
    pub transcript: Option<Vec<String>>,
}

impl World {
    pub fn new(seed: u64, told: bool) -> Self {
        let target = Target::new("web", "sim");
        let mut world = Self {
            now: BEGIN,
            target: target.clone(),
            queue: BinaryHeap::new(),
            number: 0,
            chance: Chance::new(seed, 2),
            chance_later: Chance::new(seed, 3),
            machines: Machines::default(),
            edge: Edge::default(),
            platter: Rc::default(),
            engines: [Engine::default(), Engine::default()],
            fates: BTreeMap::new(),
            faults: Faults::default(),
            observed: rollout::change::Observed::default(),
            per_second: 200,
            owed: BTreeMap::new(),
            wall: 0,
            keys: 0,
            healed: false,
            ledger: Ledger::new(target),
            coverage: Coverage::default(),
            violation: None,
            transcript: told.then(Vec::new),
        };
        world.open(0);
        let replicas = 1 + world.draw(3) as u32;
        world.command(OperatorCommand::Settings(plans::target(replicas)), 0);
        world.plan(Millis(1000 - BEGIN.0 % 1000), Coming::Second);
        world
    }

    /// Lives a script to its end, heals the world, and waits until nothing moves any more.
    pub fn live(script: &Script, told: bool) -> Self {
        let mut world = Self::new(script.seed, told);
        for step in &script.steps {
            if world.violation.is_some() {
                return world;
            }
            world.take(*step);
        }
        world.heal();
        world.settle();
        world
    }

    /// Returns what the journal holds, in order.
    pub fn journal(&self) -> Vec<rollout::event::Event> {
        let platter = self.platter.borrow();
        let read = |row: &engine::journal::StoredRow| serde_json::from_str(&row.body).ok();
        platter.rows.iter().filter_map(read).collect()
    }

    /// Lets so much time pass.
    pub fn run(&mut self, time: Millis) {
        let end = self.now.plus(time);
        while self.violation.is_none() && self.queue.peek().is_some_and(|due| due.0.at <= end) {
            let Some(Reverse(due)) = self.queue.pop() else { return };
            self.now = self.now.max(due.at);
            if self.machines.live(self.now) {
                self.poke();
            }
            self.come(due.what);
        }
        self.now = self.now.max(end);
    }

    fn come(&mut self, what: Coming) {
        match what {
            Coming::Second => {
                self.plan(Millis(1000), Coming::Second);
                self.second();
            }
            Coming::Look { engine, life } => self.look_if(engine, life),
            Coming::Arrive(message) => self.arrive(*message),
            Coming::Reply { engine, life, reply } => self.reply(engine, life, *reply),
            Coming::Open { engine } => self.open(engine),
            Coming::Command { command, tries } => self.command(*command, tries),
            Coming::Poke => self.poke(),
            Coming::Restore => self.restore(),
        }
    }

    fn settle(&mut self) {
        let end = self.now.plus(SETTLE_WITHIN);
        let mut quiet = 0;
        while quiet < 3 && self.violation.is_none() {
            self.run(Millis(1000));
            let moves = self.ledger.told.deployment.is_some() || !self.ledger.told.leaving.is_empty();
            let left = if moves { None } else { crate::checkers::left_over::check(self) };
            quiet = if moves || left.is_some() { 0 } else { quiet + 1 };
            if self.now >= end {
                let what =
                    left.unwrap_or_else(|| "a deployment, or what it leaves, has not ended".to_owned());
                let checker = if moves { "every_deployment_ends" } else { "nothing_is_left_behind" };
                self.fail(checker, Some(what));
            }
        }
    }

    /// Remembers the first violation.
    pub(crate) fn fail(&mut self, checker: &'static str, what: Option<String>) {
        let Some(what) = what else { return };
        self.tell(|| format!("VIOLATION of {checker}: {what}"));
        self.violation.get_or_insert(Violation { checker, what });
    }

    fn plan(&mut self, after: Millis, what: Coming) {
        self.number += 1;
        let due = Due { at: self.now.plus(after), number: self.number, what };
        self.queue.push(Reverse(due));
    }

    pub(crate) fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(transcript) = &mut self.transcript {
            let ms = self.now.since(BEGIN).0;
            transcript.push(format!("{:>7}.{:03}  {}", ms / 1000, ms % 1000, what()));
        }
    }

    /// Draws a number below `bound`.
    fn draw(&mut self, bound: u64) -> u64 {
        self.chance.bits() % bound.max(1)
    }

    fn fate(&self, release: u8) -> Fate {
        self.fates.get(&release).copied().unwrap_or_default()
    }

    /// Returns the share of a release's requests that fail.
    pub fn fails(&self, release: u8) -> f64 {
        self.fate(release).fails
    }

    fn task_fate(&self, name: &str, release: u8) -> TaskFate {
        let number =
            ["before_deploy", "expand", "smoke", "page", "after_deploy"].iter().position(|it| *it == name);
        let number = number.unwrap_or(0) as u32;
        let after = self.faults.task_late.get(&number).copied().unwrap_or(Millis(120));
        let fails = self.faults.task_fails.contains_key(&(number, release));
        TaskFate { after, ended: Ended::Code(i32::from(fails)) }
    }

    fn is_before(&self, until: Millis) -> bool {
        self.now < until
    }

    fn draw_later(&mut self, bound: u64) -> u64 {
        self.chance_later.bits() % bound.max(1)
    }

    /// Tells whether a clock has been set in this life.
    pub(crate) fn is_set(&self) -> bool {
        self.wall != 0
    }

    /// Tells whether replicas run under this number that belong to a release whose deployment the disk has forgotten.
    pub(crate) fn is_forgotten(&self, revision: rollout::names::Revision) -> bool {
        let release = self.ledger.release_of(revision);
        let mut running = self.machines.running(revision);
        running.any(|replica| release.is_some_and(|release| release != replica.release))
    }

    /// Tells whether probes are answered wrongly.
    pub(crate) fn is_unready(&self) -> bool {
        self.is_before(self.faults.unready_until.plus(PROBES_FORGET))
    }

    /// Tells whether somebody leads who can look and write.
    pub(crate) fn has_able_owner(&self) -> bool {
        let platter = self.platter.borrow();
        let writes = !platter.full && !platter.read_only;
        writes && self.owner().is_some() && !self.is_before(self.faults.unreachable_until)
    }

    /// Tells whether what an engine sees is what there is, and what it sends arrives.
    pub(crate) fn sees_all(&self) -> bool {
        let faults = &self.faults;
        // What could not be written when it was seen may not be seen again.
        let disk = faults.full_until.max(faults.read_only_until).plus(PROBES_FORGET);
        let until = [faults.mute_until, faults.silent_until, faults.lag_until, disk];
        self.has_able_owner()
            && self.edge_is_reachable()
            && self.now > self.ledger.misled_until
            && !self.is_unready()
            && until.into_iter().all(|until| !self.is_before(until))
    }

    fn edge_is_reachable(&self) -> bool {
        !self.is_before(self.faults.partitioned_until)
    }
}
