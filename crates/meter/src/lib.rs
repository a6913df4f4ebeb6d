//! Counts requests and latencies, and says how counts travel. Costs an application nothing it does not use.
//! Knows no edge and no engine; see `wire` for the records between them and `histogram` for the buckets.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod histogram;
pub mod wire;
