//! Runs the clinic several times over behind one edge, each with clients of its own, and tries one bad release of one.

use super::faults::Fault;
use super::reference::{self, Profile};
use crate::harness::{Env, clinic, eventually};
use medeclipse::load::{self, LoadHandle, LoadPlan};
use serde_json::Value;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The candidate's share of the requests, in percent.
pub const WEIGHT: u64 = 5;
const GET_CLIENTS: usize = 9;
const POST_CLIENTS: usize = 1;
/// Nine requests of ten get; one path of so many is the rare one: two percent of all.
const GET_PATHS: usize = 45;
/// How often a running deployment is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long answers may still come after a deployment has ended.
const LATE: Duration = Duration::from_millis(300);
/// How long a deployment may take beyond its watch.
const SLACK: Duration = Duration::from_secs(60);

/// The environment and its clients.
pub struct World {
    pub env: Env,
    pub services: usize,
    rate: f64,
    loads: Vec<LoadHandle>,
    releases: AtomicU64,
}

/// How one candidate fared.
#[derive(Debug, Default, Clone)]
pub struct Outcome {
    pub returned: bool,
    /// Why it did not come as far as its first request.
    pub failed: Option<String>,
    pub bad: usize,
    /// From `traffic_shifted` on, in seconds.
    pub verdict_after: Option<f64>,
    pub last_bad_after: Option<f64>,
    pub held: usize,
    pub rule: String,
    pub metric: String,
    /// Paths of the failing requests kept with the verdict.
    pub paths: Vec<String>,
    pub requests: u64,
    /// What the candidate was judged by: cold start constants, or hours of reference and weights.
    pub calibration: Option<Value>,
}

impl World {
    /// Starts the services, with one release each, and the clients.
    pub fn start(services: usize, rate: f64) -> Self {
        let env = Env::new("");
        let text: String = (0..services).map(|number| section(&env, number)).collect();
        env.write_manifest(&text);
        env.up().ok(&["deploy", "--quiet"]);
        let mut world = Self { env, services, rate, loads: Vec::new(), releases: AtomicU64::new(0) };
        world.put_load();
        world
    }

    fn put_load(&mut self) {
        self.loads = (0..self.services).map(|number| self.clients(number)).collect();
    }

    fn clients(&self, number: usize) -> LoadHandle {
        let host = host(number);
        let made = eventually("an appointment is made", 20, || {
            let body = r#"{"slot":"2027-03-01T09:30","practitioner":"dr-costa"}"#;
            let headers = [("Host", host.as_str()), ("Content-Type", "application/json")];
            let answer = self.env.request("POST", "/api/appointments", &headers, body).ok()?;
            answer.header("location").filter(|_| answer.status == 201)
        });
        let common = ["/api/appointments".to_owned(), "/api/slots".to_owned()];
        let mut paths: Vec<String> = common.iter().cycle().take(GET_PATHS - 1).cloned().collect();
        paths.push(made);
        let plan = LoadPlan {
            host,
            get_paths: paths,
            rate_per_second: Some(self.rate),
            ..LoadPlan::clinic(self.env.address, GET_CLIENTS, POST_CLIENTS)
        };
        load::run(plan).expect("the load starts")
    }

    /// Stops everything, lets every service have a day of such traffic behind it, and starts everything again.
    pub fn with_reference(mut self, profile: &Profile, seed: u64) -> Self {
        println!("{}", self.load());
        self.loads.clear();
        self.env.ok(&["down"]);
        reference::write_a_day(&self.env, profile, seed);
        self.env.up();
        self.put_load();
        self
    }

    /// Says what the clients sent so far.
    pub fn load(&self) -> String {
        let snapshots: Vec<_> = self.loads.iter().map(LoadHandle::snapshot).collect();
        let rates = snapshots.iter().map(|all| all.requests as f64 / (all.elapsed_ms as f64 / 1000.0));
        let (requests, failed) = snapshots
            .iter()
            .fold((0, 0), |sum, snapshot| (sum.0 + snapshot.requests, sum.1 + snapshot.failed));
        let lost: u64 = snapshots.iter().map(|snapshot| snapshot.connections.lost()).sum();
        format!(
            "load reached: {:.0} requests/s over {} services; {requests} requests, {failed} failed, {lost} connections lost",
            rates.sum::<f64>(),
            self.services
        )
    }

