//! Averages the evidence of all metrics into one number, M, that a harmless candidate drives over 1/α with chance α at most,
//! however often it is looked at. Reads no clock, takes nothing back; `reading` says what M is, `safety` holds the opposite test.
//! Source: e-processes and Ville's inequality (Ramdas et al., "Game-theoretic statistics and safe anytime-valid
//! inference", 2023); the mixture over starts makes it find a fault that begins late.

use super::counts::{Counts, Role};
use super::family::Family;
use super::policy::{LATENCIES, Pairs, Policy, ROUTES_MAX, arms};
use super::ripr::Arms;
use super::safety::Safety;
use super::seasons::Seasons;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The error component whose η dulls the safety evidence too: odds × 2.5.
pub(super) const SAFETY_COMPONENT: usize = 2;

/// What stable was before the watch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Share of failing requests.
    pub error_rate: f64,
    /// The same with errors counted once a user; equal where users are not told apart.
    pub error_rate_once: f64,
    /// Share of requests slower than each threshold; None while there are no thresholds.
    pub slow_rates: Option<[f64; LATENCIES]>,
    /// Share of failing requests of each route that is judged on its own; what is beyond eight is ignored.
    pub route_error_rates: Vec<f64>,
    /// Errors by the time of day, for a candidate alone.
    pub seasons: Option<Seasons>,
}

impl Reference {
    /// Returns a reference that knows the share of failing requests only.
    pub fn errors(error_rate: f64) -> Self {
        Self {
            error_rate,
            error_rate_once: error_rate,
            slow_rates: None,
            route_error_rates: Vec::new(),
            seasons: None,
        }
    }
}

/// Whose evidence may take a candidate back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Acting {
    #[default]
    All,
    /// Only "a third fails, or nearly everything": what a reference of another time can still tell.
    Absolute,
}

/// What a record is used for. Decided before it is seen, so that the bound on false alarms holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Evidence,
    Estimates,
}

/// One watch: the e-process M and the safety evidence. The same records in the same order give the same bits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Test {
    pub(super) policy: Policy,
    seasons: Option<Seasons>,
    pub(super) weight: f64,
    pub(super) acting: Acting,
    /// Seconds added so far: where the next record begins.
    pub(super) time: u64,
    /// The Unix second after the last record.
    second: u64,
    /// The block the last record lay in.
    block: Option<u64>,
    /// Γ of the open block's first second: the belief in a start that is still to come.
    pub(super) tail: f64,
    /// Sc and Sb: requests of both arms, the older the less they count.
    candidate_share: f64,
    stable_share: f64,
    pub(super) families: Vec<Family>,
    pub(super) safety: Safety,
    /// Something was not a number. A bug, and a reason to hold.
    pub(super) broken: bool,
}

impl Test {
    /// Begins a watch at `weight`, a part of one. A rate that is not a number breaks it.
    pub fn new(policy: Policy, reference: Reference, weight: f64, pairs: &Pairs) -> Self {
        let Reference { error_rate, error_rate_once, slow_rates, mut route_error_rates, seasons } = reference;
        route_error_rates.truncate(ROUTES_MAX);
        let mut test = Self {
            seasons,
            weight: 0.0,
            acting: Acting::All,
            time: 0,
            second: 0,
            block: None,
            tail: 1.0,
            candidate_share: 0.0,
            stable_share: 0.0,
            families: Vec::new(),
            safety: Safety::new(policy.safety, 0.0),
            broken: false,
            policy,
        };
        test.join(Role::ErrorOdds, error_rate_once);
        test.join(Role::ErrorAbsolute, error_rate);
        for (route, rate) in (0..).zip(route_error_rates) {
            test.join(Role::Route(route), rate);
        }
        if let Some(rates) = slow_rates {
            test.join_latency(rates);
        }
        test.set_weight(weight, pairs);
        test
    }

    /// Adds a family as if all starts so far lay now, which keeps M what it is.
    fn join(&mut self, role: Role, reference: f64) {
        let known = reference.is_finite();
        self.broken |= !known;
        let reference = if known { reference } else { self.policy.cold.error_rate };
        let started = libm::log(1.0 - self.tail);
        self.families.push(Family::new(role, reference, started, &self.policy));
    }

    fn join_latency(&mut self, rates: [f64; LATENCIES]) {
        for (threshold, rate) in (0..).zip(rates) {
            self.join(Role::Latency(threshold), rate);
        }
    }

    /// Begins to watch latency in the middle of a watch, now that there are thresholds. Twice: does nothing.
    pub fn watch_latency(&mut self, slow_rates: [f64; LATENCIES], pairs: &Pairs) {
        if self.watches_latency() {
            return;
        }
        self.join_latency(slow_rates);
        let arms = arms(self.weight);
        for family in self.families.iter_mut().filter(|family| matches!(family.role, Role::Latency(_))) {
            family.load(pairs, arms, &self.policy);
        }
        self.refresh();
    }

