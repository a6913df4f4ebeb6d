//! Decides who may lead a target: when a lease may be taken from its owner. Time, and whether an owner still runs, are
//! arguments; `lease` says what one is, `journal` keeps it and checks its token in the transaction of every append.
//!
//! An owner is passed over when it has ended, or has not renewed for a whole life of the lease as measured by whoever
//! looks: `until` is written by another clock, and is for people. Nobody is told to stop: what one that was passed over
//! still writes is refused, because its token is old.

use crate::lease::Lease;
use drivers::platform::process::proc::{self, Identity};
use rollout::names::Millis;
use rustix::process::{Signal, pidfd_send_signal};
use std::fmt;
use std::io;
use std::str::FromStr;

/// How long a lease lives without being renewed. A busy machine may keep an engine from a commit for some seconds (a
/// reader's checkpoint may take five), and two of three renewals may be missed; yet nothing is decided for a target whose
/// owner hangs, so not longer than an operator would wait.
const TTL: Millis = Millis(12_000);
/// Renewals in one life of a lease.
const RENEWALS: u64 = 3;
/// Shortens the life, for tests alone: with a hundredth of it, a machine that is merely busy would lose its leases.
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

/// One process that may lead. Its text is readable for people, and exact enough to find out whether it has ended:
/// `process 4242 on web-1 (start 881234, boot 0c6d…, pids pid:[4026531836])`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub host: String,
    pub process: Identity,
    /// The namespace its pid counts in: a pid of another container says nothing here.
    pub pids: String,
}

impl Owner {
    /// Returns the process that calls.
    pub fn own() -> io::Result<Self> {
        Ok(Self { host: host(), process: Identity::own()?, pids: pid_namespace() })
    }

    /// Says whether the owner still runs, as far as this machine can know.
    pub fn fate(&self) -> Fate {
        if self.host != host() {
            return Fate::Unknown;
        }
        match proc::boot_id() {
            Ok(boot) if boot != self.process.boot => Fate::Ended,
            Ok(_) if self.pids != pid_namespace() => Fate::Unknown,
            Ok(_) if self.process.runs() => Fate::Runs,
            Ok(_) => Fate::Ended,
            Err(_) => Fate::Unknown,
        }
    }

    /// Says the same of an owner's text; of one that is none of ours nothing is known.
    pub fn fate_of(text: &str) -> Fate {
        text.parse().map_or(Fate::Unknown, |owner: Self| owner.fate())
    }

    /// Kills the owner, when it is another process of this machine and runs. Returns whether it was killed.
    pub fn end(&self) -> io::Result<bool> {
        if self.fate() != Fate::Runs || self.process.pid == std::process::id() {
            return Ok(false);
        }
        // Held by its descriptor: not another process that has got the pid meanwhile.
        let Some(handle) = self.process.open()? else { return Ok(false) };
        pidfd_send_signal(&handle, Signal::KILL)?;
        Ok(true)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, process: Identity { pid, start, boot }, pids } = self;
        write!(f, "process {pid} on {host} (start {start}, boot {boot}, pids {pids})")
    }
}

impl FromStr for Owner {
    type Err = NotAnOwner;

    fn from_str(text: &str) -> Result<Self, NotAnOwner> {
        let read = || {
            let (pid, rest) = text.strip_prefix("process ")?.split_once(" on ")?;
            let (host, rest) = rest.rsplit_once(" (start ")?;
            let (start, rest) = rest.strip_suffix(')')?.split_once(", boot ")?;
            let (boot, pids) = rest.split_once(", pids ")?;
            let process =
                Identity { pid: pid.parse().ok()?, start: start.parse().ok()?, boot: boot.to_owned() };
            Some(Self { host: host.to_owned(), process, pids: pids.to_owned() })
        };
        read().ok_or(NotAnOwner)
    }
}

/// Returns what people want to read of an owner's text: `process 4242 on web-1`.
pub fn short(owner: &str) -> &str {
    owner.split(" (start ").next().unwrap_or(owner)
}

/// The text names no process: whoever wrote it is waited for as long as it renews.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAnOwner;

/// What is known of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Runs,
    Ended,
    /// It is, or was, on another machine.
    Unknown,
}

/// Whether a lease may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Never taken, or given back.
    Free,
    /// This process has it already; taken again, it gets a newer token.
    Own,
    /// Its owner has ended.
    Ended,
    /// Not renewed for a whole life, though its owner may be running.
    Silent,
    /// It may be taken then, unless it is renewed before.
    Held { free_at: Millis },
}

impl Standing {
    /// Whether whoever looked may try to take it.
    pub const fn may_take(self) -> bool {
        match self {
            Self::Free | Self::Own | Self::Ended | Self::Silent => true,
            Self::Held { .. } => false,
        }
    }
}

/// What one who would lead has seen of a lease. One for each lease, and kept as long as it is waited for.
#[derive(Debug)]
pub struct Watch {
    terms: Terms,
    /// The lease as it stood last, and since when.
    seen: Option<(Lease, Millis)>,
}

impl Watch {
    pub const fn new(terms: Terms) -> Self {
        Self { terms, seen: None }
    }

    /// Takes in how the lease stands `now`, by a clock that only goes forward. Says whether it may be taken; the taking
    /// must compare it with this very lease.
    pub fn look(&mut self, lease: Option<&Lease>, own: &str, fate: Fate, now: Millis) -> Standing {
        let Some(lease) = lease.filter(|lease| !lease.is_given_back()) else {
            self.seen = None;
            return Standing::Free;
        };
        if lease.owner == own {
            return Standing::Own;
        }
        if fate == Fate::Ended {
            return Standing::Ended;
        }
        let since = match &self.seen {
            Some((seen, since)) if seen == lease => *since,
            _ => {
                self.seen = Some((lease.clone(), now));
                now
            }
        };
        let free_at = since.plus(self.terms.ttl);
        if now >= free_at { Standing::Silent } else { Standing::Held { free_at } }
    }
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "an unnamed machine".to_owned() } else { name.trim().to_owned() }
}

fn pid_namespace() -> String {
    let link = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    link.to_string_lossy().into_owned()
}

#[cfg(test)]
#[path = "leader_tests.rs"]
mod tests;
