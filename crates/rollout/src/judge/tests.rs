//! Measures the guard: how soon it sees a fault, how often it is wrong. The draws are seeded, so every figure is one number.

use super::{Guard, Record};
use crate::event::VerdictWord;
use crate::plan::JudgeSettings;

/// A deterministic source of Bernoulli draws.
struct Draws(u64);

impl Draws {
    fn errors(&mut self, requests: u64, rate: f64) -> u64 {
        let fails = (rate * (1u64 << 31) as f64) as u64;
        (0..requests).filter(|_| self.next() < fails).count() as u64
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

/// Traffic: requests a second, percent of it to the candidate, share of failing requests of each side.
#[derive(Clone, Copy)]
struct Traffic {
    per_second: u64,
    weight: u64,
    stable: f64,
    candidate: f64,
}

impl Traffic {
    fn second(self, draws: &mut Draws) -> Record {
        let candidate_requests = self.per_second * self.weight / 100;
        let stable_requests = self.per_second - candidate_requests;
        Record {
            candidate_requests,
            candidate_errors: draws.errors(candidate_requests, self.candidate),
            stable_requests,
            stable_errors: draws.errors(stable_requests, self.stable),
            ..Record::default()
        }
    }
}

fn word(guard: &Guard) -> VerdictWord {
    guard.verdict(&JudgeSettings::default()).word
}

/// Returns the guard after so many seconds in which only stable was asked.
fn reference(seconds: u64, per_second: u64, rate: f64, draws: &mut Draws) -> Guard {
    let mut guard = Guard::default();
    let before = Traffic { per_second, weight: 0, stable: rate, candidate: 0.0 };
    (0..seconds).for_each(|_| guard.add(&before.second(draws)));
    guard
}

/// Returns how many seconds 19 of 20 watches take until they see the fault.
fn seen_within(before: u64, traffic: Traffic) -> usize {
    let mut took: Vec<usize> = (0..200)
        .map(|seed| {
            let mut draws = Draws(seed);
            let mut guard = reference(before, traffic.per_second, traffic.stable, &mut draws);
            (1..=600)
                .find(|_| {
                    guard.add(&traffic.second(&mut draws));
                    word(&guard) == VerdictWord::Worse
                })
                .unwrap_or(usize::MAX)
        })
        .collect();
    took.sort_unstable();
    took[took.len() * 19 / 20]
}

#[test]
fn a_candidate_with_five_percent_of_200_requests_a_second_is_seen_to_fail_within_seconds() {
    for (candidate, bound) in [(1.0, 2), (0.5, 2), (0.2, 5), (0.1, 10)] {
        let took = seen_within(5, Traffic { per_second: 200, weight: 5, stable: 0.001, candidate });

        assert!(took <= bound, "{candidate} failing: {took} s");
    }
}

#[test]
fn a_candidate_that_has_all_requests_is_seen_to_fail_within_seconds_however_short_the_reference() {
    for before in [0, 1, 3, 60] {
        for (candidate, bound) in [(1.0, 1), (0.5, 1), (0.2, 2), (0.1, 10)] {
            let took =
                seen_within(before, Traffic { per_second: 200, weight: 100, stable: 0.001, candidate });

            assert!(took <= bound, "{candidate} failing after {before} s of stable: {took} s");
        }
    }
}

#[test]
fn with_little_traffic_a_total_failure_is_seen_within_minutes() {
    for (weight, bound) in [(5, 120), (100, 10)] {
        let took = seen_within(60, Traffic { per_second: 4, weight, stable: 0.0, candidate: 1.0 });
        // A weight of five of four requests rounds to none: then nothing can be seen at all.
        let expected = if weight == 5 { took == usize::MAX } else { took <= bound };

        assert!(expected, "at {weight} %: {took} s");
    }
    let took = seen_within(60, Traffic { per_second: 20, weight: 5, stable: 0.0, candidate: 1.0 });
    assert!(took <= 20, "{took} s");
}

#[test]
fn a_hot_watch_sees_a_total_failure_in_its_first_second() {
    let mut draws = Draws(1);
    let mut guard = reference(20, 200, 0.001, &mut draws).promoted();

    guard.add(&Traffic { per_second: 200, weight: 100, stable: 0.0, candidate: 1.0 }.second(&mut draws));

    assert_eq!(word(&guard), VerdictWord::Worse);
}

#[test]
fn equal_versions_are_taken_back_in_at_most_one_of_a_hundred_watches() {
    let (mut watches, mut wrong) = (0, Vec::new());
    for rate in [0.0005, 0.005, 0.02, 0.05, 0.2] {
        for weight in [5, 25, 50, 95, 100] {
            for per_second in [20, 200] {
                let traffic = Traffic { per_second, weight, stable: rate, candidate: rate };
                for seed in 0..20 {
                    watches += 1;
                    if is_taken_back(10, traffic, seed) {
                        wrong.push((rate, weight, per_second));
                    }
                }
            }
        }
    }

    assert!(wrong.len() * 100 <= watches, "{} of {watches}: {wrong:?}", wrong.len());
}

#[test]
fn equal_versions_are_not_taken_back_for_want_of_a_reference() {
    for rate in [0.005, 0.02, 0.04] {
        for before in [0, 1, 2, 5] {
            for per_second in [20, 200] {
                let traffic = Traffic { per_second, weight: 100, stable: rate, candidate: rate };
                let wrong = (0..50).filter(|seed| is_taken_back(before, traffic, *seed)).count();

                assert!(wrong <= 1, "{wrong} of 50 at {rate}, {per_second}/s, {before} s of reference");
            }
        }
    }
}

fn is_taken_back(before: u64, traffic: Traffic, seed: u64) -> bool {
    let mut draws = Draws(seed * 7919 + 17);
    let mut guard = reference(before, traffic.per_second, traffic.stable, &mut draws);
    (0..600).any(|_| {
        guard.add(&traffic.second(&mut draws));
        word(&guard) == VerdictWord::Worse
    })
}

#[test]
fn a_fault_of_both_is_not_blamed_on_the_one_whose_weight_was_just_raised() {
    let mut draws = Draws(2);
    let mut guard = Guard::default();
    let small = Traffic { per_second: 200, weight: 5, stable: 0.001, candidate: 0.001 };
    let large = Traffic { weight: 50, stable: 0.8, candidate: 0.8, ..small };
    (0..10).for_each(|_| guard.add(&small.second(&mut draws)));

    for _ in 0..30 {
        guard.add(&large.second(&mut draws));
        assert_ne!(word(&guard), VerdictWord::Worse);
    }
}

#[test]
fn a_few_requests_that_stable_still_answers_are_no_control() {
    let mut draws = Draws(3);
    let mut guard = reference(60, 200, 0.05, &mut draws);
    for _ in 0..300 {
        guard.add(&Record {
            stable_requests: u64::from(draws.next().is_multiple_of(40)),
            ..Traffic { per_second: 200, weight: 100, stable: 0.0, candidate: 0.05 }.second(&mut draws)
        });
        assert_ne!(word(&guard), VerdictWord::Worse);
    }
}

#[test]
fn a_short_window_with_few_errors_does_not_hide_what_a_longer_one_shows() {
    let mut guard = Guard::default();
    for second in 0..20 {
        let candidate_errors = if second == 17 { 0 } else { 1 };
        guard.add(&Record {
            candidate_requests: 10,
            candidate_errors,
            stable_requests: 190,
            ..Record::default()
        });
    }

    assert_eq!(word(&guard), VerdictWord::Worse);
}

#[test]
fn a_watch_that_looks_bad_but_not_surely_is_not_called_as_good() {
    let mut guard = Guard::default();
    guard.add(&Record {
        candidate_requests: 40,
        candidate_errors: 4,
        stable_requests: 160,
        ..Record::default()
    });

    assert_eq!(word(&guard), VerdictWord::NotEnoughEvidence);
}

#[test]
fn numbers_of_a_verdict_are_read_as_they_were_written() {
    let mut draws = Draws(4);
    let mut guard = reference(7, 173, 0.013, &mut draws);
    for _ in 0..50 {
        guard
            .add(&Traffic { per_second: 173, weight: 37, stable: 0.013, candidate: 0.31 }.second(&mut draws));
        let evidence = guard.verdict(&JudgeSettings::default()).evidence;
        let read: super::Evidence = serde_json::from_str(&serde_json::to_string(&evidence).unwrap()).unwrap();
        assert_eq!(read, evidence);
    }
}
