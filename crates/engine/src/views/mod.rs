//! Folds of the journal for people to look at. May be thrown away at any moment; decide nothing.

pub mod history;
pub mod status;
pub mod traffic;
