//! Runs the core as the engine does, in a world of its own: look, decide, write down, change what differs, publish.
//! Time passes only in `step`; every law of `checkers` is asked for at every step.

use super::checkers::{self, Before};
use super::outside::{Edge, Fate, Replicas, TaskFate, Tasks};
use crate::change::{Change, changes};
use crate::event::{Event, Outcome, ServedBy};
use crate::judge::{Calibration, ClientErrorCounts, ClientErrors, ProbeCounts, Record, Slow};
use crate::machine::{
    Answer, DeployIntent, Fact, KnownKey, MonitorAnswer, MonitorRound, OperatorCommand, Phase, Refusal,
    State, WantedTask, World,
};
use crate::mirror::MirrorCounts;
use crate::names::{DeploymentId, Label, Millis, Release, Revision, Target, Weight};
use crate::plan::{RolloutSettings, Strategy, TargetSettings};
use crate::release::{Health, ReleaseSpec};
use std::collections::{BTreeMap, BTreeSet};

/// Events that may follow from one look; more means that two rules contradict each other.
const FOLLOWING_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub event: Event,
    pub seq: u64,
    pub at: Millis,
}

/// What is scripted, by release or by task name.
#[derive(Debug, Default)]
pub struct Scripts {
    pub fates: BTreeMap<String, Fate>,
    pub tasks: BTreeMap<String, TaskFate>,
    /// Share of failing requests.
    pub errors: BTreeMap<String, f64>,
    pub refused: BTreeSet<String>,
    /// How many times as often as usual a request is slow.
    pub slowness: BTreeMap<String, f64>,
    /// Share of requests answered 404.
    pub not_found: BTreeMap<String, f64>,
    /// Named checks that fail, by release.
    pub failing_checks: BTreeSet<(String, String)>,
    /// Named checks nobody can be asked.
    pub unasked_checks: BTreeSet<String>,
}

pub struct Sim {
    pub state: State,
    pub journal: Vec<Entry>,
    pub now: Millis,
    pub replicas: Replicas,
    pub edge: Edge,
    pub tasks: Tasks,
    pub scripts: Scripts,
    /// The settings of the next deployment.
    pub plan: RolloutSettings,
    pub health: Health,
    pub expand: Vec<String>,
    pub requests_per_second: u64,
    /// The edge reports no counts.
    pub silent: bool,
    /// Stable says that it is not well when it is asked because the candidate fails.
    pub unwell: bool,
    pub bad_answers: u64,
    /// The edge gives the candidate a tenth of its share.
    pub misrouted: bool,
    /// Synthetic requests the candidate answers each second.
    pub probes: u64,
    /// When the named checks are asked next.
    checks_at: Millis,
    /// The state as the journal alone tells it, kept up event by event.
    pub told: State,
    pub before: Option<Before>,
    refused: Option<(Revision, String)>,
    proof: Option<ServedBy>,
    second: u64,
    owed: BTreeMap<Revision, f64>,
    keys: u64,
}

impl Sim {
    /// Returns a world with nothing in it but an edge; canary 5, 25, 100 over two replicas.
    pub fn new() -> Self {
        let target = Target::new("web", "local");
        let mut sim = Self {
            state: State::new(target.clone()),
            journal: Vec::new(),
            now: Millis(1_000_000),
            replicas: Replicas::default(),
            edge: Edge::default(),
            tasks: Tasks::default(),
            scripts: Scripts::default(),
            plan: canary(&[5, 25, 100]),
            health: Health { start: Millis::seconds(10), ..Health::default() },
            expand: Vec::new(),
            requests_per_second: 200,
            silent: false,
            unwell: false,
            bad_answers: 0,
            misrouted: false,
            probes: 0,
            checks_at: Millis(0),
            told: State::new(target),
            before: None,
            refused: None,
            proof: None,
            second: 1_000,
            owed: BTreeMap::new(),
            keys: 0,
        };
        sim.append(Event::LeaseTaken { epoch: 1, owner: "sim".to_owned() });
        let mut settings = TargetSettings::default();
        settings.replicas.min = 2;
        settings.replicas.max = 64;
        sim.command(OperatorCommand::Settings(settings)).unwrap();
        sim
    }

    /// Returns a world in which `v1` has been promoted.
    pub fn serving_v1() -> Self {
        let mut sim = Self::new();
        assert_eq!(sim.ship("v1"), Outcome::Promoted);
        sim.run(300);
        sim
    }

