//! Walks whole paths: the real binary, real processes, real requests. Each test has an environment of its own and
//! leaves nothing behind. Rules of one room are tested in that room; see `harness` for the environment.

#![allow(clippy::unwrap_used)]
// Each test binary that shares the harness uses a part of it.
#![allow(dead_code)]

mod blame;
mod deploys;
mod explaining;
mod harness;
mod hooks;
mod load;
mod operators;
mod postgres;
mod programs;
mod readiness;
mod returns;
mod traffic;

/// Lines of `[service.web.rollout]` for tests that do not care about the watch.
const UNWATCHED: &str = "bake = \"0s\"\ndrain = \"2s\"\nkeep_hot = \"60s\"";
