//! `internal`: the processes of an environment, started by the supervisor; never by people. `internal replica` and
//! `internal task` are none of them: `main` hands those on before it reads any argument.

use crate::args::Globals;
use crate::context::Context;
use crate::exit::{self, Failure};
use crate::rooms;
use manifest::service::EnvironmentConfig;

/// One process of an environment.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    pub role: Role,
}

/// Which one.
#[derive(Debug, clap::Subcommand)]
pub enum Role {
    /// Carries requests.
    Edge,
    /// Makes it so and remembers.
    Engine {
        /// Nothing of the environment was running before.
        #[arg(long)]
        fresh: bool,
    },
}

pub fn run(args: Args, globals: &Globals) -> Result<u8, Failure> {
    match args.role {
        Role::Edge => {
            daemon("edge", globals, |context, environment| rooms::run_edge(&context.paths, environment))
        }
        Role::Engine { fresh } => daemon("engine", globals, |context, environment| {
            rooms::run_engine(&context.paths, environment, fresh)
        }),
    }
}

/// Runs a process that should not end by itself. When it gives up, its reason waits for whoever asks.
fn daemon(
    name: &str,
    globals: &Globals,
    life: impl FnOnce(&Context, EnvironmentConfig) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let context = Context::new(globals)?;
    let lived = read_environment(&context).and_then(|environment| life(&context, environment));
    match lived {
        Ok(()) => Ok(exit::DONE),
        Err(failure) => {
            let text = serde_json::to_vec(&failure).expect("BUG: a failure has a JSON form");
            // The log has it too, should the disk be the matter.
            let _ = std::fs::write(context.paths.failure(name), text);
            Err(failure)
        }
    }
}

pub fn read_environment(context: &Context) -> Result<EnvironmentConfig, Failure> {
    let path = context.paths.environment();
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(exit::BUG, format!("read {}", path.display()))
            .because(error)
            .then("`medeclipse up` writes it: bring the environment up with that")
    };
    let text = std::fs::read(&path).map_err(|error| failed(&error))?;
    serde_json::from_slice(&text).map_err(|error| failed(&error))
}
