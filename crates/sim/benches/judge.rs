//! Prints the judge's tables: false returns, long watches, detection, distance to the bound, cost. `script/bench judge`
//! runs it and keeps what it printed in docs/measurements.md. Words: names of tables (all without one), and
//! `--runs TIMES` (watches a cell, in multiples of the default), `--deployments N`, `--references N`, `--seed N`, `--threads N`.

use rollout::judge::policy::Policy;
use sim::tables::{self, Library, Sizes};
use std::time::Instant;

type Table = fn(&Sizes, &mut Library) -> String;

const TABLES: [(&str, Table); 6] = [
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

fn commit() -> String {
    let output = std::process::Command::new("git").args(["describe", "--always", "--dirty"]).output();
    output.map_or("unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
