//! `maintenance`: requests wait at the edge, or are answered 503. Deployments go on meanwhile.

use super::operate;
use crate::context::Context;
use crate::exit::Failure;
use crate::units;
use engine::api::wire::Command;
use rollout::names::Millis;
use std::time::Duration;

/// Keep requests waiting at the edge while something else is repaired.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: medeclipse maintenance on web --hold 30s")]
pub struct Args {
    /// `on` or `off`.
    pub switch: Switch,
    /// The service; may be left out when there is only one.
    pub service: Option<String>,
    /// With `on`: how long a request waits before it is answered 503; 0s: at once.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = units::duration)]
    pub hold: Duration,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    On,
    Off,
}

pub async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let service = args.service.as_deref();
    match args.switch {
        Switch::On => {
            let hold = Millis(u64::try_from(args.hold.as_millis()).unwrap_or(u64::MAX));
            let told = format!("requests wait at most {hold}; end it with `medeclipse maintenance off`");
            operate::simple(context, service, Command::MaintenanceOn { hold }, &told).await
        }
        Switch::Off => {
            operate::simple(context, service, Command::MaintenanceOff, "maintenance is over").await
        }
    }
}
