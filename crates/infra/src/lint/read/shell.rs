//! Reads shell text to commands with places: words, what joins them, what they stand in. Expands and runs nothing.

pub use super::command::{Command, Joint, Word};
use crate::lint::doc::{At, Node};

/// Deepest substitution in substitution that is read; deeper text stays a word.
const DEPTH_MAX: usize = 12;

/// Reads all commands of a text that stands at `start` of a file; those in `$(…)` come before the command they stand in.
pub fn read(text: &str, file: usize, start: usize) -> Vec<Command> {
    let mut reader = Reader::new(text, file, start, 0);
    reader.all();
    unwrap_inner(reader.found)
}

/// Reads one line of words.
pub fn words(text: &str, file: usize, start: usize) -> Vec<Word> {
    let mut reader = Reader::new(text, file, start, 0);
    let mut found = Vec::new();
    while reader.at < text.len() {
        if reader.blank() {
            continue;
        }
        if let Some(word) = reader.word() {
            found.push(word);
        } else {
            reader.at += 1;
        }
    }
    found
}

/// Reads a command given as a list: `["node", "x"]`, `["CMD-SHELL", "curl …"]`, `["sh", "-c", "…"]`.
pub fn from_list(items: &[Node]) -> Vec<Command> {
    let words: Vec<Word> = items
        .iter()
        .filter_map(|item| Some(Word { text: item.scalar()?, at: item.at, quoted: true, splits: false }))
        .collect();
    match words.as_slice() {
        // The platform runs it through a shell, which the image must have.
        [first, line, ..] if first.text == "CMD-SHELL" => {
            let mut commands = vec![plain(&[Word { text: "sh".to_owned(), ..first.clone() }])];
            commands.extend(inner(line));
            commands
        }
        [first, rest @ ..] if first.text == "CMD" => unwrap_inner(vec![plain(rest)]),
        [first] if first.text == "NONE" => Vec::new(),
        [] => Vec::new(),
        words => unwrap_inner(vec![plain(words)]),
    }
}

fn plain(words: &[Word]) -> Command {
    let at = match words {
        [first, .., last] => {
            At { file: first.at.file, span: crate::finding::Span::new(first.at.span.start, last.at.span.end) }
        }
        [only] => only.at,
        [] => At::new(0, 0, 0),
    };
    let words = words.to_vec();
    Command {
        sets: Vec::new(),
        words,
        at,
        then: Joint::End,
        depth: 0,
        condition: false,
        loops: 0,
        branches: 0,
    }
}

/// Commands inside one word; they stand where the word stands.
fn inner(word: &Word) -> Vec<Command> {
    let mut commands = read(&word.text, word.at.file, word.at.span.start + 1);
    let end = word.at.span.end;
    for command in &mut commands {
        command.at.span.end = command.at.span.end.min(end);
        for word in &mut command.words {
            word.at.span.end = word.at.span.end.min(end);
            word.at.span.start = word.at.span.start.min(word.at.span.end);
        }
    }
    commands
}

/// Puts what `sh -c '…'` runs behind the shell.
fn unwrap_inner(commands: Vec<Command>) -> Vec<Command> {
    let mut found = Vec::new();
    for command in commands {
        let run = command.run();
        let shell = run.first().is_some_and(|word| {
            let name = word.text.rsplit('/').next().unwrap_or_default();
            matches!(name, "sh" | "bash" | "ash" | "dash")
        });
        let flag = run.get(1).is_some_and(|word| word.text.starts_with('-') && word.text.ends_with('c'));
        match run.get(2) {
            // What is quoted once more inside is left alone: the text no longer stands as it is written.
            Some(line) if shell && flag && found.len() < 10_000 && line.text.len() < command.at.span.end => {
                let inside = inner(line);
                found.push(plain(&run[..1]));
                found.extend(inside);
            }
            _ => found.push(command),
        }
    }
    found
}

