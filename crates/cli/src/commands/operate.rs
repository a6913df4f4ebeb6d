//! The operator's hand on a running deployment: `promote`, `abort`, `pause`, `resume`.
//! Only asks; whether it is possible is the engine's to say.

use crate::context::Context;
use crate::exit::{self, Failure};
use crate::{follow, render};
use engine::api::wire::{Accepted, Command, CommandRequest};

/// End the current bake now and go on with the next step.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: medeclipse promote web --now")]
pub struct PromoteArgs {
    /// The service; may be left out when there is only one.
    pub service: Option<String>,
    /// Skip the remaining steps too.
    #[arg(long)]
    pub now: bool,
}

/// Stop the running deployment: every request goes back to stable.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: medeclipse abort web")]
pub struct AbortArgs {
    /// The service; may be left out when there is only one.
    pub service: Option<String>,
    /// Do not wait until the requests are back.
    #[arg(long)]
    pub detach: bool,
}

/// Stop the clock of the running deployment; weights stay as they are.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: medeclipse pause web")]
pub struct PauseArgs {
    /// The service; may be left out when there is only one.
    pub service: Option<String>,
}

/// Let a paused deployment go on.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: medeclipse resume web")]
pub struct ResumeArgs {
    /// The service; may be left out when there is only one.
    pub service: Option<String>,
}

pub async fn promote(args: PromoteArgs, context: &Context) -> Result<u8, Failure> {
    let told = if args.now { "promoting now" } else { "this bake is over" };
    simple(context, args.service.as_deref(), Command::Promote { now: args.now }, told).await
}

pub async fn pause(args: PauseArgs, context: &Context) -> Result<u8, Failure> {
    simple(context, args.service.as_deref(), Command::Pause, "paused; go on with `medeclipse resume`").await
}

pub async fn resume(args: ResumeArgs, context: &Context) -> Result<u8, Failure> {
    simple(context, args.service.as_deref(), Command::Resume, "goes on").await
}

pub async fn abort(args: AbortArgs, context: &Context) -> Result<u8, Failure> {
    let accepted = command(context, args.service.as_deref(), Command::Abort).await?;
    if args.detach {
        render::accepted(context, &accepted, "returning to stable");
        return Ok(exit::DONE);
    }
    follow::back(context, accepted).await
}

/// Sends a command whose acceptance is all there is to say.
pub async fn simple(
    context: &Context,
    service: Option<&str>,
    asked: Command,
    told: &str,
) -> Result<u8, Failure> {
    let accepted = command(context, service, asked).await?;
    render::accepted(context, &accepted, told);
    Ok(exit::DONE)
}

/// Sends a command about the service named, or the only one.
pub async fn command(
    context: &Context,
    service: Option<&str>,
    command: Command,
) -> Result<Accepted, Failure> {
    let service = context.service(service).await?;
    let request = CommandRequest { service, command };
    let answer = context.client().post("/v1/command", &request).await;
    answer.map_err(|error| context.explain(error))
}
