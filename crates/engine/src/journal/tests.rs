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

/// A folder in the folder: the copies lie beside it.
fn journals(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("journal")
}

fn remove_copy(folder: &Path) {
    fs::remove_file(copy::path_of(&Journal::path(folder, &target()))).unwrap();
}

#[test]
fn o10_a_damaged_journal_is_restored_from_its_copy_and_kept_aside() {
    type Damaging = fn(&Path);
    let damages: [(&str, Damaging); 5] = [
        ("cut", |path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(6000).unwrap()),
        ("emptied", |path| fs::write(path, "").unwrap()),
        ("removed", |path| fs::remove_file(path).unwrap()),
        ("another file", |path| fs::write(path, "something else").unwrap()),
        ("changed", |path| {
            let connection = Connection::open(path).unwrap();
            connection
                .execute_batch(
                    "DROP TRIGGER events_are_never_changed; UPDATE events SET actor = 'x' WHERE seq = 3;",
                )
                .unwrap();
        }),
    ];
    for (name, damage) in damages {
        let folder = tempfile::tempdir().unwrap();
        let written = filled(&journals(&folder), 50);
        damage(&Journal::path(&journals(&folder), &target()));

        let accepted = Some(Generation { epoch: 1, seq: 50 });
        let (mut journal, read) =
            open_accepted(&journals(&folder), accepted).unwrap_or_else(|damage| panic!("{name}: {damage}"));

        assert_eq!(read, written, "{name}");
        journal.append(&Event::Paused, None, &Actor::from("a"), Millis(9000)).unwrap();
        drop(journal);
        assert_eq!(open(&journals(&folder)).unwrap().1.len(), 51, "{name}");
        let names = fs::read_dir(journals(&folder)).unwrap().map(|entry| entry.unwrap().file_name());
        let aside = names.filter(|name| name.to_string_lossy().contains(".damaged-")).count();
        assert_eq!(aside > 0, name != "removed", "{name}");
    }
}

#[test]
fn o10_journals_come_back_when_their_folder_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let written = filled(&journals(&folder), 5);
    fs::remove_dir_all(journals(&folder)).unwrap();

    assert_eq!(Journal::targets(&journals(&folder)), [target()]);
    assert_eq!(open(&journals(&folder)).unwrap().1, written);
}

#[test]
fn o10_a_journal_that_lost_its_last_rows_gets_them_back_from_its_copy() {
    let folder = tempfile::tempdir().unwrap();
    filled(&journals(&folder), 5);
    let path = Journal::path(&journals(&folder), &target());
    let older = fs::read(&path).unwrap();
    let (mut journal, _) = open(&journals(&folder)).unwrap();
    journal.append(&Event::Paused, None, &Actor::from("a"), Millis(9000)).unwrap();
    drop(journal);
    fs::write(&path, older).unwrap();

    let (_, read) = open(&journals(&folder)).unwrap();

    assert_eq!(read.len(), 6);
}

#[test]
fn o10_a_damaged_copy_is_written_again_and_one_that_ends_too_early_restores_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let written = filled(&journals(&folder), 5);
    let path = Journal::path(&journals(&folder), &target());
    let copy = copy::path_of(&path);
    let whole = fs::read(&copy).unwrap();
    for damaged in [
        Vec::new(),
        whole[..whole.len() / 2].to_vec(),
        [b"x", &whole[1..]].concat(),
        [&whole[..], b"{}\n"].concat(),
    ] {
        fs::write(&copy, &damaged).unwrap();
        assert_eq!(open(&journals(&folder)).unwrap().1, written);
        assert_eq!(fs::read(&copy).unwrap(), whole);
    }
    let lines = String::from_utf8(whole).unwrap();
    fs::write(&copy, lines.split_inclusive('\n').take(4).collect::<String>()).unwrap();
    fs::remove_file(&path).unwrap();

    let damage = open_accepted(&journals(&folder), Some(Generation { epoch: 1, seq: 5 })).err().unwrap();

    assert!(damage.why.contains("ends at event 4, and event 5"), "{damage}");
}

#[test]
fn o10_a_copy_that_is_changed_while_in_use_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(&journals(&folder)).unwrap();
    let copy = copy::path_of(&Journal::path(&journals(&folder), &target()));
    let damages: [fn(&Path); 3] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::write(path, "").unwrap(),
        |path| fs::write(path, "x").unwrap(),
    ];
    for damage in damages {
        journal.append(&Event::Paused, None, &Actor::from("a"), Millis(1)).unwrap();
        damage(&copy);

        journal.append(&Event::Resumed, None, &Actor::from("a"), Millis(2)).unwrap();

        let lines = fs::read_to_string(&copy).unwrap().lines().count();
        assert_eq!(lines as u64, journal.head().seq);
    }
}

#[test]
fn what_was_appended_is_read_back_in_order_and_chained() {
    let folder = tempfile::tempdir().unwrap();
    let written = filled(&journals(&folder), 5);

    let (journal, read) = open(&journals(&folder)).unwrap();

    assert_eq!(read, written);
    assert_eq!(read[0].prev_hash, GENESIS);
    assert!(read.windows(2).all(|pair| pair[1].prev_hash == pair[0].hash));
    assert_eq!(journal.head().seq, 5);
}

