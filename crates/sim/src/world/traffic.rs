//! Sends requests: a day's rhythm in a few minutes, bursts, and errors where the world has some. One second at a time.

use super::{ENGINES, World};
use crate::checkers::gone_replica;
use rollout::judge::{ClientErrorCounts, ClientErrors, ProbeCounts, Record, Slow};
use rollout::machine::{Fact, MonitorAnswer, MonitorRound};
use rollout::mirror::{Copies, MirrorCounts};
use rollout::names::Revision;
use rollout::plan::MonitorAsk;
use rollout::routes::Arm;
use std::collections::BTreeMap;

/// The length of a simulated day.
const DAY_S: u64 = 240;
/// Engines promise so often to lead on.
const RENEWED_EVERY_S: u64 = 4;
/// Every so often a burst of three times the usual comes.
const BURST_ONE_IN: u64 = 20;

/// What was counted of one revision in one second.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    requests: u64,
    errors: u64,
    not_found: u64,
    copies: Copied,
}

/// What became of the requests that were copied to it.
#[derive(Debug, Clone, Copy, Default)]
struct Copied {
    compared: u64,
    status: u64,
    dropped: u64,
}

impl World {
    /// A second has passed: requests were answered, replicas probed, and the engines told.
    pub(super) fn second(&mut self) {
        self.relent();
        let counted = self.serve();
        for engine in 0..ENGINES {
            if !self.is_awake(engine) {
                continue;
            }
            self.probe(engine);
            if (self.now.0 / 1000).is_multiple_of(RENEWED_EVERY_S) {
                self.renew(engine);
            }
            if self.state(engine).is_some_and(|state| state.is_watching()) {
                let record = self.record(engine, &counted);
                self.step(engine, &Fact::Sample(Box::new(record)));
            }
            self.ask_checks(engine);
            if self.is_awake(engine) {
                self.look(engine);
            }
        }
        self.look_for_overdue();
    }

    fn requests(&mut self) -> u64 {
        let of_day = (self.now.0 / 1000 % DAY_S) as f64 / DAY_S as f64;
        let rhythm = 1.0 + 0.5 * libm::sin(of_day * std::f64::consts::TAU);
        let burst = if self.draw(BURST_ONE_IN) == 0 { 3.0 } else { 1.0 };
        (self.per_second as f64 * rhythm * burst) as u64
    }

    fn serve(&mut self) -> BTreeMap<Revision, Counted> {
        let mut counted = BTreeMap::new();
        let requests = self.requests();
        let Some(table) = self.edge.table.take() else { return counted };
        self.fail(gone_replica::NAME, gone_replica::routed(self, &table.routes));
        let weight =
            table.routes.candidate.as_ref().map_or(0, |candidate| u64::from(candidate.weight.percent()));
        let of_candidate = requests * weight / 100;
        if let Some(arm) = &table.routes.stable {
            counted.insert(arm.revision, self.answers(arm, requests - of_candidate));
        }
        if let Some(candidate) = &table.routes.candidate {
            let mut answers = self.answers(&candidate.arm, of_candidate);
            if let Some(copies) = &table.routes.mirror {
                answers.copies = self.copied(&candidate.arm, requests, copies);
            }
            counted.insert(candidate.arm.revision, answers);
        }
        self.edge.table = Some(table);
        counted
    }

    /// Copies requests to a candidate. While both versions share a fault, stable says nothing to compare with.
    fn copied(&mut self, arm: &Arm, requests: u64, copies: &Copies) -> Copied {
        let copied = requests * u64::from(copies.share.percent()) / 100;
        if self.is_before(self.faults.shared_until) {
            return Copied { dropped: copied, ..Copied::default() };
        }
        let status = self.answers(arm, copied).errors;
        Copied { compared: copied, status, dropped: 0 }
    }

