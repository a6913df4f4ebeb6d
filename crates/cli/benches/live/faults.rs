//! Names what is broken, and how the clinic is told.

use std::time::Duration;

/// The route only few requests go to: two of a hundred.
pub const RARE_ROUTE: &str = "/api/appointments/{id}";

/// One way in which a release is worse, or not.
#[derive(Debug, Clone)]
pub struct Fault {
    pub name: String,
    pub settings: Vec<String>,
    /// How long a candidate that is not taken back is watched.
    pub limit: Duration,
    /// Whether it is a fault at all.
    pub harmful: bool,
    /// Runs, as a part of what is asked for.
    part: f64,
}

impl Fault {
    fn new(name: impl Into<String>, limit: u64, settings: &[String]) -> Self {
        let limit = Duration::from_secs(limit);
        Self { name: name.into(), settings: settings.to_vec(), limit, harmful: true, part: 1.0 }
    }

    /// Returns all of them; what is slow is so by stable's own latency.
    pub fn all((p50, p99): (f64, f64)) -> Vec<Self> {
        let failing = [(100, 30), (50, 30), (20, 30), (10, 60), (5, 90), (2, 180)];
        let mut all: Vec<Self> = failing
            .iter()
            .map(|(share, limit)| {
                Self::new(format!("{share} % fail"), *limit, &[format!("CLINIC_FAIL_PERCENT={share}")])
            })
            .collect();
        let later = (2.0 * p99 - p50).ceil();
        all.extend([
            Self::new(
                format!("p99 × 2: 2 % {later:.0} ms later"),
                240,
                &[format!("CLINIC_SLOW_MS={later:.0}"), "CLINIC_SLOW_PERCENT=2".into()],
            )
            .part(0.4),
            Self::new(
                "leak, then a crash",
                120,
                &["CLINIC_LEAK_KIB=512".into(), "CLINIC_LEAK_MAX_MIB=64".into()],
            ),
            Self::new(
                format!("{RARE_ROUTE} fails"),
                180,
                &["CLINIC_FAIL_PERCENT=100".into(), "CLINIC_FAIL_ROUTE=/api/appointments/".into()],
            ),
            Self { harmful: false, ..Self::new("nothing: the same again", 60, &[]) },
        ]);
        all
    }

    fn part(self, part: f64) -> Self {
        Self { part, ..self }
    }

    pub fn runs(&self, asked: usize) -> usize {
        (asked as f64 * self.part).ceil() as usize
    }

    /// About how long a run takes, for whoever plans.
    pub fn expected(&self) -> Duration {
        if self.harmful { self.limit / 3 } else { self.limit }
    }
}
