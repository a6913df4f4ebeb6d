//! Runs `deploy` against an engine that is not one: what is sent, what is said, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "support/fake_engine.rs"]
mod fake_engine;
#[path = "support/place.rs"]
mod place;
#[path = "support/script.rs"]
mod script;

use engine::api::wire::{ApiError, DeployRequest};
use fake_engine::{Reply, Then};
use place::{MANIFEST, Place, paths};
use rollout::event::Outcome;
use std::io::{BufRead, BufReader, Read};

#[test]
fn r24_a_promoted_deploy_ends_with_zero_one_line_an_event() {
    let place = Place::new();
    let _engine = place.engine(script::with_events(script::promoted()));

    let ran = place.run(&["deploy"]);

    assert_eq!(ran.code, 0, "{}", ran.err);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 5, "{}", ran.out);
    assert_eq!(lines[0], "10:00:40 web d-7: deploy release abcdef012345 (v3) as revision 3");
    assert!(lines[4].starts_with("web: promoted abcdef012345 (v3) in "), "{}", lines[4]);
    assert!(lines[4].ends_with("revision 3 answers, proven by replica web-3-1"), "{}", lines[4]);
}

#[test]
fn json_output_is_the_events_themselves_one_a_line() {
    let place = Place::new();
    let events = script::promoted();
    let _engine = place.engine(script::with_events(events.clone()));

    let ran = place.run(&["deploy", "--json"]);

    assert_eq!(ran.code, 0);
    let ours = events.into_iter().map(|(_, data)| data).filter(|data| data.contains("d-7"));
    assert_eq!(ran.out.lines().collect::<Vec<_>>(), ours.collect::<Vec<_>>());
}

#[test]
fn quiet_says_nothing_about_a_deploy_that_went_well() {
    let place = Place::new();
    let _engine = place.engine(script::with_events(script::promoted()));

    let ran = place.run(&["deploy", "--quiet"]);

    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
}

#[test]
fn r23_a_deploy_taken_back_ends_with_four_its_evidence_and_the_candidates_last_lines() {
    let place = Place::new();
    let _engine = place.engine(script::with_events(script::rolled_back()));

    let ran = place.run(&["deploy"]);

    assert_eq!(ran.code, 4);
    for part in [
        "last lines of web-3-1 (/tmp/none.log):\n  listening\n  panicked at appointments.rs\n",
        "error: cannot promote abcdef012345 (v3) of web: rolled back after ",
        "cause: the candidate serves worse than stable does\n",
        "31 of 812 requests failed in 10 s, stable 0 of 3120",
        " next: `medeclipse logs web --revision 3`; repair it and deploy again; stable serves meanwhile",
    ] {
        assert!(ran.err.contains(part), "`{part}` is missing:\n{}", ran.err);
    }
}

#[test]
fn each_outcome_ends_with_its_exit_code() {
    for outcome in Outcome::ALL {
        let place = Place::new();
        let events = vec![script::event(40, "d-7", script::finished(outcome, Some("because")))];
        let _engine = place.engine(script::with_events(events));

        assert_eq!(place.run(&["deploy"]).code, i32::from(outcome.exit_code()), "{outcome}");
    }
}

#[test]
fn a_release_that_serves_already_is_said_so() {
    let place = Place::new();
    let _engine = place.engine(|request| match request.path.as_str() {
        "/v1/deploy" => Reply::ok(&script::accepted(Some(Outcome::Unchanged))),
        _ => script::usual(request),
    });

    let ran = place.run(&["deploy"]);

    assert_eq!((ran.code, ran.out.as_str()), (0, "web: d-7 unchanged\n"));
}

#[test]
fn ctrl_c_detaches_with_eight_and_says_how_to_come_back() {
    let place = Place::new();
    let engine = place.engine(script::with_events(script::promoted()[..2].to_vec()));
    let mut running = place.start(&["deploy"]);
    let mut first = String::new();
    let mut out = BufReader::new(running.0.stdout.take().unwrap());
    out.read_line(&mut first).unwrap();

    running.interrupt();
    running.0.stdout = Some(out.into_inner());
    let ran = running.end();

    assert_eq!(ran.code, 8, "{}", ran.err);
    assert!(ran.err.contains("stopped following: d-7 of web goes on"), "{}", ran.err);
    assert!(ran.err.contains("medeclipse status --watch"), "{}", ran.err);
    assert!(!paths(&engine).contains(&"/v1/command".to_owned()), "leaving must not command anything");
}

#[test]
fn a_timeout_ends_following_with_eight() {
    let place = Place::new();
    let _engine = place.engine(script::usual);

    let text = place.run(&["deploy", "--timeout", "200ms"]);
    let json = place.run(&["deploy", "--timeout", "200ms", "--json"]);

    assert_eq!((text.code, json.code), (8, 8));
    assert!(text.err.contains("--timeout passed: d-7 of web goes on"), "{}", text.err);
    let told: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(told["exit"], 8);
}

#[test]
fn detach_returns_when_the_engine_has_taken_it() {
    let place = Place::new();
    let engine = place.engine(script::usual);

    let ran = place.run(&["deploy", "--detach"]);

    assert_eq!(ran.code, 0);
    assert_eq!(ran.out, "web: d-7 accepted; follow it with `medeclipse deploy web`\n");
    assert_eq!(paths(&engine), ["/v1/deploy"]);
}

