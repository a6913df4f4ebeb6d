//! Says what is to happen: load, weight, error level, mood and fault. Refuses a scene that means nothing.

use super::fault::Fault;
use super::latency::{Mixture, Table};
use super::stream::Stream;
use super::trace::Trace;
use std::sync::Arc;

/// Requests per second of both versions together.
#[derive(Debug, Clone)]
pub enum Load {
    Steady(f64),
    /// A recorded one, so many times as high, read from `from_second` on and from the start again at its end.
    Recorded {
        trace: Arc<Trace>,
        times: f64,
        from_second: u64,
    },
}

impl Load {
    /// Returns the expected requests of this second.
    pub fn at(&self, second: u64) -> f64 {
        match self {
            Self::Steady(rps) => *rps,
            Self::Recorded { trace, times, from_second } => trace.rps(from_second + second) * times,
        }
    }
}

/// How errors and latencies of a healthy version come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Each request by itself.
    Independent,
    /// A wandering level, incidents, clusters and slow spells.
    Bursts,
}

/// Everything that determines the traffic, save the seed.
#[derive(Debug, Clone)]
pub struct Scene {
    pub load: Load,
    /// Share of requests the candidate gets at first, 0 to 1.
    pub weight: f64,
    /// Its share from these seconds on, in their order: the steps of a rollout.
    pub later: Vec<(u64, f64)>,
    /// Share of stable's requests that fail.
    pub error_rate: f64,
    pub mode: Mode,
    pub fault: Fault,
    pub latency: Mixture,
}

impl Scene {
    /// Returns a scene with steady load, the default latency and no fault.
    pub fn steady(rps: f64, weight: f64, error_rate: f64, mode: Mode) -> Self {
        Self {
            load: Load::Steady(rps),
            weight,
            later: Vec::new(),
            error_rate,
            mode,
            fault: Fault::Nothing,
            latency: Mixture::default(),
        }
    }

    pub fn with(self, fault: Fault) -> Self {
        Self { fault, ..self }
    }

    /// Returns every weight of the watch, in order.
    pub fn weights(&self) -> impl Iterator<Item = f64> + '_ {
        std::iter::once(self.weight).chain(self.later.iter().map(|(_, weight)| *weight))
    }

    /// Returns the candidate's share in this second.
    pub fn weight_at(&self, second: u64) -> f64 {
        let passed = self.later.iter().rev().find(|(from, _)| *from <= second);
        passed.map_or(self.weight, |(_, weight)| *weight)
    }
}

/// A scene made ready for drawing; any number of streams may read it at the same time.
#[derive(Debug, Clone)]
pub struct Traffic {
    pub scene: Scene,
    pub(super) stable: Table,
    pub(super) candidate: Table,
}

impl Traffic {
    pub fn new(scene: Scene) -> Self {
        let stable = Table::new(&scene.latency);
        let candidate = Table::new(&scene.fault.latency(scene.latency));
        Self { scene, stable, candidate }
    }

    /// Returns the seconds of one watch.
    pub fn stream(&self, seed: u64, watch: u64) -> Stream<'_> {
        Stream::new(self, seed, watch)
    }
}
