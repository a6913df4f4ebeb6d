//! Judges the events of a bundle again, with the code that judged them, and says where the answers differ.
//! What no count decides (a crash, a deadline, an operator) is not called replayed: it is recorded, not computed.

pub use super::compare::Difference;
use super::compare::Differences;
use super::fold::Fold;
use super::{Bundle, Entry, Said};
use crate::event::{DeploymentKind, Event, ReturnReason, VerdictWord};
use crate::judge::{Calibration, Evidence, Record};
use crate::machine::Phase;
use crate::names::{Millis, Weight};
use serde::{Deserialize, Serialize};

/// What a replay says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replayed {
    /// In order.
    pub decisions: Vec<Decision>,
    /// What the judge says after the last count, and whether it said so then.
    pub said: Option<Said>,
    pub compared: Compared,
    /// What was known of the service's own traffic.
    pub calibration: Option<Calibration>,
    /// One a second, from the candidate's first request on.
    pub points: Vec<Point>,
}

/// Something the judge decided, or could have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    pub seq: u64,
    pub at: Millis,
    /// The event's word in the journal.
    pub kind: String,
    pub compared: Compared,
    /// What the judge says at that moment, from the counts alone.
    pub evidence: Option<Evidence>,
}

/// Whether it is what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Compared {
    /// To the last bit.
    Same,
    Differs {
        fields: Vec<Difference>,
    },
    /// Recorded, not computed: no count decided it.
    NotComputed {
        why: String,
    },
}

/// One second of a watch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub second: u64,
    pub weight: Weight,
    /// Nobody reported it.
    pub missing: bool,
    /// It said nothing about the candidate, because stable failed as well or had just failed.
    pub shared: bool,
    /// Evidence against the candidate after it, and what takes the candidate back.
    pub log_m: f64,
    pub threshold: f64,
    pub candidate_requests: u64,
    pub candidate_errors: u64,
    pub stable_requests: u64,
    pub stable_errors: u64,
}

impl Replayed {
    /// Tells whether nothing differs.
    pub fn is_identical(&self) -> bool {
        let compared = self.decisions.iter().map(|decision| &decision.compared);
        !compared.chain([&self.compared]).any(|compared| matches!(compared, Compared::Differs { .. }))
    }
}

impl Compared {
    fn of(differences: &mut Differences) -> Self {
        let fields = std::mem::take(&mut differences.0);
        if fields.is_empty() { Compared::Same } else { Compared::Differs { fields } }
    }

    fn not(why: &str) -> Self {
        Compared::NotComputed { why: why.to_owned() }
    }
}

impl Bundle {
    /// Judges again. The same bundle gives the same answer on every machine.
    pub fn replay(&self) -> Replayed {
        let mut fold = Fold::new(&self.target, &self.before);
        let (mut decisions, mut points) = (Vec::new(), Vec::new());
        let (mut calibration, mut shared_seconds) = (None, 0);
        for entry in &self.events {
            let cut = self.cut.is_some_and(|cut| entry.seq >= cut.first_seq);
            decisions
                .extend(fold.decided(entry).map(|decision| if cut { unknown(decision) } else { decision }));
            fold.add(entry);
            match &entry.event {
                Event::EvidenceAdded { record } => points.extend(fold.point(record, &mut shared_seconds)),
                Event::JudgeCalibrated { calibration: known } => calibration = Some((**known).clone()),
                // Nothing to draw.
                _ => {}
            }
        }
        let said = fold.said();
        Replayed { compared: self.compare_said(said.as_ref()), said, decisions, calibration, points }
    }

    fn compare_said(&self, computed: Option<&Said>) -> Compared {
        if self.cut.is_some() {
            return Compared::not("seconds were cut");
        }
        let mut differences = Differences::default();
        match (&self.said, computed) {
            (None, None) => return Compared::not("nothing was judged"),
            (Some(recorded), Some(computed)) => {
                differences
                    .value("verdict", &recorded.verdict, &computed.verdict)
                    .evidence(&recorded.evidence, &computed.evidence);
            }
            (recorded, computed) => {
                let word = |said: &Said| said.verdict;
                differences.value("verdict", &recorded.as_ref().map(word), &computed.map(word));
            }
        }
        Compared::of(&mut differences)
    }
}

