//! `history`: what was deployed, by whom, and how it ended; newest first.

use crate::client::with_query;
use crate::context::Context;
use crate::exit::{self, Failure};
use crate::{output, render};
use engine::api::wire::DeploymentView;

/// Show what was deployed, by whom, and how it ended; newest first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: medeclipse history web --limit 5")]
pub struct Args {
    /// The service; left out: all of them.
    pub service: Option<String>,
    /// At most so many rows.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u32,
}

pub async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let target = args.service.map(|service| context.target(&service).to_string());
    let path = with_query("/v1/deployments", &[("target", target), ("limit", Some(args.limit.to_string()))]);
    let rows: Vec<DeploymentView> =
        context.client().get(&path).await.map_err(|error| context.explain(error))?;
    if context.json {
        output::json(&rows);
    } else {
        output::line(&render::text::history(&rows));
    }
    Ok(exit::DONE)
}
