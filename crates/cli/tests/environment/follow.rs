//! Leaves a deployment that is followed, and comes back to it: the deployment itself never notices.

use crate::harness::Env;
use crate::{LONG, QUICK};

const V2: [&str; 5] = ["deploy", "--version", "v2", "--env-var", "CLINIC_VERSION=v2"];

/// An environment that serves v1 and watches the next release for long.
fn watching() -> Env {
    let env = Env::clinic(QUICK);
    env.up().deploy_clinic("v1", &[], 0);
    env.write_manifest(&env.clinic_service(LONG));
    env
}

#[test]
fn ctrl_c_leaves_the_deployment_running_and_the_same_command_follows_it_again() {
    let env = watching();
    let deploy = env.start(&V2);
    env.until_phase("baking");

    deploy.signal("INT");
    let left = deploy.end(10);

    assert_eq!(left.code, 8, "{left:?}");
    assert!(left.err.contains("d-2 of web goes on"), "{left:?}");
    assert!(left.err.contains("medeclipse deploy web") && left.err.contains("medeclipse abort"), "{left:?}");
    assert_eq!(env.service()["phase"], "baking");

    let again = env.start(&V2);
    env.ok(&["promote", "--now"]);
    let again = again.end(20);
    assert_eq!(again.code, 0, "{again:?}");
    assert!(again.out.contains("d-2"), "{again:?}");
    assert_eq!(env.version(), "v2");
    assert_eq!(env.last_deployment()["deployment"], "d-2");
}

#[test]
fn a_timeout_leaves_the_deployment_running_and_json_says_so() {
    let env = watching();

    let words = env.run(&[&V2[..], &["--timeout", "2s"]].concat());
    let json = env.run(&[&V2[..], &["--timeout", "500ms", "--json"]].concat());

    assert_eq!(words.code, 8, "{words:?}");
    assert!(words.err.contains("--timeout passed") && words.err.contains("goes on"), "{words:?}");
    assert_eq!(json.code, 8, "{json:?}");
    let last: serde_json::Value = serde_json::from_str(json.out.lines().last().unwrap()).unwrap();
    assert_eq!(last["exit"], 8, "{json:?}");
    assert!(last["next"].as_str().unwrap().contains("medeclipse status"), "{last}");
    assert_eq!(env.service()["deployment"], "d-2");

    env.ok(&["abort"]);
    assert_eq!(env.last_deployment()["outcome"], "aborted");
    assert_eq!(env.version(), "v1");
}
