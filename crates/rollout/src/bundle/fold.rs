//! Folds the events of a bundle through the state the controller keeps, and remembers what its judge said last.
//! Compares nothing; see `replay`.

use super::{Before, Entry, Said};
use crate::event::{DeploymentKind, Event, Outcome};
use crate::judge::Judge;
use crate::machine::{Hot, State};
use crate::names::{Millis, Target};
use crate::plan::JudgeSettings;

/// The state of a target, as far as a bundle tells it.
pub(super) struct Fold {
    pub state: State,
    /// The judge of the watch over a successor is one of this bundle.
    watches_successor: bool,
    said: Option<Said>,
}

impl Fold {
    pub fn new(target: &Target, before: &Before) -> Self {
        let mut state = State::new(target.clone());
        state.stable = before.stable.clone();
        // Only its presence counts: a deployment that goes back to it is one flip. Who watched before is another story.
        state.hot = before.hot.clone().map(|placed| Hot {
            placed,
            until: Millis(u64::MAX),
            judge: Judge::new(&JudgeSettings::default(), false),
        });
        Self { state, watches_successor: false, said: None }
    }

    /// Takes an event in. Twice: counts twice.
    pub fn add(&mut self, entry: &Entry) {
        let ends_a_watch = matches!(
            entry.event,
            Event::DeploymentRequested(_) | Event::DeploymentFinished { .. } | Event::RevisionRetired { .. }
        );
        if ends_a_watch {
            self.said = self.says().or(self.said.take());
        }
        self.note_successor(&entry.event);
        self.state.apply(&entry.event, entry.seq, entry.at);
    }

    fn note_successor(&mut self, event: &Event) {
        let Event::DeploymentFinished { outcome, .. } = event else { return };
        let Some(running) = &self.state.deployment else { return };
        if matches!(outcome, Outcome::Promoted | Outcome::PromotedUnproven) {
            self.watches_successor = running.of == DeploymentKind::Deploy;
        }
    }

    /// Returns who judges now, if anything is judged against anything.
    pub fn judge(&self) -> Option<&Judge> {
        match (&self.state.deployment, &self.state.hot) {
            (Some(running), _) => {
                Some(&running.judge).filter(|_| running.is_judged() && self.state.stable.is_some())
            }
            (None, Some(hot)) => Some(&hot.judge).filter(|_| self.watches_successor),
            (None, None) => None,
        }
    }

    fn says(&self) -> Option<Said> {
        let verdict = self.judge()?.verdict();
        Some(Said { verdict: verdict.word, evidence: verdict.evidence })
    }

    /// Returns what the judge said last. None: nothing was judged.
    pub fn said(&self) -> Option<Said> {
        self.says().or_else(|| self.said.clone())
    }

    /// Tells whether a watch over a successor goes on.
    pub fn goes_on_watching(&self) -> bool {
        self.state.deployment.is_none() && self.state.hot.is_some() && self.watches_successor
    }
}