    /// Returns a world in which `v2` has been promoted and `v1` is hot.
    pub fn serving_v2() -> Self {
        let mut sim = Self::serving_v1();
        assert_eq!(sim.ship("v2"), Outcome::Promoted);
        sim.run(300);
        sim
    }

    pub fn intent(&mut self, release: &str) -> DeployIntent {
        self.keys += 1;
        DeployIntent {
            key: format!("key-{}", self.keys),
            release: Release::from(release),
            label: Some(Label::new(format!("label-{release}"))),
            spec: ReleaseSpec {
                artifact: Some(format!("digest-{release}")),
                command: vec!["serve".to_owned()],
                env: BTreeMap::new(),
                resources: None,
                health: self.health.clone(),
                expand: self.expand.clone(),
            },
            settings: self.plan.clone(),
            folder: "/clinic".to_owned(),
            supersede: false,
        }
    }

    pub fn deploy(&mut self, release: &str) {
        let intent = self.intent(release);
        self.command(OperatorCommand::Deploy(Box::new(intent))).unwrap();
    }

    /// Deploys and follows to the end.
    pub fn ship(&mut self, release: &str) -> Outcome {
        self.deploy(release);
        self.finish()
    }

    pub fn roll_back(&mut self, to: Option<&str>) -> Result<Answer, Refusal> {
        self.keys += 1;
        let key = format!("key-{}", self.keys);
        self.command(OperatorCommand::Rollback { to: to.map(str::to_owned), key })
    }

    pub fn command(&mut self, command: OperatorCommand) -> Result<Answer, Refusal> {
        let answer = self.state.command(&command)?;
        if let Answer::Event(event) | Answer::Supersede(event) = &answer {
            self.append((**event).clone());
        }
        Ok(answer)
    }

    pub fn append(&mut self, event: Event) {
        let seq = self.state.seq + 1;
        let was = self.state.clone();
        self.state.apply(&event, seq, self.now);
        checkers::journal_tells_the_state(self, &event, seq);
        checkers::stable_changes_only_when_a_deployment_ends(&was, &self.state, &event);
        checkers::an_end_is_what_the_edge_shows(self, &was, &event);
        self.journal.push(Entry { event, seq, at: self.now });
        self.before = None;
    }

    /// Becomes what these events tell, in a world in which nothing of it runs.
    pub fn relive(&mut self, journal: &[Entry]) {
        self.state = State::new(self.state.target.clone());
        self.journal = journal.to_vec();
        for entry in journal {
            self.state.apply(&entry.event, entry.seq, entry.at);
            self.now = entry.at;
        }
        self.told = self.state.clone();
        self.second = self.now.0 / 1000;
        self.before = None;
    }

    /// Forgets the state and reads it from the journal, as a restarted engine does.
    pub fn restart(&mut self) {
        let mut state = State::new(self.state.target.clone());
        for entry in &self.journal {
            state.apply(&entry.event, entry.seq, entry.at);
        }
        assert_eq!(state, self.state);
        self.state = state;
        let epoch = self.state.epoch + 1;
        self.append(Event::LeaseTaken { epoch, owner: "sim".to_owned() });
    }

    pub fn world(&mut self) -> World {
        if self.state.desired().proof && self.edge.reachable && self.edge.proves {
            let arm = self.edge.serving();
            let answering = arm.and_then(|arm| {
                let endpoint = arm.replicas.iter().find(|endpoint| self.answers(&endpoint.replica))?;
                Some((arm, endpoint))
            });
            self.proof = answering.map(|(arm, endpoint)| ServedBy {
                release: arm.release.clone(),
                revision: arm.revision,
                replica: endpoint.replica.clone(),
                generation: self.edge.generation,
            });
        }
        World {
            revisions: self.replicas.seen(self.now),
            edge: self.edge.seen(),
            tasks: self.tasks.seen(self.now),
            refused: self.refused.clone(),
            // Also an old one: the core must not take it for new.
            proof: self.proof.clone(),
            stale: false,
        }
    }

    fn answers(&self, id: &crate::names::ReplicaId) -> bool {
        self.replicas.all.get(id).is_some_and(|replica| replica.answers(self.now))
    }

    /// Lets time pass, then does what the engine does once.
    pub fn step(&mut self, ms: u64) {
        self.now = self.now.plus(Millis(ms));
        self.replicas.live(self.now);
        self.edge.live(self.now);
        while self.second < self.now.0 / 1000 {
            self.second += 1;
            self.count();
        }
        self.ask_checks();
        let world = self.world();
        checkers::time_alone_changes_something_only_when_said(self, &world);
        self.decide(&world);
        self.pursue(&world);
        self.before = Some(Before { world, at: self.now });
        checkers::all(self);
    }

