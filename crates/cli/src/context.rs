//! Holds what every verb needs: where things are, and how to speak. Made once from the global options.

use crate::args::Globals;
use crate::client::{self, Client, ClientError};
use crate::exit::{self, Failure};
use crate::rooms;
use drivers::paths::StatePaths;
use engine::api::wire::Status;
use engine::leader::{Fate, Owner, short};
use manifest::service::Manifest;
use manifest::tls::Tls;
use rollout::names::Target;
use rollout::pages::{self, Pages};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The global options, ready for use.
#[derive(Debug)]
pub struct Context {
    pub paths: StatePaths,
    pub manifest: PathBuf,
    pub environment: String,
    pub json: bool,
    pub quiet: bool,
    pub timeout: Option<Duration>,
    started: Instant,
}

/// A manifest with every path absolute, and the folder it lies in.
#[derive(Debug)]
pub struct ReadManifest {
    pub manifest: Manifest,
    pub folder: PathBuf,
}

impl Context {
    pub fn new(globals: &Globals) -> Result<Self, Failure> {
        let paths = StatePaths::locate(&globals.state).map_err(|error| {
            Failure::new(exit::BAD_INPUT, error.to_string()).because(error.why()).then(error.next())
        })?;
        Ok(Self {
            paths,
            manifest: globals.manifest.clone(),
            environment: globals.env.clone(),
            json: globals.json,
            quiet: globals.quiet,
            timeout: globals.timeout,
            started: Instant::now(),
        })
    }

    /// Returns a client of the engine; one answer takes at most `--timeout`.
    pub fn client(&self) -> Client {
        let deadline = self.timeout.unwrap_or(client::DEADLINE).min(client::DEADLINE);
        Client::new(&self.paths.engine_socket(), deadline)
    }

    /// Returns when `--timeout` ends, counted from the start of the command.
    pub fn deadline(&self) -> Option<Instant> {
        self.timeout.and_then(|timeout| self.started.checked_add(timeout))
    }

    pub fn target(&self, service: &str) -> Target {
        Target::new(service, self.environment.clone())
    }

    /// Reads the manifest; says everything that is wrong with it at once.
    pub fn read_manifest(&self) -> Result<ReadManifest, Failure> {
        let path = std::path::absolute(&self.manifest).unwrap_or_else(|_| self.manifest.clone());
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Failure::new(exit::BAD_INPUT, format!("read the manifest {}", self.manifest.display()))
                .because(error)
                .then("write one with `medeclipse init`, or name it with --manifest FILE")
        })?;
        let file_name = self.manifest.display().to_string();
        let mut manifest = rooms::parse_manifest(&text, &file_name, &self.environment)?;
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        for service in &mut manifest.services {
            service.artifact = service.artifact.take().map(|artifact| resolved(&folder, &artifact));
            service.target.pages = Pages {
                maintenance: read_page(&folder, service.pages.maintenance.as_deref())?,
                error: read_page(&folder, service.pages.error.as_deref())?,
            };
            for database in service.target.guard.iter_mut().flat_map(|guard| guard.databases_mut()) {
                *database = resolved(&folder, database);
            }
        }
        for file in manifest.environment.tls.iter_mut().flat_map(Tls::files_mut) {
            *file = resolved(&folder, file);
        }
        if let Some(root) = manifest.environment.acme.as_mut().and_then(|acme| acme.root.as_mut()) {
            *root = resolved(&folder, root);
        }
        Ok(ReadManifest { manifest, folder })
    }

    /// Returns the service that is meant: the one named, or the only one there is.
    pub async fn service(&self, named: Option<&str>) -> Result<String, Failure> {
        if let Some(named) = named {
            return Ok(named.to_owned());
        }
        let status: Status = self.client().get("/v1/status").await?;
        let known: Vec<String> = status.services.into_iter().map(|service| service.service).collect();
        match known.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(Failure::new(exit::REFUSED, "choose a service")
                .because("the environment has none yet")
                .then("deploy one with `medeclipse deploy`")),
            several => Err(Failure::new(exit::BAD_INPUT, "choose a service")
                .because(format!("there is more than one: {}", several.join(", ")))
                .then(format!("name it, as in `medeclipse … {}`", several[0]))),
        }
    }

    /// Turns a missing answer into what the operator reads. A supervisor that runs without an engine that
    /// answers is another matter than an environment that is down.
    pub fn explain(&self, error: ClientError) -> Failure {
        let (unreachable, silent) =
            (matches!(error, ClientError::Unreachable { .. }), matches!(error, ClientError::TimedOut(_)));
        let failure = Failure::from(error);
        if !(unreachable || silent) || crate::supervisor::lock::holder(&self.paths).is_none() {
            return failure;
        }
        let log = self.paths.log("engine");
        let leader = engine::who_leads(&self.paths.run());
        match leader.filter(|leader| Owner::fate_of(&leader.owner) == Fate::Runs) {
            Some(leader) => failure.then(format!(
                "try in a moment: {} leads until {} UTC, and one that hangs is replaced by the supervisor; {} says what it did last",
                short(&leader.owner),
                crate::units::clock(leader.until),
                log.display()
            )),
            None if unreachable => failure.then(format!(
                "`medeclipse up` runs, and starts the engine again by itself: try in a moment; {} says why it ended",
                log.display()
            )),
            None => failure,
        }
    }
}

/// Reads one of a service's pages.
fn read_page(folder: &Path, file: Option<&Path>) -> Result<Option<String>, Failure> {
    let Some(file) = file else { return Ok(None) };
    let failed = || Failure::new(exit::BAD_INPUT, format!("read the page {}", file.display()));
    let next = "write the file, or remove it from [service.NAME.pages]";
    let text = std::fs::read_to_string(resolved(folder, file))
        .map_err(|error| failed().because(error).then(next))?;
    match pages::flaw(&text) {
        Some(flaw) => Err(failed().because(format!("it {flaw}")).then(next)),
        None => Ok(Some(text)),
    }
}

/// Makes a path of the manifest absolute, without `.` and without following links.
pub fn resolved(folder: &Path, path: &Path) -> PathBuf {
    folder.join(path).components().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_manifest_start_at_its_folder() {
        assert_eq!(resolved(Path::new("/srv/shop"), Path::new("./dist/")), Path::new("/srv/shop/dist"));
        assert_eq!(resolved(Path::new("/srv/shop"), Path::new("/opt/app")), Path::new("/opt/app"));
    }
}
