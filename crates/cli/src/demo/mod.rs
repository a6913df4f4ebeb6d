//! Shows the whole path on this machine: a good release and a bad one, under load, with the real commands.
//! Claims nothing it has not counted; `claims` says which numbers decide, `stage` starts the real processes.

mod claims;
mod show;
mod stage;

use crate::exit::{self, Failure};
use crate::load::{self, LoadHandle, LoadPlan};
use crate::output;
use bytes::Bytes;
use claims::{Claims, Ended};
use show::Show;
use stage::Stage;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Clients of each kind.
const CLIENTS: usize = 16;
/// Requests a second of all clients together: enough for a verdict, little enough for a small machine.
const RATE: f64 = 600.0;
/// How long the load goes on after the bad release has been returned: its last bad response must be seen.
const AFTERWARDS: Duration = Duration::from_secs(2);
/// Share of requests the bad release answers with 500.
const FAIL_PERCENT: &str = "30";

/// Show a good and a bad release of the reference service under load, on this machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: medeclipse demo --json\nscript/demo builds everything first.")]
pub struct Args {
    /// The reference service's program; by default beside this one.
    #[arg(long, value_name = "PATH")]
    pub clinic: Option<PathBuf>,
    /// Requests a second, all clients together.
    #[arg(long, default_value_t = RATE)]
    pub rate: f64,
}

/// Runs the demo; exit code 0 only if every claim held.
pub async fn run(args: Args, json: bool, quiet: bool) -> Result<u8, Failure> {
    let started = Instant::now();
    let show = Show::new(json, quiet);
    show.say("starting an environment in a temporary folder");
    let stage = Stage::set(args.clinic.as_deref()).await?;
    let outcome = tokio::select! {
        outcome = play(&stage, &show, args.rate, started) => outcome,
        _ = tokio::signal::ctrl_c() => Err(Failure::new(exit::ABORTED, "finish the demo").because("it was interrupted")),
    };
    show.say("stopping the environment");
    let struck = stage.strike().await;
    let claims = outcome?;
    struck?;
    show.finish();
    if json {
        output::json(&claims);
    } else {
        output::line(&claims.table());
    }
    Ok(if claims.all_hold() { exit::DONE } else { exit::FINDINGS })
}

async fn play(stage: &Stage, show: &Show, rate: f64, started: Instant) -> Result<Claims, Failure> {
    show.say("deploying the first release, v1");
    let first = stage.deploy("v1", &[], show, None).await?;
    let load = put_load(stage, rate)?;
    show.say(&format!("{CLIENTS} clients send GET and {CLIENTS} send POST, over kept connections"));
    load_flows(&load).await?;

    show.say("deploying v2, a good release");
    let before_good = load.snapshot();
    let good = stage.deploy("v2", &[], show, Some(&load)).await?;
    let after_good = load.snapshot();

    show.say(&format!(
        "deploying v3: it passes its health checks, then fails {FAIL_PERCENT} % of the requests"
    ));
    let bad_began = SystemTime::now();
    let faults = [format!("CLINIC_FAIL_PERCENT={FAIL_PERCENT}"), "CLINIC_FAIL_AFTER_MS=1500".to_owned()];
    let bad = stage.deploy("v3", &faults, show, Some(&load)).await?;
    tokio::time::sleep(AFTERWARDS).await;
    let proof = stage.who_answers().await?;
    let report = load.stop().await;
    let lost = |ended: &load::Snapshot| ended.failed + ended.connections.lost();
    Ok(Claims {
        first: Ended::of(&first),
        good: Ended::of(&good),
        bad: Ended::of(&bad),
        failed_before_good: lost(&before_good),
        failed_during_good: lost(&after_good) - lost(&before_good),
        requests_during_good: after_good.requests - before_good.requests,
        bad_until_return: report.bad_after(bad_began) as u64,
        bad_after_verdict: bad.verdict_at.map(|at| report.bad_after(at) as u64),
        verdict_to_last_bad_ms: bad
            .verdict_at
            .map(|at| report.last_bad_after(at).map_or(0.0, |last| since(at, last.end_us))),
        requests: report.counts.requests,
        failed: report.counts.failed,
        replayed: report.counts.replayed,
        connections_lost: report.counts.connections.lost(),
        latency_ms: report.counts.latency_ms,
        served_by_version: proof.version,
        served_by_release: proof.release,
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn since(moment: SystemTime, end_us: u64) -> f64 {
    end_us.saturating_sub(load::epoch_us(moment)) as f64 / 1000.0
}

fn put_load(stage: &Stage, rate: f64) -> Result<LoadHandle, Failure> {
    let body = |number: u64| {
        let (day, hour) = (number % 28 + 1, number / 28 % 10 + 8);
        Bytes::from(format!("{{\"slot\":\"2027-01-{day:02}T{hour:02}:30\",\"practitioner\":\"dr-costa\"}}"))
    };
    let plan = LoadPlan {
        get_clients: CLIENTS,
        post_clients: CLIENTS,
        get_paths: vec!["/api/slots".to_owned(), "/api/appointments".to_owned()],
        post_paths: vec!["/api/appointments".to_owned()],
        body: Arc::new(body),
        rate_per_second: Some(rate),
        ..LoadPlan::new(stage.address)
    };
    load::run(plan).map_err(|error| Failure::new(exit::BUG, error.to_string()).then(error.next()))
}

/// Waits until every client has had answers.
async fn load_flows(load: &LoadHandle) -> Result<(), Failure> {
    let until = Instant::now() + Duration::from_secs(10);
    while load.snapshot().ok < 200 {
        if Instant::now() > until {
            return Err(
                Failure::new(exit::BUG, "put load on the first release").because("no answers within 10 s")
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
