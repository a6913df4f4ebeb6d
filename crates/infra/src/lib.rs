//! Knows infrastructure as files: draws them from the manifest (`model`, `render`), finds the contradictions between them (`lint`).
//! Touches no disk, clock or network: a tree of files comes in as bytes, findings go out. `crates/cli` reads and prints.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod check;
pub mod config;
pub mod diff;
pub mod finding;
pub mod lint;
pub mod lock;
pub mod model;
pub mod render;
pub mod schema;
pub mod tree;
pub mod waiver;
