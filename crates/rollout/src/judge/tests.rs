//! The judge as the machine uses it: records in, words out. The draws are seeded, so every figure is one number.

use super::buckets::Boundaries;
use super::calibration::Thresholds;
use super::*;
use crate::event::VerdictWord;
use crate::names::{Millis, Weight};
use crate::plan::JudgeSettings;

/// A deterministic source of Bernoulli draws.
struct Draws(u64);

impl Draws {
    fn hits(&mut self, requests: u64, rate: f64) -> u64 {
        (0..requests).filter(|_| self.next() < rate).count() as u64
    }

    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64
    }
}

/// Traffic: requests a second, percent of it to the candidate, share of failing requests of each side.
#[derive(Clone, Copy)]
struct Traffic {
    per_second: u64,
    weight: u8,
    stable: f64,
    candidate: f64,
}

impl Traffic {
    fn second(self, draws: &mut Draws) -> Record {
        let candidate_requests = draws.hits(self.per_second, f64::from(self.weight) / 100.0);
        let stable_requests = self.per_second - candidate_requests;
        Record {
            second: 1,
            candidate_requests,
            candidate_errors: draws.hits(candidate_requests, self.candidate),
            stable_requests,
            stable_errors: draws.hits(stable_requests, self.stable),
            ..Record::default()
        }
    }
}

/// Returns a judge that has seen stable alone for ten seconds, and then the candidate at this weight.
fn watching(traffic: Traffic, draws: &mut Draws) -> Judge {
    let mut judge = Judge::new(&JudgeSettings::default(), true);
    let before = Traffic { weight: 0, ..traffic };
    (0..10).for_each(|_| judge.add(&before.second(draws)));
    judge.set_weight(Weight::new(traffic.weight).unwrap(), Millis(0));
    judge
}

/// Returns after how many seconds, of at most 600, the candidate is called worse.
fn worse_after(traffic: Traffic, seed: u64) -> Option<usize> {
    let mut draws = Draws(seed * 7919 + 17);
    let mut judge = watching(traffic, &mut draws);
    (1..=600).find(|_| {
        judge.add(&traffic.second(&mut draws));
        judge.verdict().word == VerdictWord::Worse
    })
}

/// Returns the seconds in which 19 of 20 watches have seen the fault.
fn seen_within(traffic: Traffic) -> usize {
    let mut took: Vec<_> = (0..40).map(|seed| worse_after(traffic, seed).unwrap_or(usize::MAX)).collect();
    took.sort_unstable();
    took[took.len() * 19 / 20 - 1]
}

#[test]
fn o1_a_candidate_with_five_percent_of_400_requests_a_second_is_seen_to_fail_within_seconds_of_a_cold_start()
{
    for (candidate, bound) in [(1.0, 3), (0.5, 4), (0.2, 7), (0.1, 16)] {
        let took = seen_within(Traffic { per_second: 400, weight: 5, stable: 0.001, candidate });

        assert!(took <= bound, "{candidate} failing: {took} s");
    }
}

#[test]
fn o1_a_candidate_alone_is_taken_back_for_a_gross_failure_only_while_nothing_is_known_of_the_service() {
    for (candidate, bound) in [(1.0, 2), (0.5, 3), (0.2, 6), (0.1, 12)] {
        let took = seen_within(Traffic { per_second: 200, weight: 100, stable: 0.001, candidate });
        assert!(took <= bound, "{candidate} failing: {took} s");
    }
    let small = Traffic { per_second: 200, weight: 100, stable: 0.001, candidate: 0.03 };
    assert_eq!(worse_after(small, 1), None);
}

#[test]
fn s_harmless_candidates_are_taken_back_in_at_most_one_of_a_hundred_watches() {
    let (mut watches, mut wrong) = (0, Vec::new());
    for (stable, candidate) in [(0.001, 0.001), (0.01, 0.01), (0.05, 0.05), (0.001, 0.0011), (0.2, 0.2)] {
        for weight in [5, 50, 95, 100] {
            for per_second in [10, 100] {
                let traffic = Traffic { per_second, weight, stable, candidate };
                for seed in 0..10 {
                    watches += 1;
                    if worse_after(traffic, seed).is_some() {
                        wrong.push((stable, weight, per_second));
                    }
                }
            }
        }
    }

    assert!(wrong.len() * 100 <= watches, "{} of {watches}: {wrong:?}", wrong.len());
}

