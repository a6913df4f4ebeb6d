//! Asks the real program why a deployment ended as it did, and lets it judge again what it saved.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "support/fake_engine.rs"]
mod fake_engine;
#[path = "support/place.rs"]
mod place;
#[path = "support/story.rs"]
mod story;

use engine::api::wire::{ApiError, DeploymentView};
use fake_engine::{FakeEngine, Reply, Request};
use place::{Place, Ran, paths};
use rollout::bundle::Bundle;
use rollout::event::{Event, Outcome};
use rollout::names::{DeploymentId, Label, Millis, Release, Revision, Target};
use std::path::Path;
use story::Story;

fn rolled_back() -> Bundle {
    let mut story = Story::begin();
    story.deploy(2, "v2");
    story.watch(40, 0);
    story.until_worse(2);
    story.bundle("d-2")
}

fn promoted() -> Bundle {
    let mut story = Story::begin();
    story.deploy(2, "v2");
    story.watch(5, 0);
    story.say(Event::StepPromoted { now: true });
    let (revision, weight) = (Revision(2), rollout::names::Weight::FULL);
    story.say(Event::TrafficShifted {
        revision,
        weight,
        generation: rollout::names::Generation { epoch: 1, seq: 99 },
    });
    story.watch(5, 0);
    story.finish(2, Outcome::Promoted);
    story.bundle("d-2")
}

/// Starts an engine that knows one deployment of one service.
fn knowing(place: &Place, bundle: &Bundle) -> FakeEngine {
    let text = serde_json::to_string(bundle).unwrap();
    place.engine(move |request: &Request| match request.path.split('?').next().unwrap_or_default() {
        "/v1/deployments/web@local/d-2/evidence" => Reply::Json(200, text.clone()),
        "/v1/deployments" => Reply::ok(&vec![row()]),
        _ => Reply::Json(
            400,
            serde_json::to_string(&ApiError {
                error: "find deployment d-9 of web@local".to_owned(),
                cause: Some("there is none of this name".to_owned()),
                next: Some("see `medeclipse history`".to_owned()),
                exit: 2,
            })
            .unwrap(),
        ),
    })
}

fn row() -> DeploymentView {
    DeploymentView {
        target: Target::new("web", "local"),
        deployment: DeploymentId::new("d-2"),
        kind: "deploy".to_owned(),
        release: Release::new("abcdef0123456789"),
        label: Some(Label::new("v2")),
        revision: Revision(2),
        actor: "uid:1000".to_owned(),
        requested_at: Millis(0),
        finished_at: None,
        outcome: None,
        reason: None,
        first_seq: 1,
        last_seq: 2,
    }
}

fn explain(place: &Place, args: &[&str]) -> Ran {
    let all: Vec<&str> =
        ["explain"].into_iter().chain(args.iter().copied()).chain(["--service", "web"]).collect();
    let output = place.command(&all).env("LC_ALL", "C.UTF-8").env("COLUMNS", "80").output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// Compares with what was read and found right by a person; GOLDEN=write writes it anew.
fn is_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("GOLDEN").is_some_and(|word| word == "write") {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == golden, "{name} is now:\n{text}");
}

#[test]
fn o17_a_release_that_was_taken_back_is_explained_with_its_route_its_numbers_and_a_chart() {
    let place = Place::new();
    let engine = knowing(&place, &rolled_back());

    let ran = explain(&place, &["d-2"]);

    assert_eq!(ran.code, 0, "{}", ran.err);
    is_golden("explain_rolled_back.txt", &ran.out);
    assert_eq!(paths(&engine), ["/v1/deployments/web@local/d-2/evidence"]);
}

#[test]
fn the_example_of_the_documentation_is_what_the_program_says() {
    let place = Place::new();
    let file = saved(&place, &rolled_back());
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md");
    let docs = std::fs::read_to_string(docs).unwrap();

    let _engine = knowing(&place, &rolled_back());
    let explained = explain(&place, &["d-2"]).out;
    let (example, _) = explained.split_once("\nKnown before").unwrap();
    let replayed = place.run(&["replay", file]).out;

    for said in [example, &replayed] {
        assert!(docs.contains(said.trim_end()), "docs/operations.md does not say:\n{said}");
    }
}

#[test]
fn without_a_name_the_last_deployment_is_explained() {
    let place = Place::new();
    let engine = knowing(&place, &promoted());

    let ran = explain(&place, &[]);

    assert_eq!(ran.code, 0, "{}", ran.err);
    is_golden("explain_promoted.txt", &ran.out);
    assert_eq!(paths(&engine)[0], "/v1/deployments?target=web@local&limit=1");
}

