//! Serves the reference clinic, or prepares its store. Refuses to know MedEclipse: any program works as a service.
//! The story: read the settings, open the store, serve until told to stop, finish what was begun; see `serve`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod api;
mod app;
mod cache;
mod config;
mod faults;
mod probe;
mod serve;
mod store;
mod trouble;

use config::Config;
use std::io::Write;
use std::process::ExitCode;
use store::Migration;
use trouble::Trouble;

const USAGE: &str = "\
clinic: the reference service of MedEclipse, appointments without patients

usage:
  clinic                    serve on HOST:PORT (default 127.0.0.1:8080)
  clinic migrate expand     create or extend the tables; releases before and after work with the result
  clinic probe              ask the clinic on PORT whether it is alive; exit code 0 when it is
  clinic migrate contract   remove what no release since the expansion needs

Settings are environment variables; examples/clinic/README.md lists them.
";

/// Threads that carry requests. Replicas share the machine, and waiting costs no thread.
const WORKERS: usize = 2;
/// Threads for SQLite: its readers, its writer, the probe, and some for the runtime itself.
const BLOCKING_THREADS_MAX: usize = 16;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        [] => run(async |config| serve::serve(config).await),
        ["probe"] => run(async |config| probe::ask(config.listen.port())),
        ["migrate", "expand"] => run(async |config| migrate(config, Migration::Expand).await),
        ["migrate", "contract"] => run(async |config| migrate(config, Migration::Contract).await),
        ["help" | "--help" | "-h"] => {
            say(USAGE.trim_end());
            return ExitCode::SUCCESS;
        }
        ["version" | "--version" | "-V"] => {
            say(concat!("clinic ", env!("CARGO_PKG_VERSION")));
            return ExitCode::SUCCESS;
        }
        _ => {
            complain(USAGE);
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            complain(&trouble.to_string());
            trouble.exit_code()
        }
    }
}

/// Reads the settings and runs a command on a runtime.
fn run(command: impl AsyncFnOnce(Config) -> Result<(), Trouble>) -> Result<(), Trouble> {
    let config = Config::read(|name| std::env::var(name).ok())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
        .map_err(|error| Trouble::new("start the runtime", error, "free memory or raise `ulimit -u`"))?;
    let done = runtime.block_on(command(config));
    // A SQLite call that waits for a lock must not keep a finished process alive.
    runtime.shutdown_background();
    done
}

async fn migrate(config: Config, migration: Migration) -> Result<(), Trouble> {
    let store = store::Store::new(&config.store)?;
    let did = store.migrate(migration).await.map_err(|error| {
        Trouble::new(format!("{migration} the tables of {}", store.kind()), &error, error.next())
    })?;
    let did = if did.is_empty() { "nothing to do".into() } else { did.join(", ") };
    say(&format!("clinic: {migration} done: {did}"));
    Ok(())
}

/// Writes a line to stdout. A log nobody reads any more must not end a service, so failures are let go.
fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").unwrap_or(());
}

/// Writes lines to stderr, with the same patience.
fn complain(lines: &str) {
    writeln!(std::io::stderr(), "{}", lines.trim_end()).unwrap_or(());
}
