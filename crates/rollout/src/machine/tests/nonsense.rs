//! Events that make no sense, sights that cannot be, numbers beyond all bounds: nothing panics, and decide stays a function.

use super::random::settings;
use super::sim::{Sim, blue_green, canary};
use super::stages::{STAGES, stage};
use crate::change::{Ended, TaskId, changes};
use crate::event::{DeploymentKind, Event, Outcome, Requested, ReturnReason, ServedBy, VerdictWord};
use crate::judge::buckets::Boundaries;
use crate::judge::calibration::Thresholds;
use crate::judge::{Calibration, Evidence, Finding, Once, ProbeCounts, Record, Slow};
use crate::machine::{
    EdgeWorld, Fact, MonitorAnswer, MonitorRound, OperatorCommand, Presence, ReplicaWorld, State, World,
};
use crate::names::{Generation, Millis, Release, ReplicaId, Revision, Weight};
use crate::plan::TargetSettings;
use proptest::prelude::*;

/// Draws small numbers mostly, so that they meet, and the largest one now and then.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn any(&mut self) -> u64 {
        if self.below(12) == 0 { u64::MAX } else { self.below(6) }
    }

    fn yes(&mut self) -> bool {
        self.below(2) == 0
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }

    fn revision(&mut self) -> Revision {
        Revision(self.any())
    }

    fn weight(&mut self) -> Weight {
        Weight::new(self.of(&[0, 5, 25, 100])).unwrap()
    }

    fn generation(&mut self) -> Generation {
        Generation { epoch: self.any(), seq: self.any() }
    }

    fn ended(&mut self) -> Ended {
        self.of(&[Ended::Code(0), Ended::Code(1), Ended::Unknown, Ended::TimedOut])
    }

    fn task(&mut self) -> TaskId {
        let name = self.of(&["expand", "before_deploy", "after_deploy", "smoke"]);
        TaskId { deployment: format!("d-{}", self.below(4)).as_str().into(), name: name.to_owned() }
    }

    fn record(&mut self) -> Record {
        Record {
            second: self.any(),
            missing: self.yes(),
            unwell: self.yes(),
            candidate_requests: self.any(),
            candidate_errors: self.any(),
            stable_requests: self.any(),
            stable_errors: self.any(),
            slow: self.yes().then(|| Slow { candidate: [self.any(); 4], stable: [self.any(); 4] }),
            once: self.yes().then(|| Once { candidate: self.any(), stable: self.any() }),
            probes: self.yes().then(|| ProbeCounts { asked: self.any(), failed: self.any() }),
            ..Record::default()
        }
    }

    fn calibration(&mut self) -> Calibration {
        let rates = [-1.0, 0.0, 0.5, 1.0, 2.0, 1e300];
        Calibration {
            hours: self.of(&rates),
            error_rate: self.of(&rates),
            error_rate_once: self.of(&rates),
            latency: self.yes().then(|| Thresholds {
                boundaries: Boundaries::at([i16::MAX; 4]),
                slow_rates: [self.of(&rates); 4],
            }),
            ..Calibration::default()
        }
    }

    fn why(&mut self) -> ReturnReason {
        self.of(&[
            ReturnReason::Worse,
            ReturnReason::Aborted,
            ReturnReason::Superseded,
            ReturnReason::CandidateLost,
        ])
    }

    fn requested(&mut self) -> Requested {
        let mut sim = Sim::new();
        sim.plan = if self.yes() { canary(&[5, 25, 100]) } else { blue_green() };
        if self.below(5) == 0 {
            sim.plan.steps.clear();
        }
        sim.plan.deadline = Millis(self.any());
        let release = format!("v{}", self.below(4));
        let intent = sim.intent(&release);
        Requested {
            deployment: format!("d-{}", self.below(4)).as_str().into(),
            key: format!("key-{}", self.below(4)),
            of: self.of(&[DeploymentKind::Deploy, DeploymentKind::Rollback, DeploymentKind::Return]),
            candidate: crate::release::Placed {
                revision: self.revision(),
                release: Release::new(release),
                label: None,
                spec: intent.spec,
            },
            settings: intent.settings,
            folder: ".".to_owned(),
            reason: None,
        }
    }

    fn event(&mut self) -> Event {
        let revision = self.revision();
        let replica = ReplicaId::new(format!("web-{}", self.below(9)));
        let outcome = self.of(&Outcome::ALL);
        match self.below(36) {
            0 | 1 => Event::DeploymentRequested(Box::new(self.requested())),
            2 => Event::ReleaseStored { release: Release::from("v1"), artifact: None },
            3 => Event::HookRan { hook: self.task(), ended: self.ended(), output: String::new() },
            4 => Event::MigrationExpanded { task: self.task() },
            5 => Event::CandidateLaunched { revision, replicas: self.any() as u32 },
            6 => Event::CandidateReady { revision, replicas: self.any() as u32 },
            7 => Event::CheckRan { check: self.task(), ended: self.ended(), output: String::new() },
            8 => Event::CandidateVerified { revision },
            9 => Event::TrafficShifted { revision, weight: self.weight(), generation: self.generation() },
            10 => Event::EvidenceAdded { record: self.record() },
            11 => Event::Paused,
            12 => Event::Resumed,
            13 => Event::Held { why: "doubt".to_owned() },
            14 => Event::HoldEnded,
            15 => Event::BakePassed { step: self.any() as usize },
            16 => Event::VerdictReached {
                verdict: VerdictWord::Worse,
                evidence: Evidence::signal("rule"),
                why: self.why(),
            },
            17 => Event::ReturnStarted { why: self.why() },
            18 => Event::TrafficReturned { revision, generation: self.generation() },
            19 => Event::Aborted { superseded: self.yes() },
            20 => Event::StepPromoted { now: self.yes() },
            21 => Event::Promoted { revision, proven: self.yes(), requests: self.any(), probes: self.any() },
            22 => Event::DeploymentFinished { outcome, served_by: None, reason: None },
            23 => Event::Drained { revision },
            24 => Event::CandidateRemoved { revision },
            25 => Event::RevisionRetired { revision },
            26 => {
                let mut settings = TargetSettings::default();
                settings.replicas.min = self.any() as u32;
                Event::SettingsChanged { settings }
            }
            27 => Event::MaintenanceChanged { hold: self.yes().then(|| Millis(self.any())) },
            28 => Event::ReplicaLost { revision, replica, ended: self.ended() },
            29 => Event::ReplicaReplaced { revision, replica },
            30 => Event::Scaled { replicas: self.yes().then(|| self.any() as u32) },
            31 => Event::JudgeCalibrated { calibration: Box::new(self.calibration()) },
            32 => Event::BakeExtended {
                step: self.any() as usize,
                until: Millis(self.any()),
                requests: self.any(),
            },
            33 => Event::ChecksAnswered {
                round: MonitorRound {
                    answers: vec![MonitorAnswer {
                        check: self.of(&["database", "nobody's"]).to_owned(),
                        candidate_ok: self.of(&[None, Some(true), Some(false)]),
                        stable_ok: self.of(&[None, Some(true), Some(false)]),
                        why: String::new(),
                    }],
                },
            },
            34 => Event::FindingReported {
                finding: Finding {
                    what: "404 and 410".to_owned(),
                    candidate_requests: self.any(),
                    candidate_count: self.any(),
                    stable_requests: self.any(),
                    stable_count: self.any(),
                    p_value: 0.0,
                },
            },
            _ => Event::LeaseTaken { epoch: self.any(), owner: "other".to_owned() },
        }
    }

    fn world(&mut self) -> World {
        let mut world = World::default();
        for _ in 0..self.below(4) {
            let revision = self.revision();
            let mut presence = Presence::default();
            for replica in 0..self.below(4) {
                let seen = ReplicaWorld {
                    address: ([127, 0, 0, 1], 1).into(),
                    launched_at: Millis(self.any()),
                    ready: self.yes(),
                    faltering: self.yes(),
                    failing: self.below(4) == 0,
                    in_flight: self.below(3),
                    exited: (self.below(4) == 0).then(|| self.ended()),
                };
                presence.replicas.insert(ReplicaId::new(format!("web-{revision}-{replica}")), seen);
            }
            world.revisions.insert(revision, presence);
        }
        if self.yes() {
            world.edge = Some(EdgeWorld {
                generation: self.generation(),
                former: None,
                stable: self.yes().then(|| self.revision()),
                candidate: self.yes().then(|| (self.revision(), self.weight())),
                routed: Vec::new(),
                in_flight: [(self.revision(), self.any())].into(),
            });
        }
        for _ in 0..self.below(3) {
            let result = self.yes().then(|| (self.ended(), String::new()));
            world.tasks.insert(self.task(), result);
        }
        world.refused = self.yes().then(|| (self.revision(), "no".to_owned()));
        world.proof = self.yes().then(|| ServedBy {
            release: Release::from("v1"),
            revision: self.revision(),
            replica: ReplicaId::from("web"),
            generation: self.generation(),
        });
        world
    }
}

