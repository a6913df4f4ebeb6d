//! Calls the other rooms: every use of the manifest's parser, `edge::run`, `engine::run` and the shims is here.
//! Decides nothing; it only translates their errors into failures.

use crate::exit::{self, Failure, Mistakes};
use crate::output;
use drivers::paths::StatePaths;
use manifest::Color;
use manifest::overrides::Overrides;
use manifest::service::{EnvironmentConfig, Manifest, ServiceConfig};
use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;

/// Reads a manifest for one environment.
pub fn parse_manifest(text: &str, file_name: &str, environment: &str) -> Result<Manifest, Failure> {
    manifest::parse(text, file_name, environment).map_err(|errors| {
        let items = errors.items();
        let color = if output::wants_color() { Color::Always } else { Color::Never };
        let cause = items.iter().map(|item| item.message.as_str()).collect::<Vec<_>>().join("; ");
        let failure = Failure::new(exit::BAD_INPUT, format!("read the manifest {file_name}"))
            .because(cause)
            .then(errors.next());
        let items = items.iter().filter_map(|item| serde_json::to_value(item).ok()).collect();
        Failure { errors: Some(Box::new(Mistakes { items, text: errors.render(color) })), ..failure }
    })
}

/// Returns the commented default manifest for a service of this name.
pub fn default_manifest(name: &str) -> String {
    manifest::default_text(name)
}

/// Lays the options of `deploy` over a service.
pub fn override_with(overrides: &Overrides, service: &mut ServiceConfig) -> Result<(), Failure> {
    overrides.apply(service).map_err(|errors| {
        let first = errors.first().expect("BUG: the override errors are never empty");
        let failure = Failure::new(exit::BAD_INPUT, first.to_string()).then(first.next());
        match std::error::Error::source(first) {
            Some(cause) => failure.because(cause),
            None => failure,
        }
    })
}

/// Hands the listening sockets to whoever is at the other end.
pub fn send_listeners(stream: &UnixStream, listeners: &[TcpListener]) -> io::Result<()> {
    let _ = (stream, listeners);
    Err(io::ErrorKind::Unsupported.into())
}

/// Takes the listening sockets from whoever is at the other end.
pub fn receive_listeners(stream: &UnixStream) -> io::Result<Vec<TcpListener>> {
    let _ = stream;
    Err(io::ErrorKind::Unsupported.into())
}

/// Lives as the edge.
pub fn run_edge(paths: &StatePaths) -> Result<(), Failure> {
    let _ = paths;
    Err(Failure::new(exit::BUG, "run the edge").because("it is not built in yet"))
}

/// Lives as the engine.
pub fn run_engine(paths: &StatePaths, environment: EnvironmentConfig, fresh: bool) -> Result<(), Failure> {
    let _ = (paths, environment, fresh);
    Err(Failure::new(exit::BUG, "run the engine").because("it is not built in yet"))
}

/// Becomes a replica; returns only when that fails.
pub fn become_replica(args: Vec<OsString>) -> Result<u8, Failure> {
    let _ = args;
    Err(Failure::new(exit::BUG, "start a replica").because("it is not built in yet"))
}

/// Runs one task to its end.
pub fn run_task(args: Vec<OsString>) -> Result<u8, Failure> {
    let _ = args;
    Err(Failure::new(exit::BUG, "run a task").because("it is not built in yet"))
}
