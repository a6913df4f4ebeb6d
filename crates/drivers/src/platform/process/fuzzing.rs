//! Says what holds for any record of a replica or a task found on disk. Built for `script/test` and `script/fuzz` only.

use super::proc::Identity;
use super::record::{Claim, ReplicaRecord, Stopping, TaskRecord, number, revision_of};
use crate::files;
use rollout::change::Ended;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// A record that can be read is read the same again; a name of a file is the name of one thing.
///
/// # Panics
///
/// Where that does not hold.
pub fn record(input: &[u8]) {
    same::<TaskRecord>(input);
    same::<Claim>(input);
    same::<Stopping>(input);
    same::<Ended>(input);
    if let Some(identity) = same::<Identity>(input) {
        // Whoever it claims to be, asking the system about it harms nothing.
        let _ = (identity.exists(), identity.runs());
    }
    if let Some(record) = same::<ReplicaRecord>(input) {
        let _ = (number(&record.replica), revision_of(record.replica.as_str()));
        named(record.replica.as_str());
    }
    if let Ok(text) = std::str::from_utf8(input) {
        named(text);
    }
}

fn same<T: Serialize + DeserializeOwned + PartialEq + Debug>(input: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(input).ok()?;
    let written = serde_json::to_vec(&read).expect("a record has a JSON form");
    assert_eq!(Some(&read), serde_json::from_slice(&written).ok().as_ref());
    Some(read)
}

fn named(text: &str) {
    let file = files::as_file_name(text);
    assert!(!file.contains('/') && !file.starts_with('.') && !file.contains('\0'), "{file:?} of {text:?}");
    assert_eq!(files::of_file_name(&file).as_deref(), Some(text));
    if let Some(other) = files::of_file_name(text) {
        drop(files::as_file_name(&other));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use noise::Target;

    const WORDS: &[&str] = &[
        "\"",
        "{",
        "}",
        ":",
        ",",
        "null",
        "../",
        "/",
        "%",
        "%2f",
        "%zz",
        "web-3-1",
        "\"pid\":0",
        "\"pid\":4294967295",
        "\"runs\":",
        "\"withdrawn\"",
        "{\"code\":-1}",
        "\"127.0.0.1:1\"",
        "\\u0000",
        "é",
    ];

    #[test]
    fn any_record_of_a_replica_is_read_the_same_again_or_not_at_all() {
        Target { name: "replica_record", words: WORDS, runs: 10_000 }.hold(record);
    }
}
