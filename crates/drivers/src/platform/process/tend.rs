//! Watches one process from its launch to its end, and ends it when asked. One keeper each; they wait for the
//! system's word and poll only where there is none.

use super::proc::{self, Identity, Reaped};
use super::record::{Claim, Folder, ReplicaRecord, Stopping};
use super::{Live, Shared, bounded};
use rollout::change::Ended;
use rustix::process::{Signal, kill_process_group};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

/// A shim claims its launch within milliseconds; one that has not after this long must not start any more.
const CLAIM_MAX: Duration = Duration::from_secs(5);

/// How long the supervisor may take to write down how an orphan ended.
const NOTE_MAX: Duration = Duration::from_millis(500);

/// How long a killed process may take to be gone before it is killed again.
const KILLED_MAX: Duration = Duration::from_secs(5);

/// How often is looked where the system does not tell by itself.
const LOOK_EVERY: Duration = Duration::from_millis(5);

type Stop = watch::Receiver<Option<Stopping>>;

/// Sees a replica to its end, records it, and forgets the replica once it was asked to stop.
pub async fn keep_replica(shared: Arc<Shared>, folder: Folder, record: ReplicaRecord) {
    let mut stop = subscribe(&shared, &folder);
    if !matches!(folder.ended(), Ok(Some(_))) {
        let ended = match settle(&shared, &folder, &mut stop).await {
            Some(identity) => {
                shared.live().entry(folder.clone()).or_default().runs =
                    Some((record.clone(), identity.clone()));
                see_out(&shared, &folder, &identity, &mut stop).await
            }
            None => Ended::Unknown,
        };
        if let Some(place) = record.cgroup.clone() {
            // A group that cannot be emptied stays behind and hinders nobody; its processes were killed.
            let _stays = tokio::task::spawn_blocking(move || place.empty()).await;
        }
        if !matches!(folder.stopping(), Ok(Some(_))) {
            let ended = folder.end(ended).unwrap_or(ended);
            // Kept here too: on a full disk nothing can be written, and the replica has ended all the same.
            shared.live().entry(folder.clone()).or_default().ended = Some(ended);
            shared.tell();
        }
    }
    // A record that was taken back, or forgotten by another engine, is over without anybody asking.
    if folder.exists() {
        asked(&mut stop).await;
    }
    forget(&shared, &folder).await;
}

/// Sees a task's shim to its end. It recorded how the task ended, unless it was killed.
pub async fn keep_task(shared: Arc<Shared>, folder: Folder) {
    let mut stop = subscribe(&shared, &folder);
    let settled = settle(&shared, &folder, &mut stop).await;
    if settled.is_none() && stop.borrow().is_none() && folder.never_ran() {
        // Whoever recorded it died before it was started. That is no failure of the task: it is asked for again.
        return forget(&shared, &folder).await;
    }
    if let Some(identity) = settled {
        let shim = Watched::new(identity);
        tokio::select! {
            () = shim.ended() => {}
            stopping = asked(&mut stop) => stop_task(&shared, &folder, &shim, stopping).await,
        }
        shim.reap();
    }
    if !matches!(folder.ended(), Ok(Some(_))) {
        if let Ok(Some(command)) = folder.command() {
            end_group(&command).await;
        }
        // Not written on a full disk: then the next observer finds a task without a process and tries again.
        let _tried_again = folder.end(Ended::Unknown);
    }
    shared.live().remove(&folder);
    shared.tell();
}

fn subscribe(shared: &Shared, folder: &Folder) -> Stop {
    let mut live = shared.live();
    let live: &mut Live = live.entry(folder.clone()).or_default();
    // A stop that a former engine was asked for goes on.
    if let Ok(Some(stopping)) = folder.stopping() {
        live.stop.send_if_modified(|stop| stop.replace(stopping).is_none());
    }
    live.stop.subscribe()
}

