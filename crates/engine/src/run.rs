//! Lives one target: takes messages and sights in, lets the controller decide, and has the changes made.
//! The controller never waits for a change; what it wants is compared with what is there, again and again.

use crate::api::wire::DeploymentView;
use crate::clock::Clock;
use crate::controller::{CommandError, Commanded, Controller};
use crate::executor::Executor;
use crate::samples;
use crate::watcher::Seen;
use drivers::platform::Platform;
use meter::wire::SecondRecord;
use rollout::change::{Change, changes};
use rollout::event::{Event, EventRecord};
use rollout::judge::{Calibration, ProbeCounts, Record};
use rollout::machine::{Fact, MonitorRound, OperatorCommand, State, WantedTask};
use rollout::names::{Actor, Millis, Revision};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Messages waiting for a target; more senders wait, samples are dropped and count as missing.
pub const MAILBOX_MAX: usize = 256;
/// Without any reason to look earlier, a target looks at itself this often.
const WAKE_AT_LEAST: Duration = Duration::from_secs(5);
/// A replica that exited is replaced at once the first time, then after this, doubled by each further exit.
const RELAUNCH_FIRST: Millis = Millis(200);
const RELAUNCH_MAX: Millis = Millis::seconds(30);

/// What a target can be told.
pub enum Message {
    Command {
        command: OperatorCommand,
        actor: Actor,
        reply: oneshot::Sender<Result<Commanded, CommandError>>,
    },
    /// The counts of one closed second; None: nobody reported it.
    Second {
        second: u64,
        counts: Option<Arc<SecondRecord>>,
        /// See `witness`.
        unwell: bool,
    },
    /// What the service's own traffic says about it.
    Calibrated(Box<Calibration>),
    /// What the named checks answered.
    Answers(MonitorRound),
    /// Synthetic requests to the candidate since the last of these.
    Probed(ProbeCounts),
    ClockStepped {
        by_ms: i64,
    },
    History {
        reply: oneshot::Sender<Vec<DeploymentView>>,
    },
    /// Nothing more is changed from here on; answered when the last decision is in the journal.
    Stop {
        reply: oneshot::Sender<()>,
    },
}

/// One target and everything around its controller.
pub struct Life<P> {
    pub controller: Controller,
    pub executor: Executor<P>,
    pub mailbox: mpsc::Receiver<Message>,
    pub seen: watch::Receiver<Seen>,
    pub state: watch::Sender<Arc<State>>,
    pub clock: Arc<Clock>,
    /// When a decision was last taken.
    pub decided_at: Millis,
    /// Synthetic requests not yet told with a second.
    pub probed: ProbeCounts,
    /// Told every record, after it is on disk.
    pub tell: Box<dyn Fn(&EventRecord) + Send + Sync>,
}

impl<P: Platform> Life<P> {
    /// Lives until told to stop or nobody can speak to it any more.
    pub async fn run(mut self) {
        loop {
            let wake = self.wake_in();
            tokio::select! {
                message = self.mailbox.recv() => match message {
                    Some(Message::Stop { reply }) => {
                        // Closed first: after a `down`, a journal is one whole file.
                        drop(self);
                        // The sender may have stopped waiting; the target stops all the same.
                        let _ = reply.send(());
                        return;
                    }
                    Some(message) => self.take(message),
                    None => return,
                },
                sight = self.seen.changed() => if sight.is_err() { return },
                () = tokio::time::sleep(wake) => {}
            }
            self.decide();
            self.pursue();
        }
    }

    /// Returns how long nothing needs to be decided.
    fn wake_in(&self) -> Duration {
        let next = self.controller.state.wake_after(self.decided_at);
        let wait = next.map(|at| Duration::from_millis(at.since(self.clock.now()).0));
        wait.unwrap_or(WAKE_AT_LEAST).min(WAKE_AT_LEAST)
    }