    /// Takes up what is known of stable from another time, in the middle of a watch: what was gathered stays, under the
    /// pairs it was gathered with. All of it is older than the records to come, so the bound holds.
    pub fn learn(&mut self, reference: Reference, pairs: &Pairs) {
        let Reference { error_rate, error_rate_once, slow_rates, mut route_error_rates, seasons } = reference;
        self.broken |= !(error_rate.is_finite() && error_rate_once.is_finite());
        for family in &mut self.families {
            match family.role {
                Role::ErrorOdds => family.believe(error_rate_once),
                Role::ErrorAbsolute => family.believe(error_rate),
                Role::Route(_) | Role::Latency(_) => {}
            }
        }
        if !self.families.iter().any(|family| matches!(family.role, Role::Route(_))) {
            route_error_rates.truncate(ROUTES_MAX);
            for (route, rate) in (0..).zip(route_error_rates) {
                self.join(Role::Route(route), rate);
            }
        }
        if let Some(rates) = slow_rates.filter(|_| !self.watches_latency()) {
            self.join_latency(rates);
        }
        self.seasons = seasons;
        let arms = arms(self.weight);
        for family in &mut self.families {
            family.close();
            family.load(pairs, arms, &self.policy);
        }
        self.safety = Safety::new(self.policy.safety, pairs.errors[SAFETY_COMPONENT].eta);
        self.refresh();
    }

    pub fn watches_latency(&self) -> bool {
        self.families.iter().any(|family| matches!(family.role, Role::Latency(_)))
    }

    /// Goes on at another weight, a part of one: evidence is kept, safety has to be shown again.
    pub fn set_weight(&mut self, weight: f64, pairs: &Pairs) {
        self.broken |= weight.is_nan();
        self.weight = if weight.is_nan() { 0.0 } else { weight.clamp(0.0, 1.0) };
        let arms = arms(self.weight);
        for family in &mut self.families {
            family.change_weight();
            family.load(pairs, arms, &self.policy);
        }
        (self.candidate_share, self.stable_share) = (0.0, 0.0);
        self.safety = Safety::new(self.policy.safety, pairs.errors[SAFETY_COMPONENT].eta);
        self.refresh();
    }

    /// Says whose evidence may take the candidate back from now on.
    pub fn set_acting(&mut self, acting: Acting) {
        self.acting = acting;
    }

    /// Adds a record to the evidence.
    pub fn add(&mut self, counts: &Counts) {
        self.take(counts, Use::Evidence);
    }

    /// Lets a record say nothing about the candidate, only what stable is like and who gets how much: warm-up, or a fault
    /// both share. Whether to skip must not depend on the record itself.
    pub fn skip(&mut self, counts: &Counts) {
        self.take(counts, Use::Estimates);
    }

    fn take(&mut self, counts: &Counts, used: Use) {
        self.begin_block_if_due(counts.second);
        let seconds = counts.seconds();
        let rate_kept = kept(seconds, self.policy.rate_half_life_seconds);
        let share_kept = kept(seconds, self.policy.share_half_life_seconds);
        let arms = arms(self.weight);
        let warm = self.time >= u64::from(self.policy.latency_warmup_seconds);
        for family in &mut self.families {
            let sample = counts.sample(family.role, arms);
            if used == Use::Evidence && (warm || !matches!(family.role, Role::Latency(_))) {
                self.broken |= !family.gather(&sample, self.policy.cap_per_record);
            }
            family.learn(&sample, rate_kept);
        }
        let all = counts.sample(Role::ErrorAbsolute, arms);
        if used == Use::Evidence {
            self.broken |= !self.safety.add(&all);
        }
        self.candidate_share = self.candidate_share * share_kept + all.candidate_requests as f64;
        self.stable_share = self.stable_share * share_kept + all.stable_requests as f64;
        self.time = self.time.saturating_add(seconds);
        self.second = counts.second.saturating_add(seconds);
    }

    fn begin_block_if_due(&mut self, second: u64) {
        self.second = second;
        let block = self.time / u64::from(self.policy.block_seconds.max(1));
        if self.block.is_some_and(|last| block <= last) {
            return;
        }
        self.block = Some(block);
        let tail = self.policy.later(self.time);
        let ln_mass = libm::log(self.tail - tail);
        self.tail = tail;
        self.families.iter_mut().for_each(|family| family.begin_block(ln_mass));
        self.refresh();
    }

    fn refresh(&mut self) {
        let arms = self.believed_arms();
        let seasonal = self.seasons.as_ref().and_then(|seasons| seasons.rate(self.second));
        for family in &mut self.families {
            family.refresh(arms, seasonal, &self.policy);
        }
        let error_rate = self.error_rate();
        self.safety.refresh(error_rate, arms);
    }

    /// Returns who answers, with the share the candidate really gets.
    fn believed_arms(&self) -> Arms {
        match arms(self.weight) {
            Arms::Both { share } => {
                let prior = self.policy.share_prior_requests;
                let requests = prior + self.candidate_share + self.stable_share;
                Arms::Both { share: (prior * share + self.candidate_share) / requests }
            }
            Arms::Alone => Arms::Alone,
        }
    }

    /// Returns stable's share of failing requests as it is believed now.
    pub fn error_rate(&self) -> f64 {
        self.family(Role::ErrorAbsolute).rate
    }

    fn family(&self, role: Role) -> &Family {
        let found = self.families.iter().find(|family| family.role == role);
        found.expect("BUG: errors are always watched")
    }
}

/// Returns what is left of a sum after `seconds`.
fn kept(seconds: u64, half_life_seconds: f64) -> f64 {
    libm::exp2(-(seconds as f64) / half_life_seconds)
}
