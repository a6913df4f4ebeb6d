//! Whether a rollback could start what it would go back to is known before it is needed.

use crate::harness::{Env, eventually, kill, processes_of, request};
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;

/// A service of two lines of shell, a release a word; `first` is what the program does before it listens.
fn with_two_releases(readiness: &str, first: &str) -> Env {
    let env = Env::new("");
    env.write_manifest(&format!(
        "[service.web]\nartifact = \"dist\"\ncommand = [\"./serve.sh\"]\n\
         health = {{ ready = \"/\", interval = \"200ms\", start = \"20s\" }}\n\
         [service.web.rollout]\nbake = \"0s\"\nkeep_hot = \"0s\"\ndrain = \"1s\"\nreadiness = {readiness}\n"
    ));
    let program = |word: &str, first: &str| {
        env.write_program(
            "dist/serve.sh",
            &format!("#!/bin/sh\n# {word}\n{first}\nexec python3 -m http.server $PORT --bind $HOST\n"),
        );
    };
    program("one", first);
    env.up().deploy(&["--version", "v1"], 0);
    program("two", "");
    env.deploy(&["--version", "v2"], 0);
    env
}

/// Waits until the rollback is as said and the reason has this in it.
fn rollback_is(env: &Env, ready: bool, word: &str) -> Value {
    eventually(&format!("the rollback is {ready}, {word}"), 30, || {
        let service = env.service();
        let reason = service["rollback_reason"].as_str()?.to_owned();
        Some(service).filter(|service| service["rollback_ready"] == ready && reason.contains(word))
    })
}

/// Returns the stored program of the first release.
fn stored(env: &Env, word: &str) -> PathBuf {
    let stored = std::fs::read_dir(env.state().join("artifacts")).unwrap().flatten();
    let mut programs = stored.map(|artifact| artifact.path().join("serve.sh"));
    let is_it = |path: &PathBuf| std::fs::read_to_string(path).is_ok_and(|text| text.contains(word));
    programs.find(is_it).expect("the release is stored")
}

fn spares(env: &Env) -> Vec<u32> {
    let is_spare = |pid: &u32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environ).contains("MEDECLIPSE_ENVIRONMENT=local.spare\0")
    };
    processes_of(env.state().parent().unwrap()).into_iter().filter(is_spare).collect()
}

fn refused(env: &Env, word: &str) {
    let refused = env.run(&["rollback"]);
    assert_eq!(refused.code, 3, "{}{}", refused.out, refused.err);
    assert!(refused.err.contains(word) && refused.err.contains("next:"), "{}", refused.err);
    // Refused, not tried.
    assert_eq!(env.outcomes().len(), 2, "{:?}", env.outcomes());
}

#[test]
fn o16_a_deleted_artefact_turns_the_rollback_red_and_it_is_refused() {
    let env = with_two_releases("{ every = \"1s\", spare = \"off\" }", "");
    let green = rollback_is(&env, true, "stored unchanged");
    assert!(green["rollback_checked_at"].is_u64(), "{green}");

    std::fs::remove_dir_all(stored(&env, "# one").parent().unwrap()).unwrap();

    rollback_is(&env, false, "no artefact of this digest is stored");
    refused(&env, "no artefact of this digest is stored");
    let text = env.ok(&["status"]).out;
    assert!(text.contains("rollback not possible") && text.contains("checked"), "{text}");
    let api = env.status()["api"].as_str().unwrap().replace("http://", "");
    let metrics = request(api.parse().unwrap(), "GET", "/metrics", &[], "").unwrap().body;
    assert!(metrics.contains("medeclipse_rollback_ready{target=\"web@local\"} 0"), "{metrics}");
}

#[test]
fn o16_one_changed_byte_turns_the_rollback_red_and_the_byte_put_back_turns_it_green() {
    let env = with_two_releases("{ every = \"1s\", spare = \"off\" }", "");
    rollback_is(&env, true, "stored unchanged");
    let program = stored(&env, "# one");
    let text = std::fs::read_to_string(&program).unwrap();
    let write = |text: &str| {
        // As a bad disk or a careless hand would: in place, the length unchanged.
        let mut file = std::fs::OpenOptions::new().write(true).open(&program).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };

    write(&text.replace("# one", "# onf"));
    rollback_is(&env, false, "no longer what was stored");
    refused(&env, "no longer what was stored");

    write(&text);
    rollback_is(&env, true, "stored unchanged");
    env.ok(&["rollback"]);
    assert_eq!(env.service()["stable"]["label"], "v1");
}

#[test]
fn o16_a_changed_artefact_of_stable_is_told_when_something_is_deployed() {
    let env = with_two_releases("{ every = \"1s\", spare = \"off\" }", "");
    rollback_is(&env, true, "stored unchanged");
    let program = stored(&env, "# two");
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    eventually("the alarm", 10, || env.service()["alarms"][0].as_str().map(str::to_owned));
    env.write_program(
        "dist/serve.sh",
        "#!/bin/sh\n# three\nexec python3 -m http.server $PORT --bind $HOST\n",
    );

    let deployed = env.deploy(&["--version", "v3"], 0);

    assert!(deployed.err.contains("warning:") && deployed.err.contains("(v2)"), "{}", deployed.err);
}

#[test]
fn o16_a_release_that_starts_in_a_spare_slot_is_green_and_leaves_nothing() {
    let env = with_two_releases("{ every = \"1s\", spare = \"1h\" }", "");

    rollback_is(&env, true, "ready in a spare slot after");

    eventually("the spare is gone", 10, || Some(()).filter(|()| spares(&env).is_empty()));
    assert_eq!(env.service()["stable"]["replicas"]["ready"], 1);
    assert!(!env.kinds().iter().any(|kind| kind == "replica_lost"), "{:?}", env.kinds());
}

#[test]
fn o16_a_release_that_starts_no_more_is_found_in_a_spare_slot_before_it_is_needed() {
    let marker = std::env::temp_dir().join(format!("medeclipse-broken-{}", std::process::id()));
    let first = format!("[ ! -e {} ] || exit 3", marker.display());
    std::fs::remove_file(&marker).ok();
    let env = with_two_releases("{ every = \"3s\", spare = \"10s\" }", &first);
    // What the old release needs is gone: a column, a file, a key.
    std::fs::write(&marker, "").unwrap();

    let red = rollback_is(&env, false, "did not become ready in a spare slot");
    assert!(red["rollback_reason"].as_str().unwrap().contains("exit code 3"), "{red}");
    refused(&env, "exit code 3");

    // It is tried again, and what it needs is back.
    std::fs::remove_file(&marker).unwrap();
    rollback_is(&env, true, "ready in a spare slot after");
}

#[test]
fn o16_a_spare_of_an_engine_that_was_killed_is_removed_by_the_next() {
    let env = with_two_releases(
        "{ every = \"1s\", spare = \"1h\" }",
        "[ $MEDECLIPSE_ENVIRONMENT = local ] || sleep 600",
    );
    let left = eventually("a spare starts", 20, || spares(&env).first().copied());

    kill(env.pid("engine"), "KILL");

    eventually("the spare that was left is gone", 20, || {
        Some(()).filter(|()| !std::path::Path::new(&format!("/proc/{left}")).exists())
    });
    assert_eq!(env.get("/").status, 200);
}
