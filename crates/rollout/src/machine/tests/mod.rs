//! Tests the core in a small world that keeps time by itself. One file a topic; `sim` is the world, `checkers` its laws.

mod checkers;
mod commands_table;
mod coverage;
mod facts_table;
mod holding;
mod keeping;
mod mirroring;
mod nonsense;
mod operating;
mod outside;
mod promoting;
mod proving;
mod random;
mod replaying;
mod returning;
mod sim;
mod stages;
