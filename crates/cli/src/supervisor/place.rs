//! Makes the place an environment lives in: folders, the environment's file, limits. Starts nothing.

use super::{child, keep};
use crate::exit::{self, Failure};
use drivers::paths::StatePaths;
use manifest::service::EnvironmentConfig;

/// Bytes that must be free on the disk of the state directory: some pid files and a few events.
const SPACE_MIN: usize = 64 << 10;

/// Makes the folders of the state directory, closed to other users.
pub fn prepare(paths: &StatePaths) -> Result<(), Failure> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let make = |path: &std::path::Path| std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    let close =
        |path: &std::path::Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700));
    let (run, logs, reaped) = (paths.run(), paths.logs(), paths.reaped());
    make(paths.root())
        .and_then(|()| make(&run))
        .and_then(|()| make(&logs))
        .and_then(|()| make(&reaped))
        .and_then(|()| make(paths.sockets()))
        // Commands are a privilege: whoever made these folders before, they are closed now.
        .and_then(|()| close(&run))
        .and_then(|()| close(paths.sockets()))
        .and_then(|()| has_space(&run.join("probe")))
        .map_err(|error| not_prepared(paths, &error))
}

/// Finds a full disk before anything is started that needs it: pids, sockets and the next event.
fn has_space(probe: &std::path::Path) -> std::io::Result<()> {
    let written = std::fs::write(probe, [0; SPACE_MIN]);
    child::remove(probe).and(written)
}

pub fn not_prepared(paths: &StatePaths, error: &std::io::Error) -> Failure {
    Failure::new(exit::REFUSED, format!("write to the state directory {}", paths.root().display()))
        .because(error)
        .then("make it writable, free some disk space, or choose another with --state DIR; `medeclipse doctor` looks")
}

/// Writes down what the processes of the environment need of the manifest.
pub fn write_environment(paths: &StatePaths, environment: &EnvironmentConfig) -> Result<(), Failure> {
    let text = serde_json::to_vec_pretty(environment).expect("BUG: an environment has a JSON form");
    keep::keep(&paths.environment(), &text)
        .and_then(|_| child::remove(&paths.ready()))
        .and_then(|()| child::remove(&paths.keep_replicas()))
        .map_err(|error| not_prepared(paths, &error))
}

/// Replicas whose engine died become our children, so that somebody learns how they end.
pub fn adopt_orphans() -> Result<(), Failure> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| Failure::new(exit::BUG, "become the reaper of orphans").because(error))
}

/// Takes as many file descriptors as the system gives: each connection is one, and children inherit the limit.
pub fn raise_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Refused: then `doctor` finds the low limit, and fewer connections are possible.
    let _ = setrlimit(Resource::Nofile, limit);
}
