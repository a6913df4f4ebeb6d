//! What is known of a text: all of it, its fixed parts, or nothing. Compares without guessing.

use std::fmt;

/// Most pieces of a pattern: nobody writes a name of more.
const PIECES_MAX: usize = 200;

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Piece {
    Text(String),
    /// A part that differs between environments or is known only at run time, and what it is called.
    Hole(String),
}

/// What is known of a text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Known(String),
    Pattern(Vec<Piece>),
    Unknown(String),
}

/// How two values stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likeness {
    Same,
    Different,
    /// One of them is not known well enough.
    Unclear,
}

impl Value {
    /// Puts pieces together; neighbouring texts become one.
    pub fn of(pieces: Vec<Piece>) -> Self {
        let mut joined: Vec<Piece> = Vec::new();
        for piece in pieces {
            match (joined.last_mut(), piece) {
                (Some(Piece::Text(last)), Piece::Text(text)) => last.push_str(&text),
                (_, Piece::Text(text)) if text.is_empty() => {}
                (_, piece) => joined.push(piece),
            }
        }
        match joined.as_slice() {
            [] => Self::Known(String::new()),
            [Piece::Text(text)] => Self::Known(text.clone()),
            _ if joined.len() > PIECES_MAX => Self::Unknown("a text of too many parts".to_owned()),
            _ => Self::Pattern(joined),
        }
    }

    pub fn known(&self) -> Option<&str> {
        match self {
            Self::Known(text) => Some(text),
            _ => None,
        }
    }

    /// The pieces; of what is unknown, one hole.
    pub fn pieces(&self) -> Vec<Piece> {
        match self {
            Self::Known(text) => vec![Piece::Text(text.clone())],
            Self::Pattern(pieces) => pieces.clone(),
            Self::Unknown(why) => vec![Piece::Hole(why.clone())],
        }
    }

    /// Whether it says nothing but holes.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Known(_) => false,
            Self::Pattern(pieces) => !pieces
                .iter()
                .any(|piece| matches!(piece, Piece::Text(text) if text.chars().any(char::is_alphanumeric))),
            Self::Unknown(_) => true,
        }
    }

    /// The holes' names.
    pub fn holes(&self) -> Vec<String> {
        let hole = |piece| match piece {
            Piece::Hole(name) => Some(name),
            Piece::Text(_) => None,
        };
        self.pieces().into_iter().filter_map(hole).collect()
    }

    /// Whether both name the same thing.
    pub fn likeness(&self, other: &Self) -> Likeness {
        if self.is_open() || other.is_open() {
            return Likeness::Unclear;
        }
        match (self, other) {
            (Self::Known(a), Self::Known(b)) if a == b => Likeness::Same,
            (Self::Known(_), Self::Known(_)) => Likeness::Different,
            (Self::Known(text), Self::Pattern(pieces)) | (Self::Pattern(pieces), Self::Known(text)) => {
                fits(text, pieces)
            }
            (Self::Pattern(a), Self::Pattern(b)) => patterns(a, b),
            (Self::Unknown(_), _) | (_, Self::Unknown(_)) => Likeness::Unclear,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in self.pieces() {
            match piece {
                Piece::Text(text) => f.write_str(&text)?,
                Piece::Hole(name) => write!(f, "${{{name}}}")?,
            }
        }
        Ok(())
    }
}

/// Names that environments have. A hole called like an environment is filled by one of these, or by something alike.
const ENVIRONMENTS: &[&str] = &[
    "production",
    "prod",
    "prd",
    "staging",
    "stage",
    "stg",
    "development",
    "develop",
    "dev",
    "test",
    "testing",
    "qa",
    "uat",
    "preprod",
    "preproduction",
    "preview",
    "sandbox",
    "demo",
    "live",
    "integration",
    "int",
    "acceptance",
];

/// Whether a name means the environment.
pub fn is_environment_name(name: &str) -> bool {
    let last = name.rsplit(['.', ' ']).next().unwrap_or(name).to_ascii_lowercase();
    last.contains("env")
        || matches!(last.as_str(), "stage" | "workspace" | "tier")
        || last.ends_with("_stage")
}

/// Whether a text is what environments are called.
pub fn is_environment(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    ENVIRONMENTS.iter().any(|known| {
        lower == *known
            || lower.strip_prefix(known).is_some_and(|rest| rest.starts_with(['-', '_', '1', '2']))
    })
}

