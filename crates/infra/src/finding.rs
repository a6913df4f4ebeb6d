//! Says what was found: rule, severity, the place, the other place it contradicts, why, what to write instead.
//! Formats nothing; see `lint::report`.

use serde::Serialize;

/// How bad it is, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Does not work, or loses data or secrets.
    Critical,
    /// Breaks under conditions that come.
    High,
    Medium,
    Low,
}

impl Severity {
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Medium, Self::Low];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

impl std::str::FromStr for Severity {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|severity| severity.word() == word);
        known.ok_or_else(|| format!("`{word}` is no severity: write critical, high, medium or low"))
    }
}

/// Bytes of one file, from `start` up to before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }
}

/// Where in the tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Place {
    pub path: String,
    pub span: Span,
}

/// Replaces the bytes of a place. Only where no other meaning is possible.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fix {
    pub at: Place,
    pub with: String,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `topic/fact`.
    pub rule: &'static str,
    pub severity: Severity,
    /// One sentence with the names and values of this case.
    pub message: String,
    pub at: Place,
    /// The place it contradicts, and what stands there.
    pub other: Option<(Place, String)>,
    /// What to write instead, for this case.
    pub instead: String,
    pub fix: Option<Fix>,
}

/// Something a rule could not know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Unchecked {
    pub rule: &'static str,
    pub at: Option<Place>,
    pub why: String,
}
