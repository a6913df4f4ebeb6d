//! Holds the certificates in use and finds the one for the name a client asks for. Reads no file; see `watch`.
//! Refuses nobody: a client that asks for no name, or one nobody has, gets the first, as it would from an edge with one.

use rollout::names::Millis;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

/// A certificate with its key, ready for use.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) key: Arc<CertifiedKey>,
    /// Lower case; `*.example.org` stands for one label.
    pub(crate) names: Vec<String>,
    pub(crate) not_after: Millis,
}

/// The certificates in use, each in the slot of its source.
#[derive(Debug)]
pub(crate) struct Shelf {
    held: RwLock<Held>,
}

#[derive(Debug, Default)]
struct Held {
    slots: Vec<Option<Certificate>>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

impl Shelf {
    pub(crate) fn new(slots: usize) -> Self {
        Self { held: RwLock::new(Held { slots: vec![None; slots], by_name: HashMap::new() }) }
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

    fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let named = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let parent = || name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
            held.by_name.get(&name).or_else(|| held.by_name.get(&parent()?))
        });
        let first = || held.slots.iter().flatten().next().map(|certificate| &certificate.key);
        named.or_else(first).cloned()
    }
}

impl ResolvesServerCert for Shelf {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
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
        let shelf = Shelf::new(3);
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
    }
}
