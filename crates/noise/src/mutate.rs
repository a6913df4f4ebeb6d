//! Makes inputs out of others: cut, doubled, spliced, with words thrown in and numbers taken to their limits.
//! Draws from one seeded generator and nothing else.

use crate::INPUT_BYTES_MAX;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

/// Numbers at which arithmetic breaks.
const NUMBERS: [&str; 18] = [
    "0",
    "1",
    "-1",
    "+1",
    "00",
    "255",
    "256",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "0.1",
    "99999999999999999999999999999999999999",
];
/// Changes made to one input at most.
const CHANGES_MAX: usize = 5;
/// Times a part is repeated at most.
const REPEATS_MAX: usize = 64;

pub(crate) struct Mutator<'m> {
    random: Pcg64Mcg,
    inputs: &'m [&'m [u8]],
    words: &'m [&'m str],
}

impl<'m> Mutator<'m> {
    pub(crate) fn new(seed: u64, inputs: &'m [&'m [u8]], words: &'m [&'m str]) -> Self {
        Self { random: Pcg64Mcg::seed_from_u64(seed), inputs, words }
    }

    pub(crate) fn next(&mut self) -> Vec<u8> {
        let mut input = self.any_input().to_vec();
        for _ in 0..=self.below(CHANGES_MAX) {
            self.change(&mut input);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let (from, to) = self.part(input.len());
        match self.below(10) {
            0 => input.truncate(from),
            1 => drop(input.drain(from..to)),
            2 => {
                let part = input[from..to].repeat(1 + self.below(3));
                input.splice(to..to, part);
            }
            3 => {
                let part = input[from..to.min(from + 64)].repeat(1 + self.below(REPEATS_MAX));
                input.splice(from..from, part);
            }
            4 => {
                let other = self.any_input();
                let (first, last) = self.part(other.len());
                input.splice(from..to, other[first..last].iter().copied());
            }
            5 | 6 if !self.words.is_empty() => {
                let word = self.words[self.below(self.words.len())];
                let replaced = if self.below(2) == 0 { from..from } else { from..to.min(from + word.len()) };
                input.splice(replaced, word.bytes());
            }
            7 => self.number(input, from),
            8 if from < input.len() => input[from] = self.random.next_u64() as u8,
            _ if from < input.len() => input[from] ^= 1 << self.below(8),
            _ => input.push(self.random.next_u64() as u8),
        }
    }

    /// Puts another number where the next one stands.
    fn number(&mut self, input: &mut Vec<u8>, from: usize) {
        let other = NUMBERS[self.below(NUMBERS.len())];
        let first = input[from..].iter().position(u8::is_ascii_digit).map_or(from, |at| from + at);
        let digits = input[first..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        input.splice(first..first + digits, other.bytes());
    }

    fn any_input(&mut self) -> &'m [u8] {
        self.inputs[self.below(self.inputs.len())]
    }

    /// Draws a part of something this long, mostly a short one.
    fn part(&mut self, length: usize) -> (usize, usize) {
        let from = self.below(length + 1);
        let most = (length - from).min(if self.below(4) == 0 { length } else { 24 });
        (from, from + self.below(most + 1))
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.next_u64() % bound as u64).expect("BUG: below a bound that fits")
    }
}
