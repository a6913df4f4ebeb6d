//! Shows what the sequential test promises beyond its numbers: who is taken back, who is not, and what is said about it.

use proptest::prelude::*;
use rollout::judge::policy::{Metric, Pair, Pairs, Policy, arms};
use rollout::judge::process::{Acting, Reference, Test};
use rollout::judge::ripr::{Alternative, Arms};
use rollout::judge::seasons::Seasons;
use rollout::judge::{Counts, RouteCounts};

const SLOW_RATES: [f64; 4] = [0.5, 0.1, 0.01, 0.001];

fn independent() -> Pairs {
    Pairs::uniform(Pair { eta: 1.0, cap: 8.5 })
}

fn cold(weight: f64) -> Pairs {
    Policy::default().uncalibrated(arms(weight))
}

fn begin(error_rate: f64, weight: f64, pairs: &Pairs) -> Test {
    Test::new(Policy::default(), Reference::errors(error_rate), weight, pairs)
}

fn with_latency() -> Reference {
    Reference { slow_rates: Some(SLOW_RATES), ..Reference::errors(0.001) }
}

/// Adds the same second again and again; returns how many it took to decide.
fn seconds_to_decide(test: &mut Test, counts: &Counts, at_most: u64) -> Option<u64> {
    (1..=at_most).find(|_| {
        test.add(counts);
        test.is_decided()
    })
}

/// A deterministic source of Bernoulli draws, so that the bounds below are one number.
struct Draws(u64);

impl Draws {
    fn hits(&mut self, requests: u64, rate: f64) -> u64 {
        (0..requests).filter(|_| self.draw() < rate).count() as u64
    }

    fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64
    }

    /// One second of two versions that are the same, errors and latency.
    fn second(&mut self, candidate: u64, stable: u64, error_rate: f64) -> Counts {
        let errors = (self.hits(candidate, error_rate), self.hits(stable, error_rate));
        let mut counts = Counts::errors(0, (candidate, errors.0), (stable, errors.1));
        for (j, rate) in SLOW_RATES.into_iter().enumerate() {
            counts.candidate_slow[j] = self.hits(candidate, rate);
            counts.stable_slow[j] = self.hits(stable, rate);
        }
        counts
    }
}

/// Watches versions that are the same for ten minutes; returns how many were taken back.
fn taken_back(watches: u64, weight: f64, candidate: u64, stable: u64, error_rate: f64) -> u64 {
    (0..watches)
        .map(|seed| {
            let mut draws = Draws(seed);
            let mut test = Test::new(Policy::default(), with_latency(), weight, &independent());
            u64::from((0..600).any(|_| {
                test.add(&draws.second(candidate, stable, error_rate));
                test.is_decided()
            }))
        })
        .sum()
}

#[test]
fn at_most_one_of_a_hundred_watches_of_equal_versions_ends_in_a_return() {
    let cells = [(0.05, 2, 38, 0.005), (0.5, 10, 10, 0.01), (0.1, 10, 90, 0.001)];
    for (weight, candidate, stable, error_rate) in cells {
        let wrong = taken_back(100, weight, candidate, stable, error_rate);
        assert!(wrong <= 1, "{wrong} of 100 at weight {weight}");
    }
}

#[test]
fn ten_percent_more_errors_and_two_percent_more_time_are_harmless() {
    let counts = Counts {
        candidate_slow: [48, 9, 0, 0],
        stable_slow: [500, 100, 10, 1],
        ..Counts::errors(0, (1000, 11), (1000, 10))
    };
    let mut test = Test::new(Policy::default(), with_latency(), 0.5, &independent());

    assert_eq!(seconds_to_decide(&mut test, &counts, 3600), None);
}

#[test]
fn a_fault_both_versions_share_takes_nothing_back() {
    let mut test = begin(0.001, 0.05, &independent());
    let healthy = Counts::errors(0, (5, 0), (95, 0));
    assert_eq!(seconds_to_decide(&mut test, &healthy, 60), None);

    assert_eq!(seconds_to_decide(&mut test, &Counts::errors(0, (5, 4), (95, 76)), 600), None);
}

#[test]
fn a_total_failure_at_five_percent_is_decided_within_three_seconds_also_cold() {
    let fails = Counts::errors(0, (5, 5), (95, 0));

    assert_eq!(seconds_to_decide(&mut begin(0.001, 0.05, &independent()), &fails, 60), Some(3));
    assert_eq!(seconds_to_decide(&mut begin(0.001, 0.05, &cold(0.05)), &fails, 60), Some(3));
}

