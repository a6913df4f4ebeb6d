//! `up`: runs the environment of the manifest. In the foreground it shows what happens; with `--detach` it leaves a
//! supervisor behind and returns once that one's edge listens. Deploys nothing.

use crate::context::{Context, ReadManifest};
use crate::exit::{self, Failure};
use crate::follow::{Stop, Stopped};
use crate::supervisor::asking::Told;
use crate::supervisor::estate::Estate;
use crate::supervisor::start::Heritage;
use crate::supervisor::upgrade::{Checked, FORM};
use crate::supervisor::{self, Supervisor, Up, child, lock};
use crate::{events, output, units};
use engine::api::wire::{EdgeStatus, Status};
use rollout::names::Millis;
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Longer than the supervisor itself waits, so that its own words about a failure arrive.
const READY_MAX: Duration = Duration::from_secs(supervisor::START_MAX.as_secs() + 10);

/// Run the environment: supervisor, edge and engine. Serves what was stable; deploys nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: medeclipse up --detach")]
pub struct Args {
    /// Return when it listens; `medeclipse down` ends it.
    #[arg(long)]
    pub detach: bool,
    /// We are the supervisor that `--detach` leaves behind.
    #[arg(long, hide = true, conflicts_with = "detach")]
    pub background: bool,
    /// We are what another program of this process has become.
    #[arg(long, hide = true, conflicts_with = "detach")]
    pub inherits: bool,
    /// Only say whether we could become it.
    #[arg(long, hide = true, requires = "inherits")]
    pub rehearses: bool,
}

pub async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    if args.rehearses {
        super::internal::read_environment(context)?;
        output::json(&Checked { version: env!("CARGO_PKG_VERSION").to_owned(), form: FORM });
        return Ok(exit::DONE);
    }
    if args.inherits {
        return inherit(context, args.background).await;
    }
    let read = context.read_manifest()?;
    if args.detach {
        return detach(context).await;
    }
    if !args.background {
        return supervise(context, &read, false).await;
    }
    // A session of our own: closing the terminal ends its processes, not this one. We may lead one already.
    let _ = rustix::process::setsid();
    let done = supervise(context, &read, true).await;
    if let Err(failure) = &done {
        tell_parent(context, failure);
    }
    done
}

/// Runs the supervisor in this process.
async fn supervise(context: &Context, read: &ReadManifest, background: bool) -> Result<u8, Failure> {
    let say = speaker(context, background);
    let mut supervisor = Supervisor::new(&context.paths, &read.manifest, say).await?;
    let since = units::now();
    let up = match supervisor.start(&read.manifest).await {
        Ok(Some(up)) => up,
        Ok(None) => return supervisor.stop().await.map(|()| exit::DONE),
        Err(failure) => {
            if let Err(second) = supervisor.abandon().await {
                output::failure(&second, context.json);
            }
            return Err(failure);
        }
    };
    announce(context, &up);
    keep_up(context, supervisor, background, since).await
}

/// Goes on as the supervisor this process was when it ran another program. The manifest is not read: an upgrade
/// changes the program and nothing else.
async fn inherit(context: &Context, background: bool) -> Result<u8, Failure> {
    let Estate { lock, asker, program, listeners, notes } =
        Estate::take(&context.paths).map_err(|error| {
            Failure::new(exit::BUG, "take over from the program that ran before")
                .because(error)
                .then("users are still served; `medeclipse up` takes over from the edge that serves them")
        })?;
    let say = speaker(context, background);
    let mut supervisor = Supervisor::inherit(&context.paths, lock, listeners, &notes, say)?;
    let since = units::now();
    match supervisor.start_as_before(notes.damaged.as_deref()).await {
        Ok(Some(_)) => {}
        Ok(None) => return supervisor.stop().await.map(|()| exit::DONE),
        Err(failure) if notes.failure.is_none() => {
            let heritage = Heritage { asker: &asker, program: &program, notes: &notes };
            return Err(supervisor.go_back(heritage, failure).await);
        }
        Err(failure) => {
            asker.tell(&Told::Refused { failure: failure.clone() });
            if let Err(second) = supervisor.abandon().await {
                output::failure(&second, context.json);
            }
            return Err(failure);
        }
    }
    let told = match notes.failure {
        None => {
            let to = env!("CARGO_PKG_VERSION").to_owned();
            say(&format!("upgraded from {} to {to}", notes.from));
            Told::Upgraded { from: notes.from, to }
        }
        Some(failure) => {
            say(&format!(
                "went back: cannot {}: {}",
                failure.error,
                failure.cause.clone().unwrap_or_default()
            ));
            let cause = format!("cannot {}: {}", failure.error, failure.cause.unwrap_or_default());
            let next = "the program that ran before goes on, and nobody was refused; report this";
            Told::Refused {
                failure: Failure::new(exit::REFUSED, "upgrade: the new program does not work here")
                    .because(cause)
                    .then(next),
            }
        }
    };
    asker.tell(&told);
    drop((asker, program));
    keep_up(context, supervisor, background, since).await
}

/// Keeps the environment running until somebody wants it to end, and ends it.
async fn keep_up(
    context: &Context,
    mut supervisor: Supervisor,
    background: bool,
    since: Millis,
) -> Result<u8, Failure> {
    // Ends with this function: the runtime drops what is left of it.
    let telling = (!background && !context.quiet)
        .then(|| tokio::spawn(events::tell(context.client(), since, context.json)));
    supervisor.run().await;
    let stopped = supervisor.stop().await;
    if let Some(telling) = telling {
        telling.abort();
    }
    stopped?;
    speaker(context, background)("down");
    Ok(exit::DONE)
}

