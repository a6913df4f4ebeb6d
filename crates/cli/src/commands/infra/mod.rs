//! `infra render`, `infra check`, `infra diff`: draws the infrastructure of the manifest, checks it, says what a change of the
//! manifest does to it. Needs no engine and no account. Knows files; what they hold is the room `infra`'s.

mod check;
mod diff;
mod disk;
mod render;

use crate::context::Context;
use crate::exit::{self, Failure, Mistakes};
use infra::model::{Plan, Refusal, resolve};
use std::path::Path;

/// Draw the infrastructure of the manifest, check it, or say what a change of the manifest does to it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: medeclipse infra render --env production --out infrastructure")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Render(render::Args),
    Check(check::Args),
    Diff(diff::Args),
}

pub fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    match args.verb {
        Verb::Render(args) => render::run(&args, context),
        Verb::Check(args) => check::run(&args, context),
        Verb::Diff(args) => diff::run(&args, context),
    }
}

/// Reads a manifest for all its environments, and makes the model of it.
fn plan_of(path: &Path) -> Result<Plan, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(exit::BAD_INPUT, format!("read the manifest {}", path.display()))
            .because(error)
            .then("write one with `medeclipse init`, or name it with --manifest FILE")
    })?;
    let manifests = crate::rooms::parse_manifests(&text, &path.display().to_string())?;
    resolve(&manifests).map_err(|refusals| refused(&refusals))
}

/// Shows every reason at once.
fn refused(refusals: &[Refusal]) -> Failure {
    let block = |refusal: &Refusal| {
        format!("error: cannot {}\ncause: {}\n next: {}", refusal.what, refusal.why, refusal.next)
    };
    let mut failure = match refusals {
        [only] => Failure::new(exit::BAD_INPUT, only.what.clone()).because(&only.why).then(only.next.clone()),
        several => {
            Failure::new(exit::BAD_INPUT, format!("draw the infrastructure, for {} reasons", several.len()))
                .then("correct them and run the command again")
        }
    };
    if refusals.len() > 1 {
        let items = refusals
            .iter()
            .map(|refusal| serde_json::to_value(refusal).expect("BUG: a refusal has a JSON form"));
        let text = refusals.iter().map(block).collect::<Vec<_>>().join("\n\n");
        failure.errors = Some(Box::new(Mistakes { items: items.collect(), text }));
    }
    failure
}
