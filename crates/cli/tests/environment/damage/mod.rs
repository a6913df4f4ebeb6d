//! Walks over every file and folder of a real state directory and damages each in every way (O10): the other service goes
//! on being served and deployed, the damaged one goes on, repairs itself, or says what is wrong and what to do, and does
//! work again after that. `script/test` takes one file of each kind; `DAMAGE=all` (`script/bench damage`) takes all.

mod files;
mod other;
mod walk;

use files::Damage;
use std::collections::{BTreeMap, BTreeSet};
use walk::{After, Case, Situation, Walk};

/// Draws which byte, file and situation a case gets. Another one: `DAMAGE_SEED=N`.
const SEED: u64 = 20_261_128;

fn seed() -> u64 {
    std::env::var("DAMAGE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(SEED)
}

/// A number that looks drawn and is always the same (SplitMix64).
fn random(seed: u64, words: &str) -> u64 {
    let mut state = seed;
    for byte in words.bytes() {
        state = (state ^ u64::from(byte)).wrapping_add(0x9e37_79b9_7f4a_7c15);
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state ^= state >> 27;
    }
    state
}

/// What came of the cases, by kind of file and damage.
type Table = BTreeMap<String, BTreeMap<Damage, BTreeSet<After>>>;

/// Goes through every kind of file that an environment has, in one situation; one of `slices` that go side by side,
/// because an engine that is killed again and again is started ever later.
fn walk(situation: Situation, slice: u64, slices: u64) -> Table {
    let all = std::env::var("DAMAGE").is_ok_and(|word| word == "all");
    let mut walk = Walk::begin(situation);
    let mut table = Table::new();
    for (kind, first) in walk.kinds() {
        for damage in Damage::ALL {
            let drawn = random(seed(), &format!("{kind} {damage:?}"));
            // One situation for each, whichever comes by lot: all of them together see every kind and damage.
            let situations = Situation::ALL.len() as u64;
            let by_lot = drawn % situations == situation as u64;
            if !(all || by_lot) || (drawn / situations) % slices != slice {
                continue;
            }
            let count = if all { first } else { 1 };
            for number in 0..count {
                let case = Case { kind: kind.clone(), damage, number: number as u64, random: drawn >> 8 };
                if let Some(after) = walk.case(&case) {
                    table.entry(kind.clone()).or_default().entry(damage).or_default().insert(after);
                }
            }
        }
    }
    walk.end();
    table
}

fn print(title: &str, table: &Table) {
    println!("{title}");
    for (kind, row) in table {
        for (damage, afters) in row {
            let texts: Vec<String> = afters.iter().map(ToString::to_string).collect();
            println!("| {kind} | {damage:?} | {} |", texts.join("; "));
        }
    }
}

/// Walks in all slices at once and prints one table.
fn walk_all(situation: Situation, title: &str) {
    let slices = if matches!(situation, Situation::Running | Situation::Canary) { 3 } else { 1 };
    let mut table = Table::new();
    let walks: Vec<_> =
        (0..slices).map(|slice| std::thread::spawn(move || walk(situation, slice, slices))).collect();
    for walked in walks {
        for (kind, row) in walked.join().expect("the walk has reached its end") {
            for (damage, afters) in row {
                table.entry(kind.clone()).or_default().entry(damage).or_default().extend(afters);
            }
        }
    }
    print(title, &table);
}

#[test]
fn o10_a_file_damaged_while_all_runs_disturbs_no_other_service() {
    walk_all(Situation::Running, "while all runs; then the engine is killed");
}

#[test]
fn o10_a_file_damaged_in_a_canary_disturbs_no_other_service() {
    walk_all(Situation::Canary, "while a canary bakes; then the engine is killed");
}

#[test]
fn o10_a_file_damaged_while_down_with_replicas_kept_disturbs_no_other_service() {
    walk_all(Situation::Kept, "while down with its replicas kept; then up");
}

#[test]
fn o10_a_file_damaged_while_down_disturbs_no_other_service() {
    walk_all(Situation::Down, "while down; then up");
}
