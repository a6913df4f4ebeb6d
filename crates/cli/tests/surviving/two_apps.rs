//! Two services on one edge: what is done to one of them, and to medeclipse itself, is no matter of the other's users.

use crate::QUICK;
use crate::harness::{Env, eventually};
use crate::havoc::{answered, replicas};
use crate::upgrading::{nothing_was_lost, stopped};
use medeclipse::load::{self, LoadPlan};

#[test]
fn r26_two_apps_on_one_edge_do_not_disturb_each_other() {
    let env = Env::new("");
    let web = env.clinic_service(QUICK).replace("command ", "hosts = [\"web.example\"]\ncommand ");
    let api = web.replace("service.web", "service.api").replace("web.example", "api.example");
    env.write_manifest(&format!("{web}{}", api.replace("clinic.db", "api.db")));
    env.up();
    env.deploy(&["web", "--version", "v1", "--env-var", "CLINIC_VERSION=v1"], 0);
    let others = replicas(&env);
    env.deploy(&["api", "--version", "v1", "--env-var", "CLINIC_VERSION=v1"], 0);
    let plan = LoadPlan { rate_per_second: Some(300.0), ..LoadPlan::clinic(env.address, 4, 4) };
    let load = load::run(LoadPlan { host: "web.example".into(), ..plan }).unwrap();
    answered(&load, 50);

    // A deployment of the other one that fails, one that does not, its replicas killed, and an upgrade.
    env.deploy(&["api", "--version", "bad", "--env-var", "CLINIC_CRASH_AFTER_MS=1"], 4);
    env.deploy(&["api", "--version", "v2", "--env-var", "CLINIC_VERSION=v2"], 0);
    replicas(&env)
        .into_iter()
        .filter(|pid| !others.contains(pid))
        .for_each(|pid| crate::harness::kill(pid, "KILL"));
    env.ok(&["upgrade"]);
    eventually("the other one is back", 30, || {
        let answer = env.request("GET", "/api/health", &[("Host", "api.example")], "").ok()?;
        (answer.header("x-clinic-version")? == "v2").then_some(())
    });
    let report = stopped(load);

    println!("two apps: {report}");
    nothing_was_lost(&report);
    assert!(others.iter().all(|pid| replicas(&env).contains(pid)), "its replicas were not touched");
    assert_eq!(report.counts.by_version.keys().collect::<Vec<_>>(), ["v1"]);
}
