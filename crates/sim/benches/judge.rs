//! Prints the judge's tables: false returns, long watches, detection, distance to the bound, cost. `script/bench judge`
//! runs it and keeps what it printed in docs/measurements.md. Words: names of tables (all without one), and
//! `--runs TIMES` (watches a cell, in multiples of the default), `--deployments N`, `--references N`, `--seed N`, `--threads N`.

use rollout::judge::policy::Policy;
use rollout::judge::process::Test;
use sim::ours::{Known, Reference};
use sim::tables::{self, Library, Sizes};
use sim::traffic::{Mode, Scene, Traffic};
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
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let (sizes, names) = sizes(&words).unwrap_or_else(|wrong| {
        eprintln!("error: {wrong}");
        std::process::exit(2)
    });
    println!("command: judge {}\ncommit: {}\nsizes: {sizes:?}\n", words.join(" "), commit());
    let mut library = Library::new(Policy::default(), sizes);
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
fn cost(sizes: &Sizes, _: &mut Library) -> String {
    const DAY_S: u64 = 86_400;
    const REPEATS: u32 = 20;
    let policy = Policy::default();
    let mut text = String::new();
    for (mode, name) in tables::MODES {
        let scene = Scene::steady(1000.0, 0.1, 0.001, mode);
        let reference = Reference::draw(&policy, &scene, DAY_S, sizes.seed, 0);
        let (calibration, known) = timed(|| Known::learned(&policy, &scene, &reference));
        text +=
            &format!("calibration on 24 h, weight 10 %, {name}: {:.0} ms\n", calibration.as_secs_f64() * 1e3);
        if mode == Mode::Bursts {
            continue;
        }
        let traffic = Traffic::new(scene);
        let records = known.records(&traffic, sizes.seed, 0, tables::WATCH_S);
        let watch = |policy: &Policy| {
            let pairs = known.calibration.pairs(policy, 0.1);
            let reference = known.calibration.reference(Vec::new(), None);
            let test = Test::new(policy.clone(), reference, 0.1, &pairs);
            let (all, ()) = timed(|| (0..REPEATS).for_each(|_| watch_once(test.clone(), &records)));
            all.as_secs_f64() / f64::from(REPEATS)
        };
        // Without blocks only the ordinary seconds are left; the rest of the time is what starting a block takes.
        let ordinary = watch(&Policy { block_seconds: u32::MAX, ..policy.clone() });
        let blocks = (tables::WATCH_S / u64::from(policy.block_seconds)) as f64;
        let (all, seconds) = (watch(&policy), tables::WATCH_S as f64);
        text += &format!(
            "record and decision: {:.0} ns; with the start of a block: {:.1} µs; mean: {:.0} ns a second of watch\n",
            ordinary / seconds * 1e9,
            (all - ordinary) / blocks * 1e6,
            all / seconds * 1e9
        );
    }
    text
}

fn watch_once(mut test: Test, records: &[rollout::judge::Counts]) {
    for record in records {
        test.add(black_box(record));
        black_box(test.is_decided());
    }
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
