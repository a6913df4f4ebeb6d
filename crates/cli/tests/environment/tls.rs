//! TLS the whole way: from the manifest to what `curl`, a client that is not ours, says of the certificate.

use crate::QUICK;
use crate::harness::{Env, eventually};
use crate::says;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `curl` says the answer was: its version of HTTP, its status, then the body.
fn curl(env: &Env, ca: &Path, arguments: &[&str], path: &str) -> Option<String> {
    let url = format!("https://localhost:{}{path}", env.address.port());
    let mut command = Command::new("curl");
    command.args(["--silent", "--max-time", "10", "--cacert"]).arg(ca).args(arguments);
    let ran =
        command.args(["--write-out", "%{http_version} %{http_code}", "--output", "/dev/null", &url]).output();
    let ran = ran.expect("curl is installed: script/test does it");
    ran.status.success().then(|| String::from_utf8_lossy(&ran.stdout).into_owned())
}

fn with_tls(tls: &str) -> (Env, PathBuf) {
    let env = Env::clinic(QUICK);
    env.edit("[environment.local]\n", &format!("[environment.local]\n{tls}\n"));
    let made = env.state().join("edge/tls/self-signed.pem");
    (env, made)
}

#[test]
fn e20_a_self_signed_environment_is_served_to_curl_over_both_versions_and_survives_its_edge() {
    let (env, ca) = with_tls("tls = \"self-signed\"");
    let up = env.ok(&["up", "--detach"]);
    assert!(up.out.contains(&format!("https://{}", env.address)), "{}", up.out);
    env.deploy_clinic("v1", &[], 0);

    assert_eq!(curl(&env, &ca, &["--http1.1"], "/").as_deref(), Some("1.1 200"));
    assert_eq!(curl(&env, &ca, &["--http2"], "/").as_deref(), Some("2 200"));
    assert_eq!(curl(&env, &ca, &["--tls-max", "1.2"], "/").as_deref(), Some("2 200"));
    // Older ones are refused, even by a client that would.
    assert_eq!(curl(&env, &ca, &["--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"], "/"), None);
    let status = env.status();
    assert_eq!(status["edge"]["tls"]["certificates"][0]["source"], "self-signed", "{status}");

    let edge = status["edge"]["pid"].as_u64().and_then(|pid| i32::try_from(pid).ok()).unwrap();
    let pid = rustix::process::Pid::from_raw(edge).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    // Waits in the socket's queue for the next edge, which has the same certificate.
    assert_eq!(curl(&env, &ca, &["--http2"], "/").as_deref(), Some("2 200"));
    eventually("another edge", 20, || (env.status()["edge"]["pid"] != edge).then_some(()));
    env.ok(&["down"]);
}

#[test]
fn e04_an_environment_whose_certificate_cannot_be_read_says_so_and_does_not_come_up() {
    let (env, _) = with_tls("tls = { cert = \"missing.pem\", key = \"missing.key\" }");

    let ran = env.run(&["up", "--detach"]);

    assert_ne!(ran.code, 0);
    says(&ran, ran.code, &["missing.pem", "check the path in `tls`"]);
}
