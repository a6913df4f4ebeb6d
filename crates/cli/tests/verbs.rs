//! Runs the real program: what it says about itself, what it refuses, and what each verb asks an engine for.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "support/fake_engine.rs"]
mod fake_engine;
#[path = "support/place.rs"]
mod place;
#[path = "support/script.rs"]
mod script;

use engine::api::wire::Status;
use fake_engine::Request;
use place::{MANIFEST, Place, paths};
use rollout::event::Outcome;

const VERBS: [&str; 23] = [
    "up",
    "down",
    "upgrade",
    "plan",
    "deploy",
    "status",
    "rollback",
    "promote",
    "abort",
    "pause",
    "resume",
    "maintenance",
    "scale",
    "history",
    "explain",
    "replay",
    "logs",
    "simulate",
    "infra",
    "lint",
    "doctor",
    "init",
    "completions",
];

#[test]
fn every_verb_has_help_of_one_screen_with_an_example() {
    let place = Place::new();
    for verb in VERBS {
        let ran = place.run(&[verb, "-h"]);

        assert_eq!(ran.code, 0, "{verb}: {}", ran.err);
        let lines = ran.out.lines().count();
        assert!(lines <= 40, "the help of {verb} has {lines} lines:\n{}", ran.out);
        assert!(ran.out.contains("Example: medeclipse "), "{verb} has no example:\n{}", ran.out);
    }
}

#[test]
fn the_first_help_names_every_verb_the_way_back_and_the_exit_codes() {
    let place = Place::new();
    let ran = place.run(&["--help"]);

    for verb in VERBS {
        assert!(ran.out.contains(&format!("\n  {verb} ")), "{verb} is missing:\n{}", ran.out);
    }
    assert!(ran.out.contains("medeclipse rollback    back to the last proven release"));
    assert!(ran.out.contains("4  rolled back, stable proven healthy"));
    assert!(!ran.out.contains("internal"));
}

#[test]
fn bad_arguments_end_with_two() {
    let place = Place::new();
    for args in [
        &["deplyo"][..],
        &["deploy", "--timeout", "30"],
        &["deploy", "--follow", "--detach"],
        &["scale", "web"],
        &["scale", "web", "3", "--auto"],
        &["maintenance", "maybe"],
        &["deploy", "--strategy", "hope"],
        &["deploy", "--env-var", "NOEQUALS"],
        &["deploy", "unknown"],
        &[],
    ] {
        assert_eq!(place.run(args).code, 2, "{args:?}");
    }
}

#[test]
fn bad_arguments_are_told_to_programs_in_json() {
    let place = Place::new();
    let ran = place.run(&["deploy", "--timeout", "30", "--json"]);

    let told: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(told["exit"], 2);
    assert!(told["cause"].as_str().unwrap().contains("30s"), "{told}");
}

#[test]
fn a_missing_manifest_ends_with_two_and_the_way_to_one() {
    let place = Place::new();
    std::fs::remove_file(place.0.path().join("medeclipse.toml")).unwrap();
    for verb in ["up", "deploy"] {
        let ran = place.run(&[verb]);

        assert_eq!(ran.code, 2);
        assert!(
            ran.err.starts_with("error: cannot read the manifest ./medeclipse.toml\ncause: "),
            "{}",
            ran.err
        );
        assert!(ran.err.contains(" next: write one with `medeclipse init`"), "{}", ran.err);
    }
}

#[test]
fn every_mistake_of_a_manifest_is_shown_at_once() {
    let place = Place::new();
    place.manifest("[service.web]\ncomand = [\"x\"]\nreplicas = { min = 0, max = 1 }\n");

    let text = place.run(&["deploy"]);
    let json: serde_json::Value = serde_json::from_str(&place.run(&["deploy", "--json"]).out).unwrap();

    assert_eq!(text.code, 2);
    assert!(text.err.contains("comand") && text.err.contains("min"), "{}", text.err);
    assert!(text.err.contains("medeclipse.toml:2:1"), "{}", text.err);
    assert!(json["errors"].as_array().unwrap().len() >= 2, "{json}");
}

#[test]
fn without_an_engine_verbs_end_with_seven_and_say_how_to_start_one() {
    let place = Place::new();
    for args in [
        &["status"][..],
        &["status", "--watch"],
        &["deploy"],
        &["rollback"],
        &["promote", "web"],
        &["abort"],
        &["pause"],
        &["resume"],
        &["maintenance", "on"],
        &["scale", "web", "2"],
        &["history"],
        &["explain"],
        &["explain", "d-7", "--service", "web"],
        &["logs"],
    ] {
        let ran = place.run(args);

        assert_eq!(ran.code, 7, "{args:?}: {}", ran.err);
        assert!(ran.err.contains("error: cannot reach the engine at "), "{}", ran.err);
        assert!(ran.err.contains(" next: is `medeclipse up` running?"), "{}", ran.err);
    }
}

#[test]
fn an_engine_that_stays_silent_ends_with_seven_within_the_timeout() {
    let place = Place::new();
    let _listener = std::os::unix::net::UnixListener::bind(place.socket()).unwrap();

    let ran = place.run(&["status", "--timeout", "100ms"]);

    assert_eq!(ran.code, 7);
    assert!(ran.err.contains("within 100ms"), "{}", ran.err);
}

