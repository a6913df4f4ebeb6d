//! Puts load on an environment for as long as a test wants, and says what the clients saw.

use crate::harness::{Env, eventually};
use medeclipse::load::{self, LoadHandle, LoadPlan, LoadReport, Snapshot};

/// Clients that send requests until `end`.
pub struct Traffic(LoadHandle);

impl Traffic {
    /// Starts clients of the clinic; without a rate each sends as soon as it has its answer.
    pub fn clinic(env: &Env, gets: usize, posts: usize, rate: Option<f64>) -> Self {
        Self::begin(LoadPlan { rate_per_second: rate, ..LoadPlan::clinic(env.address, gets, posts) })
    }

    /// Starts clients that get one path.
    pub fn gets(env: &Env, path: &str, clients: usize, rate: f64) -> Self {
        Self::begin(LoadPlan {
            get_clients: clients,
            get_paths: vec![path.to_owned()],
            rate_per_second: Some(rate),
            ..LoadPlan::new(env.address)
        })
    }

    fn begin(plan: LoadPlan) -> Self {
        let traffic = Self(load::run(plan).unwrap());
        eventually("the first answers come", 10, || {
            Some(traffic.so_far().requests).filter(|requests| *requests > 20)
        });
        traffic
    }

    pub fn so_far(&self) -> Snapshot {
        self.0.snapshot()
    }

    /// Waits until this many more requests have ended.
    pub fn more(&self, requests: u64) {
        let from = self.so_far().requests;
        eventually("more requests end", 15, || {
            Some(()).filter(|()| self.so_far().requests >= from + requests)
        });
    }

    /// Lets every client finish its request, and counts.
    pub fn end(self) -> LoadReport {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(self.0.stop())
    }

    /// Ends, and insists that no request failed and no connection was lost.
    pub fn end_clean(self, what: &str) -> LoadReport {
        let report = self.end();
        println!("{what}: {report}");
        assert_eq!(report.counts.failed, 0, "{what}: {report}\n{:?}", report.bad_first);
        assert_eq!(report.counts.connections.lost(), 0, "{what}: {report}");
        report
    }
}
