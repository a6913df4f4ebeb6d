//! Prints the judge's tables: false returns, long watches, detection, distance to the bound, cost. `script/bench judge`
//! runs it and keeps what it printed in docs/measurements.md. Words: names of tables (all without one), and
//! `--runs TIMES` (watches a cell, in multiples of the default), `--deployments N`, `--references N`, `--seed N`, `--threads N`.

use rollout::plan::JudgeSettings;
use sim::ours::{Known, Reference};
use sim::tables::{self, Library, Sizes};
use sim::traffic::{Mode, Scene, Second, Traffic};
use std::hint::black_box;
use std::time::{Duration, Instant};

type Table = fn(&Sizes, &mut Library) -> String;

const TABLES: [(&str, Table); 7] = [
    ("cost", cost),
    ("false-returns", tables::false_returns),
    ("detection", tables::detection),
    ("distance", tables::distance),
    ("hold-back", tables::hold_back),
    ("long", tables::long_watches),
    ("deployments", tables::deployments),
];

fn main() {
    let (asked, words): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| word == "--bench");
    if asked.is_empty() {
        // Run as a test: there is nothing to check, and minutes to lose.
        return;
    }
    let (sizes, names) = sizes(&words).unwrap_or_else(|wrong| {
        eprintln!("error: {wrong}");
        std::process::exit(2)
    });
    println!("command: judge {}\ncommit: {}\nsizes: {sizes:?}\n", words.join(" "), commit());
    let mut library = Library::new(JudgeSettings::default(), sizes);
    let began = Instant::now();
    for (name, table) in TABLES {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            let began = Instant::now();
            println!("## {name}\n\n{}", table(&sizes, &mut library));
            println!("({:.0} s)\n", began.elapsed().as_secs_f64());
        }
    }
    println!("{:.0} s in all", began.elapsed().as_secs_f64());
}

/// Reads the words of the command line.
fn sizes(words: &[String]) -> Result<(Sizes, Vec<String>), String> {
    let mut sizes = Sizes::default();
    let mut names = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(option) = word.strip_prefix("--") else {
            names.push(word.clone());
            continue;
        };
        let number = words.next().and_then(|text| text.parse::<u64>().ok());
        let number = number.ok_or_else(|| format!("cannot read --{option}: give a whole number"))?;
        match option {
            "runs" => sizes = sizes.times(number),
            "deployments" => sizes.deployments = number,
            "references" => sizes.references = number.max(1),
            "seed" => sizes.seed = number,
            "threads" => sizes.threads = number as usize,
            _ => {
                return Err(format!(
                    "cannot understand --{option}: see the first lines of crates/sim/benches/judge.rs"
                ));
            }
        }
    }
    let known = |name: &String| TABLES.iter().any(|(table, _)| table == name);
    match names.iter().find(|name| !known(name)) {
        Some(name) => {
            Err(format!("cannot print {name}: tables are {}", TABLES.map(|(name, _)| name).join(", ")))
        }
        None => Ok((sizes, names)),
    }
}

/// What the judge itself takes, on one thread.
fn cost(sizes: &Sizes, library: &mut Library) -> String {
    const DAY_S: u64 = 86_400;
    let settings = library.settings.clone();
    let mut text = String::new();
    for (mode, name) in tables::MODES {
        let scene = Scene::steady(1000.0, 0.1, 0.001, mode);
        let reference = Reference::draw(&settings, &scene, DAY_S, sizes.seed, 0);
        let (took, known) = timed(|| Known::learned(&settings, &reference));
        text += &format!("calibration on 24 h, weight 10 %, {name}: {:.0} ms\n", took.as_secs_f64() * 1e3);
        if mode == Mode::Independent {
            text += &of_a_watch(&known, &Traffic::new(scene), sizes.seed);
        }
    }
    text
}

fn of_a_watch(known: &Known, traffic: &Traffic, seed: u64) -> String {
    const REPEATS: u32 = 20;
    let mut stream = traffic.stream(seed, 0);
    let seconds: Vec<Second> = (0..tables::WATCH_S).map(|_| stream.advance().clone()).collect();
    let (mut plain, mut starts, mut verdicts) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for _ in 0..REPEATS {
        let mut watcher = known.watcher(traffic);
        for second in &seconds {
            let record = watcher.report(second).clone();
            let (took, ()) = timed(|| watcher.judge.add(black_box(&record)));
            // Blocks of five seconds: the first second of each refreshes every component.
            *(if second.second.is_multiple_of(5) { &mut starts } else { &mut plain }) += took;
            verdicts += timed(|| black_box(watcher.judge.verdict())).0;
        }
    }
    let all = f64::from(REPEATS) * tables::WATCH_S as f64;
    format!(
        "record: {:.2} µs; record that starts a block: {:.1} µs; verdict with its evidence: {:.2} µs\n",
        plain.as_secs_f64() / (all * 0.8) * 1e6,
        starts.as_secs_f64() / (all * 0.2) * 1e6,
        verdicts.as_secs_f64() / all * 1e6
    )
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let began = Instant::now();
    let result = work();
    (began.elapsed(), result)
}

fn commit() -> String {
    let output = std::process::Command::new("git").args(["describe", "--always", "--dirty"]).output();
    output.map_or("unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
