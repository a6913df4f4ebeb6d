//! Says what went wrong with a request, whose fault it was, and which status the client gets: the only place that maps them.
//! Counts nothing and logs nothing; `ledger` does.

use crate::guard::Verdict;
use crate::limits;
use meter::wire::CountRow;
use rollout::names::Target;
use rollout::pages::Pages;

/// Why a request got no answer from a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Client: the request is not one we pass on.
    BadRequest(&'static str),
    /// Client: the body's framing broke.
    BadBody,
    /// Client: the body stopped coming.
    UploadStalled,
    /// Client: went away first.
    ClientGone,
    /// Client: a rule of the target's guard refuses it. Belongs to no revision.
    Guarded(Box<Verdict>),
    /// Ours: no table has ever arrived.
    NoTable,
    /// Ours: no table names this host and path.
    UnknownHost,
    /// Ours: the target has no revision for this share of the traffic.
    NothingStable(Target),
    /// Ours: an operator asked for it.
    Maintenance,
    /// Ours: too many already wait for the end of the maintenance.
    QueueFull,
    /// Upstream: every replica of the arm carries as many requests as it may.
    Overloaded,
    /// Upstream: the arm has no ready replica.
    NoReplica,
    /// Upstream: no replica of the arm took a connection.
    Connect,
    /// Upstream: the connection broke before the answer's head.
    Reset,
    /// Upstream: the answer was not HTTP.
    BadAnswer,
    /// Upstream: no answer in time.
    Timeout,
    /// Upstream: its revision was drained and the time for that is over.
    Drained,
}

/// Which column of the counts a request belongs to that did not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    ClientError,
    Unauthorized,
    NotFound,
    ClientAbort,
    Status,
    Limited,
    Connect,
    Reset,
    Timeout,
    EarlyEof,
}

impl Column {
    /// Returns the column of an answer by its status; None for one that is well.
    pub(crate) fn of_status(status: u16) -> Option<Self> {
        match status {
            500.. => Some(Self::Status),
            // Issued by the service, both say that it could not keep up.
            408 | 429 => Some(Self::Limited),
            401 | 403 => Some(Self::Unauthorized),
            404 | 410 => Some(Self::NotFound),
            400.. => Some(Self::ClientError),
            _ => None,
        }
    }

    /// Whether it speaks against the release.
    pub(crate) fn is_error(self) -> bool {
        match self {
            Self::ClientError | Self::Unauthorized | Self::NotFound | Self::ClientAbort => false,
            Self::Status | Self::Limited | Self::Connect | Self::Reset | Self::Timeout | Self::EarlyEof => {
                true
            }
        }
    }

    /// Returns the name of an error's class, as `ErrorCounts` has it.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::ClientError => "client_error",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not_found",
            Self::ClientAbort => "client_abort",
            Self::Status => "status",
            Self::Limited => "limited",
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::EarlyEof => "early_eof",
        }
    }

    pub(crate) fn add(self, row: &mut CountRow) {
        if matches!(self, Self::Unauthorized | Self::NotFound) {
            row.client_errors += 1;
        }
        let cell = match self {
            Self::ClientError => &mut row.client_errors,
            Self::Unauthorized => &mut row.unauthorized,
            Self::NotFound => &mut row.not_found,
            Self::ClientAbort => &mut row.client_aborts,
            Self::Status => &mut row.errors.status,
            Self::Limited => &mut row.errors.limited,
            Self::Connect => &mut row.errors.connect,
            Self::Reset => &mut row.errors.reset,
            Self::Timeout => &mut row.errors.timeout,
            Self::EarlyEof => &mut row.errors.early_eof,
        };
        *cell += 1;
    }
}

/// What the client is told, and where it is counted.
pub(crate) struct Mapped {
    pub(crate) status: u16,
    /// `X-MedEclipse-Error`.
    pub(crate) class: &'static str,
    /// Fits after "cannot answer this request: ".
    pub(crate) why: String,
    pub(crate) next: String,
    pub(crate) retry_after_seconds: Option<u64>,
    /// Where it is counted once an arm was drawn.
    pub(crate) column: Column,
}