#[test]
fn a_terminal_without_unicode_gets_ascii() {
    let place = Place::new();
    let _engine = knowing(&place, &rolled_back());

    let ran = explain(&place, &["d-2", "--ascii"]);

    assert!(ran.out.is_ascii(), "{}", ran.out);
    assert!(ran.out.contains('|') && ran.out.contains('*'), "{}", ran.out);
}

#[test]
fn programs_get_the_evidence_the_points_and_the_timeline() {
    let place = Place::new();
    let _engine = knowing(&place, &rolled_back());

    let told: serde_json::Value = serde_json::from_str(&explain(&place, &["d-2", "--json"]).out).unwrap();

    assert_eq!(told["outcome"], "rolled_back");
    assert_eq!(told["evidence"]["metric"], format!("errors of {}", story::ROUTE));
    assert_eq!(told["replay"]["identical"], true);
    assert!(told["points"].as_array().unwrap().len() > 40, "{told}");
    assert!(told["points"][0]["log_m"].is_number(), "{told}");
    assert!(told["timeline"].as_array().unwrap().len() > 8, "{told}");
}

#[test]
fn an_unknown_deployment_is_told_as_the_engine_tells_it() {
    let place = Place::new();
    let _engine = knowing(&place, &rolled_back());

    let ran = explain(&place, &["d-9"]);

    assert_eq!(ran.code, 2);
    assert!(ran.err.starts_with("error: cannot find deployment d-9 of web@local\ncause: "), "{}", ran.err);
}

/// Saves through `explain`; returns the file's name.
fn saved(place: &Place, bundle: &Bundle) -> &'static str {
    let _engine = knowing(place, bundle);
    let ran = explain(place, &["d-2", "--save", "d-2.json"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, "saved to d-2.json\n"));
    "d-2.json"
}

#[test]
fn o17_what_was_saved_is_judged_again_the_same_and_without_an_engine() {
    for bundle in [rolled_back(), promoted()] {
        let place = Place::new();
        let file = saved(&place, &bundle);

        let ran = place.run(&["replay", file]);

        assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
        assert!(ran.out.starts_with("d-2 of web@local: "), "{}", ran.out);
        assert!(ran.out.contains("the same to the last bit"), "{}", ran.out);
        let json: serde_json::Value =
            serde_json::from_str(&place.run(&["replay", file, "--json"]).out).unwrap();
        assert_eq!(json["identical"], true, "{json}");
    }
}

#[test]
fn o17_one_changed_count_ends_with_one_and_says_where() {
    let place = Place::new();
    let file = place.0.path().join(saved(&place, &rolled_back()));
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("\"candidate_errors\":4", "\"candidate_errors\":5", 1)).unwrap();

    let ran = place.run(&["replay", "d-2.json"]);

    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.out.contains("verdict_reached: DIFFERS\n"), "{}", ran.out);
    assert!(ran.out.contains("log_m: recorded "), "{}", ran.out);
}

#[test]
fn no_bundle_a_cut_one_and_one_of_another_format_end_with_two() {
    let place = Place::new();
    let file = place.0.path().join(saved(&place, &rolled_back()));
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(place.0.path().join("newer.json"), text.replacen("\"format\":1", "\"format\":2", 1))
        .unwrap();
    std::fs::write(place.0.path().join("cut.json"), &text[..text.len() / 2]).unwrap();
    std::fs::write(place.0.path().join("no.json"), "[1]").unwrap();

    for (name, says) in [
        ("newer.json", "it has format 2"),
        ("cut.json", "EOF"),
        ("no.json", "cause: "),
        ("gone.json", "cannot read the bundle gone.json"),
    ] {
        let ran = place.run(&["replay", name]);

        assert_eq!(ran.code, 2, "{name}: {}", ran.err);
        assert!(ran.err.contains(says), "{name}: {}", ran.err);
        assert!(ran.err.contains(" next: "), "{name}: {}", ran.err);
    }
}

#[test]
fn o17_what_is_saved_holds_no_value_of_the_environment() {
    let place = Place::new();
    let file = place.0.path().join(saved(&place, &rolled_back()));

    let text = std::fs::read_to_string(&file).unwrap();

    assert!(text.contains("DATABASE_URL") && !text.contains("hunter2"));
}