    fn answers(&mut self, arm: &Arm, requests: u64) -> Counted {
        let shared = if self.is_before(self.faults.shared_until) { self.faults.shared } else { 0.0 };
        let (mut failing, mut not_found) = (0.0, 0.0);
        for end in &arm.replicas {
            let replica = self.machines.find(&end.replica);
            failing += match replica {
                Some(replica) if replica.is_live(self.now) => replica.fate.fails.max(shared),
                _ => 1.0,
            };
            not_found += replica.map_or(0.0, |replica| replica.fate.not_found);
        }
        let share = |sum: f64| sum / arm.replicas.len().max(1) as f64;
        let owed = self.owed.entry(arm.revision).or_default();
        *owed += requests as f64 * share(failing);
        let errors = (*owed as u64).min(requests);
        *owed -= errors as f64;
        let not_found = (requests as f64 * share(not_found)) as u64;
        Counted { requests, errors, not_found, copies: Copied::default() }
    }

    fn record(&self, engine: usize, counted: &BTreeMap<Revision, Counted>) -> Record {
        let second = self.now.0 / 1000;
        let silent = self.is_before(self.faults.silent_until) || !self.edge_is_reachable();
        let Some(state) = self.state(engine).filter(|_| !silent) else { return Record::missing(second) };
        let stable = state.stable.as_ref().map(|placed| placed.revision);
        let hot = state.hot.as_ref().map(|hot| hot.placed.revision);
        let (candidate, stable) = match &state.deployment {
            Some(running) => (Some(running.candidate.revision), stable),
            None => (stable, hot),
        };
        let of = |revision: Option<Revision>| {
            revision.and_then(|it| counted.get(&it)).copied().unwrap_or_default()
        };
        let (candidate, beside) = (of(candidate), of(stable));
        let unwell = candidate.errors > 0
            && beside.requests < 20
            && stable.is_some_and(|revision| {
                let asked = self.machines.running(revision).next().is_some();
                asked
                    && !self.machines.running(revision).any(|replica| {
                        replica.is_ready(self.now) && !self.is_before(self.faults.unready_until)
                    })
            });
        let clients = |counted: Counted| ClientErrorCounts {
            not_found: counted.not_found,
            ..ClientErrorCounts::default()
        };
        let Copied { compared, status, dropped } = candidate.copies;
        let probes = state.deployment.as_ref().and_then(|running| running.wants_probes());
        Record {
            second,
            unwell,
            candidate_requests: candidate.requests,
            candidate_errors: candidate.errors,
            stable_requests: beside.requests,
            stable_errors: beside.errors,
            slow: state.judge().and_then(|judge| judge.slow_from()).map(|_| Slow::default()),
            client_errors: Some(ClientErrors { candidate: clients(candidate), stable: clients(beside) }),
            mirror: MirrorCounts { compared, status, dropped, ..MirrorCounts::default() },
            probes: probes.map(|_| ProbeCounts { asked: 1, failed: u64::from(candidate.errors > 0) }),
            ..Record::default()
        }
    }

    /// Asks the named checks when their time has come.
    fn ask_checks(&mut self, engine: usize) {
        let now = self.clock(engine);
        let Some(state) = self.state(engine) else { return };
        let Some(running) = &state.deployment else { return };
        let Some(monitor) = running.monitor(now).filter(|_| now >= self.engines[engine].checks_at) else {
            return;
        };
        let passes = |revision: Option<Revision>| {
            let replica = self.machines.running(revision?).next()?;
            let release =
                self.faults.check_fails.get(&replica.release).is_some_and(|until| self.now < *until);
            Some(replica.is_live(self.now) && !release && !self.is_before(self.faults.shared_check_until))
        };
        let stable = state.stable.as_ref().map(|placed| placed.revision);
        let asked = monitor.checks.iter().filter(|check| matches!(check.ask, MonitorAsk::Url(_)));
        let answers = asked.map(|check| MonitorAnswer {
            check: check.name.clone(),
            candidate_ok: passes(Some(running.candidate.revision)),
            stable_ok: passes(stable),
            why: String::new(),
        });
        let round = MonitorRound { answers: answers.collect() };
        self.engines[engine].checks_at = now.plus(monitor.every);
        self.step(engine, &Fact::Answers(round));
    }
}
