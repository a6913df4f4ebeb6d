//! `plan`: says what a deploy would do, and what a failing release would cost this service's users. Changes nothing.
//! `sim::exposure` predicts, `render::plan` words it.

use super::dry_run;
use crate::client::{ClientError, with_query};
use crate::context::Context;
use crate::exit::{self, Failure};
use crate::{output, render};
use engine::api::wire::{LatencyQuantile, TrafficView};
use manifest::service::{Manifest, ServiceConfig};
use rollout::judge::calibration::{Calibration, History};
use rollout::judge::{calibration::Thresholds, policy_for};
use rollout::names::Weight;
use rollout::plan::RolloutSettings;
use serde::Serialize;
use sim::exposure::{Prediction, Service, predict};
use sim::walk::{Runner, with_look};
use std::collections::BTreeSet;

/// The seed of every prediction: the same question has the same answer.
const SEED: u64 = 1;
/// A service that is assumed to have run before has thresholds for its latency.
const ASSUMED: [(i16, u64); 2] = [(202, 500_000), (275, 500_000)];

/// Say what a deploy would do, and what a failing release would cost.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: medeclipse plan web\n         medeclipse plan web --rps 50 --error-rate 0.1%\n\n\
    Without --rps the engine is asked what the last hour was like. Bad responses and seconds are\n\
    predicted for releases that fail 1, 5, 20 and 100 % of their requests."
)]
pub struct Args {
    /// The service; may be left out where the manifest has one.
    pub service: Option<String>,
    /// Assume so many requests a second and ask no engine; the judge then starts cold.
    #[arg(long, value_name = "N", value_parser = crate::units::rate)]
    pub rps: Option<f64>,
    /// Assume that stable fails so often: 0.1%.
    #[arg(long, value_name = "P%", value_parser = crate::units::percent)]
    pub error_rate: Option<f64>,
}

/// What is known, or assumed, of the traffic.
#[derive(Debug, Clone, Serialize)]
pub struct Known {
    pub source: Source,
    pub requests_per_second: f64,
    pub error_rate: f64,
    pub latency: Vec<LatencyQuantile>,
    /// Of stable's traffic.
    pub hours: f64,
    /// Nothing serves: there is nothing to compare the release with.
    pub first_release: bool,
    #[serde(skip)]
    pub calibration: Calibration,
}

/// Where that comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// What the engine has counted in the last hour.
    Engine,
    /// The command line.
    Assumed,
}

pub async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let read = context.read_manifest()?;
    let service = the_service(&read.manifest, args.service.as_deref(), "plan")?.clone();
    let known = known(&args, context, &service).await?;
    let prediction = match known.first_release {
        true => None,
        false => Some(predicted(&service.rollout, &known).await?),
    };
    if context.json {
        output::json(&render::plan::document(&service, &known, prediction.as_ref()));
        return Ok(exit::DONE);
    }
    for line in dry_run::what(&service) {
        output::line(&line);
    }
    for line in render::plan::lines(&service.rollout, &known, prediction.as_ref()) {
        output::line(&line);
    }
    Ok(exit::DONE)
}

/// Returns the service that is meant: the one named, or the only one of the manifest.
pub fn the_service<'a>(
    manifest: &'a Manifest,
    named: Option<&str>,
    verb: &str,
) -> Result<&'a ServiceConfig, Failure> {
    let names: Vec<&str> = manifest.services.iter().map(|service| service.name.as_str()).collect();
    let names = names.join(", ");
    match (named, manifest.services.as_slice()) {
        (Some(name), services) => services.iter().find(|service| service.name == name).ok_or_else(|| {
            Failure::new(exit::BAD_INPUT, format!("{verb} {name}"))
                .because(format!("the manifest has no service of that name; it has: {names}"))
                .then("name one of them, or add [service.NAME] to the manifest")
        }),
        (None, [only]) => Ok(only),
        (None, _) => Err(Failure::new(exit::BAD_INPUT, format!("choose a service to {verb}"))
            .because(format!("the manifest has: {names}"))
            .then(format!("name it, as in `medeclipse {verb} SERVICE`"))),
    }
}

async fn known(args: &Args, context: &Context, service: &ServiceConfig) -> Result<Known, Failure> {
    if let Some(rps) = args.rps {
        return Ok(assumed(&service.rollout, rps, args.error_rate));
    }
    let target = context.target(&service.name);
    let path = with_query(&format!("/v1/traffic/{target}"), &[("weights", weights(&service.rollout))]);
    match context.client().get::<TrafficView>(&path).await {
        Ok(view) => Ok(counted(view, args.error_rate)),
        // The engine knows no such target: this would be its first deployment.
        Err(ClientError::Refused(error)) if error.exit == exit::BAD_INPUT => {
            let nothing = assumed(&service.rollout, 0.0, args.error_rate);
            Ok(Known { source: Source::Engine, first_release: true, ..nothing })
        }
        Err(error) => {
            let failure = context.explain(error);
            let next = failure.next.clone().unwrap_or_default();
            Err(failure
                .then(format!("{next}; or plan without it: `medeclipse plan {} --rps N`", service.name)))
        }
    }
}

/// Returns the weights of a rollout as the engine is asked for them.
fn weights(rollout: &RolloutSettings) -> Option<String> {
    let rollout = with_look(rollout);
    let weights: BTreeSet<Weight> = (0..rollout.steps.len()).map(|step| rollout.weight_of(step)).collect();
    let texts: Vec<String> = weights.iter().map(|weight| weight.percent().to_string()).collect();
    Some(texts.join(","))
}

fn counted(view: TrafficView, error_rate: Option<f64>) -> Known {
    Known {
        source: Source::Engine,
        requests_per_second: view.requests_per_second,
        error_rate: error_rate.unwrap_or(view.calibration.error_rate),
        latency: view.latency,
        hours: view.hours,
        first_release: view.stable.is_none(),
        calibration: view.calibration,
    }
}

fn assumed(rollout: &RolloutSettings, rps: f64, error_rate: Option<f64>) -> Known {
    let policy = policy_for(&rollout.judge);
    let error_rate = error_rate.unwrap_or(policy.cold.error_rate);
    let requests = ASSUMED.iter().map(|(_, count)| count).sum();
    let history = History { requests, errors: 0, errors_once: 0, latencies: &ASSUMED };
    let cold = Calibration::cold(&policy, history);
    let latency: Option<Thresholds> = cold.latency.filter(|_| !rollout.judge.latency.quantiles.is_empty());
    Known {
        source: Source::Assumed,
        requests_per_second: rps,
        error_rate,
        latency: Vec::new(),
        hours: 0.0,
        first_release: false,
        calibration: Calibration { error_rate, error_rate_once: error_rate, latency, ..cold },
    }
}

/// Predicts beside the event loop: it takes seconds.
async fn predicted(rollout: &RolloutSettings, known: &Known) -> Result<Prediction, Failure> {
    let service = Service {
        requests_per_second: known.requests_per_second,
        error_rate: known.error_rate,
        calibration: known.calibration.clone(),
    };
    let rollout = rollout.clone();
    let work = move || predict(&rollout, &service, &Runner::new(threads()), SEED);
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Failure::new(exit::BUG, "predict what a release would cost").because(error).then("please report it")
    })
}

/// Returns how many simulations may run side by side.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
