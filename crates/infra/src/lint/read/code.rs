//! Reads JavaScript, TypeScript, Python, Go and Rust just enough: tokens with places, functions and calls.
//! No types, no flow: a rule that needs more says "not checked".

use crate::lint::doc::At;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lexeme {
    Name,
    Text,
    Number,
    Sign,
}

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub lexeme: Lexeme,
    /// Of a text: what stands between the quotes.
    pub text: String,
    pub at: At,
}

/// The language, by what decides how it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Script,
    Python,
    Go,
    Rust,
}

impl Language {
    pub fn of(path: &str) -> Option<Self> {
        Some(match path.rsplit_once('.')?.1 {
            "js" | "mjs" | "cjs" | "jsx" | "ts" | "mts" | "cts" | "tsx" => Self::Script,
            "py" => Self::Python,
            "go" => Self::Go,
            "rs" => Self::Rust,
            _ => return None,
        })
    }
}

/// A source file.
#[derive(Debug)]
pub struct Source {
    pub file: usize,
    pub language: Language,
    pub tokens: Vec<Token>,
    pub functions: Vec<Function>,
}

/// A function, method or arrow with a name. The ranges are of tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    pub name: String,
    pub at: At,
    pub params: Vec<String>,
    pub body: std::ops::Range<usize>,
}

/// A call: `a.b.c(x, y)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// `a.b.c`
    pub path: String,
    /// The last name.
    pub name: String,
    pub at: At,
    /// Tokens of each argument.
    pub args: Vec<std::ops::Range<usize>>,
    /// The token of the last name.
    pub token: usize,
}

/// Reads a source file.
pub fn read(text: &str, file: usize, language: Language) -> Source {
    let tokens = tokens(text, file, language);
    let functions = functions(&tokens, language);
    Source { file, language, tokens, functions }
}

impl Source {
    pub fn is(&self, at: usize, text: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.text == text && token.lexeme != Lexeme::Text)
    }

    /// Tokens joined, for a look at an expression.
    pub fn words(&self, range: std::ops::Range<usize>) -> String {
        let range = range.start.min(self.tokens.len())..range.end.min(self.tokens.len());
        self.tokens[range].iter().map(|token| token.text.as_str()).collect()
    }

    /// The calls in a range of tokens.
    pub fn calls(&self, range: std::ops::Range<usize>) -> Vec<Call> {
        let mut found = Vec::new();
        for open in range {
            if self.is(open, "(")
                && let Some(call) = self.call(open)
            {
                found.push(call);
            }
        }
        found
    }

    fn call(&self, open: usize) -> Option<Call> {
        let token = open.checked_sub(1)?;
        if self.tokens[token].lexeme != Lexeme::Name || is_keyword(&self.tokens[token].text) {
            return None;
        }
        // A declaration is no call.
        if token > 0 && ["def", "function", "func", "fn", "class"].iter().any(|word| self.is(token - 1, word))
        {
            return None;
        }
        let mut first = token;
        while first >= 2
            && (self.is(first - 1, ".") || self.is(first - 1, "?.") || self.is(first - 1, "::"))
            && self.tokens[first - 2].lexeme == Lexeme::Name
        {
            first -= 2;
        }
        let end = self.matching(open)?;
        let mut args = Vec::new();
        let (mut start, mut depth) = (open + 1, 0_usize);
        for at in open + 1..end {
            match self.tokens[at].text.as_str() {
                _ if self.tokens[at].lexeme == Lexeme::Text => {}
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                "," if depth == 0 => {
                    args.push(start..at);
                    start = at + 1;
                }
                _ => {}
            }
        }
        if start < end {
            args.push(start..end);
        }
        let mut at = self.tokens[first].at;
        at.span.end = self.tokens[end].at.span.end;
        let name = self.tokens[token].text.clone();
        Some(Call { path: self.words(first..open), name, at, args, token })
    }

    /// The bracket that closes the one at `open`.
    pub fn matching(&self, open: usize) -> Option<usize> {
        matching(&self.tokens, open)
    }

    /// The innermost function around a token.
    pub fn around(&self, token: usize) -> Option<&Function> {
        let inside = self.functions.iter().filter(|function| function.body.contains(&token));
        inside.min_by_key(|function| function.body.len())
    }
}

fn matching(tokens: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        if token.lexeme != Lexeme::Sign {
            continue;
        }
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn is_keyword(word: &str) -> bool {
    matches!(
        word,
        "if" | "for"
            | "while"
            | "switch"
            | "catch"
            | "return"
            | "function"
            | "elif"
            | "match"
            | "and"
            | "or"
            | "not"
            | "in"
            | "typeof"
            | "await"
            | "async"
    )
}

/// Tokens of a text; a comment or a broken string yields none.
fn tokens(text: &str, file: usize, language: Language) -> Vec<Token> {
    let bytes = text.as_bytes();
    let mut found: Vec<Token> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let Some(first) = rest.chars().next() else { break };
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        if let Some(length) = comment(rest, language, found.last()) {
            at += length;
            continue;
        }
        let (lexeme, length, inner) = token(rest, first, language);
        let text = rest[inner.0..inner.1].to_owned();
        found.push(Token { lexeme, text, at: At::new(file, at, at + length) });
        at += length;
    }
    found
}

