//! Decides as Spinnaker's Kayenta does with `NetflixACAJudge`: Mann–Whitney on one point a minute and metric, a score, a
//! threshold. Our model, written from its documented behaviour; `classify` and `score` are its two halves.
//! Metrics: error rate, p50 and p99, all "increase is bad"; a score below the marginal threshold returns.

pub mod classify;
pub mod mann_whitney;
pub mod score;

#[cfg(test)]
mod tests;

use super::Decider;
use crate::traffic::{Minute, Second};
use classify::{Classifier, Direction, Label, Missing};
use score::{MetricResult, Scorer};

/// Spinnaker's default: below it the canary fails at once.
const SCORE_MARGINAL: f64 = 75.0;
const WATCH_MINUTES: usize = 10;
/// With fewer points no confidence interval of 98 % leaves the range of the data.
const PEEK_FROM_MINUTE: usize = 3;

/// When it judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looks {
    OnceAtTheEnd,
    EveryMinute,
}

/// A canary analysis.
#[derive(Debug, Clone)]
pub struct Kayenta {
    looks: Looks,
    classifier: Classifier,
    candidate: [Vec<f64>; 3],
    stable: [Vec<f64>; 3],
}

impl Kayenta {
    /// One judgement on 10 against 10 points.
    pub fn once() -> Self {
        Self::new(Looks::OnceAtTheEnd)
    }

    /// A judgement every minute from the third on, over all points so far: what a short interval does.
    pub fn every_minute() -> Self {
        Self::new(Looks::EveryMinute)
    }

    fn new(looks: Looks) -> Self {
        let classifier = Classifier::netflix();
        Self { looks, classifier, candidate: Default::default(), stable: Default::default() }
    }

    fn score(&self) -> f64 {
        let results =
            self.candidate.iter().zip(&self.stable).enumerate().map(|(metric, (candidate, stable))| {
                // An error rate without a value is 0; a latency without one is missing.
                let missing = if metric == 0 { Missing::Replace } else { Missing::Remove };
                let found = self.classifier.classify(stable, candidate, Direction::Increase, missing);
                MetricResult {
                    group: "all",
                    label: found.map_or(Label::Error, |class| class.label),
                    critical: false,
                }
            });
        Scorer::default().score(&results.collect::<Vec<_>>())
    }
}

impl Decider for Kayenta {
    fn rolls_back(&mut self, second: &Second) -> bool {
        let Some(minutes) = second.minute else { return false };
        for (points, minute) in [(&mut self.candidate, minutes.candidate), (&mut self.stable, minutes.stable)]
        {
            points.iter_mut().zip(values(&minute)).for_each(|(points, value)| points.push(value));
        }
        let judges = match self.looks {
            Looks::OnceAtTheEnd => self.stable[0].len() == WATCH_MINUTES,
            Looks::EveryMinute => self.stable[0].len() >= PEEK_FROM_MINUTE,
        };
        judges && self.score() < SCORE_MARGINAL
    }
}

fn values(minute: &Minute) -> [f64; 3] {
    [minute.all.error_rate(), minute.p50_ms, minute.p99_ms].map(|value| value.unwrap_or(f64::NAN))
}
