//! Remembers what checkers need: the state as the journal alone tells it, and what has disturbed the world until when.

use super::follow::{Follow, stage};
use super::overdue::Streaks;
use super::{bad_release, healthy_promoted, keep_hot, premise, replay, shown, two_writers};
use crate::world::World;
use crate::world::operate::number_of;
use rollout::event::{DeploymentKind, Event};
use rollout::machine::State;
use rollout::names::{Millis, Revision, Target};
use std::collections::BTreeSet;

#[derive(Debug)]
pub struct Ledger {
    pub told: State,
    /// Rows read so far.
    read: usize,
    /// Faults may show until then.
    pub disturbed_until: Millis,
    /// Observations may be stale or partial until then.
    pub misled_until: Millis,
    /// What was sent before the disk forgot rows may arrive until then.
    pub forgetful_until: Millis,
    /// Releases that are not simply well.
    pub odd: BTreeSet<u8>,
    /// When the running deployment was requested.
    pub requested_at: Millis,
    /// The newest owner that has looked: from then on nobody older may change anything.
    pub looked_epoch: u64,
    /// The most replicas ever asked for in this life.
    pub replicas_most: u32,
    pub replicas_changed_at: Millis,
    pub follow: Follow,
    pub streaks: Streaks,
}

impl Ledger {
    pub fn new(target: Target) -> Self {
        Self {
            told: State::new(target),
            read: 0,
            disturbed_until: Millis(0),
            misled_until: Millis(0),
            forgetful_until: Millis(0),
            odd: BTreeSet::new(),
            requested_at: Millis(0),
            looked_epoch: 0,
            replicas_most: 1,
            replicas_changed_at: Millis(0),
            follow: Follow::default(),
            streaks: Streaks::default(),
        }
    }

    pub fn disturbed(&mut self, until: Millis) {
        self.disturbed_until = self.disturbed_until.max(until);
    }

    pub fn candidate_release(&self) -> u8 {
        self.told.deployment.as_ref().map_or(0, |running| number_of(&running.candidate))
    }

    fn fold(&mut self, event: &Event, seq: u64, at: Millis) {
        let was = stage(&self.told);
        self.follow.fold(event, at, &self.told);
        self.told.apply(event, seq, at);
        self.follow.go_on(at, was, &self.told);
    }

    /// Tells whether a release is in use.
    pub fn uses(&self, release: u8) -> bool {
        let candidate = self.told.deployment.iter().map(|running| &running.candidate);
        let hot = self.told.hot.iter().map(|hot| &hot.placed);
        candidate.chain(hot).chain(&self.told.stable).any(|placed| number_of(placed) == release)
    }

    /// Returns the release that has this number.
    pub fn release_of(&self, revision: Revision) -> Option<u8> {
        let candidate = self.told.deployment.iter().map(|running| &running.candidate);
        let hot = self.told.hot.iter().map(|hot| &hot.placed);
        let placed = candidate.chain(hot).chain(&self.told.stable).find(|placed| placed.revision == revision);
        placed.map(number_of)
    }

    pub fn is_kept(&self, revision: Revision) -> bool {
        let candidate = self.told.deployment.iter().map(|running| &running.candidate);
        let hot = self.told.hot.iter().map(|hot| &hot.placed);
        candidate.chain(hot).chain(&self.told.stable).any(|placed| placed.revision == revision)
    }
}

impl World {
    /// Reads what has been written since, as somebody would who knows the journal alone, and compares.
    pub(crate) fn read_on(&mut self, engine: usize) {
        let platter = self.platter.clone();
        let platter = platter.borrow();
        while let Some(row) = platter.rows.get(self.ledger.read) {
            self.ledger.read += 1;
            let event: Event = match serde_json::from_str(&row.body) {
                Ok(event) => event,
                Err(error) => return self.fail(replay::NAME, Some(format!("{}: {error}", row.kind))),
            };
            self.coverage.count_event(event.kind());
            if !matches!(event, Event::EvidenceAdded { .. }) {
                let (by, seq) = (row.actor.as_str(), row.seq);
                self.tell(|| format!("{seq:>5} {event} ({by})"));
            }
            let written = platter.accepted.get(self.ledger.read - 1).copied();
            self.fail(two_writers::NAME, two_writers::check(written, &event, &self.ledger.told));
            self.happened(&event, row.seq, Millis(row.at), &row.actor);
        }
        let died = platter.died.is_some();
        drop(platter);
        if !died {
            let differs = self.state(engine).and_then(|state| replay::check(&self.ledger.told, state));
            self.fail(replay::NAME, differs);
        }
    }

    fn happened(&mut self, event: &Event, seq: u64, at: Millis, actor: &str) {
        self.fail(premise::NAME, premise::check(self, event, at));
        match event {
            Event::DeploymentRequested(requested) => {
                self.ledger.requested_at = self.now;
                if requested.of != DeploymentKind::Deploy {
                    self.coverage.count("deployment goes_back");
                }
            }
            Event::DeploymentFinished { outcome, served_by, .. } => {
                self.coverage.count_outcome(*outcome);
                self.fail(shown::NAME, shown::check(self, *outcome, served_by.as_ref()));
                self.fail(healthy_promoted::NAME, healthy_promoted::check(self, *outcome));
                self.fail(bad_release::NAME, bad_release::check(self, *outcome));
            }
            Event::RevisionRetired { revision } => {
                self.fail(keep_hot::NAME, keep_hot::retired(&self.ledger, *revision, at, actor));
            }
            _ => {}
        }
        let before = self.ledger.told.replicas();
        self.ledger.fold(event, seq, at);
        self.fail(premise::NAME, premise::after(&self.ledger));
        let replicas = self.ledger.told.replicas();
        self.ledger.replicas_most = self.ledger.replicas_most.max(replicas);
        if before != replicas {
            self.ledger.replicas_changed_at = self.now;
        }
    }

    /// Reads the journal again from its first row: rows have been lost, or put back.
    pub(crate) fn retell(&mut self) {
        let platter = self.platter.clone();
        let mut platter = platter.borrow_mut();
        let kept = platter.rows.len();
        platter.accepted.truncate(kept);
        while platter.accepted.len() < kept {
            // Put back by an operator.
            platter.accepted.push((0, 0, Some(0)));
        }
        self.ledger.told = State::new(self.target.clone());
        self.ledger.follow = Follow::default();
        self.ledger.read = platter.rows.len();
        for row in &platter.rows {
            if let Ok(event) = serde_json::from_str::<Event>(&row.body) {
                self.ledger.fold(&event, row.seq, Millis(row.at));
            }
        }
    }
}
