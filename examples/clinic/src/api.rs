//! Answers requests: one file per family of routes. Keeps nothing; see `store` and `cache`.

pub mod appointments;
pub mod assets;
pub mod health;
pub mod problem;
pub mod streams;
