//! Breaks the core on purpose, in a copy of the workspace, and asks the simulation to notice: a checker that catches
//! nothing is found here. The breakages are data, see `mutants.toml`; all are built at once and switched on one by one.

#![allow(clippy::unwrap_used)]

use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Lives that every breakage is looked for in, from the first seed on. `MUTANT_LIVES` asks for more.
const LIVES: u64 = 2_500;
/// The first seed: a fixed one, so that every run sees the same lives.
const SEED: u64 = 1;
/// The workspace's members: with all of them Cargo asks the same of their dependencies as it did for the workspace, and finds
/// these built.
const MEMBERS: &[&str] = &["crates", "examples/clinic"];
/// Chooses a breakage in the copy, by its number from 1.
const SWITCH: &str = "MEDECLIPSE_MUTANT";

const SWITCHED: &str = r#"
/// Tells whether this deliberate breakage is on.
pub fn mutant(number: u32) -> bool {
    static ON: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    let asked = || std::env::var("MEDECLIPSE_MUTANT").ok().and_then(|text| text.parse().ok());
    *ON.get_or_init(|| asked().unwrap_or(0)) == number
}
"#;

#[derive(Debug, Deserialize)]
struct Mutants {
    mutant: Vec<Mutant>,
}

#[derive(Debug, Deserialize)]
struct Mutant {
    name: String,
    file: String,
    from: String,
    to: String,
}

/// What became of one breakage.
#[derive(Debug)]
struct Found {
    checker: String,
    seed: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn mutants() -> Vec<Mutant> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("mutants.toml")).unwrap();
    toml::from_str::<Mutants>(&text).unwrap().mutant
}

#[test]
fn every_deliberate_breakage_of_the_core_is_caught_by_a_checker() {
    let mutants = mutants();
    let program = build(&mutants);
    let lives = std::env::var("MUTANT_LIVES").ok().and_then(|text| text.parse().ok()).unwrap_or(LIVES);

    assert!(search(&program, 0, lives).is_none(), "the core is caught without a breakage");
    let began = Instant::now();
    let found = search_all(&program, mutants.len(), lives);

    let mut table = String::new();
    for (mutant, found) in mutants.iter().zip(&found) {
        let by = found.as_ref().map_or("NOT CAUGHT", |found| &found.checker);
        let seed = found.as_ref().map_or("-", |found| &found.seed);
        writeln!(table, "  {by:<46} seed {seed:>5}  {}", mutant.name).unwrap();
    }
    let caught = found.iter().flatten().count();
    println!("{table}{caught}/{} breakages caught in {:.0?}", mutants.len(), began.elapsed());
    assert_eq!(caught, mutants.len(), "a breakage of the core is not noticed:\n{table}");
}

/// Copies the members, puts every breakage in, and builds the simulation once.
fn build(mutants: &[Mutant]) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants");
    let mut files = BTreeMap::new();
    for member in MEMBERS {
        read(&root().join(member), Path::new(member), &mut files);
    }
    let mut broken: BTreeMap<PathBuf, String> = BTreeMap::new();
    for (number, mutant) in (1u32..).zip(mutants) {
        let path = PathBuf::from(&mutant.file);
        let text = broken.remove(&path).unwrap_or_else(|| files[&path].clone());
        broken.insert(path, put_in(mutant, number, &text, &files[Path::new(&mutant.file)]));
    }
    files.extend(broken);
    let lib = files.get_mut(Path::new("crates/rollout/src/lib.rs")).unwrap();
    lib.push_str(SWITCHED);
    // Its own name: the real program lies in the same folder.
    let manifest = files.get_mut(Path::new("crates/sim/Cargo.toml")).unwrap();
    *manifest =
        manifest.replace("name = \"sim\"\npath = \"src/bin", "name = \"sim-broken\"\npath = \"src/bin");
    files.insert("Cargo.toml".into(), workspace());
    files.insert("Cargo.lock".into(), fs::read_to_string(root().join("Cargo.lock")).unwrap());
    for (path, text) in &files {
        write(&place.join(path), text);
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline", "--bin", "sim-broken", "--target-dir"])
        .arg(target)
        .current_dir(&place)
        .env("CARGO_TERM_COLOR", "never")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&built.stderr).into_owned();
    assert!(built.status.success(), "the broken core does not build:\n{said}");
    target.join("debug/sim-broken")
}

/// The breakage as text: what stood there, or what stands there while it is on.
fn put_in(mutant: &Mutant, number: u32, text: &str, original: &str) -> String {
    assert_eq!(
        original.matches(&mutant.from).count(),
        1,
        "`{}` is to stand once in {}",
        mutant.from,
        mutant.file
    );
    assert_eq!(text.matches(&mutant.from).count(), 1, "\"{}\" overlaps another breakage", mutant.name);
    let home = if mutant.file.starts_with("crates/rollout/") { "crate" } else { "rollout" };
    let on = format!("{home}::mutant({number})");
    let new = if mutant.to.contains("BROKEN") {
        mutant.to.replace("BROKEN", &on)
    } else {
        format!("(if {on} {{ {} }} else {{ {} }})", mutant.to, mutant.from)
    };
    text.replace(&mutant.from, &new)
}

/// The workspace's settings for the copy. Its members have a version of their own: Cargo would keep what it builds
/// of them under the same names in the folder it shares with the real ones, and link those with breakages.
fn workspace() -> String {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let version = format!("version = \"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(text.contains(&version), "the workspace's version is written otherwise");
    text.replacen(&version, "version = \"0.0.0-broken\"", 1)
}

fn read(from: &Path, to: &Path, files: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = to.join(path.file_name().unwrap());
        if path.is_dir() {
            read(&path, &name, files);
        } else if let Ok(text) = fs::read_to_string(&path) {
            files.insert(name, text);
        }
    }
}

/// Writes what differs: what is the same is not built again.
fn write(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return;
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn search_all(program: &Path, count: usize, lives: u64) -> Vec<Option<Found>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return found;
            }
            found.push((at, search(program, at + 1, lives)));
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let mut all: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, found)| found).collect()
}

/// Lets the simulation look for a breakage, by its number; 0: none is on.
fn search(program: &Path, number: usize, lives: u64) -> Option<Found> {
    let ran = Command::new(program)
        .args([
            "--many",
            &lives.to_string(),
            "--seed",
            &SEED.to_string(),
            "--threads",
            "1",
            "--stop-at-first",
            "--scripts",
        ])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts"))
        .env(SWITCH, number.to_string())
        .output()
        .unwrap();
    let said = [ran.stdout, ran.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let violation = said.lines().find_map(|line| line.strip_prefix("violation: "));
    match (ran.status.code(), violation) {
        (Some(0), _) => None,
        (Some(1), Some(line)) => {
            let (checker, seed) = line.split_once(" seed ").unwrap_or((line, "?"));
            Some(Found { checker: checker.to_owned(), seed: seed.trim().to_owned() })
        }
        // A search in which something that should happen never did has failed, too.
        (Some(1), None) => {
            let missing = said.lines().find_map(|line| line.strip_prefix("never occurred: "));
            let missing =
                missing.unwrap_or_else(|| panic!("breakage {number} failed without a word:\n{said}"));
            Some(Found { checker: format!("coverage ({missing})"), seed: "-".to_owned() })
        }
        // `BUG:` the core noticed it by itself.
        (Some(101), _) => Some(Found { checker: "a panic of the core".to_owned(), seed: "-".to_owned() }),
        _ => panic!("breakage {number} ended with {:?}:\n{said}", ran.status),
    }
}
