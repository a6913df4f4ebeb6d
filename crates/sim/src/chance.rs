//! Draws chance from a seed: the same on every machine, for every watch its own sequence. Refuses entropy from outside.

use rand_distr::{Binomial, Distribution, Exp1, Geometric, Poisson, StandardNormal};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

/// A seeded source of draws.
#[derive(Debug, Clone)]
pub struct Chance(Pcg64Mcg);

impl Chance {
    /// Returns the source of one watch: the same (seed, stream) gives the same draws, another one unrelated draws.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(Pcg64Mcg::seed_from_u64(mixed(mixed(seed) ^ stream)))
    }

    /// Returns 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Returns a number in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Returns whether something of this probability happened.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    pub fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.0)
    }

    /// Returns an exponential waiting time of this mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        let unit: f64 = Exp1.sample(&mut self.0);
        unit * mean
    }

    /// Returns how many of something rare happened, when `mean` do on average.
    pub fn poisson(&mut self, mean: f64) -> u64 {
        if mean <= 0.0 {
            return 0;
        }
        let count: f64 = Poisson::new(mean).expect("BUG: a mean is finite and positive").sample(&mut self.0);
        count as u64
    }

    /// Returns how many of `n` did, when each does with this probability.
    pub fn binomial(&mut self, n: u64, probability: f64) -> u64 {
        if n == 0 || probability <= 0.0 {
            return 0;
        }
        if probability >= 1.0 {
            return n;
        }
        Binomial::new(n, probability).expect("BUG: a probability lies in (0, 1)").sample(&mut self.0)
    }

    /// Returns the size of a cluster: at least 1, `mean` on average.
    pub fn cluster(&mut self, mean: f64) -> u64 {
        1 + Geometric::new(1.0 / mean).expect("BUG: a mean size is at least 1").sample(&mut self.0)
    }
}

/// Spreads neighbouring numbers over all 64 bits (the finaliser of SplitMix64, Steele, Lea and Flood 2014).
pub fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_a_neighbour_does_not() {
        let draws = |seed, stream| {
            let mut chance = Chance::new(seed, stream);
            (0..4).map(|_| chance.bits()).collect::<Vec<_>>()
        };

        assert_eq!(draws(1, 2), draws(1, 2));
        assert_ne!(draws(1, 2), draws(1, 3));
        assert_ne!(draws(1, 2), draws(2, 2));
    }

    #[test]
    fn certain_and_impossible_things_need_no_draw() {
        let mut chance = Chance::new(1, 1);

        assert_eq!(chance.binomial(7, 1.0), 7);
        assert_eq!(chance.binomial(7, 0.0), 0);
        assert_eq!(chance.poisson(0.0), 0);
    }
}