#[test]
fn a_fault_that_begins_late_is_found_almost_as_soon() {
    let mut test = begin(0.001, 0.05, &independent());
    for second in 0..3 * 3600 {
        test.add(&Counts::errors(second, (5, 0), (95, u64::from(second % 10 == 0))));
    }

    let needed = seconds_to_decide(&mut test, &Counts::errors(0, (5, 5), (95, 0)), 60);
    assert!(needed.is_some_and(|seconds| seconds <= 8), "{needed:?}");
}

#[test]
fn what_is_skipped_says_nothing_whatever_it_holds() {
    let (mut fails, mut serves) = (begin(0.001, 0.05, &independent()), begin(0.001, 0.05, &independent()));
    for second in 0..60 {
        fails.skip(&Counts::errors(second, (50, 50), (950, 1)));
        serves.skip(&Counts::errors(second, (50, 0), (950, 1)));
    }

    assert_eq!(fails.log_m().to_bits(), serves.log_m().to_bits());
    assert_eq!(fails.safety().log_safe(), 0.0);
    assert_eq!((fails.seconds(), fails.strongest().seen.candidate_requests), (60, 0));
    assert_eq!(seconds_to_decide(&mut fails, &Counts::errors(60, (50, 50), (950, 1)), 60), Some(2));
}

#[test]
fn latency_says_nothing_while_it_warms_up_and_errors_do() {
    let policy = Policy { latency_warmup_seconds: 30, ..Policy::default() };
    let slow = Counts {
        candidate_slow: [100, 90, 50, 20],
        stable_slow: [50, 10, 1, 0],
        ..Counts::errors(0, (100, 0), (100, 0))
    };
    let mut test = Test::new(policy, with_latency(), 0.5, &independent());
    assert_eq!(seconds_to_decide(&mut test, &slow, 30), None);
    assert!(test.log_m() < 0.0);

    assert!(seconds_to_decide(&mut test, &slow, 10).is_some());
    assert!(matches!(test.strongest().metric, Metric::Latency(_)));
}

#[test]
fn latency_that_joins_a_watch_changes_nothing_until_it_has_something_to_say() {
    let mut test = begin(0.001, 0.5, &independent());
    for second in 0..63 {
        test.add(&Counts::errors(second, (100, u64::from(second % 20 == 0)), (100, 0)));
    }
    let before = test.log_m();
    test.watch_latency(SLOW_RATES, &independent());
    test.watch_latency(SLOW_RATES, &independent());
    assert!((test.log_m() - before).abs() < 1e-12);

    let slow = Counts {
        candidate_slow: [100, 90, 50, 20],
        stable_slow: [50, 10, 1, 0],
        ..Counts::errors(63, (100, 0), (100, 0))
    };
    assert!(seconds_to_decide(&mut test, &slow, 10).is_some());
    assert!(matches!(test.strongest().metric, Metric::Latency(_)));
}

#[test]
fn one_broken_route_at_two_percent_of_traffic_is_found_and_named() {
    let reference = Reference { route_error_rates: vec![0.001, 0.001], ..Reference::errors(0.001) };
    let mut test = Test::new(Policy::default(), reference, 0.1, &cold(0.1));
    let route = |requests, errors| RouteCounts {
        candidate_requests: requests,
        candidate_errors: errors,
        stable_requests: requests * 9,
        stable_errors: 0,
    };
    let counts = Counts { routes: vec![route(20, 0), route(1, 1)], ..Counts::errors(0, (50, 1), (450, 0)) };

    assert!(seconds_to_decide(&mut test, &counts, 60).is_some());
    assert_eq!(test.strongest().metric, Metric::Route(1));
    assert!(test.strongest().effect > 100.0);
}

#[test]
fn errors_of_one_user_count_once_except_where_nearly_everything_fails() {
    let told_apart = |once| Counts { candidate_errors_once: once, ..Counts::errors(0, (50, 50), (950, 0)) };
    let mut test = begin(0.001, 0.05, &independent());

    assert_eq!(seconds_to_decide(&mut test, &told_apart(1), 60), Some(3));
    assert!(matches!(test.strongest().alternative, Alternative::Absolute(_)));
    let few = |once| Counts { candidate_errors_once: once, ..Counts::errors(0, (500, 3), (9500, 10)) };
    let (mut once, mut all) = (begin(0.001, 0.05, &independent()), begin(0.001, 0.05, &independent()));
    let needed = |test: &mut Test, counts| seconds_to_decide(test, counts, 600);
    assert!(needed(&mut once, &few(1)) > needed(&mut all, &few(3)));
}

