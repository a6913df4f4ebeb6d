//! Words what a deploy would cost. Pure: takes a prediction, returns lines, or the document for programs.

use crate::commands::plan::{Known, Source};
use manifest::service::ServiceConfig;
use rollout::judge::policy::arms;
use rollout::judge::policy_for;
use rollout::judge::ripr::Arms;
use rollout::names::Millis;
use rollout::plan::RolloutSettings;
use serde_json::{Value, json};
use sim::exposure::{EDGE_SECONDS, Exposure, Healthy, Prediction, StepForecast};
use sim::traffic::Mode;

/// Share of healthy releases that may end unproven before that is worth a warning.
const UNPROVEN_MAX: f64 = 0.05;

/// Words the traffic and the prediction; without one, why there is none.
pub fn lines(rollout: &RolloutSettings, known: &Known, prediction: Option<&Prediction>) -> Vec<String> {
    let Some(prediction) = prediction else {
        return vec![
            String::new(),
            "first release: nothing serves yet, so there is nothing to compare it with and no step; it gets"
                .to_owned(),
            "every request once it is ready. `--rps N` predicts what a later release would cost.".to_owned(),
        ];
    };
    let mut lines = vec![String::new(), traffic(known)];
    lines.extend(cold(rollout, known, prediction));
    lines.push(String::new());
    lines.extend(steps(prediction));
    lines.push(String::new());
    lines.extend(costs(prediction));
    lines.push(String::new());
    lines.extend(prediction.healthy.as_ref().map(healthy));
    lines.extend(
        warnings(rollout, known, prediction).into_iter().map(|warning| format!("warning: {warning}")),
    );
    lines
}

fn traffic(known: &Known) -> String {
    let rate = format!(
        "{} requests/s, {} failing",
        two_digits(known.requests_per_second),
        percent(known.error_rate)
    );
    match known.source {
        Source::Assumed => format!("traffic   assumed (--rps): {rate}; no engine was asked"),
        Source::Engine => {
            let marks: Vec<String> = known
                .latency
                .iter()
                .map(|mark| format!(", p{} {} ms", two_digits(mark.quantile * 100.0), two_digits(mark.ms)))
                .collect();
            format!("traffic   the last hour: {rate}{}", marks.concat())
        }
    }
}

/// Says from how much the judge has learned, and what follows where that is too little.
fn cold(rollout: &RolloutSettings, known: &Known, prediction: &Prediction) -> Vec<String> {
    let hours = format!("{:.1} h of stable's traffic", known.hours);
    if !prediction.steps.iter().any(|step| step.cold) {
        return vec![format!("judge     calibrated on {hours}")];
    }
    let needed = policy_for(&rollout.judge).calibration.hours_min;
    let mut lines = vec![format!(
        "judge     cold: {hours} are known, a calibration needs {needed:.0}; until then evidence counts for less:"
    )];
    lines.push(
        "          small faults are found later, gross ones about as soon (AT BEST: when calibrated)"
            .to_owned(),
    );
    if prediction.steps.iter().any(|step| step.cold && arms(step.weight.share()) == Arms::Alone) {
        lines.push("          at 100 % nothing is beside the release: only gross failures and hard signals take it back".to_owned());
    }
    lines
}

fn steps(prediction: &Prediction) -> Vec<String> {
    let mut table = super::text::plain_table(&[
        "WEIGHT",
        "WATCHED",
        "AT LEAST",
        "AT MOST",
        "SEES FROM",
        "AT BEST",
        "PROVEN SAFE AFTER",
    ]);
    for step in &prediction.steps {
        table.add_row(vec![
            step.weight.to_string(),
            step.bake.to_string(),
            step.bake_min.to_string(),
            step.bake_max.to_string(),
            step.smallest_visible.map_or("nothing".to_owned(), percent),
            step.smallest_visible_best.map_or("nothing".to_owned(), percent),
            step.seconds_until_safe.map_or("never".to_owned(), time),
        ]);
    }
    let mut lines = vec![
        "What each step sees: the least share of failing requests that is found while it is watched"
            .to_owned(),
    ];
    lines.extend(table.trim_fmt().lines().map(str::to_owned));
    lines
}

