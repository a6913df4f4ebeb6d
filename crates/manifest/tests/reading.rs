//! What a manifest says: defaults, every supported key, overrides, and the environment that needs no section.
#![allow(clippy::unwrap_used)]

use manifest::service::Manifest;
use manifest::{Color, parse};
use rollout::mirror::{Copies, Differing, Mirror};
use rollout::names::{Millis, Weight};
use rollout::plan::{Ask, LatencySettings, MonitorAsk, Probes, RolloutSettings, Strategy, Unproven, When};
use rollout::routes::{Ending, RouteConnections, UserKey};

const LEAST: &str = "[service.web]\ncommand = [\"./web\"]\n";

fn read(text: &str) -> Manifest {
    read_for(text, "local")
}

fn read_for(text: &str, environment: &str) -> Manifest {
    parse(text, "medeclipse.toml", environment)
        .unwrap_or_else(|errors| panic!("{}", errors.render(Color::Never)))
}

fn percents(settings: &RolloutSettings) -> Vec<u8> {
    settings.steps.iter().map(|weight| weight.percent()).collect()
}

#[test]
fn the_least_manifest_gets_every_default() {
    let manifest = read(LEAST);

    let environment = &manifest.environment;
    assert_eq!(environment.name, "local");
    assert_eq!(environment.listen, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!((environment.ports, environment.api), ((20_000, 29_999), "127.0.0.1:0".parse().unwrap()));
    let web = &manifest.services[0];
    assert_eq!(web.rollout, RolloutSettings::default());
    assert_eq!(
        (web.rollout.strategy, web.rollout.steps.as_slice()),
        (Strategy::BlueGreen, &[Weight::FULL][..])
    );
    assert_eq!((web.rollout.bake, web.rollout.step_bake), (Millis::seconds(600), Millis::seconds(120)));
    assert_eq!((web.health.interval, web.health.timeout), (Millis::seconds(1), Millis(500)));
    assert_eq!((web.target.replicas.min, web.target.replicas.max), (1, 1));
}

#[test]
fn every_supported_key_is_read() {
    let manifest = read(include_str!("complete.toml"));

    assert_eq!(manifest.environment.listen.len(), 2);
    assert_eq!(manifest.environment.ports, (30_000, 30_099));
    let web = &manifest.services[0];
    assert_eq!(web.artifact.as_deref(), Some("dist/".as_ref()));
    assert_eq!(web.command, ["./clinic", "--port", "${PORT}"]);
    assert_eq!(web.target.hosts, ["clinic.example", "*.clinic.example"]);
    assert_eq!(web.target.paths, ["/api", "/"]);
    assert!(web.target.strip_path);
    assert_eq!(web.target.templates, ["/api/appointments/{id}", "/api/patients/{id}/notes/{note}"]);
    let of_notes = RouteConnections {
        template: "/api/patients/{id}/notes/{note}".to_owned(),
        websocket: Ending::Drain,
        sse: Ending::Keep,
        ceiling: Millis::seconds(3600),
    };
    assert_eq!(web.rollout.connections.routes, [of_notes]);
    assert_eq!((web.target.replicas.min, web.target.replicas.max), (2, 6));
    let resources = web.resources.unwrap();
    assert_eq!((resources.cpu, resources.memory_bytes), (Some(1024), Some(2 << 30)));
    assert_eq!(web.env["RUST_LOG"], "info");
    assert_eq!(web.expand, ["./clinic", "migrate", "expand"]);
    assert_eq!(web.health.ready.as_deref(), Some("/api/health/ready"));
    assert_eq!((web.health.interval, web.health.start), (Millis(1500), Millis::seconds(90)));
}

#[test]
fn every_key_of_the_rollout_is_read() {
    let manifest = read(include_str!("complete.toml"));

    let rollout = &manifest.services[0].rollout;
    assert_eq!((rollout.strategy, percents(rollout)), (Strategy::Canary, vec![2, 10, 100]));
    assert_eq!((rollout.bake, rollout.step_bake), (Millis::seconds(90), Millis::seconds(30)));
    assert_eq!((rollout.drain, rollout.deadline), (Millis::seconds(10), Millis::seconds(1200)));
    assert_eq!((rollout.keep_hot, rollout.candidate_replicas), (Millis::seconds(3600), Some(1)));
    let readiness = rollout.readiness;
    assert_eq!((readiness.every, readiness.spare), (Millis::seconds(10), Some(Millis::seconds(3600))));
    assert_eq!(rollout.sticky.as_ref().unwrap().cookie, "me_rev");
    let allow = rollout.allow.as_ref().unwrap();
    assert_eq!((allow.header.as_str(), allow.values.as_slice()), ("x-canary", &["team".to_owned()][..]));
    assert_eq!((rollout.connections.websocket, rollout.connections.sse), (Ending::Drain, Ending::Cut));
    assert_eq!(rollout.connections.ceiling, Millis::seconds(300));
    assert_eq!(rollout.hooks.before_deploy, ["./notify.sh", "before"]);
    assert!(rollout.hooks.after_deploy.is_empty());
    assert_eq!(rollout.checks[0].ask, Ask::Command(vec!["./smoke.sh".to_owned()]));
    assert_eq!((rollout.checks[1].when, rollout.checks[1].deadline), (When::After, Millis::seconds(5)));
    assert_eq!(rollout.checks[1].ask, Ask::Url("/api/health?full=1".to_owned()));
    assert_eq!((rollout.bake_min, rollout.bake_max), (Some(Millis::seconds(20)), Some(Millis::seconds(300))));
    assert_eq!((rollout.hold_back.percent(), rollout.unproven), (10, Unproven::Hold));
    let copies = Copies {
        share: Weight::new(25).unwrap(),
        bodies: vec!["/api/appointments/{id}".to_owned()],
        never: vec!["/api/patients/{id}/notes/{note}".to_owned()],
    };
    let mirror =
        Mirror { copies, during: Millis::seconds(30), differing: Differing::Report, tolerated: 0.02 };
    assert_eq!(rollout.mirror, Some(mirror));
}

#[test]
fn every_key_of_the_judge_is_read() {
    let manifest = read(include_str!("complete.toml"));

    let judge = &manifest.services[0].rollout.judge;
    assert_eq!((judge.error_margin, judge.error_floor), (0.5, 0.001));
    let latency =
        LatencySettings { quantiles: vec![0.9, 0.99], margin_buckets: 4, warm_up: Millis::seconds(30) };
    assert_eq!((&judge.latency, judge.false_rollback), (&latency, 0.001));
    assert_eq!(judge.user, Some(UserKey::Header("x-patient".to_owned())));
    let probes = Probes { path: "/api/health/ready".to_owned(), every: Millis::seconds(10) };
    assert_eq!((&judge.probes, judge.first_look), (&Some(probes), Some(Millis::seconds(5))));
}

#[test]
fn every_key_of_the_monitor_is_read() {
    let manifest = read(include_str!("complete.toml"));

    let monitor = manifest.services[0].rollout.monitor.as_ref().unwrap();
    assert_eq!((monitor.every, monitor.during), (Millis::seconds(10), Some(Millis::seconds(300))));
    assert_eq!((monitor.failing, monitor.attribute), (2, false));
    let checks: Vec<_> = monitor
        .checks
        .iter()
        .map(|check| (check.name.as_str(), check.deadline.0, check.failures, check.ask.clone()))
        .collect();
    let url = |path: &str| MonitorAsk::Url(path.to_owned());
    assert_eq!(
        checks,
        [
            ("database", 2000, 1, url("/api/health/database?wait=1")),
            ("redis", 5000, 3, url("/api/health/redis")),
            ("error-rate", 5000, 20, MonitorAsk::ErrorRate(0.025)),
        ]
    );
}

/// Returns the rollout of a service with these lines under it.
fn rollout(lines: &str) -> RolloutSettings {
    read(&format!("{LEAST}{lines}\n")).services.remove(0).rollout
}

#[test]
fn a_canary_holds_back_five_percent_unless_it_says_otherwise() {
    let percent = |lines: &str| rollout(lines).hold_back.percent();

    assert_eq!(percent("rollout = { strategy = \"canary\" }"), 5);
    assert_eq!(percent("rollout = { strategy = \"canary\", hold_back = \"off\" }"), 0);
    assert_eq!(percent("rollout = { strategy = \"canary\", hold_back = \"0%\" }"), 0);
    assert_eq!(percent("rollout = { strategy = \"blue-green\" }"), 0);
    assert_eq!(percent("rollout = { strategy = \"blue-green\", hold_back = \"50%\" }"), 50);
}

#[test]
fn a_step_may_be_as_large_as_what_the_hold_back_leaves() {
    let same = rollout("rollout = { strategy = \"canary\", steps = [5, 95, 100] }");
    let full = rollout("rollout = { strategy = \"canary\", steps = [5, 99, 100], hold_back = \"off\" }");

    assert_eq!((same.weight_of(1), same.weight_of(2)), (same.steps[1], same.steps[1]));
    assert_eq!(full.weight_of(2), Weight::FULL);
}

#[test]
fn the_computed_deadline_leaves_time_for_the_longest_bakes() {
    let longer = rollout("rollout = { bake = \"10m\", bake_max = \"1h\" }");
    let canary = rollout("rollout = { strategy = \"canary\", bake = \"10m\", bake_max = \"10m\" }");

    let looked = rollout("judge = { first_look = \"1m\" }");
    let paced = rollout("judge = { first_look = \"1m\" }\nrollout = { keep_hot = \"0s\" }");

    assert_eq!([looked.deadline, paced.deadline], [Millis::seconds(60 + 1800 + 600); 2]);
    assert_eq!(longer.deadline, Millis::seconds(3600 + 600));
    assert_eq!(canary.deadline, Millis::seconds(120 + 120 + 600 + 600));
}

#[test]
fn latency_can_be_left_to_nobody() {
    let judge = rollout("judge = { latency = \"off\" }").judge;

    assert_eq!(judge.latency, LatencySettings { quantiles: Vec::new(), ..LatencySettings::default() });
}

#[test]
fn a_latency_margin_is_rounded_to_buckets() {
    let buckets = |margin: &str| {
        rollout(&format!("judge = {{ latency = {{ margin = \"{margin}\" }} }}")).judge.latency.margin_buckets
    };

    assert_eq!(["2%", "2.2%", "4.4%", "5%", "10%", "50%", "100%"].map(buckets), [1, 1, 2, 2, 4, 19, 32]);
}

#[test]
fn no_first_look_is_the_default_and_can_be_written() {
    assert_eq!(rollout("judge = { first_look = \"0s\" }").judge.first_look, None);
    assert_eq!(
        rollout("judge = { user = { cookie = \"Sid\" } }").judge.user,
        Some(UserKey::Cookie("Sid".into()))
    );
}

#[test]
fn a_canary_without_steps_takes_5_25_100_and_a_computed_deadline() {
    let manifest = read(&format!("{LEAST}rollout = {{ strategy = \"canary\" }}\n"));

    let rollout = &manifest.services[0].rollout;
    assert_eq!(percents(rollout), [5, 25, 100]);
    assert_eq!(rollout.deadline, Millis::seconds(6 * 60 + 6 * 60 + 30 * 60 + 600));
}

#[test]
fn a_plain_number_of_replicas_is_both_bounds() {
    let replicas = read(&format!("{LEAST}replicas = 3\n")).services[0].target.replicas;

    assert_eq!((replicas.min, replicas.max), (3, 3));
}

#[test]
fn services_keep_the_order_of_the_file() {
    let text = "[service.zebra]\ncommand = [\"z\"]\npaths = [\"/z\"]\n[service.ant]\ncommand = [\"a\"]\n";

    let names: Vec<String> = read(text).services.into_iter().map(|service| service.name).collect();
    assert_eq!(names, ["zebra", "ant"]);
}

#[test]
fn e07_prefixes_lose_their_last_slash_and_can_be_stripped() {
    let manifest = read(&format!("{LEAST}paths = [\"/api/\"]\nstrip_path = true\n"));

    assert_eq!(manifest.services[0].target.paths, ["/api"]);
    assert!(manifest.services[0].target.strip_path);
}

#[test]
fn e06_a_wildcard_and_its_domain_are_two_hosts() {
    let text = "[service.a]\ncommand = [\"a\"]\nhosts = [\"*.x.example\"]\n\
                [service.b]\ncommand = [\"b\"]\nhosts = [\"x.example\"]\n[service.c]\ncommand = [\"c\"]\n";

    assert_eq!(read(text).services.len(), 3);
}

#[test]
fn an_environment_overrides_single_keys_of_any_depth() {
    let text = "[service.web]\ncommand = [\"./web\"]\nreplicas = 2\nenv = { A = \"1\", B = \"1\" }\n\
                rollout = { strategy = \"canary\", bake = \"10m\", hooks = { before_deploy = [\"a\"] } }\n\
                [environment.staging]\nlisten = \"127.0.0.1:9000\"\n\
                [environment.staging.service.web]\nreplicas = { min = 1, max = 4 }\nenv = { B = \"2\" }\n\
                [environment.staging.service.web.rollout]\nbake = \"5s\"\nhooks = { after_deploy = [\"b\"] }\n";

    let staging = &read_for(text, "staging").services[0];
    let local = &read(text).services[0];

    assert_eq!((staging.rollout.bake, local.rollout.bake), (Millis::seconds(5), Millis::seconds(600)));
    assert_eq!(staging.rollout.strategy, Strategy::Canary);
    assert_eq!((staging.env["A"].as_str(), staging.env["B"].as_str()), ("1", "2"));
    assert_eq!((staging.target.replicas.max, local.target.replicas.max), (4, 2));
    assert_eq!(staging.rollout.hooks.before_deploy, ["a"]);
    assert_eq!(staging.rollout.hooks.after_deploy, ["b"]);
}

#[test]
fn an_environment_overrides_the_judge_the_bakes_and_the_monitor() {
    let text = "[service.web]\ncommand = [\"./web\"]\n\
                [service.web.rollout]\nstrategy = \"canary\"\nbake = \"10m\"\nbake_min = \"1m\"\nhold_back = \"10%\"\n\
                monitor = { failing = 2, checks = [{ name = \"a\", url = \"/a\" }, { name = \"b\", url = \"/b\" }] }\n\
                [service.web.judge]\nlatency = \"off\"\nfalse_rollback = 0.001\nprobes = { path = \"/\", every = \"1m\" }\n\
                [environment.staging.service.web.rollout]\nbake = \"30s\"\nbake_min = \"10s\"\nbake_max = \"1m\"\n\
                hold_back = \"off\"\nunproven = \"return\"\n\
                monitor = { failing = 1, checks = [{ name = \"c\", error_rate = \"1%\" }] }\n\
                [environment.staging.service.web.judge]\nlatency = { margin = \"10%\" }\nfirst_look = \"5s\"\n\
                user = { cookie = \"sid\" }\nprobes = { every = \"5s\" }\n";

    let staging = read_for(text, "staging").services.remove(0).rollout;
    let local = read(text).services.remove(0).rollout;

    assert_eq!((staging.bake_min, local.bake_min), (Some(Millis::seconds(10)), Some(Millis::seconds(60))));
    assert_eq!((staging.bake_max, local.bake_max), (Some(Millis::seconds(60)), None));
    assert_eq!((staging.hold_back.percent(), local.hold_back.percent()), (0, 10));
    assert_eq!((staging.unproven, local.unproven), (Unproven::Return, Unproven::Promote));
    let failing = |rollout: &RolloutSettings| {
        rollout.monitor.as_ref().map(|monitor| (monitor.failing, monitor.checks.len()))
    };
    assert_eq!((failing(&staging), failing(&local)), (Some((1, 1)), Some((2, 2))));
    let (staging, local) = (staging.judge, local.judge);
    assert_eq!((staging.latency.margin_buckets, staging.latency.quantiles.len()), (4, 4));
    assert!(local.latency.quantiles.is_empty());
    assert_eq!((staging.false_rollback, local.false_rollback), (0.001, 0.001));
    assert_eq!((staging.first_look, local.first_look), (Some(Millis::seconds(5)), None));
    assert_eq!((staging.user, local.user), (Some(UserKey::Cookie("sid".into())), None));
    let every = |probes: Option<Probes>| probes.map(|probes| (probes.path, probes.every));
    assert_eq!(every(staging.probes), Some(("/".to_owned(), Millis::seconds(5))));
    assert_eq!(every(local.probes), Some(("/".to_owned(), Millis::seconds(60))));
}

#[test]
fn what_comes_later_may_be_planned_for_another_environment() {
    let text = format!("{LEAST}[environment.production]\nplatform = \"ecs\"\nregion = \"eu-west-3\"\n");

    assert_eq!(read(&text).environment.name, "local");
    assert!(parse(&text, "medeclipse.toml", "production").is_err());
}

#[test]
fn r12_a_malformed_manifest_is_refused_with_a_message_and_fixing_it_recovers() {
    let broken = LEAST.to_owned() + "replicas = { min = 3, max = 2 }\n";

    let errors = parse(&broken, "medeclipse.toml", "local").unwrap_err();
    assert_eq!(errors.to_string(), "read medeclipse.toml: it has 1 mistake");
    assert_eq!(errors.items()[0].help, "write `max = 3` or more, or a smaller `min`");

    let fixed = broken.replace("max = 2", "max = 3");
    assert_eq!(read(&fixed).services[0].target.replicas.max, 3);
}

#[test]
fn e20_an_environment_has_certificates_from_files_or_one_of_its_own() {
    use manifest::tls::{CertificateFiles, Tls};
    let service = "[service.web]\ncommand = [\"./web\"]\nhosts = [\"b.example\", \"a.example\"]\n";
    let read = |text: &str| {
        let manifest = parse(&format!("{service}[environment.local]\n{text}"), "medeclipse.toml", "local");
        manifest.unwrap_or_else(|errors| panic!("{}", errors.render(Color::Never))).environment
    };
    let files = |cert: &str, key: &str| CertificateFiles { cert: cert.into(), key: key.into() };

    let own = read("tls = \"self-signed\"\nlisten_http = [\"127.0.0.1:80\"]\nredirect = false\n");
    let names = vec!["a.example".to_owned(), "b.example".to_owned()];
    assert_eq!(own.tls, Some(Tls::SelfSigned { names }));
    assert_eq!((own.listen_http.len(), own.redirect, own.addresses().len()), (1, false, 2));
    let several =
        read("tls = { cert = \"a.pem\", key = \"a.key\", more = [{ cert = \"b.pem\", key = \"b.key\" }] }");
    assert_eq!(several.tls, Some(Tls::Files(vec![files("a.pem", "a.key"), files("b.pem", "b.key")])));
    assert_eq!(read("").tls, None);
}

#[test]
fn e18_an_environment_gets_certificates_for_the_hosts_of_its_services_and_for_names_somebody_allows() {
    use manifest::tls::{Acme, Challenge, OnDemand};
    let service =
        "[service.web]\ncommand = [\"./web\"]\nhosts = [\"b.example\", \"*.c.example\", \"a.example\"]\n";
    let read = |text: &str| {
        let text = format!("{service}[environment.local]\nlisten_http = \"127.0.0.1:80\"\n{text}");
        let manifest = parse(&text, "medeclipse.toml", "local");
        manifest.unwrap_or_else(|errors| panic!("{}", errors.render(Color::Never))).environment.acme.unwrap()
    };

    let least = read("acme = { terms = \"agreed\" }\n");
    // Names with a star can be proven in the DNS only.
    let names = vec!["a.example".to_owned(), "b.example".to_owned()];
    let directory = "https://acme-v02.api.letsencrypt.org/directory".to_owned();
    let otherwise =
        Acme { directory, contact: Vec::new(), root: None, challenge: None, names, on_demand: None };
    assert_eq!(least, otherwise);
    let most = read(
        "[environment.local.acme]\nterms = \"agreed\"\ndirectory = \"https://localhost:14000/dir\"\ncontact = [\"ops@a.example\"]\nroot = \"ca.pem\"\nchallenge = \"http-01\"\n[environment.local.acme.on_demand]\nallow = \"http://127.0.0.1:9000/allowed\"\norders = 3\n",
    );
    assert_eq!(
        most,
        Acme {
            directory: "https://localhost:14000/dir".to_owned(),
            contact: vec!["mailto:ops@a.example".to_owned()],
            root: Some("ca.pem".into()),
            challenge: Some(Challenge::Http01),
            on_demand: Some(OnDemand { allow: "http://127.0.0.1:9000/allowed".to_owned(), orders: 3 }),
            ..otherwise
        }
    );
}
