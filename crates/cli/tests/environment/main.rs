//! Shows what an environment does when its processes die, its disk fails, its files are damaged and its users
//! make mistakes: on real processes and real traffic. Needs the workspace's binaries: `cargo build --workspace --bins`.

// Tests state invariants by unwrapping them: a panic is their way to fail.
#![allow(clippy::unwrap_used)]

mod api;
mod bad_input;
mod damage;
mod disk;
mod edge_path;
mod follow;
mod hangs;
#[allow(dead_code)]
#[path = "../whole/harness.rs"]
mod harness;
mod leases;
mod load;
mod maintenance;
mod mirror;
mod state;
mod supervisor;
mod tls;

use harness::{Env, Ran, eventually};
use serde_json::Value;

/// Lines of `[service.web.rollout]` for a rollout that ends as soon as it can.
const QUICK: &str = "bake = \"0s\"\nkeep_hot = \"0s\"\ndrain = \"2s\"";
/// One whose bake outlasts the test: only an operator ends it.
const LONG: &str = "bake = \"60s\"\nkeep_hot = \"0s\"\ndrain = \"2s\"";

impl Env {
    /// Returns the replicas of this environment: the processes that have its service's variables and state.
    fn replicas(&self) -> Vec<u32> {
        let mut pids: Vec<u32> = harness::processes_of(self.folder.path())
            .into_iter()
            .filter(|pid| {
                let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                String::from_utf8_lossy(&environ).contains("MEDECLIPSE_REPLICA=")
            })
            .collect();
        pids.sort_unstable();
        pids
    }

    /// Waits until the service's deployment is in this phase.
    fn until_phase(&self, phase: &str) {
        eventually(&format!("phase {phase}"), 20, || (self.service()["phase"] == phase).then_some(()));
    }

    /// Waits until stable has as many ready replicas as are wanted.
    fn until_ready(&self, replicas: u64) {
        eventually(&format!("{replicas} ready replicas"), 20, || {
            let ready = self.service()["stable"]["replicas"]["ready"].as_u64();
            (ready == Some(replicas)).then_some(())
        });
    }

    /// Returns the pid of the supervisor.
    fn supervisor(&self) -> u32 {
        let text = std::fs::read_to_string(self.state().join("run/supervisor.pid")).unwrap();
        text.trim().parse().unwrap()
    }

    /// Returns the last deployment as `history` shows it.
    fn last_deployment(&self) -> Value {
        let ran = self.ok(&["history", "--json"]);
        let first = ran.out.lines().next().unwrap_or_default();
        let value: Value = serde_json::from_str(first).unwrap();
        if value.is_array() { value[0].clone() } else { value }
    }
}

/// Checks that an error says what, why and what next, each with these words.
#[track_caller]
fn says(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code, code, "{ran:?}");
    for part in ["error: cannot ", "cause: ", "next: "] {
        assert!(ran.err.contains(part), "{part:?} is missing: {}", ran.err);
    }
    for word in words {
        assert!(ran.err.contains(word), "{word:?} is missing: {}", ran.err);
    }
}