    fn decide(&mut self, world: &World) {
        let fact = Fact::World(Box::new(world.clone()));
        let mut following = 0;
        while let Some(event) = self.state.decide(&fact, self.now) {
            assert_eq!(Some(&event), self.state.decide(&fact, self.now).as_ref(), "decide is a function");
            following += 1;
            assert!(following <= FOLLOWING_MAX, "{} follows without end", event.kind());
            self.append(event);
        }
    }

    fn pursue(&mut self, world: &World) {
        let desired = self.state.desired();
        for change in changes(&desired, world) {
            checkers::change_is_safe(self, &change, world);
            self.make(&change);
        }
        for wanted in &desired.tasks {
            if let WantedTask::Ask { id, .. } = wanted {
                let fate = self.scripts.tasks.get(&id.name).copied().unwrap_or_default();
                self.tasks.begin(id, fate, self.now);
            }
        }
        if !self.edge.reachable || self.edge.coming.is_some() {
            return;
        }
        match self.state.routes(world, self.now) {
            Some(table) if self.edge.table.as_ref() != Some(&table) => {
                checkers::table_is_safe(self, &table, world);
                self.edge.send(self.state.generation(), Some(table), self.now);
            }
            None if self.edge.table.is_some()
                && self.state.stable.is_none()
                && self.state.deployment.is_none() =>
            {
                self.edge.send(self.state.generation(), None, self.now);
            }
            _ => {}
        }
    }

    fn make(&mut self, change: &Change) {
        match change {
            Change::Launch { placed, .. } if self.scripts.refused.contains(placed.release.as_str()) => {
                self.refused = Some((placed.revision, "no port is free".to_owned()));
            }
            Change::Launch { placed, replicas } => {
                let fate = self.scripts.fates.get(placed.release.as_str()).cloned().unwrap_or_default();
                self.replicas.launch(placed, *replicas, &fate, self.now);
            }
            Change::Stop { replicas, .. } => {
                self.replicas.all.retain(|id, _| !replicas.contains(id));
            }
            Change::Remove { revision, .. } => {
                self.replicas.all.retain(|_, replica| replica.revision != *revision);
            }
            Change::RunTask { task } => {
                let fate = self.scripts.tasks.get(&task.id.name).copied().unwrap_or_default();
                self.tasks.begin(&task.id, fate, self.now);
            }
        }
    }

    /// Counts one second of traffic and tells the core.
    fn count(&mut self) {
        let mut shares = BTreeMap::new();
        if let Some(table) = self.edge.table.clone() {
            let weight =
                table.candidate.as_ref().map_or(0, |candidate| u64::from(candidate.weight.percent()));
            let share = if self.misrouted { weight / 10 } else { weight };
            let of_candidate = self.requests_per_second * share / 100;
            if let Some(arm) = &table.stable {
                shares.insert(arm.revision, self.answer(arm, self.requests_per_second - of_candidate));
            }
            if let Some(candidate) = &table.candidate {
                shares.insert(candidate.arm.revision, self.answer(&candidate.arm, of_candidate));
            }
        }
        let stable = self.state.stable.as_ref().map(|placed| placed.revision);
        let (candidate, stable) = match &self.state.deployment {
            Some(running) => (Some(running.candidate.revision), stable),
            None => (stable, None),
        };
        let of = |revision: Option<Revision>| {
            revision.and_then(|revision| shares.get(&revision)).copied().unwrap_or_default()
        };
        let record = Record {
            second: self.second,
            missing: self.silent || !self.edge.reachable,
            unwell: self.unwell && of(candidate).1 > 0,
            candidate_requests: of(candidate).0,
            candidate_errors: of(candidate).1,
            stable_requests: of(stable).0,
            stable_errors: of(stable).1,
            slow: self.slow(candidate, of(candidate).0, stable, of(stable).0),
            client_errors: self.client_errors(candidate, of(candidate).0, stable, of(stable).0),
            probes: Some(ProbeCounts { asked: self.probes, failed: 0 }).filter(|_| self.probes > 0),
            mirror: self.mirrored(candidate),
            ..Record::default()
        };
        let record = if record.missing { Record::missing(self.second) } else { record };
        if let Some(event) = self.state.decide(&Fact::Sample(Box::new(record)), self.now) {
            self.append(event);
        }
    }

