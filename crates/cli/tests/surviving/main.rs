//! Lets environments survive what is done to them on purpose: upgrades of medeclipse itself under load, and the death of
//! every process in seeded order. Needs the workspace's binaries: `cargo build --workspace --bins`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[allow(dead_code, reason = "shared with the tests of the whole path")]
#[path = "../whole/harness.rs"]
mod harness;
#[allow(dead_code, reason = "shared with the measurements")]
mod havoc;
mod stress;
mod two_apps;
mod upgrading;
#[allow(dead_code, reason = "shared with the measurements")]
mod web_socket;

/// Lines of `[service.web.rollout]` for a rollout that ends as soon as it can.
const QUICK: &str = "bake = \"0s\"\nkeep_hot = \"0s\"\ndrain = \"2s\"";
