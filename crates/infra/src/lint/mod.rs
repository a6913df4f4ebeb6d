//! Finds what contradicts itself, or another file, in a tree of infrastructure files.
//! Claims only what the files show; what it cannot know it names (`Report::unchecked`). See `rules` for what is looked for.

pub mod doc;
pub mod eval;
pub mod facts;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod generate;
pub mod graph;
mod parts;
pub mod read;
pub mod report;
pub mod rules;
pub mod run;
pub mod sources;
pub mod terraform;
pub mod value;

pub use run::{Options, Report, fixed, lint};
