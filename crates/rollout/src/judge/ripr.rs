//! Turns a question into what each answer is worth: log likelihood ratios that no harmless candidate can gain on.
//! Holds nothing and remembers nothing; `family` asks it at the start of every block.
//! Source: reverse information projection of Turner, Ly and Grünwald, "Generic e-variables for exact sequential
//! k-sample tests that allow for optional stopping" (2024), with a margin.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Halvings of the bracket in which the projection lies; 60 leave less than a rounding error of it.
const HALVINGS: u32 = 60;
/// A share nearer than this to 0 or 1 leaves one arm without requests.
const SHARE_EDGE: f64 = 1e-12;
/// Rates above this are no boundary of a hypothesis: nothing could be worse.
const LIMIT_MAX: f64 = 0.99;

/// How much worse a candidate may be and still be harmless: rate ≤ ratio × stable's rate + difference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Margin {
    /// ρ.
    pub ratio: f64,
    /// δ, a share of one.
    pub difference: f64,
}

impl Margin {
    /// Returns the largest harmless rate beside a stable that has `rate`.
    pub fn limit(&self, rate: f64) -> f64 {
        self.ratio * rate + self.difference
    }

    /// Returns the same as the null hypothesis uses it: short of 1.
    pub fn bounded_limit(&self, rate: f64) -> f64 {
        self.limit(rate).min(LIMIT_MAX)
    }
}

/// A harmful candidate that is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Alternative {
    /// Its odds are this many times those of the limit.
    Odds(f64),
    /// Its rate is this, whatever stable does.
    Absolute(f64),
}

impl Alternative {
    /// Returns the rate of this candidate where `limit` is the largest harmless one.
    pub fn rate(self, limit: f64) -> f64 {
        match self {
            Alternative::Odds(times) => {
                let odds = times * limit / (1.0 - limit);
                odds / (1.0 + odds)
            }
            Alternative::Absolute(rate) if limit < rate / 2.0 => rate,
            Alternative::Absolute(_) => 1.0 - (1.0 - limit) / 2.0,
        }
    }
}

/// Who answers requests.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Arms {
    /// Candidate and stable; the candidate gets `share` of the requests, a part of one.
    Both { share: f64 },
    /// The candidate only: it is compared with what stable was.
    Alone,
}

/// What one answer is worth, in nats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Factors {
    /// a1.
    pub candidate_error: f64,
    /// a0.
    pub candidate_success: f64,
    /// b1.
    pub stable_error: f64,
    /// b0.
    pub stable_success: f64,
}

impl Factors {
    fn towards(from: (f64, f64), to: (f64, f64)) -> Self {
        let ((candidate_from, stable_from), (candidate_to, stable_to)) = (from, to);
        Self {
            candidate_error: libm::log(candidate_to / candidate_from),
            candidate_success: libm::log((1.0 - candidate_to) / (1.0 - candidate_from)),
            stable_error: libm::log(stable_to / stable_from),
            stable_success: libm::log((1.0 - stable_to) / (1.0 - stable_from)),
        }
    }

    /// Returns ℓ, what these answers are worth together. Hits need not be whole, nor fewer than the requests.
    pub fn log_ratio(&self, answers: &Answers) -> f64 {
        answers.candidate_hits * self.candidate_error
            + (answers.candidate_requests - answers.candidate_hits) * self.candidate_success
            + answers.stable_hits * self.stable_error
            + (answers.stable_requests - answers.stable_hits) * self.stable_success
    }

    /// Returns ℓ per request to expect at these rates.
    pub fn growth(&self, share: f64, candidate_rate: f64, stable_rate: f64) -> f64 {
        let candidate =
            candidate_rate * self.candidate_error + (1.0 - candidate_rate) * self.candidate_success;
        let stable = stable_rate * self.stable_error + (1.0 - stable_rate) * self.stable_success;
        share * candidate + (1.0 - share) * stable
    }
}

/// What both arms answered; a hit is an error, or a request slower than a threshold.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Answers {
    pub candidate_requests: f64,
    pub candidate_hits: f64,
    pub stable_requests: f64,
    pub stable_hits: f64,
}

/// Returns the rate of `alternative` beside a stable that has `rate`, and what each answer is worth against it.
pub fn factors(alternative: Alternative, rate: f64, margin: Margin, arms: Arms) -> (f64, Factors) {
    let limit = margin.bounded_limit(rate);
    let candidate_rate = alternative.rate(limit);
    let factors = match arms {
        Arms::Both { share } => ripr(candidate_rate, rate, margin, share),
        Arms::Alone => one_sample(candidate_rate, limit),
    };
    (candidate_rate, factors)
}

