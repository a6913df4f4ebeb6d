//! Holds what one second showed of each version, and each full minute summed. Refuses to interpret it.

use super::latency::{BUCKETS, INDEX_LOW, lower_ms};

/// Requests and how many of them failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub requests: u64,
    pub errors: u64,
}

impl Counts {
    /// Returns the share that failed; None without requests.
    pub fn error_rate(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.errors as f64 / self.requests as f64)
    }

    pub fn add(&mut self, other: Counts) {
        self.requests += other.requests;
        self.errors += other.errors;
    }
}

/// How many answers fell into each latency bucket (base 2^(1/32), in milliseconds; the ends hold what lies beyond).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latencies(Box<[u32; BUCKETS]>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Box::new([0; BUCKETS]))
    }
}

impl Latencies {
    pub fn clear(&mut self) {
        self.0.fill(0);
    }

    pub fn add(&mut self, place: usize, count: u32) {
        self.0[place] += count;
    }

    pub fn merge(&mut self, other: &Latencies) {
        self.0.iter_mut().zip(other.0.iter()).for_each(|(mine, theirs)| *mine += theirs);
    }

    pub fn count(&self) -> u64 {
        self.sum_from(0)
    }

    /// Returns how many answers lie in buckets at or above this index of the product's histogram.
    pub fn count_from(&self, index: i16) -> u64 {
        self.sum_from((i32::from(index) - INDEX_LOW).clamp(0, BUCKETS as i32) as usize)
    }

    fn sum_from(&self, place: usize) -> u64 {
        self.0[place..].iter().map(|count| u64::from(*count)).sum()
    }

    /// Returns the counts with the index of their bucket.
    pub fn buckets(&self) -> impl Iterator<Item = (i16, u32)> + '_ {
        self.0.iter().enumerate().map(|(place, count)| ((place as i32 + INDEX_LOW) as i16, *count))
    }

    /// Returns the latency in milliseconds that this share of answers does not exceed, interpolated inside its bucket
    /// as metric stores do; None when there is no answer.
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        let total = self.count();
        let wanted = share * total as f64;
        let mut below = 0.0;
        for (place, &count) in self.0.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = f64::from(count);
            if below + count >= wanted {
                let (low, high) = (lower_ms(place), lower_ms(place + 1));
                return Some(low + (high - low) * ((wanted - below) / count).max(0.0));
            }
            below += count;
        }
        None
    }
}

/// What one version answered in one second.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Arm {
    pub all: Counts,
    /// Errors counted once per user and ten seconds.
    pub errors_once: u64,
    /// The part on the route a `Fault::Route` strikes; zero in other scenes.
    pub route: Counts,
    /// Answers that did not fail.
    pub latencies: Latencies,
    /// One request a prober sent in this second was answered well.
    pub probe_ok: bool,
}

/// What one version answered in one minute.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Minute {
    pub all: Counts,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

/// The same minute of both versions.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Minutes {
    pub candidate: Minute,
    pub stable: Minute,
}

/// One second of traffic.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Second {
    /// 0 for [0, 1).
    pub second: u64,
    /// The candidate's share of the requests, as configured.
    pub weight: f64,
    pub candidate: Arm,
    pub stable: Arm,
    /// Requests of the candidate that the fault harmed; expected number where a slow request cannot be told from others.
    pub harmed: f64,
    /// The minute that ended with this second.
    pub minute: Option<Minutes>,
}
