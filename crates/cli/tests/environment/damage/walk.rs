//! Does one damage after the other to `web` of an environment of two services, and brings it back to health each time.

use super::files::{self, Damage};
use super::other::Other;
use crate::harness::{Env, eventually, kill, request};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// When the damage happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Situation {
    Running = 0,
    Canary = 1,
    Kept = 2,
    Down = 3,
}

impl Situation {
    pub const ALL: [Situation; 4] = [Situation::Running, Situation::Canary, Situation::Kept, Situation::Down];
}

/// One damage.
pub struct Case {
    pub kind: String,
    pub damage: Damage,
    /// Which of the files of this kind.
    pub number: u64,
    pub random: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum After {
    /// It went on, and said nothing.
    Unharmed,
    /// It went on, and says what it did.
    Repaired(String),
    /// It says what is wrong; it worked again after what it said to do.
    Reported(String),
}

impl fmt::Display for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            After::Unharmed => f.write_str("nothing is lost"),
            After::Repaired(text) => write!(f, "repaired: {text}"),
            After::Reported(text) => write!(f, "reported: {text}"),
        }
    }
}

/// An environment of two services.
pub struct Walk {
    situation: Situation,
    // Before the environment: it asks as long as that is up.
    other: Other,
    env: Env,
    web: PathBuf,
    deployed: u32,
    kills: usize,
    cases: usize,
}

/// Time for what must come back to come back; far more than it takes, on a loaded machine.
const BACK: u64 = 30;

impl Walk {
    pub fn begin(situation: Situation) -> Self {
        let env = Env::new("");
        // An artefact of its own for each: what is done to one's is not done to the other's.
        let own = |name: &str| {
            let path = env.folder.path().join(format!("{name}-artifact"));
            fs::create_dir(&path).unwrap();
            fs::copy(crate::harness::clinic(), path.join("clinic")).unwrap();
            fs::write(path.join("name"), name).unwrap();
            path
        };
        let named = |name: &str, rollout: &str| {
            let clinic = format!("artifact = {:?}", crate::harness::clinic());
            let head = format!("[service.{name}]\nhosts = [\"{name}.example\"]");
            env.clinic_service(rollout)
                .replace("clinic.db", &format!("{name}.db"))
                .replace(&clinic, &format!("artifact = {:?}", own(name)))
                .replace("service.web", &format!("service.{name}"))
                .replacen(&format!("[service.{name}]"), &head, 1)
        };
        let canary = "strategy = \"canary\"\nsteps = [50, 100]\nstep_bake = \"60s\"\nbake = \"60s\"\nkeep_hot = \"0s\"\ndrain = \"1s\"";
        let rollout = if situation == Situation::Canary { canary } else { crate::QUICK };
        env.write_manifest(&format!("{}{}", named("web", rollout), named("api", crate::QUICK)));
        env.up();
        deploy(&env, "web", "v0", &[]);
        deploy(&env, "api", "v0", &[]);
        let web = env.state().join("artifacts").join(digest(&env, env.folder.path().join("web-artifact")));
        let other = Other::on(env.address, "api.example");
        Self { situation, env, other, web, deployed: 0, kills: 0, cases: 0 }
    }

    /// Returns the kinds of files there are, and how many of each.
    pub fn kinds(&mut self) -> Vec<(String, usize)> {
        self.enter_situation();
        let kinds = self.files().into_iter().map(|(kind, files)| (kind, files.len())).collect();
        self.out_of_situation();
        kinds
    }

    fn files(&self) -> BTreeMap<String, Vec<PathBuf>> {
        let digest = self.web.file_name().unwrap().to_string_lossy().into_owned();
        files::of(&self.env.state(), "web", &digest)
    }

