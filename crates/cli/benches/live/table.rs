//! Writes what came of the candidates of one fault as one line.

use super::faults::Fault;
use super::world::Outcome;
use std::collections::BTreeMap;
use std::fmt;

pub const HEAD: &str = "fault                              returned | bad responses p50/p95/max | s to the verdict p50/p95 | s to the last bad p50/p95 | candidate's requests p50 | held | what spoke";

/// One line.
pub struct Row {
    name: String,
    harmful: bool,
    outcomes: Vec<Outcome>,
}

impl Row {
    pub fn of<'o>(fault: &Fault, outcomes: impl Iterator<Item = &'o Outcome>) -> Self {
        Self { name: fault.name.clone(), harmful: fault.harmful, outcomes: outcomes.cloned().collect() }
    }

    /// Who spoke, how often; and how often the failing requests kept were all of one path.
    fn speakers(&self) -> String {
        let mut speakers: BTreeMap<String, usize> = BTreeMap::new();
        for outcome in self.outcomes.iter().filter(|outcome| outcome.returned) {
            let metric = if outcome.metric == "hard signal" { "" } else { outcome.metric.as_str() };
            *speakers.entry(format!("{} {metric}", outcome.rule).trim().to_owned()).or_default() += 1;
        }
        let mut all: Vec<_> = speakers.into_iter().map(|(who, times)| format!("{who} × {times}")).collect();
        let one_path = |outcome: &&Outcome| {
            outcome.paths.len() > 1 && outcome.paths.iter().all(|path| *path == outcome.paths[0])
        };
        let named = self.outcomes.iter().filter(one_path).count();
        if named > 0 {
            all.push(format!("sample all of one path × {named}"));
        }
        let failed: Vec<_> = self.outcomes.iter().filter_map(|outcome| outcome.failed.as_deref()).collect();
        if let Some(first) = failed.first() {
            all.push(format!("no run × {}: {}", failed.len(), first.chars().take(200).collect::<String>()));
        }
        all.join(", ")
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ran: Vec<_> = self.outcomes.iter().filter(|outcome| outcome.failed.is_none()).collect();
        let returned = ran.iter().filter(|outcome| outcome.returned).count();
        let over = |figure: &dyn Fn(&Outcome) -> Option<f64>| {
            // Whoever was not taken back would have cost more than any other.
            let figure = |outcome: &&Outcome| figure(outcome).filter(|_| outcome.returned || !self.harmful);
            let mut all: Vec<f64> =
                ran.iter().map(|outcome| figure(outcome).unwrap_or(f64::INFINITY)).collect();
            all.sort_by(f64::total_cmp);
            all
        };
        let bad = over(&|outcome| Some(outcome.bad as f64));
        let verdict = over(&|outcome| outcome.verdict_after);
        let last = over(&|outcome| outcome.last_bad_after.or(Some(0.0)));
        let requests = over(&|outcome| Some(outcome.requests as f64));
        let held: usize = self.outcomes.iter().map(|outcome| outcome.held).sum();
        write!(
            f,
            "{:<34} {returned:>3} of {:<3}| {:>5} / {:>5} / {:>5}       | {:>6} / {:>6}         | {:>6} / {:>6}          | {:>7}                  | {held:>4} | {}",
            self.name,
            ran.len(),
            shown(&bad, 0.5, 0),
            shown(&bad, 0.95, 0),
            shown(&bad, 1.0, 0),
            shown(&verdict, 0.5, 1),
            shown(&verdict, 0.95, 1),
            shown(&last, 0.5, 1),
            shown(&last, 0.95, 1),
            shown(&requests, 0.5, 0),
            self.speakers()
        )
    }
}

fn shown(sorted: &[f64], quantile: f64, digits: usize) -> String {
    if sorted.is_empty() {
        return "–".into();
    }
    let value = crate::share(sorted, quantile);
    if value.is_finite() { format!("{value:.digits$}") } else { "–".into() }
}

/// Says what the judge knew in these runs.
pub fn calibration<'o>(outcomes: impl Iterator<Item = &'o Outcome>) -> String {
    let mut hours: Vec<f64> = Vec::new();
    let (mut without, mut weights, mut insensitive) = (0, BTreeMap::<String, usize>::new(), 0);
    for outcome in outcomes {
        let Some(known) = &outcome.calibration else {
            without += 1;
            continue;
        };
        hours.push(known["hours"].as_f64().unwrap_or_default());
        let shares: Vec<_> = known["shares"].as_array().into_iter().flatten().collect();
        let of =
            shares.iter().map(|share| format!("{:.0} %", share["weight"].as_f64().unwrap_or(0.0) * 100.0));
        *weights.entry(of.collect::<Vec<_>>().join(", ")).or_default() += 1;
        let five = shares.first().and_then(|share| share["insensitive"].as_array()).map_or(0, Vec::len);
        insensitive += five;
    }
    hours.sort_by(f64::total_cmp);
    let weights: Vec<_> = weights
        .iter()
        .map(|(of, times)| format!("{} × {times}", if of.is_empty() { "no weight" } else { of }))
        .collect();
    format!(
        "judge_calibrated: hours {} to {}; weights calibrated: {}; insensitive components at 5 % each: {:.1}; never told: {without}",
        shown(&hours, 0.0, 1),
        shown(&hours, 1.0, 1),
        weights.join("; "),
        insensitive as f64 / hours.len().max(1) as f64
    )
}
