//! Scores a canary from its metrics' labels as Kayenta's weighted sum does: passing share of each group, weighted.
//! A critical failure or half of the metrics without data makes it 0. Refuses nothing else.

use super::classify::Label;
use std::collections::BTreeMap;

/// Share of metrics without data, in percent, from which nothing is believed.
const NO_DATA_PERCENT: f64 = 50.0;

/// A metric's label and the group it counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricResult<'a> {
    pub group: &'a str,
    pub label: Label,
    pub critical: bool,
}

/// The scorer: weights of groups in percent; groups without one share what is left.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scorer {
    pub group_weights: BTreeMap<String, f64>,
}

impl Scorer {
    pub fn weighted(weights: &[(&str, f64)]) -> Self {
        Self { group_weights: weights.iter().map(|(group, weight)| ((*group).to_owned(), *weight)).collect() }
    }

    /// Returns 0 to 100, to two decimals.
    pub fn score(&self, results: &[MetricResult]) -> f64 {
        let critical = results.iter().any(|result| result.critical && result.label != Label::Pass);
        let silent = results.iter().filter(|result| result.label == Label::NoData).count();
        if critical || silent as f64 / results.len() as f64 * 100.0 >= NO_DATA_PERCENT {
            return 0.0;
        }
        let groups = group_scores(results);
        let known: f64 = self.group_weights.values().sum();
        let unweighted = groups.keys().filter(|group| !self.group_weights.contains_key(**group)).count();
        let share = (100.0 - known) / unweighted.max(1) as f64;
        let weight = |group: &str| self.group_weights.get(group).copied().unwrap_or(share);
        // A group without data counts as passing.
        let sum: f64 =
            groups.iter().map(|(group, score)| score.unwrap_or(100.0) * weight(group) / 100.0).sum();
        (sum * 100.0).round() / 100.0
    }
}

/// Returns each group's passing share in percent; None where it has no data.
pub fn group_scores<'a>(results: &[MetricResult<'a>]) -> BTreeMap<&'a str, Option<f64>> {
    let mut labels: BTreeMap<&str, Vec<Label>> = BTreeMap::new();
    results.iter().for_each(|result| labels.entry(result.group).or_default().push(result.label));
    let score = |labels: &Vec<Label>| {
        let judged = labels.iter().filter(|label| !matches!(label, Label::NoData | Label::Error)).count();
        let passed = labels.iter().filter(|label| **label == Label::Pass).count();
        (judged > 0).then(|| passed as f64 / judged as f64 * 100.0)
    };
    labels.iter().map(|(group, labels)| (*group, score(labels))).collect()
}
