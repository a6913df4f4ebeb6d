//! `down`: ends the environment: drains, then stops replicas. Also one whose supervisor died.

use crate::context::Context;
use crate::exit::{self, Failure};
use crate::follow::{Stop, Stopped};
use crate::process::Process;
use crate::supervisor::child::{Child, Who};
use crate::supervisor::takeover::Left;
use crate::supervisor::{lock, stop};
use crate::{output, units};
use drivers::platform::process;
use indicatif::ProgressBar;
use rustix::process::Signal;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// The edge drains, replicas drain, the journal is written: longer than all of it together.
const DOWN_MAX: Duration = Duration::from_secs(150);

/// End the environment: requests finish, then replicas stop.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: medeclipse down")]
pub struct Args {
    /// Leave the replicas running.
    #[arg(long)]
    pub keep_replicas: bool,
}

pub async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let started = Instant::now();
    let supervisor = lock::holder(&context.paths).and_then(Process::of);
    // Still the holder: then the handle is of the process that holds the lock, not of one that got its pid.
    let supervisor = supervisor.filter(|process| lock::holder(&context.paths) == Some(process.pid));
    let was_up = supervisor.is_some();
    if let Some(supervisor) = supervisor
        && let Some(stopped) = end_supervisor(&args, context, &supervisor).await?
    {
        return Ok(goes_on(context, stopped));
    }
    // One that was killed, before or while it ended the rest, leaves it to us.
    // Found, not used: dropping the listeners that were handed over closes only our copies.
    let left = Left::find(&context.paths);
    let leaves_replicas = args.keep_replicas || !process::has_replicas(context.paths.root());
    if !left.is_nothing() || !leaves_replicas {
        end_left(&args, context, &left).await?;
    } else if !was_up {
        said(context, "nothing runs here");
        return Ok(exit::DONE);
    }
    said(context, &format!("down after {}", units::spoken(started.elapsed())));
    Ok(exit::DONE)
}

/// Asks the supervisor to end everything and waits until it has ended itself. Some: the wait was given up.
async fn end_supervisor(
    args: &Args,
    context: &Context,
    supervisor: &Process,
) -> Result<Option<Stopped>, Failure> {
    let mut stop = Stop::new(context)?;
    let not_asked = |error: std::io::Error| {
        Failure::new(
            exit::REFUSED,
            format!("end the supervisor, process {}", supervisor.pid.as_raw_nonzero()),
        )
        .because(error)
        .then("run `medeclipse down` as the user who brought it up, or as root")
    };
    if args.keep_replicas {
        std::fs::write(context.paths.keep_replicas(), "").map_err(not_asked)?;
    }
    supervisor.signal(Signal::TERM).map_err(not_asked)?;
    let waiting = waiting(context);
    let ended = tokio::select! {
        ended = supervisor.ended_within(DOWN_MAX) => ended.map_err(not_asked)?,
        stopped = stop.wait() => {
            waiting.finish_and_clear();
            return Ok(Some(stopped));
        }
    };
    waiting.finish_and_clear();
    if !ended {
        return Err(Failure::new(exit::BUG, "end the environment")
            .because(format!("its supervisor still runs after {} s", DOWN_MAX.as_secs()))
            .then(format!("{} says what it waits for", context.paths.log("supervisor").display())));
    }
    left_failure(context).map_or(Ok(None), Err)
}

/// Ends an edge, an engine and replicas whose supervisor died or has left them.
async fn end_left(args: &Args, context: &Context, left: &Left) -> Result<(), Failure> {
    let mut say = |text: &str| said(context, text);
    if let Some(edge) = &left.edge {
        stop::edge(edge, &mut say).await?;
    }
    let done = match &left.engine {
        Some(engine) => {
            stop::engine(&context.paths, engine, args.keep_replicas, &mut say).await? == stop::Stopped::Yes
        }
        None => args.keep_replicas,
    };
    if !done {
        let mut engine = Child::new(Who::Engine, false);
        stop::engine_of(&context.paths, &mut engine, args.keep_replicas, &mut say).await?;
    }
    stop::clean(&context.paths).map_err(|error| {
        Failure::new(exit::REFUSED, format!("remove sockets in {}", context.paths.root().display()))
            .because(error)
    })
}

/// Returns what a supervisor in the background could not do while it ended.
fn left_failure(context: &Context) -> Option<Failure> {
    let bytes = std::fs::read(context.paths.failure("supervisor")).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn waiting(context: &Context) -> ProgressBar {
    if context.json || context.quiet {
        return ProgressBar::hidden();
    }
    let text = "waiting: requests in flight finish, then replicas stop";
    if !std::io::stderr().is_terminal() {
        output::aside(text);
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner().with_message(text);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn goes_on(context: &Context, stopped: Stopped) -> u8 {
    let why = if stopped == Stopped::Asked { "stopped waiting" } else { "--timeout passed" };
    let failure = Failure::new(exit::DETACHED, "wait until the environment is down")
        .because(why)
        .then("it goes on ending; `medeclipse down` waits for it again");
    output::failure(&failure, context.json);
    exit::DETACHED
}

fn said(context: &Context, text: &str) {
    if context.json {
        output::json(&serde_json::json!({ "kind": "down", "text": text }));
    } else if !context.quiet {
        output::line(text);
    }
}
