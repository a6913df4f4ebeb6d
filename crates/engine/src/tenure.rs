//! Leads a target while its lease is ours, and waits for it while another one leads. Decides nothing about the target.
//! A lease that was lost is waited for again: nothing has to be removed or restarted by hand.

use crate::api::wire::ApiError;
use crate::calibrator::{Calibrator, SECONDS_MAX, Told};
use crate::controller::{Candidate, Controller, Opened};
use crate::executor::{Executor, SharedBoard, locked};
use crate::journal::{Damage, Journal, JournalError, Reader};
use crate::leader::{Fate, Owner, Standing, Watch, short};
use crate::lease::Lease;
use crate::monitor::Asker;
use crate::readiness::{Checker, Found};
use crate::reference::Reference;
use crate::run::{End, Life, MAILBOX_MAX, Message};
use crate::sight::Seen;
use crate::targets::{Entry, Handle, Targets, Wakes};
use crate::watcher::Watcher;
use drivers::platform::{Platform, PlatformError};
use rollout::judge::ProbeCounts;
use rollout::machine::State;
use rollout::names::{Generation, Millis, Target};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};

/// Between two looks at a lease that another one has: what an end of its owner costs at most.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Who leads a target instead of this engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub lease: Lease,
    /// When it may be taken, unless it is renewed before.
    pub free_at: Millis,
}

impl Held {
    /// Words why a command is not done.
    pub fn refusal(&self, target: &Target) -> ApiError {
        let Lease { owner, epoch, until } = &self.lease;
        ApiError {
            error: format!("change {}: another engine leads it", target.service),
            cause: Some(format!("{} has the lease (epoch {epoch}) until {}", short(owner), until.rfc3339())),
            next: Some(
                "ask that engine; one that has ended or falls silent is followed by this one, by itself: `medeclipse status`"
                    .to_owned(),
            ),
            exit: 3,
        }
    }
}

impl<P: Platform + Wakes> Targets<P> {
    /// Leads a target, or begins to wait until that is possible.
    pub(super) fn start(self: &Arc<Self>, target: &Target) -> Entry {
        let mut watch = Watch::new(self.terms);
        match self.try_to_lead(target, &mut watch) {
            Some(Entry::Held(held)) => {
                let free_at = held.free_at.rfc3339();
                crate::log(&format!(
                    "{target}: led by {}: waiting, until {free_at} at the earliest unless it ends",
                    held.lease.owner
                ));
                tokio::spawn(self.clone().wait(target.clone(), watch));
                Entry::Held(held)
            }
            Some(entry) => entry,
            None => {
                tokio::spawn(self.clone().wait(target.clone(), watch));
                Entry::Held(self.unknown_holder())
            }
        }
    }

