//! Reads Dockerfiles to stages and instructions with places. Builds nothing.

use super::json;
use super::shell::{self, Command};
use crate::lint::doc::{At, Node};
use std::collections::BTreeMap;

/// A Dockerfile.
#[derive(Debug)]
pub struct Dockerfile {
    pub file: usize,
    pub stages: Vec<Stage>,
}

/// From one `FROM` to the next.
#[derive(Debug)]
pub struct Stage {
    pub name: Option<String>,
    /// What stands after `FROM`, arguments with defaults put in.
    pub base: String,
    pub base_at: At,
    pub from_at: At,
    pub instructions: Vec<Instruction>,
}

/// One instruction.
#[derive(Debug)]
pub struct Instruction {
    /// In capitals.
    pub keyword: String,
    /// All of it.
    pub at: At,
    /// `--name=value`.
    pub flags: Vec<(String, String, At)>,
    /// What follows keyword and flags, as written.
    pub rest: String,
    pub rest_at: At,
}

impl Instruction {
    pub fn flag(&self, name: &str) -> Option<&str> {
        self.flags.iter().find(|flag| flag.0 == name).map(|flag| flag.1.as_str())
    }

    /// The JSON form: `["node", "server.js"]`.
    pub fn exec_form(&self) -> Option<Node> {
        self.rest
            .starts_with('[')
            .then(|| json::read(&self.rest, self.at.file, self.rest_at.span.start).ok())?
    }

    /// The words of the shell form or the JSON form.
    pub fn words(&self) -> Vec<(String, At)> {
        if let Some(list) = self.exec_form() {
            return list.items().iter().filter_map(|item| Some((item.scalar()?, item.at))).collect();
        }
        let words = shell::read(&self.rest, self.at.file, self.rest_at.span.start);
        words.into_iter().flat_map(|command| command.words).map(|word| (word.text, word.at)).collect()
    }

    /// What is run, of `RUN`, `CMD`, `ENTRYPOINT` and of `HEALTHCHECK`.
    pub fn commands(&self) -> Vec<Command> {
        let (rest, start) = match self.rest.strip_prefix("CMD") {
            Some(rest) if self.keyword == "HEALTHCHECK" => {
                let trimmed = rest.trim_start();
                (trimmed, self.rest_at.span.start + self.rest.len() - trimmed.len())
            }
            _ => (self.rest.as_str(), self.rest_at.span.start),
        };
        if rest.starts_with('[')
            && let Ok(list) = json::read(rest, self.at.file, start)
        {
            return shell::from_list(list.items());
        }
        shell::read(rest, self.at.file, start)
    }

    /// `NAME=value NAME="value"`, or the old `NAME value`.
    pub fn pairs(&self) -> Vec<(String, String, At)> {
        let words = shell::words(&self.rest, self.at.file, self.rest_at.span.start);
        match words.as_slice() {
            [first, more @ ..] if !first.text.contains('=') && self.keyword == "ENV" => {
                let value = more.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
                vec![(first.text.clone(), value, first.at)]
            }
            words => words
                .iter()
                .map(|word| {
                    let (name, value) = word.text.split_once('=').unwrap_or((&word.text, ""));
                    (name.to_owned(), value.to_owned(), word.at)
                })
                .collect(),
        }
    }
}

impl Stage {
    pub fn all<'a>(&'a self, keyword: &'a str) -> impl Iterator<Item = &'a Instruction> {
        self.instructions.iter().filter(move |instruction| instruction.keyword == keyword)
    }

    pub fn last(&self, keyword: &str) -> Option<&Instruction> {
        self.instructions.iter().rev().find(|instruction| instruction.keyword == keyword)
    }
}

impl Dockerfile {
    /// The stage a name or a number of `--from=` means.
    pub fn stage(&self, name: &str) -> Option<usize> {
        let named = |stage: &Stage| stage.name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name));
        self.stages.iter().position(named).or_else(|| name.parse().ok().filter(|at| *at < self.stages.len()))
    }

    /// The stage and those it is built `FROM`, nearest first.
    pub fn lineage(&self, stage: usize) -> Vec<usize> {
        let mut line = vec![stage];
        while let Some(next) = self.stage(&self.stages[line[line.len() - 1]].base) {
            if line.contains(&next) || self.stages[next].name.is_none() {
                break;
            }
            line.push(next);
        }
        line
    }

    /// The image outside that a stage stands on.
    pub fn outer_base(&self, stage: usize) -> &Stage {
        let line = self.lineage(stage);
        &self.stages[line[line.len() - 1]]
    }
}

