//! Looks at everything an engine could have left behind, from outside: processes, sockets, files, the journal.
//! Returns what is wrong in words; each answers to one promise.

use crate::harness::processes_of;
use crate::world::World;
use rollout::machine::State;
use rollout::names::Target;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// How long what leaves may take until it is gone, on a busy machine: its grace, and a look.
const GONE_WITHIN: Duration = Duration::from_secs(20);
/// The age an artefact is given so that it may be collected, if nobody wants it.
const OLD: Duration = Duration::from_secs(3600);

/// Returns what is wrong with a target that has come to rest; things that just leave have some seconds.
pub fn at_rest(world: &World) -> Vec<String> {
    let until = Instant::now() + GONE_WITHIN;
    loop {
        let state = world.state();
        let mut wrong = replicas(world, &state);
        wrong.extend(edge(world, &state));
        if wrong.is_empty() || Instant::now() > until {
            wrong.extend(tasks(world));
            wrong.extend(journal(world));
            return wrong;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Returns the replicas that run, by the name they were given.
fn running(world: &World) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    for pid in processes_of(world.env.folder.path()) {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let environ = String::from_utf8_lossy(&environ).into_owned();
        let value = |key: &str| environ.split('\0').find_map(|pair| pair.strip_prefix(key));
        // A spare, which only shows that a release could be started, has the name a replica may have, too.
        let spare = value("MEDECLIPSE_ENVIRONMENT=").is_some_and(|name| name.ends_with(".spare"));
        if let Some(name) = value("MEDECLIPSE_REPLICA=") {
            found.insert(if spare { format!("spare {name}") } else { name.to_owned() }, pid);
        }
    }
    found
}

/// No orphan process, no leaked port, no stray file: what runs, what is recorded and what is wanted are the same.
fn replicas(world: &World, state: &State) -> Vec<String> {
    let mut wrong = Vec::new();
    let running = running(world);
    let wanted: u32 = state.wanted_revisions().values().map(|wanted| wanted.replicas).sum();
    if running.len() as u32 != wanted {
        wrong.push(format!("{wanted} replicas are wanted, these run: {running:?}"));
    }
    let dir = world.env.state().join("replicas/web@local");
    for name in names(&dir) {
        if [".lock", ".fence.json", ".twin-fence.json"].contains(&name.as_str()) {
            continue;
        }
        let record = read(&dir.join(&name).join("record.json"));
        let claim = read(&dir.join(&name).join("claim.json"));
        let pid = claim["runs"]["pid"].as_u64();
        if pid.is_none() || running.get(&name).map(|pid| u64::from(*pid)) != pid {
            wrong.push(format!("replicas/web@local/{name} is left: {record} {claim}"));
            continue;
        }
        let address = record["address"].as_str().unwrap_or_default();
        if TcpStream::connect(address).is_err() {
            wrong.push(format!("{name} holds {address} and does not listen"));
        }
        wrong.extend(scratch(&dir.join(&name)));
        wrong.extend(
            groups(&record)
                .into_iter()
                .filter(|group| !running.contains_key(group))
                .map(|group| format!("the control group of {group} is left")),
        );
    }
    for name in running.keys().filter(|name| !dir.join(name).exists()) {
        wrong.push(format!("{name} runs and is recorded nowhere"));
    }
    // A record that is kept twice has a twin beside it.
    let known = [".ports.lock", ".port.last", "web@local", "web@local.spare"];
    let around = names(&world.env.state().join("replicas")).into_iter();
    let around = around.filter(|name| !known.contains(&name.as_str()) && !name.starts_with(".twin-"));
    wrong.extend(around.map(|name| format!("replicas/{name} is left")));
    let spares = names(&world.env.state().join("replicas/web@local.spare")).into_iter();
    let spares = spares.filter(|name| name != ".lock" && !name.ends_with("fence.json"));
    wrong.extend(spares.map(|name| format!("replicas/web@local.spare/{name} is left")));
    wrong
}

/// Returns the replicas that have a control group beside this one's.
fn groups(record: &Value) -> BTreeSet<String> {
    let folders = record["cgroup"]["folders"].as_array().cloned().unwrap_or_default();
    let beside = folders.iter().filter_map(|folder| Path::new(folder.as_str()?).parent());
    let folders = beside.flat_map(|above| fs::read_dir(above).into_iter().flatten().flatten());
    let folders = folders.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The edge sends every request to stable, and to nobody who is gone.
fn edge(world: &World, state: &State) -> Vec<String> {
    let ran = world.ask(&["status", "--json"]);
    let status: Value = serde_json::from_str(&ran.out).unwrap_or_default();
    let service = &status["services"][0];
    let stable = state.stable.as_ref().map(|placed| placed.revision.0);
    let mut wrong = Vec::new();
    if service["phase"] != "idle" || service["weight"] != 0 || !service["candidate"].is_null() {
        wrong.push(format!("the service is not at rest: {service}"));
    }
    let replicas = &service["stable"]["replicas"];
    if service["stable"]["revision"].as_u64() != stable || replicas["ready"] != replicas["wanted"] {
        wrong.push(format!("stable should be revision {stable:?}: {}", service["stable"]));
    }
    wrong
}

/// Tasks that ended are remembered; nothing else lies there, and no migration ran twice.
fn tasks(world: &World) -> Vec<String> {
    let dir = world.env.state().join("tasks/web@local");
    let mut wrong = Vec::new();
    for name in names(&dir) {
        let folder = dir.join(&name);
        if name.starts_with('.')
            || !folder.join("record.json").exists()
            || !folder.join("ended.json").exists()
        {
            wrong.push(format!("tasks/web@local/{name} is left: {:?}", names(&folder)));
        }
        wrong.extend(scratch(&folder));
    }
    let text = fs::read_to_string(world.expanded()).unwrap_or_default();
    let distinct: BTreeSet<&str> = text.lines().collect();
    if distinct.len() != text.lines().count() {
        wrong.push(format!("a migration ran twice: {text:?}"));
    }
    wrong
}

/// The journal is whole: the engine's own reader takes a copy of it, and its rows are chained.
fn journal(world: &World) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::new("web", "local");
    let copy = folder.path().join("web@local.db");
    let copied = rusqlite::Connection::open(world.journal())
        .and_then(|journal| journal.execute("VACUUM INTO ?1", [copy.display().to_string()]));
    if let Err(error) = copied {
        return vec![format!("the journal cannot be copied: {error}")];
    }
    let mut read = 0;
    let opened = engine::journal::Journal::open(folder.path(), &target, None, |_| read += 1);
    let mut wrong: Vec<String> = opened.err().map(|damage| damage.text()).into_iter().collect();
    let records = world.records();
    if records.len() < read || records.iter().zip(1..).any(|(record, seq)| record.seq != seq) {
        wrong.push(format!("the journal has a hole: {read} rows"));
    }
    let stray = names(&world.env.state().join("journal"));
    wrong.extend(
        stray
            .into_iter()
            .filter(|name| !name.starts_with("web@local.db"))
            .map(|name| format!("journal/{name} is left")),
    );
    wrong
}

/// Makes every artefact old, waits for the engine's own collection, and returns what it left or took too much of.
pub fn artefacts(world: &World) -> Vec<String> {
    let dir = world.env.state().join("artifacts");
    let then = SystemTime::now() - OLD;
    let age = |path: &Path| {
        if let Ok(file) = fs::File::open(path) {
            let _collected_meanwhile = file.set_modified(then);
        }
    };
    let until = Instant::now() + GONE_WITHIN;
    loop {
        names(&dir).iter().for_each(|name| age(&dir.join(name)));
        names(&dir.join("tmp"))
            .iter()
            .filter(|name| *name != ".lock")
            .for_each(|name| age(&dir.join("tmp").join(name)));
        let found: BTreeSet<String> = names(&dir).into_iter().filter(|name| name != "tmp").collect();
        let wanted = world.state().artifacts_in_use();
        let tmp: Vec<String> = names(&dir.join("tmp")).into_iter().filter(|name| name != ".lock").collect();
        if found == wanted && tmp.is_empty() {
            return Vec::new();
        }
        if Instant::now() > until {
            return vec![format!(
                "artifacts/ holds {found:?} and tmp {tmp:?}, what may be gone back to is {wanted:?}"
            )];
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Returns the files in a folder that a killed writer left.
fn scratch(folder: &Path) -> Vec<String> {
    let hidden =
        names(folder).into_iter().filter(|name| name.starts_with('.') && !name.starts_with(".twin-"));
    hidden.map(|name| format!("{}/{name} is left", folder.display())).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn read(path: &Path) -> Value {
    drivers::files::read(path).ok().flatten().unwrap_or_default()
}
