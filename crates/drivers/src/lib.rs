//! Touches the outside: one folder per kind of outside thing. Makes one attempt; retries live in `engine::executor`.

pub mod platform;
