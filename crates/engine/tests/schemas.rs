//! Opens the state that every released schema left behind, as it was written by that release.
#![allow(clippy::unwrap_used)]

use engine::journal::{Journal, Reader, SCHEMA_VERSION};
use engine::lease::Lease;
use rollout::event::{EventRecord, Outcome};
use rollout::machine::State;
use rollout::names::{Generation, Target};
use std::path::Path;

/// Opens a copy of a fixture: opening writes to it.
fn open(schema: u32, accepted: Option<Generation>) -> (State, Vec<EventRecord>) {
    let (state, records, _) = open_with_lease(schema, accepted);
    (state, records)
}

fn open_with_lease(schema: u32, accepted: Option<Generation>) -> (State, Vec<EventRecord>, Option<Lease>) {
    let target = Target::new("web", "local");
    let folder = tempfile::tempdir().unwrap();
    let journals = folder.path().join("journal");
    std::fs::create_dir(&journals).unwrap();
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/schema-{schema}/web@local.db"));
    std::fs::copy(&fixture, Journal::path(&journals, &target)).unwrap();
    let (mut state, mut records) = (State::new(target.clone()), Vec::new());
    let journal = Journal::open(&journals, &target, accepted, |record| {
        state.apply(&record.event, record.seq, record.at);
        records.push(record.clone());
    });
    assert_eq!(journal.unwrap().head().seq, records.len() as u64);
    let lease = Reader::open(&journals, &target).unwrap().lease().unwrap();
    (state, records, lease)
}

#[test]
fn e17_every_schema_up_to_this_one_has_a_fixture_that_opens() {
    for schema in 1..=SCHEMA_VERSION {
        assert!(!open(schema, None).1.is_empty());
    }
}

#[test]
fn e17_the_state_of_schema_1_is_what_it_was() {
    let (state, records) = open(1, Some(Generation { epoch: 1, seq: 10 }));

    // v1 was promoted, v2 returned for its errors, v3 promoted under load and watched: v1 is one flip away.
    let label = |placed: &rollout::release::Placed| placed.label.as_ref().unwrap().to_string();
    let stable = state.stable.as_ref().unwrap();
    let hot = state.hot.as_ref().unwrap();
    assert_eq!((stable.revision.0, label(stable)), (3, "v3".to_owned()));
    assert_eq!((hot.placed.revision.0, label(&hot.placed)), (1, "v1".to_owned()));
    assert!(state.deployment.is_none());
    let outcomes: Vec<Outcome> = records
        .iter()
        .filter_map(|record| match &record.event {
            rollout::event::Event::DeploymentFinished { outcome, .. } => Some(*outcome),
            _ => None,
        })
        .collect();
    assert_eq!(outcomes[1], Outcome::RolledBack);
    assert_eq!(outcomes.len(), 3);
    let evidence = records.iter().filter(|record| record.event.kind() == "evidence_added").count();
    assert!(evidence >= 3, "{evidence}");
    assert_eq!(state.settings.replicas.max, 4);
}

#[test]
fn e17_the_state_of_schema_2_is_what_it_was_and_its_lease_was_given_back() {
    let (state, records, lease) = open_with_lease(2, Some(Generation { epoch: 2, seq: 10 }));

    // v1, then v2; the engine was killed and another one led, until the environment was brought down.
    let stable = state.stable.as_ref().unwrap();
    assert_eq!((stable.revision.0, stable.label.as_ref().unwrap().to_string()), (2, "v2".to_owned()));
    let lease = lease.unwrap();
    assert!(lease.is_given_back());
    assert_eq!((lease.epoch, state.epoch), (2, 2));
    let taken = records.iter().filter(|record| record.event.kind() == "lease_taken").count();
    assert_eq!(taken, 2);
}

#[test]
fn e17_a_journal_of_schema_1_is_brought_up_to_date_and_has_no_lease_yet() {
    let (_, _, lease) = open_with_lease(1, None);

    assert_eq!(lease, None);
}
