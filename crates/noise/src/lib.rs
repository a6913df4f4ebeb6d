//! Throws mutated inputs at a property, always the same for the same corpus: what `script/test` does of fuzzing.
//! Knows no coverage (`script/fuzz` does, and grows the corpora this begins from) and none of our types.

mod mutate;

use mutate::Mutator;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Inputs beyond this are cut: what is larger than that has tests of its own.
pub const INPUT_BYTES_MAX: usize = 64 << 10;
/// Attempts to make a failing input smaller.
const SHRINKS_MAX: usize = 2_000;
/// What the mutations of `script/test` begin from. Another seed is another run, `FUZZ_SEED=N`.
const SEED: u64 = 0x6d65_6465_636c;

/// What is fuzzed.
pub struct Target<'t> {
    /// The folder below `fuzz/corpus`.
    pub name: &'t str,
    /// Pieces that make an input almost right.
    pub words: &'t [&'t str],
    /// Mutated inputs of one run; the corpus itself comes first. `FUZZ_RUNS=N` is another number.
    pub runs: usize,
}

impl Target<'_> {
    /// Holds the property against every file of the corpus, then against mutations of them.
    ///
    /// # Panics
    ///
    /// Where it does not hold: with the input, made as small as it goes, and the file it was written to.
    pub fn hold(&self, property: impl Fn(&[u8])) {
        let corpus = self.corpus();
        assert!(!corpus.is_empty(), "{} has no corpus in {}", self.name, folder(self.name).display());
        for (name, input) in &corpus {
            self.attempt(name, input, &property);
        }
        let inputs: Vec<&[u8]> = corpus.iter().map(|(_, input)| input.as_slice()).collect();
        let mut mutator = Mutator::new(number("FUZZ_SEED").unwrap_or(SEED), &inputs, self.words);
        let runs = number("FUZZ_RUNS").map_or(self.runs, |runs| usize::try_from(runs).unwrap_or(usize::MAX));
        for run in 0..runs {
            self.attempt(&format!("mutation {run}"), &mutator.next(), &property);
        }
        println!("{}: {} files of the corpus and {runs} mutations held", self.name, corpus.len());
    }

    fn corpus(&self) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<PathBuf> =
            fs::read_dir(folder(self.name)).into_iter().flatten().flatten().map(|file| file.path()).collect();
        // The order of the folder is not the same on every machine.
        files.sort();
        let read = |path: PathBuf| {
            let input = fs::read(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
            (path.display().to_string(), input)
        };
        files.into_iter().map(read).collect()
    }

    fn attempt(&self, from: &str, input: &[u8], property: &impl Fn(&[u8])) {
        if holds(input, property) {
            return;
        }
        let small = quietly(|| shrunk(input, property));
        // Once more, for what it says.
        holds(&small, property);
        let path = std::env::temp_dir().join(format!("fuzz-{}-{}", self.name, std::process::id()));
        let kept = fs::write(&path, &small).map(|()| path.display().to_string());
        panic!(
            "{} does not hold for {from}, made as small as it goes: {:?}\nkept in {kept:?}; put it into {}",
            self.name,
            String::from_utf8_lossy(&small),
            folder(self.name).display()
        );
    }
}

fn holds(input: &[u8], property: &impl Fn(&[u8])) -> bool {
    catch_unwind(AssertUnwindSafe(|| property(input))).is_ok()
}

/// Keeps the panics of attempts to itself.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let done = work();
    std::panic::set_hook(told);
    done
}

/// Takes parts away as long as it still fails.
fn shrunk(input: &[u8], property: &impl Fn(&[u8])) -> Vec<u8> {
    let mut small = input.to_vec();
    let mut length = small.len().div_ceil(2);
    let mut left = SHRINKS_MAX;
    while length > 0 && left > 0 {
        let (mut from, before) = (0, small.len());
        while from < small.len() && left > 0 {
            let mut shorter = small.clone();
            shorter.drain(from..(from + length).min(small.len()));
            left -= 1;
            if holds(&shorter, property) {
                from += length;
            } else {
                small = shorter;
            }
        }
        if small.len() == before || length > 1 {
            length /= 2;
        }
    }
    small
}

/// Returns how long this thread computed, whatever else the machine does.
pub fn cpu_time(work: impl FnOnce()) -> Duration {
    let now = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let began = now();
    work();
    let ended = now();
    let since = |time: rustix::time::Timespec| {
        Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
    };
    since(ended).saturating_sub(since(began))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_input_is_made_as_small_as_it_goes() {
        let property = |input: &[u8]| assert!(!input.windows(2).any(|pair| pair == b"ab"));

        assert_eq!(shrunk(b"some text with ab in its middle", &property), b"ab");
    }

    #[test]
    fn the_same_seed_gives_the_same_mutations_and_another_gives_others() {
        let ten = |seed| {
            let mut mutator = Mutator::new(seed, &[b"steps = [5, 25, 100]"], &["bake"]);
            (0..10).map(|_| mutator.next()).collect::<Vec<_>>()
        };

        assert_eq!(ten(1), ten(1));
        assert_ne!(ten(1), ten(2));
    }

    #[test]
    fn a_rare_mistake_of_two_pieces_is_found() {
        let mut mutator = Mutator::new(1, &[b"a = 1\nb = 2\n"], &["c = 3\n"]);
        let broken = |input: &[u8]| String::from_utf8_lossy(input).matches("c = 3").count() > 1;

        assert!((0..5_000).any(|_| broken(&mutator.next())));
    }
}
