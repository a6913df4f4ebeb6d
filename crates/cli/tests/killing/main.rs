//! Kills the engine before and after every append to its journal, and between changes and what is seen of them: real
//! processes under real load. Whatever dies where, the rollout ends as it would have, and nothing is left behind.
//!
//! `world` is one environment, `scenarios` says what is done in it, `checks` what must hold afterwards, `sweep` walks
//! the places and counts them. The engine's side is `engine::killpoint`.

#![allow(clippy::unwrap_used)]

mod checks;
#[allow(dead_code)]
#[path = "../whole/harness.rs"]
mod harness;
mod scenarios;
mod sweep;
#[allow(dead_code)]
#[path = "../whole/traffic.rs"]
mod traffic;
mod world;

#[test]
fn o9_an_engine_killed_at_any_kind_of_event_ends_every_rollout_as_if_it_had_lived() {
    sweep::every_kind().assert_clean();
}

/// Not a test but a measurement: `script/bench kills` runs it and keeps what it prints.
#[test]
#[ignore = "takes long: every boundary one by one, then random places; run by script/bench kills"]
fn every_boundary() {
    sweep::every_boundary().assert_clean();
}