#[test]
fn an_abort_that_succeeds_ends_with_zero() {
    let place = Place::new();
    let events = vec![script::event(40, "d-7", script::finished(Outcome::Aborted, None))];
    let _engine = place.engine(script::with_events(events));

    for args in [&["abort"][..], &["rollback"]] {
        let ran = place.run(args);

        assert_eq!(ran.code, 0, "{args:?}: {}", ran.err);
        assert!(ran.out.contains("web: d-7 aborted; stable gets every request"), "{}", ran.out);
    }
}

#[test]
fn an_abort_that_comes_too_late_is_refused_with_the_way_back() {
    let place = Place::new();
    let _engine = place.engine(script::with_events(script::promoted()));

    let ran = place.run(&["abort"]);

    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("`medeclipse rollback web`"), "{}", ran.err);
}

#[test]
fn commands_say_what_they_ask_for() {
    for (args, sent) in [
        (&["promote"][..], r#"{"service":"web","command":"promote","now":false}"#),
        (&["promote", "web", "--now"], r#"{"service":"web","command":"promote","now":true}"#),
        (&["pause"], r#"{"service":"web","command":"pause"}"#),
        (&["resume"], r#"{"service":"web","command":"resume"}"#),
        (&["abort", "--detach"], r#"{"service":"web","command":"abort"}"#),
        (&["rollback", "--to", "v1", "--detach"], r#"{"service":"web","command":"rollback","to":"v1"}"#),
        (
            &["maintenance", "on", "--hold", "5s"],
            r#"{"service":"web","command":"maintenance_on","hold":5000}"#,
        ),
        (&["maintenance", "off"], r#"{"service":"web","command":"maintenance_off"}"#),
        (&["scale", "web", "3"], r#"{"service":"web","command":"scale","replicas":3}"#),
        (&["scale", "web", "--auto"], r#"{"service":"web","command":"scale","replicas":null}"#),
    ] {
        let place = Place::new();
        let engine = place.engine(script::usual);

        let ran = place.run(args);

        assert_eq!(ran.code, 0, "{args:?}: {}", ran.err);
        let posts: Vec<Request> =
            engine.seen().into_iter().filter(|request| request.method == "POST").collect();
        assert_eq!(posts.len(), 1);
        assert_eq!((posts[0].path.as_str(), posts[0].body.as_str()), ("/v1/command", sent));
    }
}

#[test]
fn status_json_is_the_wires_own() {
    let place = Place::new();
    let _engine = place.engine(script::usual);

    let ran = place.run(&["status", "--json"]);

    let status: Status = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(serde_json::to_value(&status).unwrap(), serde_json::to_value(script::status()).unwrap());
}

#[test]
fn logs_name_the_replica_on_every_line() {
    let place = Place::new();
    let engine = place.engine(script::usual);

    let ran = place.run(&["logs", "web", "--revision", "3", "--lines", "5"]);

    assert_eq!(ran.out, "web-3-1 | listening\nweb-3-1 | panicked at appointments.rs\n");
    assert_eq!(paths(&engine), ["/v1/logs?target=web@local&revision=3&lines=5"]);
}

#[test]
fn init_writes_a_manifest_that_is_read_and_writes_over_none() {
    let place = Place::new();
    std::fs::remove_file(place.0.path().join("medeclipse.toml")).unwrap();

    let first = place.run(&["init"]);
    let second = place.run(&["init"]);
    let forced = place.run(&["init", "--force"]);

    assert_eq!((first.code, second.code, forced.code), (0, 3, 0), "{}", first.err);
    assert!(second.err.contains("medeclipse init --force"), "{}", second.err);
    let checked: serde_json::Value = serde_json::from_str(&place.run(&["doctor", "--json"]).out).unwrap();
    let manifest =
        checked.as_array().unwrap().iter().find(|check| check["check"] == "manifest").unwrap().clone();
    assert_eq!(manifest["result"], "fine", "{manifest}");
}

#[test]
fn doctor_finds_a_program_that_is_missing_and_ends_with_one() {
    let place = Place::new();
    place.manifest("[service.web]\ncommand = [\"no-such-program-here\"]\n[environment.local]\nlisten = \"127.0.0.1:0\"\n");

    let ran = place.run(&["doctor"]);

    assert_eq!(ran.code, 1);
    assert!(
        ran.out.contains("FINDING program: no-such-program-here of web is not on this machine"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("next: install it"), "{}", ran.out);
}

#[test]
fn completions_are_written_for_shells() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let ran = place.run(&["completions", shell]);

        assert_eq!(ran.code, 0);
        assert!(ran.out.contains("rollback"), "{shell}");
    }
}

#[test]
fn down_says_so_when_nothing_runs() {
    let place = Place::new();
    let ran = place.run(&["down"]);

    assert_eq!((ran.code, ran.out.as_str()), (0, "nothing runs here\n"));
}

#[test]
fn up_refuses_a_taken_port_by_address_and_owner() {
    let place = Place::new();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    place.manifest(&MANIFEST.replace("127.0.0.1:0", &address.to_string()));

    for args in [&["up"][..], &["up", "--detach"]] {
        let ran = place.run(args);

        assert_eq!(ran.code, 3, "{}", ran.err);
        assert!(ran.err.contains(&format!("error: cannot listen on {address}\n")), "{}", ran.err);
        assert!(ran.err.contains(&format!("by process {} (", std::process::id())), "{}", ran.err);
        assert!(ran.err.contains("ss -ltnp"), "{}", ran.err);
    }
}

#[test]
fn up_refuses_a_state_directory_it_cannot_write() {
    let place = Place::new();
    std::fs::write(place.0.path().join("file"), "").unwrap();

    let ran = place.run(&["up", "--state", "file/state"]);

    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("error: cannot write to the state directory "), "{}", ran.err);
}
