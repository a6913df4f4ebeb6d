//! The cases of Kayenta's own `ClassifierSuite` and `ScorerSuite`, with data of our own: what they assert, our model does.

use super::classify::*;
use super::mann_whitney::{normal_quantile, shift};
use super::score::*;
use crate::chance::Chance;

/// 30 points about `mean`.
fn sample(mean: f64, stream: u64) -> Vec<f64> {
    let mut chance = Chance::new(30, stream);
    (0..30).map(|_| mean + 2.0 * chance.normal()).collect()
}

fn suite() -> Classifier {
    Classifier::new(0.10, 0.95)
}

fn label(stable: &[f64], candidate: &[f64], direction: Direction) -> Label {
    suite().classify(stable, candidate, direction, Missing::Remove).unwrap().label
}

const CRITICAL: Importance = Importance { critical: true, data_required: false };

#[test]
fn the_normal_quantile_is_the_textbooks() {
    assert!((normal_quantile(0.975) - 1.959_963_984_540_054).abs() < 1e-9);
    assert!((normal_quantile(0.99) - 2.326_347_874_040_841).abs() < 1e-9);
}

#[test]
fn a_shift_is_found_with_the_bounds_of_the_textbook() {
    // Differences 1 to 5 about 3; with 3 against 3 points an interval of 95 % is the whole range.
    let found = shift(&[4.0, 5.0, 6.0], &[1.0, 2.0, 3.0], 0.95).unwrap();

    assert_eq!((found.lower, found.estimate, found.upper), (1.0, 3.0, 5.0));
    assert_eq!(shift(&[1.0, 1.0], &[1.0, 1.0], 0.95), None);
    assert_eq!(shift(&[], &[1.0], 0.95), None);
}

#[test]
fn s01_identical_populations_pass() {
    let (one, other) = (sample(10.0, 1), sample(10.0, 2));

    assert_eq!(label(&one, &other, Direction::Either), Label::Pass);
    assert_eq!(
        label(&[5.0, 4.0, 3.0, 2.0, 1.0], &[1.0, 2.0, 3.0, 4.0, 5.0], Direction::Decrease),
        Label::Pass
    );
    assert_eq!(
        Classifier::netflix().classify(&one, &one, Direction::Either, Missing::Remove).unwrap().label,
        Label::Pass
    );
}

#[test]
fn s02_high_and_low_are_told_apart() {
    let (low, high) = (sample(10.0, 1), sample(20.0, 2));

    assert_eq!(label(&low, &high, Direction::Either), Label::High);
    assert_eq!(label(&high, &low, Direction::Either), Label::Low);
}

#[test]
fn s02_only_the_direction_that_is_bad_counts() {
    let (low, high) = (sample(10.0, 1), sample(20.0, 2));

    assert_eq!(label(&low, &high, Direction::Increase), Label::High);
    assert_eq!(label(&low, &high, Direction::Decrease), Label::Pass);
    assert_eq!(label(&high, &low, Direction::Decrease), Label::Low);
    assert_eq!(label(&high, &low, Direction::Increase), Label::Pass);
}

#[test]
fn s02_a_sparse_error_rate_is_high_unless_its_effect_is_allowed() {
    // 200 minutes, mostly without an error, in three times as many of the candidate's there is one.
    let of =
        |every: usize| (0..200).map(|i| if i % every == 0 { 1.7 + 0.001 * i as f64 } else { 0.0 }).collect();
    let (stable, candidate): (Vec<f64>, Vec<f64>) = (of(12), of(3));
    let tolerant = Classifier { effects: Effects { decrease: 1.0, increase: 5.0 }, ..suite() };
    let found = tolerant.classify(&stable, &candidate, Direction::Either, Missing::Remove).unwrap();

    assert_eq!(found.label, Label::Pass);
    // Their interval is searched with a tolerance, ours exactly: with this many ties its end is 0, which is no increase.
    assert!(matches!(label(&stable, &candidate, Direction::Either), Label::High | Label::Pass));
}

