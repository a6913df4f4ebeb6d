//! Finds in a bundle what a person asks first: what was decided, on which numbers, what was left out, what else was seen.
//! Words nothing but the two sentences of `summary`; see `render::explain`.

mod summary;

use rollout::bundle::{Bundle, Compared, Cut, Entry, Point, Replayed};
use rollout::event::{DeploymentKind, Event, Outcome, ReturnReason, VerdictWord};
use rollout::judge::{Calibration, Evidence, FailingRequest, Finding, ProbeCounts};
use rollout::names::{DeploymentId, Label, Millis, Release, Revision, Target};
use serde::Serialize;

/// Why a deployment ended as it did: `explain --json`.
#[derive(Debug, Serialize)]
pub struct Explanation {
    pub target: Target,
    pub deployment: DeploymentId,
    pub kind: DeploymentKind,
    pub release: Release,
    pub label: Option<Label>,
    pub revision: Revision,
    pub actor: String,
    pub requested_at: Millis,
    pub finished_at: Option<Millis>,
    /// None while it runs.
    pub outcome: Option<Outcome>,
    pub reason: Option<String>,
    /// The deployment whose release was judged: another one where a watch opened a return.
    pub judged: DeploymentId,
    pub why: Option<ReturnReason>,
    pub verdict: Option<VerdictWord>,
    /// What it rests on: the verdict's evidence, or what the judge said last. None: nothing was judged.
    pub evidence: Option<Evidence>,
    /// Bound of the manifest on how often a harmless release may be taken back.
    pub false_rollback: f64,
    pub summary: [String; 2],
    pub left_out: LeftOut,
    pub known: Known,
    pub findings: Vec<Finding>,
    pub checks: Vec<CheckTally>,
    pub failures: Vec<FailingRequest>,
    pub points: Vec<Point>,
    /// What happened, seconds of evidence folded.
    pub timeline: Vec<Happened>,
    /// Whether replaying it here gives the same.
    pub replay: Verified,
    pub cut: Option<Cut>,
}

/// What says nothing about the candidate.
#[derive(Debug, Default, Serialize)]
pub struct LeftOut {
    pub warm_up_seconds: u64,
    pub shared_seconds: u64,
    pub missing_seconds: u64,
    pub probes: ProbeCounts,
    /// Requests with this header see the candidate and are never counted.
    pub allow: Option<String>,
}

/// What was known of the service before the watch.
#[derive(Debug, Default, Serialize)]
pub struct Known {
    /// The weights watched have constants of their own, from stable's traffic.
    pub calibrated: bool,
    pub hours: f64,
    /// Components that would find their fault late or never.
    pub insensitive: Vec<String>,
}

/// How often a named check was asked, and how often it failed.
#[derive(Debug, Serialize)]
pub struct CheckTally {
    pub check: String,
    pub asked: u64,
    pub candidate_failed: u64,
    pub stable_failed: u64,
    /// Why it failed last.
    pub why: String,
}

/// One line of the timeline.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Happened {
    Event {
        at: Millis,
        kind: &'static str,
        text: String,
        actor: Option<String>,
    },
    /// Seconds in a row that were only counted.
    Counted {
        at: Millis,
        seconds: u64,
        candidate: [u64; 2],
        stable: [u64; 2],
    },
}

/// What a replay found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Verified {
    pub identical: bool,
    pub same: usize,
    pub differ: usize,
    pub not_computed: usize,
}

impl Verified {
    pub fn of(replayed: &Replayed) -> Self {
        let all = replayed.decisions.iter().map(|decision| &decision.compared).chain([&replayed.compared]);
        let count = |is: fn(&Compared) -> bool| all.clone().filter(|compared| is(compared)).count();
        Self {
            identical: replayed.is_identical(),
            same: count(|compared| matches!(compared, Compared::Same)),
            differ: count(|compared| matches!(compared, Compared::Differs { .. })),
            not_computed: count(|compared| matches!(compared, Compared::NotComputed { .. })),
        }
    }
}

/// Explains a bundle; None when it holds no request of its deployment.
pub fn explain(bundle: &Bundle, replayed: Replayed) -> Option<Explanation> {
    let (request, requested) = bundle.requested()?;
    let (_, judged) = bundle.judged()?;
    let verdict = bundle.events.iter().rev().find_map(|entry| match &entry.event {
        Event::VerdictReached { verdict, evidence, .. } => Some((*verdict, evidence.clone())),
        _ => None,
    });
    let said = bundle.said.clone().or_else(|| replayed.said.clone());
    let spoken = verdict.filter(|(_, evidence)| !evidence.is_signal());
    let spoken = spoken.or_else(|| said.map(|said| (said.verdict, said.evidence)));
    let (word, evidence) = spoken.unzip();
    let finished = bundle.events.iter().find_map(|entry| match &entry.event {
        Event::DeploymentFinished { outcome, reason, .. }
            if entry.deployment.as_ref() == Some(&bundle.deployment) =>
        {
            Some((entry.at, *outcome, reason.clone()))
        }
        _ => None,
    });
    let mut explanation = Explanation {
        target: bundle.target.clone(),
        deployment: bundle.deployment.clone(),
        kind: requested.of,
        release: requested.candidate.release.clone(),
        label: requested.candidate.label.clone(),
        revision: requested.candidate.revision,
        actor: request.actor.to_string(),
        requested_at: request.at,
        finished_at: finished.as_ref().map(|(at, ..)| *at),
        outcome: finished.as_ref().map(|(_, outcome, _)| *outcome),
        reason: finished.and_then(|(_, _, reason)| reason).or_else(|| requested.reason.clone()),
        judged: judged.deployment.clone(),
        why: why(bundle),
        verdict: word,
        false_rollback: judged.settings.judge.false_rollback,
        summary: Default::default(),
        left_out: left_out(
            evidence.as_ref(),
            &replayed,
            judged.settings.allow.as_ref().map(|allow| &allow.header),
        ),
        known: known(
            evidence.as_ref(),
            replayed.calibration.as_ref(),
            &judged.settings.judge.latency.quantiles,
        ),
        findings: findings(bundle),
        checks: checks(bundle),
        failures: evidence.iter().flat_map(|evidence| evidence.failures.clone()).collect(),
        timeline: timeline(bundle),
        replay: Verified::of(&replayed),
        cut: bundle.cut,
        evidence,
        points: replayed.points,
    };
    explanation.summary = summary::sentences(&explanation, bundle);
    Some(explanation)
}