#[test]
fn s04_seconds_nobody_reported_are_no_evidence_and_no_health() {
    let traffic = Traffic { per_second: 100, weight: 50, stable: 0.0, candidate: 0.0 };
    let mut judge = watching(traffic, &mut Draws(1));
    let before = judge.clone();

    (0..30).for_each(|second| judge.add(&Record::missing(second)));

    assert_eq!(judge.silent_seconds(), 30);
    assert_eq!(judge.verdict(), before.verdict());
    assert!(judge.has_seen_nothing() && !judge.leans_well() && !judge.is_safe());
}

#[test]
fn s04_a_baseline_without_an_error_is_a_rate_of_zero_and_not_a_gap() {
    let mut judge = Judge::new(&JudgeSettings::default(), true);
    (0..10).for_each(|_| judge.add(&Record { second: 1, stable_requests: 1000, ..Record::default() }));
    judge.set_weight(Weight::new(50).unwrap(), Millis(0));
    let second = Record {
        second: 1,
        candidate_requests: 500,
        candidate_errors: 10,
        stable_requests: 500,
        ..Record::default()
    };

    (0..60).for_each(|_| judge.add(&second));

    assert_eq!(judge.verdict().word, VerdictWord::Worse);
}

#[test]
fn s04_a_candidate_without_a_request_is_neither_worse_nor_as_good() {
    let mut judge =
        watching(Traffic { per_second: 100, weight: 5, stable: 0.0, candidate: 0.0 }, &mut Draws(1));
    (0..600).for_each(|_| judge.add(&Record { second: 1, stable_requests: 100, ..Record::default() }));

    assert_eq!(judge.verdict().word, VerdictWord::NotEnoughEvidence);
    assert!(judge.share_mismatch(), "and that is strange");
}

#[test]
fn s04_a_candidate_without_a_request_is_not_worse_at_little_traffic_either() {
    for per_second in [1, 3, 10, 30] {
        let traffic = Traffic { per_second, weight: 5, stable: 0.01, candidate: 0.0 };
        let mut judge = watching(traffic, &mut Draws(1));
        for _ in 0..3600 {
            judge.add(&Record { second: 1, stable_requests: per_second, ..Record::default() });
            assert_eq!(judge.verdict().word, VerdictWord::NotEnoughEvidence, "{per_second}/s");
        }
    }
}

#[test]
fn seconds_of_the_weight_before_are_no_evidence_and_a_late_clock_hides_only_three() {
    for (second, expected) in [(7, 3), (8, 0)] {
        let mut judge = Judge::new(&JudgeSettings::default(), true);
        judge.set_weight(Weight::FIVE, Millis(7_300));
        let all_at_stable = Record { second, stable_requests: 10_000, ..Record::default() };
        let unmoved = (0..5).take_while(|_| {
            judge.add(&all_at_stable);
            judge.verdict().evidence.log_m.abs() < 1e-9
        });

        assert_eq!(unmoved.count(), expected, "second {second}");
    }
}

#[test]
fn s05_one_metric_that_is_worse_is_enough() {
    let mut judge = Judge::new(&JudgeSettings::default(), true);
    judge.calibrate(&thresholds());
    judge.set_weight(Weight::new(50).unwrap(), Millis(0));
    let slow = Slow { candidate: [500, 500, 250, 10], stable: [250, 50, 5, 0] };
    let second = Record {
        second: 1,
        candidate_requests: 500,
        stable_requests: 500,
        slow: Some(slow),
        ..Record::default()
    };

    (0..60).for_each(|_| judge.add(&second));

    let verdict = judge.verdict();
    assert_eq!(verdict.word, VerdictWord::Worse);
    assert!(verdict.evidence.metric.starts_with("latency p"), "{}", verdict.evidence);
    assert!(verdict.evidence.slower_than_ms.is_some() && verdict.evidence.candidate_errors > 0);
}

