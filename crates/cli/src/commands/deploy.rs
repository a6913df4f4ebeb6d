//! `deploy`: makes a release of a service and follows it until it serves, or until stable does again.
//! Reads the manifest and sends what it says; judges nothing.

use crate::client::ClientError;
use crate::context::{Context, ReadManifest, resolved};
use crate::exit::{self, Failure};
use crate::follow::{self, Followed, Stop};
use crate::progress::Progress;
use crate::{output, render, rooms};
use engine::api::wire::{Accepted, DeployRequest};
use manifest::overrides::Overrides;
use manifest::service::ServiceConfig;
use rollout::event::Outcome;
use rollout::names::Label;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a request whose answer got lost is sent again; its key makes that harmless.
const RESEND: Duration = Duration::from_secs(10);
/// How long storing an artefact may take: some GiB from a slow disk.
const STORED: Duration = Duration::from_secs(600);

/// Make a release and roll it out; follows it to the end.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: medeclipse deploy web --version v2")]
pub struct Args {
    /// The service; left out: all of the manifest in order, up to the first that is not promoted.
    pub service: Option<String>,
    /// Deploy this file or folder instead of the manifest's.
    #[arg(long, value_name = "PATH")]
    pub artifact: Option<PathBuf>,
    /// A name for the release, for people.
    #[arg(long, value_name = "NAME")]
    pub version: Option<String>,
    /// Set an environment variable of the replicas; may be repeated.
    #[arg(long, value_name = "K=V")]
    pub env_var: Vec<String>,
    /// Roll out this way instead of the manifest's.
    #[arg(long, value_enum)]
    pub strategy: Option<StrategyName>,
    /// Follow it to its end (this is the default).
    #[arg(long, conflicts_with = "detach")]
    pub follow: bool,
    /// Return as soon as the engine has taken it.
    #[arg(long)]
    pub detach: bool,
    /// Abort a running deployment of another release first.
    #[arg(long)]
    pub supersede: bool,
    /// Check everything and say what would be deployed; change nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// The ways of the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum StrategyName {
    Canary,
    BlueGreen,
}

impl StrategyName {
    const fn as_str(self) -> &'static str {
        match self {
            StrategyName::Canary => "canary",
            StrategyName::BlueGreen => "blue-green",
        }
    }
}

pub async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let read = context.read_manifest()?;
    let services = chosen(&args, &read)?;
    for service in &services {
        check_artifact(service)?;
    }
    if args.dry_run {
        return super::dry_run::show(context, &args, &services).await;
    }
    let mut stop = Stop::new(context)?;
    let count = services.len();
    for (done, service) in services.into_iter().enumerate() {
        let name = service.name.clone();
        let code = one(&args, context, &mut stop, request(&args, &read, service)?).await?;
        if code != exit::DONE {
            if done + 1 < count && !context.json {
                output::aside(&format!(
                    "stopped after {name}: {} service(s) were not deployed",
                    count - done - 1
                ));
            }
            return Ok(code);
        }
    }
    Ok(exit::DONE)
}

/// Returns the services to deploy, with the command line's changes applied.
fn chosen(args: &Args, read: &ReadManifest) -> Result<Vec<ServiceConfig>, Failure> {
    let known =
        || read.manifest.services.iter().map(|service| service.name.as_str()).collect::<Vec<_>>().join(", ");
    let mut services: Vec<ServiceConfig> = read.manifest.services.clone();
    if let Some(name) = &args.service {
        services.retain(|service| service.name == *name);
        if services.is_empty() {
            return Err(Failure::new(exit::BAD_INPUT, format!("deploy {name}"))
                .because(format!("the manifest has no service of that name; it has: {}", known()))
                .then("name one of them, or add [service.NAME] to the manifest"));
        }
    }
    let one_only = args.artifact.is_some() || args.version.is_some() || !args.env_var.is_empty();
    if one_only && services.len() > 1 {
        return Err(Failure::new(
            exit::BAD_INPUT,
            "use --artifact, --version or --env-var for several services at once",
        )
        .because(format!("the manifest has: {}", known()))
        .then("name the service they are for"));
    }
    let overrides = Overrides {
        strategy: args.strategy.map(|name| name.as_str().to_owned()),
        env: args.env_var.clone(),
        artifact: args.artifact.as_deref().map(from_here).transpose()?,
    };
    for service in &mut services {
        rooms::override_with(&overrides, service)?;
    }
    Ok(services)
}

