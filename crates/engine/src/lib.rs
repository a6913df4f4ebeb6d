//! Makes it so and remembers: the controller of each target, its journal, and everybody's view of both.

pub mod api;
