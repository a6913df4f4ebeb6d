//! Reads what the operator wants: `medeclipse.toml` to types, and the records the engine and the edge exchange.
//! Touches neither files nor the network: text in, types out. Begin at [`parse()`].

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod edge;
pub mod infra;
pub mod overrides;
pub mod service;
pub mod tls;
pub mod units;

mod default;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod merge;
mod parse;
mod read;
#[cfg(test)]
mod reference;
mod schema;
mod sections;
mod service_check;
mod syntax;
mod values;

pub use default::default_text;
pub use error::{Color, Item, Kind, ManifestErrors};
pub use parse::{parse, parse_all};
pub use schema::schema;
