//! Builds what an engine says about one deployment: records of the journal, a status, answers.

#![allow(dead_code, reason = "each test file uses its part")]

use super::fake_engine::{Reply, Request, Then};
use engine::api::wire::{
    Accepted, EdgeStatus, EngineStatus, LeaseStatus, LogLines, ReplicaCounts, RevisionStatus, ServiceStatus,
    Status, VerdictStatus,
};
use rollout::event::{
    DeploymentKind, Event, EventRecord, Outcome, Requested, ReturnReason, ServedBy, VerdictWord,
};
use rollout::judge::Evidence;
use rollout::names::{
    Actor, DeploymentId, Generation, Label, Millis, Release, ReplicaId, Revision, Target, Weight,
};
use rollout::plan::RolloutSettings;
use rollout::release::{Health, Placed, ReleaseSpec};
use std::collections::BTreeMap;

pub fn target() -> Target {
    Target::new("web", "local")
}

pub fn accepted(outcome: Option<Outcome>) -> Accepted {
    Accepted {
        target: target(),
        deployment: Some(DeploymentId::new("d-7")),
        seq: 40,
        outcome,
        warnings: Vec::new(),
    }
}

/// Returns the event as the stream sends it.
pub fn event(seq: u64, deployment: &str, event: Event) -> (String, String) {
    let record = EventRecord {
        v: rollout::event::EVENT_VERSION,
        seq,
        at: Millis(1_795_341_600_000 + seq * 1000),
        target: target(),
        deployment: Some(DeploymentId::new(deployment)),
        actor: Actor::new("uid:1000"),
        event,
        prev_hash: String::new(),
        hash: String::new(),
    };
    // As the engine writes it: through a value, which keeps one of two equal keys.
    (format!("web@local:{seq}"), serde_json::to_value(&record).unwrap().to_string())
}

pub fn requested() -> Event {
    let spec = ReleaseSpec {
        artifact: None,
        command: vec!["./web".into()],
        env: BTreeMap::new(),
        resources: None,
        health: Health::default(),
        expand: Vec::new(),
    };
    Event::DeploymentRequested(Box::new(Requested {
        deployment: DeploymentId::new("d-7"),
        key: "k".into(),
        of: DeploymentKind::Deploy,
        candidate: Placed {
            revision: Revision(3),
            release: Release::new("abcdef012345"),
            label: Some(Label::new("v3")),
            spec,
        },
        settings: RolloutSettings::default(),
        folder: "/".into(),
        reason: None,
    }))
}

pub fn finished(outcome: Outcome, reason: Option<&str>) -> Event {
    Event::DeploymentFinished {
        outcome,
        served_by: Some(ServedBy {
            release: Release::new("abcdef012345"),
            revision: Revision(3),
            replica: ReplicaId::new("web-3-1"),
            generation: Generation { epoch: 1, seq: 45 },
        }),
        reason: reason.map(str::to_owned),
    }
}

/// A deployment that ends well.
pub fn promoted() -> Vec<(String, String)> {
    let shifted = Event::TrafficShifted {
        revision: Revision(3),
        weight: Weight::FULL,
        generation: Generation { epoch: 1, seq: 42 },
    };
    vec![
        event(40, "d-7", requested()),
        event(41, "d-7", Event::CandidateReady { revision: Revision(3), replicas: 1 }),
        event(42, "d-7", shifted),
        event(43, "d-6", Event::Drained { revision: Revision(2) }),
        event(44, "d-7", finished(Outcome::Promoted, None)),
    ]
}

/// A deployment that the judge takes back.
pub fn rolled_back() -> Vec<(String, String)> {
    let evidence = Evidence {
        rule: "sequential test".into(),
        metric: "errors".into(),
        window_seconds: 10,
        candidate_requests: 812,
        candidate_errors: 31,
        stable_requests: 3120,
        stable_errors: 0,
        limit: 0.0001,
        log_m: 9.0,
        threshold: 4.605,
        p_value: Some(1.2e-4),
        ..Evidence::default()
    };
    vec![
        event(40, "d-7", requested()),
        event(
            41,
            "d-7",
            Event::VerdictReached { verdict: VerdictWord::Worse, evidence, why: ReturnReason::Worse },
        ),
        event(42, "d-7", Event::ReturnStarted { why: ReturnReason::Worse }),
        event(44, "d-7", finished(Outcome::RolledBack, Some(&ReturnReason::Worse.to_string()))),
    ]
}

pub fn status() -> Status {
    let revision = |number, label: &str| RevisionStatus {
        revision: Revision(number),
        release: Release::new("0123456789abcdef"),
        label: Some(Label::new(label)),
        replicas: ReplicaCounts { wanted: 2, ready: 1 },
    };
    Status {
        environment: "local".into(),
        engine: EngineStatus {
            pid: 4242,
            version: "0.1.0".into(),
            lease_until: Some(Millis(36_012_000)),
            lease_epoch: 1,
        },
        api: "http://127.0.0.1:9".into(),
        edge: Some(EdgeStatus {
            pid: 4243,
            version: "0.1.0".into(),
            listen: vec!["127.0.0.1:8080".into()],
            tls: None,
        }),
        repaired: Vec::new(),
        services: vec![ServiceStatus {
            service: "web".into(),
            target: target(),
            phase: "baking step 1 of 2".into(),
            waiting_for: Some("42s of the bake".into()),
            paused: false,
            held: None,
            maintenance: false,
            deployment: Some(DeploymentId::new("d-7")),
            weight: 5,
            stable: Some(revision(2, "v2")),
            candidate: Some(revision(3, "v3")),
            hot: None,
            verdict: Some(VerdictStatus {
                state: "not enough evidence".into(),
                metric: "errors".into(),
                requests: 120,
                errors: 1,
                stable_requests: 2300,
                stable_errors: 2,
                p_value: Some(0.4),
                probes: 0,
                cold: false,
            }),
            rollback_ready: true,
            rollback_reason: "revision 2 serves".into(),
            rollback_checked_at: None,
            alarms: Vec::new(),
            damage: None,
            guard: Vec::new(),
            lease: Some(LeaseStatus {
                epoch: 7,
                owner: "process 4242 on web-1 (start 1, boot b, pids n)".into(),
                until: Millis(36_012_000),
                ours: true,
            }),
        }],
    }
}

pub fn logs() -> Vec<LogLines> {
    vec![LogLines {
        revision: Revision(3),
        replica: "web-3-1".into(),
        path: "/tmp/none.log".into(),
        lines: vec!["listening".into(), "panicked at appointments.rs".into()],
    }]
}

/// Answers everything but the events the way an engine in the middle of `d-7` does.
pub fn usual(request: &Request) -> Reply {
    match request.path.split('?').next().unwrap_or_default() {
        "/v1/status" => Reply::ok(&status()),
        "/v1/deploy" | "/v1/command" => Reply::ok(&accepted(None)),
        "/v1/logs" => Reply::ok(&logs()),
        "/v1/events" => Reply::Events(Vec::new(), Then::Stay),
        path => Reply::Json(404, format!("{path}?")),
    }
}

/// The same with these events.
pub fn with_events(events: Vec<(String, String)>) -> impl Fn(&Request) -> Reply + Send + Sync + 'static {
    move |request| match request.path.starts_with("/v1/events") {
        true => Reply::Events(events.clone(), Then::Stay),
        false => usual(request),
    }
}
