//! One simple command of a shell: its words, and questions about them.

use crate::lint::doc::At;

/// A word, quotes taken away, `$NAME` kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    pub text: String,
    pub at: At,
    /// Whether any of it is quoted.
    pub quoted: bool,
    /// Whether an expansion stands outside quotes.
    pub splits: bool,
}

/// What stands between a command and the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joint {
    End,
    And,
    Or,
    Pipe,
    Background,
}

/// One simple command.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// `NAME=value` in front of it, or alone.
    pub sets: Vec<(String, Word)>,
    pub words: Vec<Word>,
    pub at: At,
    /// What follows it.
    pub then: Joint,
    /// How deep in `$(…)`.
    pub depth: usize,
    /// Whether it decides an `if`, `while` or `until`.
    pub condition: bool,
    /// Loops around it.
    pub loops: usize,
    /// Conditionals around it: branches of `if` and `case`.
    pub branches: usize,
}

/// Programs that run another one.
const WRAPPERS: &[&str] = &[
    "sudo",
    "exec",
    "time",
    "nohup",
    "command",
    "env",
    "nice",
    "timeout",
    "xargs",
    "dumb-init",
    "tini",
    "!",
];

impl Command {
    /// The program, behind wrappers such as `sudo` or `timeout 5`.
    pub fn program(&self) -> Option<&Word> {
        self.run().first()
    }

    /// The words from the program on.
    pub fn run(&self) -> &[Word] {
        let mut words = self.words.as_slice();
        while let [first, rest @ ..] = words {
            if !WRAPPERS.contains(&first.text.as_str()) {
                break;
            }
            let skip = rest.iter().position(|word| {
                let text = word.text.as_str();
                !(text.starts_with('-')
                    || text.contains('=')
                    || (first.text == "timeout" && text.starts_with(|c: char| c.is_ascii_digit())))
            });
            words = &rest[skip.unwrap_or(rest.len())..];
        }
        words
    }

    /// Whether it begins with these words.
    pub fn is(&self, words: &[&str]) -> bool {
        let run = self.run();
        run.len() >= words.len() && words.iter().zip(run).all(|(want, word)| *want == word.text)
    }

    /// Whether these words follow each other among its words that are no options.
    pub fn says(&self, words: &[&str]) -> bool {
        let plain: Vec<&str> =
            self.run().iter().map(|word| word.text.as_str()).filter(|text| !text.starts_with('-')).collect();
        plain.windows(words.len()).any(|window| window == words)
    }

    pub fn has(&self, option: &str) -> bool {
        self.option_word(option).is_some()
    }

    fn option_word(&self, option: &str) -> Option<&Word> {
        let long = format!("{option}=");
        self.words.iter().find(|word| word.text == option || word.text.starts_with(&long))
    }

    /// The value of `--option value` or `--option=value`.
    pub fn option(&self, option: &str) -> Option<Word> {
        let long = format!("{option}=");
        let at = self.words.iter().position(|word| word.text == option || word.text.starts_with(&long))?;
        match self.words[at].text.strip_prefix(&long) {
            Some(value) => Some(Word { text: value.to_owned(), ..self.words[at].clone() }),
            None => self.words.get(at + 1).cloned(),
        }
    }
}