#[test]
fn alone_the_time_of_day_is_not_taken_for_a_fault() {
    let mut seasons = Seasons::default();
    for half_hour in 0..48 {
        seasons.add(half_hour * 1800, 100_000, if half_hour == 6 { 2000 } else { 100 });
    }
    let seasonal = Reference { seasons: Some(seasons), ..Reference::errors(0.001) };
    let night = |second| Counts::errors(second, (100, u64::from(second % 2 == 0) * 4), (0, 0));
    let mut knows = Test::new(Policy::default(), seasonal, 1.0, &independent());
    let mut flat = Test::new(Policy::default(), Reference::errors(0.001), 1.0, &independent());
    for second in 3 * 3600..3 * 3600 + 1200 {
        knows.add(&night(second));
        flat.add(&night(second));
    }

    assert!(!knows.is_decided() && flat.is_decided());
}

#[test]
fn a_change_of_weight_keeps_the_evidence_and_asks_for_safety_again() {
    let mut test = begin(0.001, 0.1, &independent());
    for second in 0..100 {
        test.add(&Counts::errors(second, (10, 0), (90, u64::from(second % 10 == 0))));
    }
    assert!(test.safety().is_safe());
    let before = test.log_m();

    test.set_weight(0.5, &independent());
    assert!((test.log_m() - before).abs() < 1e-12);
    assert!(!test.safety().is_safe());
    assert_eq!((test.safety().log_safe(), test.safety().candidate_requests()), (0.0, 0));
    assert_eq!(test.strongest().seen.candidate_requests, 0);
}

#[test]
fn without_a_calibration_only_absolute_components_speak_for_a_candidate_alone() {
    let mut test = begin(0.001, 1.0, &cold(1.0));
    test.set_acting(Acting::Absolute);

    assert_eq!(seconds_to_decide(&mut test, &Counts::errors(0, (100, 5), (0, 0)), 600), None);
    let needed = seconds_to_decide(&mut test, &Counts::errors(0, (100, 100), (0, 0)), 10);
    assert!(needed.is_some_and(|seconds| seconds <= 8), "{needed:?}");
    assert!((test.threshold() - libm::log(200.0)).abs() < 1e-12);
}

#[test]
fn a_reference_that_is_not_a_number_breaks_the_watch_instead_of_deciding_it() {
    let mut test = begin(f64::NAN, 0.05, &independent());

    assert_eq!(seconds_to_decide(&mut test, &Counts::errors(0, (50, 50), (50, 0)), 60), None);
    assert!(test.is_broken());
    let text = serde_json::to_string(&test).expect("a watch is JSON");
    assert_eq!(serde_json::from_str::<Test>(&text).expect("and is read again"), test);
}

#[test]
fn evidence_is_a_chance_of_at_most_one() {
    let mut test = begin(0.001, 0.05, &independent());
    assert_eq!((test.log_m(), test.p_value()), (0.0, 1.0));

    seconds_to_decide(&mut test, &Counts::errors(0, (50, 50), (50, 0)), 60);
    assert!(test.p_value() <= 0.01);
}

fn arbitrary_second() -> impl Strategy<Value = (Counts, bool)> {
    let arm = || (0u64..2000, 0u64..2500);
    (arm(), arm(), 0u32..20, [0u64..2500, 0..2500, 0..2500, 0..2500], any::<bool>()).prop_map(
        |(candidate, stable, length, slow, skipped)| {
            let counts = Counts::errors(0, candidate, stable);
            (Counts { length, candidate_slow: slow, stable_slow: slow, ..counts }, skipped)
        },
    )
}

proptest! {
    #[test]
    fn no_record_whatsoever_breaks_a_watch(
        seconds in prop::collection::vec(arbitrary_second(), 1..60), weights in prop::collection::vec(0.0f64..1.2, 60),
        error_rate in 0.0f64..1.0,
    ) {
        let reference = Reference { slow_rates: Some(SLOW_RATES), ..Reference::errors(error_rate) };
        let mut test = Test::new(Policy::default(), reference, 0.1, &independent());
        for ((counts, skipped), weight) in seconds.iter().zip(weights) {
            if *skipped { test.skip(counts) } else { test.add(counts) }
            if counts.length == 7 { test.set_weight(weight, &independent()) }
            prop_assert!(!test.is_broken() && test.log_m().is_finite());
        }
        let text = serde_json::to_string(&test).expect("a watch is JSON");
        prop_assert_eq!(serde_json::from_str::<Test>(&text).expect("and is read again"), test);
    }
}