fn could_fill(hole: &str, text: &str) -> bool {
    let lower = hole.to_ascii_lowercase();
    if text.is_empty() {
        return false;
    }
    if is_environment_name(hole) {
        return is_environment(text);
    }
    if lower.contains("account") {
        return text.chars().all(|c| c.is_ascii_digit()) || !text.contains(['/', ':']);
    }
    if lower.contains("region") {
        return text.chars().filter(|c| *c == '-').count() >= 2 && !text.contains('/');
    }
    true
}

/// Whether a text is one of those a pattern stands for.
fn fits(text: &str, pieces: &[Piece]) -> Likeness {
    if fits_from(text, pieces) { Likeness::Same } else { Likeness::Different }
}

fn fits_from(text: &str, pieces: &[Piece]) -> bool {
    match pieces {
        [] => text.is_empty(),
        [Piece::Text(part), rest @ ..] => {
            text.strip_prefix(part.as_str()).is_some_and(|text| fits_from(text, rest))
        }
        [Piece::Hole(name)] => could_fill(name, text),
        [Piece::Hole(name), rest @ ..] => (1..=text.len())
            .filter(|end| text.is_char_boundary(*end))
            .any(|end| could_fill(name, &text[..end]) && fits_from(&text[end..], rest)),
    }
}

/// The variable's own name, without `var.` and the like: names cross files by it.
fn plain(hole: &str) -> String {
    hole.rsplit(['.', ' '])
        .next()
        .unwrap_or(hole)
        .trim_matches(|c: char| !c.is_alphanumeric())
        .to_ascii_lowercase()
}

fn same_hole(a: &str, b: &str) -> bool {
    let (a, b) = (plain(a), plain(b));
    a == b
        || (is_environment_name(&a) && is_environment_name(&b))
        || ["region", "account"].iter().any(|word| a.contains(word) && b.contains(word))
}

fn patterns(a: &[Piece], b: &[Piece]) -> Likeness {
    if a.len() == b.len() {
        let alike = a.iter().zip(b).all(|pair| match pair {
            (Piece::Text(a), Piece::Text(b)) => a == b,
            (Piece::Hole(a), Piece::Hole(b)) => same_hole(a, b),
            _ => false,
        });
        if alike {
            return Likeness::Same;
        }
    }
    // Holes that both have mean the same; what remains decides.
    let holes = |pieces: &[Piece]| pieces.iter().filter(|piece| matches!(piece, Piece::Hole(_))).count();
    let text = |pieces: &[Piece]| {
        pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Hole(_) => "\u{0}".to_owned(),
            })
            .collect::<String>()
    };
    if holes(a) == holes(b) && text(a) == text(b) {
        return Likeness::Unclear;
    }
    // Different fixed ends cannot meet, whatever fills the holes.
    let end = |pieces: &[Piece], last: bool| match if last { pieces.last() } else { pieces.first() } {
        Some(Piece::Text(text)) => text.clone(),
        _ => String::new(),
    };
    let (heads, tails) = ((end(a, false), end(b, false)), (end(a, true), end(b, true)));
    let heads_meet = heads.0.starts_with(&heads.1) || heads.1.starts_with(&heads.0);
    let tails_meet = tails.0.ends_with(&tails.1) || tails.1.ends_with(&tails.0);
    let comparable = environments_only(a) && environments_only(b);
    if !heads_meet || !tails_meet || comparable { Likeness::Different } else { Likeness::Unclear }
}

fn environments_only(pieces: &[Piece]) -> bool {
    pieces.iter().all(|piece| match piece {
        Piece::Text(_) => true,
        Piece::Hole(name) => is_environment_name(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Value {
        let mut pieces = Vec::new();
        for (at, part) in text.split(['{', '}']).enumerate() {
            pieces.push(if at % 2 == 0 {
                Piece::Text(part.to_owned())
            } else {
                Piece::Hole(part.to_owned())
            });
        }
        Value::of(pieces)
    }

    #[test]
    fn an_environments_hole_takes_environments_only() {
        let like = |a: &str, b: &str| pattern(a).likeness(&pattern(b));

        assert_eq!(like("/ecs/app-{var.environment}", "/ecs/app-production"), Likeness::Same);
        assert_eq!(like("/ecs/app-{var.environment}", "/ecs/app-web"), Likeness::Different);
        assert_eq!(like("app/{env}/db", "app/{var.environment}/db"), Likeness::Same);
        assert_eq!(like("app/{var.environment}/db", "app/db"), Likeness::Different);
        assert_eq!(like("app/{local.x}", "app/anything"), Likeness::Same);
        assert_eq!(like("{var.a}", "app/anything"), Likeness::Unclear);
        assert_eq!(like("{local.name}-db", "app-{env}-db"), Likeness::Unclear);
        assert_eq!(like("{local.name}-db", "{local.name}-cache"), Likeness::Different);
    }
}