/// Reads a Dockerfile.
pub fn read(text: &str, file: usize) -> Result<Dockerfile, String> {
    let mut stages: Vec<Stage> = Vec::new();
    let mut args: BTreeMap<String, String> = BTreeMap::new();
    for instruction in instructions(text, file) {
        if instruction.keyword == "FROM" {
            stages.push(stage(&instruction, &args));
        } else if let Some(stage) = stages.last_mut() {
            stage.instructions.push(instruction);
        } else if instruction.keyword == "ARG" {
            args.extend(instruction.pairs().into_iter().map(|(name, value, _)| (name, value)));
        } else {
            return Err(format!("`{}` stands before the first FROM", instruction.keyword));
        }
    }
    if stages.is_empty() {
        return Err("it has no FROM".to_owned());
    }
    Ok(Dockerfile { file, stages })
}

fn stage(from: &Instruction, args: &BTreeMap<String, String>) -> Stage {
    let words = shell::words(&from.rest, from.at.file, from.rest_at.span.start);
    let (base, base_at) =
        words.first().map_or((String::new(), from.at), |word| (substitute(&word.text, args), word.at));
    let name = match words.as_slice() {
        [_, word, name, ..] if word.text.eq_ignore_ascii_case("as") => Some(name.text.clone()),
        _ => None,
    };
    Stage { name, base, base_at, from_at: from.at, instructions: Vec::new() }
}

/// Puts defaults of `ARG` where they are used: `${NODE:-20}`, `$NODE`.
fn substitute(text: &str, args: &BTreeMap<String, String>) -> String {
    let mut done = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        done.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let braced = after.starts_with('{');
        let name = after.trim_start_matches('{');
        let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
        let (name, mut tail) = name.split_at(end);
        let mut fallback = None;
        if braced {
            let close = tail.find('}').unwrap_or(tail.len());
            fallback = tail[..close].strip_prefix(":-");
            tail = tail.get(close + 1..).unwrap_or("");
        }
        match args.get(name).map(String::as_str).filter(|value| !value.is_empty()).or(fallback) {
            Some(value) => done.push_str(value),
            None => done.push_str(&format!("${{{name}}}")),
        }
        rest = tail;
    }
    done + rest
}

fn instructions(text: &str, file: usize) -> Vec<Instruction> {
    let mut found = Vec::new();
    let mut lines = lines(text).peekable();
    while let Some((start, line)) = lines.next() {
        let trimmed = line.trim_start();
        if trimmed.trim().is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let mut end = start + line.len();
        let mut last = line;
        while last.trim_end().ends_with('\\') || (end > start + line.len() && skipped(last)) {
            let Some((at, next)) = lines.next() else { break };
            end = at + next.len();
            last = next;
        }
        for word in heredocs(&text[start..end]) {
            for (at, next) in lines.by_ref() {
                end = at + next.len();
                if next.trim() == word {
                    break;
                }
            }
        }
        let first = start + (line.len() - trimmed.len());
        found.push(instruction(&text[first..end], file, first));
    }
    found
}

/// Within a continued instruction, comments and empty lines do not end it.
fn skipped(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut start = 0;
    text.split_inclusive('\n').map(move |line| {
        let at = start;
        start += line.len();
        (at, line.trim_end_matches(['\n', '\r']))
    })
}

fn heredocs(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("<<") {
        rest = &rest[at + 2..];
        let word = rest.trim_start_matches('-').trim_start_matches(['"', '\'']);
        let end = word.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(word.len());
        if end > 0 && word.starts_with(|c: char| c.is_alphabetic()) {
            words.push(word[..end].to_owned());
        }
    }
    words
}

fn instruction(text: &str, file: usize, start: usize) -> Instruction {
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let keyword = text[..end].to_ascii_uppercase();
    let mut at = end;
    let mut flags = Vec::new();
    loop {
        let rest = &text[at..];
        let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\\', '\n', '\r']).len();
        at += blank;
        let Some(flag) = text[at..].strip_prefix("--") else { break };
        let stop = flag.find(char::is_whitespace).unwrap_or(flag.len());
        let (name, value) = flag[..stop].split_once('=').unwrap_or((&flag[..stop], ""));
        flags.push((name.to_owned(), value.to_owned(), At::new(file, start + at, start + at + 2 + stop)));
        at += 2 + stop;
    }
    let rest = text[at..].trim_end();
    Instruction {
        keyword,
        at: At::new(file, start, start + text.trim_end().len()),
        flags,
        rest: rest.to_owned(),
        rest_at: At::new(file, start + at, start + at + rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_arguments_and_continued_lines_are_read() {
        let text = "ARG V=20\nFROM node:${V}-alpine AS base\nRUN a && \\\n  # note\n  b\nFROM base\nHEALTHCHECK --interval=5s CMD curl -f http://x\n";
        let read = read(text, 0).unwrap();

        assert_eq!(read.stages[0].base, "node:20-alpine");
        assert_eq!(read.outer_base(1).base, "node:20-alpine");
        let runs = read.stages[0].instructions[0].commands();
        assert_eq!(runs.len(), 2);
        let check = read.stages[1].last("HEALTHCHECK").unwrap();
        assert_eq!(check.flag("interval"), Some("5s"));
        assert_eq!(check.commands()[0].program().unwrap().text, "curl");
    }
}
