//! Measures the whole path at the sizes the measurements ask for, and prints figures. `script/bench NAME` runs it
//! and keeps what it printed in docs/measurements.md.

#[path = "../tests/whole/harness.rs"]
#[allow(dead_code)]
mod harness;
#[path = "../tests/surviving/havoc.rs"]
mod havoc;
mod live;
mod survive;
#[allow(dead_code)]
#[path = "../tests/surviving/web_socket.rs"]
mod web_socket;

use harness::{Env, clinic, eventually};
use medeclipse::load::{self, LoadHandle, LoadPlan};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

fn main() {
    // `cargo bench` and `cargo test` add words of their own; a name is what is left.
    let names: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let all: [(&str, fn()); 7] = [
        ("switches", switches),
        ("returns", returns),
        ("overhead", overhead),
        ("memory", memory),
        ("judge-live", live::judge),
        ("upgrade", survive::upgrades),
        ("stress", survive::stress),
    ];
    for (name, measure) in all {
        if names.iter().any(|wanted| wanted == name) {
            println!("## {name}");
            measure();
        }
    }
    if !names.iter().any(|wanted| all.iter().any(|(name, _)| name == wanted)) {
        println!("name what to measure: {}", all.map(|(name, _)| name).join(", "));
    }
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn put_load(env: &Env, get: usize, post: usize, rate: Option<f64>) -> LoadHandle {
    let plan = LoadPlan { rate_per_second: rate, ..LoadPlan::clinic(env.address, get, post) };
    load::run(plan).expect("the load starts")
}

fn share(sorted: &[f64], quantile: f64) -> f64 {
    let place = ((sorted.len() as f64 * quantile).ceil() as usize).clamp(1, sorted.len());
    sorted[place - 1]
}

fn quantiles(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    format!(
        "p50 {:.1}, p90 {:.1}, p99 {:.1}, max {:.1} (n = {})",
        share(&values, 0.5),
        share(&values, 0.9),
        share(&values, 0.99),
        share(&values, 1.0),
        values.len()
    )
}

/// E21: switches between two releases under keep-alive clients; nothing may fail.
fn switches() {
    let count = number("SWITCHES", 100);
    let env = Env::clinic("bake = \"0s\"\nkeep_hot = \"0s\"\ndrain = \"5s\"");
    env.up().deploy_clinic("v0", &[], 0);
    let load = put_load(&env, 32, 32, None);
    let mut seconds = Vec::new();
    for number in 1..=count {
        let began = Instant::now();
        env.deploy_clinic(&format!("v{number}"), &[], 0);
        seconds.push(began.elapsed().as_secs_f64());
    }
    let report = runtime().block_on(load.stop());
    println!("{count} switches under 32 keep-alive GET and 32 keep-alive POST clients, unpaced");
    println!(
        "requests {}, failed {}, connections lost {}",
        report.counts.requests,
        report.counts.failed,
        report.counts.connections.lost()
    );
    println!("by class {:?}", report.counts.by_class);
    println!("seconds a switch (with the start of two replicas, under full load): {}", quantiles(seconds));
    let ms = report.counts.latency_ms;
    println!("latency ms: p50 {:.2}, p99 {:.2}, max {:.1}", ms.p50, ms.p99, ms.max);
}

/// From the commit of `verdict_reached` to the last bad response among requests sent after it.
fn returns() {
    let count = number("RETURNS", 200);
    let env = Env::clinic(
        "strategy = \"canary\"\nsteps = [50, 100]\nstep_bake = \"30s\"\nbake = \"30s\"\nkeep_hot = \"0s\"\ndrain = \"2s\"",
    );
    env.up().deploy_clinic("good", &[], 0);
    let load = put_load(&env, 16, 16, Some(400.0));
    let (mut after_verdict, mut harmed) = (Vec::new(), Vec::new());
    for number in 0..count {
        let began = SystemTime::now();
        let known = env.events().last().map_or(0, |event| event["seq"].as_u64().unwrap_or(0));
        env.deploy_clinic(&format!("bad{number}"), &["CLINIC_FAIL_PERCENT=100"], 4);
        let verdict = env
            .events()
            .into_iter()
            .find(|event| event["kind"] == "verdict_reached" && event["seq"].as_u64() > Some(known))
            .expect("a verdict was reached");
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(verdict["at"].as_u64().expect("a moment"));
        // A request sent within the millisecond of the verdict counts as after it: the figure is an upper bound.
        let micros = |moment: SystemTime| {
            moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros() as f64
        };
        after_verdict
            .push(load.last_bad_after(at).map_or(0.0, |last| (last.end_us as f64 - micros(at)) / 1000.0));
        let bad = load.bad();
        harmed.push(bad.iter().filter(|response| response.start_us as f64 > micros(began)).count() as f64);
    }
    let report = runtime().block_on(load.stop());
    println!("{count} returns; the candidate gets 50 % and fails all of it; 400 requests/s, 32 clients");
    println!("ms from the commit of the verdict to the last bad response: {}", quantiles(after_verdict));
    println!("bad responses until the return, each: {}", quantiles(harmed));
    println!("requests {}, by class {:?}", report.counts.requests, report.counts.by_class);
}

/// Starts the clinic by itself and returns the milliseconds until it is ready, asked every millisecond.
fn own_start(folder: &std::path::Path) -> f64 {
    let port = harness::free_port();
    let began = Instant::now();
    let mut child = Command::new(clinic())
        .env("PORT", port.to_string())
        .env("CLINIC_DB", folder.join("own.db"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the clinic starts");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let ready = || {
        harness::request(address, "GET", "/api/health/ready", &[], "")
            .is_ok_and(|answer| answer.status == 200)
    };
    while !ready() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = began.elapsed().as_secs_f64() * 1000.0;
    child.kill().expect("it can be stopped");
    child.wait().expect("it ends");
    took
}

/// What a deploy, `up` and `status` take beyond the service's own start and bake. Idle machine, no load.
fn overhead() {
    let count = number("DEPLOYS", 20);
    let env = Env::clinic("bake = \"0s\"\nkeep_hot = \"0s\"\ndrain = \"1s\"");
    let own: Vec<f64> = (0..10).map(|_| own_start(env.folder.path())).collect();
    println!("ms the clinic takes by itself until ready: {}", quantiles(own.clone()));
    let mut sorted = own;
    sorted.sort_by(f64::total_cmp);
    let own = share(&sorted, 0.5);
    env.up();
    env.deploy_clinic("v0", &[], 0);
    let deploys = (1..=count).map(|number| {
        let began = Instant::now();
        env.deploy_clinic(&format!("v{number}"), &[], 0);
        began.elapsed().as_secs_f64() * 1000.0 - own
    });
    println!("ms a deploy takes beyond that (2 replicas, bake 0): {}", quantiles(deploys.collect()));
    let status = (0..count).map(|_| {
        let began = Instant::now();
        env.ok(&["status", "--json"]);
        began.elapsed().as_secs_f64() * 1000.0
    });
    println!("ms `status` takes, as a process: {}", quantiles(status.collect()));
    let ups = (0..10).map(|_| {
        env.ok(&["down"]);
        let began = Instant::now();
        env.ok(&["up", "--detach"]);
        eventually("a request is served", 20, || {
            env.request("GET", "/api/health", &[], "").ok().filter(|answer| answer.status == 200)
        });
        began.elapsed().as_secs_f64() * 1000.0 - own
    });
    println!(
        "ms from `up` to the first request served, beyond the service's own start: {}",
        quantiles(ups.collect())
    );
}

/// Resident memory of supervisor, edge and engine, idle with one service of two replicas.
fn memory() {
    let env = Env::clinic("bake = \"0s\"\nkeep_hot = \"0s\"");
    env.up().deploy_clinic("v1", &[], 0);
    std::thread::sleep(Duration::from_secs(3));
    let supervisor: u32 = std::fs::read_to_string(env.state().join("run/supervisor.pid"))
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .expect("the supervisor's pid");
    let parts = [("supervisor", supervisor), ("edge", env.pid("edge")), ("engine", env.pid("engine"))];
    let mut sum = 0;
    for (name, pid) in parts {
        let kib = resident_kib(pid);
        sum += kib;
        println!("{name}: {:.1} MiB", kib as f64 / 1024.0);
    }
    println!("together: {:.1} MiB resident; pages they share are counted each time", sum as f64 / 1024.0);
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its resident memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}