/// Waits until it is decided which process this is. None: there never will be one.
async fn settle(shared: &Shared, folder: &Folder, stop: &mut Stop) -> Option<Identity> {
    let spawned = || shared.live().get(folder).and_then(|live| live.spawned.clone());
    let until = Instant::now() + CLAIM_MAX;
    while folder.exists() {
        // Looked at before the claim: a shim that is gone by now has claimed, or never will.
        let shim_ended = spawned().filter(|shim| !shim.runs());
        match folder.claim() {
            Ok(Some(Claim::Runs(identity))) => return Some(identity),
            Ok(Some(Claim::Withdrawn)) => break,
            Ok(None) | Err(_) if shim_ended.is_some() => return shim_ended,
            Ok(None) | Err(_) => {}
        }
        if stop.borrow().is_some() || Instant::now() >= until {
            match folder.decide(&Claim::Withdrawn) {
                Ok(Claim::Runs(identity)) => return Some(identity),
                // Not to be decided on a full disk: without a claim the shim cannot go on either.
                Ok(Claim::Withdrawn) | Err(_) => break,
            }
        }
        sleep(LOOK_EVERY).await;
    }
    let spawned = spawned();
    if let Some(shim) = &spawned {
        signal_group(shim, Signal::KILL);
    }
    if folder.exists() && folder.failure().is_none() {
        // Told on a best effort: the end itself is recorded apart from its reason.
        let _best_effort =
            folder.set_failure("its launch was withdrawn: the starting command did not report");
    }
    spawned
}

/// Waits for the end, bringing it about when asked; leaves nothing of the process group.
async fn see_out(shared: &Shared, folder: &Folder, identity: &Identity, stop: &mut Stop) -> Ended {
    let process = Watched::new(identity.clone());
    tokio::select! {
        () = process.ended() => {}
        stopping = asked(stop) => terminate(&process, left_of(shared, stopping)).await,
    }
    end_group(identity).await;
    process.ended().await;
    match process.reap() {
        Some(ended) => ended,
        None => noted(shared, folder, identity).await,
    }
}

/// Asks the group to end; kills what is left of it when the grace is over.
async fn terminate(process: &Watched, grace: Duration) {
    let until = Instant::now() + grace;
    signal_group(&process.identity, Signal::TERM);
    let ended = timeout_at(until, process.ended()).await.is_ok();
    // The leader may be a wrapper that goes first: what it started has the same grace.
    while ended && Instant::now() < until && !members(&process.identity).await.is_empty() {
        sleep(LOOK_EVERY).await;
    }
    loop {
        signal_group(&process.identity, Signal::KILL);
        if timeout_at(Instant::now() + KILLED_MAX, process.ended()).await.is_ok() {
            return;
        }
    }
}

/// Asks a task's command to end, kills it after the grace; its shim then writes how it ended.
async fn stop_task(shared: &Shared, folder: &Folder, shim: &Watched, stopping: Stopping) {
    let until = Instant::now() + left_of(shared, stopping);
    let mut asked = false;
    while Instant::now() < until && shim.identity.runs() {
        if let (false, Ok(Some(command))) = (asked, folder.command()) {
            signal_group(&command, Signal::TERM);
            asked = true;
        }
        sleep(LOOK_EVERY).await;
    }
    if let Ok(Some(command)) = folder.command() {
        signal_group(&command, Signal::KILL);
    }
    if timeout_at(Instant::now() + KILLED_MAX, shim.ended()).await.is_err() {
        signal_group(&shim.identity, Signal::KILL);
    }
}

/// Kills whatever the leader left in its process group.
async fn end_group(leader: &Identity) {
    let until = Instant::now() + KILLED_MAX;
    while !members(leader).await.is_empty() && Instant::now() < until {
        signal_group(leader, Signal::KILL);
        sleep(LOOK_EVERY).await;
    }
}

