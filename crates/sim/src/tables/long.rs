//! Prints watches of a day, what each part of our judge is worth, and what the hold-back sees.

use super::{DAY_S, Grid, Library, MODES, Sizes, WATCH_S, cell, found, percent, rivals};
use crate::curve::{Contender, Outcome};
use crate::rivals::Rival;
use crate::traffic::{Fault, Mode, Scene};

/// Procedures that go on for a day; the strategy's monitor stops after ten minutes and Kayenta judges once.
const RIVALS: [Rival; 4] = [Rival::AlarmStatic, Rival::AlarmTuned, Rival::ArgoStep, Rival::Flagger];

/// Requests a second, weight, error rate. At 95 % of 100/s stable gets five requests a second: hardly a control.
const DAYS: [(f64, f64, f64); 7] = [
    (10.0, 0.95, 0.001),
    (100.0, 0.95, 0.01),
    (1000.0, 0.95, 0.001),
    (10.0, 0.5, 0.001),
    (1000.0, 0.5, 0.001),
    (10.0, 1.0, 0.001),
    (1000.0, 1.0, 0.001),
];

/// Healthy candidates watched for 24 hours: 5 % hold-back, 50 %, and alone.
pub fn long_watches(sizes: &Sizes, library: &mut Library) -> String {
    let mut grid: Option<Grid> = None;
    for (mode, name) in MODES {
        for (rps, weight, error_rate) in DAYS {
            let scene = Scene::steady(rps, weight, error_rate, mode);
            let mut contenders = rivals(&RIVALS);
            contenders.push(library.calibrated(&scene));
            let outcomes = cell(sizes, scene, DAY_S, sizes.long, &contenders);
            let names = outcomes.iter().map(|outcome| outcome.name.clone());
            let grid = grid.get_or_insert_with(|| Grid::new(std::iter::once("24 h".to_owned()).chain(names)));
            let place = format!(
                "{name}, {rps:.0}/s, weight {:.0} %, errors {} %",
                weight * 100.0,
                error_rate * 100.0
            );
            grid.row(std::iter::once(place).chain(outcomes.iter().map(share)).collect());
        }
    }
    let table = grid.expect("BUG: there are two moods").print();
    format!(
        "Percent of 24-hour watches of a healthy candidate that end in a return; {} watches a cell\n\n{table}\n{}",
        sizes.long,
        parts(sizes, library)
    )
}

fn share(outcome: &Outcome) -> String {
    percent(outcome.returned())
}

/// What calibration and its length are worth: ten-minute watches of the same version under bursts.
fn parts(sizes: &Sizes, library: &mut Library) -> String {
    let mut columns = Vec::new();
    for (rps, weight, error_rate) in
        [(100.0, 0.1, 0.001), (1000.0, 0.5, 0.001), (1000.0, 1.0, 0.001), (100.0, 0.95, 0.05)]
    {
        let scene = Scene::steady(rps, weight, error_rate, Mode::Bursts);
        let contenders: [Contender; 4] = [
            library.calibrated(&scene),
            library.calibrated_hours(&scene, 4),
            library.cold(&scene),
            library.believing_independence(&scene),
        ];
        columns.push(cell(sizes, scene, WATCH_S, sizes.healthy, &contenders));
    }
    let mut grid = Grid::new([
        "false returns in 10 minutes, bursts",
        "10 % of 100/s",
        "50 % of 1,000/s",
        "alone at 1,000/s",
        "95 % of 100/s, 5 % errors",
    ]);
    for (row, outcome) in columns[0].iter().enumerate() {
        let cells = columns.iter().map(|column| share(&column[row]));
        grid.row(std::iter::once(outcome.name.clone()).chain(cells).collect());
    }
    grid.print()
}

/// What is seen with 5 % of the users held back on the old version.
pub fn hold_back(sizes: &Sizes, library: &mut Library) -> String {
    let faults = [
        ("0.1 → 1 %", 0.001, Fault::Errors(0.01)),
        ("0.5 → 5 %", 0.005, Fault::Errors(0.05)),
        ("0 → 100 %", 0.0, Fault::Errors(1.0)),
        ("slow part × 1.5", 0.001, Fault::SlowPartTimes(1.5)),
        ("p50 + 10 %", 0.001, Fault::AllTimes(1.1)),
    ];
    let mut grid = Grid::new(["hold-back of 5 %, 1,000 requests/s", "independent", "bursts"]);
    for (name, error_rate, fault) in faults {
        let mut cells = vec![name.to_owned()];
        for (mode, _) in MODES {
            let scene = Scene::steady(1000.0, 0.95, error_rate, mode).with(fault);
            let contender = library.calibrated(&scene);
            cells.push(found(&cell(sizes, scene, WATCH_S, sizes.harmful, &[contender])[0]));
        }
        grid.row(cells);
    }
    format!(
        "median/p95 seconds, mean/p95 harmed requests; {} watches a cell\n\n{}",
        sizes.harmful,
        grid.print()
    )
}
