//! `upgrade`: replaces the running medeclipse (supervisor, edge, engine) by the program that runs this command, or by a
//! named one. Asks the supervisor and passes on what it says; replaces nothing itself. See `supervisor::upgrade`.

use crate::context::Context;
use crate::exit::{self, Failure};
use crate::follow::{Stop, Stopped};
use crate::output;
use crate::supervisor::asking::{Question, Told};
use crate::supervisor::{START_MAX, lock};
use crate::units;
use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;

/// The supervisor looks at the program, starts edge and engine of it, and may have to go back: each is bounded there.
const ANSWER_MAX: Duration = Duration::from_secs(3 * START_MAX.as_secs());

/// Replace the running medeclipse itself by another version; users notice nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: medeclipse upgrade --binary ./medeclipse-new")]
pub struct Args {
    /// The program to run instead; default: the one that runs this command.
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
}

pub async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let began = Instant::now();
    if lock::holder(&context.paths).is_none() {
        return Err(Failure::new(exit::REFUSED, "upgrade")
            .because(format!("nothing runs in {}", context.paths.root().display()))
            .then("`medeclipse up` starts it, with this program"));
    }
    let _alone = alone(context)?;
    let binary = program(args.binary)?;
    let mut stop = Stop::new(context)?;
    let lines = ask(context, &Question { binary }).await?;
    tokio::select! {
        told = tokio::time::timeout(ANSWER_MAX, follow(context, lines)) => {
            let cause = format!("no answer within {} s", ANSWER_MAX.as_secs());
            let (from, to) = told.unwrap_or_else(|_| Err(lost(context, &cause)))?;
            say_done(context, &from, &to, began.elapsed());
            Ok(exit::DONE)
        }
        stopped = stop.wait() => Ok(goes_on(context, stopped)),
    }
}

/// Makes sure that one upgrade is asked for at a time.
fn alone(context: &Context) -> Result<File, Failure> {
    let path = context.paths.upgrade_lock();
    let failed = |cause: &dyn std::fmt::Display| {
        Failure::new(exit::REFUSED, "upgrade")
            .because(cause)
            .then("make the state directory writable, or run this as the user who brought the environment up")
    };
    let open = File::options().create(true).truncate(false).write(true).open(&path);
    let file = open.map_err(|error| failed(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(failed(&"another upgrade is under way")
            .then("wait until it has ended: `medeclipse status` says which version runs")),
        Err(TryLockError::Error(error)) => Err(failed(&error)),
    }
}

fn program(named: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let found = match &named {
        Some(path) => path.canonicalize(),
        None => std::env::current_exe(),
    };
    found.map_err(|error| {
        let named = named.unwrap_or_else(|| "the program that runs this".into());
        Failure::new(exit::BAD_INPUT, format!("find {}", named.display()))
            .because(error)
            .then("name an executable file with --binary PATH")
    })
}

async fn ask(context: &Context, question: &Question) -> Result<Lines<BufReader<UnixStream>>, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(exit::REFUSED, "upgrade")
            .because(format!("the supervisor takes no such question: {error}"))
            .then("try in a moment; one that is too old for it is replaced by `medeclipse down` and `up`")
    };
    let mut stream = UnixStream::connect(context.paths.upgrade_socket()).await.map_err(failed)?;
    let mut line = serde_json::to_vec(question).expect("BUG: a question has a JSON form");
    line.push(b'\n');
    stream.write_all(&line).await.map_err(failed)?;
    Ok(BufReader::new(stream).lines())
}

/// Passes progress on. Returns the versions before and after.
async fn follow(
    context: &Context,
    mut lines: Lines<BufReader<UnixStream>>,
) -> Result<(String, String), Failure> {
    loop {
        let line = match lines.next_line().await {
            Ok(Some(line)) => line,
            Ok(None) => return Err(lost(context, "the supervisor ended")),
            Err(error) => return Err(lost(context, &error.to_string())),
        };
        match serde_json::from_str(&line) {
            Ok(Told::Progress { text }) => progress(context, &text),
            Ok(Told::Upgraded { from, to }) => return Ok((from, to)),
            Ok(Told::Refused { failure }) => return Err(failure),
            // A later version may say more.
            Err(_) => {}
        }
    }
}

fn lost(context: &Context, cause: &str) -> Failure {
    Failure::new(exit::BUG, "follow the upgrade to its end").because(cause).then(format!(
        "users are still served; `medeclipse status`, or `medeclipse up` where no supervisor runs any more; {} says more",
        context.paths.log("supervisor").display()
    ))
}

fn progress(context: &Context, text: &str) {
    if context.json {
        output::json(&Told::Progress { text: text.to_owned() });
    } else if !context.quiet {
        output::aside(text);
    }
}

fn say_done(context: &Context, from: &str, to: &str, took: Duration) {
    if context.json {
        return output::json(&Told::Upgraded { from: from.to_owned(), to: to.to_owned() });
    }
    if context.quiet {
        return;
    }
    let took = units::spoken(took);
    output::line(&if from == to {
        format!("{to} was replaced by itself after {took}: the version is the same")
    } else {
        format!("upgraded from {from} to {to} after {took}")
    });
}

fn goes_on(context: &Context, stopped: Stopped) -> u8 {
    let why = if stopped == Stopped::Asked { "stopped waiting" } else { "--timeout passed" };
    let failure = Failure::new(exit::DETACHED, "wait until the upgrade has ended")
        .because(why)
        .then("it goes on: `medeclipse status` says which version runs");
    output::failure(&failure, context.json);
    exit::DETACHED
}
