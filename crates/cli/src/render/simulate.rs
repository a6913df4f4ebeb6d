//! Words an operating curve. Pure: takes rows, returns lines, or the document for programs.

use super::plan::{count, percent, time, two_digits};
use crate::commands::simulate::Curve;
use rollout::names::Weight;
use serde_json::{Value, json};
use sim::operating::{Row, Trial, at_most};
use sim::traffic::{Load, Mode};

/// Words the curve: the harmless first, then what is not.
pub fn lines(curve: &Curve) -> Vec<String> {
    let steps: Vec<String> = curve.rollout.steps.iter().map(Weight::to_string).collect();
    let mut lines = vec![
        format!("{}: {}, {}", curve.service, steps.join(", "), traffic(curve)),
        knowledge(&curve.trial),
        String::new(),
        "Harmless releases".to_owned(),
    ];
    let (harmless, harmful): (Vec<&Row>, Vec<&Row>) = curve.rows.iter().partition(|row| row.harmless);
    let mut table = super::text::plain_table(&[
        "RELEASE",
        "TAKEN BACK",
        "AT MOST",
        "PROVEN",
        "UNPROVEN",
        "PROMOTED AFTER",
        "WORST",
    ]);
    for row in harmless {
        table.add_row(harmless_row(row));
    }
    lines.extend(table.trim_fmt().lines().map(str::to_owned));
    lines.extend([String::new(), "Harmful releases: half of all cases, and the worst of twenty".to_owned()]);
    let mut table =
        super::text::plain_table(&["RELEASE", "TAKEN BACK", "AFTER", "WORST", "BAD RESPONSES", "WORST"]);
    for row in harmful {
        table.add_row(harmful_row(row));
    }
    lines.extend(table.trim_fmt().lines().map(str::to_owned));
    lines.extend([
        String::new(),
        "Bad responses are failed ones, or slower ones where latency is the fault. Replicas stay ready here: hard".to_owned(),
        "signals, hooks, checks and the monitor take nothing back; in an environment they do.".to_owned(),
    ]);
    lines
}

fn traffic(curve: &Curve) -> String {
    let mood = match curve.trial.mode {
        Mode::Independent => "one by one",
        Mode::Bursts => "in bursts",
    };
    let load = match (&curve.trial.load, &curve.trace) {
        (Load::Steady(rps), _) => format!("{} requests/s", two_digits(*rps)),
        (Load::Recorded { trace, .. }, path) => format!(
            "{} requests/s on average ({})",
            two_digits(trace.rps_mean()),
            path.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
        ),
    };
    format!("{load}, {} failing {mood}", percent(curve.trial.error_rate))
}

fn knowledge(trial: &Trial) -> String {
    let known = match trial.hours {
        0 => "the judge starts cold".to_owned(),
        hours => format!("the judge has learned from {hours} h of such traffic"),
    };
    format!("{known}; {} rollouts of each release, seed {}", trial.runs, trial.seed)
}

fn harmless_row(row: &Row) -> Vec<String> {
    let share = |runs: u64| percent(runs as f64 / row.runs.max(1) as f64);
    let promoted = row.proven + row.unproven > 0;
    let after = |seconds: f64| if promoted { time(seconds) } else { "never".to_owned() };
    vec![
        row.name.clone(),
        format!("{} of {}", row.returned, row.runs),
        percent(at_most(row.returned, row.runs)),
        share(row.proven),
        share(row.unproven),
        after(row.promoted_seconds.usual),
        after(row.promoted_seconds.worst),
    ]
}

fn harmful_row(row: &Row) -> Vec<String> {
    let after = |seconds: Option<f64>| seconds.map_or("never".to_owned(), time);
    vec![
        row.name.clone(),
        percent(row.returned as f64 / row.runs.max(1) as f64),
        after(row.seconds.usual),
        after(row.seconds.worst),
        count(row.bad.usual),
        count(row.bad.worst),
    ]
}

/// Returns everything for programs.
pub fn document(curve: &Curve) -> Value {
    let trial = &curve.trial;
    let (rps, trace) = match &trial.load {
        Load::Steady(rps) => (*rps, None),
        Load::Recorded { trace, .. } => (trace.rps_mean(), curve.trace.as_ref()),
    };
    json!({
        "service": curve.service,
        "rollout": curve.rollout,
        "traffic": {
            "requests_per_second": rps,
            "trace": trace,
            "error_rate": trial.error_rate,
            "bursts": trial.mode == Mode::Bursts,
        },
        "hours": trial.hours,
        "runs": trial.runs,
        "seed": trial.seed,
        "rows": curve.rows.iter().map(row_document).collect::<Vec<_>>(),
    })
}

fn row_document(row: &Row) -> Value {
    json!({
        "release": row.name,
        "harmless": row.harmless,
        "runs": row.runs,
        "returned": row.returned,
        "returned_at_most": row.harmless.then(|| at_most(row.returned, row.runs)),
        "promoted_proven": row.proven,
        "promoted_unproven": row.unproven,
        "seconds_p50": row.seconds.usual,
        "seconds_p95": row.seconds.worst,
        "bad_p50": row.bad.usual,
        "bad_p95": row.bad.worst,
        "promoted_seconds_p50": row.promoted_seconds.usual,
        "promoted_seconds_p95": row.promoted_seconds.worst,
    })
}
