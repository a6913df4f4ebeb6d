//! Keeps finding out whether what a rollback would start could start: it is stored, nobody changed it, and it becomes
//! ready in a spare slot. Decides nothing: `views::status` shows it, `api::post` asks before a rollback; see `found`.
//!
//! What is known is a cache: it is kept in a file so that an engine that is often restarted does not start spares as often.

mod found;
mod spare;

pub use found::Found;

use crate::clock::Clock;
use drivers::artifacts::{Mark, Store};
use drivers::files::{self, Durable};
use drivers::machine;
use drivers::platform::Platform;
use found::Spare;
use rollout::machine::State;
use rollout::names::{Millis, Release, Target};
use rollout::release::Placed;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// An artefact nothing seems to have touched is read again this often: disks rot without telling.
const READ_EVERY: Duration = Duration::from_secs(3600);
/// A large artefact is read again no faster than this, averaged: 16 GiB take an hour of it.
const READ_BYTES_PER_SECOND: u64 = 4 << 20;
/// A spare that did not become ready is tried again this much later: what it needs may be back.
const AFTER_FAILURE: Millis = Millis::seconds(600);

/// Checks one target for as long as it lives.
pub struct Checker<P> {
    pub state: watch::Receiver<Arc<State>>,
    pub found: watch::Sender<Found>,
    pub platform: Arc<P>,
    pub artifacts: Store,
    pub clock: Arc<Clock>,
    /// Where what is known is kept.
    pub path: PathBuf,
}

/// When an artefact was last read to its end, and how it looked from outside.
struct Read {
    mark: Mark,
    at: Instant,
}

/// What a checker looks at; another one is looked at at once.
#[derive(PartialEq)]
struct Subject {
    target: Option<Release>,
    hot: bool,
    deploying: bool,
}

impl<P: Platform> Checker<P> {
    /// Returns where what is known of a target is kept.
    pub fn path(folder: &Path, target: &Target) -> PathBuf {
        folder.join(format!("{}.json", files::as_file_name(&target.to_string())))
    }

    /// Checks until the target ends.
    pub async fn run(mut self) {
        // A damaged file is as good as none.
        let known = files::read::<Found>(&self.path).ok().flatten().unwrap_or_default();
        self.found.send_replace(known);
        let began = self.state.borrow().clone();
        // Left by an engine that died in the middle.
        spare::clear(&*self.platform, &began.target, began.generation()).await;
        let mut read = BTreeMap::new();
        let mut subject = (None, Instant::now());
        loop {
            let state = self.state.borrow_and_update().clone();
            let now = Some(Subject::of(&state));
            if subject.0 != now {
                subject = (now, Instant::now());
            }
            self.check(&state, &mut read, subject.1).await;
            if !self.rest(&state).await {
                return;
            }
        }
    }

    /// Looks at every release one may go back to, and starts the one a rollback would start when its time has come.
    async fn check(&mut self, state: &State, read: &mut BTreeMap<String, Read>, since: Instant) {
        let before = self.found.borrow().clone();
        let mut found = Found::default();
        for placed in subjects(state) {
            let mut checked = before.of(&placed.release).cloned().unwrap_or_default();
            checked.at = self.clock.now();
            checked.artifact = self.look(placed, read).await;
            found.set(&placed.release, checked);
        }
        let wanted = subjects(state).filter_map(|placed| placed.spec.artifact.as_ref());
        let wanted: Vec<&String> = wanted.collect();
        read.retain(|digest, _| wanted.contains(&digest));
        self.found.send_replace(found.clone());
        if let Some(placed) = self.due(state, &found, since) {
            let generation = state.generation();
            let tried = spare::start(&*self.platform, &state.target, placed, generation, &mut self.state);
            if let Some(outcome) = tried.await {
                found.tried(&placed.release, Spare { at: self.clock.now(), ..outcome });
                self.found.send_replace(found.clone());
            }
        }
        if found.differs_from(&before)
            && let Err(error) = self.keep(&found)
        {
            crate::log(&format!("cannot keep {}: {error}", self.path.display()));
        }
    }

    fn keep(&self, found: &Found) -> std::io::Result<()> {
        self.path.parent().map_or(Ok(()), files::folder)?;
        files::replace(&self.path, found, Durable::No)
    }

    /// Returns what is wrong with a release's artefact; None: nothing, or it has none.
    async fn look(&self, placed: &Placed, read: &mut BTreeMap<String, Read>) -> Option<String> {
        let digest = placed.spec.artifact.clone()?;
        let (store, name) = (self.artifacts.clone(), digest.clone());
        let known = read.get(&digest).filter(|known| known.at.elapsed() < pause(known.mark.bytes));
        let known = known.map(|known| known.mark.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let mark = store.mark(&name).map_err(|error| why(&error))?;
            if known.as_ref() != Some(&mark) {
                store.verify(&name).map_err(|error| why(&error))?;
                return Ok((mark, true));
            }
            Ok((mark, false))
        });
        match looked.await {
            Ok(Ok((mark, true))) => drop(read.insert(digest, Read { mark, at: Instant::now() })),
            Ok(Ok((_, false))) => {}
            Ok(Err(why)) => {
                read.remove(&digest);
                return Some(why);
            }
            Err(error) => return Some(format!("it could not be read: {error}")),
        }
        None
    }

    /// Returns what is to be started in a spare slot now; `since` it is what a rollback would start.
    fn due<'s>(&self, state: &'s State, found: &Found, since: Instant) -> Option<&'s Placed> {
        let readiness = state.stable_rollout.readiness;
        let every = readiness.spare?;
        // What is hot runs already; while something is deployed, and just after, the machine has other work.
        let settled = since.elapsed() >= Duration::from_millis(readiness.every.0);
        if state.deployment.is_some() || state.hot.is_some() || !settled {
            return None;
        }
        let placed = state.rollback_target()?;
        let checked = found.of(&placed.release)?;
        let pause = match &checked.spare {
            None => Millis(0),
            Some(spare) if spare.failed.is_some() => AFTER_FAILURE.min(every),
            Some(_) => every,
        };
        let due = checked.spare.as_ref().is_none_or(|spare| self.clock.now() >= spare.at.plus(pause));
        let memory = placed.spec.resources.and_then(|resources| resources.memory_bytes);
        (due && checked.artifact.is_none() && machine::has_room_for(memory)).then_some(placed)
    }

    /// Waits for the next round. Returns false when the target has ended.
    async fn rest(&mut self, state: &State) -> bool {
        let looked_at = Subject::of(state);
        let until = Instant::now() + Duration::from_millis(state.stable_rollout.readiness.every.0);
        // It may have changed while a spare was started.
        while Subject::of(&self.state.borrow_and_update()) == looked_at {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return true,
                changed = self.state.changed() => {
                    if changed.is_err() {
                        return false;
                    }
                }
            }
        }
        true
    }
}

impl Subject {
    fn of(state: &State) -> Self {
        let target = state.rollback_target().map(|placed| placed.release.clone());
        Self { target, hot: state.hot.is_some(), deploying: state.deployment.is_some() }
    }
}

/// Returns the releases one may go back to: stable while something is deployed, else what a rollback names.
fn subjects(state: &State) -> impl Iterator<Item = &Placed> {
    state.stable.iter().chain(state.rollback_target())
}

fn pause(bytes: u64) -> Duration {
    READ_EVERY.max(Duration::from_secs(bytes / READ_BYTES_PER_SECOND))
}

fn why(error: &drivers::artifacts::ArtifactError) -> String {
    error.cause.to_string()
}
