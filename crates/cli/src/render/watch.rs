//! Draws a watch: the evidence against the candidate beside its limit, and the shares of failing requests of both sides.
//! Many seconds share a column: of the evidence the highest, of the shares those of all their requests.

use super::chart::{Chart, MARGIN, Series, columns};
use super::numbers::percent;
use crate::units::clock;
use rollout::bundle::Point;
use rollout::names::Millis;
use std::ops::Range;

const EVIDENCE_ROWS: usize = 8;
const SHARE_ROWS: usize = 6;
/// One second is no course.
const POINTS_MIN: usize = 2;

/// Returns both charts as lines; none when there is too little to draw.
pub fn charts(points: &[Point], width: usize) -> Vec<String> {
    if points.len() < POINTS_MIN {
        return Vec::new();
    }
    let ranges = columns(points.len(), width.saturating_sub(MARGIN + 4));
    let mut lines = evidence(points, &ranges);
    lines.push(weights(points, &ranges));
    lines.push(String::new());
    lines.extend(shares(points, &ranges));
    lines
}

fn evidence(points: &[Point], ranges: &[Range<usize>]) -> Vec<String> {
    let highest = |range: &Range<usize>| {
        let told = points[range.clone()].iter().filter(|point| !point.missing);
        told.map(|point| point.log_m).reduce(f64::max)
    };
    let threshold = points.last().map_or(0.0, |point| point.threshold);
    let series = vec![Series { mark: '●', values: ranges.iter().map(highest).collect() }];
    let label = |value: f64| format!("{value:.1}");
    let chart = Chart {
        series,
        line: Some(('╌', threshold)),
        rows: EVIDENCE_ROWS,
        label: &label,
        ends: ends(points),
    };
    let title = format!("Evidence against the candidate (log M); from {threshold:.1} on it is taken back");
    std::iter::once(title).chain(chart.lines()).collect()
}

fn shares(points: &[Point], ranges: &[Range<usize>]) -> Vec<String> {
    let share = |of: fn(&Point) -> (u64, u64)| {
        let values = ranges.iter().map(|range| {
            let sums = points[range.clone()]
                .iter()
                .map(of)
                .fold((0u64, 0u64), |sum, more| (sum.0.saturating_add(more.0), sum.1.saturating_add(more.1)));
            (sums.0 > 0).then(|| sums.1 as f64 / sums.0 as f64)
        });
        values.collect()
    };
    let series = vec![
        Series { mark: '·', values: share(|point| (point.stable_requests, point.stable_errors)) },
        Series { mark: '●', values: share(|point| (point.candidate_requests, point.candidate_errors)) },
    ];
    let chart = Chart { series, line: None, rows: SHARE_ROWS, label: &percent, ends: ends(points) };
    let title = "Share of failing requests: ● candidate, · stable".to_owned();
    std::iter::once(title).chain(chart.lines()).collect()
}

fn ends(points: &[Point]) -> [String; 2] {
    let at =
        |point: Option<&Point>| point.map(|point| clock(Millis(point.second * 1000))).unwrap_or_default();
    [at(points.first()), at(points.last())]
}

/// Says under the columns from where on the candidate had which share of the requests.
fn weights(points: &[Point], ranges: &[Range<usize>]) -> String {
    let mut line = format!("{:>width$}  ", "weight", width = MARGIN - 2);
    let mut last = None;
    for (column, range) in ranges.iter().enumerate() {
        let Some(weight) = points.get(range.start).map(|point| point.weight) else { continue };
        if last == Some(weight) || line.chars().count() > MARGIN + column {
            continue;
        }
        last = Some(weight);
        let gap = MARGIN + column - line.chars().count();
        line.push_str(&format!("{}{weight} ", " ".repeat(gap)));
    }
    line
}