#[test]
fn s02_the_common_language_effect_size_is_the_share_of_pairs() {
    let (low, high) = (sample(10.0, 1), sample(13.0, 2));
    let with = |increase, decrease| Classifier {
        effects: Effects { decrease, increase },
        measure: Measure::CommonLanguage,
        ..Classifier::new(0.2, 0.98)
    };
    let of = |classifier: Classifier, stable: &[f64], candidate: &[f64]| {
        classifier.classify(stable, candidate, Direction::Either, Missing::Remove).unwrap().label
    };

    assert_eq!(of(with(0.7, 0.3), &low, &high), Label::High);
    assert_eq!(of(with(0.999, 0.3), &low, &high), Label::Pass);
    assert_eq!(of(with(0.7, 0.3), &high, &low), Label::Low);
}

#[test]
fn s03_tied_ranks_are_judged() {
    assert_eq!(label(&[1.0; 5], &[10.0; 5], Direction::Either), Label::High);
    assert_eq!(label(&[0.0; 5], &[10.0; 5], Direction::Either), Label::High);
    assert_eq!(label(&[1.0; 2], &[1.0; 3], Direction::Decrease), Label::Pass);
}

#[test]
fn s03_a_majority_of_ties_and_all_zeros_pass() {
    assert_eq!(label(&[1.0; 5], &[1.0, 1.0, 1.0, 1.0, 10.0], Direction::Either), Label::Pass);
    assert_eq!(label(&[1.0; 5], &[0.0, 1.0, 1.0, 1.0, 1.0], Direction::Decrease), Label::Pass);
    let zeros = suite().classify(&[0.0; 5], &[0.0; 5], Direction::Either, Missing::Remove).unwrap();
    assert_eq!((zeros.label, zeros.deviation), (Label::Pass, Some(1.0)));
}

#[test]
fn s04_a_metric_without_data_of_one_side_is_no_data() {
    let points = [1.0, 2.0, 3.0, 4.0, 5.0];
    let missing = |stable: &[f64], candidate: &[f64], how| {
        suite().classify(stable, candidate, Direction::Decrease, how).unwrap().label
    };

    assert_eq!(missing(&points, &[], Missing::Remove), Label::NoData);
    assert_eq!(missing(&[], &points, Missing::Remove), Label::NoData);
    assert_eq!(missing(&[f64::NAN; 5], &points, Missing::Remove), Label::NoData);
    assert_eq!(missing(&points, &[], Missing::Replace), Label::Pass);
}

#[test]
fn s04_a_point_without_a_value_may_count_as_zero() {
    let stable = [f64::NAN; 10];
    let candidate: Vec<f64> = (0..10).map(|i| 50.0 + f64::from(i)).collect();
    let found = suite().classify(&stable, &candidate, Direction::Either, Missing::Replace).unwrap();

    assert_eq!(found.label, Label::High);
}

#[test]
fn s04_required_data_that_is_missing_fails_the_metric() {
    let required = Importance { critical: false, data_required: true };
    let found = suite().classify_as(&[1.0], &[], Direction::Either, Missing::Remove, required).unwrap();

    assert_eq!((found.label, found.critical), (Label::NoDataFails, false));
}

#[test]
fn s05_a_critical_metric_without_data_stays_critical() {
    let found = suite().classify_as(&[1.0], &[], Direction::Decrease, Missing::Remove, CRITICAL).unwrap();

    assert_eq!((found.label, found.critical), (Label::NoData, true));
}

#[test]
fn s05_a_critical_effect_has_its_own_size() {
    let (stable, candidate) = ([1.0, 2.2, 1.1, 2.5, 3.0], [20.0, 22.0, 21.0, 25.0, 30.0]);
    let of = |increase: f64, critical: f64| {
        let classifier = Classifier {
            effects: Effects { decrease: 1.0, increase },
            critical_effects: Effects { decrease: 1.0, increase: critical },
            ..suite()
        };
        let found = classifier
            .classify_as(&stable, &candidate, Direction::Either, Missing::Remove, CRITICAL)
            .unwrap();
        (found.label, found.critical)
    };

    assert_eq!(of(1.0, 1.0), (Label::High, true));
    assert_eq!(of(1.0, 1.2), (Label::High, true));
    assert_eq!(of(5.0, 13.0), (Label::High, false));
    assert_eq!(of(13.0, 15.0), (Label::Pass, false));
    let lower = Classifier { critical_effects: Effects { decrease: 1.2, increase: 1.0 }, ..suite() };
    let (stable, candidate) = ([10.0, 20.2, 10.1, 20.5, 30.0], [2.0, 2.0, 2.0, 2.0, 3.0]);
    let found = lower.classify_as(&stable, &candidate, Direction::Either, Missing::Remove, CRITICAL).unwrap();
    assert_eq!((found.label, found.critical), (Label::Low, true));
}

