//! Simulates whole engines in a false world: one life with everything that happened, or many in search of a broken promise.

use sim::checkers::{self, Violation};
use sim::search::{self, Found, Plan};
use sim::world::World;
use sim::world::script::{Script, ScriptError};
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: sim SEED                 lives one seed and prints what happened
       sim --script FILE        lives a script
       sim --many N [--seed FIRST] [--deployments D] [--threads T] [--stop-at-first] [--out FOLDER] [--scripts FOLDER]
                                lives the scripts of a folder, then N seeds (or until D deployments have ended); exit code 1
                                when a promise was broken or something never occurred; the shortest script of each broken
                                promise goes to FOLDER";
/// Seeds below which not everything needs to have occurred.
const COVERAGE_FROM: u64 = 2000;

#[derive(Default)]
struct Asked {
    seed: Option<u64>,
    script: Option<String>,
    scripts: Option<String>,
    many: Option<u64>,
    deployments: u64,
    threads: Option<usize>,
    stop_at_first: bool,
    out: Option<String>,
}

fn main() -> ExitCode {
    let asked = match read(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("error: {why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match (&asked.script, asked.many, asked.seed) {
        (Some(file), ..) => match std::fs::read_to_string(file)
            .map_err(|error| error.to_string())
            .and_then(|text| text.parse().map_err(|error: ScriptError| error.to_string()))
        {
            Ok(script) => one(&script),
            Err(why) => {
                eprintln!("error: cannot read {file}: {why}");
                ExitCode::from(2)
            }
        },
        (None, Some(seeds), _) => many(&asked, seeds),
        (None, None, Some(seed)) => one(&Script::draw(seed)),
        (None, None, None) => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn read(words: impl Iterator<Item = String>) -> Result<Asked, String> {
    let mut asked = Asked::default();
    let mut words = words;
    while let Some(word) = words.next() {
        let mut number = |name: &str| {
            let text = words.next().ok_or(format!("{name} needs a number"))?;
            text.parse::<u64>().map_err(|_| format!("`{text}` is no number"))
        };
        match word.as_str() {
            "--many" => asked.many = Some(number("--many")?),
            "--seed" => asked.seed = Some(number("--seed")?),
            "--deployments" => asked.deployments = number("--deployments")?,
            "--threads" => asked.threads = Some(number("--threads")? as usize),
            "--stop-at-first" => asked.stop_at_first = true,
            "--script" => asked.script = Some(words.next().ok_or("--script needs a file")?),
            "--scripts" => asked.scripts = Some(words.next().ok_or("--scripts needs a folder")?),
            "--out" => asked.out = Some(words.next().ok_or("--out needs a folder")?),
            text => asked.seed = Some(text.parse().map_err(|_| format!("`{text}` is no seed"))?),
        }
    }
    Ok(asked)
}

fn one(script: &Script) -> ExitCode {
    let world = World::live(script, true);
    for line in world.transcript.iter().flatten() {
        println!("{line}");
    }
    match world.violation {
        Some(violation) => {
            println!("violation: {} seed {}", violation.checker, script.seed);
            ExitCode::FAILURE
        }
        None => {
            println!("no promise was broken; {} deployments ended", world.coverage.deployments());
            ExitCode::SUCCESS
        }
    }
}

fn many(asked: &Asked, seeds: u64) -> ExitCode {
    let threads =
        asked.threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    let plan = Plan {
        first: asked.seed.unwrap_or(0),
        seeds,
        deployments: asked.deployments,
        threads,
        stop_at_first: asked.stop_at_first,
    };
    // A panic is a violation, reported with its seed; its own text would only repeat that.
    std::panic::set_hook(Box::new(|_| {}));
    match asked.scripts.as_deref().map(break_in).transpose() {
        Ok(None | Some(None)) => {}
        Ok(Some(Some((file, violation)))) => {
            println!("violation: {} seed {file}", violation.checker);
            return ExitCode::FAILURE;
        }
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::from(2);
        }
    }
    let began = Instant::now();
    let found = search::many(plan);
    let seconds = began.elapsed().as_secs_f64().max(1e-9);
    print!("{}", found.coverage);
    report(&found, seconds, threads);
    let missing = found.coverage.missing();
    let uncovered = found.seeds >= COVERAGE_FROM && !missing.is_empty();
    if !missing.is_empty() {
        println!("never occurred: {}", missing.join(", "));
    }
    for (seed, violation) in &found.violations {
        println!("violation: {} seed {seed}", violation.checker);
    }
    if !asked.stop_at_first {
        shorten(&found, asked.out.as_deref());
    }
    if found.violations.is_empty() && !uncovered { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Lives the scripts of a folder, by name; returns the first that breaks a promise.
fn break_in(folder: &str) -> Result<Option<(String, Violation)>, String> {
    let failed = |error: std::io::Error| format!("cannot read the scripts in {folder}: {error}");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(failed)?;
    paths.sort();
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let script = text.parse().map_err(|error: ScriptError| format!("{name}: {error}"))?;
        if let Some(violation) = search::live(&script).0 {
            return Ok(Some((name, violation)));
        }
    }
    Ok(None)
}

fn report(found: &Found, seconds: f64, threads: usize) {
    let (deployments, events) = (found.coverage.deployments(), found.coverage.events());
    println!(
        "{} seeds, {deployments} deployments, {events} events in {seconds:.1} s on {threads} threads: {:.0} seeds/s, {:.0} deployments/s; {} checkers, {} violations",
        found.seeds,
        found.seeds as f64 / seconds,
        deployments as f64 / seconds,
        checkers::NAMES.len(),
        found.violations.len(),
    );
}

/// Writes the shortest script of each broken promise.
fn shorten(found: &Found, folder: Option<&str>) {
    let mut seen = std::collections::BTreeSet::new();
    for (seed, violation) in &found.violations {
        if !seen.insert(violation.checker) {
            continue;
        }
        let script = search::minimise(&Script::draw(*seed), violation.checker);
        let text = format!(
            "# {}: {}\n{script}",
            violation.checker,
            violation.what.lines().next().unwrap_or_default()
        );
        println!("{text}");
        let Some(folder) = folder else { continue };
        let file = format!("{folder}/{}-{seed}.script", violation.checker);
        match std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&file, &text)) {
            Ok(()) => println!("written to {file}"),
            Err(error) => println!("cannot write {file}: {error}"),
        }
    }
}
