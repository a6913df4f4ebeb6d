//! Reads a recorded load: a CSV of moments and request counts. Refuses a text without two rows. Knows no files.

use std::fmt;

/// Requests per period, as recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    period_s: u64,
    counts: Vec<f64>,
}

/// Why a text is no trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceError {
    /// Line, counted from 1, that has no number in its last column or no moment in its first.
    Line(usize),
    /// Fewer than two rows: the period cannot be known.
    Short,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "read line {line} of the trace as `YYYY-MM-DD HH:MM:SS,count`"),
            Self::Short => f.write_str("read a trace with fewer than two rows"),
        }
    }
}

impl std::error::Error for TraceError {}

impl TraceError {
    /// Says what to do next.
    pub fn next(&self) -> &'static str {
        match self {
            Self::Line(_) => {
                "give one header line, then one row a period: a moment, a comma, a number of requests"
            }
            Self::Short => "record at least two periods; their distance is the length of all",
        }
    }
}

impl Trace {
    /// Reads a CSV with a header, moments in the first column and counts in the last; the distance of the first two
    /// moments is the period of all rows.
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let mut counts = Vec::new();
        let mut moments = Vec::new();
        for (number, line) in text.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty()) {
            let wrong = || TraceError::Line(number + 1);
            let (moment, rest) = line.split_once(',').ok_or_else(wrong)?;
            let count: f64 =
                rest.rsplit(',').next().and_then(|last| last.trim().parse().ok()).ok_or_else(wrong)?;
            if !(count.is_finite() && count >= 0.0) {
                return Err(wrong());
            }
            if moments.len() < 2 {
                moments.push(second_of_day(moment).ok_or_else(wrong)?);
            }
            counts.push(count);
        }
        let [first, second] = moments[..] else { return Err(TraceError::Short) };
        let period_s = (second + 86_400 - first) % 86_400;
        if period_s == 0 { Err(TraceError::Short) } else { Ok(Self { period_s, counts }) }
    }

    /// Returns the mean requests per second in the period this second lies in; a trace starts again at its end.
    pub fn rps(&self, second: u64) -> f64 {
        let row = (second / self.period_s) as usize % self.counts.len();
        self.counts[row] / self.period_s as f64
    }

    /// Returns how long the trace is.
    pub fn seconds(&self) -> u64 {
        self.period_s * self.counts.len() as u64
    }

    /// Returns the mean requests per second of the whole trace.
    pub fn rps_mean(&self) -> f64 {
        self.counts.iter().sum::<f64>() / self.seconds() as f64
    }
}

/// Returns the seconds since midnight of `YYYY-MM-DD HH:MM[:SS]`, also with a `T` between.
fn second_of_day(moment: &str) -> Option<u64> {
    let clock = moment.trim().rsplit([' ', 'T']).next()?.trim_end_matches('Z');
    let mut parts = clock.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    (hour < 24 && minute < 60 && second < 60).then_some(hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read_with_its_period_and_starts_again_at_its_end() {
        let trace = Trace::parse("period,count\n1998-04-30 23:59:00,120\n1998-05-01 00:00:00,600\n").unwrap();

        assert_eq!(trace.seconds(), 120);
        assert_eq!([trace.rps(0), trace.rps(59), trace.rps(60), trace.rps(120)], [2.0, 2.0, 10.0, 2.0]);
        assert_eq!(trace.rps_mean(), 6.0);
    }

    #[test]
    fn a_text_that_is_no_trace_is_refused_with_its_line() {
        assert_eq!(Trace::parse("a,b\n"), Err(TraceError::Short));
        assert_eq!(Trace::parse("a,b\n2014-01-01 00:00:00,x\n"), Err(TraceError::Line(2)));
        assert_eq!(Trace::parse("a,b\n2014-01-01 00:00:00,-1\n"), Err(TraceError::Line(2)));
        assert_eq!(Trace::parse("a,b\nyesterday,1\n"), Err(TraceError::Line(2)));
        assert_eq!(Trace::parse("a,b\n2014-01-01 00:00,1\n2014-01-01 00:00,1\n"), Err(TraceError::Short));
    }
}
