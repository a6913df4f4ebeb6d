//! One environment of the clinic whose engine dies where it is told. Every release is an artefact of its own.

use crate::harness::{Env, Ran, clinic, eventually, kill};
use crate::traffic::Traffic;
use medeclipse::load::Failure;
use rollout::event::{Event, EventRecord};
use rollout::machine::State;
use rollout::names::{Actor, Millis, Target};
use rusqlite::{Connection, OpenFlags, Row};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Requests a second: enough for the judge, little enough for several environments on a small machine.
const RATE: f64 = 60.0;
/// How long a command may find no engine: longer than the supervisor ever waits with a start.
const ENGINE_AWAY: Duration = Duration::from_secs(30);
/// How long anything may take on a machine that is busy with other environments.
pub const PATIENCE_S: u64 = 60;

pub struct World {
    pub env: Env,
    traffic: RefCell<Option<Traffic>>,
    /// What the traffic before the present one saw.
    ended: RefCell<Counts>,
    released: Cell<u32>,
}

/// What users saw, and which release answered those that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub requests: u64,
    pub failed: u64,
    pub lost: u64,
    /// Clients that gave up after ten seconds.
    pub given_up: u64,
    pub failed_by: BTreeMap<String, u64>,
}

impl Counts {
    fn of(snapshot: &medeclipse::load::Snapshot) -> Self {
        let failed_by = snapshot.by_version.iter().filter(|(_, label)| label.failed > 0);
        Self {
            requests: snapshot.requests,
            failed: snapshot.failed,
            lost: snapshot.connections.lost(),
            given_up: snapshot.by_class.get(&Failure::Timeout).copied().unwrap_or(0),
            failed_by: failed_by.map(|(version, label)| (version.clone(), label.failed)).collect(),
        }
    }

    fn plus(mut self, other: &Self) -> Self {
        self.requests += other.requests;
        self.failed += other.failed;
        self.lost += other.lost;
        self.given_up += other.given_up;
        for (version, failed) in &other.failed_by {
            *self.failed_by.entry(version.clone()).or_default() += failed;
        }
        self
    }
}

impl World {
    pub fn new() -> Self {
        let env = Env::new("");
        env.write_program("dist/serve.sh", "#!/bin/sh\nexec \"$CLINIC\"\n");
        let world =
            Self { env, traffic: RefCell::default(), ended: RefCell::default(), released: Cell::new(0) };
        world.rules("bake = \"0s\"");
        world.plan(&[]);
        world.up();
        world
    }

