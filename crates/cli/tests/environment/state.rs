//! Damages what an environment remembers: one file never takes another service down, and none is ever emptied.

use crate::harness::{Env, eventually, kill, request};
use crate::{QUICK, says};
use rusqlite::Connection;
use std::fs;
use std::path::{Path, PathBuf};

/// Two services of the clinic, told apart by their hosts; both serve v1.
fn two_services() -> Env {
    let env = Env::new("");
    let named = |name: &str| {
        let service = env.clinic_service(QUICK).replace("service.web", &format!("service.{name}"));
        service.replacen(
            &format!("[service.{name}]"),
            &format!("[service.{name}]\nhosts = [\"{name}.example\"]"),
            1,
        )
    };
    env.write_manifest(&format!("{}{}", named("web"), named("api")));
    env.up();
    deploy(&env, "web", "v1", 0);
    deploy(&env, "api", "v1", 0);
    env
}

fn deploy(env: &Env, service: &str, version: &str, code: i32) -> crate::harness::Ran {
    let label = format!("CLINIC_VERSION={version}");
    env.deploy(&[service, "--version", version, "--env-var", &label], code)
}

/// Returns the version that answers for a service.
fn version_of(env: &Env, service: &str) -> Option<String> {
    let host = format!("{service}.example");
    let answer = request(env.address, "GET", "/api/slots", &[("Host", &host)], "").ok()?;
    answer.header("x-clinic-version").filter(|_| answer.status == 200)
}

fn status_of(env: &Env, service: &str) -> serde_json::Value {
    let services = env.status()["services"].clone();
    let found = services.as_array().unwrap().iter().find(|row| row["service"] == service);
    found.cloned().unwrap_or_default()
}

fn journal(env: &Env, service: &str) -> PathBuf {
    env.state().join(format!("journal/{service}@local.db"))
}

/// Checks that `web` is damaged, serves and refuses, and that `api` serves and deploys.
#[track_caller]
fn only_web_is_damaged(env: &Env, serves: bool) {
    let web = status_of(env, "web");
    assert_eq!(web["phase"], "damaged", "{web}");
    assert!(web["damage"].as_str().unwrap().contains("web@local.db"), "{web}");
    assert!(env.ok(&["status"]).out.contains("damaged"));
    if serves {
        assert_eq!(version_of(env, "web").as_deref(), Some("v1"));
    }
    let label = "CLINIC_VERSION=v2";
    let refused = env.run(&["deploy", "web", "--version", "v2", "--env-var", label]);
    says(&refused, 3, &["damaged", "web@local.db"]);
    says(&env.run(&["rollback", "web"]), 3, &["damaged"]);
    deploy(env, "api", "v2", 0);
    assert_eq!(version_of(env, "api").as_deref(), Some("v2"));
    if serves {
        assert_eq!(version_of(env, "web").as_deref(), Some("v1"));
    }
}

/// Flips one byte of a recorded event, wherever the file holds it.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let word = b"\"kind\":\"deployment_requested\"";
    // Everywhere: a page that was split keeps a copy of what has moved.
    let places: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(word)).collect();
    assert!(!places.is_empty());
    places.iter().for_each(|at| bytes[at + 10] ^= 1);
    fs::write(path, bytes).unwrap();
}

/// Without its second copy a damaged journal stays damaged.
fn remove_copy(path: &Path) {
    let name = path.with_extension("events").file_name().unwrap().to_owned();
    fs::remove_file(path.parent().unwrap().with_file_name("journal-copy").join(name)).unwrap();
}

type Damage = fn(&Path);

#[test]
fn e24_a_journal_that_was_damaged_while_down_disturbs_only_its_own_service() {
    let damages: [(&str, Damage); 4] = [
        ("cut", |path| fs::File::options().write(true).open(path).unwrap().set_len(5000).unwrap()),
        ("flipped", flip),
        ("removed", |path| fs::remove_file(path).unwrap()),
        ("emptied", |path| fs::write(path, "").unwrap()),
    ];
    for (name, damage) in damages {
        let env = two_services();
        let replicas = env.replicas();
        env.ok(&["down", "--keep-replicas"]);
        let path = journal(&env, "web");
        remove_copy(&path);
        damage(&path);
        let left = fs::read(&path).ok();

        env.up();
        println!("{name}: {}", status_of(&env, "web")["damage"]);
        only_web_is_damaged(&env, true);

        assert!(replicas.iter().filter(|pid| env.replicas().contains(pid)).count() >= 2, "{name}");
        assert_eq!(fs::read(&path).ok(), left, "{name}: the file is as it was left");
    }
}

#[test]
fn e24_a_journal_that_is_damaged_while_the_engine_restarts_is_served_on() {
    let env = two_services();
    let (supervisor, engine) = (env.supervisor(), env.pid("engine"));
    // Stopped, it cannot start another engine before the file is damaged.
    kill(supervisor, "STOP");
    kill(engine, "KILL");
    let path = journal(&env, "web");
    checkpoint(&path);
    remove_copy(&path);
    flip(&path);
    kill(supervisor, "CONT");

    eventually("another engine", 20, || {
        let ran = env.run(&["status", "--json"]);
        (ran.code == 0 && !ran.out.contains(&format!("\"pid\":{engine},"))).then_some(())
    });
    only_web_is_damaged(&env, true);
}