/// Makes a path of the command line absolute.
fn from_here(path: &Path) -> Result<PathBuf, Failure> {
    if path.as_os_str().is_empty() {
        return Ok(PathBuf::new());
    }
    let here = std::env::current_dir();
    let here = here
        .map_err(|error| Failure::new(exit::BAD_INPUT, format!("find {}", path.display())).because(error))?;
    Ok(resolved(&here, path))
}

/// Finds out before anything is asked for whether the artefact can be read.
fn check_artifact(service: &ServiceConfig) -> Result<(), Failure> {
    let Some(path) = &service.artifact else { return Ok(()) };
    let unreadable = |cause: &dyn std::fmt::Display| {
        Failure::new(
            exit::BAD_INPUT,
            format!("deploy {}: read its artefact {}", service.name, path.display()),
        )
        .because(cause)
        .then("build it first, or name another with --artifact PATH")
    };
    let kind = std::fs::metadata(path).map_err(|error| unreadable(&error))?;
    if kind.is_dir() {
        let mut entries = std::fs::read_dir(path).map_err(|error| unreadable(&error))?;
        return match entries.next() {
            Some(_) => Ok(()),
            None => Err(unreadable(&"the folder is empty")),
        };
    }
    std::fs::File::open(path).map(drop).map_err(|error| unreadable(&error))
}

fn request(args: &Args, read: &ReadManifest, service: ServiceConfig) -> Result<DeployRequest, Failure> {
    Ok(DeployRequest {
        key: random_key()?,
        service,
        folder: read.folder.clone(),
        label: args.version.as_deref().map(Label::new),
        supersede: args.supersede,
    })
}

fn random_key() -> Result<String, Failure> {
    let mut bytes = [0_u8; 16];
    std::fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes)).map_err(
        |error| Failure::new(exit::BUG, "read /dev/urandom").because(error).then("is /dev mounted?"),
    )?;
    Ok(drivers::files::hex(&bytes))
}

/// Deploys one service; returns the exit code of its outcome.
async fn one(args: &Args, context: &Context, stop: &mut Stop, request: DeployRequest) -> Result<u8, Failure> {
    let accepted = tokio::select! {
        _ = stop.wait() => return Ok(given_up(context, &request.service.name)),
        accepted = post(context, &request) => accepted?,
    };
    for warning in &accepted.warnings {
        output::aside(&format!("warning: {warning}"));
    }
    if args.detach || accepted.outcome.is_some() || accepted.deployment.is_none() {
        let told = format!("accepted; follow it with `medeclipse deploy {}`", request.service.name);
        render::accepted(context, &accepted, &told);
        return Ok(accepted.outcome.map_or(exit::DONE, Outcome::exit_code));
    }
    let mut progress = Progress::new(context, &accepted.target);
    let followed = follow::deployment(context.client(), &accepted, &mut progress, stop).await;
    progress.close();
    match followed? {
        Followed::Stopped(stopped) => Ok(follow::left(context, &accepted, stopped)),
        Followed::Finished(report) => Ok(render::deployed(context, &report)),
    }
}

/// Hands the request in; the engine answers once it has stored the artefact. An answer that got lost on the way is
/// asked for again with the same key; an engine that was never there is said so at once.
async fn post(context: &Context, request: &DeployRequest) -> Result<Accepted, Failure> {
    let client = context.client().within(context.timeout.unwrap_or(STORED).min(STORED));
    let mut until = None;
    loop {
        let error = match client.post("/v1/deploy", request).await {
            Ok(accepted) => return Ok(accepted),
            Err(error) => error,
        };
        if matches!(error, ClientError::Broken { .. }) {
            until.get_or_insert(Instant::now() + RESEND);
        }
        if !error.is_transport() || until.is_none_or(|until| Instant::now() >= until) {
            return Err(context.explain(error));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn given_up(context: &Context, service: &str) -> u8 {
    let failure =
        Failure::new(exit::DETACHED, format!("wait until the engine has taken the deploy of {service}"))
            .because("stopped waiting")
            .then("it may still take it: `medeclipse status`; the same command follows it");
    output::failure(&failure, context.json);
    exit::DETACHED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_requests_have_two_keys() {
        assert_ne!(random_key().unwrap(), random_key().unwrap());
    }
}