    /// Waits until the target may be led, and leads it.
    async fn wait(self: Arc<Self>, target: Target, mut watch: Watch) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let Some(entry) = tokio::task::block_in_place(|| self.try_to_lead(&target, &mut watch)) else {
                continue;
            };
            let waits = matches!(entry, Entry::Held(_));
            self.known.lock().expect("BUG: nobody panics with this lock").insert(target.clone(), entry);
            if !waits {
                return;
            }
        }
    }

    /// Leads the target if nobody else does. None: somebody is in the middle of a write.
    fn try_to_lead(self: &Arc<Self>, target: &Target, watch: &mut Watch) -> Option<Entry> {
        let own = self.owner.to_string();
        let mut judge = |lease: Option<&Lease>| {
            let fate = lease.map_or(Fate::Unknown, |lease| Owner::fate_of(&lease.owner));
            watch.look(lease, &own, fate, self.clock.now())
        };
        // Looked at first beside the journal: while another one leads, nothing of it is read again and again.
        let lease = Reader::open(&self.folder, target).and_then(|reader| reader.lease()).ok().flatten();
        if let (Standing::Held { free_at }, Some(lease)) = (judge(lease.as_ref()), lease) {
            return Some(Entry::Held(Held { lease, free_at }));
        }
        let accepted = self.accepted_of(target);
        let floor = crate::floor::of(&self.folder, target, accepted);
        let candidate = Candidate { owner: &own, terms: self.terms, accepted: floor };
        let opened = Journal::disk(&self.folder, target, floor)
            .and_then(|disk| Controller::open_where(disk, target, candidate, self.clock.now(), &mut judge));
        match opened {
            Ok(Opened::Leads(controller)) => Some(Entry::Living(self.live(target, *controller))),
            Ok(Opened::Held { lease, free_at }) => Some(Entry::Held(Held { lease, free_at })),
            Ok(Opened::Blocked { lease }) => {
                crate::log(&format!("{target}: its journal is being written and written: waiting"));
                end_who_blocks(target, lease.as_ref());
                None
            }
            Err(damage) => Some(self.damaged(target, &damage, accepted)),
        }
    }

    fn accepted_of(&self, target: &Target) -> Option<Generation> {
        let tables = self.accepted.iter().flat_map(|edge| &edge.tables);
        let mut of_target = tables.filter(|table| table.routes.target == *target);
        of_target.next().map(|table| table.generation)
    }

    fn unknown_holder(&self) -> Held {
        let now = self.clock.now();
        let owner = "a process that is writing its journal".to_owned();
        Held { lease: Lease { epoch: 0, owner, until: now }, free_at: now }
    }

    fn damaged(&self, target: &Target, damage: &Damage, accepted: Option<Generation>) -> Entry {
        let serves = if accepted.is_some() { "the edge goes on serving it" } else { "it is not served" };
        crate::log(&format!("{target} is damaged, {serves}: {}", damage.text()));
        Entry::Damaged(damage.text())
    }

    /// Takes in that another one leads, and waits for the target again.
    fn lost(self: Arc<Self>, target: Target, error: &JournalError) {
        let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        crate::log(&format!("lease_lost {target}: {cause}; it decides nothing more here, and waits"));
        let mut watch = Watch::new(self.terms);
        let entry = self.try_to_lead(&target, &mut watch);
        let waits = !matches!(entry, Some(Entry::Living(_) | Entry::Damaged(_)));
        let entry = entry.unwrap_or_else(|| Entry::Held(self.unknown_holder()));
        self.known.lock().expect("BUG: nobody panics with this lock").insert(target.clone(), entry);
        if waits {
            tokio::spawn(self.wait(target, watch));
        }
    }

    /// Starts everything that a target is made of while it is led.
    fn live(self: &Arc<Self>, target: &Target, controller: Controller) -> Handle {
        let (mailbox, inbox) = mpsc::channel(MAILBOX_MAX);
        let (state_sender, state) = watch::channel(Arc::new(controller.state.clone()));
        let (seen_sender, seen) = watch::channel(Seen::default());
        let now = self.clock.now();
        let (until_sender, until) = watch::channel(now.plus(self.terms.ttl));
        let poke = Arc::new(Notify::new());
        let board = SharedBoard::default();
        let heads = self.heads.clone();
        let (generation, fenced) = (controller.state.generation(), board.clone());
        let before = controller.judged().cloned();
        let life = Life {
            controller,
            executor: Executor {
                target: target.clone(),
                platform: self.platform.clone(),
                edge: self.edge.clone(),
                board: board.clone(),
                clock: self.clock.clone(),
                poke: poke.clone(),
            },
            mailbox: inbox,
            seen: seen.clone(),
            state: state_sender,
            clock: self.clock.clone(),
            terms: self.terms,
            until: until_sender,
            renew_at: now.plus(self.terms.renew_every()),
            is_unrenewed: false,
            fenced_at: Millis(0),
            lost: None,
            decided_at: Millis(0),
            probed: ProbeCounts::default(),
            tell: Box::new(move |_| heads.send_modify(|count| *count += 1)),
        };
        let watcher = Watcher {
            target: target.clone(),
            platform: self.platform.clone(),
            edge: self.edge.clone(),
            board,
            clock: self.clock.clone(),
            state: state.clone(),
            seen: seen_sender,
            poke: poke.clone(),
        };
        let (targets, of) = (self.clone(), target.clone());
        tokio::spawn(async move {
            if let Err(error) = fence(&*targets.platform, &of, generation, before.as_ref()).await {
                locked(&fenced).fenced(&error);
            }
            tokio::spawn(watcher.run());
            if let End::Lost(error) = life.run().await {
                tokio::task::block_in_place(|| targets.lost(of, &error));
            }
        });
        self.platform.wake(poke);
        let calibrator = self.follow_traffic(target, &state, &seen, &mailbox);
        let readiness = self.check_readiness(target, &state);
        Handle { state, seen, until, readiness, mailbox, calibrator }
    }

    /// Starts whoever finds out whether a rollback could start.
    fn check_readiness(
        &self,
        target: &Target,
        state: &watch::Receiver<Arc<State>>,
    ) -> watch::Receiver<Found> {
        let (found, readiness) = watch::channel(Found::default());
        let checker = Checker {
            path: Checker::<P>::path(&self.readiness, target),
            state: state.clone(),
            found,
            platform: self.platform.clone(),
            artifacts: self.artifacts().clone(),
            clock: self.clock.clone(),
        };
        tokio::spawn(checker.run());
        readiness
    }

    /// Starts those who ask both versions and count what users see. Returns the way to the one who counts.
    fn follow_traffic(
        &self,
        target: &Target,
        state: &watch::Receiver<Arc<State>>,
        seen: &watch::Receiver<Seen>,
        mailbox: &mpsc::Sender<Message>,
    ) -> mpsc::Sender<Told> {
        let asker = Asker {
            state: state.clone(),
            seen: seen.clone(),
            mailbox: mailbox.clone(),
            clock: self.clock.clone(),
        };
        tokio::spawn(asker.clone().ask_checks());
        tokio::spawn(asker.probe());
        let (calibrator, told) = mpsc::channel(SECONDS_MAX);
        let keeper = Calibrator {
            path: Reference::path(&self.references, target),
            inbox: told,
            state: state.clone(),
            mailbox: mailbox.clone(),
            clock: self.clock.clone(),
        };
        tokio::spawn(keeper.run());
        calibrator
    }
}

