//! Prints how far our judge is from the bound with its margin.

use super::{Grid, Library, MODES, Sizes, WATCH_S, cell, faults};
use crate::bounds::margin_seconds;
use crate::traffic::{Fault, Scene, Traffic};

const PLACES: [(f64, f64); 3] = [(100.0, 0.05), (1000.0, 0.05), (1000.0, 0.5)];

/// Median seconds by the bound's, for each place and mood.
pub fn distance(sizes: &Sizes, library: &mut Library) -> String {
    let mut grid = Grid::new(["fault", "bound, s", "independent", "bursts"]);
    let gradual = faults()
        .into_iter()
        .filter(|(_, _, fault)| !matches!(fault, Fault::Crash { .. } | Fault::Errors(1.0)));
    for (name, error_rate, fault) in gradual {
        let mut cells = [vec![], vec![], vec![]];
        for (rps, weight) in PLACES {
            for (place, (mode, _)) in MODES.into_iter().enumerate() {
                let scene = Scene::steady(rps, weight, error_rate, mode).with(fault);
                let bound = margin_seconds(&Traffic::new(scene.clone()), &library.policy());
                if place == 0 {
                    cells[0].push(bound.map_or("never".to_owned(), |bound| format!("{bound:.1}")));
                }
                let contender = library.calibrated(&scene);
                let outcome = cell(sizes, scene, WATCH_S, sizes.harmful, &[contender]).remove(0);
                let ratio = bound.zip(outcome.seconds(0.5)).map(|(bound, median)| median / bound);
                cells[place + 1].push(ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.1}")));
            }
        }
        grid.row(std::iter::once(name.to_owned()).chain(cells.map(|values| values.join(", "))).collect());
    }
    format!(
        "Median by the bound with our margin: 5 % of 100/s, 5 % of 1,000/s, 50 % of 1,000/s; bounds under 1 s count as 1 s; \
         {} watches a cell\n\n{}",
        sizes.harmful,
        grid.print()
    )
}
