//! Makes it so and remembers: the controller of each target, its journal, and everybody's view of both.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod api;
pub mod journal;
