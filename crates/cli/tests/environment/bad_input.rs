//! Makes the mistakes people make: each is told with what, why and what next, with its exit code, and what serves
//! goes on serving.

use crate::harness::{Env, request};
use crate::{LONG, QUICK, says};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

/// Returns an environment that serves v1 of the clinic.
fn serving() -> Env {
    let env = Env::clinic(QUICK);
    env.up().deploy_clinic("v1", &[], 0);
    env
}

/// Checks that v1 still serves and that nothing else is there.
#[track_caller]
fn untouched(env: &Env) {
    assert_eq!(env.version(), "v1");
    let service = env.service();
    assert_eq!(service["phase"], "idle", "{service}");
    assert_eq!(service["stable"]["revision"], 1, "{service}");
    assert!(service["candidate"].is_null() && service["deployment"].is_null(), "{service}");
}

#[test]
fn r12_every_mistake_of_a_manifest_is_told_at_once_and_nothing_is_touched() {
    let env = serving();
    let text = std::fs::read_to_string(env.manifest()).unwrap();
    let wrong = text
        .replace("bake = \"0s\"", "bake = 5\nbakee = \"1s\"\nshield = \"everything\"")
        .replace("keep_hot = \"0s\"", "keep_hot = \"5 minutes\"");
    std::fs::write(env.manifest(), wrong + "secrets = [\"A\"]\n[service.web.guard]\nwaf = {}\n").unwrap();

    let ran = env.run(&["deploy"]);

    assert_eq!(ran.code, 2, "{ran:?}");
    for word in
        ["bakee", "bake", "keep_hot", "shield", "not yet supported", "medeclipse.toml:", "secrets", "guard"]
    {
        assert!(ran.err.contains(word), "{word} is missing: {}", ran.err);
    }
    let errors = ran.err.lines().filter(|line| line.starts_with("error")).count();
    assert!(errors >= 5, "{errors}: {}", ran.err);
    std::fs::write(env.manifest(), text).unwrap();
    untouched(&env);

    env.deploy_clinic("v2", &[], 0);
    assert_eq!(env.version(), "v2");
}

#[test]
fn a_manifest_that_is_missing_is_told_with_how_to_write_one() {
    let env = Env::clinic(QUICK);
    std::fs::remove_file(env.manifest()).unwrap();

    for args in [&["deploy"][..], &["up", "--detach"], &["up"]] {
        says(&env.run(args), 2, &["medeclipse.toml", "medeclipse init"]);
    }
}

#[test]
fn an_artefact_that_is_missing_or_empty_is_refused_before_anything_happens() {
    let env = serving();
    let folder = env.folder.path();
    std::fs::create_dir(folder.join("empty")).unwrap();

    says(&env.run(&["deploy", "--artifact", "nowhere"]), 2, &["nowhere"]);
    says(&env.run(&["deploy", "--artifact", "empty"]), 2, &["empty"]);

    untouched(&env);
}

#[test]
fn an_artefact_that_cannot_be_read_is_refused() {
    if rustix::process::geteuid().is_root() {
        // Permissions do not hold root back; a socket has no content for anybody.
        let env = serving();
        let _socket = std::os::unix::net::UnixListener::bind(env.folder.path().join("odd")).unwrap();
        let ran = env.run(&["deploy", "--artifact", "odd"]);
        says(&ran, 2, &["odd"]);
        untouched(&env);
        return;
    }
    let env = serving();
    let secret = env.folder.path().join("secret");
    std::fs::write(&secret, "x").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o000)).unwrap();
    says(&env.run(&["deploy", "--artifact", "secret"]), 2, &["secret", "ermission denied"]);
    untouched(&env);
}

