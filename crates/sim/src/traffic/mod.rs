//! Makes traffic: requests, errors and latencies of a candidate and of stable, one record a second, from a seed.
//! Refuses to know who watches. `scene` says what is to happen, `stream` is the loop that makes it happen.
//!
//! The model the judge was measured with: Poisson arrivals, each request's arm drawn by the weight; latency 97 %
//! log-normal about 80 ms and 3 % about 300 ms. *Independent*: every request fails or not by itself. *Bursts*: an error
//! level that wanders and incidents, common to both versions; errors in clusters of four, and slow spells, each version's
//! own; a latency level that wanders. Faults strike the candidate alone.

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
