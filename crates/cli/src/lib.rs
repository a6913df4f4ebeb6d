//! Speaks: the one binary `medeclipse`. Reads the command line, carries out one verb, ends with its exit code.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod args;
mod checkup;
mod client;
mod commands;
mod context;
mod demo;
mod events;
mod exit;
mod explain;
mod follow;
pub mod load;
mod output;
mod process;
mod progress;
mod render;
mod rooms;
mod sse;
mod supervisor;
mod units;

#[cfg(test)]
#[path = "../tests/support/fake_engine.rs"]
mod fake_engine;
#[cfg(test)]
#[path = "../tests/support/script.rs"]
mod script;

use args::{Cli, Verb};
use clap::Parser;
use context::Context;
use exit::Failure;
use std::process::ExitCode;

/// Reads the command line, carries out one verb, and returns its exit code.
pub fn main() -> ExitCode {
    if let Some(ended) = rooms::become_replica_or_task() {
        return ended;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misread(&error),
    };
    let json = cli.globals.json;
    match run(cli) {
        Ok(code) => code.into(),
        Err(failure) => {
            output::failure(&failure, json);
            failure.exit.into()
        }
    }
}

fn run(cli: Cli) -> Result<u8, Failure> {
    let Cli { globals, verb } = cli;
    if let Verb::Internal(args) = verb {
        return commands::internal::run(args, &globals);
    }
    end_with_one_when_panicking();
    let context = Context::new(&globals)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::new(exit::BUG, "start the command's event loop")
            .because(error)
            .then("the machine may be out of file descriptors or memory: `medeclipse doctor`")
    })?;
    let done = runtime.block_on(commands::run(verb, &context));
    // Reads of the terminal or of a stalled disk must not keep a finished command from ending.
    runtime.shutdown_background();
    done
}

/// Shows help, or what is wrong with the arguments.
fn misread(error: &clap::Error) -> ExitCode {
    let wants_json = std::env::args_os().any(|arg| arg == "--json")
        || std::env::var("MEDECLIPSE_JSON")
            .is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false" | "no"));
    if wants_json && error.use_stderr() {
        let text = error.render().to_string();
        let cause = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let failure = Failure::new(exit::BAD_INPUT, "read the arguments")
            .because(cause)
            .then("`medeclipse --help`, or `medeclipse VERB --help`");
        output::failure(&failure, true);
        return exit::BAD_INPUT.into();
    }
    // Help goes to stdout with 0, errors to stderr with 2. A reader that went away changes neither.
    let _ = error.print();
    u8::try_from(error.exit_code()).unwrap_or(exit::BAD_INPUT).into()
}

/// A panic is a bug of ours: exit code 1, and a request to report it.
fn end_with_one_when_panicking() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        output::aside(" next: this is a bug of medeclipse: please report it with the lines above");
        std::process::exit(exit::BUG.into());
    }));
}
