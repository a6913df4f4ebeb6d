//! Tests the SQLite store: several processes on one file, migrations, and a file that cannot be opened.

use super::support::{Clinic, Link, appointment, command};
use rusqlite::Connection;
use std::collections::BTreeSet;
use tempfile::tempdir;

#[tokio::test]
async fn two_revisions_write_to_one_file_at_once_and_lose_nothing() {
    let folder = tempdir().unwrap();
    let clinics = [
        Clinic::with_file(folder.path(), &[("CLINIC_VERSION", "v1")]),
        Clinic::with_file(folder.path(), &[("CLINIC_VERSION", "v2")]),
    ];
    let mut writers = tokio::task::JoinSet::new();
    for address in clinics.iter().flat_map(|clinic| [clinic.address; 4]) {
        writers.spawn(async move {
            let mut link = Link::open(address).await.unwrap();
            let mut ids = Vec::new();
            for number in 0..50 {
                let made = link.send("POST", "/api/appointments", &appointment(number)).await.unwrap();
                assert_eq!(made.status, 201, "{made:?}");
                ids.push(made.json()["id"].as_i64().unwrap());
                assert_eq!(link.send("GET", "/api/appointments", "").await.unwrap().status, 200);
            }
            ids
        });
    }

    let ids: Vec<i64> = writers.join_all().await.concat();

    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 400, "an id was given twice");
    for clinic in &clinics {
        for id in [ids[0], ids[399]] {
            assert_eq!(clinic.get(&format!("/api/appointments/{id}")).await.status, 200);
        }
    }
}

#[test]
fn several_processes_may_make_the_file_at_the_same_moment() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("new/folder/clinic.db");
    let migrate =
        || command(&[("CLINIC_DB", file.to_str().unwrap())]).args(["migrate", "expand"]).spawn().unwrap();

    let children: Vec<_> = std::iter::repeat_with(migrate).take(6).collect();

    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
}

#[tokio::test]
async fn a_file_of_the_first_release_is_expanded_shared_and_contracted() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("clinic.db");
    let old = Connection::open(&file).unwrap();
    old.execute_batch(
        "CREATE TABLE appointments (id INTEGER PRIMARY KEY AUTOINCREMENT, slot TEXT NOT NULL, practitioner TEXT NOT NULL,
             created_ms INTEGER NOT NULL, note TEXT);
         INSERT INTO appointments (slot, practitioner, created_ms, note) VALUES ('2020-01-01T09:30', 'dr-abadie', 1, 'n');",
    )
    .unwrap();
    let migrate = |half| {
        let output =
            command(&[("CLINIC_DB", file.to_str().unwrap())]).args(["migrate", half]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };

    assert!(migrate("expand").contains("added the column duration_min"));
    assert!(migrate("expand").contains("nothing to do"));
    let clinic = Clinic::with_file(folder.path(), &[]);
    let first = clinic.get("/api/appointments/1").await.json();
    assert_eq!(
        (first["practitioner"].as_str(), first["duration_min"].as_i64()),
        (Some("dr-abadie"), Some(15))
    );
    // The release before still writes its column, and the new one makes rows without it.
    old.execute(
        "INSERT INTO appointments (slot, practitioner, created_ms, note) VALUES ('s', 'p', 2, 'n')",
        [],
    )
    .unwrap();
    assert_eq!(clinic.post("/api/appointments", &appointment(1)).await.status, 201);

    assert!(migrate("contract").contains("removed the column note"));
    assert!(migrate("contract").contains("nothing to do"));
    assert_eq!(clinic.get("/api/appointments").await.json()["appointments"].as_array().unwrap().len(), 3);
    assert!(
        old.execute(
            "INSERT INTO appointments (slot, practitioner, created_ms, note) VALUES ('s', 'p', 2, 'n')",
            []
        )
        .is_err()
    );
}

#[test]
fn a_migration_gives_up_on_a_lock_and_says_so() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("clinic.db");
    let holder = Connection::open(&file).unwrap();
    holder.execute_batch("PRAGMA journal_mode = WAL; BEGIN IMMEDIATE; CREATE TABLE t (x)").unwrap();

    let output =
        command(&[("CLINIC_DB", file.to_str().unwrap())]).args(["migrate", "expand"]).output().unwrap();

    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("error: cannot expand the tables of sqlite"), "{stderr}");
    assert!(stderr.contains("cause: another process holds the lock") && stderr.contains("next:"), "{stderr}");
}

#[test]
fn what_cannot_start_says_why_and_what_next() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("clinic.db");
    std::fs::write(
        &file,
        "this is not a database, but it is long enough to be taken for one by its first bytes ....",
    )
    .unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let good = folder.path().join("good.db");
    let (file, good) = (file.to_str().unwrap(), good.to_str().unwrap());
    let refused = |settings: &[(&str, &str)], arguments: &[&str], code, why: &str| {
        let output = command(settings).args(arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(why), "{why:?} is missing in {stderr}");
    };

    refused(&[("CLINIC_DB", file)], &[], 1, "not a database");
    refused(&[("CLINIC_DB", "/proc/clinic.db")], &[], 1, "not reachable");
    refused(&[("CLINIC_DB", good), ("PORT", &port)], &[], 1, "in use");
    refused(&[("CLINIC_DB", good), ("PORT", "http")], &[], 2, "PORT");
    refused(&[], &[], 2, "CLINIC_DB");
    refused(&[("CLINIC_DB", good)], &["migrate", "sideways"], 2, "usage");
}