/// Returns why the deployment went back, the first that was said.
fn why(bundle: &Bundle) -> Option<ReturnReason> {
    bundle.events.iter().find_map(|entry| match &entry.event {
        Event::VerdictReached { why, .. } | Event::ReturnStarted { why } => Some(why.clone()),
        Event::Aborted { superseded: true } => Some(ReturnReason::Superseded),
        Event::Aborted { superseded: false } => Some(ReturnReason::Aborted),
        _ => None,
    })
}

fn left_out(evidence: Option<&Evidence>, replayed: &Replayed, allow: Option<&String>) -> LeftOut {
    let missing = replayed.points.iter().filter(|point| point.missing).count();
    LeftOut {
        warm_up_seconds: evidence.map_or(0, |evidence| evidence.warm_up_seconds),
        shared_seconds: evidence.map_or(0, |evidence| evidence.shared_seconds),
        missing_seconds: missing as u64,
        probes: evidence.map(|evidence| evidence.probes).unwrap_or_default(),
        allow: allow.cloned(),
    }
}

fn known(evidence: Option<&Evidence>, calibration: Option<&Calibration>, quantiles: &[f64]) -> Known {
    let Some(calibration) = calibration else { return Known::default() };
    let weight = evidence.and_then(|evidence| evidence.weight).map(rollout::names::Weight::share);
    let share =
        calibration.shares.iter().find(|share| weight.is_some_and(|it| (it - share.weight).abs() < 1e-9));
    let insensitive = share.iter().flat_map(|share| &share.insensitive);
    Known {
        calibrated: evidence.is_some_and(|evidence| !evidence.cold),
        hours: calibration.hours,
        insensitive: insensitive.map(|of| summary::component(of, calibration, quantiles)).collect(),
    }
}

fn findings(bundle: &Bundle) -> Vec<Finding> {
    let reported = bundle.events.iter().filter_map(|entry| match &entry.event {
        Event::FindingReported { finding } => Some(finding.clone()),
        _ => None,
    });
    reported.collect()
}

fn checks(bundle: &Bundle) -> Vec<CheckTally> {
    let mut tallies: Vec<CheckTally> = Vec::new();
    let rounds = bundle.events.iter().filter_map(|entry| match &entry.event {
        Event::ChecksAnswered { round } => Some(round),
        _ => None,
    });
    for answer in rounds.flat_map(|round| &round.answers) {
        let found = tallies.iter().position(|tally| tally.check == answer.check);
        let place = found.unwrap_or_else(|| {
            let check = answer.check.clone();
            tallies.push(CheckTally {
                check,
                asked: 0,
                candidate_failed: 0,
                stable_failed: 0,
                why: String::new(),
            });
            tallies.len() - 1
        });
        let tally = &mut tallies[place];
        tally.asked += u64::from(answer.candidate_ok.is_some());
        tally.candidate_failed += u64::from(answer.candidate_ok == Some(false));
        tally.stable_failed += u64::from(answer.stable_ok == Some(false));
        if !answer.why.is_empty() {
            tally.why.clone_from(&answer.why);
        }
    }
    tallies
}

fn timeline(bundle: &Bundle) -> Vec<Happened> {
    let mut lines = Vec::new();
    for entry in &bundle.events {
        if let Event::EvidenceAdded { record } = &entry.event {
            let candidate = [record.candidate_requests, record.candidate_errors];
            let stable = [record.stable_requests, record.stable_errors];
            count(&mut lines, entry.at, candidate, stable);
        } else if !is_uneventful(entry) {
            let by_hand = entry.actor.as_str() != "engine";
            lines.push(Happened::Event {
                at: entry.at,
                kind: entry.event.kind(),
                text: entry.event.to_string(),
                actor: by_hand.then(|| entry.actor.to_string()),
            });
        }
    }
    lines
}

/// Adds a second to the last line, or begins one.
fn count(lines: &mut Vec<Happened>, at: Millis, candidate: [u64; 2], stable: [u64; 2]) {
    if let Some(Happened::Counted { seconds, candidate: of_candidate, stable: of_stable, .. }) =
        lines.last_mut()
    {
        *seconds += 1;
        let add = |sum: &mut [u64; 2], more: [u64; 2]| {
            *sum = [sum[0].saturating_add(more[0]), sum[1].saturating_add(more[1])]
        };
        add(of_candidate, candidate);
        add(of_stable, stable);
        return;
    }
    lines.push(Happened::Counted { at, seconds: 1, candidate, stable });
}

/// Checks that pass are counted, not told one by one.
fn is_uneventful(entry: &Entry) -> bool {
    match &entry.event {
        Event::ChecksAnswered { round } => {
            round.answers.iter().all(|answer| answer.candidate_ok != Some(false))
        }
        Event::LeaseTaken { .. } | Event::SettingsChanged { .. } => true,
        _ => false,
    }
}
