use super::*;
use crate::journal::Journal;
use rollout::bundle::{Bundle, Compared};
use rollout::event::{DeploymentKind, Event, Outcome, Requested, ServedBy};
use rollout::judge::Record;
use rollout::machine::State;
use rollout::names::{Actor, Generation, Millis, Release, ReplicaId, Revision, Weight};
use rollout::plan::{JudgeSettings, RolloutSettings, Strategy};
use rollout::release::{Health, Placed, ReleaseSpec};
use std::collections::BTreeMap;
use std::path::Path as FilePath;

/// Writes a journal the way the controller does.
struct Life {
    journal: Journal,
    state: State,
    at: u64,
}

impl Life {
    fn begin(folder: &FilePath) -> Self {
        let target = Target::new("web", "local");
        Self {
            journal: Journal::open(folder, &target, None, |_| {}).unwrap(),
            state: State::new(target),
            at: 1_000_000,
        }
    }

    fn append(&mut self, event: Event) {
        self.at += 1_000;
        let deployment = self.state.deployment_of(&event);
        let record = self
            .journal
            .append(&event, deployment.as_ref(), &Actor::from("engine"), Millis(self.at))
            .unwrap();
        self.state.apply(&record.event, record.seq, record.at);
    }

    fn ship(&mut self, number: u64, seconds: u64, errors: u64) {
        let revision = Revision(number);
        let generation = Generation { epoch: 1, seq: self.state.seq };
        self.append(Event::DeploymentRequested(Box::new(requested(number))));
        self.append(Event::ReleaseStored { release: Release::from("r"), artifact: None });
        self.append(Event::CandidateLaunched { revision, replicas: 1 });
        self.append(Event::CandidateReady { revision, replicas: 1 });
        self.append(Event::CandidateVerified { revision });
        self.append(Event::TrafficShifted { revision, weight: Weight::FIVE, generation });
        for _ in 0..seconds {
            let record = Record {
                second: self.at / 1000,
                candidate_requests: 50,
                candidate_errors: errors,
                stable_requests: 950,
                ..Record::default()
            };
            self.append(Event::EvidenceAdded { record });
        }
    }

    fn promote(&mut self, number: u64) {
        let revision = Revision(number);
        let requests = self.state.judge().unwrap().candidate_requests();
        self.append(Event::Promoted { revision, proven: true, requests, probes: 0 });
        let served_by = Some(ServedBy {
            release: Release::from("r"),
            revision,
            replica: ReplicaId::new("r"),
            generation: Generation::default(),
        });
        self.append(Event::DeploymentFinished { outcome: Outcome::Promoted, served_by, reason: None });
    }
}

fn requested(number: u64) -> Requested {
    let spec = ReleaseSpec {
        artifact: None,
        command: vec!["./web".into()],
        env: BTreeMap::from([("PASSWORD".to_owned(), "hunter2".to_owned())]),
        resources: None,
        health: Health::default(),
        expand: Vec::new(),
    };
    let steps = vec![Weight::FIVE, Weight::FULL];
    Requested {
        deployment: DeploymentId::new(format!("d-{number}")),
        key: format!("key-{number}"),
        of: DeploymentKind::Deploy,
        candidate: Placed { revision: Revision(number), release: Release::from("r"), label: None, spec },
        settings: RolloutSettings {
            judge: JudgeSettings::default(),
            ..RolloutSettings::with_bakes(Strategy::Canary, steps, Millis::seconds(600), Millis::seconds(600))
        },
        folder: "/srv".into(),
        reason: None,
    }
}

/// Returns the whole text in its pieces.
fn told(folder: &FilePath, id: &str) -> Option<(String, usize)> {
    let mut telling = Telling::open(folder, &Target::new("web", "local"), DeploymentId::new(id)).unwrap()?;
    let (mut text, mut largest) = (String::new(), 0);
    while let Some(chunk) = telling.chunk().unwrap() {
        largest = largest.max(chunk.len());
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    Some((text, largest))
}

#[test]
fn o17_a_running_deployment_is_told_so_far_from_its_journal_in_small_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&folder.path().join("journal"));
    life.ship(1, 3, 0);
    life.promote(1);
    life.ship(2, 2_000, 1);

    let (text, largest) = told(&folder.path().join("journal"), "d-2").unwrap();

    let bundle: Bundle = serde_json::from_str(&text).unwrap();
    assert_eq!(bundle.events.len(), 2_006);
    assert_eq!(bundle.before.stable.as_ref().unwrap().revision, Revision(1));
    let replayed = bundle.replay();
    assert_eq!(replayed.compared, Compared::Same);
    assert_eq!(replayed.said.unwrap().evidence, life.state.judge().unwrap().verdict().evidence);
    assert!(!text.contains("hunter2"), "a value of the environment is told");
    assert!(largest < text.len() / 5, "one piece of {largest} bytes of {}", text.len());
}

#[test]
fn o17_a_promoted_deployment_is_told_with_the_watch_that_follows_and_no_further() {
    let folder = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&folder.path().join("journal"));
    life.ship(1, 3, 0);
    life.promote(1);
    life.ship(2, 30, 0);
    life.promote(2);
    let record = Record { second: 2_000, candidate_requests: 9, ..Record::default() };
    life.append(Event::EvidenceAdded { record });
    life.append(Event::RevisionRetired { revision: Revision(1) });
    life.append(Event::Scaled { replicas: Some(2) });
    life.ship(3, 3, 0);

    let (text, _) = told(&folder.path().join("journal"), "d-2").unwrap();

    let bundle: Bundle = serde_json::from_str(&text).unwrap();
    let kinds: Vec<_> = bundle.events.iter().rev().take(3).map(|entry| entry.event.kind()).collect();
    assert_eq!(kinds, ["revision_retired", "evidence_added", "deployment_finished"]);
    assert_eq!(bundle.replay().compared, Compared::Same);
}

#[test]
fn a_deployment_that_never_was_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&folder.path().join("journal"));
    life.ship(1, 3, 0);

    assert!(told(&folder.path().join("journal"), "d-9").is_none());
}