/// Asks the state everything that can be asked.
fn ask(state: &State, world: &World, now: Millis) {
    let fact = Fact::World(Box::new(world.clone()));
    assert_eq!(state.decide(&fact, now), state.decide(&fact, now));
    let _ = changes(&state.desired(), world);
    assert_eq!(state.routes(world, now), state.routes(world, now));
    let _ = (state.wake_at(), state.wake_after(now), state.artifacts_in_use(), state.rollback_target());
    for command in [
        OperatorCommand::Abort,
        OperatorCommand::Promote { now: true },
        OperatorCommand::Pause,
        OperatorCommand::EndUnfinished,
        OperatorCommand::Rollback { to: None, key: "any".to_owned() },
    ] {
        let _ = state.command(&command);
    }
}

/// Asks and applies until nothing follows.
fn decide_all(state: &mut State, world: &World, now: Millis) {
    let fact = Fact::World(Box::new(world.clone()));
    let mut following = 0;
    while let Some(event) = state.decide(&fact, now) {
        following += 1;
        assert!(following <= 200, "{event} follows without end");
        state.apply(&event, state.seq.saturating_add(1), now);
    }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn no_event_and_no_sight_makes_the_core_panic(
        seed in any::<u64>(),
        begins in 0..STAGES.len(),
        count in 1..60usize,
    ) {
        let mut draw = Draw(seed);
        let mut state = stage(STAGES[begins]).state;
        for turn in 0..count {
            let event = draw.event();
            let now = Millis(if draw.below(20) == 0 { u64::MAX } else { 1_000_000 + turn as u64 * 777 });
            state.apply(&event, turn as u64, now);
            let world = draw.world();
            ask(&state, &world, now);
            if draw.below(3) == 0 {
                decide_all(&mut state, &world, now);
            }
            let kept: State = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
            prop_assert_eq!(&kept, &state);
        }
    }
}

