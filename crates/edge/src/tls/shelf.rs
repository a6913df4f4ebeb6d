//! Holds the certificates in use and finds the one for the name a client asks for. Reads no file; see `watch`.
//! Refuses nobody: a client that asks for no name, or one nobody has, gets the first, as it would from an edge with one.

use super::acme::{self, Challenges};
use rollout::names::Millis;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

/// A certificate with its key, ready for use.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) key: Arc<CertifiedKey>,
    /// Lower case; `*.example.org` stands for one label.
    pub(crate) names: Vec<String>,
    pub(crate) not_before: Millis,
    pub(crate) not_after: Millis,
}

/// The certificates in use, each in the slot of its source.
#[derive(Debug)]
pub(crate) struct Shelf {
    held: RwLock<Held>,
    /// The slots of files.
    files: Range<usize>,
    challenges: Arc<Challenges>,
}

#[derive(Debug, Default)]
struct Held {
    slots: Vec<Option<Certificate>>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
    /// Those that have no slot, each for one name.
    named: HashMap<String, Certificate>,
}

impl Shelf {
    /// Makes an empty one; the slots of `files` are those of files.
    pub(crate) fn new(slots: usize, files: Range<usize>) -> Self {
        let held = RwLock::new(Held { slots: vec![None; slots], ..Held::default() });
        Self { held, files, challenges: Arc::default() }
    }

    /// What is shown to those who only check a name.
    pub(crate) fn challenges(&self) -> &Arc<Challenges> {
        &self.challenges
    }

    /// Puts a certificate in its slot; handshakes that begin from now on see it.
    pub(crate) fn put(&self, slot: usize, certificate: Certificate) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.slots[slot] = Some(certificate);
        let mut by_name = HashMap::new();
        // Where two have a name, the first one listed keeps it.
        for certificate in held.slots.iter().flatten().rev() {
            let named = certificate.names.iter().map(|name| (name.clone(), Arc::clone(&certificate.key)));
            by_name.extend(named);
        }
        held.by_name = by_name;
    }

    pub(crate) fn get(&self, slot: usize) -> Option<Certificate> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).slots[slot].clone()
    }

    /// Serves a name that has no slot.
    pub(crate) fn put_named(&self, name: &str, certificate: Certificate) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.named.insert(name.to_owned(), certificate);
    }

    pub(crate) fn remove_named(&self, name: &str) {
        self.held.write().unwrap_or_else(PoisonError::into_inner).named.remove(name);
    }

    /// Returns the certificate of a name that has no slot.
    pub(crate) fn named(&self, name: &str) -> Option<Certificate> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).named.get(name).cloned()
    }

    pub(crate) fn named_count(&self) -> usize {
        self.held.read().unwrap_or_else(PoisonError::into_inner).named.len()
    }

    /// Whether a name, in lower case, has a certificate.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.held.read().unwrap_or_else(PoisonError::into_inner).of(name).is_some()
    }

    /// Whether a file has a certificate for a name.
    pub(crate) fn has_file(&self, name: &str) -> bool {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let star = star(name);
        let files = held.slots[self.files.clone()].iter().flatten().flat_map(|file| &file.names);
        files.into_iter().any(|named| named == name || Some(named) == star.as_ref())
    }

    fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let named = name.and_then(|name| held.of(&name.to_ascii_lowercase()));
        let first = || held.slots.iter().flatten().next().map(|certificate| &certificate.key);
        named.or_else(first).cloned()
    }
}

impl Held {
    /// Returns the certificate of a name in lower case.
    fn of(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let named = || self.named.get(name).map(|certificate| &certificate.key);
        self.by_name.get(name).or_else(|| self.by_name.get(&star(name)?)).or_else(named)
    }
}

/// Returns the name with `*` for its first label.
fn star(name: &str) -> Option<String> {
    name.split_once('.').map(|(_, parent)| format!("*.{parent}"))
}

impl ResolvesServerCert for Shelf {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Users must never get the answer to a challenge, and who checks a name learns nothing else.
        if acme::is_check(&hello) {
            return self.challenges.certificate(hello.server_name());
        }
        self.find(hello.server_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::self_signed;

    fn certificate(names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let (cert, key) = self_signed::make(&names).unwrap();
        crate::tls::files::parse(cert.as_bytes(), key.as_bytes(), "a test").unwrap()
    }

    #[test]
    fn the_name_chooses_the_certificate_and_the_first_one_serves_the_others() {
        let shelf = Shelf::new(3, 0..2);
        let made =
            [certificate(&["a.example"]), certificate(&["*.b.example"]), certificate(&["x.b.example"])];
        for (slot, certificate) in made.iter().enumerate() {
            shelf.put(slot, certificate.clone());
        }

        for (name, slot) in [
            (Some("a.example"), 0),
            (Some("A.EXAMPLE"), 0),
            (Some("y.b.example"), 1),
            (Some("x.b.example"), 2),
            (Some("z.y.b.example"), 0),
            (Some("b.example"), 0),
            (None, 0),
        ] {
            let found = shelf.find(name).unwrap();
            assert!(Arc::ptr_eq(&found, &made[slot].key), "{name:?}");
        }
        assert!(shelf.has("a.example") && shelf.has("y.b.example") && !shelf.has("b.example"));
        assert!(shelf.has_file("y.b.example") && !shelf.has_file("b.example"));
    }
}
