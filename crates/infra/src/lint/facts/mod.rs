//! Turns what was read into facts of one meaning, wherever they were written: containers, images, pipelines, programs.

pub mod app;
pub mod container;
pub mod image;
pub mod pipeline;
pub mod programs;
pub mod text;
