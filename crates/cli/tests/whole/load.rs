//! Switches and scales under load, and counts what the clients lost: nothing.

use crate::UNWATCHED;
use crate::harness::{Env, eventually};
use crate::traffic::Traffic;

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn e21_switches_under_get_and_post_clients_lose_no_request_and_no_connection() {
    let switches = number("MEDECLIPSE_SWITCHES", 10);
    let env = Env::clinic(UNWATCHED);
    env.up().deploy_clinic("v0", &[], 0);
    let traffic = Traffic::clinic(&env, 32, 32, None);

    for switch in 1..=switches {
        let version = format!("v{switch}");
        env.deploy_clinic(&version, &[], 0);
        assert_eq!(env.version(), version);
        traffic.more(64);
    }

    let report = traffic.end_clean(&format!("e21, {switches} switches"));
    // The clients count up to 64 versions apart.
    assert!(report.counts.by_version.len() > switches.min(60), "{report}");
}

#[test]
fn scaling_up_and_down_under_load_loses_no_request() {
    let env = Env::clinic(UNWATCHED);
    env.up().deploy_clinic("v1", &[], 0);
    let traffic = Traffic::clinic(&env, 16, 16, None);
    let ready = |wanted: u64| {
        eventually("the replicas are there", 15, || {
            let replicas = env.service()["stable"]["replicas"].clone();
            let all = replicas["wanted"] == wanted && replicas["ready"] == wanted;
            Some(()).filter(|()| all && env.replicas_of("v1").len() as u64 == wanted)
        });
    };

    env.ok(&["scale", "web", "4"]);
    ready(4);
    env.ok(&["scale", "web", "1"]);
    ready(1);
    env.ok(&["scale", "web", "--auto"]);
    ready(2);

    traffic.end_clean("scaled to 4, to 1, to 2");
    let refused = env.run(&["scale", "web", "0"]);
    assert_eq!(refused.code, 3, "{}", refused.err);
}

#[test]
fn a_rollback_under_load_loses_no_request() {
    let env = Env::clinic(UNWATCHED);
    env.up().deploy_clinic("v1", &[], 0);
    env.deploy_clinic("v2", &[], 0);
    let traffic = Traffic::clinic(&env, 16, 16, None);

    env.ok(&["rollback"]);
    traffic.more(100);
    let again = env.run(&["rollback"]);

    assert_eq!(again.code, 3, "a second rollback undoes nothing: {}", again.err);
    let report = traffic.end_clean("a rollback");
    assert_eq!(report.counts.by_version.len(), 2, "{report}");
    assert_eq!(env.version(), "v1");
}
