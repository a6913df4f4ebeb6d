use super::*;
use rollout::event::Event;
use rusqlite::Connection;
use std::fs;

fn target() -> Target {
    Target::new("web", "local")
}

fn open(folder: &Path) -> Result<(Journal, Vec<EventRecord>), Damage> {
    open_accepted(folder, None)
}

fn open_accepted(folder: &Path, accepted: Option<Generation>) -> Result<(Journal, Vec<EventRecord>), Damage> {
    let mut records = Vec::new();
    let journal = Journal::open(folder, &target(), accepted, |record| records.push(record.clone()))?;
    Ok((journal, records))
}

fn filled(folder: &Path, events: u64) -> Vec<EventRecord> {
    let (mut journal, _) = open(folder).unwrap();
    (0..events)
        .map(|n| {
            let event = Event::Scaled { replicas: Some(n as u32 + 1) };
            journal.append(&event, None, &Actor::from("uid:0"), Millis(1000 + n)).unwrap()
        })
        .collect()
}

#[test]
fn what_was_appended_is_read_back_in_order_and_chained() {
    let folder = tempfile::tempdir().unwrap();
    let written = filled(folder.path(), 5);

    let (journal, read) = open(folder.path()).unwrap();

    assert_eq!(read, written);
    assert_eq!(read[0].prev_hash, GENESIS);
    assert!(read.windows(2).all(|pair| pair[1].prev_hash == pair[0].hash));
    assert_eq!(journal.head().seq, 5);
}

#[test]
fn time_never_runs_backwards_in_a_journal() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(folder.path()).unwrap();
    journal.append(&Event::Paused, None, &Actor::from("a"), Millis(5000)).unwrap();

    let record = journal.append(&Event::Resumed, None, &Actor::from("a"), Millis(10)).unwrap();

    assert_eq!(record.at, Millis(5000));
}

#[test]
fn e24_a_changed_row_is_damage_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 5);
    let connection = Connection::open(Journal::path(folder.path(), &target())).unwrap();
    connection.execute_batch("DROP TRIGGER events_are_never_changed; UPDATE events SET body = replace(body, '3', '4') WHERE seq = 3;").unwrap();
    drop(connection);

    let damage = open(folder.path()).err().unwrap();

    assert!(damage.why.contains("event 3"), "{damage}");
    assert!(damage.why.contains("hash"), "{damage}");
}

#[test]
fn e24_a_truncated_file_is_damage_and_is_not_emptied() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 50);
    let path = Journal::path(folder.path(), &target());
    Connection::open(&path).unwrap().pragma_update(None, "wal_checkpoint", "TRUNCATE").ok();
    for left in [200, 4096, 6000] {
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(left).unwrap();

        assert!(open(folder.path()).is_err(), "{left} bytes were accepted");
        assert_eq!(fs::metadata(&path).unwrap().len(), left, "the damaged file was changed");
    }
}

#[test]
fn a_missing_file_is_damage_when_the_edge_knows_better() {
    let folder = tempfile::tempdir().unwrap();

    let damage = open_accepted(folder.path(), Some(Generation { epoch: 1, seq: 7 })).err().unwrap();

    assert!(damage.why.contains("gone"), "{damage}");
    assert!(!Journal::path(folder.path(), &target()).exists(), "an empty journal was made in its place");
}

#[test]
fn a_journal_that_ends_before_what_the_edge_accepted_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 5);

    assert!(open_accepted(folder.path(), Some(Generation { epoch: 1, seq: 5 })).is_ok());
    let damage = open_accepted(folder.path(), Some(Generation { epoch: 1, seq: 6 })).err().unwrap();

    assert!(damage.why.contains("missing"), "{damage}");
}

#[test]
fn e17_a_journal_of_a_newer_schema_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 2);
    let path = Journal::path(folder.path(), &target());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();

    let damage = open(folder.path()).err().unwrap();

    assert!(damage.why.contains("schema 99"), "{damage}");
    assert!(damage.next.contains("newer medeclipse"), "{damage}");
}

#[test]
fn a_reader_follows_beside_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(folder.path()).unwrap();
    journal.append(&Event::Paused, None, &Actor::from("a"), Millis(1)).unwrap();
    let reader = Reader::open(folder.path(), &target()).unwrap();
    let last = journal.append(&Event::Resumed, None, &Actor::from("a"), Millis(2)).unwrap();

    assert_eq!(reader.after(1, 10).unwrap(), vec![last]);
    assert_eq!(reader.after(2, 10).unwrap(), vec![]);
}

#[test]
fn rows_can_be_neither_changed_nor_removed_by_mistake() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 2);
    let connection = Connection::open(Journal::path(folder.path(), &target())).unwrap();

    assert!(connection.execute("DELETE FROM events WHERE seq = 1", []).is_err());
    assert!(connection.execute("UPDATE events SET at = 0", []).is_err());
}

fn taken(journal: &mut Journal, seen: Option<&Lease>, owner: &str) -> Lease {
    let lease = Lease::after(seen, 0, owner, Millis(9));
    journal.take(seen, &lease, &Actor::from("engine"), Millis(9)).unwrap();
    lease
}

#[test]
fn o11_whoever_has_lost_the_lease_writes_nothing_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let (mut old, _) = open(folder.path()).unwrap();
    let lease = taken(&mut old, None, "old");
    let (mut new, read) = open(folder.path()).unwrap();
    assert_eq!(read.last().map(|record| record.event.kind()), Some("lease_taken"));
    let newer = taken(&mut new, Some(&lease), "new");

    let refused = old.append(&Event::Paused, None, &Actor::from("a"), Millis(10)).err().unwrap();

    assert!(matches!(&refused.source, DiskError::Lost(Some(lost)) if *lost == newer), "{refused:?}");
    assert!(!old.renew(Millis(20)).unwrap());
    old.release().unwrap();
    assert_eq!(new.lease().unwrap(), Some(newer));
    new.append(&Event::Paused, None, &Actor::from("a"), Millis(10)).unwrap();
    assert_eq!(open(folder.path()).unwrap().1.len(), 3);
}

#[test]
fn r25_of_two_that_take_the_same_lease_one_gets_it_and_the_other_reads_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut one, _) = open(folder.path()).unwrap();
    let (mut two, _) = open(folder.path()).unwrap();
    let lease = taken(&mut one, None, "one");

    let late = Lease::after(None, 0, "two", Millis(9));
    let refused = two.take(None, &late, &Actor::from("engine"), Millis(9)).err().unwrap();

    assert!(matches!(refused.source, DiskError::Moved), "{refused:?}");
    two.catch_up(|record| assert_eq!(record.seq, 1)).unwrap();
    taken(&mut two, Some(&lease), "two");
    assert_eq!(two.head().seq, 2);
}
