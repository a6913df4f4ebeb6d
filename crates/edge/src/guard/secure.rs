//! Writes a service's security headers on its answers. Never replaces what the service says, unless it is asked to.
//! Says nothing about TLS on an answer that does not go over TLS.

use http::{HeaderMap, HeaderName, HeaderValue};
use rollout::guard::HeaderSettings;

/// The headers of one service, ready to be written.
#[derive(Debug, Default)]
pub(crate) struct SecurityHeaders {
    always: Vec<(HeaderName, HeaderValue)>,
    over_tls: Vec<(HeaderName, HeaderValue)>,
    overwrite: bool,
}

impl SecurityHeaders {
    /// What is no header was refused with the table; see [`flaw`].
    pub(crate) fn new(settings: &HeaderSettings) -> Self {
        let read = |pairs: &[(String, String)]| pairs.iter().filter_map(pair).collect();
        Self {
            always: read(&settings.always),
            over_tls: read(&settings.over_tls),
            overwrite: settings.overwrite,
        }
    }

    pub(crate) fn write(&self, headers: &mut HeaderMap, over_tls: bool) {
        let tls = if over_tls { self.over_tls.as_slice() } else { &[] };
        for (name, value) in self.always.iter().chain(tls) {
            if self.overwrite || !headers.contains_key(name) {
                headers.insert(name.clone(), value.clone());
            }
        }
    }
}

fn pair((name, value): &(String, String)) -> Option<(HeaderName, HeaderValue)> {
    Some((name.parse().ok()?, value.parse().ok()?))
}

/// Says which of the headers is none.
pub(crate) fn flaw(settings: &HeaderSettings) -> Option<String> {
    let all = settings.always.iter().chain(&settings.over_tls);
    let wrong = all.into_iter().find(|written| pair(written).is_none())?;
    Some(format!("`{}: {}` is no header", wrong.0, wrong.1))
}
