//! Says what holds for any change made to a journal behind our back. Built for `script/test` and `script/fuzz` only.
//! Begins from the journal of a released version: rows are changed by a script of lines, or the file's bytes are.

use super::{Damage, Journal};
use rollout::event::EventRecord;
use rollout::names::Target;
use rusqlite::{Connection, params};
use std::fs;
use std::path::Path;

/// Written by a released version: 38 rows, among them a promotion and a return.
const WRITTEN: &[u8] = include_bytes!("../../tests/fixtures/schema-1/web@local.db");
const COLUMNS: [&str; 8] = ["v", "at", "deployment", "actor", "kind", "body", "prev_hash", "hash"];

/// A journal whose rows were changed is damaged, or is what was written up to some row. A line of the script is
/// `SEQ COLUMN VALUE`, `SEQ delete`, `SEQ move SEQ` or `SEQ copy SEQ`; others mean nothing.
///
/// # Panics
///
/// Where that does not hold.
pub fn rows(script: &[u8]) {
    let script = String::from_utf8_lossy(script);
    changed(|path| {
        let connection = Connection::open(path).expect("the fixture opens");
        let free = "PRAGMA synchronous = OFF; DROP TRIGGER events_are_never_changed; DROP TRIGGER events_are_never_removed;";
        connection.execute_batch(free).expect("the fixture has triggers");
        for line in script.lines().take(8) {
            // What SQLite refuses is not in the file.
            let _ = change(&connection, line);
        }
    });
}

fn change(connection: &Connection, line: &str) -> Option<usize> {
    let mut words = line.splitn(3, ' ');
    let seq: i64 = words.next()?.parse().ok()?;
    let (what, value) = (words.next()?, words.next().unwrap_or_default());
    let done = match what {
        "delete" => connection.execute("DELETE FROM events WHERE seq = ?1", [seq]),
        "move" => connection.execute(
            "UPDATE events SET seq = ?2 WHERE seq = ?1",
            params![seq, value.parse::<i64>().ok()?],
        ),
        "copy" => connection.execute(
            "INSERT INTO events SELECT ?2, v, at, deployment, actor, kind, body, prev_hash, hash || 'x' FROM events WHERE seq = ?1",
            params![seq, value.parse::<i64>().ok()?],
        ),
        column if COLUMNS.contains(&column) => {
            connection.execute(&format!("UPDATE events SET {column} = ?2 WHERE seq = ?1"), params![seq, value])
        }
        _ => return None,
    };
    done.ok()
}

/// A journal whose bytes were changed is damaged, or is what was written up to some row. The input is laid over the
/// file: two bytes of a place, one of a length, and as many bytes; a length of none cuts the file there.
///
/// # Panics
///
/// Where that does not hold.
pub fn bytes(mut input: &[u8]) {
    let mut file = WRITTEN.to_vec();
    while let [high, low, length, rest @ ..] = input {
        let place = usize::from(u16::from_be_bytes([*high, *low])) % file.len().max(1);
        let over = &rest[..usize::from(*length).min(rest.len())];
        if over.is_empty() {
            file.truncate(place);
        }
        let end = (place + over.len()).min(file.len());
        file[place..end].copy_from_slice(&over[..end - place]);
        input = &rest[over.len()..];
    }
    changed(|path| fs::write(path, &file).expect("a file of the test can be written"));
}

/// Changes a journal and opens it.
fn changed(change: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = Journal::path(folder.path(), &target());
    fs::write(&path, WRITTEN).expect("a file of the test can be written");
    let written = open(folder.path()).expect("the fixture opens");
    fs::write(&path, WRITTEN).expect("a file of the test can be written");
    for side in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{side}", path.display()));
    }
    change(&path);
    match open(folder.path()) {
        Ok(read) => assert!(written.starts_with(&read), "read {read:?}"),
        Err(damage) => {
            assert!(
                ![&damage.what, &damage.why, &damage.next].iter().any(|part| part.is_empty()),
                "{damage:?}"
            );
        }
    }
}

fn open(folder: &Path) -> Result<Vec<EventRecord>, Damage> {
    let mut records = Vec::new();
    Journal::open(folder, &target(), None, |record| records.push(record.clone()))?;
    Ok(records)
}

fn target() -> Target {
    Target::new("web", "local")
}

#[cfg(test)]
mod tests {
    use super::*;
    use noise::Target;

    const WORDS: &[&str] = &[
        "\n",
        " delete",
        " move ",
        " copy ",
        " body ",
        " hash ",
        " prev_hash ",
        " at ",
        " v ",
        " kind ",
        " actor ",
        " deployment ",
        "d-1",
        "1",
        "3",
        "10",
        "38",
        "39",
        "{\"kind\":\"paused\"}",
    ];

    #[test]
    fn e24_a_journal_whose_rows_were_changed_is_damaged_or_what_was_written() {
        Target { name: "journal_rows", words: WORDS, runs: 250 }.hold(rows);
    }

    #[test]
    fn e24_a_journal_whose_bytes_were_changed_is_damaged_or_what_was_written() {
        Target { name: "journal_bytes", words: &["\0\0\0", "\0\x12\x01\x02", "\u{0}\u{1c}\u{4}"], runs: 250 }
            .hold(bytes);
    }
}
