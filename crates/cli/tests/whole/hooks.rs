//! Runs commands around deployments: hooks, checks and migrations, and looks what they were told and what they stop.

use crate::UNWATCHED;
use crate::harness::{Env, processes_of};

/// Appends what it was told to a file.
const TELL: &str = "#!/bin/sh\necho \"$MEDECLIPSE_HOOK $MEDECLIPSE_SERVICE $MEDECLIPSE_DEPLOYMENT $MEDECLIPSE_LABEL \
    revision $MEDECLIPSE_REVISION $MEDECLIPSE_TARGET in $(basename $PWD)\" >> told\n";

fn with_hooks() -> Env {
    let env = Env::clinic(&format!(
        "{UNWATCHED}\nhooks = {{ before_deploy = [\"./tell.sh\"], after_deploy = [\"./tell.sh\"] }}"
    ));
    env.write_program("tell.sh", TELL);
    env.up();
    env
}

#[test]
fn r24_deploy_redeploy_and_rollback_are_in_the_history_and_hooks_ran_with_their_environment() {
    let env = with_hooks();
    env.deploy_clinic("v1", &[], 0);
    env.deploy_clinic("v2", &[], 0);
    env.ok(&["rollback"]);

    assert_eq!(env.version(), "v1");
    let rows = env.history();
    let kinds: Vec<_> =
        rows.iter().map(|row| (row["kind"].as_str().unwrap(), row["label"].as_str().unwrap())).collect();
    assert_eq!(kinds, [("deploy", "v1"), ("deploy", "v2"), ("rollback", "v1")]);
    let text = env.ok(&["history"]).out;
    assert!(text.contains("rollback") && text.contains("(v2)") && text.contains("d-3"), "{text}");

    let folder = env.folder.path().file_name().unwrap().to_str().unwrap().to_owned();
    let told = env.read("told");
    let expected: Vec<String> = [("d-1", "v1", 1), ("d-2", "v2", 2), ("d-3", "v1", 1)]
        .iter()
        .flat_map(|(id, label, revision)| {
            ["before_deploy", "after_deploy"]
                .map(|hook| format!("{hook} web {id} {label} revision {revision} web@local in {folder}"))
        })
        .collect();
    // The rollback was one flip to a hot revision: it waited for no hook.
    let expected: Vec<_> =
        expected.iter().filter(|line| !line.starts_with("before_deploy web d-3")).collect();
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_failing_hook_before_the_deploy_stops_it_before_anything_is_launched() {
    let env = with_hooks();
    env.deploy_clinic("v1", &[], 0);
    env.write_program("tell.sh", "#!/bin/sh\necho \"freeze: no deploys on Fridays\"\nexit 4\n");

    let failed = env.deploy_clinic("v2", &[], 4);

    assert!(failed.err.contains("before_deploy failed: exit code 4"), "{}", failed.err);
    assert!(failed.err.contains("no deploys on Fridays"), "{}", failed.err);
    assert_eq!(env.version(), "v1");
    assert_eq!(env.kinds().iter().filter(|kind| *kind == "candidate_launched").count(), 1);
}

#[test]
fn a_hook_that_is_missing_is_a_clear_error() {
    let env = with_hooks();
    std::fs::remove_file(env.folder.path().join("tell.sh")).unwrap();

    let failed = env.deploy_clinic("v1", &[], 5);

    assert!(failed.err.contains("tell.sh"), "{}", failed.err);
}

#[test]
fn an_expand_migration_runs_once_for_a_release_and_a_failing_one_stops_it() {
    let env = Env::clinic(UNWATCHED);
    let runs = env.folder.path().join("runs");
    let expand =
        format!("expand = [\"/bin/sh\", \"-c\", \"echo $CLINIC_VERSION in $(ls) >> {}\"]", runs.display());
    env.edit("[service.web.rollout]", &format!("{expand}\n[service.web.rollout]"));

    env.up().deploy_clinic("v1", &[], 0);
    assert_eq!(env.read("runs"), "v1 in clinic\n");
    env.deploy_clinic("v2", &[], 0);
    env.ok(&["rollback"]);
    assert_eq!(env.read("runs"), "v1 in clinic\nv2 in clinic\n", "going back migrates nothing");

    env.edit(&expand, "expand = [\"/bin/sh\", \"-c\", \"echo column is locked; exit 7\"]");
    let failed = env.deploy_clinic("v3", &[], 4);
    assert!(failed.err.contains("expand failed: exit code 7"), "{}", failed.err);
    assert!(failed.err.contains("column is locked"), "{}", failed.err);
    assert_eq!(env.version(), "v1");
    assert!(env.replicas_of("v3").is_empty());
}

/// Serves v1, and asks these checks (name and command) of what comes after it.
fn with_checks(checks: &[(&str, &str)]) -> Env {
    let env = Env::clinic(UNWATCHED);
    env.up().deploy_clinic("v1", &[], 0);
    let sections: String = checks
        .iter()
        .map(|(name, command)| {
            format!(
                "[[service.web.rollout.checks]]\nname = {name:?}\ncommand = [{command:?}]\ndeadline = \"1s\"\n"
            )
        })
        .collect();
    env.edit("[environment.local]", &format!("{sections}[environment.local]"));
    env
}

#[test]
fn r09_of_several_checks_the_one_that_fails_is_named_and_keeps_traffic_on_stable() {
    let env = with_checks(&[("first", "./good.sh"), ("second", "./bad.sh"), ("third", "./good.sh")]);
    env.write_program("good.sh", "#!/bin/sh\nexit 0\n");
    env.write_program("bad.sh", "#!/bin/sh\necho \"the cart is empty\"\nexit 3\n");

    let failed = env.deploy_clinic("v2", &[], 4);

    assert!(failed.err.contains("second failed: exit code 3"), "{}", failed.err);
    assert!(failed.err.contains("the cart is empty"), "{}", failed.err);
    assert_eq!(env.version(), "v1");
    env.write_program("bad.sh", "#!/bin/sh\nexit 0\n");
    env.deploy_clinic("v2", &[], 0);
    let passed = env.kinds().iter().filter(|kind| *kind == "check_ran").count();
    assert!(passed >= 5, "all three ran for the release that was promoted: {:?}", env.kinds());
}

#[test]
fn r09_a_check_that_runs_past_its_deadline_is_ended_and_keeps_traffic_on_stable() {
    let env = with_checks(&[("slow", "./slow.sh")]);
    // The shell's child must end too.
    env.write_program("slow.sh", "#!/bin/sh\necho begun\nsleep 600\necho never\n");

    let failed = env.deploy_clinic("v2", &[], 4);

    assert!(failed.err.contains("slow failed: its deadline passed"), "{}", failed.err);
    assert!(failed.err.contains("begun") && !failed.err.contains("never"), "{}", failed.err);
    assert_eq!(env.version(), "v1");
    let sleeps = processes_of(env.folder.path()).into_iter().filter(|pid| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words.starts_with(b"sleep"))
    });
    assert_eq!(sleeps.count(), 0, "nothing of the check is left");
}

#[test]
fn r09_a_check_that_cannot_start_keeps_traffic_on_stable_and_says_which_program_is_missing() {
    let env = with_checks(&[("smoke", "./missing.sh")]);

    let failed = env.deploy_clinic("v2", &[], 4);

    assert!(failed.err.contains("smoke failed") && failed.err.contains("missing.sh"), "{}", failed.err);
    assert_eq!(env.version(), "v1");
    let shifts = env.kinds().iter().filter(|kind| *kind == "traffic_shifted").count();
    assert_eq!(shifts, 1, "the one shift is that of v1");
}