mod calibrated {
    use super::*;
    use rollout::judge::calibration::{Block, Calibration, History, ShareCalibration, calibrate};

    /// Blocks of half a candidate and half a stable, with `errors` of the candidate in one block of ten.
    fn blocks(hours: usize, candidate_errors: u32, stable_errors: u32) -> Vec<Block> {
        (0..hours * 720)
            .map(|block| {
                let hit = u32::from(block % 10 == 3);
                Block {
                    candidate_requests: 100,
                    candidate_errors: hit * candidate_errors,
                    candidate_errors_once: hit * candidate_errors,
                    stable_requests: 100,
                    stable_errors: u32::from(block % 10 == 7) * stable_errors,
                    stable_errors_once: u32::from(block % 10 == 7) * stable_errors,
                    ..Block::default()
                }
            })
            .collect()
    }

    fn share(hours: usize) -> ShareCalibration {
        calibrate(&Policy::default(), &blocks(hours, 1, 1), None, 0.5)
    }

    #[test]
    fn too_short_a_reference_leaves_the_constants_of_a_cold_start() {
        let policy = Policy::default();

        assert_eq!(share(3).pairs, cold(0.5));
        assert_ne!(share(4).pairs, cold(0.5));
        assert_eq!(calibrate(&policy, &[], None, 1.0).pairs, policy.uncalibrated(Arms::Alone));
    }

    #[test]
    fn another_weights_pair_is_never_used() {
        let policy = Policy::default();
        let mut calibration = Calibration::cold(&policy, History::default());
        calibration.shares = vec![share(4)];

        assert_eq!(calibration.pairs(&policy, 0.5), calibration.shares[0].pairs);
        assert_eq!(calibration.pairs(&policy, 0.1), cold(0.1));
        assert_eq!(calibration.pairs(&policy, 1.0), cold(1.0));
    }

    #[test]
    fn alone_rates_act_only_after_a_day_of_reference() {
        let policy = Policy::default();
        let mut calibration = Calibration::cold(&policy, History::default());
        let alone = |hours| ShareCalibration { weight: 1.0, hours, ..share(4) };
        assert_eq!(calibration.acting(&policy, 1.0), Acting::Absolute);
        assert_eq!(calibration.acting(&policy, 0.05), Acting::All);

        calibration.shares = vec![alone(23.0)];
        assert_eq!(calibration.acting(&policy, 1.0), Acting::Absolute);
        calibration.shares = vec![alone(24.0)];
        assert_eq!(calibration.acting(&policy, 1.0), Acting::All);
    }

    #[test]
    fn bursts_of_the_reference_dull_what_they_look_like() {
        let policy = Policy::default();
        let mut bursts = blocks(6, 1, 1);
        for block in bursts.iter_mut().step_by(200) {
            block.candidate_errors = 20;
            block.candidate_errors_once = 20;
        }
        let (calm, bursty) = (share(6), calibrate(&policy, &bursts, None, 0.5));
        let gained =
            |of: &ShareCalibration| of.pairs.errors.iter().map(|pair| pair.eta * pair.cap).sum::<f64>();

        assert!(gained(&bursty) < gained(&calm) / 2.0, "{:?}", bursty.pairs.errors);
        assert!(!bursty.insensitive.is_empty());
    }

    #[test]
    fn instances_that_differ_are_named() {
        let policy = Policy::default();
        let differing =
            |candidate, stable| calibrate(&policy, &blocks(4, candidate, stable), None, 0.5).differing;

        assert_eq!(differing(1, 1), []);
        assert_eq!(differing(8, 1), [Metric::Errors]);
    }

    #[test]
    fn nothing_known_of_stable_is_a_thousandth_and_no_thresholds() {
        let policy = Policy::default();
        let unknown = Calibration::cold(&policy, History::default());
        assert_eq!((unknown.error_rate, unknown.latency), (0.001, None));

        let latencies = [(180, 500), (202, 400), (250, 99)];
        let history = |requests| History { requests, errors: 1, errors_once: 1, latencies: &latencies };
        assert_eq!(Calibration::cold(&policy, history(999)).latency, None);
        let known = Calibration::cold(&policy, history(1000));
        assert!((known.error_rate - 1.5 / 1001.0).abs() < 1e-15);
        assert_eq!(known.latency.map(|of| of.slow_rates), Some([0.499, 0.099, 0.0, 0.0]));
        assert_eq!(known.reference().slow_rates, Some([0.499, 0.099, 0.0, 0.0]));
    }
}
