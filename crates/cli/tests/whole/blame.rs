//! Stops what releases depend on, and looks who is blamed: nobody when both versions lack it, the candidate when it alone
//! does. The database is a real PostgreSQL that is really stopped.

use crate::harness::{Env, eventually};
use crate::postgres::Postgres;
use crate::traffic::Traffic;

/// Serves v1 of the clinic on a database of its own; None, having said so, where PostgreSQL is not installed.
fn clinic_on_postgres(rollout: &str) -> Option<(Env, Postgres)> {
    let Some(postgres) = Postgres::start() else {
        println!("skipped: PostgreSQL is not installed");
        return None;
    };
    let env = Env::new("");
    let database = format!(
        "expand = [\"./clinic\", \"migrate\", \"expand\"]\nenv      = {{ DATABASE_URL = \"{}\", CLINIC_DB",
        postgres.url()
    );
    env.write_manifest(&env.clinic_service(rollout).replace("env      = { CLINIC_DB", &database));
    env.up().deploy_clinic("v1", &[], 0);
    Some((env, postgres))
}

const CANARY: &str =
    "strategy = \"canary\"\nsteps = [50, 100]\nstep_bake = \"8s\"\nbake = \"2s\"\ndrain = \"2s\"";

#[test]
fn o2_a_database_that_stops_under_both_versions_holds_the_rollout_and_blames_nobody() {
    let Some((env, mut postgres)) = clinic_on_postgres(CANARY) else { return };
    let traffic = Traffic::clinic(&env, 6, 2, Some(200.0));
    let follower = env.start(&["deploy", "--version", "v2", "--env-var", "CLINIC_VERSION=v2"]);
    env.wait_for_phase("baking");
    traffic.more(200);

    postgres.stop();
    let held = eventually("it is held", 10, || {
        let service = env.service();
        assert_ne!(service["phase"], "returning", "{service}");
        Some(service).filter(|service| !service["held"].is_null())
    });
    println!("held: {}", held["held"]);
    assert!(held["held"].as_str().unwrap().contains("not the release's fault"), "{held}");
    // Longer than the bake: a hold stops the clock, and no verdict comes of it.
    traffic.more(2000);
    let kinds = env.kinds();
    assert!(!kinds.contains(&"verdict_reached".to_owned()), "{kinds:?}");
    assert!(!kinds.contains(&"return_started".to_owned()), "{kinds:?}");
    assert!(!env.service()["held"].is_null(), "{}", env.service());

    postgres.run();
    let ran = follower.end(60);
    assert_eq!(ran.code, 0, "{}\n{}\n{:?}", ran.out, ran.err, env.kinds());
    assert_eq!(env.version(), "v2");
    assert!(env.kinds().contains(&"hold_ended".to_owned()));
    println!("o2 both: {}", traffic.end());
}

#[test]
fn o2_a_database_that_stops_under_the_candidate_alone_takes_it_back_and_says_why() {
    let Some((env, _postgres)) = clinic_on_postgres(CANARY) else { return };
    let Some(mut own) = Postgres::start() else { return };
    let traffic = Traffic::clinic(&env, 6, 2, Some(200.0));
    let database = format!("DATABASE_URL={}", own.url());
    let follower =
        env.start(&["deploy", "--version", "v2", "--env-var", "CLINIC_VERSION=v2", "--env-var", &database]);
    env.wait_for_phase("baking");
    traffic.more(200);

    own.stop();

    let ran = follower.end(15);
    assert_eq!(ran.code, 4, "{}\n{}\n{:?}", ran.out, ran.err, env.kinds());
    // Whatever shows first: its answers, or that no replica of it is ready.
    let of_requests = ran.err.contains("fails more requests than stable does");
    let of_readiness = ran.err.contains("no replica of the candidate is ready any more");
    assert!(of_requests || of_readiness, "{}", ran.err);
    assert!(!env.kinds().contains(&"held".to_owned()), "{:?}", env.kinds());
    assert_eq!(env.version(), "v1");
    traffic.more(100);
    let report = traffic.end();
    println!("o2 candidate alone: {}{report}", ran.err);
    assert_eq!(report.counts.by_version["v1"].failed, 0, "stable served all it was asked: {report}");
}

#[test]
fn o2_a_candidate_without_its_database_gets_no_request() {
    let Some((env, _postgres)) = clinic_on_postgres(CANARY) else { return };
    env.edit("start = \"20s\"", "start = \"3s\"");
    env.edit("expand = [\"./clinic\", \"migrate\", \"expand\"]", "");
    let traffic = Traffic::clinic(&env, 6, 2, Some(200.0));

    let failed = env.deploy_clinic("v2", &["DATABASE_URL=postgresql://clinic@127.0.0.1:1/postgres"], 4);

    assert!(failed.err.contains("was not ready within"), "{}", failed.err);
    assert_eq!(env.version(), "v1");
    traffic.end_clean("o2 a candidate without its database");
}