    /// Brings the environment up, its engine told where to look for places to die at.
    pub fn up(&self) {
        let output =
            self.env.command(&["up", "--detach"]).env("MEDECLIPSE_KILL_AT", self.plan_file()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "up: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Writes the manifest with these lines of `[service.web.rollout]` and what follows it.
    pub fn rules(&self, rollout: &str) {
        self.env.write_manifest(&format!(
            r#"
[service.web]
artifact = "dist"
command  = ["./serve.sh"]
replicas = {{ min = 2, max = 4 }}
expand   = ["/bin/sh", "-c", "echo $MEDECLIPSE_DEPLOYMENT >> {expanded}"]
env      = {{ CLINIC = "{clinic}", CLINIC_DB = "{folder}/clinic.db", CLINIC_DRAIN_MS = "3000" }}
health   = {{ live = "/api/health/live", ready = "/api/health/ready", interval = "200ms", timeout = "2s", start = "30s" }}
[service.web.rollout]
{rollout}
"#,
            expanded = self.expanded().display(),
            clinic = clinic().display(),
            folder = self.env.folder.path().display(),
        ));
    }

    /// Where each run of an expand migration leaves a line.
    pub fn expanded(&self) -> PathBuf {
        self.env.folder.path().join("expanded")
    }

    /// Makes the next release and returns its version.
    pub fn release(&self) -> String {
        self.released.set(self.released.get() + 1);
        let version = format!("v{}", self.released.get());
        fs::write(self.env.folder.path().join("dist/release"), &version).unwrap();
        version
    }

    /// Deploys a version and returns how that ended.
    pub fn deploy(&self, version: &str, more: &[&str]) -> Ran {
        let label = format!("CLINIC_VERSION={version}");
        self.ask(&[&["deploy", "--version", version, "--env-var", &label], more].concat())
    }

    /// Runs a command, again while no engine answers: it is being started.
    pub fn ask(&self, args: &[&str]) -> Ran {
        let until = std::time::Instant::now() + ENGINE_AWAY;
        loop {
            let ran = self.env.run(args);
            if ran.code != 7 || std::time::Instant::now() > until {
                return ran;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Runs a command whose end must be one of these.
    pub fn must(&self, args: &[&str], codes: &[i32]) -> Ran {
        let ran = self.ask(args);
        assert!(
            codes.contains(&ran.code),
            "medeclipse {args:?} ended with {}: {}{}",
            ran.code,
            ran.out,
            ran.err
        );
        ran
    }

    fn plan_file(&self) -> PathBuf {
        self.env.folder.path().join("kill.json")
    }

    /// Names the places to die at from now on.
    pub fn plan(&self, places: &[String]) {
        let write = |name: &str, text: String| {
            // Renamed: the engine must never read half of it.
            let scratch = self.env.folder.path().join(format!("{name}.new"));
            fs::write(&scratch, text).unwrap();
            fs::rename(scratch, self.env.folder.path().join(name)).unwrap();
        };
        write("kill.killed", "[]".to_owned());
        write("kill.json", serde_json::to_string(places).unwrap());
    }

    /// Returns where it died, and at what.
    pub fn killed(&self) -> Vec<(String, String)> {
        self.listed("kill.killed")
    }

    /// Returns the places it has not come to.
    pub fn to_come(&self) -> Vec<String> {
        self.listed("kill.json")
    }

    /// Reads a list that the engine may have written last, in its own way.
    fn listed<T: serde::de::DeserializeOwned>(&self, name: &str) -> Vec<T> {
        drivers::files::read(&self.env.folder.path().join(name)).ok().flatten().unwrap_or_default()
    }

    /// Kills the engine that runs now, from outside.
    pub fn kill_engine(&self) {
        let pid = fs::read_to_string(self.env.state().join("run/engine.pid")).unwrap_or_default();
        if let Some(pid) = pid.split_whitespace().next().and_then(|word| word.parse().ok()) {
            kill(pid, "KILL");
        }
    }

    pub fn journal(&self) -> PathBuf {
        self.env.state().join("journal/web@local.db")
    }

    /// Returns every record of the journal, read beside the engine.
    pub fn records(&self) -> Vec<EventRecord> {
        let read = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(self.journal(), flags)?;
            connection.busy_timeout(Duration::from_secs(5))?;
            let mut select = connection.prepare(
                "SELECT v, seq, at, deployment, actor, body, prev_hash, hash FROM events ORDER BY seq",
            )?;
            let rows = select.query_map([], |row| Ok(record(row)))?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        // There is no journal before the first deploy.
        read().unwrap_or_default()
    }

    /// Returns what the journal adds up to.
    pub fn state(&self) -> State {
        let mut state = State::new(Target::new("web", "local"));
        for record in self.records() {
            state.apply(&record.event, record.seq, record.at);
        }
        state
    }

    /// Waits until nothing of a rollout is under way: nothing runs, leaves, or waits to be replaced.
    pub fn settle(&self, hot_too: bool) -> State {
        eventually("the target comes to rest", PATIENCE_S, || {
            let state = self.state();
            let rests = state.deployment.is_none() && state.leaving.is_empty() && state.to_replace.is_empty();
            (rests && (state.hot.is_none() || !hot_too)).then_some(state)
        })
    }

    /// Sends requests from now on.
    pub fn send(&self) {
        *self.traffic.borrow_mut() = Some(Traffic::clinic(&self.env, 4, 2, Some(RATE)));
    }

    /// Sends no more requests until told to.
    pub fn silence(&self) {
        if let Some(traffic) = self.traffic.take() {
            let counts = Counts::of(&traffic.end().counts);
            self.ended.replace_with(|before| before.clone().plus(&counts));
        }
    }

    /// Waits until so many more requests were answered.
    pub fn more(&self, requests: u64) {
        if let Some(traffic) = self.traffic.borrow().as_ref() {
            traffic.more(requests);
        }
    }

    pub fn counts(&self) -> Counts {
        let now = self.traffic.borrow().as_ref().map(|traffic| Counts::of(&traffic.so_far()));
        self.ended.borrow().clone().plus(&now.unwrap_or_default())
    }
}

fn record(row: &Row<'_>) -> EventRecord {
    let text = |place: usize| row.get::<_, String>(place).unwrap();
    let body: Event = serde_json::from_str(&text(5)).unwrap();
    EventRecord {
        v: row.get(0).unwrap(),
        seq: row.get(1).unwrap(),
        at: Millis(row.get(2).unwrap()),
        target: Target::new("web", "local"),
        deployment: row
            .get::<_, Option<String>>(3)
            .unwrap()
            .map(|id| serde_json::from_value(id.into()).unwrap()),
        actor: Actor::from(text(4).as_str()),
        event: body,
        prev_hash: text(6),
        hash: text(7),
    }
}