/// Returns the e-variable against "the candidate is harmless", growing fastest at these two rates.
/// All zero where one arm has no requests or the rates are harmless themselves.
pub fn ripr(candidate_rate: f64, stable_rate: f64, margin: Margin, share: f64) -> Factors {
    let one_armed = share >= 1.0 - SHARE_EDGE || share <= SHARE_EDGE;
    if one_armed || candidate_rate <= margin.limit(stable_rate) {
        return Factors::default();
    }
    let weight = margin.ratio * share / (1.0 - share);
    let highest = (candidate_rate - margin.difference) / margin.ratio;
    let projected = root(stable_rate, highest, |stable| {
        let candidate = margin.limit(stable);
        weight * (candidate_rate - candidate) / (candidate * (1.0 - candidate))
            - (stable - stable_rate) / (stable * (1.0 - stable))
    });
    Factors::towards((margin.limit(projected), projected), (candidate_rate, stable_rate))
}

/// Returns the e-variable against "the candidate is harmful", growing fastest where both have `rate`.
/// With all requests at the candidate stable counts for nothing; with none everything does.
pub fn ripr_accept(rate: f64, margin: Margin, share: f64) -> Factors {
    if share >= 1.0 - SHARE_EDGE {
        return accept_alone(rate, margin);
    }
    if share <= SHARE_EDGE {
        return Factors::default();
    }
    let weight = margin.ratio * share / (1.0 - share);
    let projected = root(0.0, rate, |stable| {
        let candidate = margin.limit(stable);
        (rate - stable) / (stable * (1.0 - stable))
            - weight * (candidate - rate) / (candidate * (1.0 - candidate))
    });
    Factors::towards((margin.limit(projected), projected), (rate, rate))
}

/// Returns the same without a stable beside it: `rate` is what stable was.
pub fn accept_alone(rate: f64, margin: Margin) -> Factors {
    one_sample(rate, margin.limit(rate))
}

/// Returns the likelihood ratio of two rates of the candidate alone.
pub fn one_sample(rate: f64, limit: f64) -> Factors {
    Factors {
        candidate_error: libm::log(rate / limit),
        candidate_success: libm::log((1.0 - rate) / (1.0 - limit)),
        ..Factors::default()
    }
}

/// Returns the root of a falling function by halving.
fn root(mut low: f64, mut high: f64, falling: impl Fn(f64) -> f64) -> f64 {
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        if falling(middle) > 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low + high) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What an e-variable gains in expectation per request is at most `s·a·(pc − p0c) + (1 − s)·b·(pb − p0b)`.
    fn expected(of: &Factors, share: f64, candidate_rate: f64, stable_rate: f64) -> f64 {
        let mean =
            |rate: f64, hit: f64, miss: f64| rate * libm::expm1(hit) + (1.0 - rate) * libm::expm1(miss);
        share * mean(candidate_rate, of.candidate_error, of.candidate_success)
            + (1.0 - share) * mean(stable_rate, of.stable_error, of.stable_success)
    }

    proptest! {
        #[test]
        fn no_harmless_candidate_gains(
            times in 1.01f64..30.0, rate in 1e-6f64..0.5, ratio in 1.0f64..1.6, difference in 1e-5f64..0.01,
            share in 0.001f64..0.999,
        ) {
            let margin = Margin { ratio, difference };
            let (_, factors) = factors(Alternative::Odds(times), rate, margin, Arms::Both { share });

            for step in 1..1000 {
                let stable_rate = f64::from(step) / 1000.0;
                let candidate_rate = margin.limit(stable_rate).min(1.0);
                let gained = expected(&factors, share, candidate_rate, stable_rate);
                prop_assert!(gained <= 1e-12, "{gained} at {stable_rate}");
            }
        }

        #[test]
        fn no_harmful_candidate_gains_on_the_opposite_test(rate in 1e-6f64..0.5, share in 0.001f64..0.999) {
            let margin = Margin { ratio: 1.5, difference: 0.005 };
            let factors = ripr_accept(rate, margin, share);

            for step in 1..660 {
                let stable_rate = f64::from(step) / 1000.0;
                let gained = expected(&factors, share, margin.limit(stable_rate), stable_rate);
                prop_assert!(gained <= 1e-12, "{gained} at {stable_rate}");
            }
        }

        #[test]
        fn the_candidate_looked_for_is_found(times in 1.05f64..30.0, rate in 1e-6f64..0.5, share in 0.001f64..0.999) {
            let margin = Margin { ratio: 1.2, difference: 0.0001 };
            let (candidate_rate, factors) = factors(Alternative::Odds(times), rate, margin, Arms::Both { share });

            prop_assert!(factors.growth(share, candidate_rate, rate) > 0.0);
        }
    }

    #[test]
    fn an_arm_without_requests_is_worth_nothing() {
        let margin = Margin { ratio: 1.2, difference: 0.0001 };

        assert_eq!(ripr(0.5, 0.001, margin, 0.0), Factors::default());
        assert_eq!(ripr(0.5, 0.001, margin, 1.0), Factors::default());
        assert_eq!(ripr_accept(0.001, margin, 0.0), Factors::default());
    }
}