#[test]
fn one_broken_route_at_two_percent_of_the_traffic_is_caught_and_named() {
    let mut judge = Judge::new(&JudgeSettings::default(), true);
    let routes = ["/api/appointments", "/api/prescriptions/{id}"];
    let known =
        |template: &&str| calibration::KnownRoute { template: (*template).to_owned(), error_rate: 0.0005 };
    judge.calibrate(&Calibration { routes: routes.iter().map(known).collect(), ..thresholds() });
    judge.set_weight(Weight::new(25).unwrap(), Millis(0));
    let half = |candidate_requests, candidate_errors| RouteCounts {
        candidate_requests,
        candidate_errors,
        stable_requests: candidate_requests * 3,
        stable_errors: 0,
    };
    let second = Record {
        second: 1,
        candidate_requests: 250,
        candidate_errors: 5,
        stable_requests: 750,
        routes: vec![half(245, 0), half(5, 5)],
        ..Record::default()
    };

    let seconds = (1..=60).find(|_| {
        judge.add(&second);
        judge.verdict().word == VerdictWord::Worse
    });

    assert!(seconds.is_some_and(|seconds| seconds <= 10), "{seconds:?}");
    assert_eq!(judge.verdict().evidence.metric, "errors of /api/prescriptions/{id}");
}

#[test]
fn warm_up_is_said_and_bounded_by_what_was_watched() {
    let mut settings = JudgeSettings::default();
    settings.latency.warm_up = Millis::seconds(30);
    let mut judge = Judge::new(&settings, true);
    judge.calibrate(&thresholds());
    judge.set_weight(Weight::new(50).unwrap(), Millis(0));
    let slow = Slow { candidate: [50, 50, 50, 50], stable: [25, 5, 1, 0] };
    let second = Record {
        second: 1,
        candidate_requests: 50,
        stable_requests: 50,
        slow: Some(slow),
        ..Record::default()
    };

    (0..30).for_each(|_| judge.add(&second));
    assert_ne!(judge.verdict().word, VerdictWord::Worse, "caches are filled");
    assert_eq!(judge.verdict().evidence.warm_up_seconds, 30);

    (0..30).for_each(|_| judge.add(&second));
    assert_eq!(judge.verdict().word, VerdictWord::Worse, "that was no warm-up");
}

#[test]
fn o2_an_outage_of_both_is_not_blamed_on_the_one_that_recovers_three_seconds_later() {
    let traffic = Traffic { per_second: 200, weight: 25, stable: 0.001, candidate: 0.001 };
    let mut draws = Draws(3);
    let mut judge = watching(traffic, &mut draws);
    let mut say = |judge: &mut Judge, seconds: usize, stable: f64, candidate: f64| {
        for _ in 0..seconds {
            judge.add(&Traffic { stable, candidate, ..traffic }.second(&mut draws));
            assert_ne!(judge.verdict().word, VerdictWord::Worse, "{}", judge.verdict().evidence);
        }
    };

    say(&mut judge, 60, 0.001, 0.001);
    say(&mut judge, 30, 1.0, 1.0);
    assert!(judge.shared_fault());
    say(&mut judge, 3, 0.0, 1.0);
    say(&mut judge, 60, 0.001, 0.001);
    assert!(judge.verdict().evidence.shared_seconds >= 30);
}

#[test]
fn a_judge_that_is_written_down_and_read_again_says_the_same_to_the_last_bit() {
    let traffic = Traffic { per_second: 173, weight: 37, stable: 0.013, candidate: 0.05 };
    let mut draws = Draws(4);
    let mut judge = watching(traffic, &mut draws);
    for _ in 0..120 {
        judge.add(&traffic.second(&mut draws));
        let read: Judge = serde_json::from_str(&serde_json::to_string(&judge).unwrap()).unwrap();

        assert_eq!(read, judge);
        assert_eq!(read.verdict().evidence.log_m.to_bits(), judge.verdict().evidence.log_m.to_bits());
    }
}

fn thresholds() -> Calibration {
    Calibration {
        latency: Some(Thresholds {
            boundaries: Boundaries::at([200, 220, 260, 300]),
            slow_rates: [0.5, 0.1, 0.01, 0.001],
        }),
        error_rate: 0.001,
        error_rate_once: 0.001,
        ..Calibration::default()
    }
}