struct Reader<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    file: usize,
    start: usize,
    depth: usize,
    loops: usize,
    branches: usize,
    condition: bool,
    found: Vec<Command>,
    heredocs: Vec<String>,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str, file: usize, start: usize, depth: usize) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            at: 0,
            file,
            start,
            depth,
            loops: 0,
            branches: 0,
            condition: false,
            found: Vec::new(),
            heredocs: Vec::new(),
        }
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// Passes one blank, comment or continued line; whether it did.
    fn blank(&mut self) -> bool {
        match self.peek(0) {
            b' ' | b'\t' | b'\r' => self.at += 1,
            b'\\' if self.peek(1) == b'\n' => self.at += 2,
            b'\\' if self.peek(1) == b'\r' => self.at += 2,
            b'#' => self.at += self.text[self.at..].find('\n').unwrap_or(self.text.len() - self.at),
            _ => return false,
        }
        true
    }

    fn all(&mut self) {
        let mut words: Vec<Word> = Vec::new();
        while self.at < self.text.len() {
            if self.blank() {
                continue;
            }
            if let Some((joint, length)) = self.joint() {
                self.at += length;
                self.push(&mut words, joint);
                continue;
            }
            if self.redirect() {
                continue;
            }
            match self.word() {
                Some(word) if words.is_empty() && self.keyword(&word) => {}
                Some(word) => words.push(word),
                None => self.at += self.text[self.at..].chars().next().map_or(1, char::len_utf8),
            }
        }
        self.push(&mut words, Joint::End);
    }

    fn joint(&mut self) -> Option<(Joint, usize)> {
        Some(match (self.peek(0), self.peek(1)) {
            (b'\n', _) => {
                self.skip_heredocs();
                (Joint::End, 1)
            }
            (b'&', b'&') => (Joint::And, 2),
            (b'|', b'|') => (Joint::Or, 2),
            (b'|', b'&') => (Joint::Pipe, 2),
            (b'|', _) => (Joint::Pipe, 1),
            (b'&', b'>') => return None,
            (b'&', _) => (Joint::Background, 1),
            (b';', b';') => (Joint::End, 2),
            (b';' | b'(' | b')', _) => (Joint::End, 1),
            _ => return None,
        })
    }

    fn skip_heredocs(&mut self) {
        for word in std::mem::take(&mut self.heredocs) {
            let mut end = self.at + 1;
            for line in self.text.get(end..).unwrap_or("").split_inclusive('\n') {
                end += line.len();
                if line.trim() == word {
                    break;
                }
            }
            // The line end before the next command stays.
            self.at = (end - 1).min(self.text.len().saturating_sub(1)).max(self.at);
        }
    }

    /// Passes `2>/dev/null`, `< file`, `<<EOF`; whether it did.
    fn redirect(&mut self) -> bool {
        let rest = &self.bytes[self.at..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let sign = rest.get(digits).copied().unwrap_or(0);
        let joined = digits == 0 && sign == b'&' && rest.get(1) == Some(&b'>');
        if !(matches!(sign, b'<' | b'>') || joined) {
            return false;
        }
        let signs =
            rest[digits..].iter().take_while(|byte| matches!(byte, b'<' | b'>' | b'&' | b'|' | b'-')).count();
        let heredoc = rest[digits..].starts_with(b"<<") && !rest[digits..].starts_with(b"<<<");
        self.at += digits + signs;
        while matches!(self.peek(0), b' ' | b'\t') {
            self.at += 1;
        }
        if let Some(word) = self.word()
            && heredoc
        {
            self.heredocs.push(word.text);
        }
        true
    }

    /// Takes note of a reserved word; whether it was one.
    fn keyword(&mut self, word: &Word) -> bool {
        if word.quoted {
            return false;
        }
        match word.text.as_str() {
            "if" | "elif" => self.condition = true,
            "while" | "until" => {
                self.condition = true;
                self.loops += 1;
            }
            "for" | "select" => self.loops += 1,
            "then" => {
                self.condition = false;
                self.branches += 1;
            }
            "do" => self.condition = false,
            "case" => self.branches += 1,
            "fi" | "esac" => self.branches = self.branches.saturating_sub(1),
            "done" => self.loops = self.loops.saturating_sub(1),
            "else" | "{" | "}" | "function" => {}
            _ => return false,
        }
        // `elif` closes the branch its `then` opens again.
        if word.text == "elif" {
            self.branches = self.branches.saturating_sub(1);
        }
        !matches!(word.text.as_str(), "for" | "case" | "select")
    }

    fn push(&mut self, words: &mut Vec<Word>, then: Joint) {
        let words = std::mem::take(words);
        let (Some(first), Some(last)) = (words.first(), words.last()) else { return };
        let at = At::new(self.file, first.at.span.start, last.at.span.end);
        let mut sets = Vec::new();
        let mut rest = words.into_iter().peekable();
        while let Some((name, value)) = rest.peek().and_then(assignment) {
            sets.push((name, value));
            rest.next();
        }
        let words = rest.collect();
        let (depth, condition, loops, branches) = (self.depth, self.condition, self.loops, self.branches);
        self.found.push(Command { sets, words, at, then, depth, condition, loops, branches });
    }

    /// Reads a word; nothing where none begins.
    fn word(&mut self) -> Option<Word> {
        let begin = self.at;
        let mut word =
            Word { text: String::new(), at: At::new(self.file, 0, 0), quoted: false, splits: false };
        let mut quote = 0_u8;
        while self.at < self.bytes.len() {
            let byte = self.peek(0);
            match byte {
                b'$' if quote != b'\'' => {
                    word.splits |= quote == 0;
                    self.expansion(&mut word.text);
                    continue;
                }
                b'`' if quote != b'\'' => {
                    self.substitution(b'`', 1, &mut word.text);
                    word.splits |= quote == 0;
                    continue;
                }
                b'\\' if quote != b'\'' => {
                    self.at += 1;
                    if self.peek(0) == b'\n' {
                        self.at += 1;
                        continue;
                    }
                }
                byte if quote != 0 && byte == quote => {
                    quote = 0;
                    self.at += 1;
                    continue;
                }
                b'"' | b'\'' if quote == 0 => {
                    quote = byte;
                    word.quoted = true;
                    self.at += 1;
                    continue;
                }
                b' ' | b'\t' | b'\n' | b'\r' | b';' | b'&' | b'|' | b'(' | b')' | b'<' | b'>'
                    if quote == 0 =>
                {
                    break;
                }
                _ => {}
            }
            let Some(next) = self.text[self.at..].chars().next() else { break };
            word.text.push(next);
            self.at += next.len_utf8();
        }
        word.at = At::new(self.file, self.start + begin, self.start + self.at);
        (self.at > begin).then_some(word)
    }

    /// Takes `$NAME`, `${…}`, `${{ … }}`, `$((…))` as text, and the commands of `$(…)` besides.
    fn expansion(&mut self, into: &mut String) {
        let rest = &self.text[self.at..];
        let length = if rest.starts_with("${{") {
            rest.find("}}").map_or(rest.len(), |at| at + 2)
        } else if rest.starts_with("${") {
            closing(rest.as_bytes(), b'{', b'}')
        } else if rest.starts_with("$(") && !rest.starts_with("$((") {
            return self.substitution(b')', 2, into);
        } else if rest.starts_with("$((") {
            closing(rest.as_bytes(), b'(', b')')
        } else {
            1
        };
        into.push_str(&rest[..length]);
        self.at += length;
    }

    fn substitution(&mut self, end: u8, open: usize, into: &mut String) {
        let rest = &self.text[self.at..];
        let length = if end == b'`' {
            rest[1..].find('`').map_or(rest.len(), |at| at + 2)
        } else {
            closing(rest.as_bytes(), b'(', b')')
        };
        into.push_str(&rest[..length]);
        let inside = &rest[open.min(length)..length.saturating_sub(1).max(open.min(length))];
        if self.depth < DEPTH_MAX {
            let start = self.start + self.at + open;
            let mut reader = Reader::new(inside, self.file, start, self.depth + 1);
            (reader.loops, reader.branches) = (self.loops, self.branches);
            reader.all();
            self.found.append(&mut reader.found);
        }
        self.at += length;
    }
}

