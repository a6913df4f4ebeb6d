//! Asks both versions of a target what its manifest wants to know while a candidate is watched: named checks, and
//! synthetic requests where traffic is thin. Judges nothing; `rollout::machine::monitor` and the judge do.

use crate::clock::Clock;
use crate::http::ask_tcp;
use crate::run::Message;
use crate::sight::Seen;
use rollout::judge::ProbeCounts;
use rollout::machine::{MonitorAnswer, MonitorRound, State};
use rollout::names::Millis;
use rollout::plan::{Monitor, MonitorAsk, MonitorCheck};
use rollout::release::{Placed, Protocol};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// A synthetic request must be answered within this time; no answer is a failure.
const PROBE_WITHIN: Duration = Duration::from_secs(5);
/// Traffic is thin while users send the candidate fewer requests than this between two synthetic ones.
const THIN_BELOW: u64 = 5;

/// The way to one target.
#[derive(Clone)]
pub struct Asker {
    pub state: watch::Receiver<Arc<State>>,
    pub seen: watch::Receiver<Seen>,
    pub mailbox: mpsc::Sender<Message>,
    pub clock: Arc<Clock>,
}

/// Whom to ask, and in what.
type End = (SocketAddr, Protocol);

impl Asker {
    /// Asks the named checks, round after round, whenever a candidate is watched; until the target ends.
    pub async fn ask_checks(mut self) {
        let mut round = 0;
        loop {
            let monitor = self.state.borrow_and_update().deployment.as_ref().and_then(|running| {
                running.monitor(self.clock.now()).map(|monitor| (running.candidate.clone(), monitor.clone()))
            });
            let Some((candidate, monitor)) = monitor else {
                if self.state.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let began = tokio::time::Instant::now();
            let answers = self.round(&candidate, &monitor, round).await;
            round += 1;
            if self.mailbox.send(Message::Answers(answers)).await.is_err() {
                return;
            }
            tokio::time::sleep_until(began + duration(monitor.every)).await;
        }
    }

    async fn round(&self, candidate: &Placed, monitor: &Monitor, round: usize) -> MonitorRound {
        let stable = self.state.borrow().stable.clone();
        let ends = [self.replica(Some(candidate), round), self.replica(stable.as_ref(), round)];
        let checks = monitor.checks.iter().filter_map(|check| match &check.ask {
            MonitorAsk::Url(path) => Some(answer(check, path, ends)),
            // Counted by the edge: the core knows it.
            MonitorAsk::ErrorRate(_) => None,
        });
        MonitorRound { answers: futures_util::future::join_all(checks).await }
    }

    /// Returns one running replica of a release, another one each time.
    fn replica(&self, placed: Option<&Placed>, round: usize) -> Option<End> {
        let seen = self.seen.borrow();
        let running: Vec<_> = seen.world.presence(placed?.revision).running().collect();
        let chosen = running.get(round % running.len().max(1))?;
        Some((chosen.1.address, placed?.spec.health.protocol))
    }

    /// Sends synthetic requests to a candidate that gets few others; until the target ends.
    pub async fn probe(mut self) {
        let (mut round, mut before) = (0, 0);
        loop {
            let probed = self.state.borrow_and_update().deployment.as_ref().and_then(|running| {
                let probes = running.wants_probes()?.clone();
                Some((running.candidate.clone(), probes, running.judge.candidate_requests()))
            });
            let Some((candidate, probes, requests)) = probed else {
                before = 0;
                if self.state.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let thin = requests.saturating_sub(std::mem::replace(&mut before, requests)) < THIN_BELOW;
            if let Some((address, protocol)) = self.replica(Some(&candidate), round).filter(|_| thin) {
                let status = ask_tcp(address, protocol, &probes.path, PROBE_WITHIN).await;
                let failed = u64::from(!status.is_ok_and(|status| status.as_u16() < 500));
                round += 1;
                if self.mailbox.send(Message::Probed(ProbeCounts { asked: 1, failed })).await.is_err() {
                    return;
                }
            }
            tokio::time::sleep(duration(probes.every)).await;
        }
    }
}

/// Asks one check of both versions.
async fn answer(check: &MonitorCheck, path: &str, ends: [Option<End>; 2]) -> MonitorAnswer {
    let [candidate, stable] = ends;
    let (candidate, stable) =
        tokio::join!(ask(candidate, path, check.deadline), ask(stable, path, check.deadline));
    MonitorAnswer {
        check: check.name.clone(),
        candidate_ok: candidate.as_ref().map(Result::is_ok),
        stable_ok: stable.as_ref().map(Result::is_ok),
        why: candidate.and_then(Result::err).unwrap_or_default(),
    }
}

async fn ask(end: Option<End>, path: &str, deadline: Millis) -> Option<Result<(), String>> {
    let (address, protocol) = end?;
    Some(match ask_tcp(address, protocol, path, duration(deadline)).await {
        Ok(status) if (200..400).contains(&status.as_u16()) => Ok(()),
        Ok(status) => Err(format!("answered {}", status.as_u16())),
        Err(error) => Err(error.to_string()),
    })
}

fn duration(time: Millis) -> Duration {
    Duration::from_millis(time.0)
}