#[test]
fn s06_a_mean_of_zero_has_no_ratio_and_is_judged_all_the_same() {
    let (zeros, values) = ([0.0; 5], [54.9, 54.5, 55.1, 55.6, 57.4]);
    let classifier = Classifier { effects: Effects { decrease: 0.8, increase: 1.2 }, ..suite() };
    let of = |stable: &[f64], candidate: &[f64]| {
        let found =
            classifier.classify_as(stable, candidate, Direction::Either, Missing::Replace, CRITICAL).unwrap();
        (found.label, found.deviation, found.critical)
    };

    assert_eq!(of(&zeros, &values), (Label::High, None, true));
    assert_eq!(of(&values, &zeros), (Label::Low, None, true));
    assert_eq!(of(&zeros, &zeros), (Label::Pass, Some(1.0), false));
}

fn result(group: &str, label: Label) -> MetricResult<'_> {
    MetricResult { group, label, critical: false }
}

fn critical(group: &str, label: Label) -> MetricResult<'_> {
    MetricResult { group, label, critical: true }
}

#[test]
fn s05_a_critical_failure_fails_the_whole() {
    let scorer = Scorer::default();

    assert_eq!(scorer.score(&[result("a", Label::Pass), critical("a", Label::High)]), 0.0);
    assert_eq!(scorer.score(&[result("a", Label::Pass), critical("a", Label::NoData)]), 0.0);
    assert_eq!(scorer.score(&[result("a", Label::Low), critical("a", Label::Pass)]), 50.0);
}

#[test]
fn s07_a_group_scores_its_passing_share() {
    let scorer = Scorer::default();

    assert_eq!(scorer.score(&[result("a", Label::Pass)]), 100.0);
    assert_eq!(scorer.score(&[result("a", Label::High)]), 0.0);
    assert_eq!(scorer.score(&[result("a", Label::Pass), result("a", Label::High)]), 50.0);
    assert_eq!(
        scorer.score(&[result("a", Label::Pass), result("a", Label::High), result("a", Label::Low)]),
        33.33
    );
    assert_eq!(scorer.score(&[result("a", Label::Pass), result("a", Label::NoDataFails)]), 50.0);
}

#[test]
fn s07_groups_weigh_what_the_configuration_says() {
    let three = [result("1", Label::Pass), result("1", Label::Pass), result("2", Label::High)];
    assert_eq!(Scorer::weighted(&[("1", 75.0), ("2", 25.0)]).score(&three), 75.0);
    let mixed = [result("1", Label::Pass), result("1", Label::High), result("2", Label::High)];
    assert_eq!(Scorer::weighted(&[("1", 50.0), ("2", 50.0)]).score(&mixed), 25.0);
    let four = [
        result("1", Label::High),
        result("1", Label::Low),
        result("1", Label::Pass),
        result("2", Label::High),
    ];
    assert_eq!(Scorer::weighted(&[("1", 15.0), ("2", 85.0)]).score(&four), 5.0);
}

#[test]
fn s07_a_group_without_data_does_not_lower_the_score() {
    let pass = [result("a", Label::Pass), result("a", Label::Pass), result("b", Label::NoData)];
    assert_eq!(Scorer::default().score(&pass), 100.0);
    assert_eq!(group_scores(&pass)["b"], None);
    let equal = [result("1", Label::Pass), result("1", Label::NoData), result("2", Label::High)];
    assert_eq!(Scorer::weighted(&[("1", 50.0), ("2", 50.0)]).score(&equal), 50.0);
    assert_eq!(Scorer::default().score(&[result("a", Label::NoData)]), 0.0);
}
