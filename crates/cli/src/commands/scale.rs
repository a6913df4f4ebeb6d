//! `scale`: replicas by hand, or as the manifest says again.

use super::operate;
use crate::context::Context;
use crate::exit::Failure;
use engine::api::wire::Command;

/// Set the number of replicas by hand, or give it back to the manifest.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: medeclipse scale web 4")]
pub struct Args {
    pub service: String,
    /// How many; at most `replicas.max` of the manifest.
    #[arg(required_unless_present = "auto", conflicts_with = "auto", value_name = "N")]
    pub replicas: Option<u32>,
    /// As the manifest says.
    #[arg(long)]
    pub auto: bool,
}

pub async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let told = match args.replicas {
        Some(replicas) => format!("{replicas} replica(s) wanted; watch them with `medeclipse status`"),
        None => "replicas as the manifest says".to_owned(),
    };
    operate::simple(context, Some(&args.service), Command::Scale { replicas: args.replicas }, &told).await
}