fn comment(rest: &str, language: Language, last: Option<&Token>) -> Option<usize> {
    let line = || rest.find('\n').unwrap_or(rest.len());
    if language == Language::Python {
        return rest.starts_with('#').then(line);
    }
    if rest.starts_with("//") {
        return Some(line());
    }
    if let Some(inside) = rest.strip_prefix("/*") {
        return Some(inside.find("*/").map_or(rest.len(), |end| end + 4));
    }
    // A regular expression stands where a value may begin.
    let value = last.is_none_or(|token| {
        token.lexeme == Lexeme::Sign && !matches!(token.text.as_str(), ")" | "]" | "}")
            || token.text == "return"
    });
    if language == Language::Script && rest.starts_with('/') && value {
        let end = rest[1..].find(['\n', '/'])? + 1;
        return rest[end..].starts_with('/').then_some(end + 1);
    }
    None
}

fn token(rest: &str, first: char, language: Language) -> (Lexeme, usize, (usize, usize)) {
    let prefix =
        usize::from(language == Language::Python && matches!(first, 'f' | 'r' | 'b' | 'u' | 'F' | 'R'));
    let after = &rest[prefix..];
    let quoted = match after.chars().next() {
        Some(quote @ ('"' | '`')) => Some(quote),
        Some('\'') if language == Language::Script || language == Language::Python => Some('\''),
        _ => None,
    };
    if let Some(quote) = quoted {
        let triple = quote.to_string().repeat(3);
        if language == Language::Python && after.starts_with(&triple) {
            let end = after[3..].find(&triple).map_or(after.len(), |end| end + 3);
            let length = (end + 3).min(after.len());
            return (Lexeme::Text, prefix + length, (prefix + 3, prefix + end.max(3)));
        }
        let end = string_end(after, quote);
        let inner = if after[..end].ends_with(quote) && end > 1 { end - 1 } else { end };
        return (Lexeme::Text, prefix + end, (prefix + 1, prefix + inner.max(1)));
    }
    if first.is_alphabetic() || matches!(first, '_' | '$' | '#') {
        let end = rest
            .char_indices()
            .find(|(at, c)| *at > 0 && !c.is_alphanumeric() && !matches!(c, '_' | '$'))
            .map_or(rest.len(), |(at, _)| at);
        return (Lexeme::Name, end, (0, end));
    }
    if first.is_ascii_digit() {
        let end =
            rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.').unwrap_or(rest.len());
        return (Lexeme::Number, end, (0, end));
    }
    let long = ["===", "!==", "=>", "==", "!=", ">=", "<=", "&&", "||", "??", "?.", "::", ":=", "->"];
    let length =
        long.iter().find(|sign| rest.starts_with(**sign)).map_or(first.len_utf8(), |sign| sign.len());
    (Lexeme::Sign, length, (0, length))
}

/// Bytes of a string with its quotes; one that is not closed on its line ends there.
fn string_end(rest: &str, quote: char) -> usize {
    let (mut escaped, mut depth) = (false, 0_usize);
    let bytes = rest.as_bytes();
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' if quote == '`' && bytes[at - 1] == b'$' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            c if c == quote && depth == 0 => return at + 1,
            '\n' if quote != '`' => return at,
            _ => {}
        }
    }
    rest.len()
}

fn functions(tokens: &[Token], language: Language) -> Vec<Function> {
    let mut found = Vec::new();
    for open in 0..tokens.len() {
        if tokens[open].text != "(" || tokens[open].lexeme != Lexeme::Sign {
            continue;
        }
        let Some(close) = matching(tokens, open) else { continue };
        let Some(name) = function_name(tokens, open, close, language) else { continue };
        let Some(body) = body(tokens, close, language) else { continue };
        let params = params(&tokens[open + 1..close]);
        found.push(Function { name: tokens[name].text.clone(), at: tokens[name].at, params, body });
    }
    found
}

/// The token that names the function whose parameters stand in these brackets.
fn function_name(tokens: &[Token], open: usize, close: usize, language: Language) -> Option<usize> {
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.text == text);
    let name = open.checked_sub(1)?;
    let declared =
        name >= 1 && ["def", "function", "func", "fn", "async"].iter().any(|word| is(name - 1, word));
    if language != Language::Script {
        return (declared && tokens[name].lexeme == Lexeme::Name).then_some(name);
    }
    if tokens[name].lexeme == Lexeme::Name && !is_keyword(&tokens[name].text) && declared {
        return Some(name);
    }
    // `name = (…) =>`, `name = async (…) =>`, also with a return type.
    let before = if is(name, "async") { name.checked_sub(1)? } else { name };
    if (is(before, "=") || is(before, ":")) && arrow(tokens, close) {
        let mut named = before.checked_sub(1)?;
        while named > 0 && !is(named - 1, "const") && !is(named - 1, "let") && before - named < 6 {
            if matches!(tokens[named - 1].text.as_str(), ";" | "{" | "}" | ",") {
                break;
            }
            named -= 1;
        }
        return (tokens[named].lexeme == Lexeme::Name).then_some(named);
    }
    // A method: `name(…) {`, `name(…): Type {`; not a call, which no brace follows.
    let method = tokens[name].lexeme == Lexeme::Name && !is_keyword(&tokens[name].text);
    let prior = name.checked_sub(1).map_or("", |at| tokens[at].text.as_str());
    let begins = matches!(
        prior,
        "{" | "}"
            | ";"
            | ","
            | ""
            | "async"
            | "static"
            | "private"
            | "public"
            | "protected"
            | "override"
            | "get"
            | "set"
    );
    (method && begins && brace(tokens, close).is_some()).then_some(name)
}

