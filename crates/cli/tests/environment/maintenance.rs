//! Shows maintenance on the real path: requests wait, and nobody needs to send one again.

use crate::QUICK;
use crate::harness::{Answer, Env, eventually, kill};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

fn serving() -> Env {
    let env = Env::clinic(QUICK);
    env.up().deploy_clinic("v1", &[], 0);
    env
}

/// Sends a request from a thread of its own.
fn ask(env: &Env, path: &'static str) -> JoinHandle<Answer> {
    let address = env.address;
    std::thread::spawn(move || crate::harness::request(address, "GET", path, &[], "").unwrap())
}

/// Waits until the edge holds requests: the readiness path is answered by the edge itself then.
fn until_held(env: &Env) {
    eventually("maintenance has begun", 10, || {
        let answer = env.get("/api/health/ready");
        (answer.header("x-clinic-version").is_none() && answer.status == 200).then_some(())
    });
}

#[test]
fn e08_held_requests_are_answered_when_maintenance_ends() {
    let env = serving();
    env.ok(&["maintenance", "on", "--hold", "30s"]);
    until_held(&env);
    let waiting: Vec<_> = (0..8).map(|_| ask(&env, "/api/slots")).collect();
    // They are held, not refused: none ends while the edge answers others.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(300) {
        assert_eq!(env.get("/api/health/ready").status, 200);
    }
    assert!(waiting.iter().all(|held| !held.is_finished()));

    env.ok(&["maintenance", "off"]);

    for held in waiting {
        let answer = held.join().unwrap();
        assert_eq!((answer.status, answer.header("x-clinic-version").as_deref()), (200, Some("v1")));
    }
    assert_eq!(env.service()["maintenance"], false);
}

#[test]
fn e08_without_a_hold_requests_are_answered_503_at_once() {
    let env = serving();
    env.ok(&["maintenance", "on", "--hold", "0s"]);
    until_held(&env);

    let answer = env.get("/api/slots");

    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    env.ok(&["maintenance", "off"]);
    eventually("it serves again", 10, || (env.get("/api/slots").status == 200).then_some(()));
}

#[test]
fn e08_a_hold_that_is_over_is_answered_503() {
    let env = serving();
    env.ok(&["maintenance", "on", "--hold", "1s"]);
    until_held(&env);

    let answer = ask(&env, "/api/slots").join().unwrap();

    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
}

#[test]
fn e09_the_readiness_path_is_answered_200_during_maintenance_also_below_a_prefix() {
    let env = Env::new("");
    let service = env.clinic_service(QUICK);
    env.write_manifest(
        &service.replace("[service.web]", "[service.web]\npaths = [\"/clinic\"]\nstrip_path = true"),
    );
    env.up().deploy_clinic("v1", &[], 0);
    env.ok(&["maintenance", "on", "--hold", "0s"]);
    eventually("maintenance has begun", 10, || (env.get("/clinic/api/slots").status == 503).then_some(()));

    assert_eq!(env.get("/clinic/api/health/ready").status, 200);
}

#[test]
fn e10_maintenance_survives_a_deploy_and_an_engine_that_is_killed() {
    let env = serving();
    env.ok(&["maintenance", "on", "--hold", "60s"]);
    until_held(&env);
    let held = ask(&env, "/api/slots");

    env.deploy_clinic("v2", &[], 0);
    let engine = env.pid("engine");
    kill(engine, "KILL");
    eventually("another engine", 20, || {
        let ran = env.run(&["status", "--json"]);
        (ran.code == 0 && !ran.out.contains(&format!("\"pid\":{engine},"))).then_some(())
    });

    assert_eq!(env.service()["maintenance"], true);
    assert!(!held.is_finished());
    env.ok(&["maintenance", "off"]);
    let answer = held.join().unwrap();
    assert_eq!((answer.status, answer.header("x-clinic-version").as_deref()), (200, Some("v2")));
}

#[test]
fn e04_people_see_the_service_s_own_page_and_a_page_that_cannot_be_read_changes_nothing() {
    let env = Env::clinic(QUICK);
    env.write_program("pages/down.html", "<h1>De retour bientôt</h1>");
    env.edit("[service.web]\n", "[service.web]\npages = { maintenance = \"pages/down.html\" }\n");
    env.up().deploy_clinic("v1", &[], 0);
    let browse = || {
        let accept = [("accept", "text/html,*/*;q=0.8")];
        crate::harness::request(env.address, "GET", "/api/slots", &accept, "").unwrap()
    };

    env.edit("pages/down.html", "pages/missing.html");
    let refused = env.deploy_clinic("v2", &[], 2);
    assert!(refused.err.contains("cannot read the page pages/missing.html"), "{}", refused.err);
    assert_eq!((env.version(), env.history().len()), ("v1".to_owned(), 1));

    env.ok(&["maintenance", "on", "--hold", "0s"]);
    until_held(&env);
    let page = browse();
    assert_eq!((page.status, page.body.as_str()), (503, "<h1>De retour bientôt</h1>"));
    assert!(env.get("/api/slots").body.starts_with("error: cannot answer this request"));
    env.ok(&["maintenance", "off"]);
    eventually("it serves again", 10, || (browse().status == 200).then_some(()));
}
