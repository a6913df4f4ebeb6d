//! Ends an environment in the order users need: first the edge finishes the requests it has, then the replicas
//! behind it stop. Used by the supervisor, and by `down` when the supervisor is gone.

use super::child::{Child, Who};
use super::{ANSWER, ASK_AGAIN, START_MAX, answers};
use crate::client::Client;
use crate::exit::{self, Failure};
use crate::process::Process;
use drivers::paths::StatePaths;
use engine::api::wire::ShutdownRequest;
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// The edge's own bound for requests in flight, the longest `drain` of a manifest that makes sense, and some.
pub const DRAIN_MAX: Duration = Duration::from_secs(35);
/// Replicas get SIGTERM, and SIGKILL after their drain; the journal is written.
const SHUTDOWN_MAX: Duration = Duration::from_secs(60);
/// An engine that has shut its replicas down has nothing left to do.
const ENGINE_END: Duration = Duration::from_secs(5);
/// Of engines that die while they stop everything. One may be unlucky; so many have a reason.
const ENGINES_MAX: u32 = 5;

/// Ends the edge: it accepts nothing more and finishes what it has.
pub async fn edge(process: &Process, say: &mut dyn FnMut(&str)) -> Result<(), Failure> {
    say("draining: the edge finishes the requests it has");
    let ended = process.end(DRAIN_MAX).await.map_err(|error| not_ended(Who::Edge, &error))?;
    if !ended {
        say(&format!("the edge still had requests after {} s: cut them", DRAIN_MAX.as_secs()));
    }
    Ok(())
}

/// Whether an engine has done what it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    Yes,
    /// It died before it could say so: replicas may still run.
    Died,
}

/// Ends the engine, and through it a running deployment and the replicas.
pub async fn engine(
    paths: &StatePaths,
    process: &Process,
    keep_replicas: bool,
    say: &mut dyn FnMut(&str),
) -> Result<Stopped, Failure> {
    say(if keep_replicas { "leaving the replicas running" } else { "stopping the replicas" });
    let client = Client::new(&paths.engine_socket(), SHUTDOWN_MAX);
    let answer = client.post::<serde_json::Value>("/v1/shutdown", &ShutdownRequest { keep_replicas }).await;
    let end = process.end(ENGINE_END).await;
    // Which of the two matters more: replicas that may still run.
    match answer {
        Ok(_) => end.map(|_| Stopped::Yes).map_err(|error| not_ended(Who::Engine, &error)),
        Err(error) if error.is_transport() && end.is_ok() => Ok(Stopped::Died),
        Err(error) => {
            let failure = Failure::from(error);
            Err(not_stopped(
                paths,
                &format!("cannot {}: {}", failure.error, failure.cause.unwrap_or_default()),
            ))
        }
    }
}

/// Ends the engine of an environment. Only an engine knows the replicas: one that died is started again.
pub async fn engine_of(
    paths: &StatePaths,
    child: &mut Child,
    keep_replicas: bool,
    say: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    for _ in 0..ENGINES_MAX {
        if child.pid.is_none() {
            child.start(paths)?;
            until_answers(paths, child).await;
        }
        let Some(process) = child.process() else { return Ok(()) };
        if engine(paths, &process, keep_replicas, say).await? == Stopped::Yes {
            return Ok(());
        }
        say("the engine died while it stopped the replicas: starting it again");
        child.pid = None;
    }
    Err(not_stopped(paths, &format!("{ENGINES_MAX} engines in a row died before they had done it")))
}

/// Waits until a child that was just started answers, or will never.
async fn until_answers(paths: &StatePaths, child: &Child) {
    let client = Client::new(&paths.engine_socket(), ANSWER);
    let until = Instant::now() + START_MAX;
    while Instant::now() < until
        && child.process().is_some_and(|process| !process.has_ended().unwrap_or(true))
    {
        if answers(Who::Engine, child.pid, &client).await {
            return;
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

fn not_stopped(paths: &StatePaths, why: &str) -> Failure {
    Failure::new(exit::BUG, "stop every replica").because(why).then(format!(
        "{} says why; replicas that are left end with the next `medeclipse up` and `down`",
        paths.log("engine").display()
    ))
}

/// Kills a process that must not hold up the end any longer.
pub fn kill(process: &Process) -> Result<(), Failure> {
    process.signal(Signal::KILL).map_err(|error| not_ended(Who::Edge, &error))
}

fn not_ended(who: Who, error: &std::io::Error) -> Failure {
    Failure::new(exit::BUG, format!("end the {}", who.name()))
        .because(error)
        .then("only the user who brought it up (or root) may end it")
}

/// Removes what means nothing once the environment is down.
pub fn clean(paths: &StatePaths) -> std::io::Result<()> {
    for path in [
        paths.ready(),
        paths.keep_replicas(),
        paths.edge_pid(),
        paths.engine_pid(),
        paths.supervisor_socket(),
        paths.upgrade_socket(),
        paths.handover_socket(),
        paths.edge_socket(),
        paths.engine_socket(),
    ] {
        super::child::remove(&path)?;
    }
    Ok(())
}
