//! Decides how a release reaches its users. Pure: reads no clock, waits for nothing, touches nothing.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod bundle;
pub mod change;
pub mod event;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod guard;
pub mod judge;
pub mod machine;
pub mod mirror;
pub mod names;
pub mod pages;
pub mod plan;
pub mod release;
pub mod routes;
