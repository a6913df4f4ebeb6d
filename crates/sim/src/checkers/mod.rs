//! Looks on: one file for each promise, each of which looks at the world itself, not at what an engine says of it.
//! A checker only says what is wrong; it changes nothing. `ledger` is what they all remember.

pub mod bad_release;
pub mod carries;
pub mod copies;
pub mod empty_route;
pub mod follow;
pub mod generation;
pub mod gone_replica;
pub mod healthy_promoted;
pub mod keep_hot;
mod ledger;
pub mod left_over;
pub mod overdue;
pub mod premise;
pub mod replay;
pub mod shown;
pub mod surge;
pub mod taken_back;
pub mod two_writers;
pub mod woken;

pub use ledger::Ledger;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub checker: &'static str,
    pub what: String,
}

/// All promises, by the name a violation is reported under.
pub const NAMES: [&str; 21] = [
    empty_route::NAME,
    gone_replica::NAME,
    two_writers::NAME,
    carries::NAME,
    keep_hot::NAME,
    "every_deployment_ends",
    left_over::NAME,
    healthy_promoted::NAME,
    bad_release::NAME,
    replay::NAME,
    generation::NAME,
    surge::NAME,
    shown::NAME,
    premise::NAME,
    overdue::NAME,
    woken::NAME,
    taken_back::NAME,
    copies::NAME,
    "what_was_served_can_be_returned_to",
    "damage_is_found",
    "core_does_not_panic",
];
