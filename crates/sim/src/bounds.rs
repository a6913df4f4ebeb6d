//! Computes how soon a fault can be known at all: Wald's bound, with the rates known, and the same for our null hypothesis,
//! with stable's rate unknown and the margins kept. Refuses bursts: with errors in clusters both are too low.

use crate::traffic::{Fault, INDEX_LOW, Traffic};
use rollout::judge::policy::Policy;
use rollout::judge::ripr::{Margin, ripr};

/// How long a bound may take before it is called never.
const SECONDS_MAX: u64 = 86_400;
/// Buckets by which the candidate's latency threshold is shifted.
const SHIFT: usize = 2;
/// The thresholds of the procedure; a bound over every threshold would be up to 40 % lower for changes of the tail.
const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// Returns the expected seconds of the best test with level α that knows both rates and the onset: ln(1/α)/KL.
pub fn wald_seconds(traffic: &Traffic, alpha: f64) -> Option<f64> {
    let scene = &traffic.scene;
    let latency = divergence(&scene.fault.latency(scene.latency).shares(), &scene.latency.shares());
    seconds_until(traffic, alpha, |at| {
        let errors = match scene.fault {
            Fault::Route { traffic, errors } => traffic * bernoulli_divergence(errors, scene.error_rate),
            fault => bernoulli_divergence(fault.error_rate(scene.error_rate, at), scene.error_rate),
        };
        scene.weight * (errors + latency)
    })
}

/// Returns the same for "the candidate is harmless": two samples, our margins, the best single alternative.
pub fn margin_seconds(traffic: &Traffic, policy: &Policy) -> Option<f64> {
    let scene = &traffic.scene;
    let of = |candidate: f64, stable: f64, margin: Margin| {
        ripr(candidate, stable.max(1e-9), margin, scene.weight).growth(scene.weight, candidate, stable)
    };
    let (candidate, stable) =
        (above(&scene.fault.latency(scene.latency).shares()), above(&scene.latency.shares()));
    let latency = QUANTILES.map(|share| {
        let boundary = libm::round(32.0 * libm::log2(scene.latency.quantile_ms(share))) as i32;
        let place = (boundary - INDEX_LOW) as usize;
        of(candidate[place + SHIFT], stable[place], policy.latency)
    });
    let latency = latency.into_iter().fold(0.0, f64::max);
    seconds_until(traffic, policy.alpha, |at| {
        let errors = match scene.fault {
            Fault::Route { traffic, errors } => {
                traffic * of(errors.min(1.0 - 1e-9), scene.error_rate, policy.errors)
            }
            fault => {
                let rate = fault.error_rate(scene.error_rate, at).min(1.0 - 1e-9);
                of(rate, scene.error_rate, policy.errors)
            }
        };
        latency.max(errors)
    })
}

/// Adds up nats per request, second by second from the onset, until they reach ln(1/α). A bound under 1 s is 1 s.
fn seconds_until(traffic: &Traffic, alpha: f64, nats: impl Fn(u64) -> f64) -> Option<f64> {
    let scene = &traffic.scene;
    let mut missing = libm::log(1.0 / alpha);
    let onset = scene.fault.onset();
    for at in onset..onset + SECONDS_MAX {
        let gained = scene.load.at(at) * nats(at);
        if gained >= missing {
            return Some(((at - onset) as f64 + missing / gained).max(1.0));
        }
        missing -= gained;
    }
    None
}

/// Returns, for each bucket, the share of requests in it or above.
fn above(shares: &[f64]) -> Vec<f64> {
    let mut sum = 0.0;
    let mut above: Vec<f64> = shares
        .iter()
        .rev()
        .map(|share| {
            sum += share;
            sum
        })
        .collect();
    above.reverse();
    above
}

fn divergence(after: &[f64], before: &[f64]) -> f64 {
    after.iter().zip(before).map(|(after, before)| part(*after, before.max(1e-15))).sum::<f64>().max(0.0)
}

fn bernoulli_divergence(after: f64, before: f64) -> f64 {
    part(after, before) + part(1.0 - after, 1.0 - before)
}

fn part(after: f64, before: f64) -> f64 {
    if after <= 0.0 || after == before {
        return 0.0;
    }
    if before <= 0.0 { f64::INFINITY } else { after * libm::log(after / before) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::{Mode, Scene};

    fn traffic(rps: f64, weight: f64, rate: f64, fault: Fault) -> Traffic {
        Traffic::new(Scene::steady(rps, weight, rate, Mode::Independent).with(fault))
    }

    #[test]
    fn wald_is_the_textbooks() {
        // 0.1 → 1 %: 0.01·ln 10 + 0.99·ln(0.99/0.999) = 0.014066 nats a request; five requests a second.
        let found = wald_seconds(&traffic(100.0, 0.05, 0.001, Fault::Errors(0.01)), 0.01).unwrap();

        assert!((found - 4.605_17 / 0.014_066 / 5.0).abs() < 0.1, "{found}");
        assert_eq!(wald_seconds(&traffic(100.0, 0.05, 0.0, Fault::Errors(1.0)), 0.01), Some(1.0));
    }

    #[test]
    fn a_margin_and_an_unknown_stable_cost_time() {
        let policy = Policy::default();
        let faults = [
            (0.005, Fault::Errors(0.05)),
            (0.001, Fault::Errors(0.01)),
            (0.001, Fault::P99Times(1.5)),
            (0.001, Fault::AllTimes(1.1)),
            (0.001, Fault::Delayed { share: 0.02, ms: 500.0 }),
            (0.001, Fault::Leak { from: 0.001, to: 0.05, seconds: 600 }),
        ];
        for (rate, fault) in faults {
            let traffic = traffic(100.0, 0.05, rate, fault);
            let (known, unknown) = (wald_seconds(&traffic, 0.01), margin_seconds(&traffic, &policy));

            assert!(known.unwrap() < unknown.unwrap(), "{fault:?}: {known:?} {unknown:?}");
            println!("{fault:?}: {known:?} {unknown:?}");
        }
    }

    #[test]
    fn what_is_within_the_margin_can_never_be_known() {
        let policy = Policy::default();

        assert_eq!(margin_seconds(&traffic(1000.0, 0.5, 0.001, Fault::ErrorsTimes(1.1)), &policy), None);
        assert_eq!(margin_seconds(&traffic(1000.0, 0.5, 0.001, Fault::AllTimes(1.02)), &policy), None);
    }
}
