//! Draws series over time in characters, at most as wide as asked. Knows no unit; a column without a value stays empty.

/// One thing drawn.
pub struct Series {
    pub mark: char,
    pub values: Vec<Option<f64>>,
}

/// What is drawn, all series as long as each other.
pub struct Chart<'a> {
    pub series: Vec<Series>,
    /// A line across, drawn with this mark; values above twice of it are shown at the top.
    pub line: Option<(char, f64)>,
    pub rows: usize,
    pub label: &'a dyn Fn(f64) -> String,
    /// What stands under the first and the last column.
    pub ends: [String; 2],
}

/// Columns of the labels and the axis.
pub const MARGIN: usize = 12;

impl Chart<'_> {
    /// Returns the lines, the highest first.
    pub fn lines(&self) -> Vec<String> {
        let (low, high) = self.bounds();
        let columns = self.series.iter().map(|series| series.values.len()).max().unwrap_or(0);
        let top = self.rows.saturating_sub(1).max(1);
        let row_of = |value: f64| {
            let part = ((value - low) / (high - low)).clamp(0.0, 1.0);
            (part * top as f64).round() as usize
        };
        let mut cells = vec![vec![' '; columns]; top + 1];
        if let Some((mark, at)) = self.line {
            for cell in cells[row_of(at)].iter_mut().step_by(2) {
                *cell = mark;
            }
        }
        for series in &self.series {
            for (column, value) in series.values.iter().enumerate() {
                if let Some(value) = value {
                    cells[row_of(*value)][column] = series.mark;
                }
            }
        }
        let lined = self.line.map(|(_, at)| (row_of(at), at));
        let mut lines: Vec<String> = cells
            .iter()
            .enumerate()
            .rev()
            .map(|(row, cells)| {
                let label = match lined {
                    Some((line, at)) if line == row => (self.label)(at),
                    _ if row == top => (self.label)(high),
                    _ if row == 0 => (self.label)(low),
                    _ => String::new(),
                };
                let drawn: String = cells.iter().collect();
                format!("{label:>width$} │{}", drawn.trim_end(), width = MARGIN - 2)
            })
            .collect();
        lines.push(format!("{:>width$} └{}", "", "─".repeat(columns), width = MARGIN - 2));
        lines.push(self.ends_line(columns));
        lines
    }

    fn bounds(&self) -> (f64, f64) {
        let values = self.series.iter().flat_map(|series| series.values.iter().flatten().copied());
        let (low, high) =
            values.fold((0.0f64, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
        let high = match self.line {
            Some((_, at)) if at > 0.0 => high.clamp(at * 1.2, at * 2.0),
            _ => high,
        };
        if high > low { (low, high) } else { (low, low + 1.0) }
    }

    fn ends_line(&self, columns: usize) -> String {
        let [first, last] = &self.ends;
        let both = first.chars().count() + last.chars().count() + 1;
        let gap = if columns >= both { columns - both + 1 } else { 1 };
        format!("{:width$}{first}{}{last}", "", " ".repeat(gap), width = MARGIN)
    }
}

/// Cuts `count` items into at most `columns` ranges of nearly the same length, in order.
pub fn columns(count: usize, columns: usize) -> Vec<std::ops::Range<usize>> {
    let columns = columns.clamp(1, count.max(1));
    (0..columns).map(|column| column * count / columns..(column + 1) * count / columns).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(values: &[f64], line: Option<(char, f64)>) -> String {
        let series = vec![Series { mark: '*', values: values.iter().copied().map(Some).collect() }];
        let label = |value: f64| format!("{value:.1}");
        let ends = ["from".to_owned(), "to".to_owned()];
        Chart { series, line, rows: 5, label: &label, ends }.lines().join("\n")
    }

    #[test]
    fn a_series_rises_through_its_line() {
        let drawn = chart(&[0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], Some(('-', 4.0)));

        let expected = [
            "       8.0 │        **",
            "           │      **",
            "       4.0 │- - **- -",
            "           │  **",
            "       0.0 │**",
            "           └──────────",
            "            from    to",
        ];
        assert_eq!(drawn.lines().map(str::trim_end).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn nothing_and_the_same_again_can_be_drawn() {
        assert!(chart(&[], None).contains('└'));
        assert!(chart(&[0.0; 3], None).contains("***"));
        assert!(chart(&[f64::MAX, 0.0], Some(('-', 1.0))).contains('*'));
    }

    #[test]
    fn columns_cover_everything_once() {
        for (count, wanted) in [(0, 10), (3, 10), (10, 3), (100, 7)] {
            let ranges = columns(count, wanted);

            assert!(ranges.len() <= wanted);
            assert_eq!(ranges.iter().map(ExactSizeIterator::len).sum::<usize>(), count);
        }
    }
}