fn costs(prediction: &Prediction) -> Vec<String> {
    let mut table = super::text::plain_table(&[
        "FAILS",
        "FROM",
        "TAKEN BACK AFTER",
        "WORST",
        "BAD RESPONSES",
        "WORST",
        "BY",
    ]);
    for exposure in &prediction.whole {
        table.add_row(row("the first request", exposure));
    }
    for step in &prediction.steps {
        for exposure in &step.exposures {
            table.add_row(row(&format!("the step of {}", step.weight), exposure));
        }
    }
    let how = match prediction.mode {
        Mode::Independent => "requests fail one by one",
        Mode::Bursts => "requests fail in clusters, as on this service",
    };
    let mut lines = vec![
        "What a failing release would cost: half of all cases, and the worst of twenty".to_owned(),
        format!("({how}; {:.0} ms for the edge to go back are in it)", EDGE_SECONDS * 1000.0),
    ];
    lines.extend(table.trim_fmt().lines().map(str::to_owned));
    lines
}

fn row(from: &str, exposure: &Exposure) -> Vec<String> {
    let after = |seconds: Option<f64>| match seconds {
        Some(seconds) => time(seconds),
        None if exposure.returned == 0.0 => "never".to_owned(),
        None => format!("{} of cases", percent(exposure.returned)),
    };
    let worst = match (exposure.seconds.worst, exposure.walks) {
        (Some(seconds), _) => time(seconds),
        (None, 0) => "-".to_owned(),
        (None, _) => "never".to_owned(),
    };
    vec![
        percent(exposure.failing),
        from.to_owned(),
        after(exposure.seconds.usual),
        worst,
        count(exposure.bad.usual),
        count(exposure.bad.worst),
        match exposure.walks {
            0 => "formula".to_owned(),
            walks => format!("{walks} runs"),
        },
    ]
}

fn healthy(healthy: &Healthy) -> String {
    format!(
        "A release as good as stable is promoted after {} (worst {}): {} proven, {} unproven, {} taken back, of {} runs",
        time(healthy.seconds.usual),
        time(healthy.seconds.worst),
        percent(healthy.proven),
        percent(healthy.unproven),
        percent(healthy.returned),
        healthy.walks
    )
}

/// Says what the traffic is too small for, and what would do.
pub fn warnings(rollout: &RolloutSettings, known: &Known, prediction: &Prediction) -> Vec<String> {
    if known.requests_per_second <= 0.0 {
        return vec![
            "no request was counted: nothing can be seen and nothing proven; send some, set `judge.probes`, or plan with --rps N"
                .to_owned(),
        ];
    }
    let looks =
        usize::from(rollout.judge.first_look.is_some() && prediction.steps.len() > rollout.steps.len());
    let mut warnings: Vec<String> = prediction.steps.iter().skip(looks).filter_map(too_small).collect();
    if let Some(last) = prediction.steps.last() {
        warnings.extend(unproven(last, prediction.healthy.as_ref()));
    }
    warnings
}

fn too_small(step: &StepForecast) -> Option<String> {
    let small = step.too_small?;
    let sees = match step.smallest_visible {
        Some(least) => format!("sees nothing that fails less than {}", percent(least)),
        None => "sees nothing, not even a release that fails every request,".to_owned(),
    };
    let weight =
        small.weight.filter(|weight| *weight != step.weight).map(|weight| format!("a weight of {weight}"));
    let bake = small.bake_seconds.map(|seconds| format!("a bake of {}", time(seconds)));
    let none = format!("no weight would see one that fails {} in that time", percent(small.failing));
    let would = match (weight, bake) {
        (None, Some(bake)) if small.weight.is_none() => format!("{none}, {bake} would"),
        (Some(weight), Some(bake)) => {
            format!("{weight} or {bake} would see one that fails {}", percent(small.failing))
        }
        (Some(one), None) | (None, Some(one)) => {
            format!("{one} would see one that fails {}", percent(small.failing))
        }
        (None, None) => none,
    };
    Some(format!("too little traffic: in {} the step of {} {sees}; {would}", step.bake, step.weight))
}