#[test]
fn time_never_runs_backwards_in_a_journal() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(&journals(&folder)).unwrap();
    journal.append(&Event::Paused, None, &Actor::from("a"), Millis(5000)).unwrap();

    let record = journal.append(&Event::Resumed, None, &Actor::from("a"), Millis(10)).unwrap();

    assert_eq!(record.at, Millis(5000));
}

#[test]
fn e24_a_changed_row_is_damage_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    filled(&journals(&folder), 5);
    let connection = Connection::open(Journal::path(&journals(&folder), &target())).unwrap();
    connection.execute_batch("DROP TRIGGER events_are_never_changed; UPDATE events SET body = replace(body, '3', '4') WHERE seq = 3;").unwrap();
    drop(connection);
    remove_copy(&journals(&folder));

    let damage = open(&journals(&folder)).err().unwrap();

    assert!(damage.why.contains("event 3"), "{damage}");
    assert!(damage.why.contains("hash") && damage.why.contains("no second copy"), "{damage}");
}

#[test]
fn e24_a_truncated_file_is_damage_and_is_not_emptied() {
    let folder = tempfile::tempdir().unwrap();
    filled(&journals(&folder), 50);
    remove_copy(&journals(&folder));
    let path = Journal::path(&journals(&folder), &target());
    Connection::open(&path).unwrap().pragma_update(None, "wal_checkpoint", "TRUNCATE").ok();
    for left in [200, 4096, 6000] {
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(left).unwrap();

        assert!(open(&journals(&folder)).is_err(), "{left} bytes were accepted");
        assert_eq!(fs::metadata(&path).unwrap().len(), left, "the damaged file was changed");
    }
}

#[test]
fn a_missing_file_is_damage_when_the_edge_knows_better() {
    let folder = tempfile::tempdir().unwrap();

    let damage = open_accepted(&journals(&folder), Some(Generation { epoch: 1, seq: 7 })).err().unwrap();

    assert!(damage.why.contains("gone"), "{damage}");
    assert!(!Journal::path(&journals(&folder), &target()).exists(), "an empty journal was made in its place");
}

#[test]
fn a_journal_that_ends_before_what_the_edge_accepted_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    filled(&journals(&folder), 5);

    assert!(open_accepted(&journals(&folder), Some(Generation { epoch: 1, seq: 5 })).is_ok());
    let damage = open_accepted(&journals(&folder), Some(Generation { epoch: 1, seq: 6 })).err().unwrap();

    assert!(damage.why.contains("missing"), "{damage}");
}

#[test]
fn e17_a_journal_of_a_newer_schema_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    filled(&journals(&folder), 2);
    let path = Journal::path(&journals(&folder), &target());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();

    let damage = open(&journals(&folder)).err().unwrap();

    assert!(damage.why.contains("schema 99"), "{damage}");
    assert!(damage.next.contains("newer medeclipse"), "{damage}");
}

#[test]
fn a_reader_follows_beside_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(&journals(&folder)).unwrap();
    journal.append(&Event::Paused, None, &Actor::from("a"), Millis(1)).unwrap();
    let reader = Reader::open(&journals(&folder), &target()).unwrap();
    let last = journal.append(&Event::Resumed, None, &Actor::from("a"), Millis(2)).unwrap();

    assert_eq!(reader.after(1, 10).unwrap(), vec![last]);
    assert_eq!(reader.after(2, 10).unwrap(), vec![]);
}

#[test]
fn rows_can_be_neither_changed_nor_removed_by_mistake() {
    let folder = tempfile::tempdir().unwrap();
    filled(&journals(&folder), 2);
    let connection = Connection::open(Journal::path(&journals(&folder), &target())).unwrap();

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
    let (mut old, _) = open(&journals(&folder)).unwrap();
    let lease = taken(&mut old, None, "old");
    let (mut new, read) = open(&journals(&folder)).unwrap();
    assert_eq!(read.last().map(|record| record.event.kind()), Some("lease_taken"));
    let newer = taken(&mut new, Some(&lease), "new");

    let refused = old.append(&Event::Paused, None, &Actor::from("a"), Millis(10)).err().unwrap();

    assert!(matches!(&refused.source, DiskError::Lost(Some(lost)) if *lost == newer), "{refused:?}");
    assert!(!old.renew(Millis(20)).unwrap());
    old.release().unwrap();
    assert_eq!(new.lease().unwrap(), Some(newer));
    new.append(&Event::Paused, None, &Actor::from("a"), Millis(10)).unwrap();
    assert_eq!(open(&journals(&folder)).unwrap().1.len(), 3);
}

#[test]
fn r25_of_two_that_take_the_same_lease_one_gets_it_and_the_other_reads_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut one, _) = open(&journals(&folder)).unwrap();
    let (mut two, _) = open(&journals(&folder)).unwrap();
    let lease = taken(&mut one, None, "one");

    let late = Lease::after(None, 0, "two", Millis(9));
    let refused = two.take(None, &late, &Actor::from("engine"), Millis(9)).err().unwrap();

    assert!(matches!(refused.source, DiskError::Moved), "{refused:?}");
    two.catch_up(|record| assert_eq!(record.seq, 1)).unwrap();
    taken(&mut two, Some(&lease), "two");
    assert_eq!(two.head().seq, 2);
}
