//! Puts load on an environment for as long as something is done to it. Judges nothing: see the reports.

use crate::harness::{Env, eventually};
use medeclipse::load::{self, LoadHandle, LoadPlan, LoadReport};

/// Load that runs beside a test.
pub struct Load(LoadHandle);

impl Load {
    /// Starts keep-alive clients at a steady pace, and waits until they have been answered.
    pub fn on(env: &Env) -> Self {
        Self::paced(env, Some(400.0))
    }

    /// Starts clients that each always have a request under way.
    pub fn full(env: &Env) -> Self {
        Self::paced(env, None)
    }

    fn paced(env: &Env, rate_per_second: Option<f64>) -> Self {
        let plan = LoadPlan { rate_per_second, ..LoadPlan::clinic(env.address, 4, 4) };
        let load = Self(load::run(plan).unwrap());
        load.goes_on(50);
        load
    }

    /// Waits until this many more requests were answered.
    pub fn goes_on(&self, more: u64) {
        let from = self.0.snapshot().ok;
        eventually("requests are answered", 20, || (self.0.snapshot().ok >= from + more).then_some(()));
    }

    pub fn end(self) -> LoadReport {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(self.0.stop())
    }
}

/// Checks that not one request failed and no connection was lost.
#[track_caller]
pub fn nothing_was_lost(report: &LoadReport) {
    let lost = report.counts.connections.lost_busy;
    assert!(report.counts.failed == 0 && lost == 0, "{report}");
}
