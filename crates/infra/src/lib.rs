//! Knows infrastructure as files: finds the contradictions between them (`lint`).
//! Touches no disk, clock or network: a tree of files comes in as bytes, findings go out. `crates/cli` reads and prints.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod finding;
pub mod lint;
pub mod tree;
