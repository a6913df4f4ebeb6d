//! Classifies one metric as Kayenta's Mann–Whitney classifier does: high, low, pass, or no data.
//! The tolerance is a part of the estimated *difference*, not of the metric: that is why any real difference, however
//! small, is found in the end. Refuses to guess where its test cannot be computed.

use super::mann_whitney::shift;
use crate::chance::Chance;

/// What a metric is found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    Pass,
    High,
    Low,
    NoData,
    /// Data was required and is missing.
    NoDataFails,
    Error,
}

/// Which change is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Increase,
    Decrease,
    Either,
}

/// What becomes of a point without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    Remove,
    /// It counts as 0.
    Replace,
}

/// How large an effect is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Mean of the candidate by mean of stable; none when one of them is 0.
    MeanRatio,
    /// Share of pairs in which the candidate is higher (Vargha and Delaney 2000).
    CommonLanguage,
}

/// Effects below `decrease` or above `increase` count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effects {
    pub decrease: f64,
    pub increase: f64,
}

/// Says of a metric whether it decides alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Importance {
    pub critical: bool,
    pub data_required: bool,
}

/// The classifier with its settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Classifier {
    pub tolerance: f64,
    pub confidence: f64,
    pub effects: Effects,
    pub critical_effects: Effects,
    pub measure: Measure,
}

/// The finding about one metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Classification {
    pub label: Label,
    pub critical: bool,
    /// Mean ratio, for people; None when it cannot be computed.
    pub deviation: Option<f64>,
}

/// The test cannot be computed: all observations are tied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllTied;

impl Classifier {
    /// The settings of `NetflixACAJudge`.
    pub fn netflix() -> Self {
        Self::new(0.25, 0.98)
    }

    pub fn new(tolerance: f64, confidence: f64) -> Self {
        let effects = Effects { decrease: 1.0, increase: 1.0 };
        Self { tolerance, confidence, effects, critical_effects: effects, measure: Measure::MeanRatio }
    }

    /// Classifies an ordinary metric.
    pub fn classify(
        &self,
        stable: &[f64],
        candidate: &[f64],
        direction: Direction,
        missing: Missing,
    ) -> Result<Classification, AllTied> {
        self.classify_as(stable, candidate, direction, missing, Importance::default())
    }

    /// Classifies a metric that may decide alone.
    pub fn classify_as(
        &self,
        stable: &[f64],
        candidate: &[f64],
        direction: Direction,
        missing: Missing,
        importance: Importance,
    ) -> Result<Classification, AllTied> {
        let (stable, candidate) = (present(stable, missing), present(candidate, missing));
        if stable.is_empty() || candidate.is_empty() {
            return Ok(without_data(missing, importance));
        }
        if sorted(&stable) == sorted(&candidate) || distinct(stable.iter().chain(&candidate)) == 1 {
            return Ok(Classification { label: Label::Pass, critical: false, deviation: Some(1.0) });
        }
        let (stable, candidate) = with_noise(stable, candidate);
        let effect = self.effect(&stable, &candidate);
        let label = self.compare(&stable, &candidate, direction, effect)?;
        let grave = match label {
            Label::High => effect.is_none_or(|effect| effect >= self.critical_effects.increase),
            Label::Low => effect.is_none_or(|effect| effect <= self.critical_effects.decrease),
            _ => false,
        };
        let deviation = mean_ratio(&stable, &candidate);
        Ok(Classification { label, critical: importance.critical && grave, deviation })
    }

    fn compare(
        &self,
        stable: &[f64],
        candidate: &[f64],
        direction: Direction,
        effect: Option<f64>,
    ) -> Result<Label, AllTied> {
        let shift = shift(candidate, stable, self.confidence).ok_or(AllTied)?;
        let bound = self.tolerance * shift.estimate.abs();
        // An effect that cannot be computed is not asked.
        let large = effect.is_none_or(|effect| effect >= self.effects.increase);
        let small = effect.is_none_or(|effect| effect <= self.effects.decrease);
        if direction != Direction::Decrease && shift.lower > bound && large {
            return Ok(Label::High);
        }
        if direction != Direction::Increase && shift.upper < -bound && small {
            return Ok(Label::Low);
        }
        Ok(Label::Pass)
    }

    fn effect(&self, stable: &[f64], candidate: &[f64]) -> Option<f64> {
        match self.measure {
            Measure::MeanRatio => mean_ratio(stable, candidate),
            Measure::CommonLanguage => Some(common_language(stable, candidate)),
        }
    }
}

fn without_data(missing: Missing, importance: Importance) -> Classification {
    let (label, critical) = match missing {
        Missing::Replace => (Label::Pass, false),
        Missing::Remove if importance.data_required && !importance.critical => (Label::NoDataFails, false),
        Missing::Remove => (Label::NoData, importance.critical),
    };
    Classification { label, critical, deviation: Some(1.0) }
}

fn present(values: &[f64], missing: Missing) -> Vec<f64> {
    match missing {
        Missing::Remove => values.iter().copied().filter(|value| !value.is_nan()).collect(),
        Missing::Replace => values.iter().map(|value| if value.is_nan() { 0.0 } else { *value }).collect(),
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn distinct<'a>(values: impl Iterator<Item = &'a f64>) -> usize {
    let mut all: Vec<f64> = values.copied().collect();
    all.sort_by(f64::total_cmp);
    all.dedup();
    all.len()
}

/// Adds a hundred-thousandth of noise where both samples are one repeated value, so that they can be ranked.
fn with_noise(stable: Vec<f64>, candidate: Vec<f64>) -> (Vec<f64>, Vec<f64>) {
    if distinct(stable.iter()) > 1 || distinct(candidate.iter()) > 1 {
        return (stable, candidate);
    }
    let mut chance = Chance::new(0, 0);
    let mut noisy =
        |values: Vec<f64>| values.iter().map(|value| value * (1.0 + 1e-5 * chance.normal())).collect();
    (noisy(stable), noisy(candidate))
}

fn mean_ratio(stable: &[f64], candidate: &[f64]) -> Option<f64> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (stable, candidate) = (mean(stable), mean(candidate));
    (stable != 0.0 && candidate != 0.0).then(|| candidate / stable)
}

fn common_language(stable: &[f64], candidate: &[f64]) -> f64 {
    let wins = |a: f64, b: f64| {
        if a > b {
            1.0
        } else if a == b {
            0.5
        } else {
            0.0
        }
    };
    let sum: f64 = candidate.iter().flat_map(|a| stable.iter().map(move |b| wins(*a, *b))).sum();
    sum / (stable.len() * candidate.len()) as f64
}
