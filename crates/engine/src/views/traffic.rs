//! Says how much traffic a target has and what the judge would know of it.

use crate::api::wire::{LatencyQuantile, TrafficView};
use crate::calibrator::Traffic;
use rollout::judge::policy_for;
use rollout::machine::State;

/// Returns what is known of a target's traffic.
pub fn view(state: &State, traffic: Traffic) -> TrafficView {
    let Traffic { recent, calibration } = traffic;
    let policy = policy_for(&state.stable_rollout.judge);
    let calibrated = |weight: f64| calibration.is_calibrated(&policy, weight);
    let error_rate =
        (recent.stable.requests > 0).then(|| recent.stable.errors as f64 / recent.stable.requests as f64);
    let quantiles = &state.stable_rollout.judge.latency.quantiles;
    let marks = calibration.latency.iter().flat_map(|known| known.boundaries.milliseconds());
    let latency = quantiles.iter().zip(marks).map(|(&quantile, ms)| LatencyQuantile { quantile, ms });
    TrafficView {
        target: state.target.clone(),
        stable: state.stable.as_ref().map(|placed| placed.revision),
        requests_per_second: recent.requests_per_second(),
        seconds: recent.seconds,
        error_rate,
        latency: latency.collect(),
        hours: calibration.hours,
        cold: calibration.shares.is_empty()
            || !calibration.shares.iter().all(|share| calibrated(share.weight)),
        calibration,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{Recent, Tally};
    use rollout::judge::buckets::Boundaries;
    use rollout::judge::calibration::{Calibration, ShareCalibration, Thresholds};
    use rollout::judge::policy::Pairs;
    use rollout::names::Target;

    fn state() -> State {
        State::new(Target::new("web", "local"))
    }

    #[test]
    fn a_target_nobody_has_asked_yet_is_cold_and_has_no_rates() {
        let view = view(&state(), Traffic::default());

        assert!(view.cold && view.stable.is_none() && view.latency.is_empty());
        assert_eq!((view.requests_per_second, view.error_rate), (0.0, None));
    }

    #[test]
    fn the_last_hour_and_the_calibration_are_told_in_the_units_of_people() {
        let tally = Tally { requests: 7000, errors: 70, errors_once: 70 };
        let share = ShareCalibration {
            weight: 0.05,
            hours: 30.0,
            pairs: Pairs::uniform(Default::default()),
            insensitive: Vec::new(),
            differing: Vec::new(),
        };
        let calibration = Calibration {
            latency: Some(Thresholds {
                boundaries: Boundaries::at([202, 230, 275, 305]),
                slow_rates: [0.5; 4],
            }),
            shares: vec![share],
            hours: 30.0,
            ..Calibration::default()
        };
        let recent = Recent { seconds: 100, requests: 8000, stable: tally };
        let view = view(&state(), Traffic { recent, calibration });

        assert!(!view.cold);
        assert_eq!((view.requests_per_second, view.error_rate), (80.0, Some(0.01)));
        assert_eq!(view.latency.len(), 4);
        assert!((view.latency[2].ms - 386.3).abs() < 0.1, "{:?}", view.latency);
    }
}