#[test]
fn an_event_of_another_phase_changes_nothing() {
    let revision = Revision(3);
    let walked = [
        ("baking", Event::CandidateReady { revision, replicas: 1 }),
        ("returning", Event::CandidateReady { revision, replicas: 1 }),
        ("returning", Event::Promoted { revision, proven: true, requests: 1, probes: 0 }),
        ("returning", Event::Paused),
        ("launching", Event::BakePassed { step: usize::MAX }),
        ("baking", Event::BakePassed { step: 2 }),
        ("baking", Event::DeploymentFinished { outcome: Outcome::Promoted, served_by: None, reason: None }),
        ("baking", Event::DeploymentFinished { outcome: Outcome::RolledBack, served_by: None, reason: None }),
        ("promoting", Event::StepPromoted { now: true }),
        ("hot", Event::RevisionRetired { revision: Revision(99) }),
        ("returning", Event::ReturnStarted { why: ReturnReason::Worse }),
    ];
    for (name, event) in walked {
        let state = stage(name).state;
        let mut after = state.clone();

        after.apply(&event, state.seq, state.at);

        assert_eq!(after, state, "{} while {name}", event.kind());
    }
}

#[test]
fn a_replica_is_lost_only_once() {
    let mut state = stage("idle").state;
    let lost = Event::ReplicaLost {
        revision: Revision(2),
        replica: ReplicaId::from("web-2-1"),
        ended: Ended::Signal(9),
    };

    state.apply(&lost, state.seq, state.at);
    let once = state.clone();
    state.apply(&lost, state.seq, state.at);

    assert_eq!(state, once);
}

#[test]
fn a_second_request_does_not_overwrite_a_running_deployment() {
    let mut sim = stage("baking");
    let before = sim.state.deployment.clone();
    let request = sim.journal.iter().find(|entry| entry.event.kind() == "deployment_requested").unwrap();
    let request = request.event.clone();

    sim.append(request);

    assert_eq!(sim.state.deployment, before);
}
