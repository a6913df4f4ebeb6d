//! `simulate`: tries the manifest's policy on recorded or synthetic traffic and shows its operating curve. Touches nothing.
//! `sim::operating` walks, `render::simulate` words it.

use super::plan::{the_service, threads};
use crate::context::Context;
use crate::exit::{self, Failure};
use crate::follow::Stop;
use crate::{output, render};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rollout::plan::RolloutSettings;
use sim::operating::{Row, Trial, releases};
use sim::traffic::{Load, Mode, Trace, TraceError};
use sim::walk::Runner;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The largest trace read: a year of minutes is a tenth of it.
const TRACE_BYTES_MAX: u64 = 128 << 20;
/// How often progress is shown.
const TICK: Duration = Duration::from_millis(200);

/// Try the manifest's policy on recorded or synthetic traffic: what it finds, how soon, and how often it errs.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: medeclipse simulate web --rps 50 --bursts\n         medeclipse simulate web --trace requests.csv --runs 500\n\n\
    A trace is a CSV: one header line, then a row a period, a moment first and a number of requests\n\
    last: `2026-11-24 10:00:00,3120`. The first two rows tell the period; at its end it begins again."
)]
pub struct Args {
    /// The service; may be left out where the manifest has one.
    pub service: Option<String>,
    /// Steady traffic of so many requests a second.
    #[arg(long, value_name = "N", value_parser = crate::units::rate, required_unless_present = "trace")]
    pub rps: Option<f64>,
    /// Traffic as recorded in this CSV; every run begins at another place of it.
    #[arg(long, value_name = "FILE", conflicts_with = "rps")]
    pub trace: Option<PathBuf>,
    /// How often stable fails.
    #[arg(long, value_name = "P%", default_value = "0.1%", value_parser = crate::units::percent)]
    pub error_rate: f64,
    /// Let errors and slowness come in bursts, as they do on most services.
    #[arg(long)]
    pub bursts: bool,
    /// Hours of stable's traffic the judge has learned from; 0: it starts cold.
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u64).range(0..=24))]
    pub hours: u64,
    /// Rollouts of each kind of release.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub runs: u64,
    /// The same seed shows the same.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
}

/// What was simulated.
pub struct Curve {
    pub service: String,
    pub rollout: RolloutSettings,
    pub trial: Trial,
    /// The file of a recorded load.
    pub trace: Option<PathBuf>,
    pub rows: Vec<Row>,
}

pub async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let read = context.read_manifest()?;
    let service = the_service(&read.manifest, args.service.as_deref(), "simulate")?;
    let (name, rollout) = (service.name.clone(), service.rollout.clone());
    let trial = Trial {
        load: load(&args)?,
        error_rate: args.error_rate,
        mode: if args.bursts { Mode::Bursts } else { Mode::Independent },
        hours: args.hours,
        runs: args.runs,
        seed: args.seed,
    };
    let mut stop = Stop::new(context)?;
    let runner = Arc::new(Runner::new(threads()));
    let total = releases(&rollout, trial.error_rate).len() as u64 * trial.runs;
    let mut work = tokio::task::spawn_blocking({
        let (runner, rollout, trial) = (runner.clone(), rollout.clone(), trial.clone());
        move || rows(&rollout, &trial, &runner)
    });
    let bar = bar(context, total);
    let mut tick = tokio::time::interval(TICK);
    let rows = loop {
        tokio::select! {
            rows = &mut work => break rows.map_err(|error| {
                Failure::new(exit::BUG, "simulate the rollout").because(error).then("please report it")
            })?,
            _ = stop.wait() => {
                bar.finish_and_clear();
                let done = runner.done.load(Ordering::Relaxed);
                return Err(Failure::new(exit::ABORTED, "finish the simulation")
                    .because(format!("it was stopped after {done} of {total} rollouts"))
                    .then("ask for fewer with --runs; the same --seed begins the same way"));
            }
            _ = tick.tick() => show(&bar, runner.done.load(Ordering::Relaxed)),
        }
    };
    bar.finish_and_clear();
    let curve = Curve { service: name, rollout, trial, trace: args.trace, rows };
    if context.json {
        output::json(&render::simulate::document(&curve));
    } else {
        render::simulate::lines(&curve).iter().for_each(|line| output::line(line));
    }
    Ok(exit::DONE)
}

