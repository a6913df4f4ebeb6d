//! `status`: what serves, what is being judged, what is waited for, and whether there is a way back.

use crate::context::Context;
use crate::exit::{self, Failure};
use crate::follow::Stop;
use crate::{output, render};
use engine::api::wire::Status;
use std::io::IsTerminal;
use std::time::Duration;

/// Show what serves, what is being judged, and whether there is a way back.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: medeclipse status --watch")]
pub struct Args {
    /// Show it again each second, until Ctrl-C.
    #[arg(long)]
    pub watch: bool,
}

pub async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    if !args.watch {
        let status = fetch(context).await?;
        show(context, &status, false);
        return Ok(exit::DONE);
    }
    watch(context).await
}

async fn fetch(context: &Context) -> Result<Status, Failure> {
    context.client().get("/v1/status").await.map_err(|error| context.explain(error))
}

fn show(context: &Context, status: &Status, watching: bool) {
    if context.json {
        output::json(status);
    } else {
        output::line(&format!("{}{}", home(context, watching), render::text::status(status).trim_end()));
    }
}

/// Shows the status each second. An engine that is away for a moment is said so, not the end; one that never
/// answered is.
async fn watch(context: &Context) -> Result<u8, Failure> {
    let mut stop = Stop::new(context)?;
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut answered = false;
    loop {
        let status = tokio::select! {
            _ = stop.wait() => return Ok(exit::DONE),
            status = async { tick.tick().await; fetch(context).await } => status,
        };
        match status {
            Ok(status) => {
                answered = true;
                show(context, &status, true);
            }
            Err(failure) if !answered => return Err(failure),
            Err(failure) if context.json => output::json(&failure),
            Err(failure) => {
                let cause = failure.cause.unwrap_or(failure.error);
                output::line(&format!("{}the engine does not answer now: {cause}", home(context, true)));
            }
        }
    }
}

/// Returns what empties the terminal of a `--watch`; a file or pipe keeps what was written.
fn home(context: &Context, watching: bool) -> &'static str {
    if watching && !context.json && std::io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" }
}
