//! Runs the real program against an engine that is not one: exit codes, what is said, and what is sent.

#[path = "support/fake_engine.rs"]
mod fake_engine;
#[path = "support/script.rs"]
mod script;

use engine::api::wire::{ApiError, DeployRequest, Status};
use fake_engine::{FakeEngine, Reply, Request, Then};
use rollout::event::Outcome;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const MANIFEST: &str =
    "[service.web]\ncommand = [\"sleep\", \"60\"]\n[environment.local]\nlisten = \"127.0.0.1:0\"\n";
const VERBS: [&str; 16] = [
    "up",
    "down",
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
    "logs",
    "doctor",
    "init",
    "completions",
];

/// A folder with a manifest and a state directory.
struct Place(TempDir);

#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("me-").tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join(".medeclipse/run")).unwrap();
        std::fs::write(folder.path().join("medeclipse.toml"), MANIFEST).unwrap();
        Self(folder)
    }

    fn manifest(&self, text: &str) -> &Self {
        std::fs::write(self.0.path().join("medeclipse.toml"), text).unwrap();
        self
    }

    fn engine(&self, answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> FakeEngine {
        FakeEngine::start(&self.socket(), answer)
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join(".medeclipse/run/engine.sock")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_medeclipse"));
        command.args(args).current_dir(self.0.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MEDECLIPSE_") {
                command.env_remove(name);
            }
        }
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        let output = self.command(args).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    fn start(&self, args: &[&str]) -> Guarded {
        Guarded(self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }
}

/// A command that does not outlive its test.
struct Guarded(Child);

impl Guarded {
    fn interrupt(&self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }

    fn end(mut self) -> Ran {
        let (mut out, mut err) = (String::new(), String::new());
        self.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        Ran { code: self.0.wait().unwrap().code().unwrap_or(-1), out, err }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn paths(engine: &FakeEngine) -> Vec<String> {
    engine.seen().into_iter().map(|request| request.path).collect()
}

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
        "cause: the candidate fails more requests than stable does\n",
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
