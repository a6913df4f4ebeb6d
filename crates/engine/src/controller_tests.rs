use super::*;
use crate::journal::{Journal, Reader};
use crate::leader::{Fate, Watch};
use proptest::prelude::*;
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::path::Path;

const TERMS: Terms = Terms { ttl: Millis(9000) };

fn target() -> Target {
    Target::new("web", "local")
}

fn open(folder: &Path, owner: &str, now: u64, judge: impl FnMut(Option<&Lease>) -> Standing) -> Opened {
    let disk = Journal::disk(folder, &target(), None).unwrap();
    let candidate = Candidate { owner, terms: TERMS, accepted: None };
    Controller::open_where(disk, &target(), candidate, Millis(now), judge).unwrap()
}

fn lead(folder: &Path, owner: &str, now: u64) -> Controller {
    match open(folder, owner, now, |_| Standing::Free) {
        Opened::Leads(controller) => *controller,
        Opened::Held { lease, .. } => panic!("{lease:?}"),
        Opened::Blocked { lease } => panic!("blocked by {lease:?}"),
    }
}

fn lease(folder: &Path) -> Lease {
    Reader::open(folder, &target()).unwrap().lease().unwrap().unwrap()
}

fn events(folder: &Path) -> Vec<EventRecord> {
    let mut records = Vec::new();
    Journal::open(folder, &target(), None, |record| records.push(record.clone())).unwrap();
    records
}

fn scale(controller: &mut Controller, replicas: u32, now: u64) -> Result<EventRecord, JournalError> {
    controller.note(&Event::Scaled { replicas: Some(replicas) }, Millis(now))
}

#[test]
fn r25_a_target_that_is_opened_has_a_lease_and_the_journal_says_whose() {
    let folder = tempfile::tempdir().unwrap();

    let mut controller = lead(folder.path(), "a", 1000);
    assert_eq!(lease(folder.path()), Lease { epoch: 1, owner: "a".to_owned(), until: Millis(10_000) });
    controller.renew(Millis(4000)).unwrap();

    assert_eq!(lease(folder.path()).until, Millis(13_000));
    let taken = Event::LeaseTaken { epoch: 1, owner: "a".to_owned() };
    assert_eq!(events(folder.path()).iter().map(|record| record.event.clone()).collect::<Vec<_>>(), [taken]);
}

#[test]
fn r25_a_lease_that_is_held_is_not_taken_and_who_has_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = lead(folder.path(), "a", 1000);
    let mut watch = Watch::new(TERMS);

    let second = open(folder.path(), "b", 2000, |lease| watch.look(lease, "b", Fate::Runs, Millis(2000)));

    let Opened::Held { lease: held, free_at } = second else { panic!("it was taken") };
    assert_eq!((held.owner.as_str(), held.epoch, free_at), ("a", 1, Millis(11_000)));
    assert!(scale(&mut first, 3, 3000).is_ok());
}

#[test]
fn r25_a_lease_that_was_given_back_is_taken_at_once() {
    let folder = tempfile::tempdir().unwrap();
    lead(folder.path(), "a", 1000).release().unwrap();
    let mut watch = Watch::new(TERMS);

    let second = open(folder.path(), "b", 1001, |lease| watch.look(lease, "b", Fate::Runs, Millis(1001)));

    assert!(matches!(second, Opened::Leads(_)));
    assert_eq!((lease(folder.path()).owner.as_str(), lease(folder.path()).epoch), ("b", 2));
}

#[test]
fn r25_an_expired_lease_is_taken_over_and_only_as_it_was_seen() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = lead(folder.path(), "a", 1000);
    let mut watch = Watch::new(TERMS);
    watch.look(Some(&lease(folder.path())), "b", Fate::Runs, Millis(1000));

    // Renewed between the look and the taking.
    first.renew(Millis(9_999)).unwrap();
    let too_early =
        open(folder.path(), "b", 10_000, |lease| watch.look(lease, "b", Fate::Runs, Millis(10_000)));
    let expired =
        open(folder.path(), "b", 19_000, |lease| watch.look(lease, "b", Fate::Runs, Millis(19_000)));

    assert!(matches!(too_early, Opened::Held { free_at: Millis(19_000), .. }));
    assert!(matches!(expired, Opened::Leads(_)));
}

#[test]
fn o11_what_a_zombie_writes_is_refused_and_it_learns_who_leads() {
    let folder = tempfile::tempdir().unwrap();
    let mut zombie = lead(folder.path(), "a", 1000);
    scale(&mut zombie, 3, 2000).unwrap();
    let mut second = lead(folder.path(), "b", 3000);
    scale(&mut second, 4, 4000).unwrap();

    let refused = scale(&mut zombie, 5, 5000).unwrap_err();
    let renewed = zombie.renew(Millis(5000)).unwrap_err();
    zombie.release().unwrap();
    scale(&mut second, 6, 6000).unwrap();

    assert!(refused.is_loss() && renewed.is_loss());
    assert_eq!(refused.source.to_string(), "lease lost to b (epoch 2)");
    assert_eq!(lease(folder.path()).epoch, 2);
    assert_ne!(lease(folder.path()).until, Lease::GIVEN_BACK, "the zombie gave back what was not its own");
    let told: Vec<_> = events(folder.path()).iter().map(|record| record.event.clone()).collect();
    assert!(!told.contains(&Event::Scaled { replicas: Some(5) }), "{told:?}");
    assert_eq!(told.len(), 5);
}

