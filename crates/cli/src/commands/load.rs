//! `load`: keep-alive clients on a URL, every failure counted, none sent again.

use crate::context::Context;
use crate::exit::{self, Failure};
use crate::follow::Stop;
use crate::load::{self, LoadPlan};
use crate::output;
use std::time::Duration;

/// Put load on a URL with keep-alive clients and count what fails.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: medeclipse load http://127.0.0.1:8080/api/slots --get 16 --for 10s\n\
    Exit code 0: nothing failed; 1: something did.")]
pub struct Args {
    /// Where to: http://HOST[:PORT][/PATH].
    pub url: String,
    /// Clients that send GET.
    #[arg(long, default_value_t = 8)]
    pub get: usize,
    /// Clients that send POST, with a small JSON body.
    #[arg(long, default_value_t = 0)]
    pub post: usize,
    /// Requests a second of all clients together; as fast as they can when absent.
    #[arg(long)]
    pub rate: Option<f64>,
    /// How long: 30s, 10m. Until Ctrl-C when absent.
    #[arg(long = "for", value_name = "DURATION", value_parser = crate::units::duration)]
    pub duration: Option<Duration>,
}

pub async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let failed = |error: load::LoadError| Failure::new(exit::BAD_INPUT, error.to_string()).then(error.next());
    let mut plan = LoadPlan::for_url(&args.url).map_err(failed)?;
    plan.get_clients = args.get;
    plan.post_clients = args.post;
    plan.rate_per_second = args.rate;
    let mut stop = Stop::new(context)?;
    let load = load::run(plan).map_err(failed)?;
    let ends = async {
        match args.duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = ends => {}
        _ = stop.wait() => {}
    }
    let report = load.stop().await;
    if context.json {
        output::json(&report);
    } else {
        output::line(report.to_string().trim_end());
    }
    Ok(if report.counts.failed == 0 { exit::DONE } else { exit::FINDINGS })
}
