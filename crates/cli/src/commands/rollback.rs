//! `rollback`: back to the last proven release. What that is, and whether it is an abort, is the engine's to say.

use super::operate;
use crate::context::Context;
use crate::exit::{self, Failure};
use crate::{follow, render};
use engine::api::wire::Command;

/// Go back to the last proven release; during a deployment, abort it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: medeclipse rollback web")]
pub struct Args {
    /// The service; may be left out when there is only one.
    pub service: Option<String>,
    /// Go to this release: the beginning of its id, or its label.
    #[arg(long, value_name = "RELEASE")]
    pub to: Option<String>,
    /// Do not wait until it is done.
    #[arg(long)]
    pub detach: bool,
}

pub async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let command = Command::Rollback { to: args.to };
    let accepted = operate::command(context, args.service.as_deref(), command).await?;
    if args.detach {
        render::accepted(context, &accepted, "going back");
        return Ok(exit::DONE);
    }
    follow::back(context, accepted).await
}
