//! Decides as nobody can: Wald's sequential test of the true rates before and after, begun the second the fault begins.
//! It shows what is there to be found, and has no margin. Bursts are unknown to it.

use super::Decider;
use crate::traffic::{Fault, Second, Traffic};

/// ln(1/α), α = 0.01.
const THRESHOLD: f64 = 4.605_170_185_988_092;

/// The sequential probability ratio test of one fault.
#[derive(Debug, Clone)]
pub struct Oracle {
    fault: Fault,
    error_rate: f64,
    /// ln of the ratio of shares, bucket by bucket; empty when the fault leaves latency alone.
    latency: Vec<f64>,
    evidence: f64,
}

impl Oracle {
    pub fn new(traffic: &Traffic) -> Self {
        let scene = &traffic.scene;
        let changed = scene.fault.latency(scene.latency);
        let latency = if changed == scene.latency { Vec::new() } else { log_ratios(traffic) };
        Self { fault: scene.fault, error_rate: scene.error_rate, latency, evidence: 0.0 }
    }

    fn errors(&self, second: &Second) -> f64 {
        let Second { candidate, .. } = second;
        let before = self.error_rate;
        let (requests, errors) = match self.fault {
            Fault::Route { .. } => (candidate.route.requests, candidate.route.errors),
            _ => (candidate.all.requests, candidate.all.errors),
        };
        let after = match self.fault {
            Fault::Route { errors, .. } => errors,
            fault => fault.error_rate(before, second.second),
        };
        term(errors, after, before) + term(requests - errors, 1.0 - after, 1.0 - before)
    }

    fn latency(&self, second: &Second) -> f64 {
        let buckets = second.candidate.latencies.buckets().zip(&self.latency);
        buckets.map(|((_, count), ratio)| f64::from(count) * ratio).sum()
    }
}

impl Decider for Oracle {
    fn rolls_back(&mut self, second: &Second) -> bool {
        if second.second < self.fault.onset() {
            return false;
        }
        self.evidence += if self.latency.is_empty() { self.errors(second) } else { self.latency(second) };
        self.evidence >= THRESHOLD
    }
}

/// Returns count·ln(after/before): 0 for nothing seen, infinite for what could not happen before.
fn term(count: u64, after: f64, before: f64) -> f64 {
    if count == 0 || after == before {
        return 0.0;
    }
    if before <= 0.0 {
        return f64::INFINITY;
    }
    count as f64 * libm::log(after / before)
}

fn log_ratios(traffic: &Traffic) -> Vec<f64> {
    let scene = &traffic.scene;
    let (before, after) = (scene.latency.shares(), scene.fault.latency(scene.latency).shares());
    let ratio = |(before, after): (f64, f64)| {
        if before > 1e-15 && after > 1e-15 { libm::log(after / before) } else { 0.0 }
    };
    before.into_iter().zip(after).map(ratio).collect()
}
