//! Walks whole rollouts through the production state machine, second by second, in front of simulated traffic.
//! Refuses what no traffic shows: replicas are always ready, hooks and named checks are not asked. `many` runs walks side by
//! side; `exposure` and `operating` say what they cost.

use crate::ours::fill;
use crate::traffic::{Fault, Second, Traffic};
use rollout::event::{DeploymentKind, Event, Requested, ReturnReason, ServedBy};
use rollout::judge::calibration::{Calibration, KnownRoute};
use rollout::judge::{Once, ProbeCounts, Record};
use rollout::machine::{EdgeWorld, Fact, Phase, Presence, ReplicaWorld, State, World};
use rollout::names::{DeploymentId, Generation, Millis, Release, ReplicaId, Revision, Target, Weight};
use rollout::plan::{Hooks, RolloutSettings};
use rollout::release::{Health, Placed, ReleaseSpec};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

const STABLE: Revision = Revision(1);
const CANDIDATE: Revision = Revision(2);
/// Events that may follow from one second; more would be a machine that turns in a circle.
const EVENTS_MAX: usize = 32;
/// Traffic is thin, for synthetic requests, while the candidate gets fewer requests than this between two of them.
const THIN_BELOW: u64 = 5;

/// What is walked: the settings of a manifest, and what the judge knows of the service.
#[derive(Debug, Clone)]
pub struct Path {
    pub rollout: RolloutSettings,
    pub calibration: Calibration,
    /// The step it begins at, counted with the look before the first; the release was well before.
    pub from: usize,
    pub to: To,
}

/// How far it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// The end of the step it begins at.
    Step,
    Promotion,
}

/// How a walk ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// The step it was to end with was left behind, the release still there.
    Passed,
    Promoted {
        proven: bool,
    },
    Returned(ReturnReason),
}

/// What became of one walk.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    pub end: End,
    /// From its beginning.
    pub seconds: u64,
    /// Requests the fault harmed until then.
    pub harmed: f64,
    /// The candidate's weight when it ended.
    pub weight: Weight,
}

impl Path {
    pub fn new(rollout: &RolloutSettings, calibration: &Calibration) -> Self {
        let mut rollout = rollout.clone();
        (rollout.hooks, rollout.checks, rollout.monitor) = (Hooks::default(), Vec::new(), None);
        Self { rollout, calibration: calibration.clone(), from: 0, to: To::Promotion }
    }

    /// Returns the same for one step alone.
    pub fn step(self, step: usize) -> Self {
        Self { from: step, to: To::Step, ..self }
    }

    /// Walks it once: the same traffic, seed and number give the same course.
    pub fn walk(&self, traffic: &Traffic, seed: u64, number: u64) -> Course {
        let mut stream = traffic.stream(seed, number);
        let mut walker = Walker::new(self, traffic.scene.fault);
        let mut harmed = 0.0;
        // What is decided about a rollout ends with its deadline; the rest is room for the last second.
        let longest = self.rollout.deadline.0 / 1000 + 60;
        for second in 0..longest {
            if let Some(end) = walker.decide(second) {
                return Course { end, seconds: second, harmed, weight: walker.weight() };
            }
            let shown = stream.advance_at(walker.weight().share());
            harmed += shown.harmed;
            walker.count(shown);
        }
        unreachable!("BUG: a rollout outlived its deadline")
    }
}

/// Returns the settings as a deployment has them: with the look before the first step.
pub fn with_look(rollout: &RolloutSettings) -> RolloutSettings {
    let mut rollout = rollout.clone();
    rollout.look_first();
    rollout
}

/// One rollout under way.
struct Walker {
    state: State,
    /// Always a `Fact::World`.
    world: Fact,
    /// Always an `Event::EvidenceAdded`.
    evidence: Event,
    seq: u64,
    to: To,
    probe: Probe,
}

/// When synthetic requests are sent.
#[derive(Default)]
struct Probe {
    next_ms: u64,
    requests: u64,
}

impl Walker {
    fn new(path: &Path, fault: Fault) -> Self {
        let mut state = State::new(Target::new("simulated", "sim"));
        state.stable = Some(placed(STABLE));
        let requested = Event::DeploymentRequested(Box::new(Requested {
            deployment: DeploymentId::new("d-1"),
            key: "d-1".to_owned(),
            of: DeploymentKind::Deploy,
            candidate: placed(CANDIDATE),
            settings: path.rollout.clone(),
            folder: ".".to_owned(),
            reason: None,
        }));
        state.apply(&requested, 1, Millis(0));
        let mut calibration = path.calibration.clone();
        if let Fault::Route { .. } = fault {
            let error_rate = calibration.error_rate;
            calibration.routes = vec![KnownRoute { template: "/struck".to_owned(), error_rate }];
        }
        state.apply(&Event::JudgeCalibrated { calibration: Box::new(calibration) }, 2, Millis(0));
        let deployment = state.deployment.as_mut().expect("BUG: a deployment was just requested");
        (deployment.release_stored, deployment.launched) = (true, true);
        deployment.phase = Phase::Shifting { step: path.from };
        Self {
            state,
            world: Fact::World(Box::new(world())),
            evidence: Event::EvidenceAdded { record: Record::default() },
            seq: 2,
            to: path.to,
            probe: Probe::default(),
        }
    }