    /// Deploys one broken release and watches until it is back, or for as long as the fault says.
    pub fn break_one(&self, service: usize, fault: &Fault, seed: u64) -> Outcome {
        let began = now_us();
        let mut running = Deployment::begin(self, service, fault, seed);
        let mut aborted = false;
        let ended = loop {
            if running.child.try_wait().expect("it can be waited for").is_some() {
                break true;
            }
            let watched = running
                .shifted_at()
                .map_or(Duration::ZERO, |at| Duration::from_millis((now_us() / 1000).saturating_sub(at)));
            if watched >= fault.limit && !aborted {
                aborted = true;
                self.env.run(&["abort", &name(service)]);
            }
            if Duration::from_micros(now_us() - began) > fault.limit + SLACK {
                break false;
            }
            std::thread::sleep(LOOK);
        };
        std::thread::sleep(LATE);
        let mut outcome = running.outcome(self, service, began);
        if !ended {
            outcome.failed = Some("it did not end".into());
        }
        outcome
    }
}

/// A deployment that is followed; what follows it is killed when dropped.
struct Deployment {
    child: Child,
    told: PathBuf,
}

impl Deployment {
    fn begin(world: &World, service: usize, fault: &Fault, seed: u64) -> Self {
        let version = format!("c{}", world.releases.fetch_add(1, Ordering::Relaxed));
        let told = world.env.folder.path().join(format!("{version}.jsonl"));
        let name = name(service);
        let (label, drawn) = (format!("CLINIC_VERSION={version}"), format!("CLINIC_FAIL_SEED={seed}"));
        let mut args = vec!["deploy", &name, "--json", "--version", &version];
        args.extend(["--env-var", &label, "--env-var", &drawn]);
        args.extend(fault.settings.iter().flat_map(|setting| ["--env-var", setting]));
        let out = File::create(&told).expect("a file for what it says");
        let child = world.env.command(&args).stdout(out).stderr(Stdio::null()).spawn();
        Self { child: child.expect("the deployment starts"), told }
    }

    fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.told).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn shifted_at(&self) -> Option<u64> {
        moment(self.events().iter().find(|event| event["kind"] == "traffic_shifted")?)
    }

    fn outcome(&self, world: &World, service: usize, began_us: u64) -> Outcome {
        let events = self.events();
        let find = |kind: &str| events.iter().find(|event| event["kind"] == kind);
        let Some(shifted) = find("traffic_shifted").and_then(moment) else {
            let last = events.last().map(Value::to_string).unwrap_or_default();
            return Outcome { failed: Some(last), ..Outcome::default() };
        };
        let bad: Vec<_> = world.loads[service].bad();
        let bad: Vec<_> = bad.into_iter().filter(|response| response.start_us >= began_us).collect();
        let since = |at_ms: f64| (at_ms - shifted as f64) / 1000.0;
        let verdict = find("verdict_reached");
        let evidence = verdict.map_or(&Value::Null, |verdict| &verdict["evidence"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let failures = evidence["failures"].as_array();
        Outcome {
            returned: find("deployment_finished").is_some_and(|event| event["outcome"] == "rolled_back"),
            failed: None,
            bad: bad.len(),
            verdict_after: verdict.and_then(moment).map(|at| since(at as f64)),
            last_bad_after: bad.last().map(|response| since(response.end_us as f64 / 1000.0)),
            held: events.iter().filter(|event| event["kind"] == "held").count(),
            rule: text(&evidence["rule"]),
            metric: text(&evidence["metric"]),
            paths: failures.into_iter().flatten().map(|failure| text(&failure["path"])).collect(),
            requests: evidence["candidate_requests"].as_u64().unwrap_or_default(),
            calibration: events
                .iter()
                .rfind(|event| event["kind"] == "judge_calibrated")
                .map(|event| event["calibration"].clone()),
        }
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        // Already ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn moment(event: &Value) -> Option<u64> {
    event["at"].as_u64()
}

pub fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

pub fn name(number: usize) -> String {
    format!("w{number}")
}

fn host(number: usize) -> String {
    format!("{}.test", name(number))
}

/// Returns one service's part of the manifest.
fn section(env: &Env, number: usize) -> String {
    let name = name(number);
    format!(
        r#"
[service.{name}]
artifact = {:?}
command  = ["./clinic"]
hosts    = ["{}"]
replicas = 2
env      = {{ CLINIC_DB = "{}/{name}.db", CLINIC_DRAIN_MS = "900" }}
health   = {{ live = "/api/health/live", ready = "/api/health/ready", interval = "500ms", timeout = "2s", start = "30s" }}
[[service.{name}.route]]
path = "/api/appointments/{{id}}"
[[service.{name}.route]]
path = "/api/appointments"
[[service.{name}.route]]
path = "/api/slots"
[service.{name}.rollout]
strategy  = "canary"
steps     = [{WEIGHT}, 100]
step_bake = "10m"
drain     = "1s"
keep_hot  = "0s"
candidate_replicas = 1
"#,
        clinic(),
        host(number),
        env.folder.path().display()
    )
}