    /// Returns what copies show: where requests of the candidate fail by script, its answers are others than stable's.
    fn mirrored(&self, candidate: Option<Revision>) -> MirrorCounts {
        let Some(copies) = self.edge.table.as_ref().and_then(|table| table.mirror.as_ref()) else {
            return MirrorCounts::default();
        };
        let compared = self.requests_per_second * u64::from(copies.share.percent()) / 100;
        let differing = self.script(&self.scripts.errors, candidate).unwrap_or(0.0);
        let status = (differing * compared as f64).round() as u64;
        MirrorCounts { compared, status, ..MirrorCounts::default() }
    }

    fn script(&self, scripts: &BTreeMap<String, f64>, revision: Option<Revision>) -> Option<f64> {
        let placed =
            [self.state.stable.as_ref(), self.state.deployment.as_ref().map(|running| &running.candidate)];
        let mine = placed.into_iter().flatten().find(|placed| Some(placed.revision) == revision)?;
        scripts.get(mine.release.as_str()).copied()
    }

    fn slow(&self, candidate: Option<Revision>, nc: u64, stable: Option<Revision>, nb: u64) -> Option<Slow> {
        self.state.judge()?.slow_from()?;
        let of = |revision, requests: u64| {
            let times = self.script(&self.scripts.slowness, revision).unwrap_or(1.0);
            [0.5, 0.1, 0.01, 0.001]
                .map(|usual: f64| ((usual * times).min(1.0) * requests as f64).round() as u64)
        };
        Some(Slow { candidate: of(candidate, nc), stable: of(stable, nb) })
    }

    fn client_errors(
        &self,
        candidate: Option<Revision>,
        nc: u64,
        stable: Option<Revision>,
        nb: u64,
    ) -> Option<ClientErrors> {
        let of = |revision, requests: u64| {
            let share = self.script(&self.scripts.not_found, revision).unwrap_or(0.0);
            ClientErrorCounts { not_found: (share * requests as f64) as u64, ..ClientErrorCounts::default() }
        };
        Some(ClientErrors { candidate: of(candidate, nc), stable: of(stable, nb) })
    }

    /// Asks the named checks when their time has come.
    fn ask_checks(&mut self) {
        let Some(running) = &self.state.deployment else { return };
        let Some(monitor) = running.monitor(self.now).filter(|_| self.now >= self.checks_at) else { return };
        let passes = |check: &str, release: Option<&Release>| {
            release.filter(|_| !self.scripts.unasked_checks.contains(check)).map(|release| {
                !self.scripts.failing_checks.contains(&(check.to_owned(), release.as_str().to_owned()))
            })
        };
        let candidate = Some(&running.candidate.release);
        let stable = self.state.stable.as_ref().map(|placed| &placed.release);
        let answers = monitor.checks.iter().map(|check| MonitorAnswer {
            check: check.name.clone(),
            candidate_ok: passes(&check.name, candidate),
            stable_ok: passes(&check.name, stable),
            why: String::new(),
        });
        let round = MonitorRound { answers: answers.collect() };
        self.checks_at = self.now.plus(monitor.every);
        if let Some(event) = self.state.decide(&Fact::Answers(round), self.now) {
            self.append(event);
        }
    }

    /// Tells the core what the service's own traffic says.
    pub fn calibrate(&mut self, calibration: Calibration) {
        if let Some(event) = self.state.decide(&Fact::Calibrated(Box::new(calibration)), self.now) {
            self.append(event);
        }
    }

    fn answer(&mut self, arm: &crate::routes::Arm, requests: u64) -> (u64, u64) {
        let alive = arm.replicas.iter().any(|endpoint| self.answers(&endpoint.replica));
        let scripted = self.scripts.errors.get(arm.release.as_str()).copied().unwrap_or(0.0);
        let owed = self.owed.entry(arm.revision).or_default();
        *owed += requests as f64 * if alive { scripted } else { 1.0 };
        let errors = (*owed as u64).min(requests);
        *owed -= errors as f64;
        self.bad_answers += errors;
        (requests, errors)
    }
}

/// Asking and waiting.
impl Sim {
    pub fn run(&mut self, ms: u64) {
        let end = self.now.plus(Millis(ms));
        while self.now < end {
            self.step(end.since(self.now).0.min(100));
        }
    }

    /// Runs until the condition holds; fails after so many seconds.
    pub fn until(&mut self, seconds: u64, what: &str, condition: impl Fn(&Self) -> bool) {
        let end = self.now.plus(Millis::seconds(seconds));
        while !condition(self) {
            assert!(self.now < end, "waited in vain for {what}:\n{}", self.tell());
            self.step(100);
        }
    }

    pub fn until_phase(&mut self, word: &str) {
        self.until(120, word, |sim| sim.phase() == Some(word));
    }

