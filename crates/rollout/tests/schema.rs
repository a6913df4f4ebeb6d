//! Compares the committed JSON Schema of the events with the types. `UPDATE_SCHEMA=1` writes it anew.

use rollout::event::EventRecord;

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