fn unproven(last: &StepForecast, healthy: Option<&Healthy>) -> Option<String> {
    let share = healthy.map_or(0.0, |healthy| healthy.unproven);
    let late = last.seconds_until_safe.is_none_or(|seconds| seconds > seconds_of(last.bake_max));
    if share <= UNPROVEN_MAX && !late {
        return None;
    }
    let proof = last.seconds_until_safe.map_or("no bake would prove it".to_owned(), |seconds| {
        format!("a proof needs a last bake of about {}", time(seconds))
    });
    let otherwise =
        "without one it goes on when nothing speaks against it, and `rollout.unproven` says what else";
    Some(format!("too little traffic to prove a release safe at {}: {proof}; {otherwise}", last.weight))
}

/// Returns everything for programs.
pub fn document(service: &ServiceConfig, known: &Known, prediction: Option<&Prediction>) -> Value {
    let mut document = json!({
        "service": service.name,
        "rollout": service.rollout,
        "replicas": service.target.replicas,
        "traffic": known,
    });
    let Some(prediction) = prediction else { return document };
    document["prediction"] = json!({
        "failures": match prediction.mode {
            Mode::Independent => "independent",
            Mode::Bursts => "bursts",
        },
        "cold": prediction.steps.iter().any(|step| step.cold),
        "edge_seconds": EDGE_SECONDS,
        "steps": prediction.steps.iter().map(step_document).collect::<Vec<_>>(),
        "whole": prediction.whole.iter().map(exposure_document).collect::<Vec<_>>(),
        "healthy": prediction.healthy.map(|healthy| json!({
            "runs": healthy.walks,
            "proven": healthy.proven,
            "unproven": healthy.unproven,
            "returned": healthy.returned,
            "seconds_p50": healthy.seconds.usual,
            "seconds_p95": healthy.seconds.worst,
        })),
        "warnings": warnings(&service.rollout, known, prediction),
    });
    document
}

fn step_document(step: &StepForecast) -> Value {
    json!({
        "weight": step.weight,
        "bake_min": step.bake_min,
        "bake": step.bake,
        "bake_max": step.bake_max,
        "cold": step.cold,
        "smallest_visible": step.smallest_visible,
        "smallest_visible_best": step.smallest_visible_best,
        "seconds_until_safe": step.seconds_until_safe,
        "too_small": step.too_small.map(|small| json!({
            "failing": small.failing,
            "weight": small.weight,
            "bake_seconds": small.bake_seconds,
        })),
        "exposures": step.exposures.iter().map(exposure_document).collect::<Vec<_>>(),
    })
}

fn exposure_document(exposure: &Exposure) -> Value {
    json!({
        "failing": exposure.failing,
        "returned": exposure.returned,
        "seconds_p50": exposure.seconds.usual,
        "seconds_p95": exposure.seconds.worst,
        "bad_p50": exposure.bad.usual,
        "bad_p95": exposure.bad.worst,
        "by": if exposure.walks == 0 { "formula" } else { "simulation" },
        "runs": exposure.walks,
    })
}

/// Words seconds as the rest of the output does: `3.0s`, `45s`, `2m10s`.
pub fn time(seconds: f64) -> String {
    let seconds = if seconds < 10.0 { (seconds * 10.0).round() / 10.0 } else { seconds.round() };
    Millis((seconds * 1000.0).round() as u64).to_string()
}

/// Words a share in percent, two digits of it.
pub fn percent(share: f64) -> String {
    format!("{} %", two_digits(share * 100.0))
}

/// Rounds to two digits; to whole numbers from ten on.
pub fn two_digits(number: f64) -> f64 {
    if number <= 0.0 {
        return 0.0;
    }
    let places = (1 - number.log10().floor() as i32).max(0);
    let scale = 10f64.powi(places);
    (number * scale).round() / scale
}

/// Words a number of requests: never less than happened.
pub fn count(requests: f64) -> String {
    (requests - 1e-9).ceil().max(0.0).to_string()
}

fn seconds_of(time: Millis) -> f64 {
    time.0 as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_with_two_digits_and_requests_rounded_up() {
        assert_eq!([0.0123, 1.26, 12.6, 345.4, 0.0].map(two_digits), [0.012, 1.3, 13.0, 345.0, 0.0]);
        assert_eq!(
            (percent(0.001), percent(1.0), percent(0.314)),
            ("0.1 %".into(), "100 %".into(), "31 %".into())
        );
        assert_eq!([0.0, 0.2, 3.0].map(count), ["0", "1", "3"]);
        assert_eq!([3.05, 44.7, 130.2, 1800.0].map(time), ["3.1s", "45s", "2m10s", "30m"]);
    }
}
