//! Leads a state directory: one engine at a time opens its targets and has its sockets. A lease like a target's, in a
//! small file of the `run` folder; whoever comes second waits here, says for whom, and leads when it may.
//!
//! Protects the sockets alone: every target has a lease of its own beside its journal, so that losing this file costs
//! nothing. It is not flushed to the disk: whatever a loss of power takes back, no owner has outlived it.

use crate::clock::Clock;
use crate::leader::{Fate, Owner, Standing, Terms, Watch};
use crate::lease::Lease;
use drivers::files::{self, Durable, Lock};
use rollout::names::Millis;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Between two looks at a lease that another one has: what an end of its owner costs at most.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// While waiting, this is said again and again: a log is read from its end.
const SAY_EVERY: Millis = Millis::seconds(60);

/// The lease of the state directory, held by this process.
pub struct Leadership {
    file: LeaseFile,
    owner: Owner,
    terms: Terms,
    clock: Arc<Clock>,
    held: Mutex<Mine>,
    /// Whose silence ended its lead, if it may still be running.
    before: Option<Owner>,
    /// Another engine led when this one came.
    pub has_waited: bool,
}

/// What is ours of it.
#[derive(Debug, Clone)]
struct Mine {
    /// What the file holds, as far as is known; ours, unless it could not be written yet.
    stored: Option<Lease>,
    lease: Lease,
    renewed_at: Millis,
}

impl Leadership {
    /// Waits until this process may lead, and leads.
    pub async fn lead(run: PathBuf, owner: Owner, terms: Terms, clock: Arc<Clock>) -> io::Result<Self> {
        files::folder(&run)?;
        let file = LeaseFile::in_folder(&run);
        let mut waiting = Waiting { watch: Watch::new(terms), said: None };
        let own = owner.to_string();
        loop {
            let tried = tokio::task::block_in_place(|| waiting.try_to_lead(&file, &own, terms, &clock));
            match tried {
                Tried::Leads { mine, silent } => {
                    let before = silent.and_then(|before| before.parse().ok());
                    let (held, has_waited) = (Mutex::new(mine), waiting.said.is_some());
                    return Ok(Self { file, owner, terms, clock, held, before, has_waited });
                }
                Tried::Waits => tokio::time::sleep(LOOK_EVERY).await,
                Tried::Refused(error) => return Err(error),
            }
        }
    }

    /// Renews the lease again and again. Returns the one that took its place.
    pub async fn keep(&self) -> Lease {
        let every = Duration::from_millis(self.terms.renew_every().0);
        loop {
            tokio::time::sleep(every).await;
            match tokio::task::block_in_place(|| self.renew()) {
                Ok(None) => {}
                Ok(Some(lease)) => return lease,
                Err(error) => crate::log(&format!("cannot renew the lease of the state directory: {error}")),
            }
        }
    }

    /// Whether the last promise still holds: one that was stopped for long has to look first.
    pub fn is_fresh(&self) -> bool {
        self.clock.now() < self.until()
    }

    /// Until when this engine has promised to lead.
    pub fn until(&self) -> Millis {
        self.mine().renewed_at.plus(self.terms.ttl)
    }

    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    pub fn lease(&self) -> Lease {
        self.mine().lease
    }

    /// Kills the engine that was passed over for its silence, should it still have something that this one needs.
    pub fn end_who_was_before(&self) -> bool {
        let Some(before) = &self.before else { return false };
        match before.end() {
            Ok(killed) => {
                if killed {
                    crate::log(&format!("{before} was silent and has what this engine needs: killed it"));
                }
                killed
            }
            Err(error) => {
                crate::log(&format!("cannot kill {before}: {error}"));
                false
            }
        }
    }

    /// Gives the lease back, so that nobody waits for it.
    pub fn release(&self) {
        let mine = self.mine();
        let released =
            self.file.swap(mine.stored.as_ref(), &Lease { until: Lease::GIVEN_BACK, ..mine.lease });
        if let Err(error) = released {
            // The next one sees that we have ended.
            crate::log(&format!("cannot give the lease of the state directory back: {error}"));
        }
    }

    /// Returns the lease of another one, where that has taken this one's place.
    fn renew(&self) -> io::Result<Option<Lease>> {
        let (mine, now) = (self.mine(), self.clock.now());
        let renewed = Lease { until: now.plus(self.terms.ttl), ..mine.lease };
        match self.file.swap(mine.stored.as_ref(), &renewed)? {
            Swapped::Yes => {
                *self.held.lock().expect("BUG: nobody panics with this lock") =
                    Mine { stored: Some(renewed.clone()), lease: renewed, renewed_at: now };
                Ok(None)
            }
            Swapped::No(other) if other.owner != self.owner.to_string() => Ok(Some(other)),
            Swapped::No(ours) => {
                // Written by us, though we were told that it was not.
                self.held.lock().expect("BUG: nobody panics with this lock").stored = Some(ours);
                Ok(None)
            }
        }
    }

