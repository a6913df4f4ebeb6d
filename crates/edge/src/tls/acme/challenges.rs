//! Holds what an ACME server is shown while it checks that a name leads here: an answer to a request (http-01, RFC 8555,
//! 8.3), or a certificate of its own (tls-alpn-01, RFC 8737). Shows nothing that no order under way asked for.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use tokio_rustls::rustls::server::ClientHello;
use tokio_rustls::rustls::sign::CertifiedKey;

/// What a client that only checks a name offers as its protocol.
pub(crate) const PROTOCOL: &[u8] = b"acme-tls/1";
/// Where a request that only checks a name asks.
const FOLDER: &str = "/.well-known/acme-challenge/";

/// What is shown now: one or two for each order under way.
#[derive(Debug, Default)]
pub(crate) struct Challenges {
    held: RwLock<Held>,
}

#[derive(Debug, Default)]
struct Held {
    tokens: HashMap<String, String>,
    certificates: HashMap<String, Arc<CertifiedKey>>,
}

/// Something that is shown until this is dropped.
#[derive(Debug)]
pub(super) struct Shown {
    challenges: Arc<Challenges>,
    what: What,
}

#[derive(Debug)]
enum What {
    Token(String),
    Certificate(String),
}

impl Challenges {
    pub(super) fn show_token(self: &Arc<Self>, token: &str, answer: &str) -> Shown {
        self.change().tokens.insert(token.to_owned(), answer.to_owned());
        Shown { challenges: Arc::clone(self), what: What::Token(token.to_owned()) }
    }

    pub(super) fn show_certificate(self: &Arc<Self>, name: &str, certificate: Arc<CertifiedKey>) -> Shown {
        self.change().certificates.insert(name.to_owned(), certificate);
        Shown { challenges: Arc::clone(self), what: What::Certificate(name.to_owned()) }
    }

    fn change(&self) -> RwLockWriteGuard<'_, Held> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the answer to a request for this path; None for everything that no order under way asked for.
    pub(crate) fn answer(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(FOLDER)?;
        self.held.read().unwrap_or_else(PoisonError::into_inner).tokens.get(token).cloned()
    }

    pub(crate) fn certificate(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let name = name?.to_ascii_lowercase();
        self.held.read().unwrap_or_else(PoisonError::into_inner).certificates.get(&name).cloned()
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let mut held = self.challenges.change();
        match &self.what {
            What::Token(token) => drop(held.tokens.remove(token)),
            What::Certificate(name) => drop(held.certificates.remove(name)),
        }
    }
}

/// Whether a client only checks a name: it offers that protocol and no other (RFC 8737, 3).
pub(crate) fn is_check(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut offered| offered.next() == Some(PROTOCOL) && offered.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_ends_with_its_order_and_nothing_else_is_shown() {
        let challenges = Arc::new(Challenges::default());
        let asked = "/.well-known/acme-challenge/abc";
        assert_eq!(challenges.answer(asked), None);

        let shown = challenges.show_token("abc", "abc.thumb");
        assert_eq!(challenges.answer(asked).as_deref(), Some("abc.thumb"));
        assert_eq!(challenges.answer("/.well-known/acme-challenge/"), None);
        assert_eq!(challenges.answer("/abc"), None);

        drop(shown);
        assert_eq!(challenges.answer(asked), None);
    }
}