fn rows(rollout: &RolloutSettings, trial: &Trial, runner: &Runner) -> Vec<Row> {
    let known = trial.learn(rollout);
    let each = |release: &(String, sim::traffic::Fault)| trial.row(rollout, &known, release, runner);
    releases(rollout, trial.error_rate).iter().map(each).collect()
}

/// Returns the progress, on stderr; nothing where nobody looks.
fn bar(context: &Context, total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} rollouts, {eta} left")
        .expect("BUG: the template is a constant that parses");
    let quiet = context.quiet || context.json;
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    ProgressBar::with_draw_target(Some(total), target).with_style(style)
}

fn show(bar: &ProgressBar, done: u64) {
    bar.set_message(if done == 0 { "learning what stable is like" } else { "walking" });
    bar.set_position(done);
}

fn load(args: &Args) -> Result<Load, Failure> {
    if let Some(path) = &args.trace {
        return Ok(Load::Recorded { trace: Arc::new(trace(path)?), times: 1.0, from_second: 0 });
    }
    Ok(Load::Steady(args.rps.unwrap_or_default()))
}

/// Reads a trace; what is wrong is said with file and line.
fn trace(path: &Path) -> Result<Trace, Failure> {
    let what = || format!("read the trace {}", path.display());
    let mut text = String::new();
    let read =
        std::fs::File::open(path).and_then(|file| file.take(TRACE_BYTES_MAX + 1).read_to_string(&mut text));
    read.map_err(|error| {
        Failure::new(exit::BAD_INPUT, what())
            .because(error)
            .then("name a CSV with --trace FILE, or use --rps N")
    })?;
    if text.len() as u64 > TRACE_BYTES_MAX {
        return Err(Failure::new(exit::BAD_INPUT, what())
            .because(format!("it is larger than {} MiB", TRACE_BYTES_MAX >> 20))
            .then("cut it: a month of minutes says as much as a year"));
    }
    let trace = Trace::parse(&text).map_err(|error| {
        let place = match error {
            TraceError::Line(line) => format!("{}:{line}", path.display()),
            TraceError::Short => path.display().to_string(),
        };
        let why = match error {
            TraceError::Line(_) => "the line is not a moment, a comma and a number of requests",
            TraceError::Short => {
                "it has fewer than two rows, or two of the same moment: the period cannot be known"
            }
        };
        Failure::new(exit::BAD_INPUT, format!("read the trace {place}")).because(why).then(error.next())
    })?;
    if trace.rps_mean() <= 0.0 {
        return Err(Failure::new(exit::BAD_INPUT, what())
            .because("every row counts 0 requests")
            .then("record a time at which somebody asks"));
    }
    Ok(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Failure {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("load.csv");
        std::fs::write(&path, text).unwrap();
        trace(&path).unwrap_err()
    }

    #[test]
    fn a_trace_that_is_wrong_is_refused_with_its_file_and_line() {
        let wrong = refused("moment,requests\n2026-01-01 00:00:00,5\n2026-01-01 00:01:00,many\n");
        assert!(wrong.error.ends_with("load.csv:3"), "{wrong:?}");
        assert_eq!(wrong.exit, exit::BAD_INPUT);

        for text in ["", "moment,requests\n", "m,r\n2026-01-01 00:00:00,0\n2026-01-01 00:01:00,0\n"] {
            let failure = refused(text);
            assert!(failure.cause.is_some() && failure.next.is_some(), "{failure:?}");
        }
    }

    #[test]
    fn a_trace_that_is_not_there_is_refused_with_what_to_do() {
        let failure = trace(Path::new("/nowhere/load.csv")).unwrap_err();

        assert_eq!(failure.exit, exit::BAD_INPUT);
        assert!(failure.next.unwrap().contains("--rps"), "it says what to do");
    }
}
