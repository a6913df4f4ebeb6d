//! Tells a deployment as an engine would, judged by the production judge: what `explain` and `replay` are asked about.

use rollout::bundle::{Bundle, FORMAT, Recorder, Search};
use rollout::event::{
    DeploymentKind, EVENT_VERSION, Event, EventRecord, Outcome, Requested, ReturnReason, ServedBy,
};
use rollout::judge::calibration::KnownRoute;
use rollout::judge::{Calibration, FailingRequest, Record, RouteCounts};
use rollout::machine::State;
use rollout::names::{
    Actor, DeploymentId, Generation, Label, Millis, Release, ReplicaId, Revision, Target, Weight,
};
use rollout::plan::{JudgeSettings, LatencySettings, RolloutSettings, Strategy};
use rollout::release::{Health, Placed, ReleaseSpec};
use std::collections::BTreeMap;

/// The route that breaks.
pub const ROUTE: &str = "/api/appointments/{id}";

/// The journal of one target as it is written.
pub struct Story {
    state: State,
    records: Vec<EventRecord>,
    at: u64,
}

impl Story {
    /// Begins with `v1` promoted.
    pub fn begin() -> Self {
        let state = State::new(Target::new("web", "local"));
        let mut story = Self { state, records: Vec::new(), at: 1_795_341_600_000 };
        story.deploy(1, "v1");
        story.finish(1, Outcome::Promoted);
        story
    }

    pub fn say(&mut self, event: Event) {
        self.at += 500;
        let record = EventRecord {
            v: EVENT_VERSION,
            seq: self.records.len() as u64 + 1,
            at: Millis(self.at),
            target: self.state.target.clone(),
            deployment: self.state.deployment_of(&event),
            actor: Actor::new(if matches!(event, Event::DeploymentRequested(_)) {
                "uid:1000"
            } else {
                "engine"
            }),
            event,
            prev_hash: String::new(),
            hash: String::new(),
        };
        self.state.apply(&record.event, record.seq, record.at);
        self.records.push(record);
    }

    /// Goes as far as the candidate's first request.
    pub fn deploy(&mut self, number: u64, label: &str) {
        let revision = Revision(number);
        self.say(Event::DeploymentRequested(Box::new(requested(number, label))));
        self.say(Event::ReleaseStored { release: Release::new("abcdef012345"), artifact: None });
        self.say(Event::CandidateLaunched { revision, replicas: 2 });
        self.say(Event::CandidateReady { revision, replicas: 2 });
        self.say(Event::CandidateVerified { revision });
        let calibration = Calibration {
            error_rate: 0.02,
            error_rate_once: 0.02,
            routes: vec![KnownRoute { template: ROUTE.to_owned(), error_rate: 0.001 }],
            hours: 2.5,
            ..Calibration::default()
        };
        self.say(Event::JudgeCalibrated { calibration: Box::new(calibration) });
        let weight =
            self.state.deployment.as_ref().map_or(Weight::FULL, |running| running.settings.weight_of(0));
        let generation = Generation { epoch: 1, seq: self.state.seq };
        self.say(Event::TrafficShifted { revision, weight, generation });
    }

    /// Counts seconds in which two requests of either side fail, and of the candidate's five to the route so many more.
    pub fn watch(&mut self, seconds: u64, failing: u64) {
        for _ in 0..seconds {
            let second = self.at / 1000;
            let failure = |_| FailingRequest {
                second,
                revision: Revision(2),
                replica: ReplicaId::new("web-2-1"),
                method: "GET".to_owned(),
                route: ROUTE.to_owned(),
                failure: "500 (status)".to_owned(),
                latency_ms: 12,
            };
            self.at += 500;
            self.say(Event::EvidenceAdded {
                record: Record {
                    second,
                    candidate_requests: 100,
                    candidate_errors: 2 + failing,
                    stable_requests: 100,
                    stable_errors: 2,
                    routes: vec![RouteCounts {
                        candidate_requests: 5,
                        candidate_errors: failing,
                        stable_requests: 5,
                        stable_errors: 0,
                    }],
                    failures: (0..failing.min(1)).map(failure).collect(),
                    ..Record::default()
                },
            });
        }
    }

    /// Counts failing seconds until the judge has seen enough, and goes back.
    pub fn until_worse(&mut self, failing: u64) {
        let verdict = loop {
            self.watch(1, failing);
            let verdict = self.state.judge().unwrap().verdict();
            if verdict.word == rollout::event::VerdictWord::Worse {
                break verdict;
            }
            assert!(self.records.len() < 2_000, "no verdict");
        };
        let why = ReturnReason::Worse;
        self.say(Event::VerdictReached {
            verdict: verdict.word,
            evidence: verdict.evidence,
            why: why.clone(),
        });
        self.say(Event::ReturnStarted { why });
        let generation = Generation { epoch: 1, seq: self.state.seq };
        self.say(Event::TrafficReturned { revision: Revision(1), generation });
        self.finish(1, Outcome::RolledBack);
    }

    /// Ends the deployment; revision `serves`.
    pub fn finish(&mut self, serves: u64, outcome: Outcome) {
        if outcome == Outcome::Promoted {
            let judge = self.state.judge().unwrap();
            let (requests, probes) = (judge.candidate_requests(), judge.probes().asked);
            self.say(Event::Promoted { revision: Revision(serves), proven: true, requests, probes });
        }
        let served_by = ServedBy {
            release: Release::new("abcdef012345"),
            revision: Revision(serves),
            replica: ReplicaId::new("web-1-1"),
            generation: Generation { epoch: 1, seq: self.state.seq },
        };
        let reason = (outcome == Outcome::RolledBack).then(|| ReturnReason::Worse.to_string());
        self.say(Event::DeploymentFinished { outcome, served_by: Some(served_by), reason });
    }

    pub fn bundle(&self, id: &str) -> Bundle {
        let (target, deployment) = (self.state.target.clone(), DeploymentId::new(id));
        let mut search = Search::new(&target, &deployment);
        let start = self.records.iter().find_map(|record| search.look(record)).unwrap();
        let mut recorder = Recorder::new(&target, &deployment, &start);
        let from = self.records.iter().filter(|record| record.seq >= start.seq).cloned();
        let events = from.filter_map(|record| recorder.take(record)).collect();
        let (cut, said) = recorder.end();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Bundle { format: FORMAT, version, target, deployment, before: start.before, events, cut, said }
    }
}

fn requested(number: u64, label: &str) -> Requested {
    let spec = ReleaseSpec {
        artifact: None,
        command: vec!["./web".into()],
        env: BTreeMap::from([("DATABASE_URL".to_owned(), "postgres://web:hunter2@db/web".to_owned())]),
        resources: None,
        health: Health::default(),
        expand: Vec::new(),
    };
    let steps = vec![Weight::new(50).unwrap(), Weight::FULL];
    let bakes = (Millis::seconds(600), Millis::seconds(120));
    let latency = LatencySettings { quantiles: Vec::new(), ..LatencySettings::default() };
    Requested {
        deployment: DeploymentId::new(format!("d-{number}")),
        key: "k".into(),
        of: DeploymentKind::Deploy,
        candidate: Placed {
            revision: Revision(number),
            release: Release::new("abcdef0123456789"),
            label: Some(Label::new(label)),
            spec,
        },
        settings: RolloutSettings {
            judge: JudgeSettings { latency, ..JudgeSettings::default() },
            ..RolloutSettings::with_bakes(Strategy::Canary, steps, bakes.0, bakes.1)
        },
        folder: "/".into(),
        reason: None,
    }
}
