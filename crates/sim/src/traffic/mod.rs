//! Makes traffic: requests, errors and latencies of a candidate and of stable, one record a second, from a seed.
//! The model is the one of docs/decisions (Poisson arrivals, a two-part log-normal latency, bursts); faults strike the
//! candidate alone. Refuses to know who watches. `stream` is the loop; `scene` says what is to happen.

mod arm;
mod clusters;
mod fault;
mod latency;
mod scene;
mod stream;
mod trace;
mod weather;

#[cfg(test)]
mod tests;

pub use arm::{Arm, Counts, Latencies, Minute, Minutes, Second};
pub use fault::Fault;
pub use latency::{BUCKETS, INDEX_LOW, Mixture};
pub use scene::{Load, Mode, Scene, Traffic};
pub use stream::Stream;
pub use trace::{Trace, TraceError};