    /// Decides all that follows from what is known at the beginning of a second.
    fn decide(&mut self, second: u64) -> Option<End> {
        let now = Millis::seconds(second);
        for _ in 0..EVENTS_MAX {
            self.publish();
            let event = self.state.decide(&self.world, now)?;
            match &event {
                Event::ReturnStarted { why } => return Some(End::Returned(why.clone())),
                Event::Promoted { .. } | Event::BakePassed { .. } if self.to == To::Step => {
                    return Some(End::Passed);
                }
                Event::Promoted { proven, .. } => return Some(End::Promoted { proven: *proven }),
                _ => self.apply(&event, now),
            }
        }
        unreachable!("BUG: the state machine turns in a circle")
    }

    fn apply(&mut self, event: &Event, now: Millis) {
        self.seq += 1;
        self.state.apply(event, self.seq, now);
    }

    /// The edge takes what it is told at once.
    fn publish(&mut self) {
        let Some(running) = &self.state.deployment else { return };
        let Phase::Shifting { step } = running.phase else { return };
        let Fact::World(world) = &mut self.world else { return };
        if let Some(edge) = world.edge.as_mut().filter(|_| !running.stands_still()) {
            edge.candidate = Some((CANDIDATE, running.settings.weight_of(step)));
            edge.generation = self.state.generation();
        }
    }

    fn weight(&self) -> Weight {
        let Fact::World(world) = &self.world else { return Weight::NONE };
        let published = world.edge.as_ref().and_then(|edge| edge.candidate);
        published.map_or(Weight::NONE, |(_, weight)| weight)
    }

    /// Reports one second as the engine would.
    fn count(&mut self, second: &Second) {
        let running = self.state.deployment.as_ref().expect("BUG: it has not ended");
        let Event::EvidenceAdded { record } = &mut self.evidence else { return };
        fill(record, second, running.judge.slow_from().as_ref());
        let once = Once { candidate: second.candidate.errors_once, stable: second.stable.errors_once };
        record.once = running.settings.judge.user.as_ref().map(|_| once);
        record.probes = running.wants_probes().and_then(|probes| self.probe.sent(probes.every, second));
        self.seq += 1;
        self.state.apply(&self.evidence, self.seq, Millis::seconds(second.second + 1));
    }
}

impl Probe {
    /// Returns the synthetic requests of one second: one every so often, while users send few.
    fn sent(&mut self, every: Millis, second: &Second) -> Option<ProbeCounts> {
        self.requests += second.candidate.all.requests;
        if second.second * 1000 < self.next_ms {
            return None;
        }
        self.next_ms = second.second * 1000 + every.0;
        let thin = std::mem::take(&mut self.requests) < THIN_BELOW;
        let failed = u64::from(!second.candidate.probe_ok);
        thin.then_some(ProbeCounts { asked: 1, failed })
    }
}

fn placed(revision: Revision) -> Placed {
    let spec = ReleaseSpec {
        artifact: None,
        command: Vec::new(),
        env: BTreeMap::new(),
        resources: None,
        health: Health::default(),
        expand: Vec::new(),
    };
    Placed { revision, release: Release::new(format!("r{revision}")), label: None, spec }
}

/// Returns a world in which both versions have a ready replica and the edge serves stable.
fn world() -> World {
    let replica = |revision: Revision| ReplicaId::new(format!("simulated-{revision}-1"));
    let ready = ReplicaWorld {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
        launched_at: Millis(0),
        ready: true,
        faltering: false,
        failing: false,
        in_flight: 0,
        exited: None,
    };
    let presence = |revision| Presence { replicas: BTreeMap::from([(replica(revision), ready.clone())]) };
    let generation = Generation::default();
    World {
        revisions: [STABLE, CANDIDATE].map(|revision| (revision, presence(revision))).into(),
        edge: Some(EdgeWorld { generation, stable: Some(STABLE), ..EdgeWorld::default() }),
        proof: Some(ServedBy {
            release: Release::new("r1"),
            revision: STABLE,
            replica: replica(STABLE),
            generation,
        }),
        ..World::default()
    }
}

/// Runs walks (or anything that has a number) side by side. The results do not depend on how many at a time.
pub struct Runner {
    pub threads: usize,
    /// Counts what is done, for who shows progress.
    pub done: AtomicU64,
}

impl Runner {
    pub fn new(threads: usize) -> Self {
        Self { threads: threads.max(1), done: AtomicU64::new(0) }
    }

    /// Returns the results of the numbers from 0 on, in their order.
    pub fn run<T: Send>(&self, count: u64, one: impl Fn(u64) -> T + Sync) -> Vec<T> {
        let next = AtomicU64::new(0);
        let work = || {
            let mut results = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return results;
                }
                results.push((number, one(number)));
                self.done.fetch_add(1, Ordering::Relaxed);
            }
        };
        let mut all: Vec<(u64, T)> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.threads).map(|_| scope.spawn(work)).collect();
            workers.into_iter().flat_map(|worker| worker.join().expect("BUG: a walk panicked")).collect()
        });
        all.sort_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, result)| result).collect()
    }
}

#[cfg(test)]
mod tests;
