//! Touches the outside: one folder per kind of outside thing. Makes one attempt; retries live in `engine::executor`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod artifacts;
pub mod files;
pub mod machine;
pub mod paths;
pub mod platform;
pub mod repairs;
pub mod twin;
