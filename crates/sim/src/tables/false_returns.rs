//! Prints how often each contender takes a healthy candidate back.

use super::{Grid, Library, MODES, PLACES, Sizes, WATCH_S, cell, percent, rivals};
use crate::curve::Outcome;
use crate::rivals::Rival;
use crate::traffic::{Fault, Mode, Scene};

/// Healthy candidates: name, error rate, difference.
const HEALTHY: [(&str, f64, Fault); 4] = [
    ("same, 0.1 %", 0.001, Fault::Nothing),
    ("same, 1 %", 0.01, Fault::Nothing),
    ("+10 % errors", 0.001, Fault::ErrorsTimes(1.1)),
    ("+2 % latency", 0.001, Fault::AllTimes(1.02)),
];

/// What stands beside us where nothing is wrong: the oracle knows that already.
const RIVALS: [Rival; 9] = [
    Rival::HealthMonitor,
    Rival::AlarmStatic,
    Rival::AlarmTuned,
    Rival::ArgoStep,
    Rival::ArgoBackground,
    Rival::Flagger,
    Rival::KayentaOnce,
    Rival::KayentaEveryMinute,
    Rival::Sequential,
];

/// Lowest and highest share over the places, and all returns counted together.
#[derive(Default)]
struct Range {
    shares: Vec<f64>,
    returns: usize,
    watches: usize,
}

impl Range {
    fn add(&mut self, outcome: &Outcome) {
        self.shares.push(outcome.returned());
        self.returns += outcome.returns();
        self.watches += outcome.watches();
    }

    fn print(&self) -> String {
        let low = self.shares.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.shares.iter().copied().fold(0.0, f64::max);
        let (low, high) = (percent(low), percent(high));
        if low == high { low } else { format!("{low}–{high}") }
    }
}

/// Ten-minute watches of healthy candidates: percent returned, lowest–highest over the places.
pub fn false_returns(sizes: &Sizes, library: &mut Library) -> String {
    let mut names: Vec<String> = Vec::new();
    let mut columns: Vec<Vec<Range>> = Vec::new();
    for (mode, _) in MODES {
        for (_, error_rate, fault) in HEALTHY {
            let (column, contenders) = column(sizes, library, mode, error_rate, fault);
            columns.push(column);
            names = contenders;
        }
    }
    let header = MODES.iter().flat_map(|(_, mode)| HEALTHY.map(|(name, _, _)| format!("{mode}: {name}")));
    let mut grid = Grid::new(std::iter::once("procedure".to_owned()).chain(header).chain(["all".to_owned()]));
    for (row, name) in names.into_iter().enumerate() {
        let cells = columns.iter().map(|column| column[row].print());
        let (returns, watches) = columns
            .iter()
            .fold((0, 0), |sum, column| (sum.0 + column[row].returns, sum.1 + column[row].watches));
        let all = format!("{returns} of {watches}");
        grid.row(std::iter::once(name).chain(cells).chain([all]).collect());
    }
    format!(
        "False returns, percent of 10-minute watches of a healthy candidate, lowest–highest over 100 and 1,000 requests/s \
         × weights 5, 10, 50 %; {} watches a cell\n\n{}",
        sizes.healthy,
        grid.print()
    )
}

fn column(
    sizes: &Sizes,
    library: &mut Library,
    mode: Mode,
    error_rate: f64,
    fault: Fault,
) -> (Vec<Range>, Vec<String>) {
    let (mut ranges, mut names): (Vec<Range>, Vec<String>) = (Vec::new(), Vec::new());
    for (rps, weight) in PLACES {
        let scene = Scene::steady(rps, weight, error_rate, mode).with(fault);
        let mut contenders = rivals(&RIVALS);
        contenders.push(library.calibrated(&scene));
        contenders.push(library.cold(&scene));
        let outcomes = cell(sizes, scene, WATCH_S, sizes.healthy, &contenders);
        ranges.resize_with(outcomes.len(), Range::default);
        ranges.iter_mut().zip(&outcomes).for_each(|(range, outcome)| range.add(outcome));
        names = outcomes.into_iter().map(|outcome| outcome.name).collect();
    }
    (ranges, names)
}

/// Deployments of the same version at one place, many of them.
pub fn deployments(sizes: &Sizes, library: &mut Library) -> String {
    let mut grid = Grid::new(["procedure", "independent", "bursts"]);
    let mut columns = Vec::new();
    for (mode, _) in MODES {
        let scene = Scene::steady(100.0, 0.05, 0.001, mode);
        let mut contenders = rivals(&RIVALS);
        contenders.push(library.calibrated(&scene));
        contenders.push(library.cold(&scene));
        columns.push(cell(sizes, scene, WATCH_S, sizes.deployments, &contenders));
    }
    for (independent, bursts) in columns[0].iter().zip(&columns[1]) {
        let print = |outcome: &Outcome| format!("{} ({} %)", outcome.returns(), percent(outcome.returned()));
        grid.row(vec![independent.name.clone(), print(independent), print(bursts)]);
    }
    format!(
        "Returns in {} deployments of the same version: 10 minutes, 100 requests/s, weight 5 %, 0.1 % errors\n\n{}",
        sizes.deployments,
        grid.print()
    )
}