fn unknown(decision: Decision) -> Decision {
    Decision { compared: Compared::not("seconds before it were cut"), ..decision }
}

impl Fold {
    /// Decides again what an event says was decided, before the event is taken in. None: it is no decision.
    fn decided(&self, entry: &Entry) -> Option<Decision> {
        let compared = match &entry.event {
            Event::VerdictReached { verdict, evidence, why } => self.verdict_again(*verdict, evidence, why),
            Event::BakePassed { .. } | Event::BakeExtended { .. } | Event::Promoted { .. } => {
                self.bake_again(entry)
            }
            Event::ReturnStarted { why: ReturnReason::Unproven { .. } } => self.bake_again(entry),
            Event::ReturnStarted { why } if self.follows_a_verdict(why) => return None,
            Event::ReturnStarted { why } => Compared::not(&why.to_string()),
            Event::FindingReported { finding } => {
                let computed = self.judge().and_then(crate::judge::Judge::finding);
                Compared::of(Differences::default().finding(finding, computed.as_ref()))
            }
            Event::DeploymentRequested(requested) if requested.of == DeploymentKind::Return => {
                self.return_again(requested.reason.as_deref().unwrap_or_default())
            }
            // What operators, replicas and the edge did, and the counts themselves.
            _ => return None,
        };
        let evidence = self.judge().map(|judge| judge.verdict().evidence);
        Some(Decision {
            seq: entry.seq,
            at: entry.at,
            kind: entry.event.kind().to_owned(),
            compared,
            evidence,
        })
    }

    fn follows_a_verdict(&self, why: &ReturnReason) -> bool {
        self.state.deployment.as_ref().and_then(|running| running.condemned.as_ref()) == Some(why)
    }

    fn verdict_again(&self, word: VerdictWord, recorded: &Evidence, why: &ReturnReason) -> Compared {
        if recorded.is_signal() {
            return Compared::not(&recorded.rule);
        }
        let mut differences = Differences::default();
        let worse = self.state.deployment.as_ref().and_then(|running| running.worse());
        match worse {
            Some((computed, reason)) => {
                differences
                    .value("verdict", &word, &computed.word)
                    .value("why", why, &reason)
                    .evidence(recorded, &computed.evidence);
            }
            None => {
                let says = self.judge().map(|judge| judge.verdict());
                differences.value("verdict", &Some(word), &says.as_ref().map(|verdict| verdict.word));
                if let Some(computed) = says {
                    differences.evidence(recorded, &computed.evidence);
                }
            }
        }
        Compared::of(&mut differences)
    }

    fn bake_again(&self, entry: &Entry) -> Compared {
        if self.judge().is_none() {
            return Compared::not("nothing was judged");
        }
        let computed = self.state.deployment.as_ref().and_then(|running| match running.phase {
            Phase::Baking { step } => self.state.baked(running, step, entry.at),
            _ => None,
        });
        Compared::of(Differences::default().event(&entry.event, computed.as_ref()))
    }

    /// A return that the watch opened says in words what it rests on.
    fn return_again(&self, recorded: &str) -> Compared {
        let Some(judge) = self.judge().filter(|_| recorded.starts_with(&ReturnReason::Worse.to_string()))
        else {
            return Compared::not(recorded);
        };
        let verdict = judge.verdict();
        let computed = match verdict.word {
            VerdictWord::Worse => format!("{}: {}", ReturnReason::Worse, verdict.evidence),
            word @ (VerdictWord::BetterOrEqual | VerdictWord::NotEnoughEvidence) => word.to_string(),
        };
        Compared::of(Differences::default().value("reason", &recorded.to_owned(), &computed))
    }

    fn point(&self, record: &Record, shared_seconds: &mut u64) -> Option<Point> {
        let evidence = self.judge()?.verdict().evidence;
        // Before the candidate's first request there is nothing to compare.
        let weight = evidence.weight.filter(|weight| *weight > Weight::NONE)?;
        let shared = evidence.shared_seconds > std::mem::replace(shared_seconds, evidence.shared_seconds);
        Some(Point {
            second: record.second,
            weight,
            missing: record.missing,
            shared,
            log_m: evidence.log_m,
            threshold: evidence.threshold,
            candidate_requests: record.candidate_requests,
            candidate_errors: record.candidate_errors,
            stable_requests: record.stable_requests,
            stable_errors: record.stable_errors,
        })
    }
}