#[test]
fn o11_a_token_can_not_be_put_back_even_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    lead(folder.path(), "a", 1000);
    lead(folder.path(), "b", 2000);
    let connection = Connection::open(Journal::path(folder.path(), &target())).unwrap();

    assert!(connection.execute("UPDATE lease SET epoch = 1, owner = 'a'", []).is_err());
    assert!(connection.execute("UPDATE lease SET owner = 'a'", []).is_err());
    assert!(connection.execute("DELETE FROM lease", []).is_err());
}

#[test]
fn o11_a_write_that_never_ends_blocks_and_is_told_from_a_lease_that_is_held() {
    let folder = tempfile::tempdir().unwrap();
    lead(folder.path(), "a", 1000);
    let stopped = Connection::open(Journal::path(folder.path(), &target())).unwrap();
    stopped.execute_batch("BEGIN IMMEDIATE").unwrap();

    let blocked = open(folder.path(), "b", 20_000, |_| Standing::Silent);

    let Opened::Blocked { lease: Some(lease) } = blocked else { panic!("it was not blocked") };
    assert_eq!(lease.owner, "a");
}

#[test]
fn a_journal_of_schema_1_gets_a_lease() {
    let folder = tempfile::tempdir().unwrap();
    lead(folder.path(), "a", 1000);
    let connection = Connection::open(Journal::path(folder.path(), &target())).unwrap();
    connection.execute_batch("DROP TABLE lease; PRAGMA user_version = 1;").unwrap();
    drop(connection);
    assert_eq!(Reader::open(folder.path(), &target()).unwrap().lease().unwrap(), None);

    let second = lead(folder.path(), "b", 2000);

    assert_eq!(second.state.epoch, 2, "newer than what the journal's events say");
    assert_eq!(lease(folder.path()).epoch, 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Two engines on one file, each stopped and woken at any moment.
    #[test]
    fn o11_a_journal_two_engines_fight_for_has_one_writer_at_a_time(
        steps in prop::collection::vec((0..2usize, 0..3u8), 1..40),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut engines: [Option<Controller>; 2] = [None, None];
        for (now, (n, step)) in steps.into_iter().enumerate() {
            let now = 1000 * (now as u64 + 1);
            match (step, &mut engines[n]) {
                (0, engine) => *engine = Some(lead(folder.path(), ["a", "b"][n], now)),
                (1, Some(engine)) => drop(scale(engine, now as u32, now)),
                (_, Some(engine)) => drop(engine.renew(Millis(now))),
                (_, None) => {}
            }
        }
        // The chain holds, and nothing stands behind a taking that was written under an older token.
        let mut epochs = Vec::new();
        let mut by = BTreeMap::new();
        for record in events(folder.path()) {
            if let Event::LeaseTaken { epoch, owner } = &record.event {
                epochs.push(*epoch);
                prop_assert!(by.insert(*epoch, owner.clone()).is_none());
            }
        }
        prop_assert!(epochs.windows(2).all(|pair| pair[0] < pair[1]), "{epochs:?}");
        for engine in engines.iter_mut().flatten() {
            let leads = Some(&engine.state.epoch) == epochs.last();
            prop_assert_eq!(scale(engine, 1_000_000, 1_000_000).is_ok(), leads);
        }
    }
}

#[test]
fn o11_an_owner_outranks_an_epoch_that_was_never_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut owner = lead(folder.path(), "a", 1000);

    let outranked = owner.outrank(4, Millis(2000)).unwrap().map(|record| record.event);
    let again = owner.outrank(4, Millis(3000)).unwrap();
    scale(&mut owner, 3, 4000).unwrap();
    owner.renew(Millis(5000)).unwrap();

    assert_eq!(outranked, Some(Event::LeaseTaken { epoch: 5, owner: "a".to_owned() }));
    assert_eq!((again, owner.state.epoch), (None, 5));
    assert_eq!(lease(folder.path()), Lease { epoch: 5, owner: "a".to_owned(), until: Millis(14_000) });
}

#[test]
fn o11_an_owner_that_was_passed_over_outranks_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mut zombie = lead(folder.path(), "a", 1000);
    lead(folder.path(), "b", 2000);

    let refused = zombie.outrank(4, Millis(3000)).unwrap_err();

    assert!(refused.is_loss());
    assert_eq!((lease(folder.path()).owner.as_str(), lease(folder.path()).epoch), ("b", 2));
}
