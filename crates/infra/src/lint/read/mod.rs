//! Reads files of each kind to trees and facts with places. Nothing that is read is run.

pub mod code;
pub mod command;
pub mod dockerfile;
pub mod hcl;
pub mod hcl_json;
pub mod json;
pub mod shell;
pub mod yaml;
