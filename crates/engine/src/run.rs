//! Lives one target: takes messages and sights in, lets the controller decide, and has the changes made.
//! The controller never waits for a change; what it wants is compared with what is there, again and again.

use crate::api::wire::DeploymentView;
use crate::clock::Clock;
use crate::controller::{CommandError, Commanded, Controller};
use crate::executor::{Executor, locked};
use crate::journal::JournalError;
use crate::leader::Terms;
use crate::pursuit::pursue;
use crate::samples;
use crate::sight::Seen;
use crate::tenure::fence;
use drivers::platform::Platform;
use meter::wire::SecondRecord;
use rollout::event::{Event, EventRecord};
use rollout::judge::{Calibration, ProbeCounts, Record};
use rollout::machine::{Fact, MonitorRound, OperatorCommand, State};
use rollout::names::{Actor, Millis};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

/// Messages waiting for a target; more senders wait, samples are dropped and count as missing.
pub const MAILBOX_MAX: usize = 256;
/// Without any reason to look earlier, a target looks at itself this often.
const WAKE_AT_LEAST: Duration = Duration::from_secs(5);
/// A renewal that failed is tried again after this, or sooner where leases are short.
const RENEW_AGAIN: Millis = Millis::seconds(1);
/// A platform that takes longer to keep others out is asked by the first change again.
const FENCE_WITHIN: Duration = Duration::from_secs(10);

/// What a target can be told.
pub enum Message {
    Command {
        command: Box<OperatorCommand>,
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
    pub terms: Terms,
    /// Until when the lease is promised.
    pub until: watch::Sender<Millis>,
    /// When the lease is renewed next.
    pub renew_at: Millis,
    /// The last renewal failed; said once.
    pub is_unrenewed: bool,
    /// What was seen before is not acted on.
    pub fenced_at: Millis,
    /// Another one leads: says who.
    pub lost: Option<JournalError>,
    /// When a decision was last taken.
    pub decided_at: Millis,
    /// Synthetic requests not yet told with a second.
    pub probed: ProbeCounts,
    /// Told every record, after it is on disk.
    pub tell: Box<dyn Fn(&EventRecord) + Send + Sync>,
}

/// How a life ended.
pub enum End {
    Stopped,
    /// Another one leads: nothing of this target is decided here any more.
    Lost(JournalError),
}

impl<P: Platform> Life<P> {
    /// Lives until told to stop, nobody can speak to it any more, or another one leads.
    pub async fn run(mut self) -> End {
        loop {
            let wake = self.wake_in();
            let message = tokio::select! {
                message = self.mailbox.recv() => match message {
                    Some(Message::Stop { reply }) => {
                        self.give_back();
                        // The sender may have stopped waiting; the target stops all the same.
                        let _ = reply.send(());
                        return End::Stopped;
                    }
                    Some(message) => Some(message),
                    None => return End::Stopped,
                },
                sight = self.seen.changed() => if sight.is_err() { return End::Stopped } else { None },
                () = tokio::time::sleep(wake) => None,
            };
            // First of all: one that was stopped for long may lead no more, and would act on what was.
            self.renew();
            self.outrank().await;
            if let Some(message) = message {
                self.take(message);
            }
            if self.lost.is_none() {
                self.decide();
            }
            if let Some(lost) = self.lost.take() {
                return End::Lost(lost);
            }
            self.pursue();
        }
    }

    /// Renews the lease, when that is due.
    fn renew(&mut self) {
        let now = self.clock.now();
        if now < self.renew_at {
            return;
        }
        match tokio::task::block_in_place(|| self.controller.renew(now)) {
            Ok(record) => {
                self.renew_at = now.plus(self.terms.renew_every());
                self.until.send_replace(now.plus(self.terms.ttl));
                self.is_unrenewed = false;
                self.publish_state(record.as_slice());
            }
            Err(error) => {
                self.renew_at = now.plus(RENEW_AGAIN.min(self.terms.renew_every()));
                if error.is_loss() || !std::mem::replace(&mut self.is_unrenewed, true) {
                    self.failed(error);
                }
            }
        }
    }