/// Has the platform refuse what an earlier leader may still be doing, before anything is looked at.
pub(crate) async fn fence<P: Platform>(
    platform: &P,
    target: &Target,
    at: Generation,
    before: Option<&Lease>,
) -> Result<(), PlatformError> {
    let Err(error) = platform.fence(target, at).await else { return Ok(()) };
    crate::log(&format!("{target}: cannot keep earlier engines out: {error}"));
    end_who_blocks(target, before);
    // The first change does the same, and is asked for again until it is made.
    platform
        .fence(target, at)
        .await
        .inspect_err(|error| crate::log(&format!("{target}: cannot keep earlier engines out yet: {error}")))
}

/// Ends an owner that was passed over for its silence and was stopped in the middle of a write: its lock on the file
/// would last as long as it does. Only a process of this machine whose identity is certain.
fn end_who_blocks(target: &Target, lease: Option<&Lease>) {
    let held = lease.filter(|lease| !lease.is_given_back());
    let Some(owner) = held.and_then(|lease| lease.owner.parse::<Owner>().ok()) else { return };
    match owner.end() {
        Ok(true) => crate::log(&format!("{target}: {owner} was silent and held a lock: killed it")),
        Ok(false) => {}
        Err(error) => {
            crate::log(&format!("{target}: {owner} is silent, holds a lock and cannot be killed: {error}"))
        }
    }
}
