//! Watches named checks: asked of both versions again and again, each with its own count of failures in a row.
//! Asks nobody itself; `engine::monitor` does. One rule over all of them: enough failing at the same time, and traffic goes back.

use super::state::{Deployment, Phase};
use crate::event::ReturnReason;
use crate::judge::SAMPLE_MIN;
use crate::judge::probes::{Answer, Probe, Probed};
use crate::names::Millis;
use crate::plan::{Monitor, MonitorAsk, MonitorCheck};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// The error rate of a named check is that of so many seconds.
const MINUTE: usize = 60;

/// What the checks answered when they were asked once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MonitorRound {
    pub answers: Vec<MonitorAnswer>,
}

/// What one check answered. None: nobody was there to be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MonitorAnswer {
    pub check: String,
    pub candidate_ok: Option<bool>,
    pub stable_ok: Option<bool>,
    /// Why it failed, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// The checks of one deployment and how they have answered so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MonitorState {
    /// Since the candidate's first request.
    pub since: Option<Millis>,
    probes: BTreeMap<String, Probe>,
    /// A check that failed on both sides when last asked.
    shared: Option<String>,
    /// Requests and errors of the last minute: candidate's, then stable's.
    minute: VecDeque<[u64; 4]>,
}

impl MonitorState {
    /// Remembers a second's counts, for the checks of the error rate.
    pub(super) fn count(&mut self, record: &crate::judge::Record) {
        if self.minute.len() == MINUTE {
            self.minute.pop_front();
        }
        self.minute.push_back([
            record.candidate_requests,
            record.candidate_errors,
            record.stable_requests,
            record.stable_errors,
        ]);
    }

    /// Folds one round of answers.
    pub(super) fn answered(&mut self, round: &MonitorRound, monitor: &Monitor) {
        self.shared = None;
        for check in &monitor.checks {
            let (candidate_ok, stable_ok) = match &check.ask {
                MonitorAsk::Url(_) => answer_of(round, check),
                MonitorAsk::ErrorRate(limit) => {
                    (self.rate_is_below(0, *limit), self.rate_is_below(2, *limit))
                }
            };
            self.fold(check, candidate_ok, stable_ok.filter(|_| monitor.attribute));
        }
    }

    /// Counts one answer. Where nobody of stable could be asked, or nobody asks, its failure is no excuse.
    fn fold(&mut self, check: &MonitorCheck, candidate_ok: Option<bool>, stable_ok: Option<bool>) {
        let Some(candidate_ok) = candidate_ok else { return };
        let probe = self.probes.entry(check.name.clone()).or_insert_with(|| Probe::new(check.failures));
        let answer = probe.add(Probed { candidate_ok, stable_ok: stable_ok.unwrap_or(true) });
        if answer == Answer::Hold {
            self.shared = Some(check.name.clone());
        }
    }

    fn rate_is_below(&self, side: usize, limit: f64) -> Option<bool> {
        let sum =
            |column: usize| self.minute.iter().fold(0u64, |sum, second| sum.saturating_add(second[column]));
        let (requests, errors) = (sum(side), sum(side + 1));
        (requests >= SAMPLE_MIN).then(|| errors as f64 / requests as f64 <= limit)
    }

    fn failing<'m>(&'m self, monitor: &'m Monitor) -> impl Iterator<Item = &'m MonitorCheck> {
        let fails = |check: &&MonitorCheck| {
            self.probes.get(&check.name).is_some_and(|probe| probe.failures() >= check.failures.max(1))
        };
        monitor.checks.iter().filter(fails)
    }
}

impl Deployment {
    /// Returns the checks to ask now; None while nothing of the candidate is watched, or their time is over.
    pub fn monitor(&self, now: Millis) -> Option<&Monitor> {
        let monitor = self.settings.monitor.as_ref().filter(|_| self.is_judged())?;
        let since = self.monitor.since?;
        let watched = matches!(self.phase, Phase::Shifting { .. } | Phase::Baking { .. } | Phase::Promoting);
        let over = monitor.during.is_some_and(|during| now.since(since) >= during);
        (watched && !over).then_some(monitor)
    }

    /// Returns why the checks take the candidate back, if they do.
    pub(super) fn checks_failing(&self) -> Option<ReturnReason> {
        let monitor = self.settings.monitor.as_ref()?;
        let checks: Vec<_> = self.monitor.failing(monitor).map(|check| check.name.clone()).collect();
        (checks.len() >= monitor.failing.max(1) as usize).then_some(ReturnReason::ChecksFailing { checks })
    }

    /// Returns a check that fails on stable as well.
    pub(super) fn check_both_fail(&self) -> Option<&str> {
        self.monitor.shared.as_deref()
    }
}

fn answer_of(round: &MonitorRound, check: &MonitorCheck) -> (Option<bool>, Option<bool>) {
    let answer = round.answers.iter().find(|answer| answer.check == check.name);
    answer.map_or((None, None), |answer| (answer.candidate_ok, answer.stable_ok))
}

impl fmt::Display for MonitorRound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |ok: Option<bool>| match ok {
            Some(true) => "ok",
            Some(false) => "fails",
            None => "not asked",
        };
        f.write_str("checks:")?;
        for answer in &self.answers {
            write!(f, " {} {}", answer.check, word(answer.candidate_ok))?;
            if answer.candidate_ok == Some(false) {
                write!(f, " (stable {})", word(answer.stable_ok))?;
            }
        }
        Ok(())
    }
}
