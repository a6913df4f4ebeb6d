//! Makes it so and remembers: the controller of each target, its journal, and everybody's view of both.
//! Sees the edge only as a table it sends. A deploy goes `api` → `deploy` → `run` → `controller` → `executor`.
#![cfg_attr(test, allow(clippy::unwrap_used))]
// It panics where nothing can be written, and so would end a process for a full disk.
#![cfg_attr(not(test), warn(clippy::print_stderr, clippy::print_stdout))]

pub mod api;
pub mod board;
mod calibrator;
mod clock;
pub mod controller;
mod deploy;
mod edge_link;
mod executor;
mod floor;
mod http;
pub mod journal;
mod killpoint;
pub mod leader;
mod leadership;
pub mod lease;
mod life;
mod monitor;
pub mod probe;
pub mod pursuit;
mod readiness;
pub mod reference;
mod run;
mod samples;
pub mod sight;
mod space;
mod targets;
mod tenure;
mod views;
mod watcher;
mod witness;

pub use journal::Damage;
pub use leadership::who_leads;
pub use life::{EngineConfig, EngineError, SignOfLife, run};

use std::time::{SystemTime, UNIX_EPOCH};

/// Writes one line to the engine's log (standard error, a file of the state directory).
pub(crate) fn log(text: &str) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    drivers::repairs::say(&format!("{}.{:03} {text}", since.as_secs(), since.subsec_millis()));
}