    /// Does one damage and returns what came of it. None: there is no such file now, or it cannot be damaged so.
    pub fn case(&mut self, case: &Case) -> Option<After> {
        self.enter_situation();
        let files = self.files();
        let path = files.get(&case.kind).map(|files| files[case.number as usize % files.len()].clone());
        let Some(path) = path.filter(|path| case.damage.fits(path)) else {
            self.out_of_situation();
            return None;
        };
        let began = Instant::now();
        let other = self.content_of_another(&path);
        println!(
            "{:?}: {} {:?}",
            self.situation,
            path.strip_prefix(self.env.state()).unwrap().display(),
            case.damage
        );
        // Asked before the damage, which may be done to the very file that says it.
        let supervisor = self.is_up().then(|| self.supervisor());
        if !case.damage.apply(&path, case.random, &other) {
            println!("  it went by itself");
            self.out_of_situation();
            return None;
        }
        self.cases += 1;
        self.come_back(supervisor);
        let after = self.look(&path);
        self.make_well();
        if case.damage == Damage::Doubled {
            clear_double(&path);
        }
        println!("  {after}, {} ms", began.elapsed().as_millis());
        let (_, failed) = self.other.counts();
        assert_eq!(failed, 0, "requests of the other service failed");
        Some(after)
    }

    /// Returns what lies in a file of the same kind of the other service, or in any other.
    fn content_of_another(&self, path: &Path) -> Vec<u8> {
        let text = path.to_string_lossy().replace("web@local", "api@local").replace("web-", "api-");
        let candidates = [PathBuf::from(text), self.env.state().join("token"), self.env.manifest()];
        let found =
            candidates.iter().filter(|other| other.as_path() != path).find_map(|other| fs::read(other).ok());
        found.unwrap_or_default()
    }

    /// Brings the environment to where the damage happens.
    fn enter_situation(&mut self) {
        match self.situation {
            Situation::Running => {}
            Situation::Canary => {
                self.deployed += 1;
                let version = format!("v{}", self.deployed);
                deploy(&self.env, "web", &version, &["--detach"]);
                self.until("baking");
            }
            Situation::Kept => {
                self.other.pause();
                self.env.ok(&["down", "--keep-replicas"]);
            }
            Situation::Down => {
                self.other.pause();
                self.env.ok(&["down"]);
            }
        }
    }

    fn out_of_situation(&mut self) {
        match self.situation {
            Situation::Running => {}
            Situation::Canary => self.end_canary(),
            Situation::Kept | Situation::Down => self.up(),
        }
    }

    fn up(&mut self) {
        self.env.up();
        eventually("the other service is served", BACK, || self.version_of("api"));
        self.other.resume();
    }

    /// What a person would do without knowing of the damage: nothing, `up`, or a crash happens.
    fn come_back(&mut self, supervisor: Option<u32>) {
        match supervisor {
            Some(supervisor) => {
                let engine = eventually("the engine answers", BACK, || self.engine());
                kill(engine, "KILL");
                self.kills += 1;
                eventually("another engine", BACK, || self.engine().filter(|pid| *pid != engine));
                eventually("the same supervisor is named", BACK, || {
                    (self.supervisor() == supervisor).then_some(())
                });
            }
            None => self.up(),
        }
    }

    fn is_up(&self) -> bool {
        matches!(self.situation, Situation::Running | Situation::Canary)
    }

    fn supervisor(&self) -> u32 {
        let read =
            || fs::read_to_string(self.env.state().join("run/supervisor.pid")).ok()?.trim().parse().ok();
        eventually("the supervisor is named", BACK, read)
    }

    fn engine(&self) -> Option<u32> {
        let ran = self.env.run(&["status", "--json"]);
        let status: Value = serde_json::from_str(&ran.out).ok().filter(|_| ran.code == 0)?;
        Some(status["engine"]["pid"].as_u64()? as u32)
    }

    fn status(&self) -> Value {
        eventually("status", BACK, || serde_json::from_str(&self.env.run(&["status", "--json"]).out).ok())
    }

    fn service(&self, name: &str) -> Value {
        let status = self.status();
        let found = status["services"].as_array().unwrap().iter().find(|row| row["service"] == name);
        found.cloned().unwrap_or_default()
    }

    fn until(&self, phase: &str) {
        eventually(&format!("web is {phase}"), BACK, || {
            (self.service("web")["phase"] == phase).then_some(())
        });
    }

    fn version_of(&self, service: &str) -> Option<String> {
        let host = format!("{service}.example");
        let answer = request(self.env.address, "GET", "/api/slots", &[("Host", &host)], "").ok()?;
        answer.header("x-clinic-version").filter(|_| answer.status == 200)
    }

