//! Reads what the operator wants: `medeclipse.toml` to types, and the records the engine and the edge exchange.

pub mod edge;
pub mod service;
