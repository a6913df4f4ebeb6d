//! Doubts: puts the judge and its rivals in front of the same seeded traffic and counts what each would have cost.
//! Refuses clocks, files and sockets: a seed and a scene are everything, so a table can be printed again bit for bit.
//! `world` lives whole engines in a false world, `checkers` look on, `search` lives many seeds; the binary `sim` is in front of them.
//! Start at `traffic` (what happens), `rivals` and `ours` (who decides), `curve` (what it cost), `tables` (what is printed).
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod bounds;
pub mod chance;
pub mod checkers;
pub mod coverage;
pub mod curve;
pub mod exposure;
pub mod operating;
pub mod ours;
pub mod rivals;
pub mod search;
pub mod tables;
pub mod traffic;
pub mod walk;
pub mod world;
