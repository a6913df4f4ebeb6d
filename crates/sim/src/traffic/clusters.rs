//! Draws errors that come in clusters within one version, and its slow spells.
//! Refuses more errors in a second than requests: what is too many waits for the next second.

use crate::chance::Chance;

/// Errors of a cluster, and over how long they are spread.
const CLUSTER: f64 = 4.0;
const SPREAD_S: f64 = 2.0;
/// A delay is cut here: e^-31 of the errors would come later.
const AHEAD: usize = 64;
/// How long an error of a user counts for all of them.
const ONCE_S: usize = 10;
/// Seconds drawn before the first, so that errors of clusters that began earlier are there.
const BEFORE: usize = 16;
/// Above this share requests fail one by one: a release that is down is no cluster.
const RATE_CLUSTERED_MAX: f64 = 0.3;
/// A slow spell every 300 s holds for 3 s on average and takes 10 % of the requests to 600 ms.
const SPELL_EVERY_S: f64 = 300.0;
const SPELL_S: f64 = 3.0;
const SPELL_SHARE: f64 = 0.1;

/// Says whether requests fail by themselves at this rate, not in clusters.
pub fn is_gross(rate: f64) -> bool {
    rate > RATE_CLUSTERED_MAX
}

/// The failing requests of one second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failures {
    pub all: u64,
    /// Counted once per cluster and ten seconds: a cluster is one user's.
    pub once: u64,
}

impl Failures {
    /// Each of a user of its own.
    pub fn apart(all: u64) -> Self {
        Self { all, once: all }
    }
}

/// Errors still to come, second by second.
#[derive(Debug, Clone)]
pub struct Clusters {
    coming: [Failures; AHEAD],
    now: usize,
}

impl Clusters {
    /// Starts with the clusters that `requests` a second failing at `rate` have left behind.
    pub fn new(requests: f64, rate: f64, chance: &mut Chance) -> Self {
        let mut clusters = Self { coming: [Failures::default(); AHEAD], now: 0 };
        for _ in 0..BEFORE {
            clusters.errors(requests.round() as u64, rate, chance);
        }
        clusters
    }

    /// Returns how many of this second's requests fail.
    pub fn errors(&mut self, requests: u64, rate: f64, chance: &mut Chance) -> Failures {
        if is_gross(rate) {
            return Failures::apart(chance.binomial(requests, rate.min(1.0)));
        }
        for _ in 0..chance.poisson(requests as f64 * rate / CLUSTER) {
            self.begin(chance);
        }
        let mut due = std::mem::take(&mut self.coming[self.now]);
        self.now = (self.now + 1) % AHEAD;
        self.coming[self.now].all += due.all.saturating_sub(requests);
        due.all = due.all.min(requests);
        Failures { once: due.once.min(due.all), ..due }
    }

    fn begin(&mut self, chance: &mut Chance) {
        let began = chance.uniform();
        let size = chance.cluster(CLUSTER);
        let delay = |_| ((began + chance.exponential(SPREAD_S)) as usize).min(AHEAD - 1);
        let mut delays: Vec<usize> = (0..size).map(delay).collect();
        delays.sort_unstable();
        let mut counted = None;
        for delay in delays {
            let coming = &mut self.coming[(self.now + delay) % AHEAD];
            coming.all += 1;
            if counted.is_none_or(|last| delay >= last + ONCE_S) {
                coming.once += 1;
                counted = Some(delay);
            }
        }
    }
}

/// Slow spells of one version.
#[derive(Debug, Clone, Default)]
pub struct Spells {
    left: u32,
}

impl Spells {
    /// Returns how many of this second's answers take 600 ms.
    pub fn slow(&mut self, answers: u64, chance: &mut Chance) -> u64 {
        if self.left == 0 && chance.happens(1.0 / SPELL_EVERY_S) {
            self.left = chance.exponential(SPELL_S).ceil() as u32;
        }
        if self.left == 0 {
            return 0;
        }
        self.left -= 1;
        chance.binomial(answers, SPELL_SHARE)
    }
}
