//! Limits how many requests one key may send: a client, a principal, a route. Keeps numbers only, never a value.
//! Limits everybody alike; where a request comes from is another rule's question.

use super::Seen;
use super::pace::Pace;
use super::plain::is_under;
use super::reason::Reason;
use http::HeaderName;
use rollout::guard::{Network, RateKey, RateLimit};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

/// The limit and the pace of a network that has its own.
type Own = (u32, Pace);

/// One limit, ready to be asked.
#[derive(Debug)]
pub(crate) struct Rate {
    limit: u32,
    window_seconds: u64,
    pace: Pace,
    key: RateKey,
    /// The header of a principal.
    header: Option<HeaderName>,
    paths: Vec<String>,
    /// Networks with a pace of their own, or none.
    known: Vec<(Vec<Network>, Option<Own>)>,
    /// Tells this rule's keys from those of others; the same for the same rule of the next table.
    own: u64,
}

impl Rate {
    pub(crate) fn new(limit: &RateLimit, target: &str, rule: &str) -> Self {
        let mut own = DefaultHasher::new();
        (target, rule).hash(&mut own);
        let pace = Pace::new(limit.limit, limit.window, limit.burst);
        // A network's burst grows with its limit.
        let scaled = |own: u32| {
            let burst = u64::from(limit.burst) * u64::from(own) / u64::from(limit.limit.max(1));
            (own, Pace::new(own, limit.window, u32::try_from(burst).unwrap_or(u32::MAX)))
        };
        let known = limit.known.iter().map(|known| (known.networks.clone(), known.limit.map(scaled)));
        let header = match &limit.key {
            RateKey::Header(name) => name.parse().ok(),
            RateKey::Client | RateKey::Route | RateKey::ClientAndRoute => None,
        };
        Self {
            limit: limit.limit,
            window_seconds: limit.window.0.div_ceil(1000),
            pace,
            header,
            key: limit.key.clone(),
            paths: limit.paths.clone(),
            known: known.collect(),
            own: own.finish(),
        }
    }

    /// Takes the request from its key's bucket. A request that is refused takes nothing.
    pub(crate) fn look(&self, seen: &Seen<'_>) -> Option<Reason> {
        if !self.paths.is_empty() && !self.paths.iter().any(|path| is_under(&seen.plain, path)) {
            return None;
        }
        let (limit, pace) = match self.known.iter().find(|(networks, _)| holds(networks, seen.client)) {
            Some((_, own)) => (*own)?,
            None => (self.limit, self.pace),
        };
        let early = seen.table.admit(pace, self.key_of(seen), seen.now).err()?;
        Some(Reason::Rate { limit, window_seconds: self.window_seconds, wait: early.wait })
    }

    fn key_of(&self, seen: &Seen<'_>) -> u64 {
        let route = seen.route.as_deref();
        match (&self.key, &self.header) {
            (RateKey::Route, _) => seen.table.hash((self.own, 'r', route)),
            (RateKey::ClientAndRoute, _) => seen.table.hash((self.own, 'b', household(seen.client), route)),
            (RateKey::Header(_), Some(name)) if seen.parts.headers.contains_key(name) => {
                let values: Vec<&[u8]> =
                    seen.parts.headers.get_all(name).iter().map(http::HeaderValue::as_bytes).collect();
                seen.table.hash((self.own, 'p', values))
            }
            (RateKey::Header(_) | RateKey::Client, _) => {
                seen.table.hash((self.own, 'c', household(seen.client)))
            }
        }
    }
}

fn holds(networks: &[Network], client: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(client))
}

/// Returns what tells clients apart: an address of IPv4, or the 64 bits of IPv6 that one household has to itself.
fn household(client: IpAddr) -> (bool, u64) {
    match client.to_canonical() {
        IpAddr::V4(address) => (true, u64::from(address.to_bits())),
        IpAddr::V6(address) => (false, (address.to_bits() >> 64) as u64),
    }
}