    fn take(&mut self, message: Message) {
        let now = self.clock.now();
        match message {
            Message::Command { command, actor, reply } => {
                let answer = tokio::task::block_in_place(|| self.controller.command(&command, &actor, now));
                if let Ok(Commanded::Done(records) | Commanded::Wait(records)) = &answer {
                    self.publish_state(records);
                }
                // Who asked may have gone; what was written stays true.
                let _ = reply.send(answer);
            }
            Message::Second { second, counts, unwell } => {
                let record = samples::record(&self.controller.state, second, counts.as_deref());
                let probes = Some(std::mem::take(&mut self.probed)).filter(|probes| probes.asked > 0);
                self.step(&Fact::Sample(Box::new(Record { unwell, probes, ..record })));
            }
            Message::Calibrated(calibration) => self.step(&Fact::Calibrated(calibration)),
            Message::Answers(round) => self.step(&Fact::Answers(round)),
            Message::Probed(probes) => {
                self.probed.asked += probes.asked;
                self.probed.failed += probes.failed;
            }
            Message::ClockStepped { by_ms } => {
                let noted =
                    tokio::task::block_in_place(|| self.controller.note(&Event::ClockStepped { by_ms }, now));
                if let Ok(record) = noted {
                    self.publish_state(&[record]);
                }
            }
            Message::History { reply } => {
                let _ = reply.send(self.controller.history.deployments().cloned().collect());
            }
            Message::Stop { .. } => {}
        }
    }

    fn decide(&mut self) {
        self.decided_at = self.clock.now();
        let seen = self.seen.borrow().clone();
        if seen.look > 0 {
            self.step(&Fact::World(Box::new(seen.world)));
        }
    }

    fn step(&mut self, fact: &Fact) {
        let now = self.clock.now();
        let (records, failed) = tokio::task::block_in_place(|| self.controller.step(fact, now));
        self.publish_state(&records);
        if let Some(error) = failed {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            crate::log(&format!("cannot {error}: {cause}; {}", error.next()));
        }
    }

    fn publish_state(&self, records: &[EventRecord]) {
        if records.is_empty() {
            return;
        }
        self.state.send_replace(Arc::new(self.controller.state.clone()));
        records.iter().for_each(&self.tell);
    }

    /// Compares what should be with what was seen, and begins what differs.
    fn pursue(&self) {
        let seen = self.seen.borrow();
        if seen.look == 0 {
            return;
        }
        let state = &self.controller.state;
        let now = self.clock.now();
        let desired = state.desired();
        let mut world = seen.world.clone();
        if let Some(edge) = &mut world.edge {
            // A table on its way may route to these before the next look shows it.
            edge.routed.extend(self.executor.board.sent_since(seen.began));
        }
        for change in changes(&desired, &world) {
            if self.may_launch(&change, now) {
                self.executor.make(change, state.generation());
            }
        }
        self.ask(&desired.tasks, &seen);
        self.route(&seen, now);
    }

    /// A replica that keeps exiting is replaced ever later.
    fn may_launch(&self, change: &Change, now: Millis) -> bool {
        let Change::Launch { placed, .. } = change else { return true };
        let Some(from) = self.relaunch_from(placed.revision) else { return true };
        if now < from {
            let poke = self.executor.poke.clone();
            let wait = Duration::from_millis(from.since(now).0);
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                poke.notify_one();
            });
        }
        now >= from
    }

    fn relaunch_from(&self, revision: Revision) -> Option<Millis> {
        let mut exits = self.controller.state.lost.iter().filter(|lost| lost.revision == revision).rev();
        let last = exits.next()?;
        let before = exits.count() as u32;
        let wait = match before {
            0 => Millis(0),
            more => Millis(RELAUNCH_FIRST.0.saturating_mul(2u64.saturating_pow(more - 1))).min(RELAUNCH_MAX),
        };
        Some(last.at.plus(wait))
    }

    fn ask(&self, tasks: &[WantedTask], seen: &Seen) {
        let running = self.controller.state.deployment.as_ref();
        self.executor.forget(
            |id| running.is_some_and(|running| running.id == id.deployment),
            running.map(|running| running.candidate.revision),
        );
        for task in tasks {
            let WantedTask::Ask { id, revision, path, deadline } = task else { continue };
            if let Some((_, replica)) = seen.world.presence(*revision).ready().next() {
                self.executor.ask(
                    id.clone(),
                    replica.address,
                    path.clone(),
                    Duration::from_millis(deadline.0),
                );
            }
        }
    }

    fn route(&self, seen: &Seen, now: Millis) {
        if seen.world.edge.is_none() {
            return;
        }
        let state = &self.controller.state;
        match state.routes(&seen.world, now) {
            Some(routes) if seen.table.as_ref() != Some(&routes) => {
                self.executor.publish(routes, state.generation());
            }
            None if seen.table.is_some() && state.stable.is_none() && state.deployment.is_none() => {
                self.executor.withdraw(state.generation());
            }
            _ => {}
        }
    }
}