    pub fn until_weight(&mut self, percent: u8) {
        self.until(300, "a weight", |sim| {
            sim.edge.candidate().map(|(_, weight)| weight.percent()) == Some(percent)
        });
    }

    /// Runs until the deployment has ended and says how.
    pub fn finish(&mut self) -> Outcome {
        self.until(3000, "the end of the deployment", |sim| sim.state.deployment.is_none());
        self.last_outcome().map(|(_, outcome)| outcome).expect("a deployment has ended")
    }

    /// Returns the deployment that ended last, and how.
    pub fn last_outcome(&self) -> Option<(DeploymentId, Outcome)> {
        let ended = |known: &KnownKey| Some((known.deployment.clone(), known.outcome?));
        self.state.keys.iter().rev().find_map(ended)
    }

    /// Runs until nothing leaves any more, and checks what is left.
    pub fn settle(&mut self) {
        self.until(3000, "everything to settle", |sim| {
            sim.state.deployment.is_none() && sim.state.leaving.is_empty() && sim.state.to_replace.is_empty()
        });
        let end = self.now.plus(Millis::seconds(60));
        let mut quiet = 0;
        while quiet < 10 {
            let left = checkers::left_over(self);
            quiet = if left.is_none() { quiet + 1 } else { 0 };
            assert!(self.now < end, "{left:?}\n{}", self.tell());
            self.step(100);
        }
    }

    pub fn phase(&self) -> Option<&'static str> {
        self.state.deployment.as_ref().map(|running| running.phase.word())
    }

    pub fn step_number(&self) -> Option<usize> {
        match self.state.deployment.as_ref()?.phase {
            Phase::Shifting { step } | Phase::Baking { step } => Some(step),
            _ => None,
        }
    }

    /// Returns the release that answers most users.
    pub fn answering(&self) -> Option<&str> {
        self.edge.serving().map(|arm| arm.release.as_str())
    }

    pub fn weight(&self) -> u8 {
        self.edge.candidate().map_or(0, |(_, weight)| weight.percent())
    }

    pub fn running(&self, release: &str) -> usize {
        self.replicas.all.values().filter(|seen| seen.release == release && seen.exited.is_none()).count()
    }

    pub fn kill(&mut self, release: &str) {
        for replica in self.replicas.all.values_mut().filter(|replica| replica.release == release) {
            replica.exited.get_or_insert(crate::change::Ended::Signal(9));
        }
    }

    pub fn set_ready(&mut self, release: &str, ready: bool) {
        for replica in self.replicas.all.values_mut().filter(|replica| replica.release == release) {
            replica.unready = !ready;
        }
    }

    pub fn set_faltering(&mut self, release: &str, faltering: bool) {
        for replica in self.replicas.all.values_mut().filter(|replica| replica.release == release) {
            replica.faltering = faltering;
        }
    }

    pub fn kinds(&self) -> Vec<&'static str> {
        self.journal.iter().map(|entry| entry.event.kind()).collect()
    }

    pub fn happened(&self, kind: &str) -> usize {
        self.kinds().iter().filter(|seen| **seen == kind).count()
    }

    pub fn tell(&self) -> String {
        let told = self.journal.iter().filter(|entry| entry.event.kind() != "evidence_added");
        told.map(|entry| format!("{:>8} {}\n", entry.at.0 - 1_000_000, entry.event)).collect()
    }
}

pub fn canary(steps: &[u8]) -> RolloutSettings {
    let steps = steps.iter().map(|percent| Weight::new(*percent).unwrap()).collect();
    let bakes = (Millis::seconds(10), Millis::seconds(5));
    RolloutSettings { drain: Millis::seconds(2), ..with(Strategy::Canary, steps, bakes) }
}

pub fn blue_green() -> RolloutSettings {
    let bakes = (Millis::seconds(10), Millis::seconds(5));
    RolloutSettings { drain: Millis::seconds(2), ..with(Strategy::BlueGreen, vec![Weight::FULL], bakes) }
}

fn with(strategy: Strategy, steps: Vec<Weight>, (bake, step_bake): (Millis, Millis)) -> RolloutSettings {
    let mut settings = RolloutSettings::with_bakes(strategy, steps, bake, step_bake);
    settings.keep_hot = Millis::seconds(60);
    // Most of these lives are about other things: what is not proven in time goes on, and nothing is held back.
    settings.bake_max = Some(bake);
    settings.hold_back = Weight::NONE;
    settings.deadline = Millis::seconds(120);
    settings
}
