//! Decides who may lead a target: how long a lease lives without being renewed. See `lease` for what one is.

use rollout::names::Millis;

/// How long a lease lives without being renewed. A busy machine may keep an engine from a commit for some seconds (a
/// reader's checkpoint may take five), and two of three renewals may be missed; yet nothing is decided for a target whose
/// owner hangs, so not longer than an operator would wait.
const TTL: Millis = Millis(12_000);
/// Renewals in one life of a lease.
const RENEWALS: u64 = 3;
/// Shortens the life, for tests alone: with a tenth of it, a machine that is merely busy would lose its leases.
const TTL_VARIABLE: &str = "MEDECLIPSE_LEASE_TTL_MS";
const TTL_MIN: Millis = Millis(500);

/// How leases live here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    pub ttl: Millis,
}

impl Default for Terms {
    fn default() -> Self {
        Self { ttl: TTL }
    }
}

impl Terms {
    /// Returns the terms of this process: the usual ones, or shorter ones in a test.
    pub fn configured() -> Self {
        let asked = std::env::var(TTL_VARIABLE).ok().and_then(|text| text.parse().ok()).map(Millis);
        Self { ttl: asked.map_or(TTL, |ttl| ttl.clamp(TTL_MIN, TTL)) }
    }

    /// Returns how often an owner renews.
    pub const fn renew_every(self) -> Millis {
        Millis(self.ttl.0 / RENEWALS)
    }
}