/// Whether `=>` follows the brackets, perhaps behind a type.
fn arrow(tokens: &[Token], close: usize) -> bool {
    tokens
        .iter()
        .skip(close + 1)
        .take(12)
        .take_while(|token| !matches!(token.text.as_str(), ";" | "{" | "}"))
        .any(|token| token.text == "=>")
}

/// The brace that opens a body right behind the brackets or a type.
fn brace(tokens: &[Token], close: usize) -> Option<usize> {
    let after = tokens.get(close + 1)?;
    if after.text == "{" {
        return Some(close + 1);
    }
    if after.text != ":" {
        return None;
    }
    // A type in braces is rare; one in angle brackets is not.
    (close + 2..tokens.len().min(close + 20)).find(|at| tokens[*at].text == "{").filter(|at| {
        !tokens[close + 2..*at].iter().any(|token| matches!(token.text.as_str(), ";" | "=>" | "=" | ")"))
    })
}

fn body(tokens: &[Token], close: usize, language: Language) -> Option<std::ops::Range<usize>> {
    if language == Language::Python {
        return python_body(tokens, close);
    }
    let mut open = close + 1;
    while open < tokens.len() && open < close + 24 && tokens[open].text != "{" {
        if tokens[open].text == ";" {
            return None;
        }
        // An arrow without braces: its body is one expression.
        if tokens[open].text == "=>" && tokens.get(open + 1).is_some_and(|token| token.text != "{") {
            let end = (open + 1..tokens.len()).find(|at| tokens[*at].text == ";").unwrap_or(tokens.len());
            return Some(open + 1..end);
        }
        open += 1;
    }
    let end = matching(tokens, open)?;
    Some(open + 1..end)
}

/// Up to the next `def` or `class`: columns are not kept, which is enough for what is asked.
fn python_body(tokens: &[Token], close: usize) -> Option<std::ops::Range<usize>> {
    let begin = (close + 1..tokens.len()).find(|at| tokens[*at].text == ":")? + 1;
    let end = (begin..tokens.len()).find(|at| matches!(tokens[*at].text.as_str(), "def" | "class" | "@"));
    Some(begin..end.unwrap_or(tokens.len()))
}

fn params(tokens: &[Token]) -> Vec<String> {
    let mut names = Vec::new();
    let (mut depth, mut expects) = (0_usize, true);
    for token in tokens {
        match token.text.as_str() {
            "(" | "[" | "{" | "<" => depth += 1,
            ")" | "]" | "}" | ">" => depth = depth.saturating_sub(1),
            "," if depth == 0 => expects = true,
            "private" | "public" | "readonly" | "protected" | "." => {}
            _ if expects && token.lexeme == Lexeme::Name && depth == 0 => {
                names.push(token.text.clone());
                expects = false;
            }
            _ => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_arrows_and_calls_are_found() {
        let text = "class A { private async go(a: string, b?: number): Promise<void> { this.x.send(a, { k: b }); } }\nconst f = async (q) => { go(q); };\nexport function g() { return 1 }";
        let source = read(text, 0, Language::Script);

        let names: Vec<&str> = source.functions.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["go", "f", "g"]);
        assert_eq!(source.functions[0].params, ["a", "b"]);
        let calls = source.calls(source.functions[0].body.clone());
        assert_eq!(calls[0].path, "this.x.send");
        assert_eq!(calls[0].args.len(), 2);
    }

    #[test]
    fn comments_and_strings_hide_their_content() {
        let source = read("// a(b)\nx('c(d)') /* e() */; y(`f ${g(1)} \\``)", 0, Language::Script);

        let calls: Vec<String> = source.calls(0..source.tokens.len()).into_iter().map(|c| c.name).collect();
        assert_eq!(calls, ["x", "y"]);
    }

    #[test]
    fn python_is_read() {
        let source = read(
            "# no\n@app.get(\"/health\")\ndef health():\n    \"\"\"doc\"\"\"\n    return os.environ.get('A')\n",
            0,
            Language::Python,
        );

        assert_eq!(source.functions[0].name, "health");
        assert!(source.calls(0..source.tokens.len()).iter().any(|c| c.path == "os.environ.get"));
    }
}
