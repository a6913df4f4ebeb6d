//! Why a release was taken back: asked of the running environment, saved, and judged again without it.

use crate::harness::Env;
use crate::traffic::Traffic;
use serde_json::Value;

/// Fails in one place only, for everybody who gets there.
const ROUTE: &str = "/api/slots";

#[test]
fn o17_a_failing_release_is_explained_by_its_route_and_its_saved_evidence_is_judged_the_same() {
    let rollout =
        "strategy = \"canary\"\nsteps = [50, 100]\nstep_bake = \"60s\"\nbake = \"60s\"\ndrain = \"2s\"";
    let env = Env::clinic(rollout);
    env.edit(
        "env      = {",
        "route    = [{ path = \"/api/slots\" }, { path = \"/api/appointments/{id}\" }]\nenv      = {",
    );
    env.edit("env      = {", "env      = { API_TOKEN = \"s3ntinel-hunter2\",");
    env.up().deploy_clinic("v1", &[], 0);
    let traffic = Traffic::clinic(&env, 8, 2, Some(300.0));
    let fault = format!("CLINIC_FAIL_ROUTE={ROUTE}");

    env.deploy_clinic("v2", &["CLINIC_FAIL_PERCENT=100", &fault], 4);

    let file = env.folder.path().join("bundle.json");
    let path = file.to_str().unwrap();
    let told = env.ok(&["explain", "d-2", "--save", path]);
    println!("{}", told.out);
    assert!(told.out.contains(&format!("GET {ROUTE}: 500 (")), "{}", told.out);
    assert!(told.out.contains("The judge took it back: "), "{}", told.out);
    let json: Value = serde_json::from_str(&env.ok(&["explain", "--json"]).out).unwrap();
    assert_eq!(json["deployment"], "d-2");
    assert!(json["evidence"]["metric"].as_str().unwrap().starts_with("errors"), "{json}");
    assert_eq!(json["replay"]["identical"], true, "{}", json["replay"]);

    env.ok(&["down"]);
    let again = env.ok(&["replay", path]);
    assert!(again.out.contains("verdict_reached: same"), "{}", again.out);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("API_TOKEN") && !text.contains("hunter2"), "a secret came out");
    traffic.end();
}

#[test]
fn o17_a_return_from_a_promoted_release_is_judged_the_same() {
    let env = Env::clinic("bake = \"1s\"\ndrain = \"2s\"\nkeep_hot = \"60s\"");
    env.up().deploy_clinic("v1", &[], 0);
    let traffic = Traffic::clinic(&env, 8, 2, Some(300.0));
    env.deploy_clinic("v2", &["CLINIC_FAIL_PERCENT=100", "CLINIC_FAIL_AFTER_MS=6000"], 0);
    crate::harness::eventually("a return ends", 20, || {
        env.history().pop().filter(|row| row["kind"] == "return" && !row["outcome"].is_null())
    });

    let file = env.folder.path().join("bundle.json");
    let path = file.to_str().unwrap();
    let told = env.ok(&["explain", "--save", path]);
    println!("{}", told.out);
    assert!(told.out.contains("What d-2 had promoted turned bad and was taken back"), "{}", told.out);
    let again = env.ok(&["replay", path]);
    assert!(again.out.contains("deployment_requested: same"), "{}", again.out);
    traffic.end();
}
