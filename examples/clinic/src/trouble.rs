//! Says why the clinic cannot start: what failed, why, what to do next. For answers to requests see `api::problem`.

use std::fmt::{self, Display};
use std::process::ExitCode;

/// What ends the program.
#[derive(Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Fits after "cannot".
    what: String,
    why: String,
    next: String,
    kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Failed,
    BadSettings,
}

impl Trouble {
    pub fn new(what: impl Into<String>, why: impl Display, next: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.to_string(), next: next.into(), kind: Kind::Failed }
    }

    /// Settings that make no sense, all at once.
    pub fn settings(errors: &[String]) -> Self {
        let next = "correct or unset them; README.md lists every setting".into();
        Self { what: "read the settings".into(), why: errors.join("; "), next, kind: Kind::BadSettings }
    }

    /// Returns 2 for bad settings, as for bad arguments, and 1 for everything else.
    pub fn exit_code(&self) -> ExitCode {
        match self.kind {
            Kind::Failed => ExitCode::FAILURE,
            Kind::BadSettings => ExitCode::from(2),
        }
    }
}

impl Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: cannot {}\ncause: {}\n next: {}", self.what, self.why, self.next)
    }
}
