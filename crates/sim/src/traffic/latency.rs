//! Draws latencies: a log-normal mixture laid out over fine bins, so that one draw is one table look-up.
//! Refuses values beyond 2 ms to 16 s: they land in the end buckets.

use super::arm::Latencies;
use crate::chance::Chance;

/// Index, in the product's histogram, of the lowest bucket kept: (2, 2.04] ms.
pub const INDEX_LOW: i32 = 32;
/// Buckets kept: 13 doublings of 32.
pub const BUCKETS: usize = 416;
/// Fine bins per bucket: a moving latency level steps by 2^(1/128), half a percent.
const FINE: usize = 4;
const BINS: usize = BUCKETS * FINE;
/// Entries of the alias table: the next power of two, so that a place is some bits of a draw.
const TABLE: usize = 2048;
/// Requests from which the buckets are drawn one by one instead of the requests.
const MANY: u64 = 8192;

/// Returns the lower boundary in milliseconds of the bucket at this place.
pub fn lower_ms(place: usize) -> f64 {
    libm::exp2((place as i32 + INDEX_LOW) as f64 / 32.0)
}

/// Latency in milliseconds: a fast and a slow log-normal part, of which some are delayed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixture {
    pub fast_ms: f64,
    pub slow_ms: f64,
    pub sigma: f64,
    pub slow_share: f64,
    pub delayed_share: f64,
    pub delay_ms: f64,
}

impl Default for Mixture {
    /// p50 81.6, p99 386, p99.9 751 ms.
    fn default() -> Self {
        Self {
            fast_ms: 80.0,
            slow_ms: 300.0,
            sigma: 0.5,
            slow_share: 0.03,
            delayed_share: 0.0,
            delay_ms: 0.0,
        }
    }
}

impl Mixture {
    pub fn times(self, times: f64) -> Self {
        Self { fast_ms: self.fast_ms * times, slow_ms: self.slow_ms * times, ..self }
    }

    pub fn delayed(self, share: f64, ms: f64) -> Self {
        Self { delayed_share: share, delay_ms: ms, ..self }
    }

    pub fn slow_part_times(self, times: f64) -> Self {
        Self { slow_ms: self.slow_ms * times, ..self }
    }

    /// Slows the slow part until the 99th percentile is this many times what it was.
    pub fn p99_times(self, times: f64) -> Self {
        let wanted = self.quantile_ms(0.99) * times;
        let (mut low, mut high) = (1.0, 4.0 * times);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if self.slow_part_times(middle).share_below(wanted) > 0.99 { low = middle } else { high = middle }
        }
        self.slow_part_times(low)
    }

    /// Returns the share of requests that take at most this long.
    pub fn share_below(&self, ms: f64) -> f64 {
        let prompt = self.prompt_below(ms);
        if self.delayed_share == 0.0 {
            return prompt;
        }
        (1.0 - self.delayed_share) * prompt + self.delayed_share * self.prompt_below(ms - self.delay_ms)
    }

    fn prompt_below(&self, ms: f64) -> f64 {
        if ms <= 0.0 {
            return 0.0;
        }
        let normal =
            |median: f64| 0.5 * libm::erfc(-libm::log(ms / median) / (self.sigma * std::f64::consts::SQRT_2));
        (1.0 - self.slow_share) * normal(self.fast_ms) + self.slow_share * normal(self.slow_ms)
    }

    /// Returns the latency this share of requests does not exceed.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let (mut low, mut high): (f64, f64) = (1e-3, 1e6);
        for _ in 0..100 {
            let middle = (low * high).sqrt();
            if self.share_below(middle) < share { low = middle } else { high = middle }
        }
        high
    }

    /// Returns the share of requests in each bucket; the ends hold what lies beyond.
    pub fn shares(&self) -> Vec<f64> {
        let below = |place: usize| match place {
            0 => 0.0,
            BUCKETS => 1.0,
            _ => self.share_below(lower_ms(place)),
        };
        (0..BUCKETS).map(|place| below(place + 1) - below(place)).collect()
    }
}

/// A mixture made ready for drawing.
#[derive(Debug, Clone)]
pub struct Table {
    /// Vose's alias table: keep the entry when the draw's low bits are under `keep`, else take `other`.
    alias: Vec<(u32, u16)>,
    /// Share of requests in bins below this one.
    below: Vec<f64>,
}

impl Table {
    pub fn new(mixture: &Mixture) -> Self {
        let edge = |bin: usize| libm::exp2((bin as f64 / FINE as f64 + f64::from(INDEX_LOW)) / 32.0);
        let below: Vec<f64> = (0..=BINS)
            .map(|bin| match bin {
                0 => 0.0,
                BINS => 1.0,
                _ => mixture.share_below(edge(bin)),
            })
            .collect();
        let shares: Vec<f64> = below.windows(2).map(|pair| pair[1] - pair[0]).collect();
        Self { alias: alias(&shares), below }
    }

    /// Adds the latencies of `n` answers, all moved by `shift` fine bins.
    pub fn draw(&self, n: u64, shift: i32, chance: &mut Chance, into: &mut Latencies) {
        if n >= MANY {
            return self.draw_buckets(n, shift, chance, into);
        }
        for _ in 0..n {
            let bits = chance.bits();
            let place = (bits >> 53) as usize;
            let (keep, other) = self.alias[place];
            let bin = if (bits as u32) < keep { place } else { usize::from(other) };
            let moved = (bin as i32 + shift).clamp(0, BINS as i32 - 1) as usize;
            into.add(moved / FINE, 1);
        }
    }

    /// The same for many answers: bucket by bucket, each a share of what is left.
    fn draw_buckets(&self, n: u64, shift: i32, chance: &mut Chance, into: &mut Latencies) {
        let below = |place: usize| match place {
            0 => 0.0,
            BUCKETS => 1.0,
            _ => self.below[((place * FINE) as i32 - shift).clamp(0, BINS as i32) as usize],
        };
        let mut left = n;
        for place in 0..BUCKETS {
            let rest = 1.0 - below(place);
            if left == 0 || rest <= 0.0 {
                return;
            }
            let count = chance.binomial(left, ((below(place + 1) - below(place)) / rest).clamp(0.0, 1.0));
            into.add(place, count as u32);
            left -= count;
        }
    }
}

/// Builds the alias table of these shares (Vose 1991), padded with empty entries to `TABLE`.
fn alias(shares: &[f64]) -> Vec<(u32, u16)> {
    let total: f64 = shares.iter().sum();
    let mut scaled: Vec<f64> = shares.iter().map(|share| share / total * TABLE as f64).collect();
    scaled.resize(TABLE, 0.0);
    let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..TABLE).partition(|&entry| scaled[entry] < 1.0);
    let mut table: Vec<(u32, u16)> = (0..TABLE).map(|entry| (u32::MAX, entry as u16)).collect();
    while let (Some(low), Some(&high)) = (small.pop(), large.last()) {
        table[low] = ((scaled[low] * f64::from(u32::MAX)) as u32, high as u16);
        scaled[high] -= 1.0 - scaled[low];
        if scaled[high] < 1.0 {
            large.pop();
            small.push(high);
        }
    }
    table
}