    fn mine(&self) -> Mine {
        self.held.lock().expect("BUG: nobody panics with this lock").clone()
    }
}

/// Returns the lease of a state directory, by its `run` folder. None: it was never led, or given back.
pub fn who_leads(run: &Path) -> Option<Lease> {
    let file = LeaseFile::in_folder(run);
    files::read(&file.path).ok().flatten().filter(|lease: &Lease| !lease.is_given_back())
}

/// One who would lead.
struct Waiting {
    watch: Watch,
    /// Whom it was said to wait for, and when.
    said: Option<(String, Millis)>,
}

enum Tried {
    Leads {
        mine: Mine,
        silent: Option<String>,
    },
    Waits,
    /// Nobody who leads, and yet somebody has the lock: no engine, which has it for a moment only.
    Refused(io::Error),
}

impl Waiting {
    fn try_to_lead(&mut self, file: &LeaseFile, own: &str, terms: Terms, clock: &Clock) -> Tried {
        let now = clock.now();
        let seen = file.read();
        let fate = seen.as_ref().map_or(Fate::Unknown, |lease| Owner::fate_of(&lease.owner));
        let standing = self.watch.look(seen.as_ref(), own, fate, now);
        if let (Standing::Held { free_at }, Some(lease)) = (standing, &seen) {
            self.say(lease, free_at, now);
            return Tried::Waits;
        }
        let silent = seen.as_ref().filter(|_| standing == Standing::Silent).map(|lease| lease.owner.clone());
        let lease = Lease::after(seen.as_ref(), 0, own, now.plus(terms.ttl));
        let stored = match file.swap(seen.as_ref(), &lease) {
            Ok(Swapped::Yes) => Some(lease.clone()),
            Ok(Swapped::No(_)) => return Tried::Waits,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                // Stopped while it had the lock, which is for a moment only.
                let owner = silent.as_ref().and_then(|owner| owner.parse::<Owner>().ok());
                match owner.map(|owner| owner.end()) {
                    Some(Ok(true)) => crate::log("the engine before was silent and held the lock: killed it"),
                    Some(_) => crate::log(&format!("cannot lead yet: {error}")),
                    None => return Tried::Refused(error),
                }
                return Tried::Waits;
            }
            // On a disk that is full, what serves is looked after all the same; each renewal tries again.
            Err(error) => {
                crate::log(&format!("cannot write down that this engine leads: {error}"));
                seen
            }
        };
        if let Some(owner) = &silent {
            crate::log(&format!(
                "{owner} was silent for the life of a lease: this engine leads (epoch {})",
                lease.epoch
            ));
        }
        Tried::Leads { mine: Mine { stored, lease, renewed_at: now }, silent }
    }

    fn say(&mut self, lease: &Lease, free_at: Millis, now: Millis) {
        let again =
            self.said.as_ref().is_some_and(|(owner, at)| *owner == lease.owner && now < at.plus(SAY_EVERY));
        if again {
            return;
        }
        self.said = Some((lease.owner.clone(), now));
        let (owner, epoch) = (&lease.owner, lease.epoch);
        crate::log(&format!(
            "waiting for {owner}, which leads this state directory (epoch {epoch}): until {} at the earliest, and as long as it renews; it is followed at once when it ends",
            free_at.rfc3339()
        ));
    }
}

/// The file, and the lock under which it is changed.
struct LeaseFile {
    path: PathBuf,
    lock: PathBuf,
}

enum Swapped {
    Yes,
    No(Lease),
}

impl LeaseFile {
    fn in_folder(run: &Path) -> Self {
        Self { path: run.join("leader.json"), lock: run.join("engine.lock") }
    }

    /// Returns what it holds; what cannot be read is as good as nothing, see above.
    fn read(&self) -> Option<Lease> {
        files::read(&self.path).unwrap_or_else(|error| {
            crate::log(&format!("cannot read who leads, and goes on as if nobody did: {error}"));
            None
        })
    }

    /// Puts `lease` in the place of the one that was `seen`.
    fn swap(&self, seen: Option<&Lease>, lease: &Lease) -> io::Result<Swapped> {
        let _lock = Lock::take(&self.lock)?;
        match self.read() {
            Some(other) if Some(&other) != seen => Ok(Swapped::No(other)),
            // The same, or a file somebody has removed: still ours.
            _ => files::replace(&self.path, lease, Durable::No).map(|()| Swapped::Yes),
        }
    }
}

#[cfg(test)]
#[path = "leadership_tests.rs"]
mod tests;
