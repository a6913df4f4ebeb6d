//! Lives one target: takes messages and sights in, lets the controller decide, and has the changes made.
//! The controller never waits for a change; what it wants is compared with what is there, again and again.

use crate::api::wire::DeploymentView;
use crate::clock::Clock;
use crate::controller::{CommandError, Commanded, Controller};
use crate::executor::{Executor, locked};
use crate::pursuit::pursue;
use crate::samples;
use crate::sight::Seen;
use drivers::platform::Platform;
use meter::wire::SecondRecord;
use rollout::event::{Event, EventRecord};
use rollout::judge::{Calibration, ProbeCounts, Record};
use rollout::machine::{Fact, MonitorRound, OperatorCommand, State};
use rollout::names::{Actor, Millis};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Messages waiting for a target; more senders wait, samples are dropped and count as missing.
pub const MAILBOX_MAX: usize = 256;
/// Without any reason to look earlier, a target looks at itself this often.
const WAKE_AT_LEAST: Duration = Duration::from_secs(5);
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

    /// Begins what differs from what should be.
    fn pursue(&self) {
        let acts = {
            let mut board = locked(&self.executor.board);
            pursue(&self.controller.state, &self.seen.borrow(), &mut board, self.clock.now())
        };
        acts.into_iter().for_each(|act| self.executor.begin(act));
    }
}
