//! Says in two sentences what was decided and why. The first is the decision, the second how sure it is.

use super::Explanation;
use crate::render::numbers::{count, once_in, percent, share};
use rollout::bundle::Bundle;
use rollout::event::{DeploymentKind, Event, Outcome, ReturnReason, VerdictWord};
use rollout::judge::calibration::Insensitive;
use rollout::judge::policy::Metric;
use rollout::judge::ripr::Alternative;
use rollout::judge::{Calibration, Evidence};

pub fn sentences(of: &Explanation, bundle: &Bundle) -> [String; 2] {
    match (of.kind, of.outcome) {
        (_, Some(Outcome::Unchanged)) => [
            "Nothing was rolled out: this release serves already.".to_owned(),
            "Nothing was judged.".to_owned(),
        ],
        (DeploymentKind::Rollback, _) => {
            [by_hand(of), "What an operator goes back to is not judged.".to_owned()]
        }
        (DeploymentKind::Return, _) => after_promotion(of),
        (DeploymentKind::Deploy, Some(Outcome::Promoted | Outcome::PromotedUnproven)) => promoted(of, bundle),
        (DeploymentKind::Deploy, None) if of.why.is_none() => running(of),
        (DeploymentKind::Deploy, _) => went_back(of, bundle),
    }
}

fn by_hand(of: &Explanation) -> String {
    let ended =
        of.outcome.map_or_else(|| "is still on its way".to_owned(), |outcome| format!("ended: {outcome}"));
    format!("{} asked to go back to release {}; that {ended}.", of.actor, of.release.short())
}

fn after_promotion(of: &Explanation) -> [String; 2] {
    let judged = &of.judged;
    let Some(evidence) = of.evidence.as_ref().filter(|_| of.verdict == Some(VerdictWord::Worse)) else {
        let why = of.reason.as_deref().unwrap_or("its release did not work any more");
        return [
            format!("What {judged} had promoted was taken back, the release before being hot: {why}."),
            "No count decided that.".to_owned(),
        ];
    };
    [
        format!("What {judged} had promoted turned bad and was taken back: {}.", observed(evidence)),
        how_sure(of, evidence),
    ]
}

fn promoted(of: &Explanation, bundle: &Bundle) -> [String; 2] {
    let hurried = bundle.events.iter().any(|entry| matches!(entry.event, Event::StepPromoted { .. }));
    let by = if hurried { " An operator shortened it." } else { "" };
    let Some(evidence) = &of.evidence else {
        let nothing = "There was no release before it to compare it with.";
        return ["It was promoted.".to_owned(), format!("{nothing}{by}")];
    };
    let first = if of.outcome == Some(Outcome::Promoted) {
        "It was promoted: it served as well as the release before, within the margins of the manifest."
    } else {
        "It was promoted unproven: too little was seen to call it as good as the release before."
    };
    [first.to_owned(), format!("{}.{by}", capitalized(&observed(evidence)))]
}

fn running(of: &Explanation) -> [String; 2] {
    let first = match of.verdict {
        Some(word) => format!("It still runs; the judge's verdict so far: {word}."),
        None => "It still runs, and nothing has been judged yet.".to_owned(),
    };
    let seen = of.evidence.as_ref().map(|evidence| format!("So far {}.", observed(evidence)));
    [first, seen.unwrap_or_else(|| "The candidate has had no request.".to_owned())]
}

fn went_back(of: &Explanation, bundle: &Bundle) -> [String; 2] {
    let why = of.why.as_ref();
    let evidence = of.evidence.as_ref();
    match (why, evidence) {
        (Some(ReturnReason::Worse), Some(evidence)) => {
            [format!("The judge took it back: {}.", observed(evidence)), how_sure(of, evidence)]
        }
        (Some(ReturnReason::Aborted | ReturnReason::Superseded), _) => {
            let by = bundle.events.iter().find(|entry| matches!(entry.event, Event::Aborted { .. }));
            let by = by.map_or("an operator", |entry| entry.actor.as_str());
            let word = why.map(ToString::to_string).unwrap_or_default();
            [format!("It was stopped by {by}: {word}."), until_then(of)]
        }
        (Some(why @ ReturnReason::ChecksFailing { .. }), _) => {
            [format!("Named checks took it back: {why}, and stable does not fail them."), until_then(of)]
        }
        (Some(why), _) => [format!("It went back because {why}; no count decided that."), until_then(of)],
        (None, _) => {
            let reason = of.reason.as_deref().unwrap_or("the journal does not say why");
            [format!("It went back: {reason}."), until_then(of)]
        }
    }
}

fn until_then(of: &Explanation) -> String {
    match (&of.evidence, of.verdict) {
        (Some(evidence), Some(word)) => {
            format!("Of the counts the judge said until then: {word}; {}.", observed(evidence))
        }
        _ => "Until then nothing was judged.".to_owned(),
    }
}

/// Words what was counted, without a full stop.
fn observed(evidence: &Evidence) -> String {
    let what = match evidence.slower_than_ms {
        Some(limit) => format!("took longer than {limit:.1} ms on the candidate"),
        None => "failed on the candidate".to_owned(),
    };
    let of = match evidence.metric.strip_prefix("errors of ") {
        Some(route) => format!(" to {route}"),
        None => String::new(),
    };
    let metric =
        if evidence.slower_than_ms.is_some() { format!(" ({})", evidence.metric) } else { String::new() };
    let stable = if evidence.stable_requests == 0 {
        "stable answered none".to_owned()
    } else {
        format!(
            "{} of {} ({}) on stable",
            count(evidence.stable_errors),
            count(evidence.stable_requests),
            share(evidence.stable_errors, evidence.stable_requests)
        )
    };
    format!(
        "{} of {} requests{of} ({}) {what}{metric}, {stable}; up to {} would have been harmless",
        count(evidence.candidate_errors),
        count(evidence.candidate_requests),
        share(evidence.candidate_errors, evidence.candidate_requests),
        percent(evidence.limit),
    )
}

fn how_sure(of: &Explanation, evidence: &Evidence) -> String {
    if evidence.rule == "gross failure" {
        return "It failed half or more of its requests two seconds in a row while stable did not: no statistics are needed."
            .to_owned();
    }
    match evidence.p_value {
        Some(p_value) => format!(
            "A release as good as stable looks like that at most once in {} watches; the manifest allows once in {}.",
            once_in(p_value),
            once_in(of.false_rollback)
        ),
        None => "No statistic is behind it.".to_owned(),
    }
}

/// Words a component that sees little.
pub fn component(of: &Insensitive, calibration: &Calibration, quantiles: &[f64]) -> String {
    let metric = match of.metric {
        Metric::Errors => "errors".to_owned(),
        Metric::Latency(place) => {
            let quantile = quantiles.get(usize::from(place)).copied().unwrap_or_default();
            format!("latency p{}", quantile * 100.0)
        }
        Metric::Route(place) => match calibration.routes.get(usize::from(place)) {
            Some(route) => format!("errors of {}", route.template),
            None => "errors of a route".to_owned(),
        },
    };
    match of.alternative {
        Alternative::Odds(times) => format!("{metric} {times:.1} times the limit"),
        Alternative::Absolute(rate) => format!("{metric} at {}", percent(rate)),
    }
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
