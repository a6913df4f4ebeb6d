//! Makes inputs out of others: cut, doubled, spliced, with words thrown in and numbers taken to their limits.
//! Draws from one seeded generator and nothing else.

use crate::INPUT_BYTES_MAX;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};
use serde_json::Value;

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
/// How deep in JSON a value is changed at most.
const DEPTH_MAX: usize = 12;
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
        // Bytes of JSON that are changed are rarely JSON: half the time its values are changed instead.
        if self.below(2) == 0
            && let Ok(mut value) = serde_json::from_slice::<Value>(&input)
            && (value.is_object() || value.is_array())
        {
            for _ in 0..=self.below(CHANGES_MAX) {
                self.change_value(&mut value, DEPTH_MAX);
            }
            return serde_json::to_vec(&value).expect("BUG: a value has a JSON form");
        }
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

    /// Changes one value somewhere inside, or takes it away, or puts it elsewhere.
    fn change_value(&mut self, value: &mut Value, depth: usize) {
        let deeper = depth > 0 && self.below(5) > 0;
        match value {
            Value::Object(map) if deeper && !map.is_empty() => {
                let chosen = self.below(map.len());
                let key = map.keys().nth(chosen).expect("BUG: below its length").clone();
                match self.below(12) {
                    0 => drop(map.remove(&key)),
                    1 => drop(map.insert(self.any_text(), Value::Null)),
                    _ => self.change_value(&mut map[&key], depth - 1),
                }
            }
            Value::Array(list) if deeper && !list.is_empty() => {
                let chosen = self.below(list.len());
                match self.below(8) {
                    0 => drop(list.remove(chosen)),
                    1 => list.push(list[chosen].clone()),
                    2 => {
                        let other = self.below(list.len());
                        list.swap(chosen, other);
                    }
                    _ => self.change_value(&mut list[chosen], depth - 1),
                }
            }
            value => *value = self.other_value(value),
        }
    }

    /// Returns another value, mostly of the same kind: one of another is refused before anything is done with it.
    fn other_value(&mut self, value: &Value) -> Value {
        let kind = if self.below(8) == 0 { self.below(6) } else { kind(value) };
        match kind {
            0 => Value::Null,
            1 => Value::Bool(self.below(2) == 0),
            2 => Value::String(self.any_text()),
            3 => Value::Array(Vec::new()),
            4 => Value::Object(serde_json::Map::new()),
            _ => {
                let number = NUMBERS[self.below(NUMBERS.len())].trim_start_matches('+');
                serde_json::from_str(number).unwrap_or(Value::from(7))
            }
        }
    }

    fn any_text(&mut self) -> String {
        let words: &[&str] = if self.words.is_empty() { &[""] } else { self.words };
        words[self.below(words.len())].trim_matches('"').to_owned()
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

fn kind(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::String(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Number(_) => 5,
    }
}
