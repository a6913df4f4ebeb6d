//! Prints how soon each contender takes a harmful candidate back, and what it costs until then.

use super::{Grid, Library, MODES, Sizes, WATCH_S, cell, faults, found, rivals};
use crate::bounds::{margin_seconds, wald_seconds};
use crate::rivals::Rival;
use crate::traffic::{Mode, Scene, Traffic};

/// All contenders at 5 % of 100 requests/s, independent errors; then our judge at 1,000 requests/s in both moods.
pub fn detection(sizes: &Sizes, library: &mut Library) -> String {
    let mut columns: Vec<Vec<(String, String)>> = Vec::new();
    for (_, error_rate, fault) in faults() {
        let scene = Scene::steady(100.0, 0.05, error_rate, Mode::Independent).with(fault);
        let mut contenders = rivals(&Rival::ALL);
        contenders.push(library.calibrated(&scene));
        contenders.push(library.cold(&scene));
        let traffic = Traffic::new(scene.clone());
        let outcomes = cell(sizes, scene, WATCH_S, sizes.harmful, &contenders);
        let mut column: Vec<(String, String)> =
            outcomes.iter().map(|outcome| (outcome.name.clone(), found(outcome))).collect();
        let bound =
            |seconds: Option<f64>| seconds.map_or("never".to_owned(), |seconds| format!("{seconds:.0} s"));
        column.push(("Wald's bound".to_owned(), bound(wald_seconds(&traffic, library.policy().alpha))));
        column.push(("bound with our margin".to_owned(), bound(margin_seconds(&traffic, &library.policy()))));
        columns.push(column);
    }
    let mut grid = Grid::new(std::iter::once("procedure").chain(faults().map(|(name, _, _)| name)));
    for (row, (name, _)) in columns[0].iter().enumerate() {
        let cells = columns.iter().map(|column| column[row].1.clone());
        grid.row(std::iter::once(name.clone()).chain(cells).collect());
    }
    format!(
        "Detection at 5 % of 100 requests/s, independent errors: median/p95 seconds, mean/p95 harmed requests (share \
         detected in 10 minutes where under 99.5 %); {} watches a cell\n\n{}\n{}",
        sizes.harmful,
        grid.print(),
        fast(sizes, library)
    )
}

fn fast(sizes: &Sizes, library: &mut Library) -> String {
    let mut grid = Grid::new([
        "this judge at 5 % of 1,000 requests/s",
        "independent",
        "bursts",
        "bursts, a user's errors once",
    ]);
    for (name, error_rate, fault) in faults() {
        let mut cells = vec![name.to_owned()];
        for (mode, _) in MODES {
            let scene = Scene::steady(1000.0, 0.05, error_rate, mode).with(fault);
            let mut contenders = vec![library.calibrated(&scene)];
            if mode == Mode::Bursts {
                contenders.push(library.telling_users_apart(&scene));
            }
            let outcomes = cell(sizes, scene, WATCH_S, sizes.harmful, &contenders);
            cells.extend(outcomes.iter().map(found));
        }
        grid.row(cells);
    }
    grid.print()
}
