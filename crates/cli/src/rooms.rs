//! Calls the other rooms: every use of the manifest's parser, `edge::run`, `engine::run` and the shims is here.
//! Decides nothing; it only translates their errors into failures.

use crate::exit::{self, Failure, Mistakes};
use crate::output;
use crate::supervisor::pulse::Heart;
use drivers::paths::StatePaths;
use edge::EdgeConfig;
use engine::leader::Terms;
use engine::{EngineConfig, SignOfLife};
use manifest::overrides::Overrides;
use manifest::service::{EnvironmentConfig, Manifest, ServiceConfig};
use manifest::{Color, ManifestErrors};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

/// The verb of our own processes.
const INTERNAL: &str = "internal";

/// Reads a manifest for one environment.
pub fn parse_manifest(text: &str, file_name: &str, environment: &str) -> Result<Manifest, Failure> {
    manifest::parse(text, file_name, environment).map_err(|errors| misread(&errors, file_name))
}

/// Reads a manifest for all its environments, as `infra` plans them.
pub fn parse_manifests(text: &str, file_name: &str) -> Result<Vec<Manifest>, Failure> {
    manifest::parse_all(text, file_name).map_err(|errors| misread(&errors, file_name))
}

fn misread(errors: &ManifestErrors, file_name: &str) -> Failure {
    let items = errors.items();
    let color = if output::wants_color() { Color::Always } else { Color::Never };
    let cause = items.iter().map(|item| item.message.as_str()).collect::<Vec<_>>().join("; ");
    let failure = Failure::new(exit::BAD_INPUT, format!("read the manifest {file_name}"))
        .because(cause)
        .then(errors.next());
    let items = items.iter().filter_map(|item| serde_json::to_value(item).ok()).collect();
    Failure { errors: Some(Box::new(Mistakes { items, text: errors.render(color) })), ..failure }
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

/// Lives as the edge, with the listening sockets the supervisor gives.
pub fn run_edge(paths: &StatePaths, environment: EnvironmentConfig) -> Result<(), Failure> {
    let listeners = UnixStream::connect(paths.supervisor_socket())
        .and_then(|stream| edge::handover::receive_listeners(&stream))
        .map_err(|error| {
            Failure::new(exit::BUG, "get the listening sockets from the supervisor")
                .because(error)
                .then("the edge is started by `medeclipse up`, not by hand")
        })?;
    let config = EdgeConfig {
        admin_socket: paths.edge_socket(),
        handover_socket: paths.handover_socket(),
        access_log: Some(paths.log("access")),
        tls: environment.tls,
        acme: environment.acme,
        plain: environment.listen_http,
        redirect: environment.redirect,
        proxies: environment.proxy_protocol,
        ..EdgeConfig::new(paths.root(), listeners)
    };
    edge::run(config).map_err(|error| chained(&error, exit::BUG, error.next()))
}

/// Lives as the engine. Replicas are started by the very file this process runs.
pub fn run_engine(paths: &StatePaths, environment: EnvironmentConfig, fresh: bool) -> Result<(), Failure> {
    let shim = vec!["/proc/self/exe".into(), INTERNAL.into()];
    let heart = Heart::of_stdin();
    let sign_of_life = SignOfLife(Arc::new(move || heart.iter().for_each(Heart::beat)));
    let config = EngineConfig {
        paths: paths.clone(),
        environment,
        fresh,
        shim,
        terms: Terms::configured(),
        sign_of_life,
    };
    engine::run(config).map_err(|error| {
        Failure::new(exit::REFUSED, error.to_string()).because(error.why()).then(error.next())
    })
}

/// Becomes the replica or the task that the command line asks for; None: it asks for something else. Looked at
/// before anything else is: nothing a service's environment holds may keep its replicas from starting.
pub fn become_replica_or_task() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    let asked = args.next().is_some_and(|arg| arg == INTERNAL)
        && std::env::args_os().nth(2).is_some_and(|role| role == "replica" || role == "task");
    asked.then(|| drivers::platform::process::shim::run(args))
}

fn chained(error: &dyn std::error::Error, exit: u8, next: &str) -> Failure {
    let failure = Failure::new(exit, error.to_string()).then(next);
    match error.source() {
        Some(cause) => failure.because(cause),
        None => failure,
    }
}
