//! Picks the events of a deployment out of a journal read from its beginning: first where its story begins, then what
//! belongs to it. Keeps none of them, so that a journal of any length can pass.

use super::fold::Fold;
use super::{Before, Cut, EVENTS_MAX, Entry, Said, redact};
use crate::event::{DeploymentKind, Event, EventRecord, Outcome};
use crate::machine::State;
use crate::names::{DeploymentId, Target};

/// Events beyond the bound that are no seconds: what happened stays told. More of them are cut as well.
const EVENTS_BEYOND_MAX: usize = EVENTS_MAX / 10;

/// Where the story of a deployment begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// Of its first event.
    pub seq: u64,
    pub before: Before,
}

/// Looks for the beginning of a deployment's story.
#[derive(Debug)]
pub struct Search {
    wanted: DeploymentId,
    state: State,
    running: Option<(DeploymentKind, Start)>,
    /// The deployment whose release is watched as successor.
    promoted: Option<Start>,
}

impl Search {
    pub fn new(target: &Target, wanted: &DeploymentId) -> Self {
        Self { wanted: wanted.clone(), state: State::new(target.clone()), running: None, promoted: None }
    }

    /// Looks at the next event of the journal; `evidence_added` may be left out. Returns the beginning once it is known.
    pub fn look(&mut self, record: &EventRecord) -> Option<Start> {
        let found = match &record.event {
            Event::DeploymentRequested(requested) if self.state.deployment.is_none() => {
                let hot = self.state.hot.as_ref().map(|hot| hot.placed.clone());
                let before = redact::before(Before { stable: self.state.stable.clone(), hot });
                let start = Start { seq: record.seq, before };
                self.running = Some((requested.of, start.clone()));
                let watched = self.promoted.clone().filter(|_| requested.of == DeploymentKind::Return);
                (requested.deployment == self.wanted).then(|| watched.unwrap_or(start))
            }
            Event::DeploymentFinished { outcome: Outcome::Promoted | Outcome::PromotedUnproven, .. } => {
                let running = self.running.take();
                self.promoted =
                    running.filter(|(of, _)| *of == DeploymentKind::Deploy).map(|(_, start)| start);
                None
            }
            // Nothing begins and no watch changes hands.
            _ => None,
        };
        self.state.apply(&record.event, record.seq, record.at);
        found
    }
}

/// Passes on what belongs to a deployment, from the first event of its story on.
pub struct Recorder {
    wanted: DeploymentId,
    fold: Fold,
    taken: usize,
    cut: Option<Cut>,
    stage: Stage,
}

/// What of the journal belongs to the story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Everything until the deployment ends, and until its successor is no longer watched.
    All,
    /// The deployment has ended, its release is watched while its predecessor is hot.
    Watched,
    /// Only what names the deployment: its last requests, its last processes.
    Named,
}

impl Recorder {
    pub fn new(target: &Target, wanted: &DeploymentId, start: &Start) -> Self {
        let fold = Fold::new(target, &start.before);
        Self { wanted: wanted.clone(), fold, taken: 0, cut: None, stage: Stage::All }
    }

    /// Takes the next event of the journal. Returns it as the bundle tells it, if it belongs there.
    pub fn take(&mut self, record: EventRecord) -> Option<Entry> {
        let is_named = record.deployment.as_ref() == Some(&self.wanted);
        let requests = match &record.event {
            Event::DeploymentRequested(requested) => Some(requested.of),
            _ => None,
        };
        let another = requests.filter(|_| self.stage == Stage::Watched);
        if another.is_some() {
            self.stage = Stage::Named;
        }
        // A return ends the watch: it is the last thing that is told of it.
        let is_told = is_named || self.stage != Stage::Named || another == Some(DeploymentKind::Return);
        if !is_told || self.is_cut(&record) {
            return None;
        }
        let EventRecord { seq, at, deployment, actor, mut event, .. } = record;
        redact::event(&mut event);
        let entry = Entry { seq, at, deployment, actor, event };
        self.fold.add(&entry);
        self.taken += 1;
        self.go_on(&entry, is_named);
        Some(entry)
    }

    fn go_on(&mut self, entry: &Entry, is_named: bool) {
        let finished = is_named && matches!(entry.event, Event::DeploymentFinished { .. });
        match self.stage {
            Stage::All if finished && self.fold.goes_on_watching() => self.stage = Stage::Watched,
            Stage::All if finished => self.stage = Stage::Named,
            Stage::Watched if !self.fold.goes_on_watching() => self.stage = Stage::Named,
            Stage::All | Stage::Watched | Stage::Named => {}
        }
    }

    fn is_cut(&mut self, record: &EventRecord) -> bool {
        let repeats = matches!(record.event, Event::EvidenceAdded { .. } | Event::ChecksAnswered { .. });
        let max = if repeats { EVENTS_MAX } else { EVENTS_MAX + EVENTS_BEYOND_MAX };
        if self.taken < max {
            return false;
        }
        let cut = self.cut.get_or_insert(Cut { first_seq: record.seq, events: 0 });
        cut.events += 1;
        true
    }

    /// Tells whether only events that name the deployment can still belong to it.
    pub fn wants_named_only(&self) -> bool {
        self.stage == Stage::Named
    }

    /// Returns what was cut, and what the judge said last: nothing that rests on less than all there was.
    pub fn end(&self) -> (Option<Cut>, Option<Said>) {
        (self.cut, self.fold.said().filter(|_| self.cut.is_none()))
    }
}