    /// Says what became of `web`: it serves, or it says why it does not.
    fn look(&self, path: &Path) -> After {
        let settled = eventually("web serves, or says why not", BACK, || {
            let web = self.service("web");
            let damaged = web["damage"].as_str().map(str::to_owned);
            if let Some(damage) = damaged {
                return Some(After::Reported(damage));
            }
            self.version_of("web").map(|_| After::Unharmed)
        });
        let status = self.status();
        let repaired = status["repaired"].as_array().cloned().unwrap_or_default();
        let name = path.to_string_lossy();
        let own = repaired.iter().find(|row| {
            row["file"].as_str().is_some_and(|file| file.starts_with(&*name) || name.starts_with(file))
        });
        match (settled, own) {
            (After::Unharmed, Some(row)) => {
                After::Repaired(row["text"].as_str().unwrap_or_default().to_owned())
            }
            (After::Reported(text), _) => {
                After::Reported(text.replace(&*self.env.state().to_string_lossy(), "STATE"))
            }
            (after, _) => after,
        }
    }

    /// Follows what the status says, and shows that both services are served and deployed.
    fn make_well(&mut self) {
        if self.service("web")["phase"] == "damaged" {
            self.begin_anew();
        } else if self.situation == Situation::Canary {
            self.end_canary();
        }
        self.deployed += 1;
        let version = format!("v{}", self.deployed);
        std::thread::scope(|scope| {
            scope.spawn(|| deploy(&self.env, "api", &version, &[]));
            scope.spawn(|| deploy(&self.env, "web", &version, &["--detach"]));
        });
        if self.situation == Situation::Canary {
            self.until("baking");
            self.env.ok(&["promote", "web", "--now"]);
        }
        for service in ["api", "web"] {
            eventually(&format!("{service} answers as {version}"), BACK, || {
                (self.version_of(service)? == version).then_some(())
            });
        }
        self.until("idle");
        eventually("two replicas each", BACK, || {
            ["web", "api"]
                .iter()
                .all(|name| self.service(name)["stable"]["replicas"]["ready"] == 2)
                .then_some(())
        });
    }

    /// Ends the canary, however far it has come.
    fn end_canary(&self) {
        if self.service("web")["phase"] != "idle" {
            let aborted = self.env.run(&["abort", "web"]);
            assert!([0, 3].contains(&aborted.code), "{aborted:?}");
        }
        self.until("idle");
    }

    /// Does what the damage of a journal says: the file away, and once more from the beginning.
    fn begin_anew(&mut self) {
        self.other.pause();
        self.env.ok(&["down"]);
        let state = self.env.state();
        for folder in ["journal", "journal-copy", "edge"] {
            for entry in fs::read_dir(state.join(folder)).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with("web@local.") {
                    fs::remove_file(entry.path()).unwrap();
                }
            }
        }
        self.up();
    }

    /// Ends the walk: nothing has panicked, and nothing has ended but what was killed.
    pub fn end(self) {
        let log =
            |name: &str| fs::read_to_string(self.env.state().join("logs").join(name)).unwrap_or_default();
        for name in ["engine.log", "edge.log", "supervisor.log"] {
            let text = log(name);
            let panics: Vec<&str> = text.lines().filter(|line| line.contains("panicked")).collect();
            assert!(panics.is_empty(), "{name}: {panics:?}");
        }
        let ends = log("supervisor.log").matches("starting it again").count();
        println!(
            "{:?}: {} cases, {} kills, {ends} ends; the other service: {:?}",
            self.situation,
            self.cases,
            self.kills,
            self.other.counts()
        );
        // A file mapped into memory that is cut takes its reader with it, once.
        assert!(ends <= self.kills + self.cases / 10 + 2, "{}", log("supervisor.log"));
    }
}

fn deploy(env: &Env, service: &str, version: &str, more: &[&str]) {
    let label = format!("CLINIC_VERSION={version}");
    let args = [&[service, "--version", version, "--env-var", &label], more].concat();
    env.deploy(&args, 0);
}

fn digest(env: &Env, artifact: PathBuf) -> String {
    let store = drivers::artifacts::Store::open(env.folder.path().join("scratch-store")).unwrap();
    store.put(&artifact).unwrap().digest
}

fn clear_double(path: &Path) {
    let name = format!("{} 2", path.file_name().unwrap().to_string_lossy());
    let double = path.with_file_name(name);
    let _gone_by_itself = fs::remove_dir_all(&double).or_else(|_| fs::remove_file(&double));
}