#[test]
fn a_port_that_is_taken_is_told_with_who_has_it() {
    let env = Env::clinic(QUICK);
    let taken = TcpListener::bind(env.address).unwrap();
    let (port, me) = (env.address.port().to_string(), std::process::id().to_string());

    says(&env.run(&["up", "--detach"]), 3, &[&port, &me, "listen"]);
    says(&env.run(&["up"]), 3, &[&port, &me, "listen"]);

    drop(taken);
    env.up();
}

#[test]
fn a_taken_port_of_the_api_is_told_too() {
    let env = Env::clinic(QUICK);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let api = taken.local_addr().unwrap().to_string();
    let text = std::fs::read_to_string(env.manifest()).unwrap();
    std::fs::write(env.manifest(), format!("{text}api = \"{api}\"\n")).unwrap();

    says(&env.run(&["up", "--detach"]), 3, &[&api, "api"]);

    assert_eq!(crate::harness::processes_of(&env.state()), [0_u32; 0]);
}

#[test]
fn r23_an_artefact_that_exits_at_once_is_returned_with_its_last_words() {
    let env = serving();
    let script = env.folder.path().join("clinic");
    std::fs::write(&script, "#!/bin/sh\necho the database is on fire >&2\nexit 3\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();

    let ran = env.deploy(&["--artifact", "clinic", "--version", "v2"], 4);

    let said = format!("{}{}", ran.out, ran.err);
    assert!(said.contains("the database is on fire"), "{said}");
    assert!(said.contains("exited"), "{said}");
    untouched(&env);
}

#[test]
fn a_program_that_cannot_be_run_is_returned_with_the_reason() {
    let env = serving();
    let script = env.folder.path().join("clinic");
    std::fs::write(&script, "#!/bin/sh\nexit 0\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o644)).unwrap();

    let not_executable = env.deploy(&["--artifact", "clinic"], 4);
    std::fs::rename(&script, env.folder.path().join("other")).unwrap();
    let no_such_program = env.deploy(&["--artifact", "other"], 4);

    let said = |ran: &crate::harness::Ran| format!("{}{}", ran.out, ran.err).to_lowercase();
    assert!(said(&not_executable).contains("not executable"), "{not_executable:?}");
    assert!(said(&no_such_program).contains("clinic"), "{no_such_program:?}");
    assert!(said(&no_such_program).contains("not there"), "{no_such_program:?}");
    untouched(&env);
}

#[test]
fn e03_a_health_path_that_never_answers_is_returned_when_its_start_is_over() {
    let env = serving();
    let text = std::fs::read_to_string(env.manifest()).unwrap();
    std::fs::write(env.manifest(), text.replace("start = \"20s\"", "start = \"1s\"")).unwrap();

    let ran = env.deploy_clinic("v2", &["CLINIC_NEVER_READY=1"], 4);

    let said = format!("{}{}", ran.out, ran.err);
    assert!(said.contains("not ready within 1"), "{said}");
    untouched(&env);
}

#[test]
fn of_two_deploys_at_once_the_second_is_refused_and_the_same_one_is_followed() {
    let env = serving();
    env.write_manifest(&env.clinic_service(LONG));
    env.ok(&["deploy", "--detach", "--version", "v2", "--env-var", "CLINIC_VERSION=v2"]);
    env.until_phase("baking");

    let other = env.run(&["deploy", "--version", "v3", "--env-var", "CLINIC_VERSION=v3"]);
    let mut same = env.start(&["deploy", "--json", "--version", "v2", "--env-var", "CLINIC_VERSION=v2"]);
    // It follows from its first line on.
    let mut line = String::new();
    BufReader::new(same.child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    env.ok(&["promote", "--now"]);

    says(&other, 3, &["d-2", "baking", "--supersede", "medeclipse abort"]);
    let same = same.end(20);
    assert_eq!(same.code, 0, "{same:?}");
    assert_eq!(env.last_deployment()["deployment"], "d-2");
    assert_eq!(env.version(), "v2");
}

#[test]
fn commands_that_make_no_sense_are_refused_and_say_what_would() {
    let env = serving();

    says(&env.run(&["deploy", "shop"]), 2, &["shop", "web"]);
    says(&env.run(&["pause", "shop"]), 2, &["shop", "web"]);
    says(&env.run(&["rollback"]), 3, &["web"]);
    says(&env.run(&["rollback", "--to", "v9"]), 3, &["v9"]);
    says(&env.run(&["scale", "web", "0"]), 3, &["web"]);
    says(&env.run(&["scale", "web", "9"]), 3, &["4"]);
    for verb in ["abort", "promote", "pause", "resume"] {
        says(&env.run(&[verb]), 3, &["web"]);
    }
    untouched(&env);
}

#[test]
fn arguments_that_cannot_be_read_are_bad_input() {
    let env = Env::clinic(QUICK);

    for (args, word) in [
        (&["deploy", "--timeout", "5"][..], "5"),
        (&["deploy", "--timeout", "soon"], "soon"),
        (&["deploy", "--env-var", "novalue"], "novalue"),
        (&["maintenance", "on", "--hold", "30"], "30"),
        (&["scale", "web", "many"], "many"),
        (&["deploy", "--strategy", "hope"], "hope"),
        (&["dance"], "dance"),
    ] {
        let ran = env.run(args);
        assert_eq!(ran.code, 2, "{args:?}: {ran:?}");
        assert!(ran.err.contains(word), "{args:?}: {ran:?}");
    }
}

#[test]
fn an_environment_that_is_down_is_unreachable_for_every_verb() {
    let env = Env::clinic(QUICK);

    for args in [
        &["status"][..],
        &["deploy"],
        &["history"],
        &["rollback"],
        &["abort"],
        &["maintenance", "off"],
        &["scale", "web", "2"],
        &["logs"],
    ] {
        says(&env.run(args), 7, &["medeclipse up"]);
    }
    let down = env.ok(&["down"]);
    assert!(down.out.contains("nothing runs here"), "{down:?}");
}

#[test]
fn services_that_claim_the_same_host_and_path_are_refused() {
    let env = Env::new("");
    let both = format!(
        "{}\n{}",
        env.clinic_service(QUICK),
        env.clinic_service(QUICK).replace("service.web", "service.api")
    );
    env.write_manifest(&both);

    let ran = env.run(&["up", "--detach"]);

    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("web") && ran.err.contains("api"), "{ran:?}");
}

#[test]
fn a_state_directory_that_is_a_file_or_too_deep_is_refused() {
    let env = Env::clinic(QUICK);
    let file = env.folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let with_state = |state: &std::path::Path, args: &[&str]| {
        let output = std::process::Command::new(crate::harness::PROGRAM)
            .args(args)
            .arg("--manifest")
            .arg(env.manifest())
            .arg("--state")
            .arg(state)
            .env_remove("XDG_RUNTIME_DIR")
            .output()
            .unwrap();
        crate::harness::Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    };

    says(&with_state(&file, &["up", "--detach"]), 3, &["file", "--state"]);
    let deep = env.folder.path().join("d".repeat(120));
    says(&with_state(&deep, &["up", "--detach"]), 2, &["107", "--state"]);
}

#[test]
fn e01_a_host_nobody_serves_is_404_and_the_service_goes_on() {
    let env = Env::new("");
    let service =
        env.clinic_service(QUICK).replace("[service.web]", "[service.web]\nhosts = [\"clinic.example\"]");
    env.write_manifest(&service);
    env.up().deploy_clinic("v1", &[], 0);

    let ask = |host: &str| request(env.address, "GET", "/api/health", &[("Host", host)], "").unwrap();

    assert_eq!(ask("clinic.example").status, 200);
    let unknown = ask("other.example");
    assert_eq!(unknown.status, 404);
    assert!(unknown.header("x-medeclipse-error").is_some(), "{unknown:?}");
    assert_eq!(ask("CLINIC.example:8080").status, 200);
}
