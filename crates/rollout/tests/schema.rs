//! Compares the committed JSON Schema of the events with the types. `UPDATE_SCHEMA=1` writes it anew.

use rollout::event::{DeploymentKind, EVENT_VERSION, Event, EventRecord, Requested};
use rollout::names::{Actor, DeploymentId, Millis, Release, Revision, Target};
use rollout::plan::RolloutSettings;
use rollout::release::{Health, Placed, ReleaseSpec};
use std::collections::BTreeMap;

#[test]
fn a_record_whose_event_names_the_deployment_too_is_read_back_whole() {
    let spec = ReleaseSpec {
        artifact: None,
        command: vec!["./web".to_owned()],
        env: BTreeMap::new(),
        resources: None,
        health: Health::default(),
        expand: Vec::new(),
    };
    let requested = Requested {
        deployment: DeploymentId::from("d-1"),
        key: "k".to_owned(),
        of: DeploymentKind::Deploy,
        candidate: Placed { revision: Revision(1), release: Release::from("ab"), label: None, spec },
        settings: RolloutSettings::default(),
        folder: ".".to_owned(),
        reason: None,
    };
    let record = EventRecord {
        v: EVENT_VERSION,
        seq: 1,
        at: Millis(1),
        target: Target::new("web", "local"),
        deployment: Some(DeploymentId::from("d-1")),
        actor: Actor::from("uid:0"),
        event: Event::DeploymentRequested(Box::new(requested)),
        prev_hash: String::new(),
        hash: String::new(),
    };

    let text = serde_json::to_string(&record).expect("a record is JSON");

    assert_eq!(serde_json::from_str::<EventRecord>(&text).expect("and JSON is a record"), record);
}

#[test]
fn the_committed_schema_of_the_events_is_that_of_the_types() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/schema/events.schema.json");
    let schema = schemars::schema_for!(EventRecord);
    let made = serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(path, &made).expect("the schema is written");
    }

    let committed = std::fs::read_to_string(path).unwrap_or_default();

    assert!(
        committed == made,
        "docs/schema/events.schema.json is out of date: UPDATE_SCHEMA=1 script/test schema"
    );
}