    /// Takes the lease again, when the edge or the platform refuses what is asked for under its epoch. What was seen before
    /// the platform is fenced anew is not acted on: the other one may still have changed it.
    async fn outrank(&mut self) {
        let by_edge = self.seen.borrow().world.edge.as_ref().map_or(0, |edge| edge.generation.epoch);
        let seen = by_edge.max(locked(&self.executor.board).fenced_by());
        let now = self.clock.now();
        let record = match tokio::task::block_in_place(|| self.controller.outrank(seen, now)) {
            Ok(Some(record)) => record,
            Ok(None) => return,
            Err(error) => return self.failed(error),
        };
        self.publish_state(&[record]);
        let Executor { target, platform, poke, board, .. } = &self.executor;
        let generation = self.controller.state.generation();
        crate::log(&format!(
            "{target}: epoch {seen} was here and wrote nothing: leading on as of {generation}"
        ));
        match timeout(FENCE_WITHIN, fence(&**platform, target, generation, None)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => locked(board).fenced(&error),
            Err(_) => crate::log(&format!("{target}: the platform gave no answer within {FENCE_WITHIN:?}")),
        }
        self.fenced_at = self.clock.now().plus(Millis(1));
        poke.notify_one();
    }

    /// Gives the lease back and closes the journal: after a `down`, it is one whole file.
    fn give_back(mut self) {
        if let Err(error) = tokio::task::block_in_place(|| self.controller.release()) {
            // The next engine on this machine sees that we have ended; others wait for a while.
            crate::log(&format!("{}: cannot give the lease back: {error}", self.executor.target));
        }
    }

    /// Takes in that the journal was not written.
    fn failed(&mut self, error: JournalError) {
        if error.is_loss() {
            self.lost = Some(error);
            return;
        }
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        crate::log(&format!("cannot {error}: {cause}; {}", error.next()));
    }

    /// Returns how long nothing needs to be decided.
    fn wake_in(&self) -> Duration {
        let next = self.controller.state.wake_after(self.decided_at);
        let wait = next.map(|at| Duration::from_millis(at.since(self.clock.now()).0));
        let renewal = Duration::from_millis(self.renew_at.since(self.clock.now()).0);
        wait.unwrap_or(WAKE_AT_LEAST).min(WAKE_AT_LEAST).min(renewal)
    }

    fn take(&mut self, message: Message) {
        let now = self.clock.now();
        match message {
            Message::Command { command, actor, reply } => {
                let answer = tokio::task::block_in_place(|| self.controller.command(&command, &actor, now));
                match &answer {
                    Ok(Commanded::Done(records) | Commanded::Wait(records)) => self.publish_state(records),
                    Ok(Commanded::Known { .. }) | Err(CommandError::Refused(_)) => {}
                    Err(CommandError::Journal(error)) => self.lost = error.is_loss().then(|| error.clone()),
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
                match noted {
                    Ok(record) => self.publish_state(&[record]),
                    Err(error) => self.failed(error),
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
        if self.may_act_on(&seen) {
            self.step(&Fact::World(Box::new(seen.world)));
        }
    }

    fn step(&mut self, fact: &Fact) {
        let now = self.clock.now();
        let (records, failed) = tokio::task::block_in_place(|| self.controller.step(fact, now));
        self.publish_state(&records);
        if let Some(error) = failed {
            self.failed(error);
        }
    }

    fn publish_state(&self, records: &[EventRecord]) {
        if records.is_empty() {
            return;
        }
        self.state.send_replace(Arc::new(self.controller.state.clone()));
        records.iter().for_each(&self.tell);
    }

    /// Tells whether somebody has looked since nobody else can change anything any more.
    fn may_act_on(&self, seen: &Seen) -> bool {
        seen.began.is_some_and(|began| began >= self.fenced_at)
    }

    /// Begins what differs from what should be.
    fn pursue(&self) {
        let acts = {
            let seen = self.seen.borrow();
            if !self.may_act_on(&seen) {
                return;
            }
            let mut board = locked(&self.executor.board);
            pursue(&self.controller.state, &seen, &mut board, self.clock.now())
        };
        acts.into_iter().for_each(|act| self.executor.begin(act));
    }
}