#[test]
fn a_refusal_is_shown_in_three_parts_with_its_own_exit_code() {
    let place = Place::new();
    let refusal = ApiError {
        error: "deploy web".into(),
        cause: Some("d-6 of another release runs".into()),
        next: Some("wait, or --supersede".into()),
        exit: 3,
    };
    let _engine = place.engine(move |_| Reply::Json(409, serde_json::to_string(&refusal).unwrap()));

    let text = place.run(&["deploy"]);
    let json = place.run(&["deploy", "--json"]);

    assert_eq!((text.code, json.code), (3, 3));
    assert_eq!(
        text.err,
        "error: cannot deploy web\ncause: d-6 of another release runs\n next: wait, or --supersede\n"
    );
    assert_eq!(
        json.out,
        "{\"error\":\"deploy web\",\"cause\":\"d-6 of another release runs\",\"next\":\"wait, or --supersede\",\"exit\":3}\n"
    );
}

#[test]
fn what_is_sent_has_absolute_paths_and_the_command_lines_changes() {
    let place = Place::new();
    std::fs::write(place.0.path().join("app"), "x").unwrap();
    let engine = place.engine(script::usual);

    let ran = place.run(&[
        "deploy",
        "web",
        "--detach",
        "--artifact",
        "./app",
        "--version",
        "v9",
        "--env-var",
        "A=b=c",
        "--supersede",
    ]);

    assert_eq!(ran.code, 0, "{}", ran.err);
    let sent: DeployRequest = serde_json::from_str(&engine.seen()[0].body).unwrap();
    let folder = place.0.path().canonicalize().unwrap();
    assert_eq!(sent.service.artifact.unwrap().canonicalize().unwrap(), folder.join("app"));
    assert!(sent.folder.is_absolute());
    assert_eq!(sent.service.env["A"], "b=c");
    assert_eq!(sent.label.unwrap().as_str(), "v9");
    assert!(sent.supersede);
    assert_eq!(sent.key.len(), 32);
}

#[test]
fn an_answer_that_got_lost_is_asked_for_again_with_the_same_key() {
    let place = Place::new();
    let lost = std::sync::atomic::AtomicBool::new(false);
    let engine = place.engine(move |request| {
        let first = request.path == "/v1/deploy" && !lost.swap(true, std::sync::atomic::Ordering::SeqCst);
        if first { Reply::Hangup } else { script::usual(request) }
    });

    let ran = place.run(&["deploy", "--detach"]);

    assert_eq!(ran.code, 0, "{}", ran.err);
    let keys: Vec<String> = engine
        .seen()
        .iter()
        .map(|request| serde_json::from_str::<DeployRequest>(&request.body).unwrap().key)
        .collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn an_unreadable_artefact_is_refused_before_anything_is_asked_for() {
    let place = Place::new();
    std::fs::create_dir(place.0.path().join("empty")).unwrap();
    let engine = place.engine(script::usual);

    let missing = place.run(&["deploy", "--artifact", "nowhere"]);
    let empty = place.run(&["deploy", "--artifact", "empty"]);

    assert_eq!((missing.code, empty.code), (2, 2));
    assert!(missing.err.contains("error: cannot deploy web: read its artefact "), "{}", missing.err);
    assert!(empty.err.contains("cause: the folder is empty"), "{}", empty.err);
    assert!(engine.seen().is_empty());
}

#[test]
fn a_dry_run_changes_nothing() {
    let place = Place::new();
    let engine = place.engine(script::usual);

    let ran = place.run(&["deploy", "--dry-run"]);

    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.out.contains("web: would be deployed") && ran.out.contains("command   sleep 60"),
        "{}",
        ran.out
    );
    assert!(engine.seen().iter().all(|request| request.method == "GET"));
}

#[test]
fn without_a_service_deploy_stops_at_the_first_that_is_not_promoted() {
    let place = Place::new();
    place.manifest(&format!(
        "{MANIFEST}[service.api]\ncommand = [\"sleep\", \"60\"]\nhosts = [\"api.example\"]\n"
    ));
    let engine = place.engine(script::with_events(script::rolled_back()));

    let ran = place.run(&["deploy"]);

    assert_eq!(ran.code, 4, "{}", ran.err);
    assert_eq!(paths(&engine).iter().filter(|path| *path == "/v1/deploy").count(), 1);
    assert!(ran.err.contains("stopped after web: 1 service(s) were not deployed"), "{}", ran.err);
}

#[test]
fn a_reader_that_goes_away_does_not_end_a_command_with_a_panic() {
    let place = Place::new();
    let _engine = place.engine(script::with_events(script::promoted()));
    let mut running = place.start(&["deploy"]);

    drop(running.0.stdout.take());
    let mut err = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();

    assert!(running.0.wait().unwrap().code().is_some());
    assert!(!err.contains("panicked"), "{err}");
}

#[test]
fn an_engine_that_restarts_while_followed_is_followed_on() {
    let place = Place::new();
    let first = place.engine(script::with_events(script::promoted()[..2].to_vec()));
    let running = place.start(&["deploy"]);
    first.await_request("/v1/events");

    drop(first);
    let _second = place.engine(move |request| match request.path.starts_with("/v1/events") {
        true => Reply::Events(script::promoted()[2..].to_vec(), Then::Stay),
        false => script::usual(request),
    });
    let ran = running.end();

    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("web: promoted"), "{}", ran.out);
}