/// Bytes up to and with the bracket that closes the first one, quotes minded.
fn closing(bytes: &[u8], open: u8, close: u8) -> usize {
    let (mut depth, mut quote, mut at) = (0_usize, 0_u8, 0);
    while at < bytes.len() {
        let byte = bytes[at];
        match byte {
            b'\\' if quote != b'\'' => at += 1,
            _ if quote != 0 => quote = if byte == quote { 0 } else { quote },
            b'"' | b'\'' => quote = byte,
            _ if byte == open => depth += 1,
            _ if byte == close => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    // A quote that is never closed is no quote: an apostrophe in a comment.
    bytes.iter().position(|byte| *byte == close).map_or(bytes.len(), |at| at + 1)
}

fn assignment(word: &Word) -> Option<(String, Word)> {
    let (name, value) = word.text.split_once('=')?;
    let name = name.trim_end_matches('+');
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    valid.then(|| (name.to_owned(), Word { text: value.to_owned(), ..word.clone() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let words = |command: &Command| {
            command.words.iter().map(|word| word.text.clone()).collect::<Vec<_>>().join(" ")
        };
        read(text, 0, 0).iter().map(words).collect()
    }

    #[test]
    fn commands_are_split_where_a_shell_splits_them() {
        let text = "set -e\nA=$(aws x | jq -r '.a;b') # note; more\nif curl -f \"$URL\"; then echo 'a && b' || exit 1; fi\n";
        assert_eq!(
            shown(text),
            ["set -e", "aws x", "jq -r .a;b", "", "curl -f $URL", "echo a && b", "exit 1"]
        );
    }

    #[test]
    fn heredocs_and_workflow_expressions_are_no_commands() {
        assert_eq!(shown("cat <<EOF\nrm -rf /\nEOF\necho ${{ a && b }}\n"), ["cat", "echo ${{ a && b }}"]);
    }

    #[test]
    fn what_a_shell_is_given_is_read_as_shell() {
        let commands = read("sh -c 'wget -q x || exit 1'", 0, 0);

        let programs: Vec<&str> = commands.iter().map(|c| c.program().unwrap().text.as_str()).collect();
        assert_eq!(programs, ["sh", "wget", "exit"]);
        assert_eq!(read("sudo -E timeout 5 curl x", 0, 0)[0].program().unwrap().text, "curl");
    }

    #[test]
    fn a_loop_is_known_around_its_commands() {
        let commands = read("for i in 1 2; do\n  curl x\ndone\ncurl y\n", 0, 0);
        let loops: Vec<usize> = commands.iter().filter(|c| c.is(&["curl"])).map(|c| c.loops).collect();

        assert_eq!(loops, [1, 0]);
    }
}