async fn forget(shared: &Shared, folder: &Folder) {
    let doomed = folder.clone();
    if let Ok(Some(Claim::Runs(identity))) = folder.claim() {
        shared.notes.forget(&identity);
    }
    // What cannot be removed keeps its mark `stopping`: the next keeper forgets it then.
    let _next_time = tokio::task::spawn_blocking(move || doomed.remove()).await;
    shared.live().remove(folder);
    shared.tell();
}

/// Learns how somebody else's child ended, from whoever reaped it.
async fn noted(shared: &Shared, folder: &Folder, identity: &Identity) -> Ended {
    let until = Instant::now() + NOTE_MAX;
    loop {
        if let Some(ended) = shared.notes.read(identity).or_else(|| folder.ended().ok().flatten()) {
            return ended;
        }
        if !shared.notes.are_kept() || Instant::now() >= until {
            return Ended::Unknown;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Waits until a stop is asked for.
async fn asked(stop: &mut Stop) -> Stopping {
    match stop.wait_for(Option::is_some).await.map(|stopping| *stopping) {
        Ok(Some(stopping)) => stopping,
        // Nobody can ask any more.
        _ => std::future::pending().await,
    }
}

fn left_of(shared: &Shared, stopping: Stopping) -> Duration {
    let passed = shared.now().since(stopping.since);
    bounded(stopping.grace.since(passed))
}

/// Signals a process group, unless its number has become somebody else's.
fn signal_group(leader: &Identity, signal: Signal) {
    let other_boot = proc::boot_id().map_or(true, |boot| boot != leader.boot);
    let other_process = matches!(proc::stat(leader.pid), Ok(Some(stat)) if stat.start != leader.start);
    if other_boot || other_process {
        return;
    }
    if let Some(group) = proc::as_pid(leader.pid) {
        // Nobody is left in it, or only what this user may not signal: nothing more can be done either way.
        let _nobody_left = kill_process_group(group, signal);
    }
}

async fn members(leader: &Identity) -> Vec<u32> {
    let leader = leader.clone();
    let listed = tokio::task::spawn_blocking(move || {
        let other_boot = proc::boot_id()? != leader.boot;
        let other_process = proc::stat(leader.pid)?.is_some_and(|stat| stat.start != leader.start);
        if other_boot || other_process { Ok(Vec::new()) } else { proc::group_members(leader.pid) }
    });
    listed.await.unwrap_or_else(|_| Ok(Vec::new())).unwrap_or_default()
}

// The newer constructor is `unsafe` because not every type keeps its descriptor open; an `OwnedFd` does.
#[expect(deprecated, reason = "the only safe constructor; its soundness hole needs a type that closes early")]
fn register(fd: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE).ok()
}

/// A process and the descriptor that tells of its end.
struct Watched {
    identity: Identity,
    fd: Option<AsyncFd<OwnedFd>>,
}

impl Watched {
    fn new(identity: Identity) -> Self {
        let fd = identity.open().ok().flatten();
        Self { identity, fd: fd.and_then(register) }
    }

    /// Waits for the end; at once when it has passed.
    async fn ended(&self) {
        if let Some(fd) = &self.fd
            && fd.readable().await.is_ok()
        {
            return;
        }
        // Gone already, or no descriptor was to be had.
        while self.identity.runs() {
            sleep(LOOK_EVERY).await;
        }
    }

    /// Takes the exit status of an ended child of this engine. None: it is somebody else's.
    fn reap(&self) -> Option<Ended> {
        let again: io::Result<Option<OwnedFd>>;
        let fd = match &self.fd {
            Some(fd) => fd.get_ref().as_fd(),
            None => {
                again = self.identity.open();
                again.as_ref().ok()?.as_ref()?.as_fd()
            }
        };
        match proc::reap(fd) {
            Ok(Reaped::Ended(ended)) => Some(ended),
            Ok(Reaped::Running | Reaped::NotOurs) | Err(_) => None,
        }
    }
}
