//! Says why a rule matched, which status that is, and what the client is told. Decides nothing.

use std::sync::Arc;
use std::time::Duration;

/// Why a request matches a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Its key has used up its requests.
    Rate {
        limit: u32,
        window_seconds: u64,
        wait: Duration,
    },
    /// It comes from a country that is not let in, or from none that is known.
    Country,
    UriTooLong {
        max: u64,
    },
    TooManyFields {
        max: u64,
    },
    HeadTooLarge {
        max: u64,
    },
    BodyTooLarge {
        max: u64,
    },
    BodyTooSlow {
        rate_min: u64,
    },
}

/// A rule that matched a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) rule: Arc<str>,
    pub(crate) reason: Reason,
}

impl Reason {
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Rate { .. } => 429,
            Self::Country => 403,
            Self::UriTooLong { .. } => 414,
            Self::TooManyFields { .. } | Self::HeadTooLarge { .. } => 431,
            Self::BodyTooLarge { .. } => 413,
            Self::BodyTooSlow { .. } => 408,
        }
    }

    /// Returns the value of `X-MedEclipse-Error`.
    pub(crate) fn class(&self) -> &'static str {
        match self {
            Self::Rate { .. } => "rate_limited",
            Self::Country => "country",
            Self::UriTooLong { .. } => "uri_too_long",
            Self::TooManyFields { .. } | Self::HeadTooLarge { .. } => "head_too_large",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::BodyTooSlow { .. } => "body_too_slow",
        }
    }

    pub(crate) fn why(&self) -> String {
        match self {
            Self::Rate { limit, window_seconds, .. } => {
                format!("more requests came than the {limit} in {window_seconds} s that are taken")
            }
            Self::Country => "requests from where it comes from are not taken".to_owned(),
            Self::UriTooLong { max } => format!("its address has more than {max} bytes"),
            Self::TooManyFields { max } => format!("it has more than {max} header fields"),
            Self::HeadTooLarge { max } => format!("its header fields have more than {max} bytes"),
            Self::BodyTooLarge { max } => format!("its body has more than {max} bytes"),
            Self::BodyTooSlow { rate_min } => format!("its body comes slower than {rate_min} bytes a second"),
        }
    }

    pub(crate) fn next(&self) -> String {
        match self {
            Self::Rate { .. } => "send it again after the seconds in Retry-After".to_owned(),
            Self::Country => "operators: `countries` of the guard in medeclipse.toml".to_owned(),
            Self::UriTooLong { .. } | Self::TooManyFields { .. } | Self::HeadTooLarge { .. } => {
                "send less; operators: `head` of the guard in medeclipse.toml".to_owned()
            }
            Self::BodyTooLarge { .. } => {
                "send less; operators: `body` of the guard in medeclipse.toml".to_owned()
            }
            Self::BodyTooSlow { .. } => "send it again".to_owned(),
        }
    }

    /// Returns the whole seconds after which the request may come again.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Rate { wait, .. } => Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)),
            _ => None,
        }
    }

    /// Returns the values of `RateLimit-Policy` and `RateLimit`.
    /// Source: draft-ietf-httpapi-ratelimit-headers-10, quota, window, remaining, reset.
    pub(crate) fn rate_limit(&self, rule: &str) -> Option<(String, String)> {
        let Self::Rate { limit, window_seconds, .. } = self else { return None };
        let reset = self.retry_after()?;
        Some((format!("\"{rule}\";q={limit};w={window_seconds}"), format!("\"{rule}\";r=0;t={reset}")))
    }
}
