//! Touches the outside: one folder per kind of outside thing. Makes one attempt; retries live in `engine::executor`.

// It panics where nothing can be written, and so would end a process for a full disk.
#![cfg_attr(not(test), warn(clippy::print_stderr, clippy::print_stdout))]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod artifacts;
pub mod files;
pub mod machine;
pub mod paths;
pub mod platform;
pub mod repairs;
pub mod twin;