/// Brings everything of a journal into its one file.
fn checkpoint(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}

#[test]
fn a_journal_that_was_put_back_is_used_again() {
    let env = two_services();
    env.ok(&["down", "--keep-replicas"]);
    let path = journal(&env, "web");
    let whole = fs::read(&path).unwrap();
    remove_copy(&path);
    flip(&path);
    env.up();
    assert_eq!(status_of(&env, "web")["phase"], "damaged");

    env.ok(&["down", "--keep-replicas"]);
    fs::write(&path, whole).unwrap();
    env.up();

    eventually("web is well", 20, || (status_of(&env, "web")["phase"] == "idle").then_some(()));
    deploy(&env, "web", "v2", 0);
    assert_eq!(version_of(&env, "web").as_deref(), Some("v2"));
}

#[test]
fn the_state_of_a_newer_version_is_served_and_not_touched() {
    let env = two_services();
    env.ok(&["down", "--keep-replicas"]);
    let path = journal(&env, "web");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let left = fs::read(&path).unwrap();

    env.up();
    only_web_is_damaged(&env, true);

    let damage = status_of(&env, "web")["damage"].as_str().unwrap().to_owned();
    assert!(damage.contains("schema 99") && damage.contains("newer medeclipse"), "{damage}");
    assert_eq!(fs::read(&path).unwrap(), left);
}

#[test]
fn e24_a_damaged_table_of_the_edge_is_sent_again_and_the_other_service_never_notices() {
    let env = two_services();
    env.ok(&["down", "--keep-replicas"]);
    for name in ["web@local.table", "web@local.last"] {
        let path = env.state().join("edge").join(name);
        if path.exists() {
            fs::File::options().write(true).open(path).unwrap().set_len(200).unwrap();
        }
    }

    env.up();

    assert_eq!(version_of(&env, "api").as_deref(), Some("v1"));
    eventually("web is served again", 20, || (version_of(&env, "web")? == "v1").then_some(()));
    deploy(&env, "web", "v2", 0);
    assert_eq!(version_of(&env, "web").as_deref(), Some("v2"));
}

/// Not a test: writes the fixture of the present schema (E17) from a real environment. Run it once for every schema
/// that is released, never for one that was: `cargo test -p medeclipse --test environment -- --ignored fixture`.
#[test]
#[ignore = "writes the fixture of a new schema"]
fn write_the_fixture_of_this_schema() {
    let canary = "strategy = \"canary\"\nsteps = [50, 100]\nstep_bake = \"2s\"\nbake = \"2s\"\nkeep_hot = \"1h\"\ndrain = \"1s\"";
    let env = Env::clinic(canary);
    env.up().deploy_clinic("v1", &[], 0);
    let load = crate::load::Load::on(&env);
    env.deploy_clinic("v2", &["CLINIC_FAIL_PERCENT=50"], 4);
    env.deploy_clinic("v3", &[], 0);
    drop(load);
    // Killed, not stopped: a `down` would retire the hot revision.
    for pid in [env.supervisor(), env.pid("engine"), env.pid("edge")] {
        kill(pid, "KILL");
    }
    eventually("the engine is gone", 10, || (env.run(&["status"]).code == 7).then_some(()));
    let path = journal(&env, "web");
    checkpoint(&path);

    let folder = format!(
        "{}/../engine/tests/fixtures/schema-{}",
        env!("CARGO_MANIFEST_DIR"),
        engine::journal::SCHEMA_VERSION
    );
    fs::create_dir_all(&folder).unwrap();
    Connection::open(&path).unwrap().execute("VACUUM INTO ?1", [format!("{folder}/web@local.db")]).unwrap();
    env.replicas().into_iter().for_each(|pid| kill(pid, "KILL"));
}

#[test]
fn e17_a_state_directory_of_schema_1_is_brought_up_with_its_history() {
    let env = Env::clinic(QUICK);
    fs::create_dir_all(env.state().join("journal")).unwrap();
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/fixtures/schema-1/web@local.db");
    fs::copy(fixture, journal(&env, "web")).unwrap();

    env.up();

    let service = env.service();
    assert_eq!(service["phase"], "idle", "{service}");
    assert_eq!((&service["stable"]["label"], &service["stable"]["revision"]), (&"v3".into(), &3.into()));
    let history = env.ok(&["history"]).out;
    for word in ["v1", "v2", "v3", "rolled back", "d-3"] {
        assert!(history.contains(word), "{word}: {history}");
    }
    env.deploy_clinic("v4", &[], 0);
    assert_eq!(env.version(), "v4");
    assert_eq!(env.service()["stable"]["revision"], 4);
}