fn speaker(context: &Context, background: bool) -> fn(&str) {
    if background || context.json || context.quiet { aside } else { output::told }
}

fn aside(text: &str) {
    output::aside(&format!("{} {text}", units::date_time(units::now())));
}

/// Leaves the reason where the command that started us finds it.
fn tell_parent(context: &Context, failure: &Failure) {
    let text = serde_json::to_vec(failure).expect("BUG: a failure has a JSON form");
    // Our log has the failure too, should the disk be the matter.
    let _ = std::fs::write(context.paths.failure("supervisor"), text);
}

/// Starts a supervisor in the background and waits until its environment is up.
async fn detach(context: &Context) -> Result<u8, Failure> {
    supervisor::place::prepare(&context.paths)?;
    if lock::holder(&context.paths).is_some() {
        // The one that is refused says by whom: take the refusal's own words.
        lock::Lock::take(&context.paths)?;
    }
    let mut stop = Stop::new(context)?;
    let mut background = start_background(context)?;
    let until = Instant::now() + READY_MAX;
    let pid = background.id();
    while !is_ready(context, pid) {
        if let Ok(Some(status)) = background.try_wait() {
            return Err(reason(context, &format!("it ended: {status}")));
        }
        if Instant::now() >= until {
            return Err(reason(context, &format!("it is not up after {} s", READY_MAX.as_secs())));
        }
        tokio::select! {
            stopped = stop.wait() => return Ok(left_alone(context, stopped)),
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
        }
    }
    // An engine that dies right after it was ready is followed by another.
    let status: Status = loop {
        match context.client().get("/v1/status").await {
            Err(error) if error.is_transport() && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            answer => break answer?,
        }
    };
    let addresses = listening(&status);
    announce(context, &Up { status, addresses, unsettled: left_failure(context, "settings") });
    Ok(exit::DONE)
}

fn start_background(context: &Context) -> Result<Child, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(exit::BUG, "start the supervisor in the background")
            .because(error)
            .then("the machine may be out of memory, processes or disk space: `medeclipse doctor`")
    };
    child::remove(&context.paths.failure("supervisor")).map_err(failed)?;
    child::remove(&context.paths.ready()).map_err(failed)?;
    let log = child::open_log(&context.paths.log("supervisor")).map_err(failed)?;
    let mut command = child::own_program("medeclipse");
    command.arg("--manifest").arg(&context.manifest).arg("--state").arg(context.paths.root());
    command.args(["--env", &context.environment, "up", "--background"]);
    command.env_remove("MEDECLIPSE_TIMEOUT").env_remove("MEDECLIPSE_JSON");
    command.stdin(Stdio::null()).stdout(log.try_clone().map_err(failed)?).stderr(log);
    command.spawn().map_err(failed)
}

fn is_ready(context: &Context, pid: u32) -> bool {
    std::fs::read_to_string(context.paths.ready()).is_ok_and(|text| text.trim() == pid.to_string())
}

/// Returns why the supervisor in the background did not come up, in its own words where it left some.
fn reason(context: &Context, otherwise: &str) -> Failure {
    left_failure(context, "supervisor").unwrap_or_else(|| {
        Failure::new(exit::BUG, "bring the environment up")
            .because(otherwise)
            .then(format!("{} says what it did", context.paths.log("supervisor").display()))
    })
}

/// Returns what a process of the environment left behind about what it could not do.
fn left_failure(context: &Context, who: &str) -> Option<Failure> {
    serde_json::from_slice(&std::fs::read(context.paths.failure(who)).ok()?).ok()
}

fn left_alone(context: &Context, stopped: Stopped) -> u8 {
    let why = if stopped == Stopped::Asked { "stopped waiting" } else { "--timeout passed" };
    let failure = Failure::new(exit::DETACHED, "wait until the environment is up")
        .because(why)
        .then("it goes on starting: `medeclipse status`; `medeclipse down` ends it");
    output::failure(&failure, context.json);
    exit::DETACHED
}

fn listening(status: &Status) -> Vec<SocketAddr> {
    let listen = status.edge.as_ref().map(|edge| edge.listen.as_slice()).unwrap_or_default();
    listen.iter().filter_map(|address| address.parse().ok()).collect()
}

/// Says that the environment is up, where, and what comes next.
fn announce(context: &Context, up: &Up) {
    if let Some(failure) = &up.unsettled {
        output::failure(failure, context.json);
    }
    let state = context.paths.root();
    if context.json {
        let told = serde_json::json!({
            "kind": "up",
            "environment": up.status.environment,
            "listen": up.addresses,
            "api": up.status.api,
            "state": state,
            "engine": up.status.engine,
        });
        return output::told(&told.to_string());
    }
    if context.quiet {
        return;
    }
    let addresses: Vec<String> = up.status.edge.iter().flat_map(EdgeStatus::urls).collect();
    output::told(&format!("{} is up", up.status.environment));
    output::told(&format!("  serves  {}", addresses.join("  ")));
    output::told(&format!("  api     {}", up.status.api));
    output::told(&format!("  state   {}", state.display()));
    let serves = up.status.services.iter().any(|service| service.stable.is_some());
    output::told(if serves {
        "  next    `medeclipse status`; `medeclipse down` ends it"
    } else {
        "  next    `medeclipse deploy`: nothing serves yet, so users get 503"
    });
}