impl Failure {
    pub(crate) fn map(&self) -> Mapped {
        let (status, class, why, column) = match self {
            Self::BadRequest(why) => (400, "bad_request", *why, Column::ClientError),
            Self::BadBody => (400, "bad_body", "its body is not framed as HTTP says", Column::ClientError),
            Self::UploadStalled => (408, "upload_stalled", "its body stopped coming", Column::ClientError),
            Self::Guarded(verdict) => return verdict.map(),
            Self::ClientGone => (499, "client_gone", "the client went away", Column::ClientAbort),
            Self::NoTable => (503, "no_table", "nothing has been deployed here yet", Column::Connect),
            Self::UnknownHost => {
                (404, "unknown_host", "no service has this host and path", Column::ClientError)
            }
            Self::NothingStable(_) => {
                (503, "nothing_stable", "the service is known but no release serves yet", Column::Connect)
            }
            Self::Maintenance => (503, "maintenance", "the service is in maintenance", Column::Connect),
            Self::QueueFull => {
                (503, "overloaded", "too many requests wait for the end of the maintenance", Column::Connect)
            }
            Self::Overloaded => {
                (503, "overloaded", "every replica has as many requests as it may", Column::Connect)
            }
            Self::NoReplica => (503, "no_replica", "no replica of the release is ready", Column::Connect),
            Self::Connect => (502, "connect", "no replica of the release takes connections", Column::Connect),
            Self::Reset => {
                (502, "reset", "the replica closed the connection without an answer", Column::Reset)
            }
            Self::BadAnswer => (502, "bad_answer", "the replica's answer is not HTTP", Column::Reset),
            Self::Timeout => (504, "timeout", "the replica did not answer in time", Column::Timeout),
            Self::Drained => {
                (504, "drained", "its release was drained before the answer came", Column::Timeout)
            }
        };
        let waits = matches!(self, Self::Maintenance | Self::QueueFull | Self::Overloaded);
        Mapped {
            status,
            class,
            why: why.to_owned(),
            next: self.next(),
            retry_after_seconds: waits.then_some(limits::RETRY_AFTER_SECONDS),
            column,
        }
    }

    /// Returns the page of the service that a person sees instead.
    pub(crate) fn page<'p>(&self, pages: &'p Pages) -> Option<&'p str> {
        match self {
            Self::Maintenance | Self::QueueFull => pages.maintenance.as_deref(),
            Self::NothingStable(_)
            | Self::Overloaded
            | Self::NoReplica
            | Self::Connect
            | Self::Reset
            | Self::BadAnswer
            | Self::Timeout
            | Self::Drained => pages.error.as_deref(),
            Self::BadRequest(_)
            | Self::BadBody
            | Self::UploadStalled
            | Self::ClientGone
            | Self::Guarded(_)
            | Self::NoTable
            | Self::UnknownHost => None,
        }
    }

    fn next(&self) -> String {
        match self {
            Self::BadRequest(_) | Self::BadBody => "correct the client".to_owned(),
            Self::Guarded(verdict) => verdict.reason.next(),
            Self::UploadStalled | Self::ClientGone => "send the request again".to_owned(),
            Self::NoTable => "run `medeclipse deploy`".to_owned(),
            Self::UnknownHost => {
                "check `hosts` and `paths` in medeclipse.toml, then `medeclipse status`".to_owned()
            }
            Self::NothingStable(target) => format!("run `medeclipse deploy {}`", target.service),
            Self::Maintenance | Self::QueueFull => {
                "come back later; operators: `medeclipse maintenance off`".to_owned()
            }
            Self::NoReplica | Self::Connect | Self::Reset | Self::BadAnswer => {
                "operators: `medeclipse status` and `medeclipse logs`".to_owned()
            }
            Self::Overloaded => {
                "come back later; operators: `in_flight` in medeclipse.toml is the bound, `medeclipse scale` adds replicas".to_owned()
            }
            Self::Timeout => "operators: `medeclipse logs` shows what the replica was doing".to_owned(),
            Self::Drained => {
                "send the request again; operators: `drain` in medeclipse.toml is the bound".to_owned()
            }
        }
    }
}

impl Verdict {
    fn map(&self) -> Mapped {
        let reason = &self.reason;
        Mapped {
            status: reason.status(),
            class: reason.class(),
            why: reason.why(),
            next: reason.next(),
            retry_after_seconds: reason.retry_after(),
            column: Column::ClientError,
        }
    }
}

impl Mapped {
    /// Returns the text body: what, why, next.
    pub(crate) fn text(&self) -> String {
        format!("error: cannot answer this request: {}\n next: {}\n", self.why, self.next)
    }
}
